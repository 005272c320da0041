/** What a state has changed in the sources. */
import type { Sandbox } from 'deltabox'
import { HOME, run } from './actions.js'

/** A unified diff from `root`. The sandbox goes. */
export async function patchOf([box]: readonly Sandbox[], root: Sandbox): Promise<string> {
  if (!box) throw new Error('there is no sandbox')
  const isSource = (path: string): boolean => path.startsWith(`${HOME}/`) && path.endsWith('.py')
  const changed = (await box.diff(root)).map(({ path }) => path).filter(isSource)
  let patch = ''
  for (const path of changed) {
    const name = path.slice(HOME.length + 1)
    await box.files.write('/tmp/before', await root.files.read(path))
    patch += await run(box, [
      'diff',
      '-u',
      '--label',
      `a/${name}`,
      '/tmp/before',
      '--label',
      `b/${name}`,
      name,
    ])
  }
  await box.kill()
  return patch.replaceAll(/^exit status 1\n/gm, '')
}
