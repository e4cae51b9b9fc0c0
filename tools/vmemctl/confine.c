// SPDX-License-Identifier: GPL-2.0-only
/*
 * Confinement: vmemctl gives up rights before it reads data that a VMM, a guest or
 * the writer of a file controls
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <seccomp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vmemctl.h"

/* A snapshot may go wherever root may write. */
static void drop_capabilities(enum confined confined)
{
	const __u32 keep = 1u << CAP_DAC_OVERRIDE | 1u << CAP_FOWNER;
	struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3] = {};
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};

	if (syscall(SYS_capget, &header, caps))
		die("cannot read capabilities: %m");
	caps[0].permitted &= confined == CONFINED_WRITER ? keep : 0;
	caps[0].effective = caps[0].permitted;
	caps[0].inheritable = 0;
	caps[1] = (struct __user_cap_data_struct){};
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    syscall(SYS_capset, &header, caps))
		die("cannot drop capabilities: %m");
}

/* Allowed with any arguments */
static const int calls[] = {
	SCMP_SYS(read),
	SCMP_SYS(write),
	SCMP_SYS(writev),
	SCMP_SYS(pread64),
	SCMP_SYS(close),
	SCMP_SYS(lseek),
	SCMP_SYS(fstat),
	SCMP_SYS(newfstatat),
	SCMP_SYS(poll),
	SCMP_SYS(sendto),
	SCMP_SYS(recvfrom),
	SCMP_SYS(brk),
	SCMP_SYS(munmap),
	SCMP_SYS(mremap),
	SCMP_SYS(madvise),
	SCMP_SYS(futex),
	SCMP_SYS(clock_gettime),
	SCMP_SYS(clock_nanosleep),
	SCMP_SYS(getrandom),
	SCMP_SYS(rt_sigaction),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(restart_syscall),
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
	/* qsort() */
	SCMP_SYS(sysinfo),
	/* abort() */
	SCMP_SYS(getpid),
	SCMP_SYS(gettid),
	/* For graph's dot, which runs already */
	SCMP_SYS(wait4),
};

/* Allowed to write and name a snapshot */
static const int writing[] = {
	SCMP_SYS(openat),   SCMP_SYS(lstat),	 SCMP_SYS(access),
	SCMP_SYS(pwrite64), SCMP_SYS(ftruncate), SCMP_SYS(fsync),
	SCMP_SYS(linkat),   SCMP_SYS(rename),	 SCMP_SYS(unlink),
};

/* Allowed to begin a thread, and to be one */
static const int serving[] = {
	SCMP_SYS(set_robust_list),
	SCMP_SYS(rseq),
};

/* No process: clone3() does not let the filter see which it would be. */
static int allow_threads(scmp_filter_ctx filter)
{
	int ret = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
				   SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD,
					   CLONE_THREAD));

	if (ret)
		return ret;
	return seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS),
				SCMP_SYS(clone3), 0);
}

static int allow(scmp_filter_ctx filter, const int *nrs, size_t nr)
{
	int ret = 0;

	for (size_t i = 0; i < nr && !ret; i++)
		ret = seccomp_rule_add(filter, SCMP_ACT_ALLOW, nrs[i], 0);
	return ret;
}

/* Allow system calls for some values of one argument. */
static int allow_some(scmp_filter_ctx filter)
{
	const struct {
		int nr;
		struct scmp_arg_cmp arg;
	} some[] = {
		/* No executable memory */
		{ SCMP_SYS(mmap), SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0) },
		{ SCMP_SYS(mprotect),
		  SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0) },
		/* /dev/vmem; isatty() */
		{ SCMP_SYS(ioctl),
		  SCMP_A1(SCMP_CMP_MASKED_EQ, ~0xffull, VMEM_IOC_TYPE << 8) },
		{ SCMP_SYS(ioctl), SCMP_A1(SCMP_CMP_EQ, TCGETS) },
		/* libelf */
		{ SCMP_SYS(fcntl), SCMP_A1(SCMP_CMP_EQ, F_GETFD) },
		/* abort() */
		{ SCMP_SYS(tgkill), SCMP_A0(SCMP_CMP_EQ, getpid()) },
	};
	int ret = 0;

	for (size_t i = 0; i < ARRAY_SIZE(some) && !ret; i++)
		ret = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, some[i].nr,
					     1, &some[i].arg);
	return ret;
}

static int load_filter(enum confined confined)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int ret;

	if (!filter)
		return -ENOMEM;
	/* Return the kernel's errno instead of -ECANCELED. */
	ret = seccomp_attr_set(filter, SCMP_FLTATR_API_SYSRAWRC, 1);
	if (!ret)
		ret = allow(filter, calls, ARRAY_SIZE(calls));
	if (!ret && confined == CONFINED_WRITER)
		ret = allow(filter, writing, ARRAY_SIZE(writing));
	if (!ret && confined == CONFINED_SERVER)
		ret = allow(filter, serving, ARRAY_SIZE(serving));
	if (!ret && confined == CONFINED_SERVER)
		ret = allow_threads(filter);
	if (!ret)
		ret = allow_some(filter);
	if (!ret)
		ret = seccomp_load(filter);
	seccomp_release(filter);
	return ret;
}

/* LeakSanitizer starts a tracer at exit. */
#ifdef __SANITIZE_ADDRESS__
#define SANITIZED true
#else
#define SANITIZED false
#endif

void confine(enum confined confined)
{
	int ret;

	/* jansson reads its seed from a file. */
	json_object_seed(0);
	drop_capabilities(confined);
	ret = SANITIZED ? 0 : load_filter(confined);
	if (ret)
		warn("warning: not confined by seccomp, but for capabilities: %s",
		     strerror(-ret));
}
