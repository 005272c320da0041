/** In characters. */
const LINE = 88

/** Text in lines, broken between words. */
export function wrapped(text: string): string {
  return text
    .replaceAll(/\s+/g, ' ')
    .replaceAll(new RegExp(`(.{1,${LINE}})( |$)`, 'g'), '$1\n')
    .trimEnd()
}
