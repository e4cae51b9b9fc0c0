/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * world.h - a VM whose memory holds many address spaces that share tables
 *
 * No vCPU runs. What a walk over the spaces tells is checked by the rules that
 * hold for every one, and by what VMEM_MAP_RANGE says of each space alone.
 */
#ifndef VMEM_SELFTEST_WORLD_H
#define VMEM_SELFTEST_WORLD_H

#include "session.h"
#include "tables.h"

#define WORLD_GPA MB(1)
#define WORLD_MAX 4096

/**
 * struct world - a VM and its spaces
 * @kvm_fd: /dev/kvm
 * @vm_fd: the VM
 * @ram: memory slot 0
 * @cr3: the roots, in order of primacy
 * @nr: how many they are
 * @spaces: what VMEM_SET_SPACES is given
 * @restless: its tables are written to meanwhile. A call that goes on in the
 *	middle of a region may find that it is a shared table's by now: then a
 *	reference begins below the record before it.
 */
struct world {
	int kvm_fd;
	int vm_fd;
	struct guest_ram ram;
	__u64 cr3[WORLD_MAX];
	__u32 nr;
	struct session_spaces spaces;
	bool restless;
};

/* Its spaces are looked at from 0 to the last address of all. */
void world_init(struct world *w, __u64 ram_len);
void world_free(struct world *w);

/* Adds @len bytes from @hva as memory slot @id. */
void world_add_slot(struct world *w, __u32 id, __u64 gpa, void *hva, __u64 len);

/* A new space, which is the last in order. */
struct tables world_add_amd64(struct world *w);
struct tables world_add_i686(struct world *w);
struct tables world_add(struct world *w, const struct tables_format *format);

/* Adds a root at a table that is there already. */
void world_add_root(struct world *w, const struct tables *t);

/* The table of @level that is on the path of @va. */
__u64 world_table(const struct tables *t, __u64 va, int level);

/* Has @va of @to go by the table of @level that is on the path of @from_va. */
void world_share(struct tables *to, __u64 va, const struct tables *from,
		 __u64 from_va, int level, __u64 flags);

/* Maps @nr pages from @va, no two of them contiguous in guest memory. */
void world_scatter(struct tables *t, __u64 va, __u64 nr);

/* A session with the spaces set. */
int world_open(const struct world *w);

/* Walks on a session of its own, checks the records, closes. */
void world_walk(const struct world *w, struct session_records *records);

/* Checks that the records keep the rules that hold for every walk. */
void check_records(const struct world *w, const struct session_records *rec);

/* Checks that @rec, followed, is what VMEM_MAP_RANGE says of each root. */
void check_expansion(const struct world *w, const struct session_records *rec);

/* The records are these; what failed is printed. */
void check_same_records(const char *what, const struct session_records *got,
			const struct vmem_record *want, __u32 nr);

void print_record(const struct vmem_record *record);

/* What the clock says that is never set. */
double seconds(void);

/* How often, or with what seed: what the environment says, or else this. */
__u64 number_of(const char *variable, __u64 otherwise);

/* Has the kernel give back the slabs that it keeps at hand; KASAN does as well. */
void shrink_slabs(void);

/* A page of a device's memory, which is mapped and cannot be taken. */
void *device_page(void);

/* How many huge pages the machine is to have, if it can. */
void set_huge_pages(const char *nr);

/* kB of slab and vmalloc, which is what a session's memory is taken from. */
long kernel_memory(void);

/*
 * Runs @fn, which calls for ever, in children that are killed in the middle of
 * @what. They are to be gone soon, and to leave no pin.
 */
void kill_callers(const char *what, void (*fn)(void *w), struct world *w);

#endif /* VMEM_SELFTEST_WORLD_H */
