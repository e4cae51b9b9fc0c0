/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * caller.h - who asks about the guest of a stage, all the time
 */
#ifndef VMEM_SELFTEST_CALLER_H
#define VMEM_SELFTEST_CALLER_H

#include "stage.h"

/*
 * Asks everything that there is to ask, at random, until the stage stops, and
 * judges the answers. @vm_fd: the VM; -1 to attach to the region table, which is
 * for the VMM's own threads
 */
void caller_run(struct stage *s, int vm_fd, __u64 random);

#endif /* VMEM_SELFTEST_CALLER_H */
