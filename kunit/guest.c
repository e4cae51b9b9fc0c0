// SPDX-License-Identifier: GPL-2.0-only
/*
 * The in-memory guest of the tests: guest-memory ops over a short array of
 * pages, which is searched from its start.
 */
#include <linux/err.h>
#include <linux/minmax.h>
#include <linux/string.h>

#include "guest.h"

/* As table entries: present, with every reserved bit set. */
#define GUEST_POISON 0xff

static int guest_index(const struct guest *guest, u64 gpa)
{
	int i;

	for (i = 0; i < guest->nr_pages; i++) {
		if (guest->pages[i].gpa == (gpa & VMEM_PAGE_MASK))
			return i;
	}
	return -1;
}

static const struct guest_area *guest_area(const struct guest *guest, u64 gpa,
					   bool readable)
{
	int i;

	for (i = 0; i < guest->nr_areas; i++) {
		if (gpa - guest->areas[i].gpa < guest->areas[i].len &&
		    !guest->areas[i].state == readable)
			return &guest->areas[i];
	}
	return NULL;
}

int guest_state(const struct guest *guest, u64 gpa)
{
	const struct guest_area *area = guest_area(guest, gpa, false);

	if (area)
		return area->state;
	return guest_index(guest, gpa) >= 0 || guest_area(guest, gpa, true) ?
		       0 :
		       -ENXIO;
}

static bool guest_page_is_intact(const struct guest_page *page)
{
	return !memcmp(page->view, page->truth, VMEM_PAGE_SIZE);
}

static const void *guest_pin(struct vmem_mem *mem, u64 gpa)
{
	struct guest *guest = container_of(mem, struct guest, mem);
	struct guest_page *page;
	int i;

	if (++guest->pins == guest->fail_at)
		return ERR_PTR(guest->fail_with);
	if (guest_state(guest, gpa))
		return ERR_PTR(guest_state(guest, gpa));
	i = guest_index(guest, gpa);
	if (i < 0) {
		guest->zero_pins++;
		return guest->zeros;
	}

	page = &guest->pages[i];
	if (guest->bounce && !page->pins)
		memcpy(page->view, page->truth, VMEM_PAGE_SIZE);
	page->pins++;
	guest->touched |= guest_bit(guest, gpa);
	return page->view;
}

static void guest_unpin(struct vmem_mem *mem, u64 gpa, const void *view)
{
	struct guest *guest = container_of(mem, struct guest, mem);
	int i = guest_index(guest, gpa);
	struct guest_page *page;

	if (i < 0 && view == guest->zeros && guest->zero_pins) {
		guest->zero_pins--;
		return;
	}
	if (i < 0 || guest->pages[i].view != view || !guest->pages[i].pins) {
		guest->misuses++;
		return;
	}

	page = &guest->pages[i];
	if (--page->pins || !guest->bounce)
		return;
	if (!guest_page_is_intact(page))
		guest->misuses++;
	memset(page->view, GUEST_POISON, VMEM_PAGE_SIZE);
}

/* An edge behind @gpa that is nearer than the nearest yet. */
static void guest_edge(u64 gpa, u64 edge, u64 *same)
{
	if (edge > gpa)
		*same = min(*same, edge - gpa);
}

static int guest_probe(struct vmem_mem *mem, u64 gpa, u64 len, u64 *same)
{
	struct guest *guest = container_of(mem, struct guest, mem);
	int i;

	if (++guest->pins == guest->fail_at)
		return guest->fail_with;
	*same = len;
	for (i = 0; i < guest->nr_pages; i++) {
		guest_edge(gpa, guest->pages[i].gpa, same);
		guest_edge(gpa, guest->pages[i].gpa + VMEM_PAGE_SIZE, same);
	}
	for (i = 0; i < guest->nr_areas; i++) {
		guest_edge(gpa, guest->areas[i].gpa, same);
		guest_edge(gpa, guest->areas[i].gpa + guest->areas[i].len,
			   same);
	}
	return guest_state(guest, gpa);
}

static const struct vmem_mem_ops guest_mem_ops = {
	.pin = guest_pin,
	.unpin = guest_unpin,
	.probe = guest_probe,
};

struct guest *guest_alloc(struct kunit *test)
{
	struct guest *guest = kunit_kzalloc(test, sizeof(*guest), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, guest);
	guest->mem.ops = &guest_mem_ops;
	guest->test = test;
	guest->zeros = kunit_kzalloc(test, VMEM_PAGE_SIZE, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, guest->zeros);
	return guest;
}

void guest_reset(struct guest *guest, bool bounce)
{
	guest->nr_pages = 0;
	guest->nr_areas = 0;
	guest->bounce = bounce;
	guest->misuses = 0;
	guest_fail_pin(guest, 0, 0);
	guest_forget_pins(guest);
}

void guest_forget_pins(struct guest *guest)
{
	guest->touched = 0;
	guest->pins = 0;
}

void guest_fail_pin(struct guest *guest, unsigned int nth, int err)
{
	guest->fail_at = nth ? guest->pins + nth : 0;
	guest->fail_with = err;
}

static u8 *guest_new_page(struct guest *guest)
{
	u8 *page = kunit_kmalloc(guest->test, VMEM_PAGE_SIZE, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(guest->test, page);
	return page;
}

void guest_add(struct guest *guest, u64 gpa)
{
	struct guest_page *page = &guest->pages[guest->nr_pages];

	KUNIT_ASSERT_LT(guest->test, guest->nr_pages, GUEST_MAX_PAGES);
	KUNIT_ASSERT_TRUE(guest->test, guest_index(guest, gpa) < 0);
	if (!page->truth)
		page->truth = guest_new_page(guest);
	if (!page->view)
		page->view = guest_new_page(guest);

	page->gpa = gpa & VMEM_PAGE_MASK;
	page->pins = 0;
	guest->nr_pages++;
	guest_fill(guest, gpa, 0);
}

void guest_add_area(struct guest *guest, u64 gpa, u64 len, int state)
{
	KUNIT_ASSERT_LT(guest->test, guest->nr_areas, GUEST_MAX_AREAS);
	guest->areas[guest->nr_areas++] = (struct guest_area){
		.gpa = gpa,
		.len = len,
		.state = state,
	};
}

bool guest_has(const struct guest *guest, u64 gpa)
{
	return !guest_state(guest, gpa);
}

u64 guest_bit(const struct guest *guest, u64 gpa)
{
	int i = guest_index(guest, gpa);

	return i < 0 || i >= 64 ? 0 : BIT_ULL(i);
}

void guest_fill(struct guest *guest, u64 gpa, u8 byte)
{
	int i = guest_index(guest, gpa);

	KUNIT_ASSERT_GE(guest->test, i, 0);
	memset(guest->pages[i].truth, byte, VMEM_PAGE_SIZE);
	memset(guest->pages[i].view, guest->bounce ? GUEST_POISON : byte,
	       VMEM_PAGE_SIZE);
}

void guest_write(struct guest *guest, u64 gpa, int size, u64 value)
{
	u64 offset = gpa & ~VMEM_PAGE_MASK;
	int i = guest_index(guest, gpa);

	KUNIT_ASSERT_GE(guest->test, i, 0);
	memcpy(guest->pages[i].truth + offset, &value, size);
	if (!guest->bounce)
		memcpy(guest->pages[i].view + offset, &value, size);
}

bool guest_read(const struct guest *guest, u64 gpa, int size, u64 *value)
{
	int i = guest_index(guest, gpa);

	if (!guest_has(guest, gpa))
		return false;
	*value = 0;
	if (i < 0)
		return true;
	memcpy(value, guest->pages[i].truth + (gpa & ~VMEM_PAGE_MASK), size);
	return true;
}

u8 guest_byte(const struct guest *guest, u64 gpa)
{
	int i = guest_index(guest, gpa);

	KUNIT_ASSERT_TRUE(guest->test, guest_has(guest, gpa));
	return i < 0 ? 0 : guest->pages[i].truth[gpa & ~VMEM_PAGE_MASK];
}

void guest_copy(struct guest *to, const struct guest *from)
{
	int i;

	guest_reset(to, false);
	for (i = 0; i < from->nr_pages; i++) {
		guest_add(to, from->pages[i].gpa);
		memcpy(to->pages[i].truth, from->pages[i].truth,
		       VMEM_PAGE_SIZE);
		memcpy(to->pages[i].view, from->pages[i].truth, VMEM_PAGE_SIZE);
	}
}

bool guest_extends(const struct guest *guest, const struct guest *was)
{
	int i;

	if (guest->nr_pages < was->nr_pages)
		return false;
	for (i = 0; i < was->nr_pages; i++) {
		if (guest->pages[i].gpa != was->pages[i].gpa ||
		    memcmp(guest->pages[i].truth, was->pages[i].truth,
			   VMEM_PAGE_SIZE))
			return false;
	}
	return true;
}

bool guest_equal(const struct guest *a, const struct guest *b)
{
	return a->nr_pages == b->nr_pages && guest_extends(a, b);
}

void guest_copy_page(struct guest *guest, u64 to, u64 from)
{
	int i = guest_index(guest, to), j = guest_index(guest, from);

	KUNIT_ASSERT_GE(guest->test, i, 0);
	KUNIT_ASSERT_GE(guest->test, j, 0);
	memcpy(guest->pages[i].truth, guest->pages[j].truth, VMEM_PAGE_SIZE);
	if (!guest->bounce)
		memcpy(guest->pages[i].view, guest->pages[i].truth,
		       VMEM_PAGE_SIZE);
}

bool guest_is_intact(const struct guest *guest)
{
	int i;

	for (i = 0; i < guest->nr_pages; i++) {
		if (guest->pages[i].pins)
			return false;
		/* A bounced page was compared when it was unpinned. */
		if (!guest->bounce && !guest_page_is_intact(&guest->pages[i]))
			return false;
	}
	return !guest->misuses && !guest->zero_pins;
}
