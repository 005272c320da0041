import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'

interface LockedPackage {
  readonly resolved?: string
  readonly optionalDependencies?: Readonly<Record<string, string>>
}

const lock: { packages: Record<string, LockedPackage> } = JSON.parse(
  readFileSync(new URL('../../package-lock.json', import.meta.url), 'utf8'),
)

describe('package-lock.json', () => {
  it('names no registry, so that npm ci works against any', () => {
    const resolved = Object.values(lock.packages).flatMap((locked) => locked.resolved ?? [])
    expect(resolved.filter((url) => !url.startsWith('packages/'))).toEqual([])
  })

  // npm leaves out a platform's package when the registry at hand does not carry it; npm ci then refuses the file.
  it('lists the optional packages of every platform', () => {
    const wanted = Object.values(lock.packages).flatMap((locked) =>
      Object.keys(locked.optionalDependencies ?? {}),
    )
    expect(wanted.filter((name) => !(`node_modules/${name}` in lock.packages))).toEqual([])
  })
})
