/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * module.h - the module that is tested, which comes and goes
 */
#ifndef VMEM_SELFTEST_MODULE_H
#define VMEM_SELFTEST_MODULE_H

/* Unloads it: 0, or -EAGAIN where something uses it. */
int module_remove(void);

/*
 * Loads the one that was built for the running kernel, or the one in VMEM_KO:
 * 0 or -errno.
 */
int module_insert(void);

/* Loads one of tests/ beside it, unless it is there. Gives up on the program if not. */
void module_insert_test(const char *name);

#endif /* VMEM_SELFTEST_MODULE_H */
