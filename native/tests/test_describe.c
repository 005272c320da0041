/* What an image says is read as it was written; what no image can say is not read. */
#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include "check.h"
#include "describe.h"
#include "handle.h"
#include "inet_socket.h"
#include "reading.h"
#include "sample.h"
#include "sound.h"
#include "terminal.h"
#include "unix_socket.h"

#define PAGE 4096u

/* ---- one of everything ---- */

static void describe_again(const uint8_t *bytes, size_t size, struct pack *reader, struct image **image)
{
    *reader = reading(bytes, size);
    reader->tree_count = SAMPLE_TREES;
    *image = handle_keep(sizeof **image);
    strcpy((*image)->id, "again");
    image_pack(reader, *image);
}

static void look_like(struct image *to, const struct image *from)
{
    for (size_t i = 0; i < from->object_count; i++) {
        if (from->objects[i].kind == &object_nameless) {
            const struct content *content = object_nameless.content(from->objects[i].kept);
            object_nameless.content(to->objects[i].kept)->fd = fcntl(content->fd, F_DUPFD_CLOEXEC, 0);
        }
    }
}

static void test_a_description_is_read_as_it_was_written(void)
{
    struct image *image = sample_image("first"), *got;
    struct pack reader, once = {0}, twice = {0};
    struct sample_file file;

    stored_leave(sample_make(&file, image, NULL));
    image_pack(&once, image);
    CHECK(!once.failure);
    describe_again(once.out.data, once.out.len, &reader, &got);
    CHECK(!reader.failure && reader.at == reader.end);
    CHECK(got->process_count == 3 && got->zombie_count == 2 && got->handle_count == image->handle_count);
    for (size_t i = 0; i < image->handle_count; i++) {
        CHECK(got->handles[i].kind == image->handles[i].kind &&
              got->handles[i].flags == image->handles[i].flags);
    }
    CHECK(strcmp(got->processes[0].api_id, "command-1") == 0 && got->processes[1].stop_signal == SIGTSTP);
    CHECK(got->processes[2].threads[0].ended && got->processes[2].threads[1].tid == 8);
    CHECK(got->processes[0].memory.areas[2].looks == (LOOK_DROPPABLE | LOOK_NO_DUMP));
    look_like(got, image);
    image_pack(&twice, got);
    CHECK(!twice.failure && twice.out.len == once.out.len);
    CHECK(memcmp(twice.out.data, once.out.data, once.out.len) == 0);
    image_free(got);
    for (size_t cut = 0; cut < once.out.len; cut += cut < 4000 ? 1 : 7) {
        describe_again(once.out.data, cut, &reader, &got);
        CHECK(reader.failure);
        image_free(got);
    }
    image_free(image);
    sample_free(&file);
    pack_free(&once);
    pack_free(&twice);
}

/* Whether an image that was changed is read. */
static bool is_read(void (*change)(struct image *image))
{
    struct image *image = sample_image("first"), *got;
    struct pack reader, pack = {0};
    struct sample_file file;

    stored_leave(sample_make(&file, image, NULL));
    change(image);
    image_pack(&pack, image);
    describe_again(pack.out.data, pack.out.len, &reader, &got);
    const bool is = !pack.failure && !reader.failure;
    image_free(got);
    image_free(image);
    sample_free(&file);
    pack_free(&pack);
    return is;
}

/* Two handles or objects by their kind's name, counted from 0. */
static struct image_handle *handle_of(struct image *image, const char *kind, size_t skip)
{
    for (size_t i = 0; i < image->handle_count; i++) {
        if (strcmp(image->handles[i].kind->name, kind) == 0 && skip-- == 0) {
            return &image->handles[i];
        }
    }
    abort();
}

#define REFUSED(name, ...)                                                                                   \
    static void name(struct image *image)                                                                    \
    {                                                                                                        \
        struct image_process *process = &image->processes[1];                                                \
        (void)process;                                                                                       \
        __VA_ARGS__                                                                                          \
    }

REFUSED(nothing, )
REFUSED(own_parent, process->parent = process->pid;)
REFUSED(parent_behind, process->parent = 7;)
REFUSED(parents_in_a_circle, process->parent = 7; image->processes[2].parent = 5;)
REFUSED(unknown_parent, process->parent = 4;)
REFUSED(same_pid, process->pid = process->threads[0].tid = 2;)
REFUSED(pid_of_init, process->pid = process->threads[0].tid = 1;)
REFUSED(negative_pid, process->pid = process->threads[0].tid = -5;)
REFUSED(pid_too_large, process->pid = process->threads[0].tid = INT_MAX;)
REFUSED(pid_of_a_thread, image->processes[2].threads[1].tid = 5;)
REFUSED(pid_of_a_zombie, image->zombies[0].pid = 5;)
REFUSED(another_first_thread, process->threads[0].tid = 6;)
REFUSED(no_thread, image->processes[1].thread_count = 0;)
REFUSED(no_session, process->session = 0;)
REFUSED(negative_session, process->session = -1;)
REFUSED(no_group, process->group = 0;)
REFUSED(zombie_of_a_stranger, image->zombies[0].parent = 1;)
REFUSED(zombie_that_was_stopped, image->zombies[0].status = 0x137f;)
REFUSED(zombie_of_a_signal_that_ends_nobody, image->zombies[1].status = SIGCHLD;)
REFUSED(zombie_with_a_strange_signal, image->zombies[1].exit_signal = 4000;)
REFUSED(strange_exit_signal, process->exit_signal = -3;)
REFUSED(stopped_by_nothing, process->stop_signal = 0;)
REFUSED(stopped_by_a_kill, process->stop_signal = SIGKILL;)
REFUSED(only_thread_ended, process->threads[0].ended = true;)
REFUSED(two_with_a_command, strcpy(process->api_id, "command-1");)
REFUSED(command_that_is_a_path, strcpy(process->api_id, "../x");)
REFUSED(last_pid_of_nobody, image->last_pid = -1;)
REFUSED(barriers_without_end, process->barriers = 0x80000000;)
REFUSED(strange_pending_signal, image->processes[0].threads[0].pending.list[0].si_signo = 65;)
REFUSED(filter_that_gives_a_descriptor, process->threads[0].credentials.filters[0].flags = 8;)
REFUSED(timer_without_end, image->processes[0].timers[0].left.it_interval.tv_sec = INT64_MAX;)
REFUSED(timer_before_its_time, image->processes[0].timers[0].left.it_value.tv_sec = -1;)
REFUSED(nicer_than_the_engine, process->threads[0].turn.nice = -20;)
REFUSED(real_time, process->threads[0].turn.scheduling.policy = 1;)
REFUSED(real_time_of_disks, process->threads[0].turn.io_priority = 1 << 13;)
REFUSED(out_of_memory_never, process->oom_score_adjust = -1000;)
REFUSED(limit_of_real_time, process->limits[RLIMIT_RTPRIO].rlim_max = RLIM_INFINITY;)
REFUSED(terminal_that_is_not_there, image->processes[0].terminal = 2;)
REFUSED(terminal_without_a_slave, image->terminals[0].had_slave = false;)
REFUSED(terminal_of_a_high_number, image->terminals[0].number = 100000;)

REFUSED(negative_descriptor, image->processes[0].descriptors[0].number = -1;)
REFUSED(descriptor_twice, image->processes[0].descriptors[0].number = 1;)
REFUSED(descriptor_of_the_highest_number, image->processes[0].descriptors[0].number = INT_MAX;)
REFUSED(descriptor_of_nothing, image->processes[0].descriptors[0].handle = image->handle_count;)

REFUSED(area_over_the_end, process->memory.areas[7].end += PAGE;)
REFUSED(area_of_another_kind, process->memory.areas[2].kind = AREA_KERNEL + 1;)
REFUSED(area_of_no_file, process->memory.areas[0].file = 2;)
REFUSED(area_that_all_copies_share, process->memory.areas[2].shared = true;)
REFUSED(area_of_a_pipe,
        process->memory.areas[3].handle = (size_t)(handle_of(image, "pipe", 0) - image->handles);)
REFUSED(area_of_no_segment, process->memory.areas[4].segment = 9;)
REFUSED(area_of_a_segment_beyond_all, process->memory.areas[4].segment = (size_t)1 << 63;)
REFUSED(segment_that_is_no_shared_area, process->memory.areas[2].segment = 8;)
REFUSED(file_that_is_not_mapped, process->memory.areas[1].file = 0;)
REFUSED(second_vdso, strcpy(process->memory.areas[5].name, "[vdso]");)
REFUSED(kernel_area_of_nobody, strcpy(process->memory.areas[5].name, "[heap]");)
REFUSED(large_kernel_area, process->memory.areas[5].start -= 64 * PAGE;)
REFUSED(page_outside_of_areas, process->memory.own.list[0].start -= 2 * PAGE;
        process->memory.own.list[0].start -= 0x300000;)
REFUSED(page_of_shared_memory, ranges_append(&process->memory.own, 0x10000000, 0x10001000);)
REFUSED(page_of_the_kernel, ranges_append(&process->memory.own, 0x7ffff7ffd000, 0x7ffff7ffe000);)
REFUSED(guard_outside_of_areas, process->memory.guards.list[0].end += 0x1000000;)

REFUSED(epoll_in_itself, size_t at = (size_t)(handle_of(image, "epoll", 0) - image->handles);
        struct pack pack = {.is_reading = true, .image = image}; uint8_t bytes[16] = {2, 2, 2, 2};
        bytes[4] = (uint8_t)(2 * at); pack.at = bytes; pack.end = bytes + 5;
        image->handles[at].kind->forget(image->handles[at].kept);
        image->handles[at].kind->pack(&pack, &image->handles[at]); CHECK(!pack.failure);)
REFUSED(pidfd_of_nobody, *(pid_t *)handle_of(image, "pidfd", 0)->kept = 44;)
REFUSED(pipe_that_is_memory, *(size_t *)handle_of(image, "pipe", 0)->kept = 1;)
REFUSED(memory_that_is_a_pipe, *(size_t *)handle_of(image, "memory", 0)->kept = 0;)
REFUSED(nameless_that_is_memory, *(size_t *)handle_of(image, "nameless file", 0)->kept = 1;)

#define UNIX(at) ((struct kept_unix *)handle_of(image, "unix socket", at)->kept)
REFUSED(unix_peer_of_another_kind, UNIX(0)->peer = 0;)
REFUSED(unix_peer_of_itself, UNIX(0)->peer = UNIX(1)->peer;)
REFUSED(unix_peer_of_somebody_else, UNIX(1)->peer = SIZE_MAX;)
REFUSED(unix_wait_for_nobody, UNIX(3)->peer = SIZE_MAX;)
REFUSED(unix_wait_of_nobody, UNIX(2)->waiting[0] = 0;)
REFUSED(unix_wait_of_another, UNIX(2)->waiting[0] = UNIX(0)->inode;)
REFUSED(unix_socket_of_another_type, UNIX(4)->type = SOCK_RAW;)
REFUSED(unix_pieces_of_more, UNIX(0)->pieces[0].size = 6;)
REFUSED(unix_holder_of_nobody, UNIX(0)->holder = 3;)

#define INET(at) ((struct kept_inet *)handle_of(image, "inet socket", at)->kept)
REFUSED(inet_peer_of_another_kind, INET(0)->peer = 0;)
REFUSED(inet_peer_of_nobody, INET(0)->peer = SIZE_MAX;)
REFUSED(inet_peer_of_somebody_else, INET(0)->peer = INET(1)->peer;)
REFUSED(inet_wait_for_one_that_does_not_listen, INET(0)->fate = TCP_WAITS;)
REFUSED(inet_fate_of_messages, INET(3)->fate = TCP_OVER;)
REFUSED(inet_socket_of_another_family, INET(0)->family = AF_PACKET;)
REFUSED(inet_name_of_another_family, INET(0)->name.address.ss_family = AF_INET6;)
REFUSED(inet_name_too_short, INET(0)->name.size = 2;)
REFUSED(inet_datagram_of_more, INET(3)->datagrams[0].size = 3;)
REFUSED(inet_state_of_nobody, INET(0)->state = TCP_IS_CLOSING + 1;)

/* Together with its processes. */
static void give_zombies(struct image *image, size_t count)
{
    const struct image_zombie any = image->zombies[1];

    image->zombies = realloc(image->zombies, count * sizeof *image->zombies);
    for (size_t i = 0; i < count; i++) {
        image->zombies[i] = any;
        image->zombies[i].pid = 1000 + (pid_t)i;
    }
    image->zombie_count = count;
}

REFUSED(as_many_as_there_may_be, give_zombies(image, MEMBERS_MAX - image->process_count);)
REFUSED(one_too_many, give_zombies(image, MEMBERS_MAX - image->process_count + 1);)

static void test_how_many_there_may_be(void)
{
    CHECK(is_read(as_many_as_there_may_be));
    CHECK(!is_read(one_too_many));
}

static void test_images_that_cannot_be(void)
{
    CHECK(is_read(nothing));
#define ARE_REFUSED(...)                                                                                     \
    do {                                                                                                     \
        void (*const changes[])(struct image *) = {__VA_ARGS__};                                             \
        for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {                                      \
            if (is_read(changes[i])) {                                                                       \
                fprintf(stderr, "change %zu of %s is not noticed\n", i, #__VA_ARGS__);                       \
            }                                                                                                \
            CHECK(!is_read(changes[i]));                                                                     \
        }                                                                                                    \
    } while (0)
    ARE_REFUSED(own_parent, parent_behind, parents_in_a_circle, unknown_parent, same_pid, pid_of_init,
                negative_pid, pid_too_large, pid_of_a_thread, pid_of_a_zombie, another_first_thread,
                no_thread, no_session, negative_session, no_group, zombie_of_a_stranger,
                zombie_that_was_stopped, zombie_of_a_signal_that_ends_nobody, zombie_with_a_strange_signal,
                strange_exit_signal, stopped_by_nothing, stopped_by_a_kill, only_thread_ended,
                two_with_a_command, command_that_is_a_path, last_pid_of_nobody, barriers_without_end,
                strange_pending_signal, filter_that_gives_a_descriptor, timer_without_end,
                timer_before_its_time, nicer_than_the_engine, real_time, real_time_of_disks,
                out_of_memory_never, limit_of_real_time, terminal_that_is_not_there, terminal_without_a_slave,
                terminal_of_a_high_number);
    ARE_REFUSED(negative_descriptor, descriptor_twice, descriptor_of_the_highest_number,
                descriptor_of_nothing, area_over_the_end, area_of_another_kind, area_of_no_file,
                area_that_all_copies_share, area_of_a_pipe, area_of_a_segment_beyond_all, area_of_no_segment,
                segment_that_is_no_shared_area, file_that_is_not_mapped, second_vdso, kernel_area_of_nobody,
                large_kernel_area, page_outside_of_areas, page_of_shared_memory, page_of_the_kernel,
                guard_outside_of_areas);
    ARE_REFUSED(
        epoll_in_itself, pidfd_of_nobody, pipe_that_is_memory, memory_that_is_a_pipe, nameless_that_is_memory,
        unix_peer_of_another_kind, unix_peer_of_itself, unix_peer_of_somebody_else, unix_wait_for_nobody,
        unix_wait_of_nobody, unix_wait_of_another, unix_socket_of_another_type, unix_pieces_of_more,
        unix_holder_of_nobody, inet_peer_of_another_kind, inet_peer_of_nobody, inet_peer_of_somebody_else,
        inet_wait_for_one_that_does_not_listen, inet_fate_of_messages, inet_socket_of_another_family,
        inet_name_of_another_family, inet_name_too_short, inet_datagram_of_more, inet_state_of_nobody);
}

int main(void)
{
    test_a_description_is_read_as_it_was_written();
    test_images_that_cannot_be();
    test_how_many_there_may_be();
    return DONE("describe");
}
