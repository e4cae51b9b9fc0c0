// SPDX-License-Identifier: GPL-2.0-only
/*
 * Straight-line page walks, after Intel SDM vol. 3A, figures 4-2 to 4-4 (32-bit
 * paging), 4-5 to 4-7 (PAE paging) and 4-8 to 4-10 (4-level and 5-level paging). One
 * load after the other: a loop would be shorter, and like the code that this is to
 * check.
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

/**
 * struct ref_bits - what an 8-byte entry may have, by width and by rules
 * @address: address bits
 * @bad: bits that are reserved in every entry
 * @bad_pml: bits that are reserved in PML4Es and PML5Es besides
 * @no_1g: a PDPTE maps no page
 */
struct ref_bits {
	u64 address;
	u64 bad;
	u64 bad_pml;
	bool no_1g;
};

/* Bits of @regs->maxphyaddr and above, up to 51, are reserved. */
static struct ref_bits ref_bits(const struct vmem_regs *regs)
{
	u64 encryption = regs->rules >> 8 ? BIT_ULL(regs->rules >> 8) : 0;
	u64 address = (1ULL << regs->maxphyaddr) - 0x1000;
	struct ref_bits bits = {
		.address = address & ~encryption,
		.bad = 0x000ffffffffff000ULL & ~address & ~encryption,
		.bad_pml = PS,
		.no_1g = regs->rules & VMEM_RULES_NO_1G,
	};

	if (!(regs->efer & EFER_NX))
		bits.bad |= NX;
	if (regs->rules & VMEM_RULES_AMD)
		bits.bad_pml |= BIT_ULL(8);
	return bits;
}

/* From the page directory on. @all is the AND of what is above, @any is its OR. */
static void ref_pd(const struct guest *guest, const struct ref_bits *bits,
		   u64 table, u64 va, u64 all, u64 any, struct ref *ref)
{
	u64 pde, pte;

	if (!ref_load8(guest, ref, VMEM_LEVEL_PD,
		       table + ((va >> 21) & 511) * 8, 1ULL << 21, &pde))
		return;
	if (ref_fault(ref, pde & bits->bad))
		return;
	if (pde & PS) {
		if (ref_fault(ref, pde & 0x1fe000))
			return;
		ref_page(ref,
			 (pde & bits->address & ~0x1fffffULL) | (va & 0x1fffff),
			 1ULL << 21, all & pde, any | pde);
		return;
	}

	if (!ref_load8(guest, ref, VMEM_LEVEL_PT,
		       (pde & bits->address) + ((va >> 12) & 511) * 8,
		       1ULL << 12, &pte))
		return;
	if (ref_fault(ref, pte & bits->bad))
		return;
	ref_page(ref, (pte & bits->address) | (va & 0xfff), 1ULL << 12,
		 all & pde & pte, any | pde | pte);
}

/*
 * A PDPTE of PAE paging neither grants nor denies anything (table 4-8). Accessed is
 * reserved there as well, but emulations set it, and none that does reserves it.
 */
static void ref_pae(const struct guest *guest, const struct vmem_regs *regs,
		    u64 va, struct ref *ref)
{
	struct ref_bits bits = ref_bits(regs);
	u64 pdpte;

	if (va > 0xffffffff) {
		ref->t.out_status = VMEM_NON_CANONICAL;
		return;
	}
	/* Nothing above the address is ignored but XD (tables 4-9 to 4-11). */
	bits.bad |= 0x7ff0000000000000ULL;
	if (!ref_load8(guest, ref, VMEM_LEVEL_PDPT,
		       (regs->cr3 & 0xffffffe0) + (va >> 30) * 8, 1ULL << 30,
		       &pdpte))
		return;
	if (ref_fault(ref, pdpte & (bits.bad | NX | 0x1c6)))
		return;
	ref_pd(guest, &bits, pdpte & bits.address, va, ~0ULL, 0, ref);
}

static void ref_pml4(const struct guest *guest, const struct ref_bits *bits,
		     u64 table, u64 va, u64 all, u64 any, struct ref *ref)
{
	u64 pml4e, pdpte;

	if (!ref_load8(guest, ref, VMEM_LEVEL_PML4,
		       table + ((va >> 39) & 511) * 8, 1ULL << 39, &pml4e))
		return;
	if (ref_fault(ref, pml4e & (bits->bad | bits->bad_pml)))
		return;

	if (!ref_load8(guest, ref, VMEM_LEVEL_PDPT,
		       (pml4e & bits->address) + ((va >> 30) & 511) * 8,
		       1ULL << 30, &pdpte))
		return;
	if (ref_fault(ref, pdpte & bits->bad))
		return;
	if (pdpte & PS) {
		if (ref_fault(ref, bits->no_1g || (pdpte & 0x3fffe000)))
			return;
		ref_page(ref,
			 (pdpte & bits->address & ~0x3fffffffULL) |
				 (va & 0x3fffffff),
			 1ULL << 30, all & pml4e & pdpte, any | pml4e | pdpte);
		return;
	}
	ref_pd(guest, bits, pdpte & bits->address, va, all & pml4e & pdpte,
	       any | pml4e | pdpte, ref);
}

static void ref_4level(const struct guest *guest, const struct vmem_regs *regs,
		       u64 va, struct ref *ref)
{
	struct ref_bits bits = ref_bits(regs);

	if (va >= 0x0000800000000000ULL && va < 0xffff800000000000ULL) {
		ref->t.out_status = VMEM_NON_CANONICAL;
		return;
	}
	ref_pml4(guest, &bits, regs->cr3 & bits.address, va, ~0ULL, 0, ref);
}

static void ref_5level(const struct guest *guest, const struct vmem_regs *regs,
		       u64 va, struct ref *ref)
{
	struct ref_bits bits = ref_bits(regs);
	u64 pml5e;

	if (va >= 0x0100000000000000ULL && va < 0xff00000000000000ULL) {
		ref->t.out_status = VMEM_NON_CANONICAL;
		return;
	}
	if (!ref_load8(guest, ref, VMEM_LEVEL_PML5,
		       (regs->cr3 & bits.address) + ((va >> 48) & 511) * 8,
		       1ULL << 48, &pml5e))
		return;
	if (ref_fault(ref, pml5e & (bits.bad | bits.bad_pml)))
		return;
	ref_pml4(guest, &bits, pml5e & bits.address, va, pml5e, pml5e, ref);
}

void ref_translate(const struct guest *guest, const struct vmem_regs *regs,
		   u64 va, struct ref *ref)
{
	memset(ref, 0, sizeof(*ref));
	if (regs->efer & EFER_LME && regs->cr4 & X86_CR4_LA57)
		ref_5level(guest, regs, va, ref);
	else if (regs->efer & EFER_LME)
		ref_4level(guest, regs, va, ref);
	else if (regs->cr4 & X86_CR4_PAE)
		ref_pae(guest, regs, va, ref);
	else
		ref_2level(guest, regs, va, ref);
}
