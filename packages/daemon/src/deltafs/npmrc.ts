/** Keeps what npm may be told inside a sandbox: where packages come from, never who asks. */

const SECRET_KEY = /auth|token|passw|username|email|otp|secret|keyfile|certfile|^key$|^cert$/i
/** `https://name:secret@host/` */
const SECRET_VALUE = /\/\/[^/\s]*@/

export function withoutCredentials(npmrc: string): string {
  return npmrc
    .split('\n')
    .filter((line) => isHarmless(line.trim()))
    .map((line) => `${line}\n`)
    .join('')
}

/** Comments go too: a setting that was commented out is still a secret. */
function isHarmless(line: string): boolean {
  const [key = '', ...value] = line.split('=')
  if (line === '' || /^[#;[]/.test(line)) return false
  return !SECRET_KEY.test(key.trim()) && !SECRET_VALUE.test(value.join('='))
}
