/** A command that runs as another user gets that user's home directory, as with `su`. */
import { DeltaBoxError } from '@deltabox/protocol'
import type { SandboxRow } from './sandbox-table.js'
import { ask, labelOf } from './sandboxes.js'
import type { State } from './state.js'

const PASSWD = '/etc/passwd'
const PASSWD_MAX_BYTES = 256 * 1024

/** Empty when the sandbox's user list does not name one: that the user exists is for the engine to say. */
export async function homeOf(state: State, sandbox: SandboxRow, user: string): Promise<{ HOME?: string }> {
  const doing = `read ${PASSWD} in sandbox ${labelOf(sandbox)}`
  let handle: number
  try {
    const parameters = { sandbox: sandbox.id, path: PASSWD, mode: 'read', parents: false } as const
    handle = (await ask(state, sandbox, doing, 'file.open', parameters)).handle
  } catch (error) {
    if (error instanceof DeltaBoxError && ['file_not_found', 'not_a_file'].includes(error.code)) return {}
    throw error
  }
  try {
    const { data } = await ask(state, sandbox, doing, 'file.read', { handle, max: PASSWD_MAX_BYTES })
    return homeIn(Buffer.from(data).toString('utf8'), user)
  } finally {
    await ask(state, sandbox, doing, 'file.close', { handle })
  }
}

function homeIn(passwd: string, user: string): { HOME?: string } {
  const [name] = user.split(':')
  const entry = passwd
    .split('\n')
    .map((line) => line.split(':'))
    .find((fields) => fields[0] === name || fields[2] === name)
  return entry?.[5] ? { HOME: entry[5] } : {}
}
