/* The devices every sandbox has. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "fd.h"
#include "handle.h"

static bool is_device(const char *name)
{
    static const char *const names[] = {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"};
    size_t i = 0;

    while (i < sizeof names / sizeof *names && strcmp(name, names[i]) != 0) {
        i++;
    }
    return i < sizeof names / sizeof *names;
}

static bool is_it(const struct seen *seen)
{
    return S_ISCHR(seen->st.st_mode) && is_device(seen->link);
}

static int capture_device(const struct seen *seen, struct image_handle *handle)
{
    handle->kept = strdup(seen->link);
    if (!handle->kept) {
        die("out of memory");
    }
    return 0;
}

static int open_device(const struct opening *opening, const struct image_handle *handle)
{
    return opening_inside(opening, handle->kept, handle->flags);
}

static void pack_handle(struct pack *pack, struct image_handle *handle)
{
    char **name = (char **)&handle->kept;

    pack_string(pack, name);
    pack_check(pack, *name && is_device(*name), "a device that no sandbox has");
}

const struct handle_kind handle_device = {
    .name = "device", .is_it = is_it, .capture = capture_device, .open = open_device, .pack = pack_handle};
