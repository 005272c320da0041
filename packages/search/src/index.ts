export { StateLostError } from './forks.js'
export { Journal, type JournalLine } from './journal.js'
export { StepTimeoutError } from './limit.js'
export { type Masked, masked } from './masked.js'
export { type AnthropicClient, type AnthropicOptions, anthropic } from './models/anthropic.js'
export {
  counted,
  type Message,
  type Model,
  type ModelAnswer,
  type ModelRequest,
  type ModelUsage,
} from './models/model.js'
export { type OpenAiClient, type OpenAiOptions, openAi } from './models/openai.js'
export { type RecordedOptions, recorded } from './models/recorded.js'
export { type Script, type ScriptedAnswer, type ScriptedOptions, scripted } from './models/scripted.js'
export type {
  Budget,
  SearchEvent,
  SearchOptions,
  SearchReport,
  SearchResult,
  StepContext,
  StepLimits,
  Value,
  ValueContext,
} from './options.js'
export { Random } from './random.js'
export { occupation } from './rollouts/meter.js'
export type {
  Env,
  EnvContext,
  EpisodeResult,
  EpisodeTimes,
  Policy,
  PolicyContext,
  RetryRule,
  RolloutLimits,
  RolloutOptions,
  RolloutReport,
  RunOptions,
  SandboxEnv,
  Step,
  Transition,
  VectorStep,
  WorkTimes,
} from './rollouts/options.js'
export { Rollouts } from './rollouts/rollouts.js'
export { treeSearch } from './search.js'
export { type BeamOptions, beam } from './strategies/beam.js'
export { type BestOfOptions, bestOf } from './strategies/best-of.js'
export { type DepthFirstOptions, depthFirst } from './strategies/depth-first.js'
export { type MctsOptions, mcts } from './strategies/mcts.js'
export { Planned, type Strategy } from './strategy.js'
export {
  meanOf,
  type NodeStatus,
  type NodeTimes,
  type NodeUsage,
  type Outcome,
  type SearchNode,
  SearchTree,
} from './tree.js'
export { type ProgressBar, type ProgressBarOptions, progressBar } from './view/bar.js'
export { escapeHtml } from './view/escape.js'
export { type HtmlReportOptions, htmlReport, type ReportTable } from './view/html-report.js'
export { type LiveView, type LiveViewOptions, liveView } from './view/live-view.js'
export { medianOf, milliseconds } from './view/numbers.js'
export { type StopOnSignals, type StopOnSignalsOptions, stopOnSignals } from './view/stop-on-signals.js'
