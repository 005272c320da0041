/** What keeps a text from being XML: undefined where it is. No namespaces, no entities of its own. */
const TOKEN = /<!doctype html>|<(\/?)([a-zA-Z][\w:-]*)((?:\s+[\w:-]+="[^"<]*")*)\s*(\/?)>|[^<]+|</g
const ENTITY = /&(?!(?:amp|lt|gt|quot|#\d+);)/

export function faultIn(text: string): string | undefined {
  const tokens = Array.from(text.matchAll(TOKEN))
  for (const [token, , , attributes = ''] of tokens) {
    const fault = faultInToken(token, attributes)
    if (fault !== undefined) return fault
  }
  const ids = tokens.flatMap(([, , , attributes = '']) => / id="([^"]*)"/.exec(attributes)?.[1] ?? [])
  const twice = ids.find((id, index) => ids.indexOf(id) !== index)
  return twice === undefined ? faultInNesting(tokens) : `two elements are ${twice}`
}

function faultInToken(token: string, attributes: string): string | undefined {
  if (token === '<') return 'a < that begins no tag'
  if (ENTITY.test(token)) return `an & in ${token.slice(0, 80)}`
  const names = Array.from(attributes.matchAll(/([\w:-]+)="/g), ([, name]) => name)
  return new Set(names).size < names.length ? `an attribute twice in ${token}` : undefined
}

function faultInNesting(tokens: readonly RegExpExecArray[]): string | undefined {
  const open: string[] = []
  for (const [, closing, name = '', , empty] of tokens) {
    if (name === '' || empty) continue
    if (!closing) open.push(name)
    else if (open.pop() !== name) return `</${name}> closes another`
  }
  return open.length > 0 ? `${open.join(' ')} is not closed` : undefined
}
