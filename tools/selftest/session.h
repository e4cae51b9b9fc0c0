/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * session.h - a session of /dev/vmem, and its calls as functions
 *
 * Every function returns 0 or -errno, poisons what the kernel is to write
 * before it asks, and goes on until the whole of its question is answered.
 */
#ifndef VMEM_SELFTEST_SESSION_H
#define VMEM_SELFTEST_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <linux/vmem.h>

#define POISON 0xA5

/* Opens /dev/vmem. Gives up on the program where that fails. */
int session_open(void);

/* The same, but -errno where that fails. */
int session_try_open(void);

/* One ioctl: 0 or -errno. */
int session_call(int session, unsigned long cmd, void *args);

int session_info(int session, struct vmem_info_args *info);
int session_attach_kvm(int session, int vm_fd);
int session_attach_regions(int session, const struct vmem_region *regions,
			   __u32 nr);

/* The first leaves a vCPU that runs alone. */
int session_vcpu(int session, __u32 index, struct vmem_vcpu_args *vcpu);
int session_vcpu_within(int session, __u32 index, __u32 timeout_us,
			struct vmem_vcpu_args *vcpu);

/* Lists all slots, @per_call at a time; @room is what @slots has room for. */
int session_memslots(int session, struct vmem_memslot *slots, __u32 room,
		     __u32 per_call, __u32 *nr);

int session_translate(int session, const struct vmem_regs *regs,
		      const __u64 *vas, __u32 nr,
		      struct vmem_translation *results);

/* The same in the space with index @root of those that were set. */
int session_translate_in(int session, __u32 root, const __u64 *vas, __u32 nr,
			 struct vmem_translation *results);

/* session_translate() of one address. */
int session_translate_one(int session, const struct vmem_regs *regs, __u64 va,
			  struct vmem_translation *result);

/**
 * struct session_maps - the mappings of a range
 * @rows: where they go
 * @room: how many @rows has room for
 * @per_call: how many to ask for in one call
 * @flags: VMEM_MAP_*
 * @nr: how many there were, neighbours of different calls merged
 * @nr_calls: calls that it took
 * @anomalies: their sum over the calls
 * @torn: likewise, tables that were replaced meanwhile
 */
struct session_maps {
	struct vmem_mapping *rows;
	__u32 room;
	__u32 per_call;
	__u32 flags;
	__u32 nr;
	__u32 nr_calls;
	__u64 anomalies;
	__u64 torn;
};

int session_map_range(int session, const struct vmem_regs *regs, __u64 va,
		      __u64 last_va, struct session_maps *maps);

/* @end: the last call's args, but @end->out_len counts from @va. */
int session_read(int session, const struct vmem_regs *regs, __u64 va, void *buf,
		 __u64 len, struct vmem_read_args *end);

/* The same of guest-physical memory. @buf: NULL to find out how far it reads */
int session_read_phys(int session, __u64 gpa, void *buf, __u64 len,
		      struct vmem_read_phys_args *end);

/**
 * struct session_spaces - what VMEM_SET_SPACES is to be given
 * @regs: the registers; their CR3 is not looked at
 * @cr3: the roots
 * @nr_cr3: how many they are
 * @excluded: the excluded ranges
 * @nr_excluded: how many they are
 * @va: first address
 * @last_va: last address
 */
struct session_spaces {
	struct vmem_regs regs;
	const __u64 *cr3;
	__u32 nr_cr3;
	const struct vmem_span *excluded;
	__u32 nr_excluded;
	__u64 va;
	__u64 last_va;
};

int session_set_spaces(int session, const struct session_spaces *spaces);

/**
 * struct session_records - what a walk over spaces tells
 * @rows: the records, made to be as many as there are; for free()
 * @room: how many @rows has room for
 * @per_call: how many to ask for in one call
 * @nr: how many there were
 * @nr_calls: calls that it took
 * @stats: of the last call
 */
struct session_records {
	struct vmem_record *rows;
	__u32 room;
	__u32 per_call;
	__u32 nr;
	__u32 nr_calls;
	struct vmem_spaces_stats stats;
};

/*
 * One call: adds its records, and says in @more whether it was not the last.
 * -EPROTO if the kernel wrote where it was not to.
 */
int session_walk_once(int session, struct session_records *records, bool *more);

/* Walks to the end. On an error the records before it are in @records. */
int session_walk_spaces(int session, struct session_records *records);

/* A descriptor of another process, taken as a debugger takes it. */
int fd_of_process(pid_t pid, int fd);

/* Leaves root, and every capability with it. */
void become_nobody(void);

/*
 * Pages of anonymous memory that somebody has a reference on although nobody maps them
 * any more, and those that are pinned (FOLL_PIN), in the whole system: its other
 * programs are to be quiet.
 */
long long pages_lost(void);

/*
 * The same before a test begins: where there are some, it waits a moment, as a program
 * that has just exited gives its last ones back late.
 */
long long pages_lost_before(void);

/* The memory under a page fails. 0, or -1 and errno: this kernel cannot say so. */
int poison(void *page);

/* How often anybody has pinned a page (FOLL_PIN). */
long long pins_ever(void);

#endif /* VMEM_SELFTEST_SESSION_H */
