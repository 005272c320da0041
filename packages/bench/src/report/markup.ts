/** Pieces of a page, or of a picture in it. Text that is put into one is escaped, unless it is a piece itself. */
import { escapeHtml } from '@deltabox/search'

export interface Markup {
  readonly markup: string
}

type Put = Markup | string | number | undefined | readonly Put[]

/** The page is XML as well: every tag is closed, every attribute is quoted. */
export function markup(fixed: TemplateStringsArray, ...put: readonly Put[]): Markup {
  return { markup: String.raw({ raw: fixed }, ...put.map(written)) }
}

function written(put: Put): string {
  if (put === undefined) return ''
  if (typeof put === 'string' || typeof put === 'number') return escapeHtml(String(put))
  return 'markup' in put ? put.markup : put.map(written).join('')
}
