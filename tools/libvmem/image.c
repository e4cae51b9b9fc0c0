// SPDX-License-Identifier: GPL-2.0-only
/*
 * An image's file, and the guest's memory in it
 *
 * Nothing in the file is trusted. What it says of its memory is checked here
 * once, against its size; what is in the memory is the walk's to doubt.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/const.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image.h"

#define PAGE_BYTES 4096
#define GPA_END _BITULL(52)

int refuse(const struct image *image, struct libvmem_error *error,
	   const char *what, const char *fmt, ...)
{
	char why[LIBVMEM_ADVICE_SIZE];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	return error_set(error, LIBVMEM_BAD_IMAGE, STEP_IMAGE, 0, why,
			 "the image %s %s", image->path, what);
}

void *image_grow(void *array, size_t nr, size_t size,
		 struct libvmem_error *error)
{
	void *new = reallocarray(array, nr + 1, size);

	if (!new)
		error_memory(error, "what the image says");
	return new;
}

static int check_file(struct image *image, int fd, struct libvmem_error *error)
{
	struct stat st;

	if (fstat(fd, &st))
		return error_of(error, STEP_IMAGE, errno, 0, NULL,
				"cannot open the image %s", image->path);
	if (S_ISDIR(st.st_mode))
		return refuse(image, error, "is a directory", "give a file");
	if (!S_ISREG(st.st_mode))
		return refuse(image, error, "is not a regular file",
			      "copy it into one");
	if (!st.st_size)
		return refuse(image, error, "is empty",
			      "is it still being written?");
	image->size = st.st_size;
	return 0;
}

static int map_file(struct image *image, int fd, struct libvmem_error *error)
{
	void *map = mmap(NULL, image->size, PROT_READ,
			 MAP_PRIVATE | MAP_NORESERVE, fd, 0);

	if (map == MAP_FAILED)
		return error_of(error, STEP_IMAGE, errno, 0, NULL,
				"cannot map the image %s", image->path);
	image->map = map;
	return 0;
}

/* As raw memory, what else QEMU and its kin write would make no sense. */
static bool is_other_format(const struct image *image)
{
	static const char signatures[][16] = { "KDUMP   ",     "DISKDUMP",
					       "makedumpfile", "PAGEDU64",
					       "PAGEDUMP",     "QEVM" };

	for (size_t i = 0; i < ARRAY_SIZE(signatures); i++) {
		size_t len = strlen(signatures[i]);

		if (image->size >= len &&
		    !memcmp(image->map, signatures[i], len))
			return true;
	}
	return false;
}

static int read_raw(struct image *image, struct libvmem_error *error)
{
	if (is_other_format(image))
		return refuse(image, error,
			      "is in a format that is not supported",
			      "dump it as ELF, without -z, -l, -s, -w");
	image->format = "raw";
	image->segments = image_grow(NULL, 0, sizeof(*image->segments), error);
	if (!image->segments)
		return -LIBVMEM_NO_MEMORY;
	image->segments[0] = (struct image_segment){
		.len = image->size,
		.file_len = image->size,
	};
	image->nr_segments = 1;
	return 0;
}

static int check_segment(const struct image *image,
			 const struct image_segment *s,
			 struct libvmem_error *error)
{
	__u64 there;

	if (s->gpa > GPA_END || s->len > GPA_END - s->gpa)
		return refuse(
			image, error, "is damaged",
			"segment %zu ends above the widest guest-physical address, at %#llx + %#llx",
			s->number, s->gpa, s->len);
	if (s->file_len > s->len)
		return refuse(
			image, error, "is damaged",
			"segment %zu at %#llx has %#llx bytes in the file and %#llx in memory",
			s->number, s->gpa, s->file_len, s->len);
	there = s->offset < image->size ? image->size - s->offset : 0;
	if (s->file_len > there)
		return refuse(
			image, error, "is truncated",
			"segment %zu at %#llx lacks %#llx of %#llx bytes: dump or copy it again",
			s->number, s->gpa, s->file_len - there, s->file_len);
	return 0;
}

static int compare_segments(const void *a, const void *b)
{
	const struct image_segment *x = a, *y = b;

	return (x->gpa > y->gpa) - (x->gpa < y->gpa);
}

static int refuse_overlap(const struct image *image,
			  const struct image_segment *s,
			  struct libvmem_error *error)
{
	char what[128];

	snprintf(what, sizeof(what),
		 "has two segments, %zu and %zu, with memory at %#llx",
		 s[-1].number, s->number, s->gpa);
	return refuse(image, error, what, "dump it without paging (-p)");
}

static int check_segments(struct image *image, struct libvmem_error *error)
{
	struct image_segment *s = image->segments;
	int ret = 0;

	if (!image->nr_segments)
		return refuse(image, error, "holds no memory",
			      "it has no PT_LOAD segment");
	for (size_t i = 0; i < image->nr_segments && !ret; i++)
		ret = check_segment(image, &s[i], error);
	if (ret)
		return ret;
	qsort(s, image->nr_segments, sizeof(*s), compare_segments);
	for (size_t i = 1; i < image->nr_segments; i++) {
		if (s[i].gpa < s[i - 1].gpa + s[i - 1].len)
			return refuse_overlap(image, &s[i], error);
	}
	return 0;
}

static int read_file(struct image *image, int fd, struct libvmem_error *error)
{
	int ret = check_file(image, fd, error);

	if (!ret)
		ret = map_file(image, fd, error);
	if (ret)
		return ret;
	if (image_is_elf(image))
		ret = image_read_elf(image, fd, error);
	else
		ret = read_raw(image, error);
	return ret ? ret : check_segments(image, error);
}

int image_open(struct image **image, const char *path,
	       struct libvmem_error *error)
{
	struct image *new = calloc(1, sizeof(*new));
	int fd, ret;

	*image = new;
	if (!new)
		return error_memory(error, NULL);
	new->path = strdup(path);
	if (!new->path)
		return error_memory(error, NULL);
	/* Does not wait for the other end of what turns out to be a pipe. */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return error_of(error, STEP_IMAGE, errno, 0, NULL,
				"cannot open the image %s", path);
	ret = read_file(new, fd, error);
	close(fd);
	return ret;
}

void image_close(struct image *image)
{
	if (!image)
		return;
	if (image->map)
		munmap((void *)image->map, image->size);
	free(image->segments);
	free(image->vcpus);
	free(image->cpus);
	free(image->spaces);
	free(image->path);
	free(image);
}

const struct image_segment *image_find(const struct image *image, __u64 gpa)
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
	const struct image_segment *s = image_find(image, gpa);
	const unsigned char *page;

	if (s == end || s->gpa > gpa || gpa - s->gpa + PAGE_BYTES > s->file_len)
		return NULL;
	page = image->map + s->offset + (gpa - s->gpa);
	return (uintptr_t)page % sizeof(__u64) ? NULL : page;
}

bool image_compose(const struct image *image, __u64 gpa, unsigned char *page)
{
	const struct image_segment *end = image->segments + image->nr_segments;
	const struct image_segment *s = image_find(image, gpa);
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
