/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A file that is there as a whole or not at all
 *
 * While it is written, it has another name in the same folder. If an error or a
 * signal ends the program, it is removed, and a file of its final name stays as
 * it was.
 */
#ifndef NEW_FILE_H
#define NEW_FILE_H

#include <stdnoreturn.h>

struct new_file;

/* Begin the file @path, the only one of this process. */
struct new_file *new_file_open(const char *path);

/* Its descriptor, open for reading and writing. */
int new_file_fd(const struct new_file *file);

/* die() if a signal has asked for the end of the program. */
void new_file_check_signals(void);

/* Remove an incomplete file. Async-signal-safe. */
void new_file_abandon(void);

/* The file is complete: give it its name. */
void new_file_commit(struct new_file *file);

/* die() because writing the file failed with the errno @err. */
noreturn void new_file_fail(const struct new_file *file, int err);

#endif
