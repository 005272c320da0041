/** /etc/passwd and /etc/group, and the password files that go with them: every account is locked inside. */

export interface User {
  readonly name: string
  readonly uid: number
  readonly home: string
}

export function parsePasswd(text: string): User[] {
  return entries(text, 7).map(([name = '', , uid, , , home = '']) => ({ name, uid: Number(uid), home }))
}

/** A day long past: no password is about to expire. */
const CHANGED = 19000

export function lockedShadow(passwd: string): string {
  const others = parsePasswd(passwd).filter((user) => user.name !== 'root')
  return ['root', ...others.map((user) => user.name)]
    .map((name) => `${name}:*:${CHANGED}:0:99999:7:::\n`)
    .join('')
}

export function lockedGshadow(group: string): string {
  return entries(group, 4)
    .map(([name = '', , , members = '']) => `${name}:*::${members}\n`)
    .join('')
}

function entries(text: string, fields: number): string[][] {
  return text
    .split('\n')
    .map((line) => line.split(':'))
    .filter((entry) => entry.length >= fields && entry[0] !== '')
}
