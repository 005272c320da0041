/** Who can keep the state of a machine and go back to it, in whatever way. */

/** A program, and the files it works on. */
export interface Task {
  /** A directory of the host. Each contender works on a copy of its own. */
  readonly workspace: string
  /**
   * What python3 runs: a file of the host. Its arguments are the directory of the workspace as it sees it, then these. It says a
   * line once it can be asked, and from then on one for each line.
   */
  readonly program: string
  readonly args: readonly string[]
}

/** What was kept. Only whoever made it knows what it is. */
export type Kept = unknown

export interface Contest {
  /** Of the program that it is about, where that is not DeltaBox. */
  readonly version?: string
  /** A line to the program, and its answer. What is asked changes nothing. */
  ask(line: string): Promise<string>
  /** The same, for what changes the program's memory or its files. */
  act(line: string): Promise<string>
  /** The program runs on. */
  checkpoint(): Promise<Kept>
  /** Until the program can be asked again, in that state. What ran before has ended. */
  restore(kept: Kept): Promise<void>
  /**
   * Nobody goes back to that any more, and the program stands on another by now: what it takes up is given back, but for what
   * others need of it.
   */
  forget(kept: Kept): Promise<void>
  /** Nothing of it is left. */
  end(): Promise<void>
}

export interface Contender {
  readonly name: string
  /** What it brings back and what not, in a line for the report. */
  readonly about: string
  /** Whether the program's memory comes back as it was. */
  readonly bringsMemoryBack: boolean
  /** Fails with the reason where it cannot work on this machine, and leaves nothing behind then. */
  begin(task: Task): Promise<Contest>
}
