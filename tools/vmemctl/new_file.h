/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A file that is there as a whole or not at all
 *
 * It has a name of its own in the same folder while it is written. Whatever ends
 * the program then, an error or a signal, takes it away, and what was there
 * before stays as it was.
 */
#ifndef NEW_FILE_H
#define NEW_FILE_H

#include <linux/types.h>
#include <stddef.h>
#include <stdnoreturn.h>

struct new_file;

/* Begin a file that is to be at @path. There can be one at a time. */
struct new_file *new_file_open(const char *path);

int new_file_fd(const struct new_file *file);

/* How long it is to be; what is not written is zero. */
void new_file_resize(struct new_file *file, __u64 size);
void new_file_write(struct new_file *file, const void *bytes, size_t len,
		    __u64 offset);

/* The end of the program, if somebody sent a signal that asks for it. */
void new_file_check_signals(void);

/* Put it in its place. */
void new_file_commit(struct new_file *file);

/* errno says why it cannot be written. */
noreturn void new_file_fail(const struct new_file *file);

#endif
