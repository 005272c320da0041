/** Which parts of the host's file system are not for sandboxes, by path. What exists of them is for host-secrets.ts. */

interface SystemDirectory {
  readonly path: string
  readonly mode: number
  /** Programs fail without it, whatever the base. */
  readonly needed: boolean
}

export const SYSTEM_DIRECTORIES: readonly SystemDirectory[] = [
  { path: '/proc', mode: 0o755, needed: true },
  { path: '/sys', mode: 0o755, needed: true },
  { path: '/dev', mode: 0o755, needed: true },
  { path: '/run', mode: 0o755, needed: true },
  { path: '/tmp', mode: 0o1777, needed: true },
  { path: '/root', mode: 0o700, needed: true },
  { path: '/var/tmp', mode: 0o1777, needed: false },
  { path: '/home', mode: 0o755, needed: false },
  { path: '/mnt', mode: 0o755, needed: false },
  { path: '/media', mode: 0o755, needed: false },
]

/**
 * Keys, credentials, other users' and other machines' data, memory dumps. A directory is shown empty, with its mode, so
 * that programs that put something there go on working; a file is not there at all. The last component may hold `*`.
 */
export const SECRET_PATHS: readonly string[] = [
  '/etc/shadow-',
  '/etc/gshadow-',
  '/etc/ssh/ssh_host_*_key',
  '/etc/ssl/private',
  '/etc/krb5.keytab',
  '/etc/kubernetes',
  '/etc/rancher',
  '/etc/letsencrypt',
  '/etc/wireguard',
  '/etc/openvpn',
  '/etc/ipsec.secrets',
  '/etc/ipsec.d',
  '/etc/swanctl',
  '/etc/ppp',
  '/etc/NetworkManager/system-connections',
  '/etc/wpa_supplicant',
  '/etc/credstore',
  '/etc/credstore.encrypted',
  '/etc/sssd',
  '/etc/postfix/sasl_passwd',
  '/etc/exim4/passwd.client',
  '/etc/mysql/debian.cnf',
  '/var/backups',
  '/var/crash',
  '/var/lib/amazon',
  '/var/lib/cloud',
  '/var/lib/containerd',
  '/var/lib/containers',
  '/var/lib/docker',
  '/var/lib/etcd',
  '/var/lib/kubelet',
  '/var/lib/rancher',
  '/var/lib/sss',
  '/var/lib/sudo',
  '/var/lib/systemd/coredump',
  '/var/lib/systemd/credential.secret',
  '/var/lib/waagent',
  '/var/mail',
  '/var/spool/cron',
  '/var/spool/mail',
  '/lost+found',
  '/swapfile',
  '/swap.img',
]

/** Never taken for a user's home, whatever the user list says: hiding one would hide the system. */
export const NEVER_A_HOME: ReadonlySet<string> = new Set([
  '/',
  '/bin',
  '/boot',
  '/dev',
  '/etc',
  '/lib',
  '/lib64',
  '/opt',
  '/proc',
  '/run',
  '/sbin',
  '/srv',
  '/sys',
  '/usr',
  '/usr/bin',
  '/usr/lib',
  '/usr/local',
  '/usr/local/bin',
  '/usr/sbin',
  '/usr/share',
  '/var',
  '/var/cache',
  '/var/lib',
  '/var/log',
  '/var/run',
  '/var/spool',
])
