import { describe, expect, it } from 'vitest'
import { reportHtml } from '../../src/report/html.js'
import { reportMarkdown } from '../../src/report/markdown.js'
import { overviewSvg } from '../../src/report/overview.js'
import { anchorOf } from '../../src/report/series.js'
import { nameOf, type Series, seriesOf } from '../../src/results.js'
import { around, compared, complete, judged, made, run, suite } from './made-up.js'
import { faultIn } from './well-formed.js'

const page = reportHtml(complete, judged, compared)
const summary = reportMarkdown(complete, judged, compared)

function pageOf(...series: readonly Series[]): string {
  return reportHtml(run([suite('any', series)]), [])
}

/** Rows of all tables as text, a stroke between cells. */
function rowsOf(html: string): string[] {
  return Array.from(html.matchAll(/<tr[^>]*>(.*?)<\/tr>/g), ([, cells = '']) =>
    cells
      .replace(/<\/t[dh]>/g, ' | ')
      .replace(/<[^>]*>/g, '')
      .trim(),
  )
}

function rowsWith(html: string, text: string): string[] {
  return rowsOf(html).filter((row) => row.startsWith(text))
}

describe('the checker itself', () => {
  it('finds what is not XML', () => {
    expect(faultIn('<a href="b"><c/>&lt; &amp; d</a>')).toBeUndefined()
    expect(faultIn('<a><b></a></b>')).toBe('</a> closes another')
    expect(faultIn('<a>')).toBe('a is not closed')
    expect(faultIn('<a b=c></a>')).toBe('a < that begins no tag')
    expect(faultIn('<a>b & c</a>')).toBe('an & in b & c')
    expect(faultIn('<a id="x"/><b id="x"/>')).toBe('two elements are x')
    expect(faultIn('<a b="1" b="2"/>')).toBe('an attribute twice in <a b="1" b="2"/>')
  })
})

describe('a report', () => {
  it('is well-formed, needs nothing else and runs nothing', () => {
    expect(faultIn(page)).toBeUndefined()
    expect(page).not.toMatch(/<script|<link|<img|@import|url\(|href="(?!#)/)
  })

  it('is of numbers alone', () => {
    for (const text of [page, summary]) expect(text).not.toMatch(/NaN|Infinity|undefined|\[object/)
  })

  it('has a place for each series, to which its figures lead', () => {
    const series = seriesOf(complete)
    for (const one of series) {
      expect(page.split(` id="${anchorOf(one)}"`).length - 1, nameOf(one)).toBe(1)
    }
    const ids = new Set(Array.from(page.matchAll(/ id="([^"]*)"/g), ([, id]) => id))
    const links = Array.from(page.matchAll(/href="#([^"]*)"/g), ([, id]) => id)
    expect(links.filter((id) => !ids.has(id))).toEqual([])
  })

  it('says what was run', () => {
    for (const text of ['Made-up CPU', '6.18.5', 'ext2/ext3', 'a full run of 2026-03-04 05:06', '0.1.0']) {
      expect(page).toContain(text)
      expect(summary).toContain(text)
    }
    expect(rowsWith(page, 'images |')).toEqual(['images | 4.20 s | 0.31 | 1.20 | 4 | 44 | 0 | 1 |'])
  })

  it('tells before all else what failed, what was skipped and what ended early', () => {
    const head = page.slice(0, page.indexOf('<main>'))
    expect(head).toContain('baselines/gvisor/restore</a>, 2 of 11: Error: runsc: &lt;no answer&gt;')
    expect(head).toContain('<b>CRIU 3</b> (images): it does not start on this kernel')
    expect(head).toContain('<b>policies</b><pre>Error: out of &lt;space&gt;\n    at somewhere</pre>')
    expect(head).toContain('1 kept, 1 broken, 1 not measured')
    expect(summary).toContain('**baselines/gvisor/restore** failed 2 times: Error: runsc: &lt;no answer>')
    expect(summary).toContain('not measured: CRIU 3: it does not start on this kernel')
    expect(summary).toContain('**policies** ended early: Error: out of &lt;space>\n')
  })

  it('says of each promise whether it was kept', () => {
    expect(rowsWith(page, 'tree-size |')).toEqual([
      'tree-size | blocking in a large tree / in a small one | ✓ kept | 1.020 | 1.50 |',
    ])
    expect(rowsWith(page, 'depth |')[0]).toContain('✗ broken | 2.50 | 2.00')
    expect(rowsWith(page, 'fork-many |')[0]).toContain('○ not measured | – | 1.00')
    expect(summary).toContain('## Promises: 1 kept, 1 broken, 1 not measured')
  })

  it('shows a group that nobody has thought of', () => {
    expect(page).toContain('<h3>pages</h3>')
    expect(rowsWith(page, 'reading |')).toEqual([
      'reading | +3.00 ms per page | 3.00 ms at 1 | 12.0 ms at 4 | 4.00 × |',
      'reading | 1 | 3.00 ms | 3.77 ms | 4.21 ms | 11 | 0 |',
      'reading | 2 | 6.00 ms | 7.54 ms | 8.42 ms | 11 | 0 |',
      'reading | 4 | 12.0 ms | 15.1 ms | 16.8 ms | 11 | 0 |',
    ])
  })

  it('has what suites have noted where they are shown', () => {
    const worker = page.slice(
      page.indexOf('<section id="worker">'),
      page.indexOf('<section id="operations">'),
    )
    expect(worker).toContain('<li>CRIU 4.1.1: memory and files</li>')
  })

  it('has the same figures in short', () => {
    expect(summary).toContain(
      '| CRIU | 186 ms (p95 234 ms) | 60.0 × | 68.0 ms (p95 85.5 ms) | 20.0 × | 11 / 11 | 0 |',
    )
    expect(summary).toContain('| checkpoint | +8.00 µs per MB |')
  })

  it('of nothing is a page that says so', () => {
    const empty = run([])
    expect(faultIn(reportHtml(empty, []))).toBeUndefined()
    expect(faultIn(overviewSvg(empty))).toBeUndefined()
    expect(overviewSvg(empty)).toContain('Nothing of this was measured.')
    expect(reportMarkdown(empty, [])).toContain('0 samples in 0 series')
  })
})

describe('tables', () => {
  it('compare every contender with DeltaBox', () => {
    expect(rowsWith(page, 'gVisor |')).toEqual([
      'gVisor | 97.0 ms p95 122 ms | 31.3 × | 288 ms p95 372 ms | 84.7 × | 11 / 9 | 2 |',
    ])
  })

  it('tell of the same worker what nobody can be faster than', () => {
    expect(rowsWith(page, 'bare fork: the limit |')).toHaveLength(1)
    expect(rowsWith(page, 'bare calls: the limit |')).toEqual([
      'bare calls: the limit | 0.700 ms p95 0.880 ms | – | 1.20 ms p95 1.51 ms | – | 11 / 11 | 0 |',
    ])
    expect(rowsWith(page, 'a worker that forks itself |')).toEqual([
      'a worker that forks itself | 2.10 ms p95 2.64 ms | – | 2.30 ms p95 2.89 ms | – | 11 / 11 | 0 |',
    ])
  })

  it('tell what it is to be twenty times faster than others', () => {
    expect(rowsWith(page, 'a twentieth of ')).toEqual([
      'a twentieth of CRIU | 9.30 ms | – | 3.40 ms | – | – | – |',
      'a twentieth of gVisor | 4.85 ms | – | 14.4 ms | – | – | – |',
    ])
  })

  it('set operations beside bare forks, as many as they need', () => {
    expect(rowsWith(page, 'fork 16 |')[0]).toContain(
      '28.8 ms | 36.2 ms | 40.4 ms | 11 | 0 | 2.25 × 16 bare forks',
    )
    expect(rowsWith(page, 'checkpoint |')[0]).toContain('3.75 × bare fork |')
    expect(rowsWith(page, 'create |')[0]).toMatch(/\| – \|$/)
  })

  it('give searches by the event, as others have published them', () => {
    const [means, medians] = rowsWith(page, 'django |')
    expect(means).toContain('4.25 / 3.95 n 27 / 25')
    expect(medians).toContain('4.20 / 3.90 n 27 / 25 | 4.40 / 5.10 n 9 / 9 | 420 / 180 n 9 / 9')
    expect(rowsWith(page, 'Django |')).toEqual([
      'Django | 568 / 28,437 | 741 / 3,784 | 792 / 1,116 | 3,298 / 800 | 488 / 790 | 12.12 / 2.23 | 4.25 / 3.95 |',
    ])
    expect(rowsWith(page, 'django |')[2]).toContain('1.004 × n 1 | 1.009 × n 1')
  })

  it('set what is written beside what a bare edit writes', () => {
    expect(rowsWith(page, 'ext4, a file of 1-8 KB, replaced |')).toEqual([
      'ext4, a file of 1-8 KB, replaced | 90.0 KB n 5 | 60.0 KB n 5 | 1.50 × |',
    ])
  })

  it('show what only failed', () => {
    const only = made({ group: 'operations', operation: 'create', samples: [], failures: ['no'] })
    expect(rowsWith(pageOf(only), 'create |')).toEqual(['create | – | – | – | 0 | 1 |'])
    const restore = made({ ...only, group: 'baselines', system: 'criu', operation: 'restore' })
    const html = pageOf(made({ group: 'baselines', operation: 'restore', samples: [1] }), restore)
    expect(rowsWith(html, 'CRIU |')).toEqual(['CRIU | – | – | failed | – | – / 0 | 1 |'])
    expect(html).toContain('restore failed')
    expect(html).not.toContain('NaN')
  })
})

describe('where time goes', () => {
  const phases = { cell: [2], 'make family': [1.5], fork: [1], overlay: [1], total: [3.2] }
  const rollback = made({ group: 'operations', operation: 'rollback-template', samples: [4], phases })

  it('is stacked of steps that follow each other, and what is left', () => {
    const html = pageOf(rollback)
    expect(html).toContain('One after the other: cell 2.00 ms, overlay 1.00 ms, elsewhere 1.00 ms.')
    const steps = rowsOf(html).filter((row) => row.endsWith('% | 1 |'))
    expect(steps.map((row) => row.split(' | ')).map(([name, , ms, share]) => [name, ms, share])).toEqual([
      ['1cell', '2.00 ms', '50.0 %'],
      ['make family', '1.50 ms', '37.5 %'],
      ['fork', '1.00 ms', '25.0 %'],
      ['2overlay', '1.00 ms', '25.0 %'],
      ['total', '3.20 ms', '80.0 %'],
    ])
    expect(rowsWith(html, 'elsewhere')).toEqual([
      'elsewhere | SDK, HTTP, the rest of the daemon | 1.00 ms | 25.0 % | – |',
    ])
  })

  it('is not stacked where steps overlap', () => {
    const html = pageOf({ ...rollback, samples: [2.9] })
    expect(html).not.toContain('class="stack"')
    expect(html).toContain('They are not stacked.')
    expect(rowsWith(html, '1cell |')).toHaveLength(1)
  })

  it('of standing still is made of the steps in which processes do', () => {
    const steps = { scan: [5], freeze: [1], thaw: [0.5], blocking: [2] }
    const html = pageOf(
      made({ group: 'operations', operation: 'checkpoint-blocking', samples: [2], phases: steps }),
    )
    expect(html).toContain('One after the other: freeze 1.00 ms, thaw 0.500 ms, elsewhere 0.500 ms.')
    expect(rowsWith(html, 'scan |')).toHaveLength(1)
  })
})

describe('growth', () => {
  const at = (files: number, samples: readonly number[]): Series =>
    made({ group: 'tree-size', operation: 'checkpoint', parameters: { files }, samples })

  it('has the exact slope in words', () => {
    const html = pageOf(at(100, [2]), at(1100, [14, 12, 16]), at(600, [8]))
    expect(rowsWith(html, 'checkpoint |')[0]).toBe(
      'checkpoint | +12.0 µs per file | 2.00 ms at 100 | 14.0 ms at 1,100 | 7.00 × |',
    )
    expect(html).toContain(
      '<desc id="growth-tree-size-ms-0-d">Medians over files. checkpoint: 2.00 ms at 100, 14.0 ms at 1,100.</desc>',
    )
  })

  it('has no plot and no slope of one point', () => {
    const html = pageOf(at(500, [2, 3, 4]))
    expect(html).toContain('What costs grow with')
    expect(html).not.toMatch(/<figure>|slope<|NaN/)
    expect(rowsWith(html, 'checkpoint (500 files) |')).toEqual([
      'checkpoint (500 files) | 3.00 ms | 3.90 ms | 3.98 ms | 3 | 0 |',
    ])
  })

  it('draws lines, of which single points are none', () => {
    const single = made({ ...at(2, [7]), operation: 'create' })
    const html = pageOf(at(1, [1]), at(2, [2]), single)
    expect(html).toContain(
      '<desc id="growth-tree-size-ms-0-d">Medians over files. checkpoint: 1.00 ms at 1, 2.00 ms at 2.</desc>',
    )
    expect(rowsWith(html, 'create |')).toEqual(['create | 2 | 7.00 ms | 7.00 ms | 7.00 ms | 1 | 0 |'])
  })

  it('leaves out what failed at a point, and says so in its row', () => {
    const html = pageOf(at(1, [1]), made({ ...at(2, []), failures: ['no'] }), at(3, [2]))
    expect(rowsWith(html, 'checkpoint |')).toContain('checkpoint | 2 | – | – | – | 0 | 1 |')
    expect(html).not.toContain('NaN')
  })

  it('draws every sample, and those far above at the edge', () => {
    const html = pageOf(at(1, [1, 1, 1]), at(2, [...around(1, 41), 900]))
    expect(html).toContain('△ One sample lies above the picture: 900 ms.')
  })

  it('draws zero beside a logarithm', () => {
    const html = pageOf(at(0, [1]), at(10, [2]), at(1000, [3]))
    expect(html).toContain('files (logarithmic)')
    expect(html).not.toMatch(/NaN|Infinity/)
    expect(faultIn(html)).toBeUndefined()
  })
})

describe('hostile text', () => {
  const evil = `"><script>alert('&')</script>|\u0000\ud800\n**`
  const series = [
    made({ group: 'baselines', operation: 'checkpoint', system: evil, samples: [1, 2] }),
    made({ group: 'search', operation: 'checkpoint', parameters: { repository: evil }, samples: [1] }),
    made({ group: evil, operation: evil, parameters: { [evil]: 1 }, samples: [1], phases: { [evil]: [1] } }),
    made({ group: evil, operation: evil, parameters: { [evil]: 2 }, samples: [1], failures: [evil] }),
    made({
      group: 'policies',
      operation: evil,
      unit: 'bytes',
      parameters: { policy: evil },
      samples: [1, 2],
    }),
    made({ group: 'operations', operation: evil, samples: [1], phases: { [evil]: [0.5] } }),
  ]
  const results = run([
    suite(evil, series, { skipped: [{ what: evil, why: evil }], notes: [evil], error: evil }),
  ])
  const html = reportHtml(
    results,
    [{ promise: evil, atMost: 1, measured: 1, broken: false }],
    new Map([[evil, evil]]),
  )

  it('is text', () => {
    expect(html).not.toContain('<script')
    expect(faultIn(html)).toBeUndefined()
    expect(faultIn(overviewSvg(results))).toBeUndefined()
  })

  it('leaves tables of Markdown whole', () => {
    const markdown = reportMarkdown(results, [])
    expect(markdown).not.toContain('<script')
    const [line = ''] = markdown.split('\n').filter((one) => one.includes('script') && one.startsWith('|'))
    expect(line.split(/(?<!\\)\|/)).toHaveLength(9)
  })
})

describe('the overview', () => {
  const svg = overviewSvg(complete)

  it('stands alone, in the light and in the dark', () => {
    expect(faultIn(svg)).toBeUndefined()
    expect(svg).toMatch(/^<svg [^>]*xmlns="http:\/\/www.w3.org\/2000\/svg"/)
    expect(svg).toContain('@media(prefers-color-scheme:dark)')
    expect(svg.indexOf('class="page"')).toBeLessThan(svg.indexOf('class="head"'))
  })

  it('has every contender, with figures and what they are to ours', () => {
    expect(svg).toContain(
      'bare fork(): 0.800 ms; DeltaBox: checkpoint 3.10 ms, restore 3.40 ms; CRIU: checkpoint 186 ms, restore 68.0 ms',
    )
    expect(svg).toContain('1.42 s<tspan class="ratio" dx="8">418 ×</tspan>')
  })

  it('has bars by the logarithm', () => {
    const widths = Array.from(
      svg.matchAll(/<rect class="(?:checkpoint|restore)" x="200"[^>]* width="([\d.]+)"/g),
      ([, width]) => Number(width),
    )
    const [own = 0, , criu = 0] = widths
    expect((criu - own) / Math.log10(186 / 3.1)).toBeCloseTo(400 / Math.log10(2000 / 0.1), 1)
  })
})
