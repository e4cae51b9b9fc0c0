/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * judge_guest.S - a guest that makes the accesses of a list
 *
 * One text for both machines: \r is what a pointer's register begins with. It runs
 * wherever it is copied to. RBX: struct control; RSI: the attempt at hand. Neither
 * the stubs nor the code in the pages that are fetched from change them.
 */
#include "judge_guest.h"

.macro guest name, bits, r, iret
	.code\bits
	.balign	VECTOR_STUB
	.globl	guest_\name, guest_\name\()_vectors, guest_\name\()_read
	.globl	guest_\name\()_write, guest_\name\()_end
guest_\name:
	lea	CONTROL_LOAD(%\r\()bx), %\r\()si
	/* QEMU wants a TSS that LTR loaded: see tools/lab/guest-tss.c. */
	mov	$SELECTOR_TSS, %ecx
	ltr	%cx
	mov	CONTROL_CR3(%\r\()bx), %\r\()ax
	mov	%\r\()ax, %cr3
	/* Global pages of the round before stay. */
	mov	CONTROL_LEFT(%\r\()bx), %ecx
	lea	CONTROL_LOAD + ATTEMPT_SIZE(%\r\()bx), %\r\()dx
.Lflush\@:
	mov	ATTEMPT_VA(%\r\()dx), %\r\()di
	invlpg	(%\r\()di)
	add	$ATTEMPT_SIZE, %\r\()dx
	dec	%ecx
	jnz	.Lflush\@
	cmpl	$0, CONTROL_KEYS(%\r\()bx)
	je	.Lnext\@
	mov	CONTROL_PKRU(%\r\()bx), %eax
	xor	%ecx, %ecx
	xor	%edx, %edx
	wrpkru

.Lnext\@:
	add	$ATTEMPT_SIZE, %\r\()si
	mov	CONTROL_STACK(%\r\()bx), %\r\()sp
	subl	$1, CONTROL_LEFT(%\r\()bx)
	jb	.Ldone\@
	mov	ATTEMPT_VA(%\r\()si), %\r\()di
	mov	ATTEMPT_TARGET(%\r\()si), %\r\()cx
	mov	ATTEMPT_VALUE(%\r\()si), %eax
	mov	ATTEMPT_RFLAGS(%\r\()si), %edx
	cmpl	$0, ATTEMPT_USER(%\r\()si)
	jne	.Luser\@
	push	%\r\()dx
	popf
	jmp	*%\r\()cx
.Luser\@:
	push	$SELECTOR_USER_DATA
	push	%\r\()bx			/* no stack */
	push	%\r\()dx
	push	$SELECTOR_USER_CODE
	push	%\r\()cx
	\iret
.Ldone\@:
	hlt

.Lcaught\@:
	pop	%\r\()cx
	pop	%\r\()dx
	mov	%ecx, ATTEMPT_VECTOR(%\r\()si)
	mov	%edx, ATTEMPT_ERROR(%\r\()si)
	mov	%eax, ATTEMPT_VALUE(%\r\()si)
	mov	%cr2, %\r\()ax
	mov	%\r\()ax, ATTEMPT_CR2(%\r\()si)
	jmp	.Lnext\@

	.set	.Lvector, 0
	.balign	VECTOR_STUB
guest_\name\()_vectors:
	.rept	NR_VECTORS
	.if	.Lvector != 8 && .Lvector != 17 && (.Lvector < 10 || .Lvector > 14)
	push	$0				/* it has no error code */
	.endif
	push	$.Lvector
	jmp	.Lcaught\@
	.balign	VECTOR_STUB
	.set	.Lvector, .Lvector + 1
	.endr

guest_\name\()_read:
	mov	(%\r\()di), %eax
	int	$VECTOR_PASSED
guest_\name\()_write:
	mov	%eax, (%\r\()di)
	int	$VECTOR_PASSED
guest_\name\()_end:
.endm

	.section .rodata
	guest judge32, 32, e, iretl
	guest judge64, 64, r, iretq
	.section .note.GNU-stack, "", @progbits
