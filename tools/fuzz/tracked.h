/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The file that the image reader is to open, and what it has taken.
 */
#ifndef TRACKED_H
#define TRACKED_H

#include <stdbool.h>
#include <stddef.h>

/* The file has these bytes, which stay there. */
void tracked_file(const void *data, size_t size);

/* Give back what is left. */
void tracked_clean(void);

/* Is anything left? */
bool tracked_any(void);

#endif
