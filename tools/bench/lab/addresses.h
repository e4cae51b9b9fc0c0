/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * addresses.h - mapped addresses of a guest to ask about, and vmem asked
 *
 * Every side of a comparison is asked about the same addresses, in the same
 * order, and must give the same answers before it is timed.
 */
#ifndef VMEM_BENCH_ADDRESSES_H
#define VMEM_BENCH_ADDRESSES_H

#include <stddef.h>
#include <linux/vmem.h>

#define NR_ADDRESSES 4096

/* What a translation without its path and its owner is. */
#define SHORT_RESULT offsetof(struct vmem_translation, out_trace)

/**
 * struct addresses - a space, addresses of it, and where they are
 * @session: a session that is attached to the guest
 * @regs: the space
 * @vas: the addresses
 * @gpas: where VMEM_MAP_RANGE says that they are
 * @nr_user: how many pages there were to choose from in the user's half
 * @nr_kernel: and in the kernel's
 * @batch: addresses for one VMEM_TRANSLATE
 * @result_size: size of what is asked for of each address
 * @results: room for a batch
 */
struct addresses {
	int session;
	struct vmem_regs regs;
	__u64 vas[NR_ADDRESSES];
	__u64 gpas[NR_ADDRESSES];
	__u32 nr_user;
	__u32 nr_kernel;
	__u32 batch;
	__u32 result_size;
	__u8 results[NR_ADDRESSES * sizeof(struct vmem_translation)];
};

/* A session that is attached to the VM. */
int addresses_session(int vm_fd);

/*
 * Chooses the addresses: each is in the user's or in the kernel's half, as a
 * coin falls, and at a random place of a random page of it, 4 KiB or large, that
 * is mapped; a page that is mapped several times counts once. The same @seed
 * gives the same addresses of the same guest.
 */
void addresses_choose(struct addresses *a, int session,
		      const struct vmem_regs *regs, __u64 seed);

/* Notes what was chosen from. */
void addresses_note(const struct addresses *a, const char *id);

/* Ends the program unless vmem, asked as @a says, gives the known answers. */
void addresses_check(struct addresses *a);

/* Ends the program unless @gpa is where address @i is. */
void addresses_check_one(const struct addresses *a, const char *who, int i,
			 __u64 gpa);

/*
 * Has vmem translate them all, @passes times, as @a says: nanoseconds for each.
 * 0 if the module does not know the size of result.
 */
double vmem_translate_all(struct addresses *a, int passes);

#endif /* VMEM_BENCH_ADDRESSES_H */
