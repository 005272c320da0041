#include "sample.h"

#include <linux/filter.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "engine.h"
#include "sample_handles.h"
#include "segment.h"
#include "terminal.h"

#define PAGE 4096u

/* ---- memory ---- */

static struct whereabouts where(uint64_t identity, const char *path)
{
    return (struct whereabouts){.identity = identity,
                                .is_known = true,
                                .tree = 0,
                                .path = text(path),
                                .content.fd = -1,
                                .size = SAMPLE_MAPPED_BYTES,
                                .changed = {.tv_sec = SAMPLE_SECONDS, .tv_nsec = 5}};
}

static struct whereabouts nowhere(uint64_t identity)
{
    return (struct whereabouts){
        .identity = identity,
        .is_known = true,
        .content = {.fd = -1, .size = PAGE + 1},
        .looks = {.mode = 0755,
                  .uid = SAMPLE_UID,
                  .gid = SAMPLE_UID + 5,
                  .times = {{SAMPLE_SECONDS, 0}, {SAMPLE_SECONDS, 999999999}},
                  .attributes =
                      LIST(struct attribute,
                           {{.name = text("user.sample"), .value = (uint8_t *)text("one"), .size = 3}}),
                  .attribute_count = 1}};
}

static struct memory memory_of(void)
{
    static const struct area areas[] = {
        {.start = 0x400000, .end = 0x402000, .kind = AREA_FILE, .protection = PROT_READ | PROT_EXEC},
        {.start = 0x402000,
         .end = 0x404000,
         .offset = 2 * PAGE,
         .kind = AREA_FILE,
         .protection = PROT_READ | PROT_WRITE,
         .file = 1},
        {.start = 0x600000,
         .end = 0x800000,
         .protection = PROT_READ | PROT_WRITE,
         .looks = LOOK_DROPPABLE | LOOK_NO_DUMP},
        {.start = 0x10000000,
         .end = 0x10003000,
         .kind = AREA_SHARED,
         .shared = true,
         .protection = PROT_READ,
         .handle = MEMORY,
         .may_write = true},
        {.start = 0x10004000, .end = 0x10005000, .kind = AREA_SHARED, .shared = true, .segment = 8},
        {.start = 0x7ffff7ff9000,
         .end = 0x7ffff7ffd000,
         .kind = AREA_KERNEL,
         .protection = PROT_READ,
         .name = "[vvar]"},
        {.start = 0x7ffff7ffd000,
         .end = 0x7ffff7fff000,
         .kind = AREA_KERNEL,
         .protection = PROT_READ | PROT_EXEC,
         .name = "[vdso]"},
        {.start = 0x7ffffffde000,
         .end = 0x7ffffffff000,
         .protection = PROT_READ | PROT_WRITE,
         .looks = LOOK_GROWS_DOWN},
    };
    struct memory memory = {.areas = kept(areas, sizeof areas),
                            .area_count = sizeof areas / sizeof *areas,
                            .files = LIST(struct area_file, {{.where = where(77, "lib/one.so"), .fd = -1},
                                                             {.where = nowhere(78), .fd = -1}}),
                            .file_count = 2,
                            .map = {.start_code = 0x400000, .start_stack = 0x7ffffffdf000},
                            .auxv_size = 32,
                            .program_where = where(79, "bin/program"),
                            .program = -1};

    ranges_append(&memory.own, 0x402000, 0x403000);
    ranges_append(&memory.own, 0x600000, 0x600000 + 80 * PAGE);
    ranges_append(&memory.own, 0x700000, 0x701000);
    ranges_append(&memory.guards, 0x710000, 0x711000);
    return memory;
}

/* ---- processes ---- */

static struct image_thread thread_of(pid_t tid, const char *name)
{
    static const struct sock_filter code[] = {{.code = 6, .k = 0x7fff0000}};
    struct image_thread thread = {.tid = tid,
                                  .regs.user.rip = 0x400123,
                                  .extended = {.size = 832, .data = handle_keep(832)},
                                  .mask = 1ULL << 63,
                                  .rseq = 0x7ffff7d8f000,
                                  .rseq_size = 32,
                                  .rseq_signature = 0x53053053,
                                  .turn = {.processors = {3}, .processors_size = 8, .timer_slack = 50000}};

    thread.credentials = (struct credentials){.uids = {1000, 1000, 1000, 1000},
                                              .groups = LIST(uint32_t, {4, 1000}),
                                              .group_count = 2,
                                              .bounding = UINT64_MAX,
                                              .filters = LIST(struct image_filter, {{.length = 1}}),
                                              .filter_count = 1};
    thread.credentials.filters[0].code = kept(code, sizeof code);
    thread.pending = (struct pending){.list = LIST(siginfo_t, {{.si_signo = SIGUSR1}}), .count = 1};
    strcpy(thread.name, name);
    return thread;
}

static struct image_process process_of(pid_t pid, pid_t parent, pid_t group, pid_t session,
                                       const char *command)
{
    struct image_process process = {.pid = pid,
                                    .parent = parent,
                                    .group = group,
                                    .session = session,
                                    .exit_signal = SIGCHLD,
                                    .memory = memory_of(),
                                    .threads = handle_keep(2 * sizeof *process.threads),
                                    .thread_count = 1,
                                    .umask = 022,
                                    .dumpable = 1,
                                    .root = SIZE_MAX,
                                    .directory = FILE_HANDLE};

    strcpy(process.command, command);
    process.threads[0] = thread_of(pid, command);
    process.limits[3] = (struct rlimit){.rlim_cur = 8 << 20, .rlim_max = RLIM_INFINITY};
    return process;
}

/* A shell, a child that is stopped, and one that a thread has outlived its first one in. */
static void add_processes(struct image *image)
{
    struct image_process *processes = image->processes = handle_keep(3 * sizeof *processes);

    processes[0] = process_of(2, 0, 2, 2, "shell");
    strcpy(processes[0].api_id, "command-1");
    processes[0].terminal = 1;
    processes[0].reaps_orphans = 1;
    processes[0].barriers = 4;
    processes[0].actions[9] = (struct signal_action){.handler = 0x400200, .flags = 0x4000000};
    processes[0].descriptors = handle_keep(HANDLES * sizeof *processes->descriptors);
    for (size_t i = 0; i < HANDLES; i++) {
        processes[0].descriptors[processes[0].descriptor_count++] =
            (struct image_descriptor){.number = (int)i, .close_on_exec = i % 2, .handle = i};
    }
    processes[0].timers = LIST(struct image_timer, {{.id = 3,
                                                     .clock = CLOCK_REALTIME,
                                                     .signal = SIGALRM,
                                                     .value = UINT64_MAX,
                                                     .left = {.it_interval = {1, 2}, .it_value = {3, 4}},
                                                     .has_fired = true}});
    processes[0].timer_count = 1;
    processes[0].locks =
        LIST(struct lock, {{.kind = LOCK_OF_PROCESS, .write = true, .start = 5, .length = 6, .fd = 0}});
    processes[0].lock_count = 1;
    processes[1] = process_of(5, 2, 5, 2, "child");
    processes[1].stop_signal = SIGTSTP;
    processes[1].stop_is_news = true;
    processes[1].root = DIRECTORY;
    processes[2] = process_of(7, 5, 5, 2, "outlived");
    free(processes[2].threads[0].credentials.groups);
    free(processes[2].threads[0].credentials.filters[0].code);
    free(processes[2].threads[0].credentials.filters);
    free(processes[2].threads[0].extended.data);
    free(processes[2].threads[0].pending.list);
    processes[2].threads[0] = (struct image_thread){.tid = 7, .ended = true};
    processes[2].threads[processes[2].thread_count++] = thread_of(8, "other");
    image->process_count = 3;
}

static void add_others(struct image *image)
{
    image->zombies =
        LIST(struct image_zombie, {{.pid = 9,
                                    .parent = 2,
                                    .group = 2,
                                    .session = 2,
                                    .status = 3 << 8,
                                    .exit_signal = SIGCHLD,
                                    .name = "ended"},
                                   {.pid = 10, .parent = 5, .group = 5, .session = 2, .status = SIGKILL}});
    image->zombie_count = 2;
    image->terminals = LIST(struct image_terminal, {{.number = 2,
                                                     .process = "command-1",
                                                     .size = {.rows = 25, .columns = 80},
                                                     .uid = SAMPLE_UID,
                                                     .gid = SAMPLE_UID + 5,
                                                     .mode = 0620,
                                                     .had_slave = true,
                                                     .foreground = 2,
                                                     .master = -1}});
    image->terminal_count = 1;
    image->segments = LIST(struct image_segment, {{.id = 7,
                                                   .key = 0xdeadbeef,
                                                   .size = 100,
                                                   .mode = 0600,
                                                   .uid = SAMPLE_UID,
                                                   .creator_uid = SAMPLE_UID,
                                                   .gid = SAMPLE_UID,
                                                   .creator_gid = SAMPLE_UID,
                                                   .content = {.fd = -1, .size = 100}}});
    image->segment_count = 1;
}

struct image *sample_image(const char *id)
{
    struct image *image = handle_keep(sizeof *image);

    engine.uid_base = SAMPLE_UID;
    strcpy(image->id, id);
    image->last_pid = 10;
    image->handles = handle_keep(HANDLES * sizeof *image->handles);
    image->handle_count = HANDLES;
    image->objects = handle_keep(OBJECTS * sizeof *image->objects);
    image->object_count = OBJECTS;
    add_others(image);
    add_processes(image);
    sample_add_handles(image);
    return image;
}
