/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * torn_guest.h - the guest of torn.c, and what the two agree on
 *
 * It does what is in a list, over and over: it writes an entry of its tables, and
 * where there is something to look at afterwards, reads it through them.
 */
#ifndef VMEM_SELFTEST_TORN_GUEST_H
#define VMEM_SELFTEST_TORN_GUEST_H

/* struct step */
#define STEP_GPA 0x00
#define STEP_VALUE 0x08
#define STEP_SPINS 0x10
#define STEP_TOUCH 0x18
#define STEP_TAG 0x20
#define STEP_SIZE 0x28

/* struct control */
#define CONTROL_BEGUN 0x00
#define CONTROL_DONE 0x40
#define CONTROL_STOP 0x80

/* What is in EAX when it stops. */
#define TOLD_TO_STOP 1
#define SAW_SOMETHING_ELSE 2

#ifndef __ASSEMBLER__

extern const unsigned char guest_torn[], guest_torn_end[];

#endif

#endif /* VMEM_SELFTEST_TORN_GUEST_H */
