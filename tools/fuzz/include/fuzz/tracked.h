/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The image reader ends the program where an image is bad, and leaves it to the
 * kernel to clean up. Here it is to go on with the next image, so what it takes
 * is noted. The file is memory of just its size: a byte behind it is one too far.
 */
#ifndef _FUZZ_TRACKED_H
#define _FUZZ_TRACKED_H

#include <fcntl.h>
#include <gelf.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

void *tracked_calloc(size_t nr, size_t size);
void *tracked_reallocarray(void *old, size_t nr, size_t size);
void tracked_free(void *old);
int tracked_vasprintf(char **text, const char *format, va_list ap);
void *tracked_mmap(size_t size);
int tracked_open(void);
void tracked_close(int fd);
Elf *tracked_elf_begin(int fd);
void tracked_elf_end(Elf *elf);

#define calloc(nr, size) tracked_calloc(nr, size)
#define reallocarray(old, nr, size) tracked_reallocarray(old, nr, size)
#define free(old) tracked_free(old)
#define vasprintf(text, format, ap) tracked_vasprintf(text, format, ap)
#define mmap(addr, size, prot, flags, fd, offset) tracked_mmap(size)
#define munmap(map, size) tracked_free(map)
#define open(path, flags) tracked_open()
#define close(fd) tracked_close(fd)
#define elf_begin(fd, cmd, ref) tracked_elf_begin(fd)
#define elf_end(elf) tracked_elf_end(elf)

#endif
