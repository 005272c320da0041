#include "image.h"

int op_image_drop(struct request *request, struct err *err)
{
    char id[ID_MAX + 1];

    if (arg_id(request->args, "image", id, err) < 0) {
        return -1;
    }
    struct image *image = image_find(id);
    if (!image) {
        return err_set(err, ERR_NO_IMAGE, "there is no image %s", id);
    }
    image_free(image);
    return OP_DONE;
}
