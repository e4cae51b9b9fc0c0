/* SPDX-License-Identifier: GPL-2.0-only */
/* A broken invariant of the core is a finding. */
#ifndef _FUZZ_LINUX_BUG_H
#define _FUZZ_LINUX_BUG_H

#include_next <linux/bug.h>
#include <stdlib.h>

static inline bool fuzz_warn(bool broken)
{
	if (broken)
		abort();
	return broken;
}

#undef WARN_ON_ONCE
#define WARN_ON_ONCE(condition) fuzz_warn(condition)

#endif
