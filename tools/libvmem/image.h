/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Images: files that hold the memory of a guest
 *
 * An ELF core as QEMU's dump-guest-memory writes it, a snapshot of ours, which
 * is one with a note more, a kdump-compressed dump, LiME's ranges, or memory as it
 * is: from guest-physical address 0, or as regions say where it lies.
 */
#ifndef IMAGE_H
#define IMAGE_H

#include <linux/vmem.h>
#include <stdbool.h>
#include <stddef.h>

#include "core_file.h"
#include "error.h"
#include "note.h"

/**
 * struct image_segment - guest memory that is in one piece in the file
 * @gpa: its guest-physical address
 * @len: its size in bytes, not 0
 * @file_len: how much of that the file has; the rest is zeros
 * @offset: where in the file; 0 if pages are packed
 * @file: index of the file
 * @number: of its program header, for messages
 */
struct image_segment {
	__u64 gpa;
	__u64 len;
	__u64 file_len;
	__u64 offset;
	__u32 file;
	__u32 number;
};

/**
 * struct image_file - a file that is mapped
 * @path: of the file, a copy
 * @map: the file
 * @size: its size in bytes
 */
struct image_file {
	char *path;
	const unsigned char *map;
	size_t size;
};

/**
 * struct image - an image; does not change once it is open
 * @files: its files; the first one is the image's own
 * @nr_files: how many they are
 * @format: "raw", "elf32", "elf64", "lime" or "kdump"
 * @kdump: how packed pages are found, or NULL
 * @segments: the memory, by rising address, disjoint
 * @nr_segments: how many pieces it is in
 * @notes_size: bytes of notes that were read
 * @vcpus: registers of each vCPU, from QEMU's or VirtualBox's notes
 * @cpus: all that the same notes say of each
 * @nr_vcpus: how many they are
 * @has_paddr: a segment has a physical address that is not 0
 * @has_vaddr: likewise, a virtual one
 * @is_virtualbox: what has no bytes in the file is no memory
 * @regs: registers from a snapshot's note, with CR3 of the first space
 * @spaces: spaces from a snapshot's note
 * @nr_spaces: how many they are; 0 if the image is no snapshot
 */
struct image {
	struct image_file *files;
	unsigned int nr_files;
	const char *format;
	struct kdump *kdump;
	struct image_segment *segments;
	size_t nr_segments;
	size_t notes_size;
	struct vmem_regs *vcpus;
	struct core_cpu *cpus;
	unsigned int nr_vcpus;
	bool has_paddr;
	bool has_vaddr;
	bool is_virtualbox;
	struct vmem_regs regs;
	struct libvmem_space *spaces;
	unsigned int nr_spaces;
};

/* Of all notes. Far beyond those of 4096 vCPUs and spaces. */
#define MAX_NOTES_SIZE (64u << 20)

/* image.c */

/* The image cannot be used. @what: the rest of "the image PATH", and why. */
__printf(4, 5) int refuse(const struct image *image,
			  struct libvmem_error *error, const char *what,
			  const char *fmt, ...);

int refuse_notes(const struct image *image, struct libvmem_error *error);

/* After a failure as well, what was opened is to be closed. */
int image_open(struct image **image, const char *path,
	       const struct libvmem_region *regions, unsigned int nr_regions,
	       struct libvmem_error *error);
void image_close(struct image *image);

/* An array with room for one more element than it has; NULL: it is as it was. */
void *image_grow(void *array, size_t nr, size_t size,
		 struct libvmem_error *error);

/* The first segment that ends above @gpa, or the end of them. */
const struct image_segment *image_find(const struct image *image, __u64 gpa);

/*
 * The page at @gpa where it lies in the file as a whole, aligned so that its
 * entries can be loaded; NULL if it does not.
 */
const void *image_page(const struct image *image, __u64 gpa);

bool image_is_zero(const unsigned char *bytes, __u64 len);

/*
 * What is at @gpa, and zeros where that is not in the file, or no memory; false if not
 * all of it is memory. No page is packed.
 */
bool image_copy(const struct image *image, __u64 gpa, void *buf, __u64 len);

/*
 * Put the page at @gpa together. Return 0; -ENXIO if not all of it is memory; -EIO if it
 * was left out of the file, or is damaged; -ENOMEM.
 */
int image_compose(const struct image *image, __u64 gpa, unsigned char *page);

/* Check, sort and disjoin what was added. */
int image_check(struct image *image, struct libvmem_error *error);

/* Add memory, of which no more is checked before all is read. */
int image_add(struct image *image, const struct image_segment *segment,
	      struct libvmem_error *error);

/* Map one more file. Its index is image->nr_files before. */
int image_add_file(struct image *image, const char *path,
		   struct libvmem_error *error);

/* image_raw.c */

/* Memory that lies as regions say, LiME's, or all from 0 on. */
int image_read_raw(struct image *image, const struct libvmem_region *regions,
		   unsigned int nr, struct libvmem_error *error);

/* image_elf.c */

bool image_is_elf(const struct image *image);

/* Read segments, registers and spaces from an ELF core. */
int image_read_elf(struct image *image, int fd, struct libvmem_error *error);

/* Read registers and spaces from notes. @long_mode: the first vCPU is in it. */
int image_read_notes(struct image *image, const unsigned char *bytes,
		     size_t size, bool long_mode, struct libvmem_error *error);

/* Was the first vCPU in long mode, by the size of QEMU's note for debuggers? */
bool image_notes_long_mode(const unsigned char *bytes, size_t size);

/* image_kdump.c */

bool image_is_kdump(const struct image *image);

/* Read segments, registers and spaces from a kdump-compressed dump. */
int image_read_kdump(struct image *image, struct libvmem_error *error);

/* The page at @gpa, which is memory; as image_compose() */
int kdump_page(const struct kdump *kdump, __u64 gpa, unsigned char *page);

void kdump_close(struct kdump *kdump);

/* offline.c */

struct offline;

int offline_open(struct offline **offline, const struct image *image,
		 struct libvmem_error *error);
void offline_close(struct offline *offline);

/*
 * What a session of /dev/vmem that is attached to the guest would answer: 0, or
 * a negative errno with the meaning that it has there.
 */
int offline_ask(struct offline *offline, unsigned int cmd, void *args);

#endif
