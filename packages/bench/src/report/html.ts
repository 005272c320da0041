/** All of a run as one page that needs nothing else. */
import type { Verdict } from '../promises.js'
import type { Results } from '../results.js'
import { type Context, contextOf, type Section } from './context.js'
import { type Markup, markup } from './markup.js'
import { publishedMarkup } from './sections/elsewhere.js'
import { growth } from './sections/growth.js'
import { operations } from './sections/operations.js'
import { everythingMarkup, othersMarkup } from './sections/others.js'
import { policies } from './sections/policies.js'
import { promiseLine, promiseTable } from './sections/promises.js'
import { countsOf, machineLine, notesMarkup, ranMarkup, runLine, troubleMarkup } from './sections/ran.js'
import { rollouts } from './sections/rollouts.js'
import { search } from './sections/search.js'
import { worker } from './sections/worker.js'
import { writes } from './sections/writes.js'
import { style } from './style.js'
import { tableMarkup } from './table.js'

const SECTIONS: readonly Section[] = [worker, operations, growth, search, policies, writes, rollouts]

interface Part {
  readonly id: string
  readonly title: string
  readonly content: Markup | undefined
}

export function reportHtml(
  results: Results,
  verdicts: readonly Verdict[],
  compared?: ReadonlyMap<string, string>,
): string {
  const context = contextOf(results, verdicts, compared)
  const parts = partsOf(context).filter(({ content }) => content !== undefined)
  const links = parts.map(({ id, title }) => markup`<a href="#${id}">${title}</a>\n`)
  const sections = parts.map(
    ({ id, title, content }) => markup`<section id="${id}"><h2>${title}</h2>${content}</section>\n`,
  )
  const page = markup`<html lang="en"><head><meta charset="utf-8"/><meta name="viewport" content="width=device-width, initial-scale=1"/><title>DeltaBox, measured</title><style>${{ markup: style }}</style></head><body>
<header><h1>What DeltaBox costs</h1><p>${runLine(context)}<br/>${machineLine(context)}</p>${tiles(context)}</header>
${troubleMarkup(context)}<nav aria-label="contents">${links}</nav><main>${sections}</main></body></html>`
  return `<!doctype html>\n${page.markup}\n`
}

function tiles(context: Context): Markup {
  const { samples, failures, skipped, early } = countsOf(context)
  const broken = context.verdicts.some((verdict) => verdict.broken)
  const tile = (figure: string | number, what: string, isBad = false): Markup =>
    markup`<div${isBad ? markup` class="bad"` : ''}><b>${figure}</b><span>${what}</span></div>`
  return markup`<div class="tiles">${[
    tile(promiseLine(context.verdicts), 'promises', broken),
    tile(samples.toLocaleString('en'), `samples in ${context.series.length} series`),
    tile(failures, 'failed, and gave no sample', failures > 0),
    tile(skipped, 'skipped'),
    ...(early > 0 ? [tile(early, 'suites that ended early', true)] : []),
  ]}</div>`
}

function partsOf(context: Context): Part[] {
  const shown = new Set(SECTIONS.flatMap(({ groups }) => groups))
  const notes = notesOf(context)
  const content = (section: Section): Markup | undefined => {
    const inner = section.content(context)
    return inner && markup`${inner}${notesMarkup(notes.get(section) ?? [])}`
  }
  return [
    { id: 'run', title: 'What was run', content: ranMarkup(context, notes.get(undefined) ?? []) },
    {
      id: 'promises',
      title: 'Promises',
      content: context.verdicts.length > 0 ? tableMarkup(promiseTable(context)) : undefined,
    },
    ...SECTIONS.map((section) => ({ id: section.id, title: section.title, content: content(section) })),
    { id: 'others', title: 'Also measured', content: othersMarkup(context, shown) },
    { id: 'published', title: 'Published elsewhere', content: publishedMarkup(context) },
    { id: 'series', title: 'All series', content: everythingMarkup(context) },
  ]
}

/** What a suite has noted stands where most of what it measured is shown; else with what was run. */
function notesOf(context: Context): Map<Section | undefined, string[]> {
  const notes = new Map<Section | undefined, string[]>()
  for (const suite of context.results.suites) {
    const [first] = suite.series
    const section = SECTIONS.find(({ groups }) => first !== undefined && groups.includes(first.group))
    notes.set(section, [...(notes.get(section) ?? []), ...suite.notes])
  }
  return notes
}
