/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * restore_guest.h - the guest of restore.c, and what the two agree on
 *
 * It stops by HLT, with the reason in EAX. Its data is in one page that all of
 * its spaces map, whose address is in EBX or RBX from the start.
 */
#ifndef VMEM_SELFTEST_RESTORE_GUEST_H
#define VMEM_SELFTEST_RESTORE_GUEST_H

#define NR_SPACES 3
#define NR_PAGES 8

/* Why it stopped. */
#define STOP_PAGE 1 /* It has read a page. */
#define STOP_ASK 2 /* It has read all, or done what it was told. */
#define STOP_FAULT 3 /* A page fault: what is in CR2 has to be mended. */

/*
 * What it is told at STOP_ASK, in EAX: the space is in ECX, an address of it in
 * EDI or RDI, and the value there in EDX.
 */
#define DO_ALL 0
#define DO_READ 1
#define DO_WRITE 2

/* Its data. */
#define DATA_COUNTER 0x00 /* pages read */
#define DATA_SPACE 0x04 /* the space that it is in */
#define DATA_SUMS 0x10 /* of each space: what its pages add up to */
#define DATA_ROOTS 0x20 /* of each space: CR3, 8 bytes each */
#define DATA_PAGES 0x40 /* the addresses to read, 8 bytes each */
#define DATA_GDT 0x200
#define DATA_IDT 0x300
#define DATA_STACK 0x1000 /* its end */

#ifndef __ASSEMBLER__

extern const unsigned char guest_i686[], guest_i686_fault[], guest_i686_end[];
extern const unsigned char guest_amd64[], guest_amd64_fault[],
	guest_amd64_end[];

#endif

#endif /* VMEM_SELFTEST_RESTORE_GUEST_H */
