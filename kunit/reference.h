/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The reference: what a processor makes of an address, step by step as the
 * manuals put it, with nothing in common with the code under test.
 */
#ifndef _VMEM_KUNIT_REFERENCE_H
#define _VMEM_KUNIT_REFERENCE_H

#include <linux/types.h>
#include <uapi/linux/vmem.h>

#include "guest.h"

/**
 * struct ref - what became of one address
 * @t: the answer that vmem_translate() is to give
 * @table: the table that is unbacked, where the status says so
 * @span: bytes of virtual memory that share this fate: those of the last entry
 *	read; 0 where none was
 */
struct ref {
	struct vmem_translation t;
	u64 table;
	u64 span;
};

void ref_translate(const struct guest *guest, const struct vmem_regs *regs,
		   u64 va, struct ref *ref);

#endif /* _VMEM_KUNIT_REFERENCE_H */
