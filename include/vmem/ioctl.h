/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Ioctl: the commands of the device, by what they ask, and what they share.
 */
#ifndef _VMEM_IOCTL_H
#define _VMEM_IOCTL_H

#include <linux/types.h>
#include <vmem/answer.h>
#include <vmem/session.h>

/*
 * The handlers. Each gets a kernel copy of its argument struct, whose size and
 * flags are checked, and returns 0 or an errno that uapi/linux/vmem.h lists. The
 * copy is written back if it returns 0.
 */

/* vmem_ioctl_guest.c */
int vmem_ioctl_info(struct vmem_session *session, void *data);
int vmem_ioctl_attach_kvm(struct vmem_session *session, void *data);
int vmem_ioctl_attach_regions(struct vmem_session *session, void *data);
int vmem_ioctl_memslots(struct vmem_session *session, void *data);
int vmem_ioctl_vcpu(struct vmem_session *session, void *data);

/* vmem_ioctl_space.c */
int vmem_ioctl_space_init(void);
void vmem_ioctl_space_exit(void);
int vmem_ioctl_translate(struct vmem_session *session, void *data);
int vmem_ioctl_map_range(struct vmem_session *session, void *data);
int vmem_ioctl_read(struct vmem_session *session, void *data);
int vmem_ioctl_read_phys(struct vmem_session *session, void *data);

/* vmem_ioctl_spaces.c */
int vmem_ioctl_set_spaces(struct vmem_session *session, void *data);
int vmem_ioctl_walk_spaces(struct vmem_session *session, void *data);

/**
 * vmem_finished_spaces - the spaces of a session, walked to the end
 * @session: the session
 *
 * Return: the spaces with their owners; ERR_PTR(-ENODATA) before they are set;
 * ERR_PTR(-EBUSY) before the walk is done.
 */
struct vmem_spaces *vmem_finished_spaces(struct vmem_session *session);

/**
 * vmem_space_set_free - free the spaces of a session
 * @set: the spaces, or NULL
 */
void vmem_space_set_free(struct vmem_space_set *set);

/* vmem_call.c */

/* The calling process's memory. It may fault: no guest memory is held meanwhile. */
extern const struct vmem_answer_ops vmem_user_ops;

/**
 * vmem_call_gmem - the guest memory that a caller may ask about
 * @session: the session
 *
 * Return: the memory; ERR_PTR(-ENOTCONN) if the session is not attached;
 * ERR_PTR(-EPERM) if its memory is not for the calling process.
 */
struct vmem_gmem *vmem_call_gmem(struct vmem_session *session);

/**
 * struct vmem_call - a call that reads guest memory
 * @session: the session
 * @pins: the pages that the call uses
 * @answer: the question
 */
struct vmem_call {
	struct vmem_session *session;
	struct vmem_pins pins;
	struct vmem_answer answer;
};

/**
 * vmem_call_begin - begin to read guest memory
 * @call: the call
 * @session: the session
 *
 * Return: 0, for vmem_call_end(); an errno of vmem_call_gmem() or
 * vmem_pins_begin().
 */
int vmem_call_begin(struct vmem_call *call, struct vmem_session *session);

/**
 * vmem_call_end - let the guest memory go, count and trace the call
 * @call: the call
 * @cmd: the command
 * @ret: its result
 *
 * Return: @ret.
 */
int vmem_call_end(struct vmem_call *call, u32 cmd, int ret);

#endif /* _VMEM_IOCTL_H */
