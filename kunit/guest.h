/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A guest made up in memory: a few pages at any guest-physical addresses. It
 * keeps account of what was pinned, so that a test can tell what was read.
 */
#ifndef _VMEM_KUNIT_GUEST_H
#define _VMEM_KUNIT_GUEST_H

#include <kunit/test.h>
#include <linux/types.h>
#include <asm/msr-index.h>
#include <asm/processor-flags.h>
#include <vmem/mem.h>

#define GUEST_MAX_PAGES 768
#define GUEST_MAX_AREAS 8

/* Registers of a guest in 4-level paging. @nx is EFER_NX or 0. */
#define GUEST_REGS_AMD64(nx, width)                                        \
	{                                                                  \
		.cr0 = X86_CR0_PG | X86_CR0_PE, .cr4 = X86_CR4_PAE,        \
		.efer = EFER_LME | EFER_LMA | (nx), .maxphyaddr = (width), \
	}

/* The same in 5-level paging, with the rules of a processor. */
#define GUEST_REGS_LA57(nx, width, what)                                   \
	{                                                                  \
		.cr0 = X86_CR0_PG | X86_CR0_PE,                            \
		.cr4 = X86_CR4_PAE | X86_CR4_LA57,                         \
		.efer = EFER_LME | EFER_LMA | (nx), .maxphyaddr = (width), \
		.rules = (what),                                           \
	}

/* Registers of a guest in PAE paging. @nx is EFER_NX or 0. */
#define GUEST_REGS_PAE(nx, width)                                   \
	{                                                           \
		.cr0 = X86_CR0_PG | X86_CR0_PE, .cr4 = X86_CR4_PAE, \
		.efer = (nx), .maxphyaddr = (width),                \
	}

/* Registers of a guest in 2-level paging. @pse is X86_CR4_PSE or 0. */
#define GUEST_REGS_I686(pse, width)                           \
	{                                                     \
		.cr0 = X86_CR0_PG | X86_CR0_PE, .cr4 = (pse), \
		.maxphyaddr = (width),                        \
	}

/**
 * struct guest_page - one page of a guest
 * @gpa: where it is
 * @truth: what the guest has there
 * @view: what a pin hands out
 * @pins: how often it is pinned now
 */
struct guest_page {
	u64 gpa;
	u8 *truth;
	u8 *view;
	unsigned int pins;
};

/**
 * struct guest_area - memory of which there are no pages, or none to be had
 * @gpa: where it begins
 * @len: its size in bytes
 * @state: 0: zeros, where there is no page; -EIO or -ENXIO: what a pin fails with,
 *	whether there is a page or not
 */
struct guest_area {
	u64 gpa;
	u64 len;
	int state;
};

/**
 * struct guest - a guest
 * @mem: what the core is given
 * @test: the test it belongs to
 * @pages: its pages; the first @nr_pages are there, the rest of those that
 *	have memory are kept for later
 * @nr_pages: how many there are
 * @areas: its areas
 * @nr_areas: how many there are
 * @zeros: a page of zeros, which areas have
 * @zero_pins: how often it is pinned now
 * @bounce: a page's contents are only where a pin hands them out while it is
 *	pinned, so that a read after the unpin gets nonsense
 * @touched: bit n: pages[n] has been pinned at some time; of the first 64
 * @pins: how often a pin was asked for
 * @fail_at: which pin is to fail, counted from 1; 0 for none
 * @fail_with: the errno it fails with
 * @misuses: unpins of what was not pinned, and pages found changed at an unpin
 */
struct guest {
	struct vmem_mem mem;
	struct kunit *test;
	struct guest_page pages[GUEST_MAX_PAGES];
	int nr_pages;
	struct guest_area areas[GUEST_MAX_AREAS];
	int nr_areas;
	u8 *zeros;
	unsigned int zero_pins;
	bool bounce;
	u64 touched;
	unsigned int pins;
	unsigned int fail_at;
	int fail_with;
	unsigned int misuses;
};

/* A guest without pages. It goes with the test. */
struct guest *guest_alloc(struct kunit *test);

/* Take all pages away, clear the account, and set @bounce. */
void guest_reset(struct guest *guest, bool bounce);

/* Clear the account of pins, before a question whose pins are of interest. */
void guest_forget_pins(struct guest *guest);

/* Let the @nth pin from now fail with @err; 0 for none. */
void guest_fail_pin(struct guest *guest, unsigned int nth, int err);

/* Add a page of zeroes at @gpa, which must have none yet. */
void guest_add(struct guest *guest, u64 gpa);

/* What there is at @gpa: 0, or what a pin fails with. */
int guest_state(const struct guest *guest, u64 gpa);

/* Add an area; see there. */
void guest_add_area(struct guest *guest, u64 gpa, u64 len, int state);

/* Is there memory at @gpa that can be read? */
bool guest_has(const struct guest *guest, u64 gpa);

/* The bit of guest::touched of the page at @gpa; 0 if it has none. */
u64 guest_bit(const struct guest *guest, u64 gpa);

/* Write a little-endian value of @size bytes (4 or 8) at @gpa. */
void guest_write(struct guest *guest, u64 gpa, int size, u64 value);

/* Set all bytes of the page at @gpa. */
void guest_fill(struct guest *guest, u64 gpa, u8 byte);

/* Read @size bytes (4 or 8) at @gpa; false if they cannot be read. */
bool guest_read(const struct guest *guest, u64 gpa, int size, u64 *value);

/* One byte at @gpa, which can be read. */
u8 guest_byte(const struct guest *guest, u64 gpa);

/* Let @to have the same pages as @from, which does not bounce. */
void guest_copy(struct guest *to, const struct guest *from);

/* Are the first pages of @guest those of @was, with the same contents? */
bool guest_extends(const struct guest *guest, const struct guest *was);

/* The same pages, added in the same order, with the same contents? */
bool guest_equal(const struct guest *a, const struct guest *b);

/* Let the page at @to have the contents of the page at @from. */
void guest_copy_page(struct guest *guest, u64 to, u64 from);

/* Pins balance, every unpin was right, and no byte of the guest has changed. */
bool guest_is_intact(const struct guest *guest);

#endif /* _VMEM_KUNIT_GUEST_H */
