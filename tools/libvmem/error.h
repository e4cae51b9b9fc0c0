/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Errors as values: a kind to act on, and words for people
 *
 * Each of these functions returns the negative code, for its caller to return.
 * Where the user gave no struct libvmem_error, nothing is written.
 */
#ifndef LIBVMEM_ERROR_H
#define LIBVMEM_ERROR_H

#include <libvmem.h>

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

/**
 * enum step - the step that failed; libvmem_error has its name
 * @STEP_ANY: matches all of them
 * @STEP_ARGUMENT: looking at the caller's arguments
 * @STEP_PIDFD: pidfd_open(2)
 * @STEP_SCAN: reading /proc/PID/fd
 * @STEP_GETFD: pidfd_getfd(2)
 * @STEP_OPEN: opening /dev/vmem
 * @STEP_IMAGE: opening an image
 * @STEP_ATTACH: VMEM_ATTACH_KVM
 * @STEP_INFO: VMEM_INFO
 * @STEP_MEMSLOTS: VMEM_MEMSLOTS
 * @STEP_VCPU: VMEM_VCPU
 * @STEP_REGISTERS: finding registers
 * @STEP_TRANSLATE: VMEM_TRANSLATE
 * @STEP_MAP_RANGE: VMEM_MAP_RANGE
 * @STEP_READ: VMEM_READ
 * @STEP_READ_PHYS: VMEM_READ_PHYS
 * @STEP_SET_SPACES: VMEM_SET_SPACES
 * @STEP_WALK_SPACES: VMEM_WALK_SPACES
 * @STEP_SNAPSHOT: making a snapshot
 * @STEP_COPY: reading the memory of a snapshot
 * @STEP_WRITE: writing a file
 * @STEP_QMP_CONNECT: connecting to a QMP socket
 * @STEP_QMP_TALK: sending to it or receiving from it
 */
enum step {
	STEP_ANY,
	STEP_ARGUMENT,
	STEP_PIDFD,
	STEP_SCAN,
	STEP_GETFD,
	STEP_OPEN,
	STEP_IMAGE,
	STEP_ATTACH,
	STEP_INFO,
	STEP_MEMSLOTS,
	STEP_VCPU,
	STEP_REGISTERS,
	STEP_TRANSLATE,
	STEP_MAP_RANGE,
	STEP_READ,
	STEP_READ_PHYS,
	STEP_SET_SPACES,
	STEP_WALK_SPACES,
	STEP_SNAPSHOT,
	STEP_COPY,
	STEP_WRITE,
	STEP_QMP_CONNECT,
	STEP_QMP_TALK,
};

/* Part of an advice: what to do with a guest that runs. */
#define STOP_FIRST "stop it first (QMP: {\"execute\":\"stop\"})"

/**
 * error_set - fill in an error that no call of the system explains
 * @error: the error, or NULL
 * @code: its kind
 * @step: the step that failed
 * @address: the address concerned, or 0
 * @advice: why, and what to do; NULL if the message says it all
 * @fmt: the message
 *
 * Return: -@code
 */
__printf(6, 7) int error_set(struct libvmem_error *error,
			     enum libvmem_code code, enum step step,
			     __u64 address, const char *advice, const char *fmt,
			     ...);

/* Advice in place of what @error has; @ret is returned as it is. */
__printf(3, 4) int error_advise(struct libvmem_error *error, int ret,
				const char *fmt, ...);

/**
 * error_of - fill in an error with the code and the advice that an errno stands
 *	for in a step
 * @error: the error, or NULL
 * @step: the step that failed
 * @err: the errno, positive
 * @address: the address concerned, or 0
 * @regs: the registers that were passed, or NULL; some advice follows from them
 * @fmt: the message: "cannot do this here"
 *
 * Return: the negative code
 */
__printf(6, 7) int error_of(struct libvmem_error *error, enum step step,
			    int err, __u64 address,
			    const struct vmem_regs *regs, const char *fmt, ...);

/* The end of the word for as many */
static inline const char *plural(__u64 nr)
{
	return nr == 1 ? "" : "s";
}

/* This process is out of memory: what it is for, or NULL. */
int error_memory(struct libvmem_error *error, const char *what);

#endif
