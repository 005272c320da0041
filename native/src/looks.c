#include "looks.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/xattr.h>

#include "engine.h"
#include "fd.h"
#include "links.h"

#define NSEC_PER_SEC 1000000000L
#define ACCESS_LIST "system.posix_acl_access"
#define DEFAULT_LIST "system.posix_acl_default"
#define CAPABILITY "security.capability"
#define ORIGIN "trusted.overlay.origin"

/* ---- attributes ---- */

static bool is_in(const char *name, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(name, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* All that a sandbox can give its files. What else there may be is the host's, its security modules' or its file system's business:
 * XFS keeps lists of rights once more, with the host's ids in them. */
static bool is_of_sandbox(const char *name)
{
    static const char *const names[] = {ACCESS_LIST, DEFAULT_LIST, CAPABILITY};

    return strncmp(name, "user.", strlen("user.")) == 0 || is_in(name, names, sizeof names / sizeof *names);
}

bool speaks_of_place(const char *name)
{
    static const char *const names[] = {"trusted.overlay.opaque", "trusted.overlay.redirect",
                                        "trusted.overlay.whiteout"};

    return is_in(name, names, sizeof names / sizeof *names);
}

static bool is_wanted(const struct looks *looks, const char *name)
{
    return is_of_sandbox(name) ||
           (looks->is_in_layer &&
            (speaks_of_place(name) || strcmp(name, ORIGIN) == 0 || strcmp(name, HELD_MARK) == 0));
}

static void add_attribute(struct looks *looks, const char *name, const void *value, size_t size)
{
    looks->attributes = realloc(looks->attributes, (looks->attribute_count + 1) * sizeof *looks->attributes);
    struct attribute attribute = {.name = strdup(name), .value = malloc(size + 1), .size = size};
    if (!looks->attributes || !attribute.name || !attribute.value) {
        die("out of memory");
    }
    memcpy(attribute.value, value, size);
    looks->attributes[looks->attribute_count++] = attribute;
}

/* By descriptor, or by a path that may be that of a link. */
static int get_attributes(struct looks *looks, int fd, const char *path)
{
    static char names[XATTR_LIST_MAX];
    static uint8_t value[XATTR_SIZE_MAX];
    const ssize_t len = path ? llistxattr(path, names, sizeof names) : flistxattr(fd, names, sizeof names);

    if (len < 0) {
        return errno == ENOTSUP ? 0 : -errno;
    }
    for (const char *name = names; name < names + len; name += strlen(name) + 1) {
        if (!is_wanted(looks, name)) {
            continue;
        }
        /* from where it came stays behind: empty, it says that this is not known, and that whiteouts are to be hidden all the same */
        const ssize_t size = strcmp(name, ORIGIN) == 0 ? 0
                             : path                    ? lgetxattr(path, name, value, sizeof value)
                                                       : fgetxattr(fd, name, value, sizeof value);
        if (size < 0) {
            return -errno;
        }
        add_attribute(looks, name, value, (size_t)size);
    }
    return 0;
}

static bool has_attribute(const struct looks *looks, const char *name)
{
    for (size_t i = 0; i < looks->attribute_count; i++) {
        if (strcmp(looks->attributes[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* Whatever is made in a directory gets the lists that are usual there. */
static int drop_inherited(const struct looks *looks, int fd, const char *path)
{
    static const char *const names[] = {ACCESS_LIST, DEFAULT_LIST};

    for (size_t i = 0; i < 2; i++) {
        if (!has_attribute(looks, names[i]) &&
            (path ? lremovexattr(path, names[i]) : fremovexattr(fd, names[i])) < 0 && errno != ENODATA &&
            errno != ENOTSUP) {
            return -errno;
        }
    }
    return 0;
}

static int set_attributes(const struct looks *looks, int fd, const char *path)
{
    for (size_t i = 0; i < looks->attribute_count; i++) {
        const struct attribute *one = &looks->attributes[i];
        if ((path ? lsetxattr(path, one->name, one->value, one->size, 0)
                  : fsetxattr(fd, one->name, one->value, one->size, 0)) < 0) {
            return -errno;
        }
    }
    return 0;
}

/* ---- all of it ---- */

static void take_stat(struct looks *looks, const struct stat *st)
{
    looks->mode = st->st_mode & 07777;
    looks->uid = st->st_uid;
    looks->gid = st->st_gid;
    looks->times[0] = st->st_atim;
    looks->times[1] = st->st_mtim;
}

int looks_get(struct looks *looks, int fd)
{
    struct stat st;

    if (fstat(fd, &st) < 0) {
        return -errno;
    }
    take_stat(looks, &st);
    return get_attributes(looks, fd, NULL);
}

int looks_get_node(struct looks *looks, struct node node)
{
    struct stat st;

    if (fstatat(node.dir, node.name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        return -errno;
    }
    take_stat(looks, &st);
    return get_attributes(looks, -1, node_path(node).text);
}

/* The owner first, as changing it takes set-id bits and capabilities away, then lists of rights, which what is told of the group
 * would go to otherwise; the times last. */
int looks_set(const struct looks *looks, int fd)
{
    int result = fchown(fd, looks->uid, looks->gid) < 0 ? -errno : drop_inherited(looks, fd, NULL);

    result = result == 0 && fchmod(fd, looks->mode) < 0 ? -errno : result;
    result = result == 0 ? set_attributes(looks, fd, NULL) : result;
    return result < 0 ? result : futimens(fd, looks->times) < 0 ? -errno : 0;
}

int looks_set_node(const struct looks *looks, struct node node)
{
    struct stat st;

    if (fstatat(node.dir, node.name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        fchownat(node.dir, node.name, looks->uid, looks->gid, AT_SYMLINK_NOFOLLOW) < 0) {
        return -errno;
    }
    int result = drop_inherited(looks, -1, node_path(node).text);
    result = result == 0 && !S_ISLNK(st.st_mode) && fchmodat(node.dir, node.name, looks->mode, 0) < 0
                 ? -errno
                 : result;
    result = result == 0 ? set_attributes(looks, -1, node_path(node).text) : result;
    if (result < 0) {
        return result;
    }
    return utimensat(node.dir, node.name, looks->times, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

/* ---- as bytes ---- */

/* Attributes that name users and groups: in memory as the host knows them, as bytes as the sandbox does. What is nobody's stays so. */
static bool turn_id(uint8_t *at, bool is_reading)
{
    uint32_t id;

    memcpy(&id, at, sizeof id);
    const uint32_t inside = is_reading ? id : id - engine.uid_base;
    const uint32_t turned = id == UINT32_MAX ? id : is_reading ? id + engine.uid_base : inside;
    memcpy(at, &turned, sizeof turned);
    return id == UINT32_MAX || inside < ID_RANGE;
}

#define ACL_HEAD 4u
#define ACL_ENTRY 8u
#define ACL_ID_AT 4u
#define ACL_OF_USER 0x02
#define ACL_OF_GROUP 0x08

static bool turn_list(struct attribute *list, bool is_reading)
{
    bool holds = list->size >= ACL_HEAD && (list->size - ACL_HEAD) % ACL_ENTRY == 0;

    for (size_t at = ACL_HEAD; holds && at < list->size; at += ACL_ENTRY) {
        if (list->value[at] == ACL_OF_USER || list->value[at] == ACL_OF_GROUP) {
            holds = turn_id(list->value + at + ACL_ID_AT, is_reading);
        }
    }
    return holds;
}

/* From its third version on capabilities name the user who is root where they count. */
#define CAPABILITY_BYTES 24u
#define CAPABILITY_ROOT_AT 20u

static bool turn_ids(struct attribute *attribute, bool is_reading)
{
    if (strcmp(attribute->name, ACCESS_LIST) == 0 || strcmp(attribute->name, DEFAULT_LIST) == 0) {
        return turn_list(attribute, is_reading);
    }
    return strcmp(attribute->name, CAPABILITY) != 0 || attribute->size != CAPABILITY_BYTES ||
           turn_id(attribute->value + CAPABILITY_ROOT_AT, is_reading);
}

static void write_value(struct pack *pack, const struct attribute *attribute)
{
    struct attribute turned = {
        .name = attribute->name, .value = malloc(attribute->size + 1), .size = attribute->size};

    if (!turned.value) {
        die("out of memory");
    }
    memcpy(turned.value, attribute->value, attribute->size);
    pack_check(pack, turn_ids(&turned, false), "an attribute names none of the sandbox's users");
    pack_bytes(pack, &turned.value, &turned.size);
    free(turned.value);
}

static void pack_attribute(struct pack *pack, struct attribute *attribute)
{
    pack_string(pack, &attribute->name);
    pack_check(pack, attribute->name != NULL, "an attribute has no name");
    if (!pack->is_reading) {
        write_value(pack, attribute);
        return;
    }
    pack_bytes(pack, &attribute->value, &attribute->size);
    pack_check(pack, !attribute->name || turn_ids(attribute, true),
               "an attribute names none of the sandbox's users");
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
    for (size_t i = 0; i < looks->attribute_count && !pack->failure; i++) {
        const struct attribute *one = &looks->attributes[i];
        pack_check(pack, is_wanted(looks, one->name) && (one->size == 0 || strcmp(one->name, ORIGIN) != 0),
                   "an attribute is none of a sandbox's");
    }
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
