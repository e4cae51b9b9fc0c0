/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * vcpus_guest.h - the guests of vcpus.c, and what they agree on with it
 */
#ifndef VMEM_SELFTEST_VCPUS_GUEST_H
#define VMEM_SELFTEST_VCPUS_GUEST_H

/* struct schedule */
#define SCHEDULE_BEGUN 0
#define SCHEDULE_DONE 64
#define SCHEDULE_HALT 128

/* How many roots there are: a power of 2 */
#define NR_ROOTS 1024

#ifndef __ASSEMBLER__

extern const unsigned char guest_schedule[], guest_schedule_end[];

#endif

#endif /* VMEM_SELFTEST_VCPUS_GUEST_H */
