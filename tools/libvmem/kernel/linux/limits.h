/* SPDX-License-Identifier: GPL-2.0-only */
/* The largest values of the kernel's integers. */
#ifndef _LIBVMEM_LINUX_LIMITS_H
#define _LIBVMEM_LINUX_LIMITS_H

#include_next <linux/limits.h>

#define U32_MAX (~0U)
#define U64_MAX (~0ULL)

#endif
