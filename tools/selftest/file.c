// SPDX-License-Identifier: GPL-2.0-only
/*
 * file.c - the kernel's files, of which each says or takes one thing
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "file.h"
#include "ktap.h"

int file_put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	int ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

long long file_number(const char *path)
{
	char text[32] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int ret = 0;

	if (fd < 0)
		return -errno;
	if (read(fd, text, sizeof(text) - 1) < 0)
		ret = -errno;
	close(fd);
	return ret ?: strtoll(text, NULL, 0);
}

long kilobytes(const char *key)
{
	char line[128];
	size_t len = strlen(key);
	long value = 0;
	FILE *file;

	file = fopen("/proc/meminfo", "r");
	must(file ? 0 : -1, "/proc/meminfo");
	while (fgets(line, sizeof(line), file))
		if (!strncmp(line, key, len) && line[len] == ':')
			value = strtol(line + len + 1, NULL, 10);
	fclose(file);
	return value;
}

bool skip_without(bool there, const char *what)
{
	if (there)
		return false;
	printf("# the kernel has no %s\n", what);
	ktap_skipped = true;
	return true;
}
