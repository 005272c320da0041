/* What a checkpoint keeps of the processes of a sandbox. */
#pragma once

#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <time.h>

#include "freeze.h"
#include "looks.h"
#include "ranges.h"

/* Bytes that lie in a file of the engine's, which nobody else has. */
struct content {
    int fd; /* -1: it is not there yet */
    off_t size;
};

/* ---- memory ---- */

/* A template has no AREA_SHARED. */
enum area_kind { AREA_MEMORY, AREA_FILE, AREA_SHARED, AREA_KERNEL };

/* Of the kernel's VmFlags what is not seen by access and file. */
enum area_look {
    LOOK_GROWS_DOWN = 1 << 0,
    LOOK_LOCKED = 1 << 1,
    LOOK_NO_FORK = 1 << 2,
    LOOK_WIPE_ON_FORK = 1 << 3,
    LOOK_NO_DUMP = 1 << 4,
    LOOK_HUGE = 1 << 5,
    LOOK_NO_HUGE = 1 << 6,
    LOOK_MERGEABLE = 1 << 7,
    LOOK_NO_RESERVE = 1 << 8,
    LOOK_RANDOM = 1 << 9,
    LOOK_SEQUENTIAL = 1 << 10,
    LOOK_LOCKED_LATER = 1 << 11, /* as pages come */
    LOOK_DROPPABLE = 1 << 12,
};

struct area {
    uint64_t start, end, offset;
    enum area_kind kind;
    bool shared;
    int protection; /* PROT_* */
    unsigned looks;
    size_t file;    /* of AREA_FILE: in files */
    size_t handle;  /* of AREA_SHARED, unless it is */
    size_t segment; /* System V memory: its number and 1 */
    bool may_write; /* also when its protection does not say so now */
    bool watched;   /* writing to it is noticed already */
    char name[16];  /* of AREA_KERNEL */
};

/* Where a file is found again that is mapped or executed. */
struct whereabouts {
    uint64_t identity; /* a number that it keeps from image to image; no other file has it */
    bool is_known;     /* all that follows; when the image is brought to disk */
    size_t tree;
    char *path; /* in the tree; NULL: it has no name there, and what is in it is kept: */
    struct content content;
    struct looks looks;
    uint64_t size;
    struct timespec changed;
};

struct area_file {
    uint64_t device, inode;
    struct whereabouts where;
    int fd; /* until the template is built */
};

/* Captured content. */
struct piece {
    struct range range;
    const uint8_t *content;
};

struct memory {
    struct area *areas;
    size_t area_count;
    struct area_file *files;
    size_t file_count;
    struct ranges own;    /* pages with a content of their own */
    struct ranges guards; /* of which none may be touched (MADV_GUARD_INSTALL) */
    struct ranges fresh;  /* those of them that the template it grows from did not have */
    struct ranges gone;   /* what that has and the process no longer */
    bool grows;
    struct piece *pieces; /* the content of what is fresh, until the template has it: */
    size_t piece_count;
    uint8_t *early, *late; /* copied while the process ran, and while it stood still */
    size_t early_size, late_size;
    uint64_t faults;         /* that were the process's by then */
    struct prctl_mm_map map; /* its pointer to auxv is not used */
    uint8_t auxv[1024];
    size_t auxv_size;
    int locks_future; /* for mlockall */
    uint64_t program_device, program_inode;
    struct whereabouts program_where;
    int program; /* /proc/PID/exe, until the template is built; -1: the one that the template has already */
};

/* ---- threads and processes ---- */

/* A filter of system calls that the program itself has added. */
struct image_filter {
    uint16_t length;
    unsigned flags;
    struct sock_filter *code;
};

struct credentials {
    uint32_t uids[4], gids[4]; /* real, effective, saved, of files */
    uint32_t *groups;
    size_t group_count;
    uint64_t inheritable, permitted, effective, bounding, ambient;
    unsigned securebits;
    bool no_new_privileges;
    struct image_filter *filters; /* the oldest first */
    size_t filter_count;
};

/* Signals that wait, in their order. */
struct pending {
    siginfo_t *list;
    size_t count;
};

/* How a thread is scheduled. */
struct turn {
    struct scheduling scheduling;
    int nice, io_priority;
    uint64_t processors[16];
    size_t processors_size;
    uint64_t timer_slack;
};

struct image_thread {
    pid_t tid; /* inside, as all ids are */
    struct arch_regs regs;
    struct arch_extended extended;
    uint64_t mask;
    stack_t alternate_stack;
    uint64_t clear_tid;
    uint64_t robust_list, robust_length;
    uint64_t rseq;
    uint32_t rseq_size, rseq_signature;
    char name[16];
    bool ended; /* the first one, which others have outlived: it has an id and nothing else */
    struct credentials credentials;
    struct pending pending;
    struct turn turn;
    struct call_dispatch dispatch;
    int parent_death_signal, time_stamps;
    unsigned personality;
};

struct unit; /* move.h */

/* A POSIX timer. */
struct image_timer {
    int id, clock, notify, signal;
    pid_t tid; /* of SIGEV_THREAD_ID */
    uint64_t value;
    struct itimerspec left;
    bool has_fired; /* its signal waits */
};

/* The kernel's struct sigaction. */
struct signal_action {
    uint64_t handler, flags, restorer, mask;
};

struct handle_kind;    /* handle.h */
struct image_terminal; /* terminal.h */
struct image_segment;  /* segment.h */

/* Whom a description sends a signal when something has happened with it, as fcntl tells it inside. */
struct notice {
    bool is_asked, is_async;
    int type, signal; /* 0: SIGIO */
    pid_t pid;        /* 0: nobody */
    uint32_t user, effective_user;
};

/* An open file description that one or more processes have descriptors of. */
struct image_handle {
    const struct handle_kind *kind;
    int flags;
    void *kept; /* the kind's own */
    struct notice notice;
};

struct object_kind; /* handle.h */

/* What several handles can lead to: a pipe, memory. */
struct image_object {
    const struct object_kind *kind;
    uint64_t device, inode;
    void *kept; /* the kind's own */
};

struct image_descriptor {
    int number;
    bool close_on_exec;
    size_t handle;
};

struct image_process {
    pid_t pid, parent, group, session; /* parent 0: the engine, 1: the cell's init */
    int exit_signal;                   /* for the parent */
    int stop_signal;                   /* 0: it is not stopped */
    bool stop_is_news;                 /* the parent has not waited for the stop, */
    bool going_on_is_news;             /* or for its going on */
    char command[16];
    char api_id[ID_MAX + 1]; /* of one that was started through the API */
    struct image_thread *threads;
    size_t thread_count;
    struct memory memory;
    struct signal_action actions[64];
    struct pending pending;
    struct rlimit limits[RLIM_NLIMITS];
    struct itimerval intervals[3];
    struct image_timer *timers;
    size_t timer_count;
    mode_t umask;
    int dumpable;
    int no_huge_pages, no_new_code, merges, reaps_orphans; /* as prctl gives and takes them */
    unsigned barriers;                                     /* that it has registered with membarrier */
    int oom_score_adjust;
    unsigned core_filter;
    struct image_descriptor *descriptors;
    size_t descriptor_count;
    struct lock *locks; /* POSIX locks: move.h */
    size_t lock_count;
    size_t root, directory;    /* handles; SIZE_MAX: the root of the sandbox */
    struct template *template; /* NULL until it is built */
    char origin[ID_MAX + 1];   /* the image whose template it grows from, */
    pid_t origin_pid;          /* and which of its processes */
    unsigned generation;       /* how many it has grown from, one from the other */
    size_t terminal;           /* that controls it, counted from 1 */
};

/* A process that has ended and was not waited for. */
struct image_zombie {
    pid_t pid, parent, group, session;
    int status; /* as wait tells it */
    int exit_signal;
    uint32_t uids[4], gids[4];
    char name[16];
};

/* A description that was met while capturing, by a descriptor of it. */
struct known_description {
    const struct unit *unit;
    int number;
    size_t handle;
};

struct stored; /* stored.h */

struct image {
    char id[ID_MAX + 1];
    struct stored *stored;   /* where its pages are on disk; NULL: it is not there */
    struct storing *storing; /* it is being brought there */
    struct image_process *processes;
    size_t process_count; /* parents before their children */
    struct image_zombie *zombies;
    size_t zombie_count;
    pid_t last_pid; /* the next one is looked for behind it */
    struct image_handle *handles;
    size_t handle_count;
    struct image_object *objects;
    size_t object_count;
    struct image_terminal *terminals;
    size_t terminal_count;
    struct image_segment *segments;
    size_t segment_count;
    struct known_description *known; /* ordered; until all is captured */
    size_t known_count;
    struct base *base;  /* that its files lie on, */
    struct chain chain; /* in these layers, as far as is known */
    size_t built;       /* how many processes have their templates */
    bool is_told;       /* that it has come to an end with that */
    char *failure;      /* why one could not be built; NULL: none failed */
    char *fault;        /* the step of building them that is to fail, for tests */
    struct image *next;
};

extern struct image *images;

struct image *image_find(const char *id);
/* What its template grows from; NULL when that is nothing, or gone. */
const struct image_process *image_origin(const struct image_process *process);
/* It is there from now on; its templates are built when there is time. */
void image_add(struct image *image);
/* Its files are those of the chain. */
void image_know_chain(struct image *image, struct base *base, const struct chain *chain);
bool image_is_ready(const struct image *image);
/* What it takes of memory beyond what it shares with what it grows from. */
uint64_t image_bytes(const struct image *image);
/* Something with its processes has failed: when that was because a template was killed, err says so. */
void image_explain(const struct image *image, struct err *err);
/* Builds what is left of it now. 0, or -1 with err, also when a template is gone. */
int image_complete(struct image *image, struct err *err);
void image_free(struct image *image);
void image_process_free(struct image_process *process);
void memory_forget_content(struct memory *memory);
void memory_free(struct memory *memory);
