/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Spaces and the tables that they share, folded for a picture
 *
 * Tables that the same spaces use are one node, and so are spaces that use the same of
 * these nodes. There are never more than MAX_NODES of each: the last one has the rest.
 */
#ifndef GRAPH_NODES_H
#define GRAPH_NODES_H

#include "aliases.h"
#include "graph.h"

#define MAX_NODES 8

#define NONE (~0u)

/**
 * struct shared - a table that is shared
 * @table: its references
 * @parent: the shared table above it in its owner's space, or NONE
 * @users: set of the spaces that use it
 * @amount: what it maps in its owner's space
 * @node: its node
 */
struct shared {
	const struct table *table;
	unsigned int parent;
	__u64 *users;
	struct amount amount;
	unsigned int node;
};

/**
 * struct node - tables that the same spaces use, or spaces that use the same nodes
 * @first: the first one in the array of them
 * @nr: how many
 * @nr_users: of tables: how many spaces use them
 * @uses: of spaces: set of the nodes that they use
 * @references: of tables: to them
 * @amount: what they map, each byte once; of spaces, what each maps alone
 * @kinds: how many nodes it would be without MAX_NODES
 */
struct node {
	unsigned int first;
	unsigned int nr;
	unsigned int nr_users;
	unsigned int uses;
	__u64 references;
	struct amount amount;
	unsigned int kinds;
};

/**
 * struct space - a space
 * @root: its index among the roots
 * @uses: set of the nodes of tables that it uses
 * @alone: what it maps without the shared tables
 * @stack: its node
 * @vcpu: index of a vCPU that is in it, or NONE
 */
struct space {
	__u32 root;
	unsigned int uses;
	struct amount alone;
	unsigned int stack;
	unsigned int vcpu;
};

/**
 * struct graph - all of it
 * @aliases: what was walked
 * @roots: the spaces
 * @words: length of a set of spaces
 * @sets: all of them
 * @shared: the shared tables, as in @aliases
 * @order: indices into @shared; tables of a node follow each other
 * @spaces: the spaces; those of a node follow each other
 * @nodes: of tables
 * @nr_nodes: length of @nodes
 * @stacks: of spaces
 * @nr_stacks: length of @stacks
 * @references: from each stack to each node
 */
struct graph {
	struct aliases aliases;
	struct libvmem_roots roots;
	size_t words;
	__u64 *sets;
	struct shared *shared;
	unsigned int *order;
	struct space *spaces;
	struct node *nodes;
	unsigned int nr_nodes;
	struct node *stacks;
	unsigned int nr_stacks;
	__u64 references[MAX_NODES][MAX_NODES];
};

/* The first of the references to a table, which has its place in the owner's space. */
const struct vmem_reference *place(const struct shared *shared);

/* The same spaces use the shared table above it. */
bool shared_is_inner(const struct graph *graph, const struct shared *shared);

/* Find all of it from the roots on, or fail(). */
void graph_find(struct libvmem *vm, const struct libvmem_scope *scope,
		struct graph *graph);
void graph_free(struct graph *graph);

#endif
