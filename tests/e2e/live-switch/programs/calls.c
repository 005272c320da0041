/* calls NAME: waits in one system call and tells what it returned. A second process wakes it after a byte on standard
 * input; calls with a time limit end by themselves. The calls are made bare: the C library would hide what the kernel
 * says. */
#include "victim.h"

#include <linux/futex.h>
#include <mqueue.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/un.h>

#define LIMIT_MS 300

static const struct timespec limit = {.tv_nsec = LIMIT_MS * 1000000L};
static int pipes[2], sockets[2], other[2], queue, semaphores, events, listener, lock_fd;
static int *word; /* in memory that both share */
static pid_t waiter, child;
static mqd_t messages;
static volatile sig_atomic_t handled;
static char room[1 << 17];
static struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "listener"};

#define BARE(...) (syscall(__VA_ARGS__))

static void handle(int number)
{
    (void)number;
    handled++;
}

static void fill(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    must(fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0);
    while (write(fd, room, 4096) > 0) {
    }
    must(errno == EAGAIN && fcntl(fd, F_SETFL, flags) == 0);
}

static uint64_t set_of(int number)
{
    return 1ULL << (number - 1);
}

static void block(int number)
{
    uint64_t set = set_of(number);

    must(BARE(SYS_rt_sigprocmask, SIG_BLOCK, &set, NULL, 8) == 0);
}

/* ---- waiting ---- */

static long wait_nanosleep(void)
{
    return BARE(SYS_nanosleep, &limit, NULL);
}

static long wait_until(void)
{
    struct timespec until;

    must(clock_gettime(CLOCK_MONOTONIC, &until) == 0);
    until.tv_sec += (until.tv_nsec + limit.tv_nsec) / 1000000000;
    until.tv_nsec = (until.tv_nsec + limit.tv_nsec) % 1000000000;
    return BARE(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

static long poll_pipe(int timeout_ms)
{
    struct pollfd entry = {.fd = pipes[0], .events = POLLIN};

    return BARE(SYS_poll, &entry, 1, timeout_ms);
}

static long wait_poll(void)
{
    return poll_pipe(-1);
}

static long wait_poll_limit(void)
{
    return poll_pipe(LIMIT_MS);
}

static long wait_ppoll_limit(void)
{
    struct pollfd entry = {.fd = pipes[0], .events = POLLIN};
    struct timespec left = limit;
    uint64_t mask = set_of(SIGUSR2);

    return BARE(SYS_ppoll, &entry, 1, &left, &mask, 8);
}

static long select_pipe(struct timeval *left)
{
    fd_set set;

    FD_ZERO(&set);
    FD_SET(pipes[0], &set);
    return BARE(SYS_select, pipes[0] + 1, &set, NULL, NULL, left);
}

static long wait_select(void)
{
    return select_pipe(NULL);
}

static long wait_select_limit(void)
{
    struct timeval left = {.tv_usec = LIMIT_MS * 1000};

    return select_pipe(&left);
}

static long wait_pselect(void)
{
    fd_set set;
    uint64_t mask = set_of(SIGUSR2);
    struct {
        uint64_t *set;
        size_t size;
    } masked = {&mask, 8};

    FD_ZERO(&set);
    FD_SET(pipes[0], &set);
    return BARE(SYS_pselect6, pipes[0] + 1, &set, NULL, NULL, NULL, &masked);
}

static long epoll_pipe(int timeout_ms)
{
    struct epoll_event event = {.events = EPOLLIN};

    must(epoll_ctl(events, EPOLL_CTL_ADD, pipes[0], &event) == 0);
    return BARE(SYS_epoll_wait, events, &event, 1, timeout_ms);
}

static long wait_epoll(void)
{
    return epoll_pipe(-1);
}

static long wait_epoll_limit(void)
{
    return epoll_pipe(LIMIT_MS);
}

static long wait_epoll_pwait(void)
{
    struct epoll_event event = {.events = EPOLLIN};
    uint64_t mask = set_of(SIGUSR2);

    must(epoll_ctl(events, EPOLL_CTL_ADD, pipes[0], &event) == 0);
    return BARE(SYS_epoll_pwait, events, &event, 1, -1, &mask, 8);
}

static long wait_epoll_pwait2_limit(void)
{
    struct epoll_event event = {.events = EPOLLIN};
    struct timespec left = limit;

    must(epoll_ctl(events, EPOLL_CTL_ADD, pipes[0], &event) == 0);
    return BARE(SYS_epoll_pwait2, events, &event, 1, &left, NULL, 8);
}

static long wait_futex(void)
{
    return BARE(SYS_futex, word, FUTEX_WAIT, 0, NULL);
}

static long wait_futex_limit(void)
{
    return BARE(SYS_futex, word, FUTEX_WAIT, 0, &limit);
}

static long wait_read_pipe(void)
{
    return BARE(SYS_read, pipes[0], room, 10);
}

static long wait_write_pipe(void)
{
    return BARE(SYS_write, other[1], room, 4096);
}

static long wait_splice(void)
{
    return BARE(SYS_splice, pipes[0], NULL, other[1], NULL, 10, 0);
}

static long wait_recv(void)
{
    return BARE(SYS_recvfrom, sockets[0], room, 10, 0, NULL, NULL);
}

static long wait_recv_limit(void)
{
    const struct timeval time = {.tv_usec = LIMIT_MS * 1000};

    must(setsockopt(sockets[0], SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time) == 0);
    return wait_recv();
}

static long wait_accept(void)
{
    return BARE(SYS_accept4, listener, NULL, NULL, 0) > 0 ? 1 : -1;
}

static long wait_connect(void)
{
    int full = socket(AF_UNIX, SOCK_STREAM, 0), fd = socket(AF_UNIX, SOCK_STREAM, 0);

    must(full >= 0 && fd >= 0 && connect(full, (void *)&address, sizeof address) == 0);
    return BARE(SYS_connect, fd, &address, sizeof address);
}

static long wait_sigwait(void)
{
    uint64_t set = set_of(SIGUSR1);

    block(SIGUSR1);
    return BARE(SYS_rt_sigtimedwait, &set, NULL, NULL, 8);
}

static long wait_sigwait_limit(void)
{
    uint64_t set = set_of(SIGUSR1);

    block(SIGUSR1);
    return BARE(SYS_rt_sigtimedwait, &set, NULL, &limit, 8);
}

static long wait_pause(void)
{
    must(signal(SIGALRM, handle) != SIG_ERR);
    const struct itimerval timer = {.it_value.tv_usec = LIMIT_MS * 1000};
    must(setitimer(ITIMER_REAL, &timer, NULL) == 0);
    return BARE(SYS_pause);
}

static long wait_sigsuspend(void)
{
    uint64_t none = 0;

    block(SIGUSR1);
    must(signal(SIGUSR1, handle) != SIG_ERR);
    return BARE(SYS_rt_sigsuspend, &none, 8);
}

static long wait_read_handled(void)
{
    const struct sigaction action = {.sa_handler = handle}; /* without SA_RESTART */

    must(sigaction(SIGUSR1, &action, NULL) == 0);
    return wait_read_pipe();
}

static long wait_read_restarted(void)
{
    const struct sigaction action = {.sa_handler = handle, .sa_flags = SA_RESTART};

    must(sigaction(SIGUSR1, &action, NULL) == 0);
    return wait_read_pipe();
}

static long wait_signalfd(void)
{
    uint64_t set = set_of(SIGUSR1);

    block(SIGUSR1);
    int fd = (int)BARE(SYS_signalfd4, -1, &set, 8, 0);
    must(fd >= 0);
    return BARE(SYS_read, fd, room, 128);
}

static long wait_timerfd(void)
{
    const struct itimerspec timer = {.it_value = limit};
    int fd = timerfd_create(CLOCK_MONOTONIC, 0);

    must(fd >= 0 && timerfd_settime(fd, 0, &timer, NULL) == 0);
    return BARE(SYS_read, fd, room, 8);
}

static long wait_eventfd(void)
{
    return BARE(SYS_read, *(int *)(word + 1), room, 8);
}

static long wait_inotify(void)
{
    int fd = inotify_init();

    must(fd >= 0 && inotify_add_watch(fd, ".", IN_CREATE) > 0);
    return BARE(SYS_read, fd, room, 4096) > 0 ? 1 : -1;
}

static long wait_msgrcv(void)
{
    return BARE(SYS_msgrcv, queue, room, 10, 0, 0);
}

static long wait_semop(void)
{
    struct sembuf step = {.sem_op = -1};

    return BARE(SYS_semop, semaphores, &step, 1);
}

static long wait_semop_limit(void)
{
    struct sembuf step = {.sem_op = -1};

    return BARE(SYS_semtimedop, semaphores, &step, 1, &limit);
}

static long wait_mq(void)
{
    return BARE(SYS_mq_timedreceive, messages, room, 8192, NULL, NULL);
}

static long wait_wait4(void)
{
    int status;
    long pid = BARE(SYS_wait4, child, &status, 0, NULL);

    return pid == child ? WEXITSTATUS(status) : -1;
}

static long wait_waitid(void)
{
    siginfo_t info;

    return BARE(SYS_waitid, P_PID, child, &info, WEXITED, NULL) < 0 ? -1 : info.si_status;
}

static long wait_flock(void)
{
    int fd = open("lock", O_RDWR);

    return BARE(SYS_flock, fd, LOCK_EX);
}

static long wait_fifo(void)
{
    return BARE(SYS_open, "fifo", O_RDONLY, 0) > 0 ? 1 : -1;
}

/* ---- waking ---- */

static void wake_pipe(void)
{
    must(write(pipes[1], "wake", 4) == 4);
}

static void wake_full_pipe(void)
{
    must(read(other[0], room, sizeof room) > 0);
}

static void wake_socket(void)
{
    must(write(sockets[1], "wake", 4) == 4);
}

static void wake_futex(void)
{
    *word = 1;
    must(syscall(SYS_futex, word, FUTEX_WAKE, 1) == 1);
}

static void wake_signal(void)
{
    must(kill(waiter, SIGUSR1) == 0);
}

static void wake_signal_and_pipe(void)
{
    wake_signal();
    wake_pipe();
}

static void wake_accept(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    must(fd >= 0 && connect(fd, (void *)&address, sizeof address) == 0);
}

static void wake_connect(void)
{
    must(accept(listener, NULL, NULL) >= 0 && accept(listener, NULL, NULL) >= 0);
}

static void wake_eventfd(void)
{
    must(eventfd_write(*(int *)(word + 1), 7) == 0);
}

static void wake_inotify(void)
{
    must(open("created", O_CREAT | O_WRONLY, 0644) >= 0);
}

static void wake_message(void)
{
    const struct {
        long type;
        char text[4];
    } message = {.type = 1, .text = "wake"};

    must(msgsnd(queue, &message, 4, 0) == 0);
}

static void wake_semaphore(void)
{
    struct sembuf step = {.sem_op = 1};

    must(semop(semaphores, &step, 1) == 0);
}

static void wake_mq(void)
{
    must(mq_send(messages, "wake", 4, 0) == 0);
}

static void wake_end(void)
{
    _exit(42);
}

static void wake_lock(void)
{
    must(flock(lock_fd, LOCK_UN) == 0);
}

static void wake_fifo(void)
{
    must(open("fifo", O_WRONLY) >= 0);
}

static void nothing(void) {}

static const struct call {
    const char *name;
    long (*wait)(void);
    void (*wake)(void);
} calls[] = {
    {"nanosleep", wait_nanosleep, nothing},
    {"clock_nanosleep", wait_until, nothing},
    {"poll", wait_poll, wake_pipe},
    {"poll-limit", wait_poll_limit, nothing},
    {"ppoll-limit", wait_ppoll_limit, nothing},
    {"select", wait_select, wake_pipe},
    {"select-limit", wait_select_limit, nothing},
    {"pselect", wait_pselect, wake_pipe},
    {"epoll_wait", wait_epoll, wake_pipe},
    {"epoll_wait-limit", wait_epoll_limit, nothing},
    {"epoll_pwait", wait_epoll_pwait, wake_pipe},
    {"epoll_pwait2-limit", wait_epoll_pwait2_limit, nothing},
    {"futex", wait_futex, wake_futex},
    {"futex-limit", wait_futex_limit, nothing},
    {"read-pipe", wait_read_pipe, wake_pipe},
    {"write-pipe", wait_write_pipe, wake_full_pipe},
    {"splice", wait_splice, wake_pipe},
    {"recv", wait_recv, wake_socket},
    {"recv-limit", wait_recv_limit, nothing},
    {"accept", wait_accept, wake_accept},
    {"connect", wait_connect, wake_connect},
    {"sigwait", wait_sigwait, wake_signal},
    {"sigwait-limit", wait_sigwait_limit, nothing},
    {"pause-alarm", wait_pause, nothing},
    {"sigsuspend", wait_sigsuspend, wake_signal},
    {"read-handler", wait_read_handled, wake_signal},
    {"read-handler-restart", wait_read_restarted, wake_signal_and_pipe},
    {"read-signalfd", wait_signalfd, wake_signal},
    {"read-timerfd", wait_timerfd, nothing},
    {"read-eventfd", wait_eventfd, wake_eventfd},
    {"read-inotify", wait_inotify, wake_inotify},
    {"msgrcv", wait_msgrcv, wake_message},
    {"semop", wait_semop, wake_semaphore},
    {"semtimedop-limit", wait_semop_limit, nothing},
    {"mq_receive", wait_mq, wake_mq},
    {"wait4", wait_wait4, wake_end},
    {"waitid", wait_waitid, wake_end},
    {"flock", wait_flock, wake_lock},
    {"open-fifo", wait_fifo, wake_fifo},
};

/* They are not brought back: only who waits for one has it. */
static void set_up_queue(const char *call)
{
    struct mq_attr attributes = {.mq_maxmsg = 2, .mq_msgsize = 64};

    if (strcmp(call, "msgrcv") == 0) {
        must((queue = msgget(IPC_PRIVATE, 0600)) >= 0);
    } else if (strncmp(call, "sem", 3) == 0) {
        must((semaphores = semget(IPC_PRIVATE, 1, 0600)) >= 0);
    } else if (strcmp(call, "mq_receive") == 0) {
        must((messages = mq_open("/victim", O_CREAT | O_RDWR, 0600, &attributes)) != (mqd_t)-1);
    }
}

static void set_up(void)
{
    waiter = getpid();
    must(pipe(pipes) == 0 && pipe(other) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == 0);
    word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    must(word != MAP_FAILED);
    word[1] = eventfd(0, 0);
    events = epoll_create1(0);
    listener = socket(AF_UNIX, SOCK_STREAM, 0);
    lock_fd = open("lock", O_CREAT | O_RDWR, 0644);
    must(word[1] >= 0 && events >= 0 && listener >= 0 && lock_fd >= 0);
    unlink(address.sun_path);
    must(bind(listener, (void *)&address, sizeof address) == 0 && listen(listener, 0) == 0);
    must(flock(lock_fd, LOCK_EX) == 0);
    must(mkfifo("fifo", 0600) == 0 || errno == EEXIST);
}

static uint64_t now_ms(void)
{
    struct timespec now;

    must(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

int main(int argc, char **argv)
{
    const struct call *call = calls;
    char byte;

    must(argc == 2);
    while (call < calls + sizeof calls / sizeof *calls && strcmp(call->name, argv[1]) != 0) {
        call++;
    }
    must(call < calls + sizeof calls / sizeof *calls);
    set_up();
    set_up_queue(argv[1]);
    if (strcmp(call->name, "write-pipe") == 0) {
        fill(other[1]);
    }
    child = fork();
    must(child >= 0);
    if (child == 0) {
        ssize_t got = read(STDIN_FILENO, &byte, 1);
        must(got >= 0);
        if (got == 1) {
            call->wake();
            _exit(0);
        }
        pause();
    }
    printf("ready %d\n", getpid());
    fflush(stdout);
    uint64_t start = now_ms();
    errno = 0;
    long result = call->wait();
    int error = result < 0 ? errno : 0;
    uint64_t elapsed = now_ms() - start;
    printf("%ld %s %d %s\n", result, error ? strerrorname_np(error) : "-", (int)handled,
           elapsed >= LIMIT_MS ? "in time" : "early");
    kill(child, SIGKILL);
}
