#include "part.h"

void part_pack(struct pack *pack, void *thing)
{
    struct part *head = thing;

    PACK(pack, head->kind);
    pack_check(pack, (unsigned)head->kind <= PART_LAYER, "a part is of no known kind");
    if (head->kind == PART_IMAGE || head->kind == PART_LAYER) {
        pack_api_id(pack, head->id, false);
    }
    if (head->kind == PART_LAYER) {
        PACK(pack, head->trees);
        pack_check(pack, head->trees <= PART_TREES_MAX, "a layer has too many trees");
    } else {
        PACK(pack, head->bytes);
        pack_check(pack, head->kind == PART_IMAGE || head->bytes <= PART_TELL_MAX, "it tells too much");
    }
}
