/** Colours 0 to 6: those of lines and bars. */
const LIGHT = ['#0072b2', '#d55e00', '#008060', '#b0568c', '#b07d00', '#3a9bd1', '#4b5563']
const DARK = ['#4aa8e0', '#ff8a3d', '#2cc295', '#e08cc0', '#e8b33a', '#8ccff5', '#b4bdc9']

function variables(colours: readonly string[]): string {
  return colours.map((colour, index) => `--c${index}:${colour}`).join(';')
}

const COLOUR_RULES = LIGHT.map(
  (_, index) =>
    `.line.c${index},.whisker.c${index}{stroke:var(--c${index})}.point.c${index},.dots.c${index},.stack .f${index}{fill:var(--c${index})}.swatch.f${index}{background:var(--c${index})}`,
).join('\n')

export const style: string = `
:root{color-scheme:light dark;--page:#f6f7f9;--card:#fff;--ink:#1b2230;--soft:#5d687a;--line:#dfe3ea;--lead:#0f766e;--bad:#b3380a;--bad-page:#fff4ee;--warn:#8a5a00;--warn-page:#fff8e6;--code:#f2f4f7;--on:#fff;--rest:#d5dae2;${variables(LIGHT)}}
@media(prefers-color-scheme:dark){:root{--page:#12151b;--card:#1a1f28;--ink:#e6e9ef;--soft:#9aa6b8;--line:#303846;--lead:#2dd4bf;--bad:#fb923c;--bad-page:#2b1c14;--warn:#e8b33a;--warn-page:#272113;--code:#141921;--on:#10141a;--rest:#3b4555;${variables(DARK)}}}
*{box-sizing:border-box}
html{scroll-padding-top:12px}
body{margin:0 auto;max-width:1320px;padding:24px;background:var(--page);color:var(--ink);font:15px/1.55 system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif}
h1{font-size:25px;margin:0 0 4px;line-height:1.25}h2{font-size:19px;margin:0 0 12px}h3{font-size:16px;margin:28px 0 10px}h4{font-size:14px;margin:22px 0 6px}
p{margin:0 0 12px;max-width:100ch}a{color:inherit;text-decoration-color:var(--line);text-underline-offset:3px}a:hover{color:var(--lead);text-decoration-color:currentColor}
header p{color:var(--soft)}
.tiles{display:flex;flex-wrap:wrap;gap:12px;margin:16px 0}
.tiles div{flex:1 1 150px;background:var(--card);border:1px solid var(--line);border-radius:10px;padding:10px 16px}
.tiles b{display:block;font-size:21px;line-height:1.3;font-variant-numeric:tabular-nums}.tiles span{color:var(--soft);font-size:12.5px}
.tiles .bad{color:inherit;font-weight:400}.tiles .bad b{color:var(--bad)}
nav{margin:0 0 16px;color:var(--soft);display:flex;flex-wrap:wrap;gap:4px 18px;font-size:14px}
section{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:18px 20px;margin-bottom:18px}
.trouble{background:var(--bad-page);border:1px solid var(--bad);border-left-width:5px;border-radius:8px;padding:10px 16px;margin-bottom:14px;overflow-wrap:anywhere}
.trouble h3{margin:0 0 4px;color:var(--bad);font-size:15px}.trouble ul,.notes{margin:0;padding-left:20px}
.skipped,.warning{background:var(--warn-page);border-color:var(--warn)}.skipped h3{color:var(--warn)}
.warning{border-left:5px solid var(--warn);border-radius:8px;padding:10px 16px;max-width:none}
.notes{color:var(--soft);margin-top:12px;font-size:14px;overflow-wrap:anywhere}
pre{margin:4px 0;padding:8px 10px;background:var(--code);border-radius:6px;font:12px/1.45 ui-monospace,monospace;white-space:pre-wrap;overflow-wrap:anywhere}
.wide{overflow-x:auto;margin:0 0 14px}.wide:focus-visible{outline:2px solid var(--lead)}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:14px;min-width:min(100%,420px)}
caption{text-align:left;font-weight:600;padding:0 0 6px;caption-side:top}
td,th{padding:5px 18px 5px 0;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
th{color:var(--soft);font-size:12.5px;font-weight:500;vertical-align:bottom}
.figure{text-align:right;white-space:nowrap}td.word{max-width:68ch;overflow-wrap:break-word}td.word:first-child{min-width:13ch}.plots td,.plots th{padding-right:12px}.plots td.word:first-child{min-width:9ch}
td:last-child,th:last-child{padding-right:4px}
tbody tr:hover{background:var(--code)}tr:target{background:var(--warn-page)}
small{color:var(--soft);font-size:12px}.many small{display:block}
.good{color:var(--lead);font-weight:600}.bad{color:var(--bad);font-weight:600}.soft{color:var(--soft)}
.deep-1{padding-left:40px}.deep-2{padding-left:62px}
.note{color:var(--soft);font-size:13.5px}
.figures{color:var(--soft);font-weight:400;font-variant-numeric:tabular-nums}
details{margin:0 0 14px}summary{cursor:pointer;color:var(--soft);font-size:14px;padding:4px 0}summary:hover{color:var(--lead)}
.plots>*{min-width:0}.plots>.wide,.plots>details{grid-column:1/-1}.plots h3{margin-top:14px}
.plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,540px),1fr));gap:12px 24px}
figure{margin:0 0 14px;min-width:0}figcaption{font-weight:600;font-size:14px;margin-bottom:4px}.plots h3+figure figcaption{font-weight:400;color:var(--soft)}
.overview{max-width:860px;overflow-x:auto}.overview svg{min-width:560px}
.picture{overflow-x:auto}.picture svg{min-width:480px}
svg{display:block;width:100%;height:auto}
.legend{list-style:none;margin:4px 0 0;padding:0;display:flex;flex-wrap:wrap;gap:2px 20px;font-size:13.5px}
.legend li{display:flex;align-items:center;gap:7px}.legend svg{width:30px;height:14px;flex:none;min-width:0}
.keys li{gap:0}.keys .figures{margin-left:6px}
.swatch{display:inline-block;min-width:20px;height:17px;border-radius:4px;margin-right:8px;font:600 11px/17px system-ui,sans-serif;text-align:center;color:var(--on);flex:none}.swatch.rest{background:var(--rest);color:var(--ink)}
.grid{stroke:var(--line);fill:none}.axis{stroke:var(--soft);fill:none}.gap{stroke:var(--card);stroke-width:3}
.tick,.name,.still{fill:var(--soft);font-size:13px;font-variant-numeric:tabular-nums}.name{font-size:13px}
.middle{text-anchor:middle}.end{text-anchor:end}
.line{fill:none;stroke-width:2}.d1{stroke-dasharray:7 4}.d2{stroke-dasharray:2 3.5}
.point{stroke:var(--card);stroke-width:1}.whisker{fill:none;stroke-width:1.4;opacity:.8}.dots{opacity:.28}
.stack rect{stroke:var(--card);stroke-width:1}.stack .rest{fill:var(--rest)}.stack .mark{fill:var(--on);font-size:13px;font-weight:600}.stack text.rest{fill:var(--ink)}
.bracket{fill:none;stroke:var(--soft)}
${COLOUR_RULES}
@media(max-width:640px){body{padding:12px;font-size:14px}section{padding:14px 12px}td,th{padding-right:12px}}
@media print{body{background:#fff}section{break-inside:avoid-page}}
`
