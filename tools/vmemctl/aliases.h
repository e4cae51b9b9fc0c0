/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The shared tables of a walk over many spaces
 */
#ifndef ALIASES_H
#define ALIASES_H

#include "vmemctl.h"

/**
 * struct table - a shared table
 * @refs: the references to it, in order of their spaces and addresses
 * @nr: length of @refs
 * @leaves: leaves that the table's region in the owner's space expands to
 * @expands_to: leaves that the references expand to
 */
struct table {
	const struct vmem_record *refs;
	size_t nr;
	__u64 leaves;
	__u64 expands_to;
};

/**
 * struct aliases - all of them
 * @walked: the records
 * @refs: the references, those to one table side by side
 * @nr_refs: length of @refs
 * @tables: the tables, by their places in the owners' spaces
 * @nr_tables: length of @tables
 * @runs: room for the runs of one table's references
 */
struct aliases {
	struct walked walked;
	struct vmem_record *refs;
	size_t nr_refs;
	struct table *tables;
	size_t nr_tables;
	struct run *runs;
};

/* A zeroed array, for free(); there is one for 0 elements too. */
void *aliases_array(size_t nr, size_t size);

/* Find the shared tables in what was walked. */
void aliases_collect(struct aliases *aliases);

/* The table that a reference is to, as long as the tables are in their order. */
const struct table *aliases_find(const struct aliases *aliases,
				 const struct vmem_record *ref);
void aliases_free(struct aliases *aliases);

#endif
