/* SPDX-License-Identifier: GPL-2.0-only */
/* Bits of control registers (Intel SDM vol. 3, 2.5). */
#ifndef _FUZZ_ASM_PROCESSOR_FLAGS_H
#define _FUZZ_ASM_PROCESSOR_FLAGS_H

#include <linux/bits.h>

#define X86_CR0_PE BIT_ULL(0)
#define X86_CR0_PG BIT_ULL(31)
#define X86_CR4_PSE BIT_ULL(4)
#define X86_CR4_PAE BIT_ULL(5)
#define X86_CR4_LA57 BIT_ULL(12)

#endif
