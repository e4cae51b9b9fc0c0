/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The file that the image reader is to open.
 */
#ifndef FILE_H
#define FILE_H

#include <stdbool.h>
#include <stddef.h>

/* The file has these bytes, which stay there. */
void file_set(const void *data, size_t size);

/* Is it open, or mapped? */
bool file_in_use(void);

#endif
