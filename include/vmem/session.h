/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Session: one open of the device: a guest's memory, and the address spaces
 * that are looked at together.
 */
#ifndef _VMEM_SESSION_H
#define _VMEM_SESSION_H

#include <linux/atomic.h>
#include <linux/kref.h>
#include <vmem/answer.h>
#include <vmem/gmem.h>

struct dentry;

/**
 * struct vmem_space_set - the spaces of a session
 * @walk: the walk that VMEM_WALK_SPACES goes on with; its roots and its scope
 *	never change. The rest belongs to the call that has set bit 0 of @busy,
 *	until @finished is set, and does not change after that.
 * @busy: bit 0: a call is in @walk
 * @finished: @walk is done
 */
struct vmem_space_set {
	struct vmem_spaces walk;
	unsigned long busy;
	bool finished;
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
 * @bytes_read: bytes read, by virtual or by guest-physical address
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
	/* Pairs with cmpxchg_release() in vmem_ioctl_set_spaces(). */
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
		.roots = set->walk.roots,
		.nr_roots = set->walk.nr_roots,
		.scope = set->walk.scope,
		.va = set->walk.scope.va,
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
