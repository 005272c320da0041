/** The program as a container engine keeps it, in namespaces of its own that are made again. */
import type { Contender } from './contender.js'
import { beginWithCriu, type Setting } from './criu-contest.js'

/** What the host has in its root file system, its devices, and the place of the contest. */
const PREPARE = `mkdir -p /run/root old && mount --bind / /run/root && mount --bind /dev /run/root/dev &&
  mount --bind . /run/root/mnt`
const ENTER = `cd /run/root && pivot_root . mnt/old && mount -t proc none /proc && umount -l /mnt/old && cd /mnt &&
  exec setsid "$@" <in >>out 2>>errors`
/** Of its network namespace there is as much as an engine leaves to CRIU: that there is one. */
const BOTH = '--root /run/root --empty-ns net'

const setting: Setting = {
  name: 'criu-container',
  seenAt: () => '/mnt',
  prepare: PREPARE,
  start: `unshare --pid --mount --net --ipc --uts --fork sh -c '${ENTER}' sh "$@"`,
  startsParent: true,
  dump: `${BOTH} --network-lock skip --external "mnt[/dev]:dev" --external "mnt[/mnt]:place"`,
  restore: `${BOTH} --external "mnt[dev]:/dev" --external "mnt[place]:$PWD"`,
}

export const criuContainer: Contender = {
  name: 'criu-container',
  about:
    'CRIU dumps and restores the process with pid, mount, network, ipc and uts namespaces of its own; its files are copied',
  bringsMemoryBack: true,
  begin: (task) => beginWithCriu(task, setting),
}
