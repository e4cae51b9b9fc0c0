// SPDX-License-Identifier: GPL-2.0-only
/*
 * Target: images. Any bytes as a file that vmemctl is to read: a raw image, a
 * core or a snapshot. It is refused with a message, or its memory lies in the
 * file, and the core answers from it.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <fuzz/fuzz.h>
#include <linux/minmax.h>

#include "image.h"
#include "tracked.h"
#include "vmemctl.h"

static struct image *image;
static struct offline *offline;

/* In place of the tool's own, which end it. */
static noreturn void refuse_with(const char *format, va_list ap)
{
	char text[512];
	int len = vsnprintf(text, sizeof(text), format, ap);

	REQUIRE(len > 0);
	longjmp(fuzz_start, 1);
}

void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	refuse_with(fmt, ap);
}

void usage(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	refuse_with(fmt, ap);
}

void fail(enum step step, const struct vmem_regs *regs, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	refuse_with(fmt, ap);
}

/* Of commands, which there are none of here. */
int target_ask(struct target *target, unsigned int cmd, void *args)
{
	return -ENOTTY;
}

const struct image *target_image(struct target *target)
{
	return image;
}

struct qmp *qmp_open(const char *path)
{
	return NULL;
}

void qmp_regs(struct qmp *qmp, unsigned int vcpu, struct known_regs *out)
{
}

void qmp_close(struct qmp *qmp)
{
}

/* Does the memory lie in the file, by rising address and disjoint? */
static void check_segments(size_t size)
{
	size_t i;

	REQUIRE(image->nr_segments);
	for (i = 0; i < image->nr_segments; i++) {
		const struct image_segment *s = &image->segments[i];

		REQUIRE(s->len && s->file_len <= s->len);
		REQUIRE(s->gpa + s->len > s->gpa);
		REQUIRE(!s->file_len ||
			(s->offset <= size && s->file_len <= size - s->offset));
		REQUIRE(!i || s->gpa >= s[-1].gpa + s[-1].len);
	}
	REQUIRE(image->nr_spaces <= VMEM_MAX_ROOTS);
}

/* What the guest has at an address, by the list of its segments. */
static int byte_at(const u8 *data, u64 gpa)
{
	size_t i;

	for (i = 0; i < image->nr_segments; i++) {
		const struct image_segment *s = &image->segments[i];

		if (gpa - s->gpa < s->len)
			return gpa - s->gpa < s->file_len ?
				       data[s->offset + (gpa - s->gpa)] :
				       0;
	}
	return -1;
}

static void check_page(const u8 *data, u64 gpa)
{
	const u8 *whole = image_page(image, gpa);
	unsigned char page[4096];
	bool any = false, there = image_compose(image, gpa, page);
	int i, byte;

	REQUIRE(!whole || (there && !memcmp(whole, page, sizeof(page))));
	for (i = 0; i < 4096; i++) {
		byte = byte_at(data, gpa + i);
		REQUIRE(page[i] == (byte < 0 ? 0 : byte));
		any |= byte >= 0;
	}
	REQUIRE(any == there);
}

/* Pages at the ends of segments, where a mistake would be. */
static void check_pages(const u8 *data, struct input *in)
{
	int i;

	for (i = 0; i < 4; i++) {
		u32 nr = choose(in, image->nr_segments);
		const struct image_segment *s = &image->segments[nr];
		u64 gpa = choose(in, 2) ? s->gpa + s->len - 1 : s->gpa;

		check_page(data, (gpa - choose(in, 2)) & ~0xfffULL);
		check_page(data, (gpa + choose(in, 8192)) & ~0xfffULL);
	}
}

static bool is_documented(int ret)
{
	return ret == 0 || ret == -EINVAL || ret == -EOPNOTSUPP ||
	       ret == -ENXIO || ret == -EOVERFLOW;
}

static void ask_addresses(const struct vmem_regs *regs, struct input *in)
{
	struct vmem_translation results[12];
	struct vmem_mapping mappings[20];
	u8 bytes[5000];
	u64 vas[12];
	struct vmem_translate_args translate = {
		.nr = 1 + choose(in, ARRAY_SIZE(vas)),
		.result_size = sizeof(*results),
		.vas = (uintptr_t)vas,
		.results = (uintptr_t)results,
		.regs = *regs,
	};
	struct vmem_map_range_args range = {
		.nr = 1 + choose(in, ARRAY_SIZE(mappings)),
		.mapping_size = sizeof(*mappings),
		.mappings = (uintptr_t)mappings,
		.regs = *regs,
		.last_va = ~0ULL,
	};
	struct vmem_read_args read = {
		.regs = *regs,
		.va = choose_bits(in, 8),
		.len = 1 + choose(in, sizeof(bytes)),
		.buf = (uintptr_t)bytes,
	};
	int ret;
	u32 i;

	for (i = 0; i < ARRAY_SIZE(vas); i++)
		vas[i] = choose(in, 2) ? choose(in, 65536) * 64ULL :
					 choose_bits(in, 8);
	ret = offline_ask(offline, VMEM_TRANSLATE, &translate);
	REQUIRE(is_documented(ret) && translate.out_nr <= translate.nr);
	ret = offline_ask(offline, VMEM_MAP_RANGE, &range);
	REQUIRE(is_documented(ret) && range.out_nr <= range.nr);
	ret = offline_ask(offline, VMEM_READ, &read);
	REQUIRE(is_documented(ret) && read.out_len <= read.len);
}

/* Who owns the tables, which is known when all was walked. */
static void ask_shared(struct input *in)
{
	struct vmem_translation results[4];
	u64 vas[4];
	struct vmem_translate_args translate = {
		.flags = VMEM_TRANSLATE_SPACES,
		.nr = ARRAY_SIZE(vas),
		.result_size = sizeof(*results),
		.vas = (uintptr_t)vas,
		.results = (uintptr_t)results,
		.root = choose(in, 4),
	};
	int ret;
	u32 i;

	for (i = 0; i < ARRAY_SIZE(vas); i++)
		vas[i] = choose(in, 65536) * 4096ULL;
	ret = offline_ask(offline, VMEM_TRANSLATE, &translate);
	REQUIRE(is_documented(ret));
}

static void ask_spaces(const struct vmem_regs *regs, struct input *in)
{
	static u64 cr3[VMEM_MAX_ROOTS];
	struct vmem_record records[30];
	struct vmem_span excluded = { .va = 1 << 20, .last_va = 1 << 21 };
	struct vmem_set_spaces_args set = {
		.regs = *regs,
		.nr_cr3 = image->nr_spaces,
		.cr3 = (uintptr_t)cr3,
		.nr_excluded = choose(in, 2),
		.excluded = (uintptr_t)&excluded,
		.last_va = ~0ULL,
	};
	struct vmem_walk_spaces_args walk = {
		.record_size = sizeof(*records),
		.records = (uintptr_t)records,
	};
	int ret, calls = 0;
	u32 i;

	if (!image->nr_spaces) {
		cr3[0] = regs->cr3;
		set.nr_cr3 = 1;
	}
	for (i = 0; i < image->nr_spaces; i++)
		cr3[i] = image->spaces[i].root;
	ret = offline_ask(offline, VMEM_SET_SPACES, &set);
	REQUIRE(is_documented(ret));
	do {
		if (ret)
			break;
		walk.nr = 1 + choose(in, ARRAY_SIZE(records));
		ret = offline_ask(offline, VMEM_WALK_SPACES, &walk);
		REQUIRE(is_documented(ret) && walk.out_nr <= walk.nr);
	} while (walk.out_more && ++calls < 20);
	if (!ret && !walk.out_more)
		ask_shared(in);
}

static void ask(struct input *in)
{
	const struct known_regs *arch =
		regs_of_arch(choose(in, 2) ? "amd64" : "i686");
	struct vmem_regs regs = arch->regs;
	struct vmem_vcpu_args vcpu = { .index = choose(in, 4) };
	struct vmem_info_args info;
	struct vmem_memslot slots[4];
	struct vmem_memslots_args memslots = {
		.nr = ARRAY_SIZE(slots),
		.slot_size = sizeof(*slots),
		.slots = (uintptr_t)slots,
		.gpa = choose_bits(in, 4),
	};

	regs.cr3 = choose(in, 16) * 4096ULL;
	if (!offline_ask(offline, VMEM_VCPU, &vcpu))
		regs = vcpu.out_regs;
	else if (image->nr_spaces)
		regs = image->regs;
	REQUIRE(!offline_ask(offline, VMEM_INFO, &info));
	REQUIRE(info.out_nr_vcpus == image->nr_vcpus);
	REQUIRE(!offline_ask(offline, VMEM_MEMSLOTS, &memslots));
	REQUIRE(memslots.out_nr <= memslots.nr);
	ask_addresses(&regs, in);
	ask_spaces(&regs, in);
}

void fuzz_init(void)
{
}

void fuzz_one(const u8 *data, size_t size)
{
	/* The end of the file says as well what it is asked. */
	struct input in = { data, data, data + size };

	image = NULL;
	offline = NULL;
	tracked_file(data, size);
	if (!setjmp(fuzz_start)) {
		image = image_open("image");
		check_segments(size);
		check_pages(data, &in);
		offline = offline_open(image);
		ask(&in);
		offline_close(offline);
		image_close(image);
		REQUIRE(!tracked_any());
	}
	tracked_clean();
}
