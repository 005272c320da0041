/** Where the nodes of a tree are drawn: one column per depth, leaves one below the other, parents beside the middle of their children. */

export interface Place {
  /** In columns and rows. */
  readonly column: number
  readonly row: number
}

interface Placed {
  readonly id: number
  readonly parent: number | null
}

/** Parents come before their children. Rows of the same column are at least one apart. */
export function layout(nodes: readonly Placed[]): Map<number, Place> {
  const children = new Map<number, number[]>()
  for (const { id, parent } of nodes) {
    if (parent !== null) children.set(parent, [...(children.get(parent) ?? []), id])
  }
  const columns = new Map<number, number>()
  for (const { id, parent } of nodes) {
    columns.set(id, parent === null ? 0 : (columns.get(parent) ?? 0) + 1)
  }
  const rows = new Map<number, number>()
  let leaves = 0
  for (const id of childrenFirst(nodes, children)) {
    const below = children.get(id) ?? []
    const first = rows.get(below[0] ?? -1)
    const last = rows.get(below.at(-1) ?? -1)
    rows.set(id, first === undefined || last === undefined ? leaves++ : (first + last) / 2)
  }
  return new Map(nodes.map(({ id }) => [id, { column: columns.get(id) ?? 0, row: rows.get(id) ?? 0 }]))
}

/** In the order in which they are drawn from top to bottom; without recursion, as a search may go deep. */
function childrenFirst(
  nodes: readonly Placed[],
  children: ReadonlyMap<number, readonly number[]>,
): readonly number[] {
  const order: number[] = []
  const open = nodes.filter(({ parent }) => parent === null).map(({ id }) => id)
  for (let id = open.pop(); id !== undefined; id = open.pop()) {
    order.push(id)
    open.push(...(children.get(id) ?? []))
  }
  // Each before its children, the last child first: backwards it is children first, in their order.
  return order.reverse()
}
