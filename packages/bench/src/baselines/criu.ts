/** The program as an ordinary process of the host. */
import type { Contender } from './contender.js'
import { beginWithCriu, type Setting } from './criu-contest.js'

const setting: Setting = {
  name: 'criu',
  seenAt: (place) => place,
  // The leader of a session of its own refers to nothing that CRIU would have to leave out.
  start: 'setsid "$@" <in >>out',
  startsParent: false,
  dump: '',
  restore: '',
}

export const criu: Contender = {
  name: 'criu',
  about:
    'CRIU dumps and restores the process, with none of the namespaces of a container; its files are copied',
  bringsMemoryBack: true,
  begin: (task) => beginWithCriu(task, setting),
}
