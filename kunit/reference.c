// SPDX-License-Identifier: GPL-2.0-only
/*
 * Two straight-line page walks, after Intel SDM vol. 3A, figures 4-2 to 4-4
 * (32-bit paging) and 4-8 to 4-10 (4-level paging). One load after the other:
 * a loop would be shorter, and like the code that this is to check.
 */
#include <linux/bits.h>
#include <linux/minmax.h>
#include <linux/string.h>

#include "reference.h"

#define P BIT_ULL(0)
#define RW BIT_ULL(1)
#define US BIT_ULL(2)
#define PS BIT_ULL(7)
#define NX BIT_ULL(63)

/* Load the entry at @gpa of a table of @level; false if the path ends here. */
static bool ref_load(const struct guest *guest, struct ref *ref, int level,
		     u64 gpa, int size, u64 *entry)
{
	struct vmem_translation *t = &ref->t;

	t->out_level = level;
	if (!guest_read(guest, gpa, size, entry)) {
		t->out_status = VMEM_UNBACKED;
		ref->table = gpa & ~0xfffULL;
		return false;
	}

	t->out_trace[t->out_nr_trace].entry_gpa = gpa;
	t->out_trace[t->out_nr_trace].raw = *entry;
	t->out_nr_trace++;
	if (*entry & P)
		return true;
	t->out_status = VMEM_NOT_PRESENT;
	return false;
}

static bool ref_fault(struct ref *ref, bool fault)
{
	if (fault)
		ref->t.out_status = VMEM_RESERVED;
	return fault;
}

/* @all is the AND of the path's entries, @any is their OR. */
static void ref_page(struct ref *ref, u64 gpa, u64 size, u64 all, u64 any)
{
	ref->t.out_status = VMEM_MAPPED;
	ref->t.out_gpa = gpa;
	ref->t.out_page_size = size;
	if (all & RW)
		ref->t.out_perms |= VMEM_WRITABLE;
	if (all & US)
		ref->t.out_perms |= VMEM_USER;
	if (!(any & NX))
		ref->t.out_perms |= VMEM_EXECUTABLE;
}

static void ref_2level(const struct guest *guest, const struct vmem_regs *regs,
		       u64 va, struct ref *ref)
{
	u32 width = min_t(u32, regs->maxphyaddr, 40);
	u64 pde, pte, high;

	if (va > 0xffffffff) {
		ref->t.out_status = VMEM_NON_CANONICAL;
		return;
	}
	ref->span = 1ULL << 22;
	if (!ref_load(guest, ref, VMEM_LEVEL_PD,
		      (regs->cr3 & 0xfffff000) + (va >> 22) * 4, 4, &pde))
		return;
	if ((regs->cr4 & X86_CR4_PSE) && (pde & PS)) {
		/* PSE-36: entry bits 20:13 are address bits 39:32. */
		high = (pde >> 13) & 0xff;
		if (ref_fault(ref, (pde & BIT_ULL(21)) || high >> (width - 32)))
			return;
		ref_page(ref, high << 32 | (pde & 0xffc00000) | (va & 0x3fffff),
			 1ULL << 22, pde, 0);
		return;
	}

	if (!ref_load(guest, ref, VMEM_LEVEL_PT,
		      (pde & 0xfffff000) + ((va >> 12) & 0x3ff) * 4, 4, &pte)) {
		if (ref->t.out_status != VMEM_UNBACKED)
			ref->span = 1ULL << 12;
		return;
	}
	ref->span = 1ULL << 12;
	ref_page(ref, (pte & 0xfffff000) | (va & 0xfff), 1ULL << 12, pde & pte,
		 0);
}

/* As ref_load(), for an 8-byte entry that spans @span bytes. */
static bool ref_load8(const struct guest *guest, struct ref *ref, int level,
		      u64 gpa, u64 span, u64 *entry)
{
	bool present = ref_load(guest, ref, level, gpa, 8, entry);

	if (present || ref->t.out_status != VMEM_UNBACKED)
		ref->span = span;
	return present;
}

static void ref_4level(const struct guest *guest, const struct vmem_regs *regs,
		       u64 va, struct ref *ref)
{
	u64 address = (1ULL << regs->maxphyaddr) - 0x1000;
	u64 bad = 0x000ffffffffff000ULL & ~address;
	u64 pml4e, pdpte, pde, pte;

	if (va >= 0x0000800000000000ULL && va < 0xffff800000000000ULL) {
		ref->t.out_status = VMEM_NON_CANONICAL;
		return;
	}
	if (!(regs->efer & EFER_NX))
		bad |= NX;

	if (!ref_load8(guest, ref, VMEM_LEVEL_PML4,
		       (regs->cr3 & address) + ((va >> 39) & 511) * 8,
		       1ULL << 39, &pml4e))
		return;
	if (ref_fault(ref, pml4e & (bad | PS)))
		return;

	if (!ref_load8(guest, ref, VMEM_LEVEL_PDPT,
		       (pml4e & address) + ((va >> 30) & 511) * 8, 1ULL << 30,
		       &pdpte))
		return;
	if (ref_fault(ref, pdpte & bad))
		return;
	if (pdpte & PS) {
		if (ref_fault(ref, pdpte & 0x3fffe000))
			return;
		ref_page(ref,
			 (pdpte & address & ~0x3fffffffULL) | (va & 0x3fffffff),
			 1ULL << 30, pml4e & pdpte, pml4e | pdpte);
		return;
	}

	if (!ref_load8(guest, ref, VMEM_LEVEL_PD,
		       (pdpte & address) + ((va >> 21) & 511) * 8, 1ULL << 21,
		       &pde))
		return;
	if (ref_fault(ref, pde & bad))
		return;
	if (pde & PS) {
		if (ref_fault(ref, pde & 0x1fe000))
			return;
		ref_page(ref, (pde & address & ~0x1fffffULL) | (va & 0x1fffff),
			 1ULL << 21, pml4e & pdpte & pde, pml4e | pdpte | pde);
		return;
	}

	if (!ref_load8(guest, ref, VMEM_LEVEL_PT,
		       (pde & address) + ((va >> 12) & 511) * 8, 1ULL << 12,
		       &pte))
		return;
	if (ref_fault(ref, pte & bad))
		return;
	ref_page(ref, (pte & address) | (va & 0xfff), 1ULL << 12,
		 pml4e & pdpte & pde & pte, pml4e | pdpte | pde | pte);
}

void ref_translate(const struct guest *guest, const struct vmem_regs *regs,
		   u64 va, struct ref *ref)
{
	memset(ref, 0, sizeof(*ref));
	if (regs->efer & EFER_LME)
		ref_4level(guest, regs, va, ref);
	else
		ref_2level(guest, regs, va, ref);
}
