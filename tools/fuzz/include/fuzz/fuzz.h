/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the targets have in common: the input as a string of choices, what goes
 * wrong on purpose, and what is said when something goes wrong by itself.
 */
#ifndef _FUZZ_FUZZ_H
#define _FUZZ_FUZZ_H

#include <linux/types.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdnoreturn.h>

/* What libFuzzer calls, and declares in no header for C. */
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

/* What a target has: called once, and with each input. */
void fuzz_init(void);
void fuzz_one(const u8 *data, size_t size);

/**
 * struct input - what is left of an input
 * @at: contents are taken from here on
 * @middle: up to here
 * @end: choices are taken from here downwards, to the middle
 */
struct input {
	const u8 *at;
	const u8 *middle;
	const u8 *end;
};

/* One half of these bytes is contents, the other choices. */
struct input input_of(const u8 *data, size_t size);

/* The next @nr bytes, up to 8, of the contents; zeros behind the end. */
u64 take(struct input *in, int nr);

/* A choice of @nr bytes; zeros when they are used up. */
u64 choose_bits(struct input *in, int nr);

/* A choice below @limit. */
u32 choose(struct input *in, u32 limit);

__printf(1, 2) void fuzz_log(const char *format, ...);

/* Something is not as it has to be: say it, and die of it. */
noreturn void fuzz_broken(const char *file, int line, const char *what);

#define REQUIRE(cond)                                           \
	do {                                                    \
		if (!(cond))                                    \
			fuzz_broken(__FILE__, __LINE__, #cond); \
	} while (0)

/*
 * The input asks for more than a check has room for, and says nothing: back to
 * where the target has set this.
 */
extern jmp_buf fuzz_start;
noreturn void fuzz_too_much(void);

/* Let the @nth allocation of the core from now fail; 0 for none. */
void fuzz_fail_alloc(unsigned int nth);
bool fuzz_no_memory(void);

/* Called before each load of an entry, if set. */
extern void (*fuzz_guest)(const void *entry, size_t size);

static inline const void *fuzz_before_load(const void *entry, size_t size)
{
	if (fuzz_guest)
		fuzz_guest(entry, size);
	return entry;
}

#endif
