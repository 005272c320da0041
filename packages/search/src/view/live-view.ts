/** A search as it goes: redrawn in place on a terminal, elsewhere one line per node. */
import type { SearchEvent } from '../options.js'
import { DrawnView } from './drawn-view.js'
import { paintFor } from './paint.js'
import { PlainView } from './plain-view.js'

export interface LiveViewOptions<A, O> {
  /** How many children are made at most, as in the search's budget. */
  readonly expansions: number
  readonly title?: string
  /** What an action is called. Default: its JSON. */
  readonly describe?: (action: A, observation: O | null) => string
  /** Default: standard output. */
  readonly stream?: Screen
  /** NO_COLOR and TERM are heeded. Default: that of this process. */
  readonly env?: NodeJS.ProcessEnv
}

/** What is used of a terminal, or of a file that stands in for one. */
export type Screen = NodeJS.WritableStream & {
  readonly isTTY?: boolean
  readonly columns?: number
  readonly rows?: number
}

export interface LiveView<A, O> {
  readonly onEvent: (event: SearchEvent<A, O>) => void
  /** A message that stays below the tree. */
  note(message: string): void
  /** The whole tree stays on the screen. */
  close(): void
}

export function liveView<A, O>(options: LiveViewOptions<A, O>): LiveView<A, O> {
  const { stream = process.stdout, env = process.env } = options
  const isDumb = !stream.isTTY || env.TERM === 'dumb'
  return isDumb ? new PlainView(options, stream) : new DrawnView(options, stream, paintFor(!env.NO_COLOR))
}
