/* System V memory: with a key, without one, removed but still in use, made by
 * another user, attached for reading only, and one that nobody has attached; a
 * child shares some of it. */
#include "victim.h"

#include <sys/ipc.h>
#include <sys/shm.h>
#include <sys/wait.h>

#define KEY 0x2c0ffee
#define SIZE 10000
#define OTHER 1000

enum { KEYED, PRIVATE, REMOVED, FOREIGN, LOOSE, COUNT };

static int ids[COUNT];
static volatile int *at[COUNT];
static const volatile int *reading;
static pid_t child;

static void make(int which, key_t key)
{
    must((ids[which] = shmget(key, SIZE, IPC_CREAT | IPC_EXCL | 0640)) >= 0);
    must((intptr_t)(at[which] = shmat(ids[which], NULL, 0)) != -1);
    at[which][0] = which;
    at[which][SIZE / sizeof(int) - 1] = which + 100;
}

/* It adds to what it is shown, for ever. */
static void run_child(void)
{
    for (;;) {
        if (at[PRIVATE][1] != at[PRIVATE][2]) {
            at[REMOVED][1] = at[PRIVATE][1] + 1;
            at[PRIVATE][2] = at[PRIVATE][1];
        }
        pause_ms(1);
    }
}

static void set_up(void)
{
    make(KEYED, KEY);
    make(PRIVATE, IPC_PRIVATE);
    make(REMOVED, IPC_PRIVATE);
    must(shmctl(ids[REMOVED], IPC_RMID, NULL) == 0);
    must(seteuid(OTHER) == 0);
    make(FOREIGN, KEY + 1);
    must(seteuid(0) == 0);
    make(LOOSE, KEY + 2);
    must(shmdt((const void *)at[LOOSE]) == 0);
    must((intptr_t)(reading = shmat(ids[KEYED], NULL, SHM_RDONLY)) != -1);
    must((child = fork()) >= 0);
    if (child == 0) {
        run_child();
    }
}

static void change(void)
{
    at[KEYED][0] = at[FOREIGN][0] = -1;
    must(shmdt((const void *)at[FOREIGN]) == 0 && seteuid(OTHER) == 0);
    must(shmctl(ids[FOREIGN], IPC_RMID, NULL) == 0 && seteuid(0) == 0);
    must(shmctl(ids[LOOSE], IPC_RMID, NULL) == 0);
    must(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
    must(shmget(IPC_PRIVATE, 5000, IPC_CREAT | 0600) >= 0);
}

static void look_at(int which, key_t key, unsigned attached)
{
    struct shmid_ds ds;

    must(shmctl(ids[which], IPC_STAT, &ds) == 0);
    must(ds.shm_perm.__key == key && ds.shm_segsz == SIZE && (ds.shm_perm.mode & 0777) == 0640);
    must(ds.shm_nattch == attached);
    must(ds.shm_perm.cuid == (which == FOREIGN ? OTHER : 0) && ds.shm_perm.uid == ds.shm_perm.cuid);
    must(((ds.shm_perm.mode & SHM_DEST) != 0) == (which == REMOVED));
}

static void verify(void)
{
    static int turn;
    volatile int *loose = shmat(ids[LOOSE], NULL, 0);

    must((intptr_t)loose != -1 && loose[0] == LOOSE && shmdt((const void *)loose) == 0);
    for (int i = 0; i < LOOSE; i++) {
        must(at[i][0] == i && at[i][SIZE / sizeof(int) - 1] == i + 100);
    }
    must(reading[0] == KEYED);
    look_at(KEYED, KEY, 4);
    look_at(PRIVATE, IPC_PRIVATE, 2);
    look_at(REMOVED, IPC_PRIVATE, 2);
    look_at(FOREIGN, KEY + 1, 2);
    look_at(LOOSE, KEY + 2, 0);
    must(shmget(KEY, SIZE, 0) == ids[KEYED]);
    at[PRIVATE][1] = ++turn;
    for (int i = 0; i < 5000 && at[PRIVATE][2] != turn; i++) {
        pause_ms(1);
    }
    must(at[PRIVATE][2] == turn && at[REMOVED][1] == turn + 1);
}
