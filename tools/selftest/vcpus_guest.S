/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * vcpus_guest.S - a guest that goes from root to root, and notes where it is
 *
 * RBX: struct schedule; RSI: the roots; RDX: how long to stay at each; R9: how many steps
 * are done.
 */
#include "vcpus_guest.h"

	.section .rodata
	.code64
	.globl guest_schedule, guest_schedule_end
guest_schedule:
	inc	%r9
	mov	%r9, SCHEDULE_BEGUN(%rbx)
	mov	%r9, %rax
	and	$(NR_ROOTS - 1), %eax
	mov	(%rsi,%rax,8), %rax
	mov	%rax, %cr3
	mov	%r9, SCHEDULE_DONE(%rbx)
	mov	%rdx, %rcx
.Lstay:
	dec	%rcx
	jg	.Lstay
	cmpq	$0, SCHEDULE_HALT(%rbx)
	je	guest_schedule
	hlt
	jmp	guest_schedule
guest_schedule_end:
	.section .note.GNU-stack, "", @progbits
