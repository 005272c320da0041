/* The first thread ends, the second lives on: to the kernel the process is a zombie with a living thread. After a byte on
 * standard input that one writes to the file they had opened. */
#include "victim.h"

static int fd;
static pthread_t first;

static void *work(void *argument)
{
    char byte;

    (void)argument;
    must(pthread_join(first, NULL) == 0);
    say("ready");
    must(read(STDIN_FILENO, &byte, 1) == 1);
    must(write(fd, "second", 6) == 6);
    exit(0);
}

int main(void)
{
    pthread_t second;

    fd = open("f", O_CREAT | O_RDWR, 0644);
    must(fd >= 0 && write(fd, "first ", 6) == 6);
    first = pthread_self();
    must(pthread_create(&second, NULL, work, NULL) == 0);
    pthread_exit(NULL);
}
