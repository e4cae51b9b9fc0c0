// SPDX-License-Identifier: GPL-2.0-only
/*
 * The file that the image reader is to open.
 */
#include <fuzz/fuzz.h>
#include <fuzz/file.h>

#include "file.h"

/* The functions themselves. */
#undef open
#undef close
#undef mmap
#undef munmap

static int file = -1;
static const void *file_data;
static size_t file_size;
static int in_use;

void file_set(const void *data, size_t size)
{
	if (file < 0)
		file = memfd_create("image", 0);
	file_data = data;
	file_size = size;
	REQUIRE(!ftruncate(file, 0));
	REQUIRE(pwrite(file, data, size, 0) == (ssize_t)size);
	REQUIRE(!lseek(file, 0, SEEK_SET));
}

bool file_in_use(void)
{
	return in_use;
}

int file_open(void)
{
	in_use++;
	return dup(file);
}

void file_close(int fd)
{
	in_use--;
	REQUIRE(!close(fd));
}

void *file_map(size_t size)
{
	void *map = malloc(size);

	REQUIRE(map && size == file_size);
	in_use++;
	return memcpy(map, file_data, size);
}

void file_unmap(void *map)
{
	in_use--;
	free(map);
}
