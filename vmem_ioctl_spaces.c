// SPDX-License-Identifier: GPL-2.0-only
/*
 * Commands about many spaces: a session's spaces are set once, and walked by one
 * call at a time. A call that finds another one in the walk gets -EBUSY, so
 * nobody waits while that one faults.
 */
#include <linux/bitops.h>
#include <linux/err.h>
#include <linux/slab.h>
#include <vmem/ioctl.h>

/* Bits of struct vmem_space_set's @busy. */
#define BUSY_WALK 0

void vmem_space_set_free(struct vmem_space_set *set)
{
	if (!set)
		return;
	vmem_answer_free_spaces(&set->walk);
	kfree(set);
}

int vmem_ioctl_set_spaces(struct vmem_session *session, void *data)
{
	struct vmem_gmem *gmem = vmem_call_gmem(session);
	struct vmem_space_set *set;
	int ret;

	if (IS_ERR(gmem))
		return PTR_ERR(gmem);
	set = kzalloc(sizeof(*set), VMEM_GFP);
	if (!set)
		return -ENOMEM;
	ret = vmem_answer_set_spaces(&vmem_user_ops, data, &set->walk);
	if (ret) {
		kfree(set);
		return ret;
	}
	if (!cmpxchg_release(&session->set, NULL, set))
		return 0;
	vmem_space_set_free(set);
	return -EISCONN;
}

struct vmem_spaces *vmem_finished_spaces(struct vmem_session *session)
{
	struct vmem_space_set *set = vmem_session_set(session);

	if (!set)
		return ERR_PTR(-ENODATA);
	/* Pairs with smp_store_release() in walk_alone(). */
	if (!smp_load_acquire(&set->finished))
		return ERR_PTR(-EBUSY);
	return &set->walk;
}

static int walk_alone(struct vmem_call *call,
		      struct vmem_walk_spaces_args *args)
{
	struct vmem_space_set *set = vmem_session_set(call->session);
	int ret;

	if (!set)
		return -ENODATA;
	if (test_and_set_bit_lock(BUSY_WALK, &set->busy))
		return -EBUSY;
	call->answer.spaces = &set->walk;
	ret = vmem_answer_walk_spaces(&call->answer, args);
	if (set->walk.done) {
		/* Pairs with smp_load_acquire() in vmem_finished_spaces(). */
		smp_store_release(&set->finished, true);
	}
	clear_bit_unlock(BUSY_WALK, &set->busy);
	return ret;
}

int vmem_ioctl_walk_spaces(struct vmem_session *session, void *data)
{
	struct vmem_call call;
	int ret = vmem_call_begin(&call, session);

	if (ret)
		return ret;
	ret = walk_alone(&call, data);
	return vmem_call_end(&call, VMEM_WALK_SPACES, ret);
}
