import type Database from 'libsql'

/** Each of the texts, prepared, under its name. */
export function prepareAll<Name extends string>(
  db: Database.Database,
  texts: Readonly<Record<Name, string>>,
): Readonly<Record<Name, Database.Statement>> {
  const prepared = Object.entries<string>(texts).map(([name, text]) => [name, db.prepare(text)])
  return Object.fromEntries(prepared) as Record<Name, Database.Statement>
}
