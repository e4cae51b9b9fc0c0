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

static int refuse_file(const char *path, struct libvmem_error *error,
		       const char *what, const char *why)
{
	return error_set(error, LIBVMEM_BAD_IMAGE, STEP_IMAGE, 0, why,
			 "the image %s %s", path, what);
}

int refuse(const struct image *image, struct libvmem_error *error,
	   const char *what, const char *fmt, ...)
{
	char why[LIBVMEM_ADVICE_SIZE];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	return refuse_file(image->files[0].path, error, what, why);
}

int refuse_notes(const struct image *image, struct libvmem_error *error)
{
	return refuse(image, error, "is damaged",
		      "it has more than %u MiB of notes", MAX_NOTES_SIZE >> 20);
}

void *image_grow(void *array, size_t nr, size_t size,
		 struct libvmem_error *error)
{
	void *new = array;

	/* Room for twice as many, where their number is a power of two */
	if (!array || !(nr & (nr - 1)))
		new = reallocarray(array, 2 * nr + 1, size);
	if (!new)
		error_memory(error, "what the image says");
	return new;
}

static int check_file(const char *path, int fd, size_t *size,
		      struct libvmem_error *error)
{
	struct stat st;

	if (fstat(fd, &st))
		return error_of(error, STEP_IMAGE, errno, 0, NULL,
				"cannot open the image %s", path);
	if (S_ISDIR(st.st_mode))
		return refuse_file(path, error, "is a directory",
				   "give a file");
	if (!S_ISREG(st.st_mode))
		return refuse_file(path, error, "is not a regular file",
				   "copy it into one");
	if (!st.st_size)
		return refuse_file(path, error, "is empty",
				   "is it still being written?");
	*size = st.st_size;
	return 0;
}

static int map_file(struct image_file *file, int fd,
		    struct libvmem_error *error)
{
	int ret = check_file(file->path, fd, &file->size, error);
	void *map;

	if (ret)
		return ret;
	map = mmap(NULL, file->size, PROT_READ, MAP_PRIVATE | MAP_NORESERVE, fd,
		   0);
	if (map == MAP_FAILED)
		return error_of(error, STEP_IMAGE, errno, 0, NULL,
				"cannot map the image %s", file->path);
	file->map = map;
	return 0;
}

static int add_file(struct image *image, const char *path, int *fd,
		    struct libvmem_error *error)
{
	struct image_file *files, *file;

	files = image_grow(image->files, image->nr_files, sizeof(*files),
			   error);
	if (!files)
		return -LIBVMEM_NO_MEMORY;
	image->files = files;
	file = &files[image->nr_files++];
	*file = (struct image_file){ .path = strdup(path) };
	if (!file->path)
		return error_memory(error, NULL);
	/* Does not wait for the other end of what turns out to be a pipe. */
	*fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (*fd < 0)
		return error_of(error, STEP_IMAGE, errno, 0, NULL,
				"cannot open the image %s", path);
	return map_file(file, *fd, error);
}

int image_add_file(struct image *image, const char *path,
		   struct libvmem_error *error)
{
	int fd = -1;
	int ret = add_file(image, path, &fd, error);

	if (fd >= 0)
		close(fd);
	return ret;
}

int image_add(struct image *image, const struct image_segment *segment,
	      struct libvmem_error *error)
{
	struct image_segment *segments = image_grow(
		image->segments, image->nr_segments, sizeof(*segments), error);

	if (!segments)
		return -LIBVMEM_NO_MEMORY;
	image->segments = segments;
	segments[image->nr_segments++] = *segment;
	return 0;
}

static int check_segment(const struct image *image,
			 const struct image_segment *s,
			 struct libvmem_error *error)
{
	const struct image_file *file = &image->files[s->file];
	__u64 there;

	if (s->gpa > GPA_END || s->len > GPA_END - s->gpa)
		return refuse(
			image, error, "is damaged",
			"segment %u ends above the widest guest-physical address, at %#llx + %#llx",
			s->number, s->gpa, s->len);
	if (s->file_len > s->len)
		return refuse(
			image, error, "is damaged",
			"segment %u at %#llx has %#llx bytes in the file and %#llx in memory",
			s->number, s->gpa, s->file_len, s->len);
	there = s->offset < file->size ? file->size - s->offset : 0;
	if (s->file_len > there)
		return refuse(
			image, error, "is truncated",
			"segment %u at %#llx lacks %#llx of %#llx bytes: dump or copy it again",
			s->number, s->gpa, s->file_len - there, s->file_len);
	return 0;
}

static int compare_segments(const void *a, const void *b)
{
	const struct image_segment *x = a, *y = b;

	return (x->gpa > y->gpa) - (x->gpa < y->gpa);
}

static int refuse_overlap(const struct image *image,
			  const struct image_segment *a,
			  const struct image_segment *b,
			  struct libvmem_error *error)
{
	const bool is_raw = !strcmp(image->format, "raw");
	char what[128];

	snprintf(what, sizeof(what),
		 "has two %ss, %u and %u, with other memory at %#llx",
		 is_raw ? "region" : "segment", a->number, b->number,
		 a->gpa > b->gpa ? a->gpa : b->gpa);
	if (is_raw)
		return refuse(image, error, what, "give each address once");
	return refuse(
		image, error, what,
		image->nr_vcpus && !image->is_virtualbox ?
			"dump it without paging (-p), while the guest is stopped" :
			"dump it while the guest is stopped, or say with --region where memory is");
}

/* What the file has at an address of a segment */
static const unsigned char *bytes_at(const struct image *image,
				     const struct image_segment *s, __u64 gpa)
{
	return image->files[s->file].map + s->offset + (gpa - s->gpa);
}

/* How much the file has of [@gpa, @gpa + @len) of a segment */
static __u64 in_file(const struct image_segment *s, __u64 gpa, __u64 len)
{
	__u64 end = s->gpa + s->file_len;

	return end <= gpa ? 0 : end - gpa < len ? end - gpa : len;
}

bool image_is_zero(const unsigned char *bytes, __u64 len)
{
	return !len || (!bytes[0] && !memcmp(bytes, bytes + 1, len - 1));
}

/* Looking at one more piece is worth as much as comparing this many bytes. */
#define PIECE_COST 64

/*
 * Do both have the same in what they have in common? Zeros need not be in the file. 0 if
 * so; 1; or -1 if there is too much to compare: @left bytes.
 */
static int compare(const struct image *image, const struct image_segment *a,
		   const struct image_segment *b, __u64 *left)
{
	__u64 from = a->gpa > b->gpa ? a->gpa : b->gpa;
	__u64 a_end = a->gpa + a->len, b_end = b->gpa + b->len;
	__u64 len = (a_end < b_end ? a_end : b_end) - from;
	__u64 of_a = in_file(a, from, len), of_b = in_file(b, from, len);
	__u64 both = of_a < of_b ? of_a : of_b;
	const unsigned char *in_a = of_a ? bytes_at(image, a, from) : NULL;
	const unsigned char *in_b = of_b ? bytes_at(image, b, from) : NULL;
	__u64 cost = PIECE_COST + (of_a > of_b ? of_a : of_b);

	if (in_a == in_b && of_a == of_b)
		cost = PIECE_COST;
	if (cost > *left)
		return -1;
	*left -= cost;
	if (cost == PIECE_COST)
		return 0;
	return (both && memcmp(in_a, in_b, both)) ||
	       (of_a > both && !image_is_zero(in_a + both, of_a - both)) ||
	       (of_b > both && !image_is_zero(in_b + both, of_b - both));
}

/* All of @s that is in segments up to @last. */
static int check_overlap(const struct image *image,
			 const struct image_segment *last,
			 const struct image_segment *s, __u64 *left,
			 struct libvmem_error *error)
{
	const struct image_segment *p = image_find(image, s->gpa);
	int ret = 0;

	for (; p <= last && p->gpa < s->gpa + s->len && !ret; p++) {
		ret = compare(image, p, s, left);
		if (ret > 0)
			return refuse_overlap(image, p, s, error);
	}
	return !ret ? 0 :
		      refuse(image, error, "has too many segments that overlap",
			     "say with --region where in the file memory is");
}

/*
 * A kernel's own core has its text once by its own addresses and once more with the
 * rest of memory, and QEMU's has with paging on a segment for each mapping. What was said
 * before is left out of the later one.
 */
static int make_disjoint(struct image *image, struct libvmem_error *error)
{
	struct image_segment *last = image->segments;
	__u64 left = PIECE_COST * image->nr_segments;
	size_t nr = image->nr_segments;

	for (unsigned int i = 0; i < image->nr_files; i++)
		left += 4 * image->files[i].size;
	image->nr_segments = 1;
	for (size_t i = 1; i < nr; i++) {
		struct image_segment s = image->segments[i];
		__u64 end = last->gpa + last->len;
		__u64 over = s.gpa < end ? end - s.gpa : 0;
		int ret = over ? check_overlap(image, last, &s, &left, error) :
				 0;

		if (ret)
			return ret;
		if (over >= s.len)
			continue;
		s.gpa += over;
		s.len -= over;
		s.offset += over;
		s.file_len -= over < s.file_len ? over : s.file_len;
		*++last = s;
		image->nr_segments++;
	}
	return 0;
}

/* MMIO, of which VirtualBox tells where it is */
static void drop_empty_segments(struct image *image)
{
	size_t nr = 0;

	for (size_t i = 0; i < image->nr_segments; i++)
		if (image->segments[i].file_len)
			image->segments[nr++] = image->segments[i];
	image->nr_segments = nr;
}

int image_check(struct image *image, struct libvmem_error *error)
{
	int ret = 0;

	if (image->is_virtualbox)
		drop_empty_segments(image);
	if (!image->nr_segments)
		return refuse(
			image, error, "holds no memory",
			"no segment of it has bytes at a guest-physical address");
	for (size_t i = 0; i < image->nr_segments && !ret; i++)
		ret = check_segment(image, &image->segments[i], error);
	if (ret)
		return ret;
	qsort(image->segments, image->nr_segments, sizeof(*image->segments),
	      compare_segments);
	return make_disjoint(image, error);
}

static int read_file(struct image *image, const char *path,
		     const struct libvmem_region *regions, unsigned int nr,
		     struct libvmem_error *error)
{
	int fd = -1;
	int ret = add_file(image, path, &fd, error);

	if (!ret && !nr && image_is_elf(image))
		ret = image_read_elf(image, fd, error);
	else if (!ret && !nr && image_is_kdump(image))
		ret = image_read_kdump(image, error);
	else if (!ret)
		ret = image_read_raw(image, regions, nr, error);
	if (fd >= 0)
		close(fd);
	return ret || image->kdump ? ret : image_check(image, error);
}

int image_open(struct image **image, const char *path,
	       const struct libvmem_region *regions, unsigned int nr_regions,
	       struct libvmem_error *error)
{
	struct image *new = calloc(1, sizeof(*new));

	*image = new;
	if (!new)
		return error_memory(error, NULL);
	return read_file(new, path, regions, nr_regions, error);
}

static void close_file(struct image_file *file)
{
	if (file->map)
		munmap((void *)file->map, file->size);
	free(file->path);
}

void image_close(struct image *image)
{
	if (!image)
		return;
	for (unsigned int i = 0; i < image->nr_files; i++)
		close_file(&image->files[i]);
	kdump_close(image->kdump);
	free(image->files);
	free(image->segments);
	free(image->vcpus);
	free(image->cpus);
	free(image->spaces);
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

	if (s == end || s->gpa > gpa || image->kdump ||
	    gpa - s->gpa + PAGE_BYTES > s->file_len)
		return NULL;
	page = bytes_at(image, s, gpa);
	return (uintptr_t)page % sizeof(__u64) ? NULL : page;
}

bool image_copy(const struct image *image, __u64 gpa, void *buf, __u64 len)
{
	const struct image_segment *end = image->segments + image->nr_segments;
	const struct image_segment *s = image_find(image, gpa);
	__u64 done = 0;

	memset(buf, 0, len);
	for (; s < end && s->gpa < gpa + len; s++) {
		__u64 from = s->gpa > gpa ? s->gpa : gpa;
		__u64 left = gpa + len - from, of_s = s->gpa + s->len - from;
		__u64 in = in_file(s, from, left);

		if (in)
			memcpy((char *)buf + (from - gpa),
			       bytes_at(image, s, from), in);
		done += of_s < left ? of_s : left;
	}
	return done == len;
}

int image_compose(const struct image *image, __u64 gpa, unsigned char *page)
{
	const struct image_segment *end = image->segments + image->nr_segments;
	const struct image_segment *s;

	if (!image->kdump)
		return image_copy(image, gpa, page, PAGE_BYTES) ? 0 : -ENXIO;
	s = image_find(image, gpa);
	if (s == end || s->gpa > gpa)
		return -ENXIO;
	return kdump_page(image->kdump, gpa, page);
}
