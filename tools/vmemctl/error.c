// SPDX-License-Identifier: GPL-2.0-only
/*
 * What an errno means in each step, and what to do about it
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmemctl.h"

static bool is_off(const struct vmem_regs *regs)
{
	return regs_paging(regs) == PAGING_OFF;
}

static bool is_pae(const struct vmem_regs *regs)
{
	return regs_paging(regs) == PAGING_PAE;
}

static bool is_5level(const struct vmem_regs *regs)
{
	return regs_paging(regs) == PAGING_5LEVEL;
}

static bool is_bad_width(const struct vmem_regs *regs)
{
	return regs->maxphyaddr < 32 || regs->maxphyaddr > 52;
}

/* 58:52 are no bits of a 4-byte entry. */
static bool is_wide_cow(const struct vmem_regs *regs)
{
	return regs->cow_mask >> 32 && regs_top_level(regs) == VMEM_LEVEL_PD;
}

/**
 * struct reason - one row of the table
 * @step: where it applies
 * @err: the errno
 * @when: what must be true of the registers besides, or NULL
 * @text: the reason and what to do
 */
struct reason {
	enum step step;
	int err;
	bool (*when)(const struct vmem_regs *regs);
	const char *text;
};

#define NOT_LOADED \
	"the vmem module is not loaded: modprobe vmem, or insmod vmem.ko"
#define NOT_A_PROCESS "it is a thread: give the PID of its process"
#define NO_PTRACE \
	"it belongs to another process: run as root of the host, or with CAP_SYS_PTRACE"
#define NO_SEARCH                                                       \
	"it belongs to another user: run as root of the host, or with " \
	"CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH"
#define EXITED "the process has exited: give the PID of a running one"
#define OTHER_VERSION \
	"the vmem module is of another version: load the one of this vmemctl"
#define OUR_BUG "this is a bug in vmemctl: please report it"
#define MAX_TABLES "1048576" /* VMEM_MAX_TABLES of the module */
#define QMP_BUSY                                                         \
	"no answer in time: QEMU serves one client for each socket, so " \
	"disconnect the other or give QEMU one more -qmp socket"

/* The first row that matches is taken, so the special ones stand first. */
static const struct reason reasons[] = {
	{ STEP_PIDFD, ESRCH, NULL, "there is no such process" },
	/* Which of the two a thread gets depends on the kernel. */
	{ STEP_PIDFD, EINVAL, NULL, NOT_A_PROCESS },
	{ STEP_PIDFD, ENOENT, NULL, NOT_A_PROCESS },

	{ STEP_SCAN, ENOENT, NULL, EXITED },
	/* To list its descriptors takes more than to take one of them. */
	{ STEP_SCAN, EACCES, NULL, NO_SEARCH },

	{ STEP_GETFD, EPERM, NULL, NO_PTRACE },
	{ STEP_GETFD, EBADF, NULL,
	  "the process has just closed it: try again" },

	{ STEP_OPEN, ENOENT, NULL, NOT_LOADED },
	{ STEP_OPEN, ENODEV, NULL, NOT_LOADED },
	{ STEP_OPEN, ENXIO, NULL, NOT_LOADED },
	{ STEP_OPEN, EACCES, NULL,
	  "permission denied: run as root, or get access to the device" },
	{ STEP_OPEN, EPERM, NULL,
	  "the kernel is locked down: boot without lockdown=confidentiality" },

	{ STEP_IMAGE, ENOENT, NULL, "there is no such file" },
	{ STEP_IMAGE, EACCES, NULL,
	  "permission denied: run as root, or as the user whose file it is" },

	{ STEP_ATTACH, EBADF, NULL, "the descriptor is not a KVM VM" },
	{ STEP_ATTACH, EPERM, NULL, NO_PTRACE },

	{ STEP_VCPU, EINVAL, NULL,
	  "the VM has no such vCPU: `vmemctl info' lists them" },

	{ STEP_ANY, EOPNOTSUPP, is_pae, "PAE paging is not supported yet" },
	{ STEP_ANY, EOPNOTSUPP, is_5level,
	  "5-level paging is not supported yet" },
	{ STEP_ANY, EINVAL, is_off,
	  "paging is off: CR0.PG is clear, so there are no tables" },
	{ STEP_ANY, EINVAL, is_bad_width,
	  "MAXPHYADDR is not 32 to 52: give --maxphyaddr" },
	{ STEP_ANY, EINVAL, is_wide_cow,
	  "2-level paging leaves bits 11:9 alone to software: give --cow a mask of them" },

	{ STEP_WALK_SPACES, ENOSPC, NULL,
	  "the guest has more tables than the " MAX_TABLES
	  " that the module keeps track of: give fewer roots, or a range" },

	{ STEP_SNAPSHOT, ENOSPC, NULL,
	  "the guest has more than the module keeps track of (" MAX_TABLES
	  " tables, or pieces of memory): give fewer roots, or a range" },
	{ STEP_SNAPSHOT, EAGAIN, NULL,
	  "the guest changed its tables meanwhile: " STOP_FIRST },
	{ STEP_SNAPSHOT, EADDRINUSE, NULL,
	  "a device that is mapped lies where it is to be: give another --base" },
	{ STEP_SNAPSHOT, ERANGE, NULL,
	  "this guest's tables cannot name such addresses: give a lower --base" },

	{ STEP_FILE, ENOENT, NULL, "there is no such folder" },
	{ STEP_FILE, ENOSPC, NULL,
	  "the file system is full: make room, or give another FILE" },
	{ STEP_FILE, EDQUOT, NULL,
	  "over the disk quota: make room, or give another FILE" },
	{ STEP_FILE, EFBIG, NULL,
	  "too long for the file system or `ulimit -f': give another FILE" },
	{ STEP_FILE, EROFS, NULL,
	  "the file system is read-only: give another FILE" },
	{ STEP_FILE, EACCES, NULL,
	  "permission denied: run as root, or give another FILE" },
	{ STEP_FILE, EPERM, NULL,
	  "permission denied: run as root, or give another FILE" },
	{ STEP_FILE, EIO, NULL,
	  "the disk reports an error: give a FILE on another one" },

	{ STEP_READ, EOVERFLOW, NULL,
	  "the range ends behind the last address: give a smaller LEN" },
	{ STEP_ANY, EOVERFLOW, NULL,
	  "the range wraps around: its last address must not be below its first" },
	{ STEP_ANY, ENXIO, NULL,
	  "the guest has no memory where CR3 points: give the CR3 of this guest" },
	{ STEP_QMP_CONNECT, ENOENT, NULL,
	  "there is no such socket: start QEMU with -qmp unix:SOCKET,server=on,wait=off" },
	{ STEP_QMP_CONNECT, ECONNREFUSED, NULL,
	  "nothing listens there: is that QEMU still running?" },
	{ STEP_QMP_CONNECT, EACCES, NULL,
	  "permission denied: run as root, or as QEMU's user" },
	{ STEP_QMP_CONNECT, EAGAIN, NULL, QMP_BUSY },
	{ STEP_QMP_CONNECT, EPROTOTYPE, NULL,
	  "not a stream socket: give the one of QEMU's -qmp" },
	{ STEP_QMP_TALK, EAGAIN, NULL, QMP_BUSY },

	{ STEP_ANY, ESRCH, NULL, EXITED },
	{ STEP_ANY, ENOMEM, NULL,
	  "over the limit of locked memory, or out of memory: raise `ulimit -l'" },
	{ STEP_ANY, EINTR, NULL, "interrupted: ask again" },
	{ STEP_ANY, EINVAL, NULL, OTHER_VERSION },
	{ STEP_ANY, E2BIG, NULL, OTHER_VERSION },
	{ STEP_ANY, ENOTTY, NULL, OTHER_VERSION },
	{ STEP_ANY, EOPNOTSUPP, NULL, OTHER_VERSION },
	{ STEP_ANY, EPERM, NULL, NO_PTRACE },
	{ STEP_ANY, EBADF, NULL, OUR_BUG },
	{ STEP_ANY, EFAULT, NULL, OUR_BUG },
	{ STEP_ANY, ENOTCONN, NULL, OUR_BUG },
	{ STEP_ANY, EISCONN, NULL, OUR_BUG },
	/* The session is ours alone, and has one thread. */
	{ STEP_ANY, EBUSY, NULL, OUR_BUG },
	{ STEP_ANY, ENODATA, NULL, OUR_BUG },
};

static const char *reason_text(enum step step, int err,
			       const struct vmem_regs *regs)
{
	for (size_t i = 0; i < ARRAY_SIZE(reasons); i++) {
		const struct reason *r = &reasons[i];

		if (r->err != err || (r->step && r->step != step))
			continue;
		if (!r->when || (regs && r->when(regs)))
			return r->text;
	}
	return strerror(err);
}

/* What was printed before the error comes out before it. */
static void vreport(const char *fmt, va_list ap, const char *reason)
{
	fflush(stdout);
	progress_end();
	fputs("vmemctl: ", stderr);
	vfprintf(stderr, fmt, ap);
	if (reason)
		fprintf(stderr, ": %s", reason);
	fputc('\n', stderr);
}

void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vreport(fmt, ap, NULL);
	va_end(ap);
	exit(EXIT_FAILED);
}

void usage(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vreport(fmt, ap, NULL);
	va_end(ap);
	exit(EXIT_USAGE);
}

void warn(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vreport(fmt, ap, NULL);
	va_end(ap);
}

void fail(enum step step, const struct vmem_regs *regs, const char *fmt, ...)
{
	const char *reason = reason_text(step, errno, regs);
	va_list ap;

	va_start(ap, fmt);
	vreport(fmt, ap, reason);
	va_end(ap);
	exit(EXIT_FAILED);
}
