// SPDX-License-Identifier: GPL-2.0-only
/*
 * What an errno means in each step, and what to do about it
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "error.h"

static const char *const step_names[] = {
	[STEP_ANY] = "",
	[STEP_ARGUMENT] = "argument",
	[STEP_PIDFD] = "process",
	[STEP_SCAN] = "find",
	[STEP_GETFD] = "take",
	[STEP_OPEN] = "open",
	[STEP_IMAGE] = "image",
	[STEP_ATTACH] = "attach",
	[STEP_INFO] = "info",
	[STEP_MEMSLOTS] = "memslots",
	[STEP_VCPU] = "vcpu",
	[STEP_REGISTERS] = "registers",
	[STEP_TRANSLATE] = "translate",
	[STEP_MAP_RANGE] = "ranges",
	[STEP_READ] = "read",
	[STEP_READ_PHYS] = "read_phys",
	[STEP_SET_SPACES] = "set_spaces",
	[STEP_WALK_SPACES] = "walk_spaces",
	[STEP_SNAPSHOT] = "snapshot",
	[STEP_COPY] = "copy",
	[STEP_WRITE] = "write",
	[STEP_QMP_CONNECT] = "qmp_connect",
	[STEP_QMP_TALK] = "qmp_talk",
};

static bool is_off(const struct vmem_regs *regs)
{
	return libvmem_mode(regs) == LIBVMEM_MODE_OFF;
}

static bool is_bad_width(const struct vmem_regs *regs)
{
	return regs->maxphyaddr < 32 || regs->maxphyaddr > 52;
}

/* 58:52 are left to software in long mode alone. */
static bool is_wide_cow(const struct vmem_regs *regs)
{
	return regs->cow_mask >> 32 &&
	       libvmem_top_level(regs) < VMEM_LEVEL_PML4;
}

static bool is_unknown_rule(const struct vmem_regs *regs)
{
	const __u32 known = VMEM_RULES_AMD | VMEM_RULES_NO_1G |
			    VMEM_RULES_SHARED_BIT |
			    VMEM_RULES_ENCRYPTION_BIT(63);

	return regs->rules & ~known;
}

/* Whose addresses are none of 32 to 51, or a shared bit that is none. */
static bool is_bad_encryption(const struct vmem_regs *regs)
{
	unsigned int bit = regs->rules >> 8;

	return bit ? bit < 32 || bit > 51 : regs->rules & VMEM_RULES_SHARED_BIT;
}

/* The bits of memory encryption are 47 and up. */
static bool is_encrypted_root(const struct vmem_regs *regs)
{
	return libvmem_root(regs) >> 47;
}

/* Which the processor refuses to load. */
static bool is_impossible(const struct vmem_regs *regs)
{
	const __u64 pe = 1 << 0, pae = 1 << 5, lme = 1 << 8;

	return !(regs->cr0 & pe) || (regs->efer & lme && !(regs->cr4 & pae));
}

static bool is_bad_cow(const struct vmem_regs *regs)
{
	const __u64 software = 7ull << 9 | 0x7full << 52;

	return regs->cow_mask & ~software ||
	       regs->cow_value & ~regs->cow_mask ||
	       !regs->cow_mask != !regs->cow_value;
}

/**
 * struct reason - one row of the table
 * @step: where it applies
 * @err: the errno
 * @when: what must be true of the registers besides, or NULL
 * @code: the kind of error
 * @text: the reason and what to do
 */
struct reason {
	enum step step;
	int err;
	bool (*when)(const struct vmem_regs *regs);
	enum libvmem_code code;
	const char *text;
};

#define NOT_LOADED "the vmem module is not loaded: modprobe vmem"
#define NOT_A_PROCESS "it is a thread: give the PID of its process"
#define NO_PTRACE \
	"it belongs to another process: run as root of the host, or with CAP_SYS_PTRACE"
#define NO_SEARCH                                                       \
	"it belongs to another user: run as root of the host, or with " \
	"CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH"
#define EXITED "the process has exited: give the PID of a running one"
#define WITHHELD                                                              \
	"the guest keeps its page tables from the host (`vmemctl info' says " \
	"by what): ask in the guest"
#define OTHER_VERSION \
	"the vmem module is of another version: load the one of this vmemctl"
#define OUR_BUG "this is a bug in vmem: please report it"
#define MAX_TABLES "1048576" /* VMEM_MAX_TABLES of the module */
#define QMP_BUSY                                                         \
	"no answer in time: QEMU serves one client for each socket, so " \
	"disconnect the other or give QEMU one more -qmp socket"

/* The first row that matches is taken, so the special ones stand first. */
static const struct reason reasons[] = {
	{ STEP_PIDFD, ESRCH, NULL, LIBVMEM_NO_PROCESS,
	  "there is no such process" },
	/* Which of the two a thread gets depends on the kernel. */
	{ STEP_PIDFD, EINVAL, NULL, LIBVMEM_NO_PROCESS, NOT_A_PROCESS },
	{ STEP_PIDFD, ENOENT, NULL, LIBVMEM_NO_PROCESS, NOT_A_PROCESS },

	{ STEP_SCAN, ENOENT, NULL, LIBVMEM_NO_PROCESS, EXITED },
	/* To list its descriptors takes more than to take one of them. */
	{ STEP_SCAN, EACCES, NULL, LIBVMEM_DENIED, NO_SEARCH },

	{ STEP_GETFD, EPERM, NULL, LIBVMEM_DENIED, NO_PTRACE },
	{ STEP_GETFD, EBADF, NULL, LIBVMEM_NO_VM,
	  "the process has just closed it: try again" },

	{ STEP_OPEN, ENOENT, NULL, LIBVMEM_NO_DEVICE, NOT_LOADED },
	{ STEP_OPEN, ENODEV, NULL, LIBVMEM_NO_DEVICE, NOT_LOADED },
	{ STEP_OPEN, ENXIO, NULL, LIBVMEM_NO_DEVICE, NOT_LOADED },
	{ STEP_OPEN, EACCES, NULL, LIBVMEM_DENIED,
	  "permission denied: run as root, or get access to the device" },
	{ STEP_OPEN, EPERM, NULL, LIBVMEM_DENIED,
	  "the kernel is locked down: boot without lockdown=confidentiality" },

	{ STEP_IMAGE, ENOENT, NULL, LIBVMEM_SYSTEM, "there is no such file" },
	{ STEP_IMAGE, ENXIO, NULL, LIBVMEM_BAD_IMAGE,
	  "it is a socket: give a file with a guest's memory" },
	{ STEP_IMAGE, EACCES, NULL, LIBVMEM_DENIED,
	  "permission denied: run as root, or as the user whose file it is" },

	{ STEP_ATTACH, EBADF, NULL, LIBVMEM_NO_VM,
	  "the descriptor is not a KVM VM" },
	{ STEP_ATTACH, EPERM, NULL, LIBVMEM_DENIED, NO_PTRACE },

	{ STEP_VCPU, EINVAL, NULL, LIBVMEM_BAD_ARGUMENT,
	  "the VM has no such vCPU: `vmemctl info' lists them" },

	{ STEP_VCPU, EACCES, NULL, LIBVMEM_UNREADABLE,
	  "the guest keeps them from the host (SEV-ES, SEV-SNP or TDX): ask in the guest" },

	{ STEP_ANY, EINVAL, is_off, LIBVMEM_BAD_MODE,
	  "paging is off: CR0.PG is clear, so there are no tables" },
	{ STEP_ANY, EINVAL, is_bad_width, LIBVMEM_BAD_ARGUMENT,
	  "MAXPHYADDR is not 32 to 52: give --maxphyaddr" },
	{ STEP_ANY, EINVAL, is_impossible, LIBVMEM_BAD_MODE,
	  "no processor has such registers: paging needs CR0.PE, and EFER.LME needs CR4.PAE" },
	{ STEP_ANY, EINVAL, is_bad_cow, LIBVMEM_BAD_ARGUMENT,
	  "only bits 11:9 and, in long mode, 58:52 can mark pages copy-on-write" },
	{ STEP_ANY, EINVAL, is_wide_cow, LIBVMEM_BAD_ARGUMENT,
	  "outside of long mode, bits 11:9 alone are left to software: give --cow a mask of them" },
	{ STEP_ANY, EINVAL, is_bad_encryption, LIBVMEM_BAD_ARGUMENT,
	  "the rules name no bit of memory encryption: give one of 32 to 51" },
	{ STEP_ANY, EOPNOTSUPP, is_unknown_rule, LIBVMEM_BAD_ARGUMENT,
	  "a rule is not known: give those of VMEM_RULES_* only" },

	{ STEP_WALK_SPACES, ENOSPC, NULL, LIBVMEM_TOO_MUCH,
	  "the guest has more tables than the " MAX_TABLES
	  " that the module keeps track of: give fewer roots, or a range" },

	{ STEP_SNAPSHOT, ENOSPC, NULL, LIBVMEM_TOO_MUCH,
	  "the guest has more than the module keeps track of (" MAX_TABLES
	  " tables, or pieces of memory): give fewer roots, or a range" },
	{ STEP_SNAPSHOT, EAGAIN, NULL, LIBVMEM_GUEST_RUNS,
	  "the guest changed its tables meanwhile: " STOP_FIRST },
	{ STEP_SNAPSHOT, EIO, NULL, LIBVMEM_UNREADABLE,
	  "guest memory that is mapped cannot be read: leave out --strict" },
	{ STEP_COPY, EIO, NULL, LIBVMEM_UNREADABLE,
	  "the guest's memory there cannot be read any more: let it stand still" },
	{ STEP_SNAPSHOT, EADDRINUSE, NULL, LIBVMEM_BAD_ARGUMENT,
	  "a device that is mapped lies where it is to be: give another --base" },
	{ STEP_SNAPSHOT, ERANGE, NULL, LIBVMEM_TOO_MUCH,
	  "this guest's tables cannot name such addresses: give a lower --base" },

	{ STEP_WRITE, ENOENT, NULL, LIBVMEM_SYSTEM, "there is no such folder" },
	{ STEP_WRITE, ENOSPC, NULL, LIBVMEM_TOO_MUCH,
	  "the file system is full: make room, or give another FILE" },
	{ STEP_WRITE, EDQUOT, NULL, LIBVMEM_TOO_MUCH,
	  "over the disk quota: make room, or give another FILE" },
	{ STEP_WRITE, EFBIG, NULL, LIBVMEM_TOO_MUCH,
	  "too long for the file system or `ulimit -f': give another FILE" },
	{ STEP_WRITE, EROFS, NULL, LIBVMEM_SYSTEM,
	  "the file system is read-only: give another FILE" },
	{ STEP_WRITE, EACCES, NULL, LIBVMEM_DENIED,
	  "permission denied: run as root, or give another FILE" },
	{ STEP_WRITE, EPERM, NULL, LIBVMEM_DENIED,
	  "permission denied: run as root, or give another FILE" },
	{ STEP_WRITE, EIO, NULL, LIBVMEM_SYSTEM,
	  "the disk reports an error: give a FILE on another one" },

	{ STEP_WRITE, EINVAL, NULL, LIBVMEM_BAD_ARGUMENT,
	  "it is not a regular file: give another FILE" },
	{ STEP_WRITE, EBADF, NULL, LIBVMEM_BAD_ARGUMENT,
	  "its descriptor is not open for reading and writing" },

	{ STEP_READ, EOVERFLOW, NULL, LIBVMEM_BAD_ARGUMENT,
	  "the range ends behind the last address: give a smaller LEN" },
	{ STEP_ANY, EOVERFLOW, NULL, LIBVMEM_BAD_ARGUMENT,
	  "the range wraps around: its last address must not be below its first" },
	{ STEP_ANY, ENXIO, is_encrypted_root, LIBVMEM_NO_ROOT,
	  "the guest has no memory where CR3 points: if it encrypts its memory, give --c-bit" },
	{ STEP_ANY, ENXIO, NULL, LIBVMEM_NO_ROOT,
	  "the guest has no memory where CR3 points: give the CR3 of this guest, in hex" },
	{ STEP_QMP_CONNECT, ENOENT, NULL, LIBVMEM_QMP,
	  "there is no such socket: start QEMU with -qmp unix:SOCKET,server=on,wait=off" },
	{ STEP_QMP_CONNECT, ECONNREFUSED, NULL, LIBVMEM_QMP,
	  "nothing listens there: is that QEMU still running?" },
	{ STEP_QMP_CONNECT, EACCES, NULL, LIBVMEM_QMP,
	  "permission denied: run as root, or as QEMU's user" },
	{ STEP_QMP_CONNECT, EAGAIN, NULL, LIBVMEM_QMP, QMP_BUSY },
	{ STEP_QMP_CONNECT, EPROTOTYPE, NULL, LIBVMEM_QMP,
	  "not a stream socket: give the one of QEMU's -qmp" },
	{ STEP_QMP_TALK, EAGAIN, NULL, LIBVMEM_QMP, QMP_BUSY },

	{ STEP_ANY, EACCES, NULL, LIBVMEM_UNREADABLE, WITHHELD },
	{ STEP_ANY, ESRCH, NULL, LIBVMEM_NO_PROCESS, EXITED },
	{ STEP_ANY, ENOMEM, NULL, LIBVMEM_NO_MEMORY,
	  "memory is short here: make room, or raise the limit of the memory cgroup" },
	{ STEP_ANY, EINVAL, NULL, LIBVMEM_OTHER_VERSION, OTHER_VERSION },
	{ STEP_ANY, E2BIG, NULL, LIBVMEM_OTHER_VERSION, OTHER_VERSION },
	{ STEP_ANY, ENOTTY, NULL, LIBVMEM_OTHER_VERSION, OTHER_VERSION },
	{ STEP_ANY, EOPNOTSUPP, NULL, LIBVMEM_OTHER_VERSION, OTHER_VERSION },
	{ STEP_ANY, EPERM, NULL, LIBVMEM_DENIED, NO_PTRACE },
	{ STEP_ANY, EBADF, NULL, LIBVMEM_SYSTEM, OUR_BUG },
	{ STEP_ANY, EFAULT, NULL, LIBVMEM_SYSTEM, OUR_BUG },
	{ STEP_ANY, ENOTCONN, NULL, LIBVMEM_SYSTEM, OUR_BUG },
	{ STEP_ANY, EISCONN, NULL, LIBVMEM_SYSTEM, OUR_BUG },
	{ STEP_ANY, EBUSY, NULL, LIBVMEM_SYSTEM,
	  "another thread asks with the same handle: give each its own" },
	{ STEP_ANY, ENODATA, NULL, LIBVMEM_SYSTEM, OUR_BUG },
};

static const struct reason *find_reason(enum step step, int err,
					const struct vmem_regs *regs)
{
	for (size_t i = 0; i < ARRAY_SIZE(reasons); i++) {
		const struct reason *r = &reasons[i];

		if (r->err != err || (r->step && r->step != step))
			continue;
		if (!r->when || (regs && r->when(regs)))
			return r;
	}
	return NULL;
}

/*
 * Length of a well-formed UTF-8 character; 0 for anything else, for a control
 * character, and for one that changes the direction of the text.
 */
static int shown(const unsigned char *c)
{
	int i, len = *c < 0x80 ? 1 : *c < 0xe0 ? 2 : *c < 0xf0 ? 3 : 4;
	unsigned int code = len == 1 ? *c : *c & (0x7f >> len);

	if ((*c >= 0x80 && *c < 0xc2) || *c > 0xf4)
		return 0;
	for (i = 1; i < len; i++) {
		if ((c[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (c[i] & 0x3f);
	}
	/* Overlong forms, surrogates, and beyond Unicode */
	if ((len == 3 && code < 0x800) || (len == 4 && code < 0x10000) ||
	    (code >= 0xd800 && code <= 0xdfff) || code > 0x10ffff)
		return 0;
	if (code < 0x20 || (code >= 0x7f && code < 0xa0) ||
	    (code >= 0x202a && code <= 0x202e) ||
	    (code >= 0x2066 && code <= 0x2069))
		return 0;
	return len;
}

/*
 * A message may quote a VMM or a file, and goes to a terminal: replace each byte that
 * might control it.
 */
static void tame(char *text)
{
	unsigned char *c = (unsigned char *)text;
	int len;

	while (*c) {
		len = shown(c);
		if (!len)
			*c = '?';
		c += len ?: 1;
	}
}

static void set(struct libvmem_error *error, enum libvmem_code code,
		enum step step, __u64 address, const char *fmt, va_list ap)
{
	error->code = code;
	error->err = 0;
	error->where = step_names[step];
	error->address = address;
	vsnprintf(error->message, sizeof(error->message), fmt, ap);
	tame(error->message);
	error->advice[0] = '\0';
}

static void set_advice(struct libvmem_error *error, const char *advice)
{
	if (advice)
		snprintf(error->advice, sizeof(error->advice), "%s", advice);
	tame(error->advice);
}

int error_set(struct libvmem_error *error, enum libvmem_code code,
	      enum step step, __u64 address, const char *advice,
	      const char *fmt, ...)
{
	va_list ap;

	if (!error)
		return -code;
	va_start(ap, fmt);
	set(error, code, step, address, fmt, ap);
	va_end(ap);
	set_advice(error, advice);
	return -code;
}

int error_advise(struct libvmem_error *error, int ret, const char *fmt, ...)
{
	va_list ap;

	if (!error)
		return ret;
	va_start(ap, fmt);
	vsnprintf(error->advice, sizeof(error->advice), fmt, ap);
	va_end(ap);
	tame(error->advice);
	return ret;
}

int error_of(struct libvmem_error *error, enum step step, int err,
	     __u64 address, const struct vmem_regs *regs, const char *fmt, ...)
{
	const struct reason *reason = find_reason(step, err, regs);
	enum libvmem_code code = reason ? reason->code : LIBVMEM_SYSTEM;
	char buf[LIBVMEM_ADVICE_SIZE];
	va_list ap;

	if (!error)
		return -code;
	va_start(ap, fmt);
	set(error, code, step, address, fmt, ap);
	va_end(ap);
	error->err = err;
	set_advice(error,
		   reason ? reason->text : strerror_r(err, buf, sizeof(buf)));
	return -code;
}

int error_memory(struct libvmem_error *error, const char *what)
{
	return error_set(error, LIBVMEM_NO_MEMORY, STEP_ANY, 0, NULL,
			 "out of memory%s%s", what ? " for " : "",
			 what ? what : "");
}

const char *libvmem_version(void)
{
	return VERSION;
}
