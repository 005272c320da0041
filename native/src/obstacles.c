#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "freeze.h"

static bool is_told(const struct obstacles *obstacles, const struct obstacle *obstacle)
{
    for (size_t i = 0; i < obstacles->count; i++) {
        const struct obstacle *told = &obstacles->list[i];
        if (told->pid == obstacle->pid && strcmp(told->object, obstacle->object) == 0) {
            return true;
        }
    }
    return false;
}

/* Of two reasons for one thing the first is told. */
void obstacle_add(struct obstacles *obstacles, const struct subject *subject, const char *object,
                  bool lasting, const char *reason, ...)
{
    struct obstacle obstacle = {0};
    va_list args;

    if (subject) {
        obstacle.pid = subject->inner;
        memcpy(obstacle.command, subject->command, sizeof obstacle.command);
    }
    snprintf(obstacle.object, sizeof obstacle.object, "%s", object);
    va_start(args, reason);
    vsnprintf(obstacle.reason, sizeof obstacle.reason, reason, args);
    va_end(args);
    obstacles->lasting = obstacles->lasting || lasting;
    if (is_told(obstacles, &obstacle)) {
        return;
    }
    if (!obstacles->list) {
        obstacles->list = calloc(OBSTACLES_MAX, sizeof *obstacles->list);
    }
    if (!obstacles->list) {
        die("out of memory");
    }
    if (obstacles->count == OBSTACLES_MAX) {
        obstacles->more++;
    } else {
        obstacles->list[obstacles->count++] = obstacle;
    }
}

void obstacle_add_descriptor(struct obstacles *obstacles, const struct subject *subject, int number,
                             const char *link, bool lasting, const char *reason)
{
    char object[sizeof((struct obstacle *)NULL)->object];

    if (number < 0) {
        snprintf(object, sizeof object, "%s", link);
    } else {
        snprintf(object, sizeof object, "descriptor %d (%s)", number, link);
    }
    obstacle_add(obstacles, subject, object, lasting, "%s", reason);
}

void obstacles_free(struct obstacles *obstacles)
{
    free(obstacles->list);
    *obstacles = (struct obstacles){0};
}
