/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The first page of an uncompressed kernel, at 1 MiB, in place of the code that
 * would unpack it: moves what is behind it to 16 MiB, where it was linked for,
 * and enters it in long mode as the 64-bit boot protocol wants it.
 * SIZE: of what is behind it; END: where the kernel ends, its .bss included;
 * TABLES: six pages for the first tables, behind that.
 */
#define BASE		0x1000000
#define CR0_PG_PE	0x80000001
#define CR4_PAE		0x20
#define MSR_EFER	0xc0000080
#define EFER_LME	0x100
#define PRESENT		0x7
#define PRESENT_LARGE	0x87

	.code32
	.globl	_start
_start:
	cli
	movl	%esi, %ebp			/* struct boot_params */
	std					/* the two may overlap */
	movl	$(0x101000 + SIZE - 4), %esi
	movl	$(BASE + SIZE - 4), %edi
	movl	$(SIZE / 4), %ecx
	rep movsl
	cld
	xorl	%eax, %eax			/* .bss, and the tables */
	movl	$(BASE + SIZE), %edi
	movl	$((END - BASE - SIZE) / 4), %ecx
	rep stosl
	movl	$TABLES, %edi
	movl	$(0x6000 / 4), %ecx
	rep stosl

	/* The first 4 GiB, in pages of 2 MiB */
	movl	$(TABLES + 0x1000 + PRESENT), TABLES
	movl	$(TABLES + 0x1000), %edi
	movl	$(TABLES + 0x2000 + PRESENT), %eax
	movl	$4, %ecx
1:	movl	%eax, (%edi)
	addl	$0x1000, %eax
	addl	$8, %edi
	loop	1b
	movl	$(TABLES + 0x2000), %edi
	movl	$PRESENT_LARGE, %eax
	movl	$(4 * 512), %ecx
2:	movl	%eax, (%edi)
	addl	$0x200000, %eax
	addl	$8, %edi
	loop	2b

	movl	%cr4, %eax
	orl	$CR4_PAE, %eax
	movl	%eax, %cr4
	movl	$TABLES, %eax
	movl	%eax, %cr3
	movl	$MSR_EFER, %ecx
	rdmsr
	orl	$EFER_LME, %eax
	wrmsr
	lgdt	gdtr
	movl	%cr0, %eax
	orl	$CR0_PG_PE, %eax
	movl	%eax, %cr0
	ljmp	$0x10, $3f

	.code64
3:	movl	$0x18, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	movl	%ebp, %esi
	movl	$BASE, %eax
	jmp	*%rax

	.balign	8
gdt:	.quad	0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff
gdtr:	.word	. - gdt - 1
	.long	gdt
	.org	0x1000
