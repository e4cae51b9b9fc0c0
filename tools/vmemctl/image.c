// SPDX-License-Identifier: GPL-2.0-only
/*
 * An image's file, and the guest's memory in it
 *
 * Nothing in the file is trusted. What it says of its memory is checked here
 * once, against its size; what is in the memory is the walk's to doubt.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image.h"
#include "vmemctl.h"

#define PAGE_BYTES 4096
#define GPA_END _BITULL(52)

void refuse(const struct image *image, const char *fmt, ...)
{
	char *why;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&why, fmt, ap) < 0)
		why = "cannot be read";
	va_end(ap);
	die("the image %s %s", image->path, why);
}

void *image_grow(void *array, size_t nr, size_t size)
{
	void *new = reallocarray(array, nr + 1, size);

	if (!new)
		die("out of memory for what the image says");
	return new;
}

/* Does not wait for the other end of what turns out to be a pipe. */
static int open_file(struct image *image)
{
	struct stat st;
	int fd = open(image->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 || fstat(fd, &st))
		fail(STEP_IMAGE, NULL, "cannot open the image %s", image->path);
	if (S_ISDIR(st.st_mode))
		refuse(image, "is a directory: give a file");
	if (!S_ISREG(st.st_mode))
		refuse(image, "is not a regular file: copy it into one");
	if (!st.st_size)
		refuse(image, "is empty: is it still being written?");
	image->size = st.st_size;
	return fd;
}

static void map_file(struct image *image, int fd)
{
	void *map = mmap(NULL, image->size, PROT_READ,
			 MAP_PRIVATE | MAP_NORESERVE, fd, 0);

	if (map == MAP_FAILED)
		fail(STEP_IMAGE, NULL, "cannot map the image %s", image->path);
	image->map = map;
}

/* As raw memory, what else QEMU and its kin write would make no sense. */
static void refuse_other_formats(const struct image *image)
{
	static const char *const signatures[] = { "KDUMP   ",	  "DISKDUMP",
						  "makedumpfile", "PAGEDU64",
						  "PAGEDUMP",	  "QEVM" };

	for (size_t i = 0; i < ARRAY_SIZE(signatures); i++) {
		size_t len = strlen(signatures[i]);

		if (image->size >= len &&
		    !memcmp(image->map, signatures[i], len))
			refuse(image,
			       "is in a format that is not supported: dump it as ELF, without -z, -l, -s, -w");
	}
}

static void read_raw(struct image *image)
{
	refuse_other_formats(image);
	image->format = "raw";
	image->segments = image_grow(NULL, 0, sizeof(*image->segments));
	image->segments[0] = (struct image_segment){
		.len = image->size,
		.file_len = image->size,
	};
	image->nr_segments = 1;
}

static void check_segment(const struct image *image,
			  const struct image_segment *s)
{
	__u64 there;

	if (s->gpa > GPA_END || s->len > GPA_END - s->gpa)
		refuse(image,
		       "is damaged: segment %zu ends above the widest guest-physical address, at %#llx + %#llx",
		       s->number, s->gpa, s->len);
	if (s->file_len > s->len)
		refuse(image,
		       "is damaged: segment %zu at %#llx has %#llx bytes in the file and %#llx in memory",
		       s->number, s->gpa, s->file_len, s->len);
	there = s->offset < image->size ? image->size - s->offset : 0;
	if (s->file_len > there)
		refuse(image,
		       "is truncated: segment %zu at %#llx lacks %#llx of %#llx bytes: dump or copy it again",
		       s->number, s->gpa, s->file_len - there, s->file_len);
}

static int compare_segments(const void *a, const void *b)
{
	const struct image_segment *x = a, *y = b;

	return (x->gpa > y->gpa) - (x->gpa < y->gpa);
}

static void check_segments(struct image *image)
{
	struct image_segment *s = image->segments;

	if (!image->nr_segments)
		refuse(image, "holds no memory: it has no PT_LOAD segment");
	for (size_t i = 0; i < image->nr_segments; i++)
		check_segment(image, &s[i]);
	qsort(s, image->nr_segments, sizeof(*s), compare_segments);
	for (size_t i = 1; i < image->nr_segments; i++) {
		if (s[i].gpa < s[i - 1].gpa + s[i - 1].len)
			refuse(image,
			       "has two segments, %zu and %zu, with memory at %#llx: dump it without paging (-p)",
			       s[i - 1].number, s[i].number, s[i].gpa);
	}
}

struct image *image_open(const char *path)
{
	struct image *image = calloc(1, sizeof(*image));
	int fd;

	if (!image)
		die("out of memory");
	image->path = path;
	fd = open_file(image);
	map_file(image, fd);
	if (image_is_elf(image))
		image_read_elf(image, fd);
	else
		read_raw(image);
	close(fd);
	check_segments(image);
	return image;
}

void image_close(struct image *image)
{
	if (!image)
		return;
	munmap((void *)image->map, image->size);
	free(image->segments);
	free(image->vcpus);
	free(image->spaces);
	free(image);
}

/* The first segment that ends above @gpa, or the end of them. */
static const struct image_segment *find_segment(const struct image *image,
						__u64 gpa)
{
	size_t low = 0, high = image->nr_segments;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct image_segment *s = &image->segments[middle];

		if (s->gpa + s->len <= gpa)
			low = middle + 1;
		else
			high = middle;
	}
	return &image->segments[low];
}

const void *image_page(const struct image *image, __u64 gpa)
{
	const struct image_segment *end = image->segments + image->nr_segments;
	const struct image_segment *s = find_segment(image, gpa);
	const unsigned char *page;

	if (s == end || s->gpa > gpa || gpa - s->gpa + PAGE_BYTES > s->file_len)
		return NULL;
	page = image->map + s->offset + (gpa - s->gpa);
	return (uintptr_t)page % sizeof(__u64) ? NULL : page;
}

bool image_compose(const struct image *image, __u64 gpa, unsigned char *page)
{
	const struct image_segment *end = image->segments + image->nr_segments;
	const struct image_segment *s = find_segment(image, gpa);
	bool found = false;

	memset(page, 0, PAGE_BYTES);
	for (; s < end && s->gpa < gpa + PAGE_BYTES; s++) {
		__u64 from = s->gpa > gpa ? s->gpa : gpa;
		__u64 to = s->gpa + s->file_len;

		if (to > gpa + PAGE_BYTES)
			to = gpa + PAGE_BYTES;
		if (from < to)
			memcpy(page + (from - gpa),
			       image->map + s->offset + (from - s->gpa),
			       to - from);
		found = true;
	}
	return found;
}
