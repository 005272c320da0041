#include "passwd.h"

#include <stdlib.h>
#include <string.h>

#define ID_LIMIT 65534 /* the last id of the sandbox's range that is not "nobody mapped" */

static bool parse_id(const char *text, size_t len, uid_t *id)
{
    unsigned long value = 0;

    if (len == 0 || len > 5) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return false;
        }
        value = value * 10 + (unsigned long)(text[i] - '0');
    }
    *id = (uid_t)value;
    return value <= ID_LIMIT;
}

static bool parse_numbers(const char *user, struct identity *identity)
{
    const char *colon = strchr(user, ':');
    size_t len = colon ? (size_t)(colon - user) : strlen(user);

    if (!parse_id(user, len, &identity->uid)) {
        return false;
    }
    identity->gid = identity->uid;
    return !colon || parse_id(colon + 1, strlen(colon + 1), &identity->gid);
}

/* The field after `at` up to a colon; NULL when the line ends first. */
static const char *field_end(const char *at, const char *end)
{
    return memchr(at, ':', (size_t)(end - at));
}

static bool parse_line(const char *line, const char *end, const char *user, struct identity *identity)
{
    const char *name_end = field_end(line, end);
    if (!name_end || name_end == line || (size_t)(name_end - line) != strlen(user) ||
        memcmp(line, user, strlen(user)) != 0) {
        return false;
    }
    const char *password_end = field_end(name_end + 1, end);
    const char *uid_end = password_end ? field_end(password_end + 1, end) : NULL;
    const char *gid_end = uid_end ? field_end(uid_end + 1, end) : NULL;
    return gid_end && parse_id(password_end + 1, (size_t)(uid_end - password_end - 1), &identity->uid) &&
           parse_id(uid_end + 1, (size_t)(gid_end - uid_end - 1), &identity->gid);
}

bool passwd_find(const char *text, size_t len, const char *user, struct identity *identity)
{
    const char *stop = text + len;

    if (parse_numbers(user, identity)) {
        return true;
    }
    while (text < stop) {
        const char *end = memchr(text, '\n', (size_t)(stop - text));
        end = end ? end : stop;
        if (parse_line(text, end, user, identity)) {
            return true;
        }
        text = end + 1;
    }
    return false;
}
