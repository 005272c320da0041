#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "tree.h"

static char top[] = "/tmp/deltabox-test-XXXXXX";

/* Deeper than any path can name. */
static void make_deep(int dir, int depth)
{
    int at = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    for (int i = 0; i < depth; i++) {
        CHECK(mkdirat(at, "a-directory-with-a-long-name", 0700) == 0);
        int below = openat(at, "a-directory-with-a-long-name", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        CHECK(below >= 0);
        CHECK(close(openat(below, "file", O_CREAT | O_WRONLY | O_CLOEXEC, 0)) == 0);
        close(at);
        at = below;
    }
    close(at);
}

int main(void)
{
    struct tree_size size = {0};
    struct stat st;

    CHECK(mkdtemp(top) != NULL);
    int dir = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(mkdirat(dir, "tree", 0700) == 0);
    CHECK(mkdirat(dir, "outside", 0700) == 0);
    int tree = openat(dir, "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(symlinkat("../outside", tree, "link") == 0);
    CHECK(mkfifoat(tree, "fifo", 0600) == 0);
    int file = openat(tree, "data", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    CHECK(ftruncate(file, 1 << 20) == 0 && pwrite(file, "x", 1, 0) == 1);
    close(file);
    CHECK(tree_measure(dir, "tree", &size) == 0);
    CHECK(size.files == 3);
    CHECK(size.bytes >= 512 && size.bytes < 1 << 20);
    make_deep(tree, 1500);
    close(tree);
    CHECK(tree_remove(dir, "tree") == 0);
    CHECK(fstatat(dir, "tree", &st, 0) < 0);
    CHECK(fstatat(dir, "outside", &st, 0) == 0);
    CHECK(tree_remove(dir, "tree") == 0);
    CHECK(tree_remove(dir, "outside") == 0);
    close(dir);
    CHECK(rmdir(top) == 0);
    return DONE("tree");
}
