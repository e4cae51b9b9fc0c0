/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * modes_guest.S - a guest that goes from one paging mode to the next
 *
 * By way of no paging at all, which is the only one there is between any two (Intel SDM
 * vol. 3, 4.1.2).
 */
#include "modes_guest.h"

	.section .rodata
	.code32
	.globl guest_modes, guest_modes_64, guest_modes_32, guest_modes_end
guest_modes:
	lea	DATA_MODES(%ebx), %esi
	mov	DATA_NR(%ebx), %edi
.Lmode:
	mov	%cr0, %eax
	and	$0x7fffffff, %eax
	mov	%eax, %cr0
	/* QEMU's emulation sets Accessed in them, and KVM loads none that has it. */
	mov	MODE_PDPTES(%esi), %ecx
	jecxz	.Lclean
	andl	$~0x20, 0x00(%ecx)
	andl	$~0x20, 0x08(%ecx)
	andl	$~0x20, 0x10(%ecx)
	andl	$~0x20, 0x18(%ecx)
.Lclean:
	mov	MODE_EFER(%esi), %eax
	xor	%edx, %edx
	mov	$0xc0000080, %ecx
	wrmsr
	mov	MODE_CR4(%esi), %eax
	mov	%eax, %cr4
	mov	MODE_CR3(%esi), %eax
	mov	%eax, %cr3
	mov	%cr0, %eax
	or	$0x80000000, %eax
	mov	%eax, %cr0
	cmpl	$0, MODE_LONG(%esi)
	jne	.Llong
	incl	COUNTER_VA
	jmp	guest_modes_32
.Llong:
	ljmp	*DATA_TO_64(%ebx)

	.code64
guest_modes_64:
	mov	%ebx, %ebx
	incl	COUNTER_VA
	ljmp	*DATA_TO_32(%rbx)

	.code32
guest_modes_32:
	cmpl	$0, DATA_STOP(%ebx)
	jne	.Lstop
	add	$MODE_SIZE, %esi
	dec	%edi
	jnz	.Lmode
	jmp	guest_modes
.Lstop:
	hlt
guest_modes_end:
	.section .note.GNU-stack, "", @progbits
