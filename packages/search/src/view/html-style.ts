import { SHADES } from './html-tree.js'

/** From brown over sand to green, which those who see no red and green tell apart too. */
function shade(number: number): string {
  const part = number / (SHADES - 1)
  const hue = Math.round(28 + 135 * part)
  const light = Math.round(62 - 22 * Math.abs(part - 0.45))
  return `.shade-${number}{--shade:hsl(${hue} 55% ${light}%)}`
}

export const style: string = `
:root{color-scheme:light dark;--page:#f6f7f9;--card:#fff;--ink:#1b2230;--soft:#667085;--line:#dfe3ea;--lead:#0f766e;--bad:#c2410c;--add:#e6f5ec;--del:#fdecea;--code:#f2f4f7}
@media(prefers-color-scheme:dark){:root{--page:#12151b;--card:#1a1f28;--ink:#e6e9ef;--soft:#98a2b3;--line:#303846;--lead:#2dd4bf;--bad:#fb923c;--add:#12301f;--del:#3a1d1a;--code:#141921}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1500px;padding:24px;background:var(--page);color:var(--ink);font:14px/1.5 system-ui,sans-serif}
h1{font-size:22px;margin:0}h2{font-size:16px;margin:0 0 12px}
header p{margin:2px 0 16px;color:var(--soft)}
.tiles{display:flex;flex-wrap:wrap;gap:12px;margin-bottom:16px}
.tiles div{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:10px 18px;min-width:130px}
.tiles b{display:block;font-size:20px;font-variant-numeric:tabular-nums}.tiles span{color:var(--soft);font-size:12px}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:16px;margin-bottom:16px}
.bar{display:flex;justify-content:space-between;gap:12px;flex-wrap:wrap;margin-bottom:10px;color:var(--soft);font-size:12px}
.legend i{display:inline-block;width:14px;height:12px;vertical-align:-1px;background:var(--shade,transparent)}
.legend i.key{border-radius:4px;border:1.5px solid var(--line);margin-left:12px}.legend i.lead{border-color:var(--lead);border-width:2.5px}.legend i.failed{border:1.5px dashed var(--bad)}.legend i.dropped{opacity:.5;background:var(--line)}
button{font:inherit;color:inherit;background:var(--code);border:1px solid var(--line);border-radius:6px;padding:2px 10px;cursor:pointer}
.split{display:flex;gap:16px;height:clamp(420px,72vh,900px)}
svg{flex:1;min-width:0;height:100%;background:var(--page);border:1px solid var(--line);border-radius:8px;cursor:grab;touch-action:none;user-select:none}
aside{width:340px;overflow:auto;font-size:13px}.hint{color:var(--soft)}
aside h3{margin:0 0 8px;font-size:14px;overflow-wrap:anywhere}
pre{margin:8px 0 0;padding:10px;background:var(--code);border-radius:6px;font:12px/1.45 ui-monospace,monospace;white-space:pre-wrap;overflow-wrap:anywhere}
.edges path{fill:none;stroke:var(--line);stroke-width:1.5}.edges .lead{stroke:var(--lead);stroke-width:3}
.node{cursor:pointer;outline:none}.node rect{fill:var(--card);stroke:var(--line);stroke-width:1.2}
.node .strip{fill:var(--shade,var(--line));stroke:none}
.node.lead rect:first-of-type{stroke:var(--lead);stroke-width:2.5}.node.failed rect:first-of-type{stroke:var(--bad);stroke-dasharray:5 3}
.node.dropped{opacity:.62}.node:hover rect:first-of-type,.node:focus rect:first-of-type,.node.chosen rect:first-of-type{stroke:var(--ink);stroke-width:2.5}
.node text{fill:var(--ink);font:12.5px system-ui,sans-serif}.node .figures{fill:var(--soft);font-size:11px;font-variant-numeric:tabular-nums}
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}
td,th{padding:4px 14px 4px 0;border-bottom:1px solid var(--line);text-align:left;vertical-align:top;font-weight:normal;overflow-wrap:anywhere}th{color:var(--soft);font-size:12px}
.wide td{white-space:nowrap;max-width:64ch;overflow:hidden;text-overflow:ellipsis}.failures td{white-space:pre-wrap;max-width:none}
.note{color:var(--soft);margin:10px 0 0;max-width:90ch}ol{margin:0;padding-left:32px}.worth{color:var(--lead);font-variant-numeric:tabular-nums;margin-left:6px}
.diff span{display:block;padding:0 4px;min-height:1.45em}.diff .add{background:var(--add)}.diff .del{background:var(--del)}.diff .at{color:var(--soft)}
${Array.from({ length: SHADES }, (_, number) => shade(number)).join('\n')}
@media(max-width:900px){.split{flex-direction:column;height:auto}svg{height:60vh;flex:none}aside{width:auto}}
`
