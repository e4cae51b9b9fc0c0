/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * modes_guest.h - the guest of modes.c, and what the two agree on
 *
 * It goes from one paging mode to the next, over and over, by its own code. Its code
 * and its data have the same addresses in guest-physical memory and in all of its
 * spaces; that of the data is in EBX.
 */
#ifndef VMEM_SELFTEST_MODES_GUEST_H
#define VMEM_SELFTEST_MODES_GUEST_H

/* Its data. */
#define DATA_STOP 0x00 /* not 0 if it is to stop */
#define DATA_NR 0x04 /* how many modes there are */
#define DATA_TO_64 0x10 /* far pointer to guest_modes_64 */
#define DATA_TO_32 0x18 /* far pointer to guest_modes_32 */
#define DATA_GDT 0x20
#define DATA_MODES 0x80

/* Of each mode, 4 bytes each. */
#define MODE_CR3 0x00
#define MODE_CR4 0x04
#define MODE_EFER 0x08
#define MODE_LONG 0x0c
#define MODE_PDPTES 0x10 /* where they are in PAE, else 0 */
#define MODE_SIZE 0x20

#define SELECTOR_32 0x08
#define SELECTOR_DATA 0x10
#define SELECTOR_64 0x18

/* What it counts up in each mode: another page in each of its spaces. */
#define COUNTER_VA 0x40000000

#ifndef __ASSEMBLER__

extern const unsigned char guest_modes[], guest_modes_64[], guest_modes_32[],
	guest_modes_end[];

#endif

#endif /* VMEM_SELFTEST_MODES_GUEST_H */
