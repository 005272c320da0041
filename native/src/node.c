#include "node.h"

#include <string.h>

#include "links.h"

static bool is_name(const char *name)
{
    return name[0] && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static bool is_special(mode_t type)
{
    return type == S_IFIFO || type == S_IFSOCK || type == S_IFCHR || type == S_IFBLK;
}

static void pack_file(struct pack *pack, struct layer_node *node)
{
    PACK(pack, node->size);
    pack_check(pack, node->size <= INT64_MAX, "a file is too long");
}

static void pack_special(struct pack *pack, struct layer_node *node)
{
    PACK(pack, node->type);
    PACK(pack, node->device);
    pack_check(pack, is_special(node->type), "a file is of no known kind");
}

static void check_mark(struct pack *pack, const struct layer_node *node)
{
    struct held_mark mark;

    for (size_t i = 0; i < node->looks.attribute_count && !pack->failure; i++) {
        const struct attribute *one = &node->looks.attributes[i];
        pack_check(pack,
                   strcmp(one->name, HELD_MARK) != 0 ||
                       (node->kind == NODE_SYMLINK && held_mark_parse(one->value, one->size, &mark)),
                   "a file stands for none that can be");
    }
}

void node_pack(struct pack *pack, void *thing)
{
    struct layer_node *node = thing;

    node->looks.is_in_layer = true;
    PACK(pack, node->kind);
    pack_check(pack, (unsigned)node->kind <= NODE_WHITEOUT, "a file is of no known kind");
    const bool is_file = node->kind == NODE_FILE || node->kind == NODE_SYMLINK || node->kind == NODE_SPECIAL;
    if (node->kind != NODE_END) {
        pack_text(pack, node->name, sizeof node->name);
        pack_check(pack, is_name(node->name), "a name is none");
    }
    if (is_file || node->kind == NODE_END) {
        looks_pack(pack, &node->looks);
        check_mark(pack, node);
    }
    if (is_file) {
        PACK(pack, node->has_more_names);
    }
    if (node->kind == NODE_FILE) {
        pack_file(pack, node);
    } else if (node->kind == NODE_LINK) {
        PACK(pack, node->file);
    } else if (node->kind == NODE_SYMLINK) {
        pack_string(pack, &node->target);
        pack_check(pack, node->target && node->target[0], "a link leads nowhere");
    } else if (node->kind == NODE_SPECIAL) {
        pack_special(pack, node);
    }
}

void node_free(struct layer_node *node)
{
    looks_free(&node->looks);
    free(node->target);
    *node = (struct layer_node){0};
}
