/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * stage.h - a VMM that things happen to while others ask about its guest
 *
 * For each kind of event the guest has one page table, in a piece of memory of
 * its own, that goes from state to state by it. What a table says in its n-th
 * state nothing else ever says, so an answer tells what state it is of, and is
 * right if the table was in that state at some time during the call.
 */
#ifndef VMEM_SELFTEST_STAGE_H
#define VMEM_SELFTEST_STAGE_H

#include <limits.h>

#include "ktap.h"
#include "world.h"

/**
 * enum event - what happens to the memory that a table is in
 * @BALLOON: anonymous memory is given back (MADV_DONTNEED) and written anew
 * @HUGE_BALLOON: the same of a transparent huge page
 * @HOLE: a hole is punched into a memfd
 * @HUGE_HOLE: the same of a page of hugetlbfs
 * @TRUNCATE: a memfd is truncated and grows again
 * @REMOVE_SLOT: the memory slot is removed, and added with other memory
 * @MOVE_SLOT: the memory slot is moved away and back
 * @MREMAP: the memory is mapped elsewhere, and other memory in its place
 * @FORK_EXIT: a child is made, the table is written to, the child exits
 * @FORK_EXEC: the child executes something else
 */
enum event {
	BALLOON,
	HUGE_BALLOON,
	HOLE,
	HUGE_HOLE,
	TRUNCATE,
	REMOVE_SLOT,
	MOVE_SLOT,
	MREMAP,
	FORK_EXIT,
	FORK_EXEC,
	NR_EVENTS,
};

extern const char *const event_names[NR_EVENTS];

/* Where a table is, and where the one that moves is meanwhile. */
#define PIECE_GPA(event) (GB(4) + MB(4) * (event))
#define AWAY_GPA GB(8)

/* What goes by it: an address, and the table itself as data. */
#define PIECE_VA(event) (GB(1) + MB(2) * (event))
#define DATA_VA(event) (PIECE_VA(event) + PAGE)
#define AWAY_VA (GB(1) + NR_EVENTS * MB(2))

/* Where the address leads to in the table's n-th state. */
#define TARGET(event, n) (GB(16) * (1 + (event)) + PAGE * (n))

/* What never changes: in both spaces, and in the second alone. */
#define FIXED_VA MB(2)
#define FIXED_GPA GB(10)
#define SECOND_VA GB(3)

/*
 * A space of its own that has 512 tables, all of them the same one: a walk over
 * it takes some time.
 */
#define WIDE_PAGES (512 * 512)
#define WIDE_TARGET(i) (GB(12) + (i) % 512 * 2 * PAGE)

/* A table that the VMM never provides. */
#define LATE_VA GB(2)
#define LATE_GPA GB(9)

#define NR_STATUS 9
#define NR_ERRNO 134

/**
 * struct stage - what the VMM, those who ask, and the test all see
 * @w: the VM. Its memory is the VMM's.
 * @regs: the registers of its first space
 * @second: those of its second one, which shares the tables of the first
 * @wide: those of the one that is wide
 * @regions: the guest's memory as a region table of the VMM
 * @nr_regions: how many they are
 * @pid: the VMM
 * @has: kinds that there is a table for
 * @late: there is a table that never comes, and that is what is asked for
 * @uffd: what asks the VMM for it
 * @pin_file: a file of the test's that the VMM maps for as long as it has memory
 * @seed: of all that is random
 * @begun: the state that each table goes to
 * @done: the state that it is in, or was in
 * @happened: how often each kind of event has
 * @per_batch: how often each kind is to happen in a batch; INT_MAX is for ever
 * @batches: how many batches are to be done
 * @batches_done: how many are
 * @nr_ready: who is there
 * @go: all begin
 * @pause: who asks is to close its session and wait
 * @nr_paused: how many do
 * @stop: all are to end
 * @dying: the VMM's memory may be gone
 * @nr_waiting: how often the VMM was asked for the table that never comes
 * @nr_back: how many got an answer without it
 * @answers: how often each status was the answer
 * @errors: how often each errno was
 * @wrong: how many answers were wrong
 */
struct stage {
	struct world w;
	struct vmem_regs regs;
	struct vmem_regs second;
	struct vmem_regs wide;
	struct vmem_region regions[NR_EVENTS + 1];
	__u32 nr_regions;
	pid_t pid;
	bool has[NR_EVENTS];
	bool late;
	int uffd;
	int pin_file;
	__u64 seed;
	int begun[NR_EVENTS];
	int done[NR_EVENTS];
	int happened[NR_EVENTS];
	int per_batch;
	int batches;
	int batches_done;
	int nr_ready;
	int go;
	int pause;
	int nr_paused;
	int stop;
	int dying;
	int nr_waiting;
	int nr_back;
	int answers[NR_STATUS];
	int errors[NR_ERRNO];
	int wrong;
};

static inline int load(const int *value)
{
	return __atomic_load_n(value, __ATOMIC_SEQ_CST);
}

static inline void store(int *value, int n)
{
	__atomic_store_n(value, n, __ATOMIC_SEQ_CST);
}

static inline void add(int *value, int n)
{
	__atomic_add_fetch(value, n, __ATOMIC_SEQ_CST);
}

/* Says what is wrong, the first few times. A macro, as ktap_fail() is. */
#define stage_wrong(s, ...)                                                \
	do {                                                               \
		if (__atomic_fetch_add(&(s)->wrong, 1, __ATOMIC_SEQ_CST) < \
		    5) {                                                   \
			printf("# wrong: " __VA_ARGS__);                   \
			printf("\n");                                      \
		}                                                          \
	} while (0)

/* The nice value of who is not to wait for those who ask all the time. */
#define FIRST (-15)

/* Waits a little, or not at all. */
void random_pause(__u64 *random);

typedef void *(*thread_fn)(void *arg);

/*
 * A process: calls each function in a thread of its own until all return. It
 * exits on SIGUSR1 and executes something else on SIGUSR2, whatever the threads
 * do. Does not return.
 */
void be_process(const thread_fn *fns, int nr, void *arg);

/*
 * The VMM: makes the VM, sends the VM's descriptor over @socket, and lets things
 * happen. Does not return.
 */
void be_vmm(struct stage *s, int socket);

#endif /* VMEM_SELFTEST_STAGE_H */
