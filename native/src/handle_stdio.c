/* The pipes of a command that was started through the API: they lead to its client, and are attached anew. */
#include <string.h>
#include <sys/stat.h>

#include "handle.h"
#include "process.h"

struct kept_stdio {
    char process[ID_MAX + 1];
    int stream;
};

static const struct process *find(const struct seen *seen, int *stream)
{
    for (const struct process *process = seen->move->sandbox->processes; process; process = process->next) {
        const int fds[] = {process->input.fd, process->streams[0].fd, process->streams[1].fd};
        for (*stream = 0; *stream < 3; ++*stream) {
            struct stat own;
            if (fds[*stream] >= 0 && fstat(fds[*stream], &own) == 0 && own.st_ino == seen->st.st_ino &&
                own.st_dev == seen->st.st_dev) {
                return process;
            }
        }
    }
    return NULL;
}

static bool is_it(const struct seen *seen)
{
    int stream;

    return find(seen, &stream) != NULL;
}

static int capture_stdio(const struct seen *seen, struct image_handle *handle)
{
    struct kept_stdio *kept = handle_keep(sizeof *kept);

    strcpy(kept->process, find(seen, &kept->stream)->id);
    handle->kept = kept;
    return 0;
}

static int open_stdio(const struct opening *opening, const struct image_handle *handle)
{
    const struct kept_stdio *kept = handle->kept;

    return opening->stage->stdio(opening->stage->owner, kept->process, kept->stream);
}

static void pack_handle(struct pack *pack, struct image_handle *handle)
{
    struct kept_stdio *kept = pack_kept(pack, &handle->kept, sizeof *kept);

    pack_api_id(pack, kept->process, false);
    PACK(pack, kept->stream);
    pack_check(pack, kept->stream >= 0 && kept->stream < 3, "a stream that no command has");
}

const struct handle_kind handle_stdio = {
    .name = "stdio", .is_it = is_it, .capture = capture_stdio, .open = open_stdio, .pack = pack_handle};
