// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the targets have in common.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <fuzz/fuzz.h>

struct input input_of(const u8 *data, size_t size)
{
	return (struct input){ data, data + size / 2, data + size };
}

u64 take(struct input *in, int nr)
{
	u64 value = 0;
	int i;

	for (i = 0; i < nr && in->at < in->middle; i++)
		value |= (u64)*in->at++ << 8 * i;
	return value;
}

u64 choose_bits(struct input *in, int nr)
{
	u64 value = 0;

	while (nr-- && in->middle < in->end)
		value = value << 8 | *--in->end;
	return value;
}

u32 choose(struct input *in, u32 limit)
{
	return choose_bits(in, limit > 256 ? 2 : 1) % limit;
}

void fuzz_log(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
}

void fuzz_broken(const char *file, int line, const char *what)
{
	fuzz_log("%s:%d: not so: %s\n", file, line, what);
	abort();
}

jmp_buf fuzz_start;

void fuzz_too_much(void)
{
	longjmp(fuzz_start, 1);
}

static unsigned int allocs_left;

void fuzz_fail_alloc(unsigned int nth)
{
	allocs_left = nth;
}

bool fuzz_no_memory(void)
{
	return allocs_left && !--allocs_left;
}

void (*fuzz_guest)(const void *entry, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_init();
	return 0;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	fuzz_one(data, size);
	return 0;
}
