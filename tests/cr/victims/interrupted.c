/* Calls that a signal has interrupted whose handler has not run yet: a stopped
 * process is in them, and its signal waits. */
#include <poll.h>
#include <sys/wait.h>

#include "victim.h"

#define CALLS 3

static struct {
  pid_t pid;
  int done;
} waiting[CALLS];
static volatile sig_atomic_t handled;

static void handle(int number) {
  (void)number;
  handled++;
}

/* Fails only for the signal. */
static int wait_in(int call) {
  const struct timespec hour = {.tv_sec = 3600};
  struct pollfd none = {.fd = -1};

  return call == 0   ? pause()
         : call == 1 ? nanosleep(&hour, NULL)
                     : poll(&none, 1, 3600 * 1000);
}

static void run(int call, int done) {
  const struct sigaction action = {.sa_handler = handle,
                                   .sa_flags = SA_RESTART};

  sigaction(SIGUSR1, &action, NULL);
  for (int round = 1;; round++) {
    char result = write(done, "r", 1) == 1 && wait_in(call) == -1 &&
                  errno == EINTR && handled == round;
    must(write(done, &result, 1) == 1);
  }
}

static char told(int i) {
  struct pollfd ready = {.fd = waiting[i].done, .events = POLLIN};
  char byte;

  must(poll(&ready, 1, 10000) == 1);
  must(read(waiting[i].done, &byte, 1) == 1);
  return byte;
}

static bool sleeps(pid_t pid) {
  char path[64], state = '?';

  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  FILE *file = fopen(path, "r");
  must(file && fscanf(file, "%*d (%*[^)]) %c", &state) == 1);
  fclose(file);
  return state == 'S';
}

static void interrupt(int i) {
  must(told(i) == 'r');
  while (!sleeps(waiting[i].pid)) {
    pause_ms(1);
  }
  must(kill(waiting[i].pid, SIGSTOP) == 0);
  must(waitpid(waiting[i].pid, NULL, WUNTRACED) == waiting[i].pid);
  must(kill(waiting[i].pid, SIGUSR1) == 0);
}

static void set_up(void) {
  for (int i = 0; i < CALLS; i++) {
    int ends[2];
    must(pipe(ends) == 0);
    waiting[i].done = ends[0];
    waiting[i].pid = fork();
    if (waiting[i].pid == 0) {
      run(i, ends[1]);
    }
    interrupt(i);
  }
}

static void change(void) {
  for (int i = 0; i < CALLS; i++) {
    must(kill(waiting[i].pid, SIGCONT) == 0);
    must(told(i) == 1);
  }
}

static void verify(void) {
  change();
  for (int i = 0; i < CALLS; i++) {
    interrupt(i);
  }
}
