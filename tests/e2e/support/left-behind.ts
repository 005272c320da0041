/** What still has to do with a directory: processes that have it in their environment or command line, and mounts. */
import { readdirSync, readFileSync } from 'node:fs'

export function leftBehind(directory: string): string[] {
  const processes = readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid) || pid === String(process.pid)) return false
    try {
      return ['environ', 'cmdline'].some((file) =>
        readFileSync(`/proc/${pid}/${file}`, 'utf8').includes(directory),
      )
    } catch {
      return false // it has ended
    }
  })
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line.includes(directory))
  return [...processes, ...mounts]
}
