/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * judge_guest.h - the guest of judge.c, and what the two agree on
 *
 * It loads CR3, makes the accesses of a list, and notes for each how it ended. It
 * stops by HLT.
 */
#ifndef VMEM_SELFTEST_JUDGE_GUEST_H
#define VMEM_SELFTEST_JUDGE_GUEST_H

/* struct control */
#define CONTROL_CR3 0x00
#define CONTROL_STACK 0x08
#define CONTROL_KEYS 0x10
#define CONTROL_PKRU 0x14
#define CONTROL_LEFT 0x18
#define CONTROL_LOAD 0x20

/* struct attempt */
#define ATTEMPT_VA 0x00
#define ATTEMPT_TARGET 0x08
#define ATTEMPT_RFLAGS 0x10
#define ATTEMPT_USER 0x14
#define ATTEMPT_VALUE 0x18
#define ATTEMPT_VECTOR 0x1c
#define ATTEMPT_CR2 0x20
#define ATTEMPT_ERROR 0x28
#define ATTEMPT_SIZE 0x30

/* Vectors that it has gates for; the last one ends an access that passed. */
#define NR_VECTORS 33
#define VECTOR_PASSED 32
#define VECTOR_STUB 16

#define SELECTOR_CODE 0x08
#define SELECTOR_DATA 0x10
#define SELECTOR_USER_CODE 0x1b
#define SELECTOR_USER_DATA 0x23
#define SELECTOR_TSS 0x28

#ifndef __ASSEMBLER__

/* Its code, its stubs for vectors, and in these the stubs for accesses of data */
extern const unsigned char guest_judge32[], guest_judge32_vectors[],
	guest_judge32_read[], guest_judge32_write[], guest_judge32_end[];
extern const unsigned char guest_judge64[], guest_judge64_vectors[],
	guest_judge64_read[], guest_judge64_write[], guest_judge64_end[];

#endif

#endif /* VMEM_SELFTEST_JUDGE_GUEST_H */
