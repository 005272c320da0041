/** What the trees hold at first: something of each kind, several directories deep. */
import type { Data, FileOperation } from './operations.js'

function data(seed: number, length: number): Data {
  return { seed, length }
}

export function preparation(tree: string): FileOperation[] {
  const at = (inside: string): [string, string] => [tree, inside]
  const file = (inside: string, length: number, mode = 0o644): FileOperation => ({
    ...{ op: 'create', path: at(inside), mode, data: data(length, length) },
  })
  return [
    ...['a', 'a/b', 'a/b/c', 'b', 'd', 'd/a', 'd/a/empty', 'e'].map((inside) => ({
      ...{ op: 'mkdir', path: at(inside), mode: 0o755 },
    })),
    file('c', 10),
    file('a/a', 5000),
    file('a/b/d', 0),
    file('a/b/c/e', 70_000),
    file('b/a', 100, 0o755),
    file('b/b', 9000, 0o600),
    file('d/a/b', 4096),
    file('d/two words', 300),
    // overlayfs tears apart those of the base
    ...(tree === 'r'
      ? [
          { op: 'link', path: at('b/a'), to: at('b/hard') },
          { op: 'link', path: at('b/a'), to: at('d/hard') },
        ]
      : []),
    { op: 'symlink', path: at('link'), target: 'a/a' },
    { op: 'symlink', path: at('a/dangling'), target: 'nothing' },
    { op: 'mkfifo', path: at('b/fifo'), mode: 0o600 },
    { op: 'set_xattr', path: at('a/a'), name: 'user.a', data: data(1, 20), how: 'new' },
    { op: 'set_xattr', path: at('d/a'), name: 'user.b', data: data(2, 30), how: 'new' },
    { op: 'chown', path: at('b/b'), uid: 1000, gid: 1000 },
    { op: 'chown', path: at('e'), uid: 1, gid: 65534 },
    { op: 'chmod', path: at('e'), mode: 0o2775 },
    { op: 'age', tree },
  ]
}
