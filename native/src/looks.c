#include "looks.h"

#include <limits.h>
#include <string.h>
#include <sys/xattr.h>

#include "error.h"
#include "fd.h"

#define NSEC_PER_SEC 1000000000L

static bool is_of_overlay(const char *name)
{
    static const char prefix[] = "trusted.overlay.";

    return strncmp(name, prefix, sizeof prefix - 1) == 0;
}

static int add_attribute(struct looks *looks, int fd, const char *name)
{
    static uint8_t value[XATTR_SIZE_MAX];
    const ssize_t size = fgetxattr(fd, name, value, sizeof value);

    if (size < 0) {
        return -errno;
    }
    looks->attributes = realloc(looks->attributes, (looks->attribute_count + 1) * sizeof *looks->attributes);
    struct attribute attribute = {
        .name = strdup(name), .value = malloc((size_t)size + 1), .size = (size_t)size};
    if (!looks->attributes || !attribute.name || !attribute.value) {
        die("out of memory");
    }
    memcpy(attribute.value, value, (size_t)size);
    looks->attributes[looks->attribute_count++] = attribute;
    return 0;
}

int looks_get(struct looks *looks, int fd)
{
    static char names[XATTR_LIST_MAX];
    struct stat st;
    int result = 0;

    *looks = (struct looks){0};
    const ssize_t len = flistxattr(fd, names, sizeof names);
    if (fstat(fd, &st) < 0 || (len < 0 && errno != ENOTSUP)) {
        return -errno;
    }
    looks->mode = st.st_mode & 07777;
    looks->uid = st.st_uid;
    looks->gid = st.st_gid;
    looks->times[0] = st.st_atim;
    looks->times[1] = st.st_mtim;
    for (const char *name = names; result == 0 && len > 0 && name < names + len; name += strlen(name) + 1) {
        result = is_of_overlay(name) ? 0 : add_attribute(looks, fd, name);
    }
    return result;
}

int looks_set(const struct looks *looks, int fd)
{
    if (fchown(fd, looks->uid, looks->gid) < 0 || fchmod(fd, looks->mode) < 0) {
        return -errno;
    }
    for (size_t i = 0; i < looks->attribute_count; i++) {
        const struct attribute *attribute = &looks->attributes[i];
        if (fsetxattr(fd, attribute->name, attribute->value, attribute->size, 0) < 0) {
            return -errno;
        }
    }
    return futimens(fd, looks->times) < 0 ? -errno : 0;
}

static void pack_attribute(struct pack *pack, struct attribute *attribute)
{
    pack_string(pack, &attribute->name);
    pack_check(pack, attribute->name && !is_of_overlay(attribute->name), "an attribute has no name");
    pack_bytes(pack, &attribute->value, &attribute->size);
}

void looks_pack(struct pack *pack, struct looks *looks)
{
    PACK(pack, looks->mode);
    pack_check(pack, looks->mode <= 07777, "a mode has other bits");
    pack_id(pack, &looks->uid);
    pack_id(pack, &looks->gid);
    for (int i = 0; i < 2; i++) {
        PACK(pack, looks->times[i].tv_sec);
        PACK(pack, looks->times[i].tv_nsec);
        pack_check(pack, looks->times[i].tv_nsec >= 0 && looks->times[i].tv_nsec < NSEC_PER_SEC,
                   "a time is none");
    }
    PACK_LIST(pack, looks->attributes, looks->attribute_count, pack_attribute);
}

void looks_free(struct looks *looks)
{
    for (size_t i = 0; i < looks->attribute_count; i++) {
        free(looks->attributes[i].name);
        free(looks->attributes[i].value);
    }
    free(looks->attributes);
    *looks = (struct looks){0};
}
