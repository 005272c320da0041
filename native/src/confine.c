#include "confine.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "error.h"
#include "fd.h"

/* What root in a container usually has. */
static const int kept_capabilities[] = {
    CAP_CHOWN,   CAP_DAC_OVERRIDE,     CAP_FOWNER,  CAP_FSETID,     CAP_KILL,  CAP_SETGID,      CAP_SETUID,
    CAP_SETPCAP, CAP_NET_BIND_SERVICE, CAP_NET_RAW, CAP_SYS_CHROOT, CAP_MKNOD, CAP_AUDIT_WRITE, CAP_SETFCAP,
};

/* Refused with EPERM. The filter's default is ENOSYS, so a call that did not exist when the filter was made looks
 * like one of a newer kernel, for which programs have their fallbacks. */
static const char *const refused[] = {
    "mount",
    "umount",
    "umount2",
    "pivot_root",
    "open_tree",
    "move_mount",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "mount_setattr",
    "setns",
    "unshare",
    "swapon",
    "swapoff",
    "reboot",
    "kexec_load",
    "kexec_file_load",
    "init_module",
    "finit_module",
    "delete_module",
    "create_module",
    "query_module",
    "get_kernel_syms",
    "iopl",
    "ioperm",
    "acct",
    "settimeofday",
    "clock_settime",
    "clock_adjtime",
    "adjtimex",
    "stime",
    "quotactl",
    "quotactl_fd",
    "nfsservctl",
    "bpf",
    "perf_event_open",
    "open_by_handle_at",
    "lookup_dcookie",
    "fanotify_init",
    "fanotify_mark",
    "add_key",
    "request_key",
    "keyctl",
    "userfaultfd",
    "syslog",
    "vhangup",
    "uselib",
    "ustat",
    "sysfs",
    "_sysctl",
    "modify_ldt",
};

/* Left to the default: programs probe for these and do without. What Landlock has done to a process nobody can ask. clone3 hides its flags behind a pointer, where no
 * filter sees them; every C library falls back to clone. */
static const char *const absent[] = {"io_uring_setup",
                                     "io_uring_enter",
                                     "io_uring_register",
                                     "landlock_create_ruleset",
                                     "landlock_add_rule",
                                     "landlock_restrict_self",
                                     "clone3",
                                     "clone",
                                     "socket"};

static const int allowed_families[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};

#define NAMESPACE_FLAGS                                                                                      \
    (CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS |               \
     CLONE_NEWCGROUP | 0x80 /* CLONE_NEWTIME */)

static struct sock_fprog program;

static bool listed(const char *const *list, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(list[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static void must(int result, const char *what)
{
    if (result < 0) {
        die("seccomp filter: %s: %s", what, strerror(-result));
    }
}

static void add_rules(scmp_filter_ctx filter)
{
    for (int number = 0; number < 1024; number++) {
        char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, number);
        if (!name || listed(absent, sizeof absent / sizeof *absent, name)) {
            free(name);
            continue;
        }
        bool refuse = listed(refused, sizeof refused / sizeof *refused, name);
        must(seccomp_rule_add(filter, refuse ? SCMP_ACT_ERRNO(EPERM) : SCMP_ACT_ALLOW, number, 0), name);
        free(name);
    }
    must(seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
                          SCMP_A0(SCMP_CMP_MASKED_EQ, NAMESPACE_FLAGS, 0)),
         "clone");
    for (int family = 0; family < AF_MAX; family++) {
        bool allow = false;
        for (size_t i = 0; i < sizeof allowed_families / sizeof *allowed_families; i++) {
            allow = allow || allowed_families[i] == family;
        }
        must(seccomp_rule_add(filter, allow ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket),
                              1, SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)family)),
             "socket");
    }
}

void confine_init(void)
{
    struct stat st;
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));

    if (!filter) {
        die("seccomp filter: out of memory");
    }
    /* 32-bit and x32 programs: their calls do not exist here */
    must(seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(ENOSYS)), "architecture");
    must(seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2), "optimize");
    add_rules(filter);
    cleanup_fd fd = memfd_create("filter", MFD_CLOEXEC);
    must(fd < 0 ? -errno : seccomp_export_bpf(filter, fd), "export");
    seccomp_release(filter);
    if (fstat(fd, &st) < 0 || !(program.filter = malloc((size_t)st.st_size)) ||
        pread(fd, program.filter, (size_t)st.st_size, 0) != st.st_size) {
        die("seccomp filter: read back: %s", strerror(errno));
    }
    program.len = (unsigned short)((size_t)st.st_size / sizeof(struct sock_filter));
}

static bool kept(int capability)
{
    for (size_t i = 0; i < sizeof kept_capabilities / sizeof *kept_capabilities; i++) {
        if (kept_capabilities[i] == capability) {
            return true;
        }
    }
    return false;
}

static int drop_bounding_set(void)
{
    for (int capability = 0; capability <= 63; capability++) {
        if (!kept(capability) && prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0) {
            return errno == EINVAL ? 0 : -errno; /* EINVAL: past the kernel's last */
        }
    }
    return 0;
}

static int set_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}};

    for (size_t i = 0; i < sizeof kept_capabilities / sizeof *kept_capabilities; i++) {
        int capability = kept_capabilities[i];
        data[capability / 32].permitted |= 1u << (capability % 32);
        data[capability / 32].effective |= 1u << (capability % 32);
    }
    return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

static int set_user(const struct identity *identity)
{
    if (setgroups(0, NULL) < 0 || setresgid(identity->gid, identity->gid, identity->gid) < 0 ||
        setresuid(identity->uid, identity->uid, identity->uid) < 0) {
        return -errno;
    }
    return 0;
}

static int set_limits(void)
{
    const rlim_t wanted_files = 65536;
    struct rlimit files, no_core = {0, 0};

    if (getrlimit(RLIMIT_NOFILE, &files) < 0) {
        return -errno;
    }
    if (files.rlim_max > wanted_files) {
        files.rlim_max = wanted_files;
    }
    files.rlim_cur = files.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &files) < 0 || setrlimit(RLIMIT_CORE, &no_core) < 0 ? -errno : 0;
}

int confine_process(const struct identity *identity, const char **step)
{
    int result;

    *step = "limits";
    if ((result = set_limits()) < 0) {
        return result;
    }
    /* Loading a filter takes CAP_SYS_ADMIN in the namespace or no_new_privs, which would break sudo. */
    *step = "seccomp";
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) < 0) {
        return -errno;
    }
    *step = "capabilities";
    if ((result = drop_bounding_set()) < 0) {
        return result;
    }
    *step = "user";
    if ((result = set_user(identity)) < 0) {
        return result;
    }
    *step = "capabilities";
    return identity->uid == 0 ? set_capabilities() : 0;
}

int confine_put_filter(const struct inject *inject, uint64_t at)
{
    const struct sock_fprog inside = {.len = program.len, .filter = (void *)(at + sizeof inside)};
    int result = subject_write(inject->subject, at, &inside, sizeof inside);

    return result < 0 ? result
                      : subject_write(inject->subject, at + sizeof inside, program.filter,
                                      program.len * sizeof *program.filter);
}

int confine_helper(const char **step)
{
    static const struct identity root = {0, 0};
    int result;

    *step = "user";
    if ((result = set_user(&root)) < 0) {
        return result;
    }
    *step = "capabilities";
    return set_capabilities();
}
