// SPDX-License-Identifier: GPL-2.0-only
/*
 * Target: images. Any bytes as a file that libvmem is to open: a raw image, a
 * core, a snapshot or a kdump, or regions of any file. It is refused with an error
 * that has a message, or its memory lies in the file, and the library answers from
 * it. Now and then an allocation fails. In any case nothing is left behind.
 */
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <fuzz/fuzz.h>
#include <linux/minmax.h>

#include "file.h"
#include "image.h"
#include "qmp.h"
#include "vm.h"

static struct libvmem *vm;
static const struct image *image;
static struct libvmem_error error;
static bool short_of_memory;

/* There is no guest that runs, and no QEMU. */
unsigned int libvmem_qmp_vcpus(const struct libvmem_qmp *qmp,
			       const struct libvmem_qmp_vcpu **vcpus)
{
	return 0;
}

int libvmem_qmp_check_stopped(struct libvmem_qmp *qmp,
			      struct libvmem_error *error)
{
	return -LIBVMEM_QMP;
}

int qmp_cpu(struct libvmem_qmp *qmp, unsigned int vcpu, struct core_cpu *cpu,
	    struct libvmem_error *error)
{
	return -LIBVMEM_QMP;
}

int libvmem_qmp_regs(struct libvmem_qmp *qmp, unsigned int vcpu,
		     struct libvmem_regs *regs, struct libvmem_error *error)
{
	return -LIBVMEM_QMP;
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
		REQUIRE(!s->file_len || image->kdump ||
			(s->offset <= size && s->file_len <= size - s->offset));
		REQUIRE(!i || s->gpa >= s[-1].gpa + s[-1].len);
	}
	REQUIRE(image->nr_spaces <= VMEM_MAX_ROOTS);
}

/* Bytes of memory at an address, by the image's segments; 0 if the page is packed. */
static int byte_at(const u8 *data, u64 gpa)
{
	size_t i;

	for (i = 0; i < image->nr_segments; i++) {
		const struct image_segment *s = &image->segments[i];

		if (gpa - s->gpa < s->len)
			return gpa - s->gpa < s->file_len && !image->kdump ?
				       data[s->offset + (gpa - s->gpa)] :
				       0;
	}
	return -1;
}

static void check_page(const u8 *data, u64 gpa)
{
	const u8 *whole = image_page(image, gpa);
	unsigned char page[4096], copy[4096];
	int i, byte, ret = image_compose(image, gpa, page);
	bool all = true, there = !ret;
	struct libvmem_read read;

	REQUIRE(!whole || (there && !memcmp(whole, page, sizeof(page))));
	for (i = 0; i < 4096; i++) {
		byte = byte_at(data, gpa + i);
		REQUIRE(!there || image->kdump || page[i] == byte);
		all &= byte >= 0;
	}
	REQUIRE(all == (ret != -ENXIO));
	REQUIRE(there || !all || image->kdump);
	if (libvmem_read_phys(vm, gpa, copy, sizeof(copy), &read, &error)) {
		REQUIRE(error.code == LIBVMEM_NO_MEMORY && short_of_memory);
		return;
	}
	REQUIRE(read.len == (there ? sizeof(copy) : 0));
	REQUIRE(read.status == (there ? VMEM_MAPPED :
				all   ? VMEM_UNREADABLE :
					VMEM_UNBACKED));
	REQUIRE(!memcmp(copy, page, read.len));
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

/* A question is answered, or an image can be the cause that it is not. */
static void check_answer(int ret)
{
	REQUIRE(ret == 0 || ret == -LIBVMEM_BAD_MODE ||
		ret == -LIBVMEM_BAD_ARGUMENT || ret == -LIBVMEM_NO_ROOT ||
		ret == -LIBVMEM_NO_REGISTERS ||
		(ret == -LIBVMEM_NO_MEMORY && short_of_memory));
	REQUIRE(!ret || (error.code == -ret && error.message[0]));
}

static int count(const struct vmem_mapping *mapping, void *priv)
{
	u64 *next = priv;

	REQUIRE(mapping->va >= *next && mapping->last_va >= mapping->va);
	*next = mapping->last_va;
	return 0;
}

static int take_answer(__u64 va, const struct vmem_translation *answer,
		       void *priv)
{
	__u64 **vas = priv;

	REQUIRE(va == *(*vas)++);
	return 0;
}

static void ask_addresses(const struct vmem_regs *regs, struct input *in)
{
	struct libvmem_found found;
	struct libvmem_read read;
	u32 i, nr = 1 + choose(in, 12);
	__u64 vas[12], *next_va = vas;
	u64 va, next = 0;
	u8 bytes[5000];
	size_t len;
	int ret;

	for (i = 0; i < nr; i++)
		vas[i] = choose(in, 2) ? choose(in, 65536) * 64ULL :
					 choose_bits(in, 8);
	ret = libvmem_translate(vm, regs, vas, nr, take_answer, &next_va,
				&error);
	check_answer(ret);
	REQUIRE(ret || next_va == vas + nr);
	va = choose_bits(in, 8);
	len = 1 + choose(in, sizeof(bytes));
	ret = libvmem_read(vm, regs, va, bytes, len, &read, &error);
	check_answer(ret);
	REQUIRE(read.len <= len);
	ret = libvmem_ranges(vm, regs, choose(in, 2) << 20,
			     choose(in, 2) ? 1 << 30 : ~0ULL, count, &next,
			     &found, &error);
	check_answer(ret);
}

static int take_record(const struct vmem_record *record, void *priv)
{
	u32 *left = priv;

	return --*left == 0;
}

static void ask_spaces(const struct libvmem_source *source, struct input *in)
{
	static struct libvmem_roots roots;
	const struct vmem_span excluded = { .va = 1 << 20, .last_va = 1 << 21 };
	const struct libvmem_scope scope = {
		.last_va = ~0ULL,
		.excluded = &excluded,
		.nr_excluded = choose(in, 2),
	};
	struct vmem_spaces_stats stats;
	u32 i, left = 1 + choose(in, 100000);
	__u64 vas[4], *next_va = vas;
	int ret;

	ret = libvmem_find_roots(vm, source, true, &roots, &error);
	check_answer(ret);
	if (ret)
		return;
	REQUIRE(roots.nr && roots.nr <= VMEM_MAX_ROOTS);
	ret = libvmem_walk_spaces(vm, &roots, &scope, take_record, &left,
				  &stats, &error);
	REQUIRE(ret == (left ? 0 : 1) || ret < 0);
	if (ret < 0)
		check_answer(ret);
	for (i = 0; i < ARRAY_SIZE(vas); i++)
		vas[i] = choose(in, 65536) * 4096ULL;
	check_answer(libvmem_translate_shared(vm, &roots, choose(in, 4), vas,
					      ARRAY_SIZE(vas), take_answer,
					      &next_va, &error));
}

static int stop_if_large(__u64 done, __u64 todo, void *priv)
{
	return todo > 16 << 20;
}

/* Of an image that is all snapshot, the snapshot is one as well. */
static void ask_snapshot(const struct libvmem_source *source, struct input *in)
{
	static struct libvmem_roots roots;
	const struct libvmem_scope scope = {
		.va = choose(in, 2) << 21,
		.last_va = choose(in, 2) ? (1 << 30) - 1 : ~0ULL,
	};
	const struct libvmem_snapshot_args args = {
		.roots = &roots,
		.scope = &scope,
		.base = choose(in, 4) * 0x100000ULL,
		.flags = choose(in, 4),
		.progress = stop_if_large,
	};
	struct libvmem_snapshot made;
	int fd, ret;

	if (libvmem_find_roots(vm, source, true, &roots, &error))
		return;
	libvmem_drop_repeated_roots(&roots);
	fd = memfd_create("snapshot", 0);
	REQUIRE(fd >= 0);
	ret = libvmem_snapshot(vm, &args, fd, &made, &error);
	close(fd);
	if (ret > 0 || ret == -LIBVMEM_TOO_MUCH)
		return;
	/* Pages may have been left out. */
	if (ret == -LIBVMEM_UNREADABLE && image->kdump &&
	    args.flags & LIBVMEM_SNAPSHOT_STRICT)
		return;
	check_answer(ret);
	REQUIRE(ret || made.tables >= roots.nr);
	REQUIRE(ret || !made.unreadable || image->kdump);
}

static int take_slot(const struct vmem_memslot *slot, void *priv)
{
	size_t *nr = priv;

	REQUIRE(*nr < image->nr_segments);
	REQUIRE(slot->gpa == image->segments[*nr].gpa);
	REQUIRE(slot->len == image->segments[(*nr)++].len);
	return 0;
}

static void ask_all(struct input *in)
{
	struct libvmem_source source = {};
	struct vmem_info_args info;
	struct vmem_regs regs;
	size_t nr = 0;
	int ret;

	REQUIRE(!libvmem_info(vm, &info, &error));
	REQUIRE(info.out_nr_vcpus == image->nr_vcpus);
	REQUIRE(!libvmem_memslots(vm, take_slot, &nr, &error));
	REQUIRE(nr == image->nr_segments);

	source.vcpu = choose(in, 4);
	if (choose(in, 2) || (!image->nr_vcpus && !image->nr_spaces)) {
		source.given.regs.cr3 = choose(in, 16) * 4096ULL;
		source.given.have = LIBVMEM_CR3;
		source.arch =
			libvmem_arch_regs(choose(in, 2) ? "amd64" : "i686");
	}
	ret = libvmem_find_regs(vm, &source, &regs, &error);
	check_answer(ret);
	if (ret)
		return;
	ask_addresses(&regs, in);
	ask_spaces(&source, in);
	ask_snapshot(&source, in);
}

void fuzz_init(void)
{
}

/* Of the one file that there is */
static u32 choose_regions(struct input *in, struct libvmem_region *regions)
{
	u32 i, nr = choose(in, 4) ? 0 : 1 + choose(in, 3);

	for (i = 0; i < nr; i++)
		regions[i] = (struct libvmem_region){
			.gpa = choose(in, 4) ? choose(in, 256) * 4096ULL :
					       choose_bits(in, 8),
			.len = choose(in, 16) * 4096ULL,
			.offset = choose(in, 65536),
		};
	return nr;
}

void fuzz_one(const u8 *data, size_t size)
{
	/* The end of the file says as well what it is asked. */
	struct input in = { data, data, data + size };
	u32 fails = choose(&in, 3) ? 0 : 1 + choose(&in, 300);
	struct libvmem_region regions[3];
	u32 nr = choose_regions(&in, regions);
	int ret;

	file_set(data, size);
	fuzz_fail_alloc(fails);
	ret = libvmem_open_regions(&vm, "image", regions, nr, &error);
	if (ret) {
		REQUIRE(error.code == -ret && error.message[0] && !vm);
		REQUIRE(ret == -LIBVMEM_BAD_IMAGE ||
			(ret == -LIBVMEM_NO_MEMORY && fails));
	} else {
		image = vm->image;
		short_of_memory = fails;
		check_segments(size);
		check_pages(data, &in);
		ask_all(&in);
	}
	fuzz_fail_alloc(0);
	libvmem_close(vm);
	REQUIRE(!file_in_use());
}
