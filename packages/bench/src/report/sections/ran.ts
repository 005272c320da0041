/** What was run, on what, and what was not. */
import type { SuiteResults } from '../../results.js'
import { nameOf } from '../../results.js'
import type { Context } from '../context.js'
import { type Markup, markup } from '../markup.js'
import { quantity } from '../quantities.js'
import { anchorOf } from '../series.js'
import { type Cell, type Table, tableMarkup } from '../table.js'
import { failedCell } from './series-table.js'

export function machineLine({ results: { machine } }: Context): string {
  const { cpus, cpu, memoryBytes, kernel, fileSystem, virtualised, node } = machine
  const where = virtualised === 'none' || virtualised === 'unknown' ? '' : `, in ${virtualised}`
  return `${cpus} × ${cpu}${where}, ${quantity(memoryBytes, 'bytes')} of memory, Linux ${kernel}, ${fileSystem}, Node ${node}`
}

export function runLine({ results: { deltabox, size, started } }: Context): string {
  return `DeltaBox ${deltabox}, a ${size} run of ${started.slice(0, 16).replace('T', ' ')} UTC`
}

export interface Counts {
  readonly samples: number
  readonly failures: number
  readonly skipped: number
  readonly early: number
}

export function countsOf({ results: { suites }, series }: Context): Counts {
  return {
    samples: series.reduce((sum, { samples }) => sum + samples.length, 0),
    failures: series.reduce((sum, { failures }) => sum + failures.length, 0),
    skipped: suites.reduce((sum, { skipped }) => sum + skipped.length, 0),
    early: suites.filter(({ error }) => error !== undefined).length,
  }
}

/** What a reader has to know before any figure. */
export function troubleMarkup(context: Context): Markup {
  return markup`${earlyMarkup(context)}${failuresMarkup(context)}${skippedMarkup(context)}`
}

function earlyMarkup({ results: { suites } }: Context): Markup | undefined {
  const early = suites.filter(({ error }) => error !== undefined)
  if (early.length === 0) return undefined
  return markup`<div class="trouble" id="early"><h3>Ended early</h3><ul>${early.map(
    ({ name, error }) => markup`<li><b>${name}</b><pre>${error}</pre></li>`,
  )}</ul></div>`
}

/** Alike ones once. */
export function failureLines({
  series,
}: Context): { readonly of: (typeof series)[number]; readonly why: string; readonly times: number }[] {
  return series.flatMap((one) =>
    [...new Set(one.failures)].map((why) => ({
      of: one,
      why,
      times: one.failures.filter((other) => other === why).length,
    })),
  )
}

function failuresMarkup(context: Context): Markup | undefined {
  const lines = failureLines(context)
  if (lines.length === 0) return undefined
  return markup`<div class="trouble" id="failures"><h3>Failed</h3><ul>${lines.map(
    ({ of, why, times }) =>
      markup`<li><a href="#${anchorOf(of)}">${nameOf(of)}</a>, ${times} of ${of.failures.length + of.samples.length}: ${why}</li>`,
  )}</ul></div>`
}

function skippedMarkup({ results: { suites } }: Context): Markup | undefined {
  const skipped = suites.flatMap((suite) => suite.skipped.map((one) => ({ ...one, suite: suite.name })))
  if (skipped.length === 0) return undefined
  return markup`<div class="trouble skipped" id="skipped"><h3>Not measured here</h3><ul>${skipped.map(
    ({ what, why, suite }) => markup`<li><b>${what}</b> (${suite}): ${why}</li>`,
  )}</ul></div>`
}

function suiteTable({ results: { suites } }: Context): Table {
  return {
    head: ['suite', 'took', 'load before', 'load after', 'series', 'samples', 'failed', 'skipped'],
    words: 1,
    rows: suites.map((suite) => ({ cells: suiteCells(suite) })),
    note: 'Load: how many processes wanted a processor, over the last minute.',
  }
}

function suiteCells({ name, seconds, load, series, skipped, error }: SuiteResults): Cell[] {
  const samples = series.reduce((sum, one) => sum + one.samples.length, 0)
  const failures = series.reduce((sum, one) => sum + one.failures.length, 0)
  return [
    error === undefined ? { text: name } : { text: name, small: 'ended early', tone: 'bad' },
    { text: quantity(seconds * 1000, 'ms') },
    { text: load[0].toFixed(2) },
    { text: load[1].toFixed(2) },
    { text: String(series.length) },
    { text: String(samples) },
    failedCell(failures),
    failedCell(skipped.length),
  ]
}

function loadLine({ results: { suites } }: Context): string {
  const loads = suites.flatMap(({ load }) => load)
  const seconds = suites.reduce((sum, suite) => sum + suite.seconds, 0)
  const most = loads.length > 0 ? `, load up to ${Math.max(...loads).toFixed(2)}` : ''
  return `${suites.length} suites in ${quantity(1000 * seconds, 'ms')}${most}`
}

/** How it was timed, and each suite with what its machine did meanwhile. */
export function ranMarkup(context: Context, notes: readonly string[]): Markup {
  return markup`<p>Every sample is the time from a call of the SDK to its return, by the clock of the calling program, unless its series says otherwise: the last table tells of each series what is in a sample. Whatever is compared was measured in turns. 1 MB is 10<sup>6</sup> bytes, except in the names of what was measured, where it is 2<sup>20</sup>. A figure leads to the series that it was computed from.</p><details><summary>${loadLine(context)}</summary>${tableMarkup(
    suiteTable(context),
  )}</details>${notesMarkup(notes)}`
}

export function notesMarkup(notes: readonly string[]): Markup | undefined {
  return notes.length === 0
    ? undefined
    : markup`<ul class="notes">${notes.map((note) => markup`<li>${note}</li>`)}</ul>`
}
