/** Tables, for a page and for Markdown. */
import { nameOf, type SeriesKey } from '../results.js'
import { type Markup, markup } from './markup.js'
import { anchorOf } from './series.js'

type Tone = 'good' | 'bad' | 'soft'

export interface Piece {
  readonly text: string
  /** What it was computed from. */
  readonly of?: SeriesKey | undefined
}

export interface Cell extends Piece {
  /** After a stroke. */
  readonly others?: readonly Piece[]
  /** What there is to know of it besides. */
  readonly small?: string | undefined
  readonly tone?: Tone | undefined
  /** How deep it lies in what stands above it. */
  readonly depth?: number
  /** The number of a colour, and what stands in it. */
  readonly swatch?: Markup
}

export interface Row {
  readonly cells: readonly (Cell | string)[]
  readonly of?: SeriesKey
  /** Where links to the series of this row lead. */
  readonly isAnchor?: boolean
}

export interface Table {
  readonly title?: string
  readonly head: readonly string[]
  /** So many columns hold words; all after them hold figures. */
  readonly words: number
  readonly rows: readonly Row[]
  readonly note?: string
}

export const NOTHING = '–'
/** Then what there is to know besides stands below. */
const MANY = 7

export function tableMarkup({ title, head, words, rows, note }: Table): Markup {
  const kind = (index: number): string => (index < words ? 'word' : 'figure')
  const heads = head.map((one, index) => markup`<th scope="col" class="${kind(index)}">${one}</th>`)
  const body = rows.map(
    (row) =>
      markup`<tr${rowAttributes(row)}>${row.cells.map((cell, index) => cellMarkup(cell, kind(index)))}</tr>\n`,
  )
  return markup`<div class="wide" tabindex="0" role="region" aria-label="${title ?? head.join(', ')}"><table${head.length > MANY ? markup` class="many"` : undefined}>${
    title === undefined ? undefined : markup`<caption>${title}</caption>`
  }<thead><tr>${heads}</tr></thead><tbody>\n${body}</tbody></table></div>${
    note === undefined ? undefined : markup`<p class="note">${note}</p>`
  }\n`
}

function rowAttributes({ of, isAnchor }: Row): Markup | undefined {
  if (!of) return undefined
  return isAnchor ? markup` id="${anchorOf(of)}" title="${nameOf(of)}"` : markup` title="${nameOf(of)}"`
}

function cellMarkup(cell: Cell | string, kind: string): Markup {
  if (typeof cell === 'string') return markup`<td class="${kind}">${cell}</td>`
  const { others = [], small, tone, depth, swatch } = cell
  const pieces = [cell, ...others].map((piece, index) => [index > 0 ? ' / ' : '', pieceMarkup(piece)])
  const classes = [kind, tone, depth ? `deep-${depth}` : undefined].filter(Boolean).join(' ')
  return markup`<td class="${classes}">${swatch}${pieces}${
    small === undefined ? undefined : markup` <small>${small}</small>`
  }</td>`
}

function pieceMarkup({ text, of }: Piece): Markup | string {
  return of ? markup`<a href="#${anchorOf(of)}" title="${nameOf(of)}">${text}</a>` : text
}

export function tableMarkdown({ title, head, words, rows, note }: Table): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  const lines = [
    line(head.map(plain)),
    line(head.map((_, index) => (index < words ? '---' : '---:'))),
    ...rows.map(({ cells }) =>
      line(cells.map((cell) => (typeof cell === 'string' ? plain(cell) : emphasised(cell)))),
    ),
  ]
  return [
    ...(title === undefined ? [] : [`**${plain(title)}**`, '']),
    ...lines,
    ...(note === undefined ? [] : ['', plain(note)]),
  ].join('\n')
}

function emphasised({ text, others = [], small, tone }: Cell): string {
  const pieces = [text, ...others.map((piece) => piece.text)].map(plain).join(' / ')
  return `${tone === 'bad' ? `**${pieces}**` : pieces}${small === undefined ? '' : ` (${plain(small)})`}`
}

/** Text that means nothing to Markdown. */
export function plain(text: string): string {
  return text
    .replace(/\s+/g, ' ')
    .replace(/&/g, '&amp;')
    .replace(/</g, '&lt;')
    .replace(/[\\`*_[\]|~]/g, (character) => `\\${character}`)
}
