/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Pictures of address spaces, as text on stdout
 */
#ifndef GRAPH_H
#define GRAPH_H

#include "vmemctl.h"

/* Sets of VMEM_WRITABLE, VMEM_USER and VMEM_EXECUTABLE */
#define NR_RIGHTS 8

/**
 * struct amount - how much is mapped
 * @bytes: by rights
 */
struct amount {
	__u64 bytes[NR_RIGHTS];
};

/* All of it, and what is writable and executable. */
__u64 amount_total(const struct amount *amount);
__u64 amount_exposed(const struct amount *amount);

void amount_add(struct amount *to, const struct amount *amount);

/* The next one of the rights by falling amount, the exposed first; -1 behind the last. */
int amount_next(const struct amount *amount, int rights);

bool is_exposed(unsigned int rights);

/* "rw-s", and a colour that black text can be read on. */
const char *rights_name(unsigned int rights);
const char *rights_colour(unsigned int rights);

/* Text that may be anything, for XML. */
void out_escaped(const char *text);

/* "process 12", or the image's path */
void out_guest(const struct opts *opts);

/* One of them is drawn. */
void graph_map(struct libvmem *vm, const struct opts *opts);
void graph_spaces(struct libvmem *vm, const struct opts *opts);

#endif
