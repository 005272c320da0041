#include "segment.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include "capture.h"
#include "copy.h"
#include "fd.h"

#define MODE_BITS 0777u
#ifndef SHM_STAT_ANY
#define SHM_STAT_ANY 15 /* since Linux 4.17 */
#endif

/* ---- in the cell's namespace ---- */

/* The file behind it. It or -errno. */
static int open_content(int id, size_t size, int flags)
{
    char path[64];
    void *at = shmat(id, NULL, flags == O_RDONLY ? SHM_RDONLY : 0);
    const size_t bytes = (size + 4095) & ~(size_t)4095;

    if ((intptr_t)at == -1) {
        return -errno;
    }
    snprintf(path, sizeof path, "/proc/self/map_files/%lx-%lx", (unsigned long)at, (unsigned long)at + bytes);
    int fd = open(path, flags | O_CLOEXEC);
    const int failure = -errno;
    shmdt(at);
    return fd < 0 ? failure : fd;
}

/* ---- capturing ---- */

static int keep(struct image_segment *segment)
{
    struct statfs fs;
    cleanup_fd from = open_content(segment->id, segment->size, O_RDONLY);

    segment->content = (struct content){memfd_create("deltabox", MFD_CLOEXEC), (off_t)segment->size};
    if (from < 0 || segment->content.fd < 0 || fstatfs(from, &fs) < 0) {
        return from < 0 ? from : -errno;
    }
    return fs.f_type != TMPFS_MAGIC ? -EMEDIUMTYPE
                                    : copy_whole(from, segment->content.fd, segment->content.size);
}

static int capture_one(struct image *image, int id, const struct shmid_ds *ds)
{
    image->segments = realloc(image->segments, (image->segment_count + 1) * sizeof *image->segments);
    if (!image->segments) {
        die("out of memory");
    }
    struct image_segment *segment = &image->segments[image->segment_count++];
    *segment = (struct image_segment){.id = id,
                                      .key = (uint32_t)ds->shm_perm.__key,
                                      .size = ds->shm_segsz,
                                      .mode = ds->shm_perm.mode,
                                      .uid = ds->shm_perm.uid,
                                      .creator_uid = ds->shm_perm.cuid,
                                      .gid = ds->shm_perm.gid,
                                      .creator_gid = ds->shm_perm.cgid,
                                      .content.fd = -1};
    return keep(segment);
}

static int capture_all(struct image *image, struct obstacles *obstacles)
{
    struct shm_info info;
    const int last = shmctl(0, SHM_INFO, (struct shmid_ds *)(void *)&info);
    int result = 0;

    for (int i = 0; result == 0 && i <= last && info.used_ids > 0; i++) {
        struct shmid_ds ds;
        const int id = shmctl(i, SHM_STAT_ANY, &ds);
        if (id < 0) {
            continue;
        }
        result = capture_one(image, id, &ds);
        if (result == -EMEDIUMTYPE) {
            obstacle_add(obstacles, NULL, "System V shared memory", true, "it is memory of huge pages");
            result = 0;
        }
    }
    return last < 0 ? -errno : result;
}

static bool has_segment(const struct image *image, size_t id)
{
    for (size_t i = 0; i < image->segment_count; i++) {
        if ((size_t)image->segments[i].id == id) {
            return true;
        }
    }
    return false;
}

/* Areas are known as such by a name. */
static int check_areas(const struct image *image)
{
    for (size_t i = 0; i < image->process_count; i++) {
        const struct memory *memory = &image->processes[i].memory;
        for (size_t j = 0; j < memory->area_count; j++) {
            if (memory->areas[j].segment && !has_segment(image, memory->areas[j].segment - 1)) {
                return -ENOENT;
            }
        }
    }
    return 0;
}

int segments_capture(struct image *image, struct obstacles *obstacles)
{
    int result = capture_all(image, obstacles);

    result = result < 0 ? result : check_areas(image);
    if (result == 0 && image->segment_count > 0 && image->process_count == 0) {
        obstacle_add(obstacles, NULL, "System V shared memory", true,
                     "no process is left that could have it");
    }
    return result;
}

void segments_free(struct image *image)
{
    for (size_t i = 0; i < image->segment_count; i++) {
        fd_close(&image->segments[i].content.fd);
    }
    free(image->segments);
}

/* ---- making ---- */

static int set_next_id(int id)
{
    char text[16];
    const int length = snprintf(text, sizeof text, "%d", id);
    cleanup_fd fd = open("/proc/sys/kernel/shm_next_id", O_WRONLY | O_CLOEXEC);

    return fd < 0 || write(fd, text, (size_t)length) < 0 ? -errno : 0;
}

/* By one of the processes, in the name of who made it first. */
static int get(struct puppet *puppet, const struct image_segment *segment)
{
    struct inject *inject = &puppet->inject;

    inject_add(inject, SYS_setresgid, 0, segment->creator_gid - engine.uid_base, 0, 0, 0, 0);
    inject_add(inject, SYS_setresuid, 0, segment->creator_uid - engine.uid_base, 0, 0, 0, 0);
    const size_t made = inject_add(inject, SYS_shmget, segment->key, segment->size,
                                   IPC_CREAT | IPC_EXCL | (segment->mode & MODE_BITS), 0, 0, 0);
    inject_add(inject, SYS_setresuid, 0, 0, 0, 0, 0, 0);
    inject_add(inject, SYS_setresgid, 0, 0, 0, 0, 0, 0);
    int result = inject_run(inject);
    const int id = (int)inject->calls[made].result;
    inject_clear(inject);
    return result < 0 ? result : id == segment->id ? 0 : -ESTALE;
}

static int fill(const struct image_segment *segment)
{
    const struct shmid_ds owner = {
        .shm_perm = {.uid = segment->uid, .gid = segment->gid, .mode = segment->mode & MODE_BITS}};
    cleanup_fd to = open_content(segment->id, segment->size, O_RDWR);
    int result = to < 0 ? to : copy_whole(segment->content.fd, to, (off_t)segment->size);

    if (result < 0) {
        return result;
    }
    if (shmctl(segment->id, IPC_SET, (struct shmid_ds *)&owner) < 0 ||
        ((segment->mode & SHM_LOCKED) && shmctl(segment->id, SHM_LOCK, NULL) < 0)) {
        return -errno;
    }
    return 0;
}

static int in_cell(const struct cell *cell, const struct image_segment *segment,
                   int (*action)(const struct image_segment *))
{
    int own = ipc_enter(cell);

    if (own < 0) {
        return own;
    }
    int result = action(segment);
    ipc_leave(own);
    return result;
}

static int announce(const struct image_segment *segment)
{
    return set_next_id(segment->id);
}

int segments_make(const struct revival *revival, const struct stage *stage)
{
    int result = 0;

    for (size_t i = 0; result == 0 && i < revival->image->segment_count; i++) {
        const struct image_segment *segment = &revival->image->segments[i];
        result = in_cell(stage->cell, segment, announce);
        result = result < 0 ? result : get(&revival->processes[0].puppet, segment);
        result = result < 0 ? result : in_cell(stage->cell, segment, fill);
    }
    return result;
}

static int remove_segment(const struct image_segment *segment)
{
    return shmctl(segment->id, IPC_RMID, NULL) < 0 ? -errno : 0;
}

int segments_settle(const struct image *image, const struct cell *cell)
{
    int result = 0;

    for (size_t i = 0; result == 0 && i < image->segment_count; i++) {
        const struct image_segment *segment = &image->segments[i];
        result = segment->mode & SHM_DEST ? in_cell(cell, segment, remove_segment) : 0;
    }
    return result;
}
