/* SPDX-License-Identifier: GPL-2.0-only */
/* Bits of the EFER MSR (Intel SDM vol. 4, 2.1). */
#ifndef _FUZZ_ASM_MSR_INDEX_H
#define _FUZZ_ASM_MSR_INDEX_H

#include <linux/bits.h>

#define EFER_LME BIT_ULL(8)
#define EFER_LMA BIT_ULL(10)
#define EFER_NX BIT_ULL(11)

#endif
