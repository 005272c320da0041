/* What differs between processor architectures: registers, the instruction that enters the kernel, the code that is run
 * inside other processes. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

struct arch_regs {
    struct user_regs_struct user;
};

#define ARCH_EXTENDED_MAX 16384

/* Floating point, vectors and whatever else the kernel saves with them. */
struct arch_extended {
    size_t size;
    uint8_t *data;
};

/* One system call to make: the layout the interpreter knows. */
struct arch_call {
    uint32_t number;
    uint32_t go_on; /* after a failure too */
    uint64_t args[6];
    int64_t result; /* -errno */
};

/* 0 or -errno. */
int arch_get_regs(pid_t tid, struct arch_regs *regs);
int arch_set_regs(pid_t tid, const struct arch_regs *regs);

int arch_get_extended(pid_t tid, struct arch_extended *extended); /* the caller frees data */
int arch_set_extended(pid_t tid, const struct arch_extended *extended);

/* Whether it was interrupted in a call that is to be made again, unless a handler of the program's runs first. From these
 * registers, at a stop where the kernel looks at signals, it does what it would have done. */
bool arch_restarts_call(struct arch_regs *regs);

/* The number of a call that the kernel would go on with from what it keeps for the thread; -1 when it is none such, or
 * one that was gone on with before, whose number is lost. */
int64_t arch_interrupted_call(const struct arch_regs *regs);
/* Behind that call, of a thread that goes on with one by what the kernel keeps for it, or is about to; 0: it does not. */
uint64_t arch_gone_on_ip(const struct arch_regs *regs);
/* It begins the call of that number again; -1, not known: the call fails with EINTR. */
void arch_name_call(struct arch_regs *regs, int64_t number);
uint64_t arch_stack(const struct arch_regs *regs);

/* A program of another word size, whose system calls have other numbers. */
bool arch_is_foreign(const struct arch_regs *regs);
/* Its segments are not those every program has. */
bool arch_has_segments(const struct arch_regs *regs);
/* The address the thread goes on at. */
uint64_t arch_ip(const struct arch_regs *regs);
void arch_set_ip(struct arch_regs *regs, uint64_t ip);
/* True when it was stopped in a system call, not in the program's own code. */
bool arch_in_call(const struct arch_regs *regs);

/* Overlayfs lets a call on a file fail with EINTR when it is interrupted while it waits for another one on the same
 * file, which no program expects. Such a call has done nothing; it is made to begin again. Returns whether it was one. */
bool arch_begin_file_call_again(struct arch_regs *regs);

/* Of a thread that was stopped in a call which the kernel lets fail (EINTR) where it restarts others, and that waits
 * without an end: from these registers the kernel goes on waiting, unless a handler of the program's runs. Returns
 * whether they were changed. */
bool arch_go_on_waiting(struct arch_regs *regs);

extern const uint8_t arch_enter_kernel[];
extern const size_t arch_enter_kernel_size;
/* Registers for one system call by the instruction at `at`. */
void arch_prepare_call(struct arch_regs *regs, uint64_t at, const struct arch_call *call);
int64_t arch_result(const struct arch_regs *regs);

/* The interpreter: makes the calls one after the other, then sends its own thread a signal. Position independent, uses
 * no stack, no library. */
extern const uint8_t arch_interpreter[];
extern const size_t arch_interpreter_size;
/* Where it stands then. */
extern const size_t arch_interpreter_last;
/* Registers for running the interpreter at `at` over `count` calls at `table`; ids as the thread itself sees them. */
void arch_prepare_run(struct arch_regs *regs, uint64_t at, uint64_t table, size_t count, int trap, pid_t pid,
                      pid_t tid);
