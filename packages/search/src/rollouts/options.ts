import type { Sandbox } from 'deltabox'
import type { Random } from '../random.js'
import type { NodeUsage } from '../tree.js'

/** What an action has come to. */
export interface Step<Observation> {
  readonly observation: Observation
  readonly reward: number
  /** The episode is over. */
  readonly done: boolean
  readonly info?: unknown
}

/** An environment as Gym has it: `reset` begins an episode, `step` acts in it. One call at a time. */
export interface Env<Action, Observation> {
  reset(): Promise<Observation>
  step(action: Action): Promise<Step<Observation>>
  close(): Promise<void>
}

/** One whose episodes begin in the state of a checkpoint, and take place in a sandbox. */
export interface SandboxEnv<Action, Observation> extends Env<Action, Observation> {
  readonly index: number
  /** Another one after somebody in it did not stop when told to. */
  readonly box: Sandbox
}

/** What a function that works in a sandbox is told. */
export interface EnvContext {
  /** Which environment it is, from 0. */
  readonly env: number
  /** Aborted when this takes longer than its limit, and when nobody waits for it any more. */
  readonly signal: AbortSignal
}

/** Milliseconds. What takes longer has failed. Default: no limit. */
export interface RolloutLimits {
  /** Of the function; a rollback is waited for. */
  readonly resetMs?: number
  readonly stepMs?: number
  readonly policyMs?: number
}

/** How often after the first time; or whether once more, after so many attempts. */
export type RetryRule = number | ((error: unknown, attempt: number) => boolean)

export interface RolloutOptions<Action, Observation> {
  /** How many environments, each with a sandbox of its own. */
  readonly size: number
  /** How many of them are worked in at the same time. Policies are not counted. Default: 8. */
  readonly concurrency?: number
  /** Sees a sandbox that is in the state of the checkpoint. What it does there is part of the episode. */
  reset(box: Sandbox, context: EnvContext): Promise<Observation>
  step(box: Sandbox, action: Action, context: EnvContext): Promise<Step<Observation>>
  /** Of episodes, and of resets where the episode is not played here. Default: 1. */
  readonly retries?: RetryRule
  readonly limits?: RolloutLimits
  /** Closes all of it. */
  readonly signal?: AbortSignal
}

/** What a policy is told. */
export interface PolicyContext extends EnvContext {
  readonly episode: number
  /** How many were taken before. */
  readonly step: number
  /** The same numbers for the same seed and episode, whatever environment it is played in and whatever else goes on. */
  readonly random: Random
  /** What models have used is counted with the episode. */
  readonly count: (usage: Partial<NodeUsage>) => void
}

export type Policy<Action, Observation> = (
  observation: Observation,
  context: PolicyContext,
) => Promise<Action>

export interface RunOptions {
  readonly episodes: number
  /** An episode that takes as many is cut off there. Default: no limit. */
  readonly maxSteps?: number
  /** Default: 1. */
  readonly seed?: number
}

export interface Transition<Action, Observation> {
  /** What the policy saw. */
  readonly before: Observation
  readonly action: Action
  readonly step: Step<Observation>
}

/** Milliseconds. Of all attempts. */
export interface EpisodeTimes {
  /** From its beginning to its end, with what it waited for others. */
  readonly wallMs: number
  /** Before its beginning, too. */
  readonly rollbackMs: number
  readonly resetMs: number
  readonly stepMs: number
  readonly generationMs: number
}

export interface EpisodeResult<Action, Observation> {
  readonly env: number
  readonly episode: number
  /** Of the last attempt. */
  readonly steps: readonly Transition<Action, Observation>[]
  /** Of these steps together. */
  readonly reward: number
  /** False where it failed, or was cut off. */
  readonly done: boolean
  readonly attempts: number
  /** Why the last attempt failed. */
  readonly error?: unknown
  readonly times: EpisodeTimes
  readonly usage: NodeUsage
}

/** What one of a vector of environments answers. */
export interface VectorStep<Observation> extends Step<Observation> {
  /** The episode before was over, so this one has begun, and the action was not taken. */
  readonly isFirst: boolean
  /** Why the episode is over; the observation is the last there was. */
  readonly error?: unknown
}

export interface WorkTimes {
  readonly count: number
  readonly ms: number
  /** How much of it nobody waited for: it was done while a policy was asked, or nothing was asked for at all. */
  readonly hiddenMs: number
}

export interface RolloutReport {
  /** Finished or cut off. */
  readonly episodes: number
  /** Given up. */
  readonly failed: number
  readonly steps: number
  /** Attempts that failed. */
  readonly failures: number
  readonly retries: number
  /** How often the daemon or an engine was gone. */
  readonly interruptions: number
  /** Work in sandboxes, one by one: what is done at the same time counts several times. */
  readonly fork: WorkTimes
  readonly rollback: WorkTimes
  readonly reset: WorkTimes
  readonly step: WorkTimes
  /** Of these together. */
  readonly sandboxMs: number
  /** Of policies, one by one. */
  readonly policyMs: number
  /** By the clock: while at least one policy was asked. */
  readonly generationMs: number
  /** By the clock: while sandboxes were waited for and no policy was asked. */
  readonly exposedMs: number
  readonly trainMs: number
  /** (generation + training) / (exposed + generation + training). */
  readonly occupation: number
  readonly usage: NodeUsage
}
