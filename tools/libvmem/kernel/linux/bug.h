/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A broken invariant of the core. It goes on as the kernel does, in the way that
 * its code has for that: a library must not end its user. The fuzzer stops here.
 */
#ifndef _LIBVMEM_LINUX_BUG_H
#define _LIBVMEM_LINUX_BUG_H

#include <assert.h>
#include <stdbool.h>

#define WARN_ON_ONCE(condition) ((bool)(condition))

#endif
