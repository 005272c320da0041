/* A session is only ever entered by being born in it. So a process is made by its parent before that led a session of its
 * own, or after, or, where it has lost its parent, by any that is in its session, through a process that ends at once. Groups
 * are joined when all are there. */
#include "family.h"

#include <string.h>

#include "error.h"

#define LOOKS 4               /* how often all members are looked at to make one, */
#define TRIES 8               /* how often each is tried in a large family, */
#define WORK_ANY (1ULL << 22) /* and what a small one may cost in any case: some milliseconds */

/* ---- who there is ---- */

static struct member *find(const struct family *family, pid_t pid)
{
    for (size_t i = 0; i < family->count; i++) {
        if (family->members[i].pid == pid) {
            return &family->members[i];
        }
    }
    return NULL;
}

static size_t index_of(const struct family *family, const struct member *member)
{
    return (size_t)(member - family->members);
}

static bool is_hidden(const struct member *member)
{
    return !member->process && !member->zombie;
}

static bool leads_session(const struct member *member)
{
    return member->session == member->pid;
}

static bool takes_orphans(const struct member *member)
{
    return member && member->process && member->process->reaps_orphans;
}

static void add_members(struct family *family, const struct image *image)
{
    for (size_t i = 0; i < image->process_count; i++) {
        const struct image_process *process = &image->processes[i];
        family->members[family->count++] = (struct member){.pid = process->pid,
                                                           .parent = process->parent,
                                                           .group = process->group,
                                                           .session = process->session,
                                                           .process = process,
                                                           .maker = NOBODY,
                                                           .likeness = i};
    }
    for (size_t i = 0; i < image->zombie_count; i++) {
        const struct image_zombie *zombie = &image->zombies[i];
        family->members[family->count++] = (struct member){.pid = zombie->pid,
                                                           .parent = zombie->parent,
                                                           .group = zombie->group,
                                                           .session = zombie->session,
                                                           .zombie = zombie,
                                                           .maker = NOBODY,
                                                           .likeness = NOBODY};
    }
}

/* Leaders that are gone: of sessions first, which lead a group of that number too. */
static void add_hidden(struct family *family)
{
    const size_t count = family->count;

    for (int groups = 0; groups < 2; groups++) {
        for (size_t i = 0; i < count; i++) {
            const struct member *member = &family->members[i];
            const pid_t pid = groups ? member->group : member->session;
            if (!find(family, pid)) {
                family->members[family->count++] = (struct member){.pid = pid,
                                                                   .group = pid,
                                                                   .session = member->session,
                                                                   .maker = NOBODY,
                                                                   .likeness = member->likeness};
            }
        }
    }
}

static void note_used(bool *used, size_t count, pid_t pid)
{
    if (pid > 0 && (size_t)pid < count) {
        used[pid] = true;
    }
}

/* The lowest from 2 on: one of the first that are one more than there are. */
static pid_t find_spare(const struct family *family, const struct image *image)
{
    size_t count = family->count + 3;
    pid_t spare = 2;

    for (size_t i = 0; i < image->process_count; i++) {
        count += image->processes[i].thread_count;
    }
    bool *used = calloc(count, sizeof *used);
    if (!used) {
        die("out of memory");
    }
    for (size_t i = 0; i < family->count; i++) {
        note_used(used, count, family->members[i].pid);
    }
    for (size_t i = 0; i < image->process_count; i++) {
        for (size_t j = 0; j < image->processes[i].thread_count; j++) {
            note_used(used, count, image->processes[i].threads[j].tid);
        }
    }
    while (used[spare]) {
        spare++;
    }
    free(used);
    return spare;
}

/* ---- who makes whom ---- */

static void add_step(struct family *family, enum deed deed, size_t member)
{
    family->steps[family->step_count++] = (struct step){.deed = deed, .member = member};
}

/* A child that is in another session than it and leads none was there before it led one. */
static bool was_before(const struct member *parent, const struct member *child)
{
    return child->parent == parent->pid && !leads_session(child) && child->session != parent->session &&
           leads_session(parent) && !takes_orphans(parent);
}

/* The session it must be born in; 0: any. */
static pid_t wanted_session(const struct family *family, const struct member *member)
{
    if (!leads_session(member)) {
        return member->session;
    }
    for (size_t i = 0; i < family->count; i++) {
        if (was_before(member, &family->members[i])) {
            return family->members[i].session;
        }
    }
    return 0;
}

static bool descends_from(struct family *family, const struct member *member, pid_t forefather)
{
    size_t turns = 0;

    for (; member && turns <= family->count; turns++) {
        family->work++;
        if (member->pid == forefather) {
            return true;
        }
        member = member->maker == NOBODY ? NULL : &family->members[member->maker];
    }
    return false;
}

/* One that is in that session at this time. `below`: and descends from that one; 0: whoever. */
static size_t find_in_session(struct family *family, pid_t session, pid_t below)
{
    for (size_t i = 0; i < family->count; i++) {
        const struct member *member = &family->members[i];
        if (member->now == session && (!below || descends_from(family, member, below))) {
            return i;
        }
    }
    return NOBODY;
}

/* Who is to have the orphans of a session that it is not in; NULL: the cell's init. */
static const struct member *find_reaper(const struct family *family, pid_t session)
{
    for (size_t i = 0; i < family->count; i++) {
        const struct member *member = &family->members[i];
        const bool may_tell = member->session == session && member->parent > 1;
        const struct member *parent = may_tell ? find(family, member->parent) : NULL;
        if (takes_orphans(parent) && parent->session != session) {
            return parent;
        }
    }
    return NULL;
}

static bool find_maker_of_hidden(struct family *family, struct member *member)
{
    if (!leads_session(member)) {
        member->maker = find_in_session(family, member->session, 0);
        return member->maker != NOBODY;
    }
    const struct member *reaper = find_reaper(family, member->session);
    member->maker = reaper ? index_of(family, reaper) : NOBODY;
    return !reaper || reaper->now;
}

static bool find_maker(struct family *family, struct member *member)
{
    const pid_t session = wanted_session(family, member);
    const struct member *parent = member->parent > 1 ? find(family, member->parent) : NULL;

    if (is_hidden(member)) {
        return find_maker_of_hidden(family, member);
    }
    if (member->parent == 0) {
        return leads_session(member) && session == 0;
    }
    if (parent && parent->now && (session == 0 || parent->now == session)) {
        member->maker = index_of(family, parent);
        return true;
    }
    member->between = true;
    if (!parent) {
        member->maker = session ? find_in_session(family, session, 0) : NOBODY;
        return member->parent == 1 && (session == 0 || member->maker != NOBODY);
    }
    if (!takes_orphans(parent)) {
        return false;
    }
    member->maker = find_in_session(family, session, parent->pid);
    return member->maker != NOBODY;
}

/* It may lead its session when those are there that were before. */
static bool may_lead(const struct family *family, const struct member *member)
{
    for (size_t i = 0; i < family->count; i++) {
        if (!family->members[i].now && was_before(member, &family->members[i])) {
            return false;
        }
    }
    return true;
}

static bool make(struct family *family, size_t at)
{
    struct member *member = &family->members[at];

    member->between = false;
    member->maker = NOBODY;
    if (member->pid <= 0 || !find_maker(family, member)) { /* a session of that number is none */
        return false;
    }
    /* What is born of a process outside is in no session of the sandbox. */
    const pid_t born_in = member->maker == NOBODY ? -1 : family->members[member->maker].now;
    if (member->between && member->parent > 1) {
        add_step(family, DEED_REAP, index_of(family, find(family, member->parent)));
    }
    add_step(family, DEED_MAKE, at);
    member->now = born_in;
    return true;
}

/* One that is made for a plan that takes long is left as it is. */
static bool is_at_an_end(const struct family *family)
{
    return family->work > WORK_ANY + (uint64_t)TRIES * LOOKS * family->count * family->count;
}

static bool turn(struct family *family)
{
    bool done = false;

    for (size_t i = 0; i < family->count && !is_at_an_end(family); i++) {
        struct member *member = &family->members[i];
        if (member->now && !(leads_session(member) && member->now != member->pid)) {
            continue;
        }
        family->work += LOOKS * family->count;
        if (!member->now) {
            done |= make(family, i);
        }
        if (member->now && leads_session(member) && member->now != member->pid && may_lead(family, member)) {
            add_step(family, DEED_LEAD, i);
            member->now = member->pid;
            done = true;
        }
    }
    return done;
}

/* ---- groups, and the end of what is not to stay ---- */

/* A group has its leader's number also when that has gone over to another one. */
static bool gathers(const struct family *family, const struct member *member)
{
    for (size_t i = 0; i < family->count; i++) {
        if (family->members[i].group == member->pid) {
            return !leads_session(member);
        }
    }
    return false;
}

/* Whoever leads a session has led its group since, and all that are born in the session are in that. */
static void add_groups(struct family *family)
{
    for (size_t i = 0; i < family->count; i++) {
        if (gathers(family, &family->members[i])) {
            add_step(family, DEED_GATHER, i);
        }
    }
    /* who has gathered a group goes over to another one when all have joined it: it would be gone */
    for (int leaders = 0; leaders < 2; leaders++) {
        for (size_t i = 0; i < family->count; i++) {
            const struct member *member = &family->members[i];
            const bool leads = gathers(family, member);
            if (leads == leaders && member->group != (leads ? member->pid : member->session)) {
                add_step(family, DEED_JOIN, i);
            }
        }
    }
}

static void add_ends(struct family *family)
{
    for (size_t i = family->count; i-- > 0;) {
        if (is_hidden(&family->members[i])) {
            add_step(family, DEED_END, i);
        }
    }
    for (size_t i = 0; i < family->count; i++) {
        if (family->members[i].zombie) {
            add_step(family, DEED_END, i);
        }
    }
}

const struct member *family_plan(struct family *family, const struct image *image, const char **reason)
{
    const size_t most = 3 * (image->process_count + image->zombie_count) + 1;

    *family = (struct family){.members = calloc(most, sizeof *family->members),
                              .steps = calloc(6 * most, sizeof *family->steps)};
    if (!family->members || !family->steps) {
        die("out of memory");
    }
    add_members(family, image);
    add_hidden(family);
    family->spare = find_spare(family, image);
    while (turn(family)) {
    }
    for (size_t i = 0; i < family->count; i++) {
        const struct member *member = &family->members[i];
        if (!member->now || (leads_session(member) && member->now != member->pid)) {
            *reason = "its session cannot be made again";
            return member;
        }
        const struct member *leader = find(family, member->group);
        if (!leader || leader->session != member->session) {
            *reason = "its group cannot be made again";
            return member;
        }
    }
    add_groups(family);
    add_ends(family);
    return NULL;
}

void family_free(struct family *family)
{
    free(family->members);
    free(family->steps);
    *family = (struct family){0};
}
