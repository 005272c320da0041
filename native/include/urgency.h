/* While a sandbox stands still, whoever works on it goes before everyone else on the machine. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* The kernel's struct sched_attr, whose header does not go together with the C library's. */
struct scheduling {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

struct urgency {
    struct scheduling usual;
    bool raised;
};

/* tid 0: the calling thread. Where the right to it is missing, everything takes its usual turn. */
void urgency_raise(struct urgency *urgency, pid_t tid);
void urgency_drop(struct urgency *urgency, pid_t tid);

/* What is about to be killed ends on another processor than the one where the caller is, and its answer will be: what ends
 * is in the kernel all the time, where nobody takes turns with it. */
void urgency_keep_off(pid_t tid);
