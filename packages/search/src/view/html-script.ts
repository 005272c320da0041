/** What the page does: zoom, pan, and show the node that is pointed at. Texts are only ever set as text. */
export const script: string = `
'use strict'
const nodes = JSON.parse(document.getElementById('nodes').textContent)
const svg = document.getElementById('tree')
const detail = document.getElementById('detail')
const whole = svg.viewBox.baseVal
const all = { x: whole.x, y: whole.y, width: whole.width, height: whole.height }
let view = { ...all }
const show = (next) => {
  view = next
  svg.setAttribute('viewBox', [view.x, view.y, view.width, view.height].join(' '))
}
const zoom = (factor, x, y) => {
  const width = Math.min(all.width * 4, Math.max(120, view.width * factor))
  const by = width / view.width
  show({ x: x - (x - view.x) * by, y: y - (y - view.y) * by, width, height: view.height * by })
}
const inPicture = (event) => new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse())
const byButton = (factor) => () => zoom(factor, view.x + view.width / 2, view.y + view.height / 2)
document.getElementById('in').onclick = byButton(0.75)
document.getElementById('out').onclick = byButton(1.33)
document.getElementById('whole').onclick = () => show({ ...all })
svg.addEventListener('wheel', (event) => {
  event.preventDefault()
  const { x, y } = inPicture(event)
  zoom(Math.exp(event.deltaY * 0.0015), x, y)
}, { passive: false })

let held
svg.addEventListener('pointerdown', (event) => { held = { id: event.pointerId, from: inPicture(event), moved: false } })
svg.addEventListener('pointermove', (event) => {
  if (!held || held.id !== event.pointerId) return
  const { x, y } = inPicture(event)
  const [dx, dy] = [held.from.x - x, held.from.y - y]
  if (!held.moved && Math.hypot(dx, dy) * svg.getScreenCTM().a < 4) return
  if (!held.moved) svg.setPointerCapture(event.pointerId)
  held.moved = true
  show({ ...view, x: view.x + dx, y: view.y + dy })
})
addEventListener('pointerup', () => { held = undefined })

const element = (name, text) => Object.assign(document.createElement(name), { textContent: text ?? '' })
const tell = (id) => {
  const { title, rows, action, observation } = nodes[id]
  const table = element('table')
  for (const row of rows) table.append(element('tr'))
  rows.forEach((row, index) => table.children[index].append(...row.map((cell) => element('td', cell))))
  detail.replaceChildren(element('h3', title), table)
  for (const text of [action, observation]) if (text) detail.append(element('pre', text))
}
tell(Number(detail.dataset.first))

let chosen
for (const node of svg.querySelectorAll('.node')) {
  const id = Number(node.dataset.id)
  const keep = () => {
    if (held?.moved) return
    chosen?.classList.remove('chosen')
    chosen = chosen === node ? undefined : node
    chosen?.classList.add('chosen')
    tell(id)
  }
  node.addEventListener('pointerenter', () => { if (!chosen && !held) tell(id) })
  node.addEventListener('click', keep)
  node.addEventListener('keydown', ({ key }) => { if (key === 'Enter') keep() })
}
`
