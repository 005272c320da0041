#include "forge.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tree.h"

static void mark(const char *path, const char *name, const char *value)
{
    lsetxattr(path, name, value, strlen(value), 0);
}

static void redirect(const char *path)
{
    const struct random_path target = random_path();
    char value[80];

    snprintf(value, sizeof value, "/%s", target.text);
    mark(path, "trusted.overlay.redirect", random_below(3) ? value : strrchr(value, '/') + 1);
}

/* A directory of one layer is listed as it is, whiteouts and all, unless it says that it was merged once. */
static struct random_path parent_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    struct random_path parent = {"."};

    if (slash) {
        memcpy(parent.text, path, (size_t)(slash - path));
        parent.text[slash - path] = '\0';
    }
    return parent;
}

static void hide(const char *path)
{
    tree_remove(AT_FDCWD, path);
    if (mknod(path, S_IFCHR, makedev(0, 0)) == 0) {
        mark(parent_of(path).text, "trusted.overlay.origin", "");
    }
}

/* A file that says it is a whiteout counts as one; that its directory says so too is needed for it to be left out of
 * listings. */
static void hide_by_attribute(const char *path)
{
    const struct random_path parent = parent_of(path);
    char value;

    if (lgetxattr(parent.text, "trusted.overlay.opaque", &value, 1) == 1 && value == 'y') {
        return;
    }
    tree_remove(AT_FDCWD, path);
    if (mknod(path, S_IFREG | 0600, 0) == 0) {
        mark(parent.text, "trusted.overlay.origin", "");
        mark(parent.text, "trusted.overlay.opaque", "x");
        mark(path, "trusted.overlay.whiteout", "y");
    }
}

static void mark_random(const char *path)
{
    struct stat st;
    bool is_directory = lstat(path, &st) == 0 && S_ISDIR(st.st_mode);

    switch (random_below(7)) {
    case 0 ... 1:
        hide(path);
        return;
    case 2:
        hide_by_attribute(path);
        return;
    case 3:
        if (is_directory && lgetxattr(path, "trusted.overlay.opaque", NULL, 0) < 0) {
            mark(path, "trusted.overlay.opaque", "y");
        }
        return;
    default:
        if (is_directory) {
            redirect(path);
        }
    }
}

void stack_forge(struct world *world, struct stack *stack)
{
    int upper = world_directory(world);

    do_random(upper, 10 + (unsigned)random_below(40));
    for (uint64_t i = random_below(12); i > 0; i--) {
        mark_random(random_path().text);
    }
    memmove(stack->layers + 1, stack->layers, stack->count * sizeof *stack->layers);
    stack->layers[0] = upper;
    stack->count++;
}
