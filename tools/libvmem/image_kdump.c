// SPDX-License-Identifier: GPL-2.0-only
/*
 * kdump-compressed dumps, as QEMU (virsh dump --format kdump-*) and makedumpfile write
 * them
 *
 * A header, notes with the vCPUs' registers, two bitmaps, which say of each page whether
 * it is memory and whether it is in the file, a descriptor of each page that is, and the
 * pages, each packed on its own. QEMU writes a dump in pieces, with the place of each
 * in front of it: flattened.
 *
 * A page is unpacked when it is asked for.
 */
#include <endian.h>
#include <errno.h>
#include <linux/const.h>
#include <stdlib.h>
#include <string.h>

#include "image.h"
#include "unpack.h"

#define BLOCK 4096ull
#define SIGNATURE "KDUMP   "
#define FLATTENED "makedumpfile\0\0\0"

/* 64 TiB, so that no sparse file takes for ever */
#define MAX_PAGES _BITULL(34)

/* Of memory: no guest is in near as many. */
#define MAX_PIECES 65536

/* Pages whose bits are looked at together */
#define CHUNK_BYTES 512ull
#define CHUNK_PAGES (8 * CHUNK_BYTES)

/* makedumpfile -d 1: no page was left out but those that are zeros. */
#define LEVEL_ZEROS 1

/* In the header: the file is not complete. */
#define INCOMPLETE 8

/* Pages that were unpacked last; a power of 2 */
#define NR_CACHED 1024

/**
 * struct layout - where numbers are in the headers of a machine of 64 bits, or of 32
 * @status: of the dump; behind it are, of 4 bytes each, the size of a block, the blocks of
 *	the second header, those of both bitmaps, and the bits in one
 * @level: what was left out
 * @is_split: there are more files
 * @notes: where the notes are
 * @notes_size: their size
 * @notes_size_len: bytes of that
 * @nr_pages: bits in a bitmap, if they may be more
 */
struct layout {
	__u32 status;
	__u32 level;
	__u32 is_split;
	__u32 notes;
	__u32 notes_size;
	__u32 notes_size_len;
	__u32 nr_pages;
};

/**
 * struct descriptor - where a page is, little endian
 * @offset: in the dump
 * @size: bytes there
 * @flags: how it is packed
 * @page_flags: the kernel's own
 */
struct descriptor {
	__u64 offset;
	__u32 size;
	__u32 flags;
	__u64 page_flags;
};

/**
 * struct cached_page - a page that was unpacked
 * @number: its number and 1, or 0 if there is none
 * @bytes: of the page
 */
struct cached_page {
	__u64 number;
	unsigned char bytes[BLOCK];
};

/**
 * struct kdump - how the pages of a dump are found
 * @pieces: the dump as a whole, of which the file has it in pieces; addresses are
 *	offsets in the dump
 * @size: bytes of the dump
 * @layout: of its headers
 * @is_memory: where the bitmap of the memory is
 * @is_there: where the bitmap of the pages in the file is
 * @nr_pages: bits in a bitmap
 * @descriptors: where those of pages are
 * @nr_there: how many pages are in the file
 * @before: for each chunk of pages, how many below it are in the file
 * @has_zeros: pages that were left out are zeros
 * @cache: NR_CACHED pages, by their number
 */
struct kdump {
	struct image pieces;
	__u64 size;
	const struct layout *layout;
	__u64 is_memory;
	__u64 is_there;
	__u64 nr_pages;
	__u64 descriptors;
	__u64 nr_there;
	__u64 *before;
	bool has_zeros;
	struct cached_page *cache;
};

/* ---- The dump as a whole ---- */

static bool begins_with(const struct image *image, const char *bytes,
			size_t len)
{
	return image->files->size >= len &&
	       !memcmp(image->files->map, bytes, len);
}

static bool is_flattened(const struct image *image)
{
	return begins_with(image, FLATTENED, sizeof(FLATTENED));
}

bool image_is_kdump(const struct image *image)
{
	return is_flattened(image) || begins_with(image, SIGNATURE, 8);
}

/* Parts that the writer skipped read as zeros. */
static bool read_dump(const struct kdump *kdump, __u64 at, void *buf, __u64 len)
{
	if (at > kdump->size || len > kdump->size - at)
		return false;
	image_copy(&kdump->pieces, at, buf, len);
	return true;
}

/* A number of the headers; 0 behind the end */
static __u64 number_at(const struct kdump *kdump, __u64 at, size_t size)
{
	__u64 number = 0;

	read_dump(kdump, at, &number, size);
	return le64toh(number);
}

static int refuse_end(const struct image *image, struct libvmem_error *error)
{
	return refuse(image, error, "is truncated",
		      "its end is missing: dump or copy it again");
}

/* The pieces have an end as well. */
static int add_pieces(struct image *image, struct image *pieces,
		      struct libvmem_error *error)
{
	const struct image_file *file = image->files;
	__u64 at = BLOCK, where[2];

	for (; at < file->size && file->size - at >= sizeof(where);) {
		struct image_segment s = { .number = pieces->nr_segments };
		int ret;

		memcpy(where, file->map + at, sizeof(where));
		s.gpa = be64toh(where[0]);
		s.len = be64toh(where[1]);
		s.file_len = s.len;
		s.offset = at + sizeof(where);
		if (s.gpa == ~0ull && s.len == ~0ull)
			return 0;
		if (!s.len || s.len > file->size - s.offset)
			return refuse_end(image, error);
		ret = image_add(pieces, &s, error);
		if (ret)
			return ret;
		at = s.offset + s.len;
	}
	return refuse_end(image, error);
}

static int put_together(struct image *image, struct kdump *kdump,
			struct libvmem_error *error)
{
	const struct image_segment all = {
		.len = image->files->size,
		.file_len = image->files->size,
	};
	struct image *pieces = &kdump->pieces;
	const struct image_segment *last;
	int ret;

	/* They do not change any more. */
	pieces->files = image->files;
	pieces->nr_files = image->nr_files;
	pieces->format = image->format;
	ret = is_flattened(image) ? add_pieces(image, pieces, error) :
				    image_add(pieces, &all, error);
	if (!ret)
		ret = image_check(pieces, error);
	if (ret)
		return ret;
	last = &pieces->segments[pieces->nr_segments - 1];
	kdump->size = last->gpa + last->len;
	return 0;
}

/* ---- Headers ---- */

/* In the first header, of any machine */
#define VERSION_AT 8
#define MACHINE_AT 272
#define MACHINE_SIZE 65

/* Of these versions on there are notes, and more than 2^32 pages. */
#define WITH_NOTES 4
#define WITH_MORE_PAGES 6

static const struct layout wide = {
	.status = 424,
	.level = BLOCK + 8,
	.is_split = BLOCK + 12,
	.notes = BLOCK + 48,
	.notes_size = BLOCK + 56,
	.notes_size_len = 8,
	.nr_pages = BLOCK + 96,
};

static const struct layout narrow = {
	.status = 412,
	.level = BLOCK + 4,
	.is_split = BLOCK + 8,
	.notes = BLOCK + 32,
	.notes_size = BLOCK + 40,
	.notes_size_len = 4,
	.nr_pages = BLOCK + 72,
};

static int check_machine(const struct image *image, struct kdump *kdump,
			 struct libvmem_error *error)
{
	char machine[MACHINE_SIZE + 1] = "";
	char signature[8] = "";

	read_dump(kdump, 0, signature, sizeof(signature));
	if (memcmp(signature, SIGNATURE, sizeof(signature)))
		return refuse(image, error,
			      "is a flattened dump of another format",
			      "rearrange it with makedumpfile -R");
	read_dump(kdump, MACHINE_AT, machine, MACHINE_SIZE);
	kdump->layout = strcmp(machine, "x86_64") ? &narrow : &wide;
	if (kdump->layout == &wide ||
	    (machine[0] == 'i' && !strcmp(machine + 2, "86")))
		return 0;
	return refuse(image, error, "is not of an x86 machine",
		      "give one of an amd64 or i686 guest");
}

static int check_header(const struct image *image, const struct kdump *kdump,
			struct libvmem_error *error)
{
	__u64 block_size = number_at(kdump, kdump->layout->status + 4, 4);

	if (block_size != BLOCK)
		return refuse(image, error, "is damaged",
			      "its pages have %llu byte%s, not %llu",
			      block_size, plural(block_size), BLOCK);
	if (number_at(kdump, kdump->layout->status, 4) & INCOMPLETE)
		return refuse(image, error, "is incomplete",
			      "there was no room for all of it: dump it again");
	if (number_at(kdump, kdump->layout->is_split, 4))
		return refuse(
			image, error, "is one part of several",
			"put them together with makedumpfile --reassemble");
	return 0;
}

/* Where all is, of which nothing ends behind the dump. */
static int find_parts(const struct image *image, struct kdump *kdump,
		      struct libvmem_error *error)
{
	const struct layout *layout = kdump->layout;
	__u64 headers = 1 + number_at(kdump, layout->status + 8, 4);
	__u64 bitmaps = number_at(kdump, layout->status + 12, 4) * BLOCK;
	__u64 pages = number_at(kdump, layout->status + 16, 4);

	if (number_at(kdump, VERSION_AT, 4) >= WITH_MORE_PAGES)
		pages = number_at(kdump, layout->nr_pages, 8);
	kdump->is_memory = headers * BLOCK;
	kdump->is_there = kdump->is_memory + bitmaps / 2;
	kdump->descriptors = kdump->is_memory + bitmaps;
	kdump->nr_pages = pages;
	kdump->has_zeros = number_at(kdump, layout->level, 4) == LEVEL_ZEROS;
	if (!pages || pages > MAX_PAGES || bitmaps / 2 * 8 < pages)
		return refuse(
			image, error, "is damaged",
			"it has bitmaps of %llu bytes for %llu pages, which are at most %llu",
			bitmaps, pages, MAX_PAGES);
	/* They are in the file as a whole. */
	if (kdump->descriptors > kdump->size || bitmaps > image->files->size)
		return refuse_end(image, error);
	return 0;
}

static int read_notes(struct image *image, const struct kdump *kdump,
		      struct libvmem_error *error)
{
	const struct layout *layout = kdump->layout;
	__u64 at = number_at(kdump, layout->notes, 8);
	__u64 size =
		number_at(kdump, layout->notes_size, layout->notes_size_len);
	unsigned char *notes;
	int ret;

	if (number_at(kdump, VERSION_AT, 4) < WITH_NOTES || !size)
		return 0;
	if (size > MAX_NOTES_SIZE)
		return refuse_notes(image, error);
	notes = calloc(1, size);
	if (!notes)
		return error_memory(error, NULL);
	ret = read_dump(kdump, at, notes, size) ?
		      image_read_notes(image, notes, size,
				       image_notes_long_mode(notes, size),
				       error) :
		      refuse_end(image, error);
	free(notes);
	return ret;
}

/* ---- Bitmaps ---- */

static bool is_set(const unsigned char *bits, unsigned int nr)
{
	return bits[nr / 8] & 1 << nr % 8;
}

/* How many of the first @nr bits are set? */
static unsigned int count_set(const unsigned char *bits, unsigned int nr)
{
	unsigned int set = 0;

	for (unsigned int i = 0; i < nr / 8; i++)
		set += __builtin_popcount(bits[i]);
	if (nr % 8)
		set += __builtin_popcount(bits[nr / 8] & ((1 << nr % 8) - 1));
	return set;
}

static int add_page(struct image *image, __u64 gpa, struct libvmem_error *error)
{
	const struct image_segment s = {
		.gpa = gpa,
		.len = BLOCK,
		.file_len = BLOCK,
		.number = image->nr_segments,
	};
	struct image_segment *last =
		image->nr_segments ? &image->segments[image->nr_segments - 1] :
				     NULL;

	if (last && last->gpa + last->len == gpa) {
		last->len += BLOCK;
		last->file_len += BLOCK;
		return 0;
	}
	if (image->nr_segments == MAX_PIECES)
		return refuse(image, error, "is damaged",
			      "its memory is in more than %u pieces",
			      MAX_PIECES);
	return image_add(image, &s, error);
}

/* Memory is what is said to be, and what is in the file. */
static int add_chunk(struct image *image, __u64 first, unsigned int nr,
		     const unsigned char *memory, const unsigned char *there,
		     struct libvmem_error *error)
{
	int ret = 0;

	for (unsigned int i = 0; i < nr && !ret; i++)
		if (is_set(memory, i) || is_set(there, i))
			ret = add_page(image, (first + i) * BLOCK, error);
	return ret;
}

static int read_bitmaps(struct image *image, struct kdump *kdump,
			struct libvmem_error *error)
{
	unsigned char memory[CHUNK_BYTES], there[CHUNK_BYTES];
	__u64 nr_chunks = (kdump->nr_pages + CHUNK_PAGES - 1) / CHUNK_PAGES;

	kdump->before = calloc(nr_chunks, sizeof(*kdump->before));
	if (!kdump->before)
		return error_memory(error, NULL);
	for (__u64 i = 0; i < nr_chunks; i++) {
		__u64 nr = kdump->nr_pages - i * CHUNK_PAGES;
		int ret;

		if (nr > CHUNK_PAGES)
			nr = CHUNK_PAGES;
		read_dump(kdump, kdump->is_memory + i * CHUNK_BYTES, memory,
			  (nr + 7) / 8);
		read_dump(kdump, kdump->is_there + i * CHUNK_BYTES, there,
			  (nr + 7) / 8);
		kdump->before[i] = kdump->nr_there;
		kdump->nr_there += count_set(there, nr);
		ret = add_chunk(image, i * CHUNK_PAGES, nr, memory, there,
				error);
		if (ret)
			return ret;
	}
	return image->nr_segments ? 0 :
				    refuse(image, error, "holds no memory",
					   "it has no page");
}

/* ---- Pages ---- */

static bool read_descriptor(const struct kdump *kdump, __u64 index,
			    struct descriptor *descriptor)
{
	if (!read_dump(kdump, kdump->descriptors + index * sizeof(*descriptor),
		       descriptor, sizeof(*descriptor)))
		return false;
	descriptor->offset = le64toh(descriptor->offset);
	descriptor->size = le32toh(descriptor->size);
	descriptor->flags = le32toh(descriptor->flags);
	return true;
}

/*
 * Pages are in order, but for those of zeros, which are one: the last one that is another
 * is where the dump ends.
 */
static int check_end(const struct image *image, const struct kdump *kdump,
		     struct libvmem_error *error)
{
	__u64 last = 0;

	for (__u64 i = kdump->nr_there; i--;) {
		struct descriptor page;

		if (!read_descriptor(kdump, i, &page) ||
		    page.offset > kdump->size ||
		    page.size > kdump->size - page.offset)
			return refuse_end(image, error);
		if (i + 1 == kdump->nr_there)
			last = page.offset;
		if (page.offset != last)
			break;
	}
	return 0;
}

static int unpack_page(const struct kdump *kdump, __u64 index,
		       unsigned char *page)
{
	unsigned char packed[BLOCK];
	struct descriptor d;

	if (!read_descriptor(kdump, index, &d) || d.size > sizeof(packed) ||
	    !read_dump(kdump, d.offset, packed, d.size))
		return -EIO;
	return unpack(d.flags, packed, d.size, page, BLOCK);
}

/* A page that is memory */
static int read_page(const struct kdump *kdump, __u64 nr, unsigned char *page)
{
	unsigned char there[CHUNK_BYTES];
	__u64 chunk = nr / CHUNK_PAGES;
	unsigned int bit = nr % CHUNK_PAGES;

	read_dump(kdump, kdump->is_there + chunk * CHUNK_BYTES, there,
		  bit / 8 + 1);
	if (is_set(there, bit))
		return unpack_page(kdump,
				   kdump->before[chunk] + count_set(there, bit),
				   page);
	memset(page, 0, BLOCK);
	return kdump->has_zeros ? 0 : -EIO;
}

int kdump_page(const struct kdump *kdump, __u64 gpa, unsigned char *page)
{
	__u64 nr = gpa / BLOCK;
	struct cached_page *cached = &kdump->cache[nr % NR_CACHED];
	int ret = 0;

	if (cached->number != nr + 1) {
		cached->number = 0;
		ret = read_page(kdump, nr, cached->bytes);
		if (!ret)
			cached->number = nr + 1;
	}
	if (!ret)
		memcpy(page, cached->bytes, BLOCK);
	return ret;
}

int image_read_kdump(struct image *image, struct libvmem_error *error)
{
	struct kdump *kdump = calloc(1, sizeof(*kdump));
	int ret;

	image->format = "kdump";
	image->kdump = kdump;
	if (!kdump)
		return error_memory(error, NULL);
	kdump->cache = calloc(NR_CACHED, sizeof(*kdump->cache));
	if (!kdump->cache)
		return error_memory(error, NULL);
	ret = put_together(image, kdump, error);
	if (!ret)
		ret = check_machine(image, kdump, error);
	if (!ret)
		ret = check_header(image, kdump, error);
	if (!ret)
		ret = find_parts(image, kdump, error);
	if (!ret)
		ret = read_notes(image, kdump, error);
	if (!ret)
		ret = read_bitmaps(image, kdump, error);
	return ret ? ret : check_end(image, kdump, error);
}

void kdump_close(struct kdump *kdump)
{
	if (!kdump)
		return;
	free(kdump->pieces.segments);
	free(kdump->before);
	free(kdump->cache);
	free(kdump);
}
