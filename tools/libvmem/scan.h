/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * All of a guest's memory, once, page by page
 */
#ifndef LIBVMEM_SCAN_H
#define LIBVMEM_SCAN_H

#include "vm.h"

/**
 * struct scan - a pass over guest memory
 * @vm: the guest
 * @fetch: look at what the VMM does not have in memory as well
 * @page: called for each page of 4 KiB that is there; returns 0, or another value to
 *	end the pass
 * @step: called now and then, with the bytes that the pass has behind it and all; likewise
 * @priv: passed to both
 * @read: set: bytes that were looked at
 * @untouched: set: bytes that nobody has touched, or that are swapped out
 */
struct scan {
	struct libvmem *vm;
	bool fetch;
	int (*page)(__u64 gpa, const void *page, void *priv);
	int (*step)(__u64 done, __u64 all, void *priv);
	void *priv;
	__u64 read;
	__u64 untouched;
};

/*
 * Without @fetch, what was never touched is not brought into being, and what is swapped out
 * stays where it is. Returns 0; a negative code; what @page or @step did.
 */
int scan_memory(struct scan *scan, struct libvmem_error *error);

#endif
