/* SPDX-License-Identifier: GPL-2.0-only */
/* Bits of the EFER MSR (Intel SDM vol. 4, 2.1). */
#ifndef _FUZZ_ASM_MSR_INDEX_H
#define _FUZZ_ASM_MSR_INDEX_H

#define EFER_LME (1ULL << 8)
#define EFER_LMA (1ULL << 10)
#define EFER_NX (1ULL << 11)

#endif
