/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * restore_guest.S - a guest that goes through its spaces and adds up their pages
 *
 * One text for both machines: \r is what a pointer's register begins with. It
 * runs wherever it is copied to.
 */
#include "restore_guest.h"

.macro guest name, bits, r, word, iret
	.code\bits
	.globl guest_\name, guest_\name\()_fault, guest_\name\()_end
guest_\name:
	movl	$0, DATA_SPACE(%\r\()bx)
.Lspace\@:
	mov	DATA_SPACE(%\r\()bx), %ecx
	mov	DATA_ROOTS(%\r\()bx,%\r\()cx,8), %\r\()ax
	mov	%\r\()ax, %cr3
	xor	%edx, %edx			/* the sum so far */
	xor	%edi, %edi			/* number of the page */
.Lpage\@:
	mov	DATA_PAGES(%\r\()bx,%\r\()di,8), %\r\()si
	mov	$1024, %ecx
.Lword\@:
	imul	$31, %edx, %edx
	add	(%\r\()si), %edx
	add	$4, %\r\()si
	dec	%ecx
	jnz	.Lword\@
	incl	DATA_COUNTER(%\r\()bx)
	mov	$STOP_PAGE, %eax
	hlt
	inc	%edi
	cmp	$NR_PAGES, %edi
	jne	.Lpage\@
	mov	DATA_SPACE(%\r\()bx), %ecx
	mov	%edx, DATA_SUMS(%\r\()bx,%\r\()cx,4)
	incl	DATA_SPACE(%\r\()bx)
	cmpl	$NR_SPACES, DATA_SPACE(%\r\()bx)
	jne	.Lspace\@
.Lask\@:
	mov	$STOP_ASK, %eax
	hlt
	cmp	$DO_ALL, %eax
	je	guest_\name
	mov	DATA_ROOTS(%\r\()bx,%\r\()cx,8), %\r\()si
	mov	%\r\()si, %cr3
	cmp	$DO_WRITE, %eax
	je	.Lwrite\@
	mov	(%\r\()di), %edx
	jmp	.Lask\@
.Lwrite\@:
	mov	%edx, (%\r\()di)
	jmp	.Lask\@

guest_\name\()_fault:
	push	%\r\()ax
	mov	$STOP_FAULT, %eax
	hlt
	mov	%cr2, %\r\()ax
	invlpg	(%\r\()ax)
	pop	%\r\()ax
	add	$\word, %\r\()sp		/* the error code */
	\iret
guest_\name\()_end:
.endm

	.section .rodata
	guest i686, 32, e, 4, iretl
	guest amd64, 64, r, 8, iretq
	.section .note.GNU-stack, "", @progbits
