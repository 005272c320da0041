/** What a command writes, line by line. */
import type { CommandHandle } from 'deltabox'

export async function* linesOf(handle: CommandHandle): AsyncGenerator<string> {
  let rest = ''
  for await (const piece of handle.stdout) {
    rest += piece
    const lines = rest.split('\n')
    rest = lines.pop() ?? ''
    yield* lines
  }
}
