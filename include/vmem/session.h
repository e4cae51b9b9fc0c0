/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Session: one open of the device: a guest's memory, and the address spaces
 * that are looked at together.
 */
#ifndef _VMEM_SESSION_H
#define _VMEM_SESSION_H

#include <linux/atomic.h>
#include <linux/kref.h>
#include <vmem/gmem.h>
#include <vmem/spaces.h>

struct dentry;

/* Entries that one call reads before it lets the caller come back for more. */
#define VMEM_MAX_ENTRIES BIT(20)

/**
 * struct vmem_space_set - the spaces of a session; immutable but for the walk
 * @roots: their roots
 * @nr_roots: how many they are
 * @scope: the part of each to look at; owns its @excluded
 * @walk: the walk that VMEM_WALK_SPACES goes on with. Belongs to whoever has
 *	set bit 0 of @busy, until @finished is set; does not change after that.
 * @busy: bit 0: a call is in @walk
 * @finished: @walk is done
 */
struct vmem_space_set {
	struct vmem_root *roots;
	u32 nr_roots;
	struct vmem_scope scope;
	struct vmem_spaces walk;
	unsigned long busy;
	bool finished;
};

/**
 * struct vmem_walked - what a call has done, for the trace; 0 is what it has not,
 *	or what is not counted
 * @roots: address spaces that it may look at
 * @space: the space that it began in: guest-physical address of its root table
 * @va: where it began; of VMEM_TRANSLATE, which has many, 0
 * @asked: addresses, bytes or records that it was asked for at most
 * @given: how many of them it gave
 * @tables: the guest's tables that it read
 * @entries: entries of tables that it read
 * @more: it is to be called again for the rest
 */
struct vmem_walked {
	u32 roots;
	u64 space;
	u64 va;
	u64 asked;
	u64 given;
	u64 tables;
	u64 entries;
	bool more;
};

/**
 * struct vmem_totals - counters of all sessions together
 * @open: files of the device that are open, attached or not
 * @attached: times that one was attached to a guest
 * @refused: times that this was answered with -EPERM
 */
struct vmem_totals {
	atomic64_t open;
	atomic64_t attached;
	atomic64_t refused;
};

extern struct vmem_totals vmem_totals;

/**
 * struct vmem_session - one open of the device
 * @id: its number, which no other has while the module is loaded
 * @ref: one for the open file, one for each open file of its debugfs folder
 * @gmem: the guest's memory; NULL until attached
 * @set: the spaces; NULL until set
 * @dir: the folder in debugfs
 * @calls: calls that walked
 * @killed: those of them that a signal ended
 * @torn: answers that were VMEM_TORN
 * @translations: addresses translated
 * @bytes_read: bytes read by virtual address
 *
 * @gmem and @set go once from NULL to what never changes, by cmpxchg_release()
 * and smp_load_acquire(). All goes with the last reference.
 */
struct vmem_session {
	u32 id;
	struct kref ref;
	struct vmem_gmem *gmem;
	struct vmem_space_set *set;
	struct dentry *dir;
	atomic64_t calls;
	atomic64_t killed;
	atomic64_t torn;
	atomic64_t translations;
	atomic64_t bytes_read;
};

/**
 * vmem_session_put - drop a reference on a session
 * @session: the session
 */
void vmem_session_put(struct vmem_session *session);

static inline struct vmem_gmem *
vmem_session_gmem(const struct vmem_session *session)
{
	/* Pairs with cmpxchg_release() in session_attach(). */
	return smp_load_acquire(&session->gmem);
}

static inline struct vmem_space_set *
vmem_session_set(const struct vmem_session *session)
{
	/* Pairs with cmpxchg_release() in handle_set_spaces(). */
	return smp_load_acquire(&session->set);
}

/**
 * vmem_spaces_of - a walk of its own over a session's spaces
 * @set: the spaces
 */
static inline struct vmem_spaces
vmem_spaces_of(const struct vmem_space_set *set)
{
	return (struct vmem_spaces){
		.roots = set->roots,
		.nr_roots = set->nr_roots,
		.scope = set->scope,
		.va = set->scope.va,
	};
}

#ifdef CONFIG_DEBUG_FS

/* The folder of all sessions; called when the module comes and goes. */
void vmem_debugfs_init(void);
void vmem_debugfs_exit(void);

/* The folder of one session, from its attachment to its file's release. */
void vmem_debugfs_add(struct vmem_session *session);
void vmem_debugfs_remove(struct vmem_session *session);

#else

static inline void vmem_debugfs_init(void)
{
}

static inline void vmem_debugfs_exit(void)
{
}

static inline void vmem_debugfs_add(struct vmem_session *session)
{
}

static inline void vmem_debugfs_remove(struct vmem_session *session)
{
}

#endif

#endif /* _VMEM_SESSION_H */
