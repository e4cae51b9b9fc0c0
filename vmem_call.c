// SPDX-License-Identifier: GPL-2.0-only
/*
 * Calls that read guest memory: what the device adds to an answer. It takes pages,
 * copies from and to user memory, counts and traces.
 */
#include <linux/err.h>
#include <linux/kernel.h>
#include <linux/minmax.h>
#include <linux/pagemap.h>
#include <linux/uaccess.h>
#include <trace/events/vmem.h>
#include <vmem/ioctl.h>
#include <vmem/walk.h>

/*
 * Arrays are copied word by word, with user memory open for all of their elements:
 * with copy_from_user() and copy_to_user(), which use string instructions, 4,096
 * addresses a call without paths take 2.7 times as long in the lab, of which
 * results are the most. Bytes, and argument structs, are left to these.
 */
static int user_get_words(u64 *dst, u64 from, u32 nr)
{
	const u64 __user *src = u64_to_user_ptr(from);
	u32 i;

	if (!user_read_access_begin(src, nr * sizeof(*src)))
		return -EFAULT;
	for (i = 0; i < nr; i++)
		unsafe_get_user(dst[i], &src[i], fault);
	user_read_access_end();
	return 0;

fault:
	user_read_access_end();
	return -EFAULT;
}

static int user_put(u64 dst, const void *src, size_t len)
{
	return copy_to_user(u64_to_user_ptr(dst), src, len) ? -EFAULT : 0;
}

static int copy_elements(void __user *dst, u32 room, const void *src, u32 size,
			 u32 nr)
{
	u32 i, known = min(room, size);

	if (!user_write_access_begin(dst, (size_t)nr * room))
		return -EFAULT;
	for (i = 0; i < nr; i++, dst += room, src += size)
		unsafe_copy_to_user(dst, src, known, fault);
	user_write_access_end();
	return 0;

fault:
	user_write_access_end();
	return -EFAULT;
}

/* Zero the tail of elements that are newer than this kernel. */
static int clear_tails(void __user *dst, u32 room, u32 size, u32 nr)
{
	for (; nr; nr--, dst += room)
		if (clear_user(dst + size, room - size))
			return -EFAULT;
	return 0;
}

static int user_put_elements(u64 to, u32 room, const void *src, u32 size,
			     u32 nr)
{
	void __user *dst = u64_to_user_ptr(to);
	int ret = copy_elements(dst, room, src, size, nr);

	return ret || room <= size ? ret : clear_tails(dst, room, size, nr);
}

const struct vmem_answer_ops vmem_user_ops = {
	.get_words = user_get_words,
	.put = user_put,
	.put_elements = user_put_elements,
};

/*
 * The same while guest memory is held. The caller's memory must not fault then: its
 * userfaultfd may never be served, and the VMM's memory would stay with it.
 */
static int held_get_words(u64 *dst, u64 from, u32 nr)
{
	int ret;

	pagefault_disable();
	ret = user_get_words(dst, from, nr);
	pagefault_enable();
	return ret ? -EAGAIN : 0;
}

static int held_put(u64 dst, const void *src, size_t len)
{
	int ret;

	pagefault_disable();
	ret = user_put(dst, src, len);
	pagefault_enable();
	return ret ? -EAGAIN : 0;
}

static int held_put_elements(u64 to, u32 room, const void *src, u32 size,
			     u32 nr)
{
	int ret;

	pagefault_disable();
	ret = user_put_elements(to, room, src, size, nr);
	pagefault_enable();
	return ret ? -EAGAIN : 0;
}

/* What cannot be there at all is found out here. */
static int held_wait(struct vmem_answer *answer, u64 at, size_t len, bool write)
{
	struct vmem_call *call = container_of(answer, struct vmem_call, answer);
	size_t left;
	int ret;

	vmem_pins_end(&call->pins);
	left = write ? fault_in_writeable(u64_to_user_ptr(at), len) :
		       fault_in_readable(u64_to_user_ptr(at), len);
	ret = vmem_breathe();
	if (!ret && left)
		ret = -EFAULT;
	return ret ?: vmem_pins_begin(&call->pins);
}

static const struct vmem_answer_ops held_ops = {
	.get_words = held_get_words,
	.put = held_put,
	.put_elements = held_put_elements,
	.wait = held_wait,
};

struct vmem_gmem *vmem_call_gmem(struct vmem_session *session)
{
	struct vmem_gmem *gmem = vmem_session_gmem(session);

	if (!gmem)
		return ERR_PTR(-ENOTCONN);
	if (!vmem_gmem_may_use(gmem))
		return ERR_PTR(-EPERM);
	return gmem;
}

int vmem_call_begin(struct vmem_call *call, struct vmem_session *session)
{
	struct vmem_gmem *gmem = vmem_call_gmem(session);
	int ret;

	if (IS_ERR(gmem))
		return PTR_ERR(gmem);
	vmem_pins_init(&call->pins, gmem);
	ret = vmem_pins_begin(&call->pins);
	if (ret)
		return ret;
	call->session = session;
	call->answer = (struct vmem_answer){
		.ops = &held_ops,
		.mem = &call->pins.mem,
	};
	return 0;
}

int vmem_call_end(struct vmem_call *call, u32 cmd, int ret)
{
	const struct vmem_walked *walked = &call->answer.walked;
	struct vmem_session *session = call->session;

	vmem_pins_end(&call->pins);
	/* A question that was refused has read nothing. */
	if (!walked->asked)
		return ret;
	atomic64_inc(&session->calls);
	if (walked->torn)
		atomic64_add(walked->torn, &session->torn);
	if (ret == -EINTR)
		atomic64_inc(&session->killed);
	trace_vmem_walk(session->id, cmd, walked, ret);
	return ret;
}
