#include <string.h>

#include "check.h"
#include "passwd.h"

static const char file[] = "root:x:0:0:root:/root:/bin/bash\n"
                           "short\n"
                           "daemon:x:1:2:d\n"
                           ":x:7:7::\n"
                           "huge:x:99999999999:1:::\n"
                           "minus:x:-1:1:::\n"
                           "nobody:x:65534:65534:nobody:/:/bin/false";

static bool find(const char *user, uid_t uid, gid_t gid)
{
    struct identity identity = {4711, 4711};

    return passwd_find(file, sizeof file - 1, user, &identity) && identity.uid == uid && identity.gid == gid;
}

static bool absent(const char *user)
{
    struct identity identity;

    return !passwd_find(file, sizeof file - 1, user, &identity);
}

/* Whatever bytes a sandbox has for a user list, the parser stays inside them; sanitizers watch. */
static void test_any_bytes(void)
{
    unsigned state = 12345;
    struct identity identity;

    for (int round = 0; round < 20000; round++) {
        size_t len = (state = state * 1103515245 + 12345) >> 16 & 63;
        char *text = malloc(len + 1);
        for (size_t i = 0; i < len; i++) {
            state = state * 1103515245 + 12345;
            text[i] = "ab:\n0159x"[(state >> 16) % 9];
        }
        char *exact = memcpy(malloc(len ? len : 1), text, len);
        bool found = passwd_find(exact, len, "ab", &identity);
        if (found) {
            CHECK(identity.uid <= 65534 && identity.gid <= 65534);
        }
        free(exact);
        free(text);
    }
}

int main(void)
{
    CHECK(find("root", 0, 0));
    CHECK(find("daemon", 1, 2));
    CHECK(find("1000", 1000, 1000));
    CHECK(find("1000:50", 1000, 50));
    CHECK(absent("nobod"));
    CHECK(find("nobody", 65534, 65534));
    CHECK(absent("short"));
    CHECK(absent("huge"));
    CHECK(absent("minus"));
    CHECK(absent("70000"));
    CHECK(absent("10:70000"));
    CHECK(absent("1:"));
    CHECK(absent(""));
    test_any_bytes();
    return DONE("passwd");
}
