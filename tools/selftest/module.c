// SPDX-License-Identifier: GPL-2.0-only
/*
 * module.c - the module that is tested, which comes and goes
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

#include "ktap.h"
#include "module.h"

int module_remove(void)
{
	return syscall(SYS_delete_module, "vmem", O_NONBLOCK) ? -errno : 0;
}

/* This program is in bin/, and the module is beside that. */
static int open_built(const char *name)
{
	char program[PATH_MAX / 2] = "", path[PATH_MAX];
	struct utsname kernel;

	must(readlink("/proc/self/exe", program, sizeof(program) - 1),
	     "/proc/self/exe");
	*strrchr(program, '/') = '\0';
	must(uname(&kernel), "uname");
	snprintf(path, sizeof(path), "%s/../module/%s/%s.ko", program,
		 kernel.release, name);
	return open(path, O_RDONLY | O_CLOEXEC);
}

int module_insert(void)
{
	const char *given = getenv("VMEM_KO");
	int fd, ret;

	fd = given ? open(given, O_RDONLY | O_CLOEXEC) : open_built("vmem");
	must(fd, "vmem.ko");
	ret = syscall(SYS_finit_module, fd, "", 0) ? -errno : 0;
	close(fd);
	return ret;
}

void module_insert_test(const char *name)
{
	char path[64];
	int fd, ret;

	snprintf(path, sizeof(path), "tests/%s", name);
	fd = (int)must(open_built(path), "tools/module.sh --tests");
	ret = syscall(SYS_finit_module, fd, "", 0);
	if (errno != EEXIST)
		must(ret, name);
	close(fd);
}
