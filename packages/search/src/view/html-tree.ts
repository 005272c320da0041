/** The tree as a picture. */
import { meanOf, type SearchNode } from '../tree.js'
import { escapeHtml as text } from './escape.js'
import { layout, type Place } from './layout.js'
import { milliseconds, stepMs, value } from './numbers.js'
import { cut, plain } from './text.js'

interface TreeSvgOptions<A, O> {
  /** The way to the best. */
  readonly lead: ReadonlySet<number>
  readonly label: (node: SearchNode<A, O>) => string
}

/** In units of the picture, which is scaled to fit. */
const BOX = { width: 244, height: 44 }
const STEP = { x: 296, y: 58 }
const MARGIN = 16
const LABEL_CELLS = 32
/** Of values, from the least to the most. */
export const SHADES = 8

export function treeSvg<A, O>(
  nodes: readonly SearchNode<A, O>[],
  { lead, label }: TreeSvgOptions<A, O>,
): string {
  const places = layout(nodes)
  const at = (id: number): { x: number; y: number } => {
    const { column, row } = places.get(id) as Place
    return { x: MARGIN + column * STEP.x, y: MARGIN + row * STEP.y }
  }
  const all = [...places.values()]
  const width = Math.max(...all.map(({ column }) => column)) * STEP.x + BOX.width + 2 * MARGIN
  const height = Math.max(...all.map(({ row }) => row)) * STEP.y + BOX.height + 2 * MARGIN
  const shade = shadesOf(nodes)

  const edge = ({ id, parent }: SearchNode<A, O>): string => {
    if (parent === null) return ''
    const [from, to] = [at(parent), at(id)]
    const [x, y] = [from.x + BOX.width, from.y + BOX.height / 2]
    const end = to.y + BOX.height / 2
    const middle = (x + to.x) / 2
    const kind = lead.has(id) ? ' class="lead"' : ''
    return `<path${kind} d="M${x} ${y}C${middle} ${y} ${middle} ${end} ${to.x} ${end}"/>`
  }
  const box = (node: SearchNode<A, O>): string => {
    const { x, y } = at(node.id)
    const kinds = [
      node.status,
      `shade-${shade(node)}`,
      node.dropped && 'dropped',
      lead.has(node.id) && 'lead',
    ]
    const name = text(plain(label(node)))
    const short = text(cut(plain(label(node)), LABEL_CELLS))
    return `<g class="node ${kinds.filter(Boolean).join(' ')}" data-id="${node.id}" tabindex="0" transform="translate(${x} ${y})"><title>${name}</title><rect width="${BOX.width}" height="${BOX.height}" rx="7"/><rect class="strip" width="7" height="${BOX.height}" rx="3"/><text x="17" y="18">${short}</text><text class="figures" x="17" y="35">${text(figures(node))}</text></g>`
  }
  const drawn = `<g class="edges">${nodes.map(edge).join('')}</g>${nodes.map(box).join('')}`
  return `<svg id="tree" role="img" aria-label="the tree of the search" viewBox="0 0 ${width} ${height}">${drawn}</svg>`
}

function figures<A, O>(node: SearchNode<A, O>): string {
  const { id, parent, status, value: worth, times } = node
  if (parent === null) return `mean ${value(meanOf(node))} of ${node.visits}`
  const is = status === 'failed' ? 'failed' : worth === null ? 'no value' : value(worth)
  return `${id} · ${is}${status === 'done' ? ' · done' : ''} · ${milliseconds(stepMs(times))}`
}

/** By where its value lies between the least and the most there are. */
function shadesOf<A, O>(nodes: readonly SearchNode<A, O>[]): (node: SearchNode<A, O>) => number | 'none' {
  const values = nodes.flatMap(({ value: worth }) => (worth === null ? [] : [worth]))
  const least = Math.min(...values)
  const most = Math.max(...values)
  return ({ value: worth, status }) => {
    if (worth === null || status === 'failed') return 'none'
    if (most === least) return SHADES - 1
    return Math.min(SHADES - 1, Math.floor(((worth - least) / (most - least)) * SHADES))
  }
}

export function legend(): string {
  const shades = Array.from({ length: SHADES }, (_, shade) => `<i class="shade-${shade}"></i>`).join('')
  return `<span class="legend">worth least ${shades} most <i class="key lead"></i> way to the best <i class="key failed"></i> failed <i class="key dropped"></i> not to be selected any more</span>`
}
