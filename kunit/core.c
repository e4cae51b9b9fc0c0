// SPDX-License-Identifier: GPL-2.0-only
/*
 * Gets the core ready for the suites, in a kernel that has no vmem to do so.
 * Where they do not run, vmem.ko may be loaded, and has caches of these names.
 */
#include <kunit/test.h>
#include <linux/init.h>

#include <vmem/translate.h>

static int __init vmem_kunit_init(void)
{
	return kunit_enabled() ? vmem_core_init() : 0;
}
device_initcall(vmem_kunit_init);
