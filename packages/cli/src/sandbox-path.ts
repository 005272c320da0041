/** `SANDBOX:PATH`, or null for a path of this host (which `./a:b` and `/a:b` are). */
export function parseSandboxPath(text: string): { sandbox: string; path: string } | null {
  const at = text.indexOf(':')
  if (at <= 0 || /[/.]/.test(text[0] as string)) return null
  const sandbox = text.slice(0, at)
  return sandbox.includes('/') ? null : { sandbox, path: text.slice(at + 1) || '.' }
}
