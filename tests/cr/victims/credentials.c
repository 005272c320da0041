/* Who the process and each of its threads is, what it may, and how it is
 * scheduled. */
#include "victim.h"

#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define REFUSED SYS_getpriority

static volatile int asked, answered, ready;
static pthread_t thread;

static void refuse_call(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, REFUSED, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 77),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {.len = sizeof code / sizeof *code, .filter = code};

    must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    must(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0);
}

static void check_thread(void)
{
    uid_t real, effective, saved;
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    cpu_set_t cpus;
    char name[16];
    int signal_at_end;

    must(syscall(SYS_getresuid, &real, &effective, &saved) == 0 && real == 0 && effective == 1000 &&
         saved == 5);
    must(syscall(SYS_setfsuid, -1) == 1234);
    must(syscall(SYS_capget, &header, data) == 0 &&
         data[0].permitted == (1U << CAP_SETUID | 1U << CAP_CHOWN) && data[0].effective == 1U << CAP_CHOWN);
    must(syscall(REFUSED, 0, 0) < 0 && errno == 77);
    must(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 && prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0) == 123456);
    must(prctl(PR_GET_PDEATHSIG, &signal_at_end) == 0 && signal_at_end == SIGURG);
    must(prctl(PR_GET_NAME, name) == 0 && strcmp(name, "an other name") == 0);
    must(sched_getscheduler(0) == SCHED_BATCH);
    CPU_ZERO(&cpus);
    must(sched_getaffinity(0, sizeof cpus, &cpus) == 0 && CPU_COUNT(&cpus) == 1 && CPU_ISSET(0, &cpus));
    must(syscall(SYS_ioprio_get, 1, 0) == (2 << 13 | 6));
}

static void *run(void *argument)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {
        {.permitted = 1U << CAP_SETUID | 1U << CAP_CHOWN, .effective = 1U << CAP_CHOWN}};
    const struct sched_param none = {0};
    cpu_set_t cpus;

    (void)argument;
    must(prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0);
    must(syscall(SYS_setresuid, 0, 1000, 5) == 0);
    data[0].effective = 1U << CAP_SETUID | 1U << CAP_CHOWN;
    must(syscall(SYS_capset, &header, data) == 0);
    syscall(SYS_setfsuid, 1234);
    data[0].effective = 1U << CAP_CHOWN;
    must(syscall(SYS_capset, &header, data) == 0);
    CPU_ZERO(&cpus);
    CPU_SET(0, &cpus);
    must(sched_setaffinity(0, sizeof cpus, &cpus) == 0 && sched_setscheduler(0, SCHED_BATCH, &none) == 0);
    must(syscall(SYS_ioprio_set, 1, 0, 2 << 13 | 6) == 0);
    must(prctl(PR_SET_TIMERSLACK, 123456, 0, 0, 0) == 0 && prctl(PR_SET_PDEATHSIG, SIGURG) == 0);
    must(prctl(PR_SET_NAME, "an other name") == 0);
    refuse_call();
    for (ready = 1;; pause_ms(1)) {
        if (asked) {
            check_thread();
            asked = 0;
            answered = 1;
        }
    }
    return NULL;
}

static void set_up(void)
{
    const gid_t groups[] = {7, 8, 4000};
    const struct rlimit files = {.rlim_cur = 333, .rlim_max = 4444};

    must(setgroups(3, groups) == 0 && setresgid(1, 2, 3) == 0);
    umask(031);
    must(setrlimit(RLIMIT_NOFILE, &files) == 0 && nice(5) == 5);
    must(personality(ADDR_NO_RANDOMIZE) != -1 && prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0);
    must(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0);
    must(pthread_create(&thread, NULL, run, NULL) == 0);
    while (!ready) {
        pause_ms(1);
    }
}

static void change(void)
{
    const struct rlimit files = {.rlim_cur = 100, .rlim_max = 200};

    must(syscall(SYS_setgroups, 0, NULL) == 0);
    umask(0);
    must(setrlimit(RLIMIT_NOFILE, &files) == 0 && nice(3) == 8 && personality(0) != -1);
    must(syscall(SYS_setresuid, 9, 9, 9) == 0); /* of this thread alone */
}

static void verify(void)
{
    gid_t groups[8], real, effective, saved;
    struct rlimit files;

    must(getgroups(8, groups) == 3 && groups[0] == 7 && groups[1] == 8 && groups[2] == 4000);
    must(getresgid(&real, &effective, &saved) == 0 && real == 1 && effective == 2 && saved == 3);
    must(getuid() == 0 && geteuid() == 0 && umask(031) == 031);
    must(getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur == 333 && files.rlim_max == 4444);
    errno = 0;
    must(getpriority(PRIO_PROCESS, 0) == 5 && errno == 0);
    must(personality(0xffffffff) == ADDR_NO_RANDOMIZE && prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == 1);
    must(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0 && prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0);
    answered = 0;
    asked = 1;
    for (int i = 0; i < 20000 && !answered; i++) {
        pause_ms(1);
    }
    must(answered);
}
