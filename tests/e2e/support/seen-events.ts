/** Events of a daemon as they come, until the stream is destroyed. */
import type { IncomingMessage } from 'node:http'
import { createInterface } from 'node:readline'

export interface SeenEvent {
  readonly type: string
  readonly sandbox: string
  readonly checkpoint?: string
  readonly fork?: string
}

export function seenEvents(stream: IncomingMessage): SeenEvent[] {
  const seen: SeenEvent[] = []
  createInterface({ input: stream }).on('line', (line) => {
    if (line.startsWith('data: ')) seen.push(JSON.parse(line.slice('data: '.length)))
  })
  return seen
}

/** The disk has a checkpoint whenever it has it: that is told of among anything. */
export function besidesDurable(events: readonly SeenEvent[]): SeenEvent[] {
  return events.filter(({ type }) => type !== 'checkpoint.durable')
}
