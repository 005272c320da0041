import { readFileSync } from 'node:fs'
import { errorCatalogue } from '@deltabox/protocol'
import { expect, it } from 'vitest'

const page = readFileSync(new URL('../../../docs/errors.md', import.meta.url), 'utf8')

it('docs/errors.md says of every error what the catalogue says, and knows no other', () => {
  const rows = page
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .map((line) => line.slice(2, -2).split(' | '))
  const documented = rows.map(([code, status, meaning, remedy]) => [
    code?.replaceAll('`', ''),
    { status: Number(status), meaning, remedy },
  ])
  expect(documented).toEqual(Object.entries(errorCatalogue))
})
