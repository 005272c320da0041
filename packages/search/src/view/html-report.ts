/** A search as one page that needs nothing else: its tree to look around in, where the time went, the way to the best. */
import type { SearchResult } from '../options.js'
import type { SearchNode } from '../tree.js'
import { escapeJson, escapeHtml as text } from './escape.js'
import { script } from './html-script.js'
import { style } from './html-style.js'
import { legend, treeSvg } from './html-tree.js'
import { milliseconds, seriesByName, stepMs, value } from './numbers.js'

export interface HtmlReportOptions<A, O> {
  readonly title?: string
  /** What an action is called. Default: its JSON. */
  readonly describe?: (action: A, observation: O | null) => string
  /** What came of an action, in full. Default: its JSON, or itself where it is text. */
  readonly show?: (observation: O) => string
  /** What the best state changed: a unified diff. */
  readonly patch?: string
  /** More to tell, in tables of its own. */
  readonly tables?: readonly ReportTable[]
}

export interface ReportTable {
  readonly title: string
  readonly head?: readonly string[]
  readonly rows: readonly (readonly string[])[]
  readonly note?: string
}

type Found<A, O> = Pick<SearchResult<A, O>, 'tree' | 'best' | 'reason' | 'report'>

const REASONS: Readonly<Record<SearchResult['reason'], string>> = {
  budget: 'the budget was spent',
  exhausted: 'nothing was left to select',
  found: 'found',
  aborted: 'stopped before its end',
}

export function htmlReport<A, O>(result: Found<A, O>, options: HtmlReportOptions<A, O> = {}): string {
  const { tree, best, reason } = result
  const { title = 'Tree search', patch } = options
  const label = labelBy(options)
  const lead = new Set(best && best.parent !== null ? tree.path(best).map(({ id }) => id) : [])
  const subtitle = `${tree.nodes.length - 1} steps, ${REASONS[reason]}`
  const parts = [
    `<header><h1>${text(title)}</h1><p>${subtitle}</p>${tiles(result)}</header>`,
    `<section class="tree"><div class="bar">${legend()}${BUTTONS}</div><div class="split">`,
    treeSvg(tree.nodes, { lead, label }),
    `<aside><div id="detail" data-first="${best?.id ?? 0}"></div><p class="hint">${HINT}</p></aside>`,
    '</div></section>',
    best ? bestSection(tree.path(best), label, patch) : '',
    ...(options.tables ?? []).map(table),
    table(timesTable(result)),
    table(stepsTable(tree.nodes.slice(1), label)),
    failuresSection(result),
    `<script type="application/json" id="nodes">${escapeJson(details(tree.nodes, options, label))}</script>`,
    `<script>${script}</script>`,
  ]
  return page(title, parts.join('\n'))
}

const HINT = 'Point at a node, or click to keep it here. Drag to move the tree, turn the wheel to zoom.'
const BUTTONS =
  '<span class="buttons"><button id="in" aria-label="closer">+</button><button id="out" aria-label="farther">−</button><button id="whole">whole tree</button></span>'

/** Nothing may be fetched from anywhere, whatever got in. */
function page(title: string, body: string): string {
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>${text(title)}</title><style>${style}</style></head><body>
${body}
</body></html>
`
}

type Label<A, O> = (node: SearchNode<A, O>) => string

function labelBy<A, O>({
  describe = (action) => JSON.stringify(action),
}: HtmlReportOptions<A, O>): Label<A, O> {
  return ({ parent, action, observation }) => {
    if (parent === null) return 'the start'
    return action === null ? 'nothing was proposed' : describe(action, observation)
  }
}

function tiles<A, O>({ best, report }: Found<A, O>): string {
  const waited = report.goToMs - report.goToHiddenMs + report.checkpointMs - report.checkpointHiddenMs
  const all: readonly (readonly [string, string])[] = [
    ['best value', typeof best?.value === 'number' ? value(best.value) : '–'],
    ['time', milliseconds(report.wallMs)],
    ['going back and keeping', milliseconds(report.goToMs + report.checkpointMs)],
    ['of it waited for', milliseconds(waited)],
    ['overhead', `× ${report.overhead.toFixed(3)}`],
  ]
  const tile = ([name, figure]: readonly [string, string]): string =>
    `<div><b>${text(figure)}</b><span>${text(name)}</span></div>`
  return `<div class="tiles">${all.map(tile).join('')}</div>`
}

function table({ title, head, rows, note }: ReportTable): string {
  const cells = (row: readonly string[], tag: string): string =>
    row.map((cell) => `<${tag}>${text(cell)}</${tag}>`).join('')
  const heads = head ? `<thead><tr>${cells(head, 'th')}</tr></thead>` : ''
  const lines = rows.map((row) => `<tr>${cells(row, 'td')}</tr>`).join('\n')
  const below = note === undefined ? '' : `<p class="note">${text(note)}</p>`
  return `<section><h2>${text(title)}</h2><div class="wide"><table>${heads}<tbody>${lines}</tbody></table></div>${below}</section>`
}

function timesTable<A, O>({ tree, report }: Found<A, O>): ReportTable {
  const times = seriesByName(tree.nodes.slice(1))
  const row = (name: string, of: keyof typeof times, hidden?: keyof typeof times): readonly string[] => {
    const { sum, median, most } = times[of]
    const passed = hidden === undefined ? '' : milliseconds(times[hidden].sum)
    return [name, milliseconds(median), milliseconds(most), milliseconds(sum), passed]
  }
  return {
    title: 'Where the time went',
    head: ['', 'median', 'at most', 'in all', 'hidden'],
    rows: [
      row('inference', 'propose'),
      row('actions', 'act'),
      row('evaluation', 'evaluate'),
      row('rollback', 'rollback'),
      row('to the state, waiting for its checkpoint included', 'goTo', 'goToHidden'),
      row('checkpoint', 'checkpoint', 'checkpointHidden'),
      row('processes stood still', 'blocking'),
    ],
    note: `Hidden is what passed while a model was waited for. Inference, actions and evaluation, and what of rollbacks and checkpoints was waited for, take ${report.overhead.toFixed(3)} times as long as the former alone.`,
  }
}

function stepsTable<A, O>(nodes: readonly SearchNode<A, O>[], label: Label<A, O>): ReportTable {
  const ms = (time: number): string => (time > 0 ? milliseconds(time) : '–')
  return {
    title: 'Step by step',
    head: [
      '',
      'after',
      'action',
      'value',
      'inference',
      'action',
      'evaluation',
      'rollback',
      'hidden',
      'checkpoint',
      'step',
    ],
    rows: nodes.map((node) => {
      const { id, parent, status, value: worth, times } = node
      const figures = [
        times.propose,
        times.act,
        times.evaluate,
        times.goTo,
        times.goToHidden,
        times.checkpoint,
      ]
      return [
        ...[String(id), String(parent), label(node)],
        status === 'failed' ? 'failed' : worth === null ? '–' : value(worth),
        ...[...figures, stepMs(times)].map(ms),
      ]
    }),
  }
}

function bestSection<A, O>(path: readonly SearchNode<A, O>[], label: Label<A, O>, patch?: string): string {
  const steps = path.slice(1).map((node) => {
    const worth = node.value === null ? '' : ` <span class="worth">${value(node.value)}</span>`
    return `<li value="${node.id}">${text(label(node))}${worth}</li>`
  })
  const lines = (patch ?? '')
    .trimEnd()
    .split('\n')
    .map((line) => {
      const kind = /^(\+\+\+|---|@@)/.test(line)
        ? 'at'
        : line[0] === '+'
          ? 'add'
          : line[0] === '-'
            ? 'del'
            : ''
      return `<span class="${kind}">${text(line)}</span>`
    })
  const changes = patch ? `<pre class="diff">${lines.join('')}</pre>` : ''
  return `<section><h2>The way to the best</h2><ol>${steps.join('')}</ol>${changes}</section>`
}

function failuresSection<A, O>({ report }: Found<A, O>): string {
  if (report.failures.length === 0) return ''
  const rows = report.failures.map(({ id, error }) => [String(id), error])
  return `<div class="failures">${table({ title: 'What failed', rows })}</div>`
}

/** More of it is in the tree's own file. */
const DETAIL_CHARACTERS = 20_000

/** What is shown of a node that is pointed at: names and texts. */
function details<A, O>(
  nodes: readonly SearchNode<A, O>[],
  { show = (observation) => asText(observation) }: HtmlReportOptions<A, O>,
  label: Label<A, O>,
): unknown[] {
  return nodes.map((node) => {
    const { id, status, error, value: worth, visits, total, times, action, observation } = node
    const figures = (Object.entries(times) as [string, number][]).filter(([, ms]) => ms > 0)
    return {
      title: `${id} · ${label(node)}`,
      rows: [
        ['status', status + (node.dropped ? ', its checkpoint was removed' : '')],
        ['value', worth === null ? '–' : value(worth)],
        ['mean of all below', visits === 0 ? '–' : `${value(total / visits)} of ${visits}`],
        ...figures.map(([name, ms]) => [TIME_NAMES[name as keyof typeof TIME_NAMES], milliseconds(ms)]),
        ...(error === null ? [] : [['error', error.slice(0, DETAIL_CHARACTERS)]]),
      ],
      action: action === null ? '' : asText(action).slice(0, DETAIL_CHARACTERS),
      observation: observation === null ? '' : show(observation).slice(0, DETAIL_CHARACTERS),
    }
  })
}

const TIME_NAMES = {
  propose: 'inference',
  act: 'action',
  evaluate: 'evaluation',
  goTo: 'to the state',
  goToHidden: 'to the state, hidden',
  rollback: 'rollback',
  checkpoint: 'checkpoint',
  checkpointHidden: 'checkpoint, hidden',
  blocking: 'stood still',
} as const

function asText(value: unknown): string {
  return typeof value === 'string' ? value : (JSON.stringify(value, null, 2) ?? '')
}
