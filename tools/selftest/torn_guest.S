/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * torn_guest.S - a guest that changes its own tables, by a list
 *
 * RBX: the list; RDX: how many steps it has; R8: struct control; RBP: where
 * guest-physical address 0 would be.
 */
#include "torn_guest.h"

	.section .rodata
	.code64
	.globl guest_torn, guest_torn_end
guest_torn:
	mov	%rbx, %rsi
	mov	%rdx, %r9
.Lstep:
	incq	CONTROL_BEGUN(%r8)
	mov	STEP_GPA(%rsi), %rdi
	mov	STEP_VALUE(%rsi), %rax
	mov	%rax, (%rbp,%rdi)
	incq	CONTROL_DONE(%r8)

	mov	STEP_TOUCH(%rsi), %rdi
	test	%rdi, %rdi
	jz	.Lnothing_to_see
	invlpg	(%rdi)
	mov	(%rdi), %rax
	cmp	STEP_TAG(%rsi), %rax
	jne	.Lsomething_else

.Lnothing_to_see:
	mov	STEP_SPINS(%rsi), %rcx
.Lspin:
	dec	%rcx
	jg	.Lspin

	cmpq	$0, CONTROL_STOP(%r8)
	jne	.Lstop
	add	$STEP_SIZE, %rsi
	dec	%r9
	jnz	.Lstep
	jmp	guest_torn

.Lstop:
	mov	$TOLD_TO_STOP, %eax
	hlt
.Lsomething_else:
	mov	$SAW_SOMETHING_ELSE, %eax
	hlt
guest_torn_end:
	.section .note.GNU-stack, "", @progbits
