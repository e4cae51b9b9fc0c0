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

#include <stdnoreturn.h>

struct new_file;

/* Begin a file that is to be at @path. There can be one at a time. */
struct new_file *new_file_open(const char *path);

/* Its descriptor, open for reading and writing. */
int new_file_fd(const struct new_file *file);

/* die() if a signal has asked for the end of the program. */
void new_file_check_signals(void);

/* Put it in its place. */
void new_file_commit(struct new_file *file);

/* die() because writing the file failed with the errno @err. */
noreturn void new_file_fail(const struct new_file *file, int err);

#endif
