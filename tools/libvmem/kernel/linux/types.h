/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel's own names of integers, beside those that user space has, and
 * their limits, which come with almost anything in the kernel.
 */
#ifndef _LIBVMEM_LINUX_TYPES_H
#define _LIBVMEM_LINUX_TYPES_H

#include_next <linux/types.h>
#include <linux/limits.h>
#include <stdbool.h>
#include <stddef.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s8 s8;
typedef __s16 s16;
typedef __s32 s32;
typedef __s64 s64;

#endif
