/* SPDX-License-Identifier: GPL-2.0-only */
/* Bits of control registers (Intel SDM vol. 3, 2.5). */
#ifndef _FUZZ_ASM_PROCESSOR_FLAGS_H
#define _FUZZ_ASM_PROCESSOR_FLAGS_H

#define X86_CR0_PE (1ULL << 0)
#define X86_CR0_PG (1ULL << 31)
#define X86_CR4_PSE (1ULL << 4)
#define X86_CR4_PAE (1ULL << 5)
#define X86_CR4_LA57 (1ULL << 12)

#endif
