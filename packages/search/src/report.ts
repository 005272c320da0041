import type { SearchReport } from './options.js'
import { added, NO_USAGE, type NodeTimes, type NodeUsage, type SearchTree } from './tree.js'

export function reportOf(tree: SearchTree, wallMs: number): SearchReport {
  const nodes = tree.nodes.slice(1)
  const sum = (name: keyof NodeTimes): number => nodes.reduce((all, { times }) => all + times[name], 0)
  const needed = sum('propose') + sum('act') + sum('evaluate')
  const waitedFor = sum('goTo') - sum('goToHidden') + sum('checkpoint') - sum('checkpointHidden')
  const failed = nodes.filter(({ status }) => status === 'failed')
  return {
    nodes: nodes.length,
    failed: failed.length,
    dropped: nodes.filter(({ dropped }) => dropped).length,
    wallMs,
    proposeMs: sum('propose'),
    actMs: sum('act'),
    evaluateMs: sum('evaluate'),
    goToMs: sum('goTo'),
    goToHiddenMs: sum('goToHidden'),
    checkpointMs: sum('checkpoint'),
    checkpointHiddenMs: sum('checkpointHidden'),
    blockingMs: sum('blocking'),
    overhead: needed === 0 ? 1 : (needed + waitedFor) / needed,
    usage: usageOf(tree),
    failures: failed.map(({ id, error }) => ({ id, error: error ?? '' })),
  }
}

export function usageOf({ nodes }: SearchTree): NodeUsage {
  return nodes.reduce((all, { usage }) => added(all, usage), NO_USAGE)
}
