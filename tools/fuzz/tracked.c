// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the image reader takes, noted.
 */
#include <string.h>

#include <fuzz/fuzz.h>
#include <fuzz/tracked.h>

#include "tracked.h"

/* The functions themselves. */
#undef calloc
#undef reallocarray
#undef free
#undef vasprintf
#undef mmap
#undef munmap
#undef open
#undef close
#undef elf_begin
#undef elf_end

#define MAX_TRACKED 32

static void *blocks[MAX_TRACKED];
static Elf *open_elf;
static int open_fd = -1;
static int file = -1;
static const void *file_data;
static size_t file_size;

static void replace(void *old, void *new)
{
	int i;

	for (i = 0; i < MAX_TRACKED; i++)
		if (blocks[i] == old) {
			blocks[i] = new;
			return;
		}
	fuzz_broken(__FILE__, __LINE__, "a block that is known");
}

void *tracked_calloc(size_t nr, size_t size)
{
	void *new = calloc(nr, size);

	replace(NULL, new);
	return new;
}

void *tracked_reallocarray(void *old, size_t nr, size_t size)
{
	void *new = reallocarray(old, nr, size);

	if (new)
		replace(old, new);
	return new;
}

void tracked_free(void *old)
{
	if (old)
		replace(old, NULL);
	free(old);
}

int tracked_vasprintf(char **text, const char *format, va_list ap)
{
	int ret = vasprintf(text, format, ap);

	if (ret >= 0)
		replace(NULL, *text);
	return ret;
}

void *tracked_mmap(size_t size)
{
	void *map = malloc(size);

	REQUIRE(size == file_size);
	replace(NULL, map);
	return memcpy(map, file_data, size);
}

int tracked_open(void)
{
	open_fd = dup(file);
	return open_fd;
}

void tracked_close(int fd)
{
	REQUIRE(fd == open_fd);
	close(fd);
	open_fd = -1;
}

Elf *tracked_elf_begin(int fd)
{
	open_elf = elf_begin(fd, ELF_C_READ, NULL);
	return open_elf;
}

void tracked_elf_end(Elf *elf)
{
	elf_end(elf);
	open_elf = NULL;
}

void tracked_file(const void *data, size_t size)
{
	if (file < 0)
		file = memfd_create("image", 0);
	file_data = data;
	file_size = size;
	REQUIRE(!ftruncate(file, 0));
	REQUIRE(pwrite(file, data, size, 0) == (ssize_t)size);
}

void tracked_clean(void)
{
	int i;

	for (i = 0; i < MAX_TRACKED; i++) {
		free(blocks[i]);
		blocks[i] = NULL;
	}
	if (open_elf)
		tracked_elf_end(open_elf);
	if (open_fd >= 0)
		tracked_close(open_fd);
}

bool tracked_any(void)
{
	int i;

	for (i = 0; i < MAX_TRACKED; i++)
		if (blocks[i])
			return true;
	return open_elf || open_fd >= 0;
}
