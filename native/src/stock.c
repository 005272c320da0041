#include "stock.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "fd.h"
#include "layer.h"
#include "loop.h"
#include "tree.h"

/* As many as are taken in a row, mostly. */
#define KEPT 8
/* Between two of them: somebody may ask for something. */
#define PAUSE_MS 1

static char *name_of(const struct stock *stock, unsigned number)
{
    char *name;

    if (asprintf(&name, "%s/%u", stock->dir, number) < 0) {
        die("out of memory");
    }
    return name;
}

static bool is_empty(const struct stock *stock)
{
    return stock->first == stock->next;
}

/* ---- making ---- */

static int make(struct base *base)
{
    struct stock *stock = &base->stock;
    cleanup_free char *place = name_of(stock, stock->next);
    int result = mkdir(place, 0700) < 0 ? -errno : layer_fill(place, base->tree_count);

    if (result < 0) {
        log_line("make a layer ahead: %s: %s", place, strerror(-result));
        tree_remove(AT_FDCWD, place);
        return result;
    }
    stock->next++;
    return 0;
}

static bool make_some(void)
{
    loop_rest(PAUSE_MS);
    for (struct base *base = bases; base; base = base->next) {
        const struct stock *stock = &base->stock;
        if (stock->dir && stock->next - stock->first < KEPT) {
            return make(base) == 0;
        }
    }
    return false;
}

/* ---- opening and closing ---- */

void stock_open(struct stock *stock, const char *dir)
{
    int result = tree_remove(AT_FDCWD, dir);

    if (result < 0 || mkdir(dir, 0700) < 0) {
        log_line("no layers ahead of need: make %s: %s", dir, strerror(result < 0 ? -result : errno));
        return;
    }
    layer_scatter(dir);
    *stock = (struct stock){.dir = strdup(dir)};
    if (!stock->dir) {
        die("out of memory");
    }
    loop_when_idle(IDLE_SOON, make_some);
}

void stock_close(struct stock *stock)
{
    int result = stock->dir ? tree_remove(AT_FDCWD, stock->dir) : 0;

    if (result < 0) {
        log_line("remove %s: %s", stock->dir, strerror(-result));
    }
    free(stock->dir);
    *stock = (struct stock){0};
}

/* ---- taking ---- */

char *stock_take(struct base *base)
{
    struct stock *stock = &base->stock;

    if (!stock->dir || (is_empty(stock) && make(base) < 0)) {
        return NULL;
    }
    loop_when_idle(IDLE_SOON, make_some);
    return name_of(stock, stock->first++);
}

bool stock_move(struct base *base, const char *layer)
{
    cleanup_free char *place = is_empty(&base->stock) ? NULL : stock_take(base);

    if (!place || rename(place, layer) == 0) {
        return place != NULL;
    }
    log_line("rename %s to %s: %s", place, layer, strerror(errno));
    tree_remove(AT_FDCWD, place);
    return false;
}
