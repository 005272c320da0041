/** The tree as lines of a terminal. */
import { type Branch, bestOf, type Made, pathTo } from './branch.js'
import { milliseconds, stepMs, value } from './numbers.js'
import type { Colour, Paint } from './paint.js'
import { cut, fit, widthOf } from './text.js'

export interface TreeLinesOptions<A, O> {
  /** Cells. */
  readonly width: number
  /** Lines; what does not fit is folded. Default: as many as it takes. */
  readonly height?: number
  readonly paint: Paint
  /** What a node is called, on one line. */
  readonly label: (branch: Branch<A, O>) => string
}

const COLUMNS = ['value', 'rollback', 'checkpoint', 'step'] as const
const COLUMN_CELLS: readonly number[] = [7, 10, 12, 10]
/** Narrower, and there are no columns but the first. */
const COLUMNS_FROM = 80

export function treeLines<A, O>(
  branches: ReadonlyMap<number, Branch<A, O>>,
  { width, height = Number.POSITIVE_INFINITY, paint, label }: TreeLinesOptions<A, O>,
): string[] {
  const columns = width >= COLUMNS_FROM ? COLUMN_CELLS : COLUMN_CELLS.slice(0, 1)
  const cells = width - columns.reduce((all, one) => all + one, 0)
  const best = bestOf(branches.values())
  const lead = new Set(best && best.parent !== null ? pathTo(branches, best.id) : [])
  const children = childrenOf(branches)
  const shown = shownOf(branches, children, [...lead], height - 1)
  const heads = columns.map((size, index) => (COLUMNS[index] ?? '').padStart(size)).join('')
  const lines = [paint('dim', fit('', cells) + heads)]

  const line = (branch: Branch<A, O>, joint: string): string => {
    const colour = colourOf(branch, lead)
    const text = fit(label(branch), Math.max(0, cells - widthOf(joint)))
    const figures = columns.map((size, index) => (figure(branch, index) ?? '').padStart(size))
    const [worth = '', ...rest] = figures
    return [
      joint && paint('dim', cut(joint, cells)),
      colour ? paint(colour, text) : text,
      lead.has(branch.id) ? paint('bold', worth) : worth,
      paint('dim', rest.join('')),
    ].join('')
  }
  const draw = (branch: Branch<A, O>, joint: string, indent: string): void => {
    lines.push(line(branch, joint))
    const all = children.get(branch.id) ?? []
    const visible = all.filter(({ id }) => shown.has(id))
    const last = all.length === visible.length ? visible.at(-1) : undefined
    for (const child of visible) {
      if (child === last) draw(child, `${indent}└─ `, `${indent}   `)
      else draw(child, `${indent}├─ `, `${indent}│  `)
    }
    if (!last && all.length > 0) {
      lines.push(paint('dim', cut(`${indent}└─ … ${all.length - visible.length} more`, width)))
    }
  }

  const root = branches.get(0)
  if (root) draw(root, '', '')
  return lines
}

function childrenOf<A, O>(branches: ReadonlyMap<number, Branch<A, O>>): Map<number, Branch<A, O>[]> {
  const children = new Map<number, Branch<A, O>[]>()
  for (const branch of branches.values()) {
    if (branch.parent === null) continue
    const siblings = children.get(branch.parent)
    if (siblings) siblings.push(branch)
    else children.set(branch.parent, [branch])
  }
  return children
}

/** The way to the best, what is under way, and of the others the newest, each with all above it. */
function shownOf(
  branches: ReadonlyMap<number, Branch>,
  children: ReadonlyMap<number, readonly Branch[]>,
  lead: readonly number[],
  rows: number,
): ReadonlySet<number> {
  if (branches.size <= rows) return new Set(branches.keys())
  const newestFirst = [...branches.values()].sort((a, b) => Number(!b.made) - Number(!a.made) || b.id - a.id)
  let shown = new Set<number>([0])
  for (const id of [...lead, ...newestFirst.map((branch) => branch.id)]) {
    const more = new Set([...shown, ...pathTo(branches, id)])
    const folds = [...more].filter((above) => children.get(above)?.some((child) => !more.has(child.id)))
    if (more.size + folds.length > rows) break
    shown = more
  }
  return shown
}

function colourOf({ id, made, phase }: Branch, lead: ReadonlySet<number>): Colour | undefined {
  if (!made) return phase ? 'cyan' : 'dim'
  if (made.status === 'failed') return 'red'
  if (lead.has(id)) return 'green'
  return undefined
}

function figure(branch: Branch, column: number): string | undefined {
  const { parent, made } = branch
  return made && parent !== null ? madeFigure(made, column) : undefined
}

function madeFigure(
  { status, value: worth, times }: Made<unknown, unknown>,
  column: number,
): string | undefined {
  const ms = (time: number): string => (time > 0 ? milliseconds(time) : '–')
  if (column === 0) return status === 'failed' ? 'failed' : worth === null ? '–' : value(worth)
  return ms([times.goTo, times.checkpoint, stepMs(times)][column - 1] ?? 0)
}
