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

/**
 * struct waiter - a request that a thread answers once it can
 * @next: the next one
 * @req: the request
 * @fi: its file
 * @size: bytes that it asks for
 */
struct waiter {
	struct waiter *next;
	fuse_req_t req;
	struct fuse_file_info fi;
	size_t size;
};

/**
 * struct waiters - the requests of one such thread
 * @lock: protects the members below
 * @wanted: there is one
 * @first: the first one
 */
struct waiters {
	pthread_mutex_t lock;
	pthread_cond_t wanted;
	struct waiter *first;
};

#define NO_WAITERS                                 \
	{                                          \
		.lock = PTHREAD_MUTEX_INITIALIZER, \
		.wanted = PTHREAD_COND_INITIALIZER \
	}

/**
 * struct spaces - who looks for address spaces
 * @vm: a handle for this alone
 * @source: where the registers come from
 * @waiters: who wants to know; their lock protects the members below
 * @listing: what was found last, or NULL
 * @found: when that was
 */
struct spaces {
	struct libvmem *vm;
	const struct libvmem_source *source;
	struct waiters waiters;
	struct listing *listing;
	time_t found;
};

/* A file of rows that is open */
struct maps;

/**
 * struct texts - who makes the text of such files
 * @vm: a handle for this alone
 * @waiters: who reads; their lock protects the members below
 * @busy: the file whose text is being made, or NULL
 * @closed: it was closed meanwhile
 */
struct texts {
	struct libvmem *vm;
	struct waiters waiters;
	struct maps *busy;
	bool closed;
};

/**
 * struct mount - a mounted guest
 * @core: it as an ELF core
 * @layout: that of @core
 * @regs: the registers that its spaces have in common; all 0 if they are not known
 * @source: where they come from
 * @spaces: who looks for spaces
 * @texts: who lists what they map
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
	struct texts texts;
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

struct maps *maps_open(const struct vmem_regs *regs);
void maps_close(struct texts *texts, struct maps *maps);

/* The thread that makes it, for the readers of all files. */
void *maps_serve(void *texts);

/* mount_spaces.c */

/* The thread that looks for spaces, for all who open the folder. */
void *spaces_serve(void *spaces);

/* mount_waiters.c */

/* Leaves the request to the thread, unless its reader is killed first. */
void waiters_add(struct waiters *waiters, fuse_req_t req,
		 const struct fuse_file_info *fi, size_t size);

/*
 * The one whose turn it is, which stays in the list as its last. Called with the lock,
 * which is dropped while there is none.
 */
struct waiter *waiters_next(struct waiters *waiters);

#endif
