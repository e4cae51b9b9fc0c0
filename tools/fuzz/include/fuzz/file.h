/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The image reader's system: its file is memory of just its size, so that a byte
 * behind it is one too far. Memory is short where the fuzzer says so.
 */
#ifndef _FUZZ_FILE_H
#define _FUZZ_FILE_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int file_open(void);
void file_close(int fd);
void *file_map(size_t size);
void file_unmap(void *map);

bool fuzz_no_memory(void);

#define open(path, flags) file_open()
#define close(fd) file_close(fd)
#define mmap(addr, size, prot, flags, fd, offset) file_map(size)
#define munmap(map, size) file_unmap(map)
#define calloc(nr, size) (fuzz_no_memory() ? NULL : calloc(nr, size))
#define reallocarray(old, nr, size) \
	(fuzz_no_memory() ? NULL : reallocarray(old, nr, size))
#define strdup(text) (fuzz_no_memory() ? NULL : strdup(text))

#endif
