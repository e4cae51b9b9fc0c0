/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The core's loads of table entries go by the fuzzer, which plays the guest: it
 * may write to its tables before any of them.
 */
#ifndef _FUZZ_LINUX_COMPILER_H
#define _FUZZ_LINUX_COMPILER_H

#include_next <linux/compiler.h>
#include <fuzz/fuzz.h>

#undef READ_ONCE
#define READ_ONCE(x)                                                          \
	__atomic_load_n((const typeof(x) *)fuzz_before_load(&(x), sizeof(x)), \
			__ATOMIC_RELAXED)

#endif
