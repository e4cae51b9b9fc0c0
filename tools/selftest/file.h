/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * file.h - the kernel's files, of which each says or takes one thing
 */
#ifndef VMEM_SELFTEST_FILE_H
#define VMEM_SELFTEST_FILE_H

#include <stdbool.h>

/* Writes to it, from its start. Returns 0 or -errno. */
int file_put(const char *path, const char *text);

/* The number that it begins with, or -errno. */
long long file_number(const char *path);

/* What /proc/meminfo says of @key. */
long kilobytes(const char *key);

/* Whether the kernel lacks what a case needs. Says so; the case counts as skipped. */
bool skip_without(bool there, const char *what);

#endif /* VMEM_SELFTEST_FILE_H */
