/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A guest as the library's files share it
 */
#ifndef LIBVMEM_VM_H
#define LIBVMEM_VM_H

#include <libvmem.h>

#include "error.h"

struct image;
struct offline;

/**
 * struct libvmem - a guest that can be asked
 * @dev: a session of /dev/vmem that is attached to it; -1 if it is an image
 * @pagemap: which of its pages its VMM has touched; -1 if that is not known
 * @image: the image; NULL if the guest runs
 * @offline: the answers for the image
 * @about: the image as the user sees it
 * @spaces_set: a walk over spaces has begun
 * @walked: it has ended: owners of tables are known
 */
struct libvmem {
	int dev;
	int pagemap;
	struct image *image;
	struct offline *offline;
	struct libvmem_image about;
	bool spaces_set;
	bool walked;
};

/*
 * ask - ioctl(2) on the device, or the same question about the image: 0, or a
 * negative errno. The only place that asks.
 */
int ask(struct libvmem *vm, unsigned int cmd, void *args);

/*
 * Room for what the module writes, for free(); or NULL. All of it is there at once: for
 * each page that is not, a walk would end and begin anew, and count more than there is.
 */
void *new_room(size_t len);

/*
 * As libvmem_ranges(), but ends with 1 when @budget calls of the module, which is counted
 * down, were not enough. A call tells of 1024 mappings or 2^20 entries at most.
 */
int ranges_within(struct libvmem *vm, const struct vmem_regs *regs, __u64 va,
		  __u64 last_va, __u64 *budget,
		  int (*row)(const struct vmem_mapping *mapping, void *priv),
		  void *priv, struct libvmem_found *found,
		  struct libvmem_error *error);

/* The number of vCPUs; of more than VMEM_MAX_ROOTS, the rest does not count. */
int nr_vcpus(struct libvmem *vm, unsigned int *nr, struct libvmem_error *error);

/* Are there as many spaces and excluded ranges as there can be, in order? */
int check_spaces(const struct libvmem_roots *roots,
		 const struct libvmem_scope *scope,
		 struct libvmem_error *error);

/* Index of the space that CR3 names, among the first @nr; or -1. */
int find_space(const struct libvmem_roots *roots, unsigned int nr, __u64 cr3);

#endif
