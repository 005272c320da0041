import { describe, expect, it } from 'vitest'
import type { SearchResult } from '../../src/options.js'
import { reportOf } from '../../src/report.js'
import type { SearchTree } from '../../src/tree.js'
import { escapeHtml, escapeJson } from '../../src/view/escape.js'
import { type HtmlReportOptions, htmlReport } from '../../src/view/html-report.js'
import { treeOf } from './trees.js'

const HOSTILE = `</script><script>alert(1)</script><img src=x onerror="alert(2)">'"&\u202e\u0000\ud800<!--`

function report(
  tree: SearchTree<string, string>,
  options: HtmlReportOptions<string, string> = {},
  reason: SearchResult['reason'] = 'found',
): string {
  return htmlReport({ tree, best: tree.best(), reason, report: reportOf(tree as SearchTree, 10) }, options)
}

describe('htmlReport', () => {
  it('has every node, and the way to the best', () => {
    const page = report(treeOf({ parent: 0 }, { parent: 1, value: 0.9 }, { parent: 0, value: 0.1 }), {
      title: 'A search',
      patch: '--- a\n+++ b\n@@ -1 +1 @@\n-old\n+new\n',
    })
    expect(page.match(/<g class="node/g)).toHaveLength(4)
    expect(page.match(/<path class="lead"/g)).toHaveLength(2)
    expect(page).toContain('<li value="2">&quot;do 2&quot; <span class="worth">0.90</span></li>')
    expect(page).toContain('<span class="del">-old</span><span class="add">+new</span></pre>')
    expect(page).toContain('3 steps, found')
  })

  it('lets nothing of what it shows be taken for a part of the page', () => {
    const failed = { status: 'failed', checkpoint: null, value: null, error: HOSTILE } as const
    const harmless = report(
      treeOf({ parent: 0, action: 'x', observation: 'x' }, { parent: 0, ...failed, error: 'x' }),
      { title: 'x', patch: 'x', tables: [{ title: 'x', head: ['x'], rows: [['x']], note: 'x' }] },
    )
    const hostile = report(
      treeOf({ parent: 0, action: HOSTILE, observation: HOSTILE }, { parent: 0, ...failed }),
      {
        ...{
          title: HOSTILE,
          patch: HOSTILE,
          describe: (action) => action,
          show: (observation) => observation,
        },
        tables: [{ title: HOSTILE, head: [HOSTILE], rows: [[HOSTILE]], note: HOSTILE }],
      },
    )
    const tags = (page: string): string[] => page.match(/<[a-z/!][^\s>]*/gi) ?? []
    expect(tags(hostile)).toEqual(tags(harmless))
    expect(hostile.split('<script')[0]).not.toMatch(/\u202e|\p{Cs}/u)
    const data = /<script type="application\/json" id="nodes">(.*)<\/script>/.exec(hostile)?.[1] ?? ''
    expect(JSON.parse(data)[1].observation).toBe(HOSTILE)
  })

  it('fetches nothing', () => {
    const page = report(treeOf({ parent: 0 }))
    expect(page).toContain(`default-src 'none'`)
    expect(page).not.toMatch(/https?:|src=|url\(|@import/)
  })

  it('tells of a search that came to nothing', () => {
    const page = report(treeOf(), {}, 'aborted')
    expect(page).toContain('0 steps, stopped before its end')
    expect(page).not.toContain('The way to the best')
    expect(page.replace(/<script>[\s\S]*<\/script>/, '')).not.toMatch(/NaN|undefined|Infinity/)
  })
})

describe('escapes', () => {
  it('of text', () => {
    expect(escapeHtml(`<a href='x' title="y">&\u0007\u2067\ud800\n`)).toBe(
      '&lt;a href=&#39;x&#39; title=&quot;y&quot;&gt;&amp;\ufffd\ufffd\ufffd\n',
    )
  })

  it('of JSON inside of a script', () => {
    const json = escapeJson(['</script>', '<!--', '\u2028'])
    expect(json).not.toMatch(/[<>\u2028]/)
    expect(JSON.parse(json)).toEqual(['</script>', '<!--', '\u2028'])
  })
})
