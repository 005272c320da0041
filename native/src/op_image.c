/* Operations on the processes of checkpoints. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base.h"
#include "fd.h"
#include "image.h"
#include "layer.h"
#include "sandbox.h"
#include "store.h"
#include "stored.h"
#include "whereabouts.h"

static struct image *arg_there(item args, struct err *err)
{
    char id[ID_MAX + 1];

    if (arg_id(args, "image", id, err) < 0) {
        return NULL;
    }
    struct image *image = image_find(id);
    if (!image) {
        err_set(err, ERR_NO_IMAGE, "there is no image %s", id);
    }
    return image;
}

static bool grows_from(const struct image *image, const char *id)
{
    for (size_t i = 0; i < image->process_count; i++) {
        const struct image_process *process = &image->processes[i];
        if (process->memory.grows && strcmp(process->origin, id) == 0) {
            return true;
        }
    }
    return false;
}

/* Those that will have its pages, NULL behind the last. To be freed. */
static const struct image **heirs_of(const struct image *gone)
{
    size_t count = 0;

    for (const struct image *image = images; image; image = image->next) {
        count++;
    }
    const struct image **heirs = calloc(count + 1, sizeof *heirs);
    if (!heirs) {
        die("out of memory");
    }
    count = 0;
    for (const struct image *image = images; image; image = image->next) {
        if (grows_from(image, gone->id)) {
            heirs[count++] = image;
        }
    }
    return heirs;
}

int op_image_drop(struct request *request, struct err *err)
{
    struct image *image = arg_there(request->args, err);

    if (!image) {
        return -1;
    }
    const struct image **heirs = heirs_of(image);
    image_free(image);
    out_text(&request->ok, "images");
    out_list(&request->ok);
    for (size_t i = 0; heirs[i]; i++) {
        out_map(&request->ok);
        out_key_text(&request->ok, "image", heirs[i]->id);
        out_key_uint(&request->ok, "bytes", image_bytes(heirs[i]));
        out_end(&request->ok);
    }
    out_end(&request->ok);
    free(heirs);
    return OP_DONE;
}

/* ---- the files of an image ---- */

struct view {
    struct base *base;
    struct chain chain;
    int *trees;
    char head[4096]; /* empty: they can only be read */
};

static int view_parse(struct view *view, item args, struct err *err)
{
    *view = (struct view){.base = arg_base(args, err)};
    return view->base ? arg_chain(args, "layers", &view->chain, err) : -1;
}

/* Beside the images: on the file system of the layers. */
static int make_head(struct view *view, const char *directory, struct err *err)
{
    static unsigned last;

    snprintf(view->head, sizeof view->head, "%s/room-%u-%u", directory, engine.uid_base, ++last);
    return layer_make(view->head, view->base, &view->chain, err);
}

static int view_mount(struct view *view, struct err *err)
{
    view->trees = trees_mount(view->base, &view->chain, view->head[0] ? view->head : NULL, err);
    return view->trees ? 0 : -1;
}

static void view_free(struct view *view)
{
    if (view->trees) {
        fds_close(view->trees, view->base->tree_count);
    }
    if (view->head[0]) {
        layer_unmake(view->head);
        rmdir(view->head);
    }
    chain_free(&view->chain);
}

/* ---- to disk, and back ---- */

static int know_files(struct image *image, struct view *view, struct err *err)
{
    if (whereabouts_are_known(image)) {
        return 0;
    }
    return view_mount(view, err) < 0 ? -1 : whereabouts_find(image, view->base, view->trees, err);
}

int op_image_store(struct request *request, struct err *err)
{
    struct image *image = arg_there(request->args, err);
    cleanup_free char *directory = NULL;
    struct view view = {0};
    bool compress;
    int result = -1;

    if (!image || arg_string(request->args, "dir", &directory, err) < 0 ||
        arg_bool(request->args, "compress", &compress, err) < 0) {
        return -1;
    }
    if (image->stored) { /* an earlier daemon has asked for it */
        store_tell(image->stored, &request->ok);
        return OP_DONE;
    }
    if (view_parse(&view, request->args, err) == 0 && image_complete(image, err) == 0 &&
        know_files(image, &view, err) == 0) {
        result = store_begin(image, directory, compress, &request->reply_to, err);
    }
    view_free(&view);
    return result;
}

/* All at once: what one tells of the file of another must not outlive that file. */
int op_images_unstore(struct request *request, struct err *err)
{
    char **ids;

    if (arg_strings(request->args, "images", &ids, err) < 0) {
        return -1;
    }
    for (char **id = ids; *id; id++) {
        struct image *image = image_find(*id);
        if (image) {
            stored_leave(image->stored);
            image->stored = NULL;
        }
    }
    strings_free(ids);
    return OP_DONE;
}

static int fill(struct image *image, struct view *view, const char *directory, struct err *err)
{
    if (!whereabouts_have_names(image) && make_head(view, directory, err) < 0) {
        return -1;
    }
    return view_mount(view, err) < 0 ? -1 : store_fill(image, directory, view->trees, err);
}

static struct image *load(const char *id, struct view *view, const char *directory, struct err *err)
{
    struct image *image = store_read(id, directory, view->base->tree_count, err);

    if (image && fill(image, view, directory, err) < 0) {
        image_free(image);
        return NULL;
    }
    if (image) {
        image_know_chain(image, view->base, &view->chain);
        image_add(image);
    }
    return image;
}

int op_image_load(struct request *request, struct err *err)
{
    cleanup_free char *directory = NULL;
    char id[ID_MAX + 1];
    struct view view;

    if (arg_id(request->args, "image", id, err) < 0 ||
        arg_string(request->args, "dir", &directory, err) < 0) {
        return -1;
    }
    struct image *image = image_find(id);
    if (!image) {
        image = view_parse(&view, request->args, err) < 0 ? NULL : load(id, &view, directory, err);
        view_free(&view);
    }
    if (!image) {
        return -1;
    }
    out_key_uint(&request->ok, "bytes", image_bytes(image));
    return OP_DONE;
}
