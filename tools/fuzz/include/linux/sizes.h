/* SPDX-License-Identifier: GPL-2.0-only */
/* Sizes by their names. */
#ifndef _FUZZ_LINUX_SIZES_H
#define _FUZZ_LINUX_SIZES_H

#define SZ_4K 0x1000ULL
#define SZ_1M 0x100000ULL
#define SZ_2M 0x200000ULL
#define SZ_4M 0x400000ULL
#define SZ_16M 0x1000000ULL
#define SZ_1G 0x40000000ULL

#endif
