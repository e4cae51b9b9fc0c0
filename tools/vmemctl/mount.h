/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A mounted guest, as the files of `vmemctl mount' share it
 */
#ifndef MOUNT_H
#define MOUNT_H

#define FUSE_USE_VERSION 35

#include <fuse_lowlevel.h>
#include <pthread.h>

#include "vmemctl.h"

/* As much as the kernel asks for at once. */
#define MAX_READ 0x100000

/**
 * struct listing - the address spaces that there were
 * @nr: elements of @roots
 * @roots: their roots
 */
struct listing {
	size_t nr;
	__u64 roots[];
};

/* A reader that waits for a listing */
struct waiter;

/**
 * struct spaces - who looks for address spaces, and for whom
 * @vm: a handle for this alone
 * @source: where the registers come from
 * @lock: protects the members below
 * @wanted: there is a waiter
 * @waiters: who waits
 * @listing: what was found last, or NULL
 * @found: when that was
 */
struct spaces {
	struct libvmem *vm;
	const struct libvmem_source *source;
	pthread_mutex_t lock;
	pthread_cond_t wanted;
	struct waiter *waiters;
	struct listing *listing;
	time_t found;
};

/**
 * struct mount - a mounted guest
 * @core: it as an ELF core
 * @layout: that of @core
 * @regs: the registers that its spaces have in common; all 0 if they are not known
 * @source: where they come from
 * @spaces: who looks for spaces
 * @uid: whose the files are
 * @gid: likewise
 * @since: when it was mounted
 */
struct mount {
	struct libvmem_core *core;
	struct libvmem_core_layout layout;
	struct vmem_regs regs;
	struct libvmem_source source;
	struct spaces spaces;
	uid_t uid;
	gid_t gid;
	struct timespec since;
};

/* This thread's handle of the guest */
extern __thread struct libvmem *mount_vm;

/* Seconds since some time */
time_t mount_now(void);

/* The negative errno that a reader gets for a failure */
int mount_errno(const struct libvmem_error *error);

/* mount_files.c */

extern const struct fuse_lowlevel_ops mount_ops;

/* mount_maps.c: the text of `vmemctl maps', made as it is read */

struct maps;

struct maps *maps_open(const struct vmem_regs *regs);
void maps_close(struct maps *maps);

/* The next bytes, @size at most. Returns how many, 0 at the end, or a negative errno. */
ssize_t maps_read(struct maps *maps, fuse_req_t req, char *buf, size_t size);

/* mount_spaces.c */

/* Answers the request with a listing, sooner or later. */
void spaces_open(struct spaces *spaces, fuse_req_t req,
		 const struct fuse_file_info *fi);

/* The thread that looks for them. */
void *spaces_serve(void *spaces);

#endif
