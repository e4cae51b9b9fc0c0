// SPDX-License-Identifier: GPL-2.0-only
/*
 * Commands about one address space, or about guest-physical memory
 */
#include <linux/err.h>
#include <vmem/ioctl.h>

/* The spaces that the addresses are in, if they are not given by registers. */
static int translate_spaces(struct vmem_call *call,
			    const struct vmem_translate_args *args)
{
	struct vmem_spaces *spaces;

	if (!(args->flags & VMEM_TRANSLATE_SPACES))
		return 0;
	spaces = vmem_finished_spaces(call->session);
	if (IS_ERR(spaces))
		return PTR_ERR(spaces);
	call->answer.spaces = spaces;
	return 0;
}

int vmem_ioctl_translate(struct vmem_session *session, void *data)
{
	struct vmem_translate_args *args = data;
	struct vmem_call call;
	int ret = vmem_call_begin(&call, session);

	if (ret)
		return ret;
	ret = translate_spaces(&call, args);
	if (!ret)
		ret = vmem_answer_translate(&call.answer, args);
	atomic64_add(call.answer.walked.given, &session->translations);
	return vmem_call_end(&call, VMEM_TRANSLATE, ret);
}

int vmem_ioctl_map_range(struct vmem_session *session, void *data)
{
	struct vmem_call call;
	int ret = vmem_call_begin(&call, session);

	if (ret)
		return ret;
	ret = vmem_answer_map_range(&call.answer, data);
	return vmem_call_end(&call, VMEM_MAP_RANGE, ret);
}

int vmem_ioctl_read(struct vmem_session *session, void *data)
{
	struct vmem_call call;
	int ret = vmem_call_begin(&call, session);

	if (ret)
		return ret;
	ret = vmem_answer_read(&call.answer, data);
	atomic64_add(call.answer.walked.given, &session->bytes_read);
	return vmem_call_end(&call, VMEM_READ, ret);
}

int vmem_ioctl_read_phys(struct vmem_session *session, void *data)
{
	struct vmem_read_phys_args *args = data;
	struct vmem_call call;
	int ret = vmem_call_begin(&call, session);

	if (ret)
		return ret;
	ret = vmem_answer_read_phys(&call.answer, args);
	if (args->buf)
		atomic64_add(call.answer.walked.given, &session->bytes_read);
	return vmem_call_end(&call, VMEM_READ_PHYS, ret);
}
