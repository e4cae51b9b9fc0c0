// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who uses which shared table, and what of that is alike: see graph_nodes.h
 */
#include <stdlib.h>
#include <string.h>

#include "graph_nodes.h"

/* A guest shares tens of tables, or hundreds with 2 levels; each has a set of spaces. */
#define MAX_SHARED 16384

const struct vmem_reference *place(const struct shared *shared)
{
	return &shared->table->refs->reference;
}

/* ---- The users of a table, and the memory that it maps ---- */

static bool is_in(const struct shared *shared, __u32 root, __u64 va)
{
	const struct vmem_reference *a = place(shared);

	return a->owner_root == root && va >= a->their_va &&
	       va - a->their_va < a->len;
}

/* The lowest table from @i upwards that maps an address, or NONE */
static unsigned int climb(const struct graph *graph, unsigned int i, __u32 root,
			  __u64 va)
{
	while (i != NONE && !is_in(&graph->shared[i], root, va))
		i = graph->shared[i].parent;
	return i;
}

/* The lowest shared table of the space's own that maps more than @len at @va */
static unsigned int above(const struct graph *graph, __u32 root, __u64 va,
			  __u64 len)
{
	unsigned int first = 0, end = graph->aliases.nr_tables;
	unsigned int i;

	while (first < end) {
		unsigned int middle = first + (end - first) / 2;
		const struct vmem_reference *a = place(&graph->shared[middle]);

		if (a->owner_root < root ||
		    (a->owner_root == root && a->their_va <= va))
			first = middle + 1;
		else
			end = middle;
	}
	i = climb(graph, first - 1, root, va);
	while (i != NONE && place(&graph->shared[i])->len <= len)
		i = climb(graph, graph->shared[i].parent, root, va);
	return i;
}

static void add_users(const struct graph *graph, struct shared *shared,
		      __u32 root, __u64 va)
{
	unsigned int i = above(graph, root, va, place(shared)->len);

	shared->users[root / 64] |= 1ull << root % 64;
	for (size_t word = 0; i != NONE && word < graph->words; word++)
		shared->users[word] |= graph->shared[i].users[word];
}

/* Those above it are known. */
static void find_users(const struct graph *graph, struct shared *shared)
{
	const struct table *table = shared->table;

	add_users(graph, shared, place(shared)->owner_root,
		  place(shared)->their_va);
	for (size_t i = 0; i < table->nr; i++)
		add_users(graph, shared, table->refs[i].root,
			  table->refs[i].reference.our_va);
}

static void add_mapping(struct amount *amount, const struct vmem_mapping *m,
			__u64 va, __u64 last_va)
{
	__u64 first = m->va > va ? m->va : va;
	__u64 last = m->last_va < last_va ? m->last_va : last_va;

	if (first <= last)
		amount->bytes[m->perms % NR_RIGHTS] += last - first + 1;
}

/* Memory that the rows of a space map there; with @follow, by references as well */
static void add_rows(const struct graph *graph, __u32 root, __u64 va,
		     __u64 last_va, bool follow, struct amount *amount)
{
	const struct walked *walked = &graph->aliases.walked;
	const struct walked_space *space = &walked->spaces[root];
	size_t i = walked_find(walked, space->first, space->end, va);

	/* A row before it may reach into it. */
	for (i -= i > space->first; i < space->end; i++) {
		const struct vmem_record *record = &walked->records[i];
		const struct table *table;

		if (record->type == VMEM_THIS_SPACE) {
			if (record->mapping.va > last_va)
				break;
			add_mapping(amount, &record->mapping, va, last_va);
		}
		if (record->type != VMEM_ALIASING || !follow ||
		    record->reference.our_va < va)
			continue;
		if (record->reference.our_va > last_va)
			break;
		table = aliases_find(&graph->aliases, record);
		for (unsigned int r = 0; r < NR_RIGHTS; r++)
			amount->bytes[r & record->reference.perms] +=
				graph->shared[table - graph->aliases.tables]
					.amount.bytes[r];
	}
}

static void find_parents(struct graph *graph)
{
	for (unsigned int i = 0; i < graph->aliases.nr_tables; i++) {
		struct shared *shared = &graph->shared[i];

		shared->table = &graph->aliases.tables[i];
		shared->users = &graph->sets[i * graph->words];
		shared->parent = climb(graph, i - 1, place(shared)->owner_root,
				       place(shared)->their_va);
	}
}

/* Users are found from the largest tables down, amounts from the smallest up. */
static void find_shared(struct graph *graph)
{
	const unsigned int nr = graph->aliases.nr_tables;

	graph->words = (graph->roots.nr + 63) / 64;
	graph->sets = aliases_array(nr * graph->words, sizeof(__u64));
	graph->shared = aliases_array(nr, sizeof(*graph->shared));
	find_parents(graph);
	for (int bit = 63; bit >= 0; bit--) {
		for (unsigned int i = 0; i < nr; i++) {
			if (place(&graph->shared[i])->len >> bit == 1)
				find_users(graph, &graph->shared[i]);
		}
	}
	for (int bit = 0; bit < 64; bit++) {
		for (unsigned int i = 0; i < nr; i++) {
			const struct vmem_reference *a =
				place(&graph->shared[i]);

			if (a->len >> bit == 1)
				add_rows(graph, a->owner_root, a->their_va,
					 a->their_va + (a->len - 1), true,
					 &graph->shared[i].amount);
		}
	}
}

/* ---- Nodes ---- */

static int compare_sets(const struct graph *graph, unsigned int a,
			unsigned int b)
{
	return memcmp(graph->shared[a].users, graph->shared[b].users,
		      graph->words * sizeof(__u64));
}

bool shared_is_inner(const struct graph *graph, const struct shared *shared)
{
	return shared->parent != NONE &&
	       !compare_sets(graph, shared - graph->shared, shared->parent);
}

static int compare_users(const void *a, const void *b, void *priv)
{
	const unsigned int x = *(const unsigned int *)a;
	const unsigned int y = *(const unsigned int *)b;

	return compare_sets(priv, x, y) ?: (x > y) - (x < y);
}

/* The most used ones first, then those that map most; of spaces, most of them first */
static int compare_nodes(const void *a, const void *b)
{
	const struct node *x = a, *y = b;
	__u64 xs[] = { x->nr_users ?: x->nr, amount_total(&x->amount) };
	__u64 ys[] = { y->nr_users ?: y->nr, amount_total(&y->amount) };

	for (size_t i = 0; i < ARRAY_SIZE(xs); i++) {
		if (xs[i] != ys[i])
			return xs[i] < ys[i] ? 1 : -1;
	}
	return (x->first > y->first) - (x->first < y->first);
}

/* Let the last of MAX_NODES be the rest; returns how many they are then. */
static unsigned int fold(struct node *nodes, unsigned int nr)
{
	struct node *rest = &nodes[MAX_NODES - 1];

	for (unsigned int i = MAX_NODES; i < nr; i++) {
		rest->nr += nodes[i].nr;
		rest->uses |= nodes[i].uses;
		rest->references += nodes[i].references;
		amount_add(&rest->amount, &nodes[i].amount);
		rest->kinds++;
	}
	return nr < MAX_NODES ? nr : MAX_NODES;
}

static unsigned int rank(unsigned int i)
{
	return i < MAX_NODES ? i : MAX_NODES - 1;
}

static void add_table(const struct graph *graph, struct node *node,
		      unsigned int i)
{
	const struct shared *shared = &graph->shared[i];

	node->nr++;
	node->references += shared->table->nr;
	/* A table below another one was counted with that one. */
	if (!shared_is_inner(graph, shared))
		amount_add(&node->amount, &shared->amount);
}

static struct node table_node(const struct graph *graph, unsigned int first)
{
	const __u64 *users = graph->shared[graph->order[first]].users;
	struct node node = { .first = first, .kinds = 1 };

	for (size_t i = 0; i < graph->words; i++)
		node.nr_users += __builtin_popcountll(users[i]);
	return node;
}

static void make_nodes(struct graph *graph)
{
	const unsigned int nr = graph->aliases.nr_tables;
	unsigned int *order = aliases_array(nr, sizeof(*order));
	struct node *nodes = aliases_array(nr, sizeof(*nodes));
	unsigned int nr_nodes = 0;

	graph->order = order;
	graph->nodes = nodes;
	for (unsigned int i = 0; i < nr; i++)
		order[i] = i;
	qsort_r(order, nr, sizeof(*order), compare_users, graph);
	for (unsigned int i = 0; i < nr; i++) {
		if (!i || compare_sets(graph, order[i - 1], order[i]))
			nodes[nr_nodes++] = table_node(graph, i);
		add_table(graph, &nodes[nr_nodes - 1], order[i]);
	}
	qsort(nodes, nr_nodes, sizeof(*nodes), compare_nodes);
	for (unsigned int i = 0; i < nr_nodes; i++) {
		for (unsigned int j = 0; j < nodes[i].nr; j++)
			graph->shared[order[nodes[i].first + j]].node = rank(i);
	}
	graph->nr_nodes = fold(nodes, nr_nodes);
}

/* Memory that the space maps without the shared tables that it owns */
static void measure(const struct graph *graph, struct space *space)
{
	const struct aliases *aliases = &graph->aliases;
	struct amount shared = {};

	add_rows(graph, space->root, 0, ~0ull, false, &space->alone);
	for (size_t i = 0; i < aliases->nr_tables; i++) {
		const struct vmem_reference *a = place(&graph->shared[i]);

		if (a->owner_root == space->root &&
		    graph->shared[i].parent == NONE)
			add_rows(graph, space->root, a->their_va,
				 a->their_va + (a->len - 1), false, &shared);
	}
	for (int i = 0; i < NR_RIGHTS; i++)
		space->alone.bytes[i] -= shared.bytes[i];
}

static void mark_vcpus(struct libvmem *vm, struct graph *graph)
{
	struct vmem_info_args info;

	if (libvmem_info(vm, &info, NULL))
		return;
	for (unsigned int i = 0; i < info.out_nr_vcpus; i++) {
		struct vmem_vcpu_args vcpu;

		if (libvmem_vcpu(vm, i, PATIENCE_US, &vcpu, NULL) ||
		    !libvmem_has_own_root(&vcpu))
			continue;
		for (unsigned int j = 0; j < graph->roots.nr; j++) {
			if (graph->spaces[j].vcpu == NONE &&
			    libvmem_space_of_root(&graph->roots, j) ==
				    libvmem_root(&vcpu.out_regs))
				graph->spaces[j].vcpu = i;
		}
	}
}

static void find_spaces(struct libvmem *vm, struct graph *graph)
{
	graph->spaces = aliases_array(graph->roots.nr, sizeof(*graph->spaces));
	for (unsigned int i = 0; i < graph->roots.nr; i++) {
		struct space *space = &graph->spaces[i];

		space->root = i;
		space->vcpu = NONE;
		measure(graph, space);
		for (size_t j = 0; j < graph->aliases.nr_tables; j++) {
			const struct shared *shared = &graph->shared[j];

			if (shared->users[i / 64] >> i % 64 & 1)
				space->uses |= 1u << shared->node;
		}
	}
	mark_vcpus(vm, graph);
}

/* On a vCPU first, then by what they map */
static int compare_in_stack(const struct space *x, const struct space *y)
{
	__u64 xs[] = { x->vcpu == NONE, ~amount_total(&x->alone), x->root };
	__u64 ys[] = { y->vcpu == NONE, ~amount_total(&y->alone), y->root };

	for (size_t i = 0; i < ARRAY_SIZE(xs); i++) {
		if (xs[i] != ys[i])
			return xs[i] < ys[i] ? -1 : 1;
	}
	return 0;
}

static int compare_uses(const void *a, const void *b)
{
	const struct space *x = a, *y = b;

	return (x->uses > y->uses) - (x->uses < y->uses);
}

static int compare_spaces(const void *a, const void *b)
{
	const struct space *x = a, *y = b;

	return (x->stack > y->stack) - (x->stack < y->stack) ?:
		       compare_in_stack(x, y);
}

static void make_stacks(struct graph *graph)
{
	const unsigned int nr = graph->roots.nr;
	struct node *stacks = aliases_array(nr, sizeof(*stacks));
	struct space *spaces = graph->spaces;
	unsigned int nr_stacks = 0, first = 0;

	graph->stacks = stacks;
	qsort(spaces, nr, sizeof(*spaces), compare_uses);
	for (unsigned int i = 0; i < nr; i++) {
		if (!i || compare_uses(&spaces[i - 1], &spaces[i]))
			stacks[nr_stacks++] = (struct node){
				.first = i,
				.uses = spaces[i].uses,
				.kinds = 1,
			};
		stacks[nr_stacks - 1].nr++;
		amount_add(&stacks[nr_stacks - 1].amount, &spaces[i].alone);
	}
	qsort(stacks, nr_stacks, sizeof(*stacks), compare_nodes);
	for (unsigned int i = 0; i < nr_stacks; i++) {
		for (unsigned int j = 0; j < stacks[i].nr; j++)
			spaces[stacks[i].first + j].stack = rank(i);
	}
	graph->nr_stacks = fold(stacks, nr_stacks);
	qsort(spaces, nr, sizeof(*spaces), compare_spaces);
	for (unsigned int i = 0; i < graph->nr_stacks; i++) {
		stacks[i].first = first;
		first += stacks[i].nr;
	}
}

static void count_references(struct graph *graph)
{
	unsigned int *stacks = aliases_array(graph->roots.nr, sizeof(*stacks));

	for (unsigned int i = 0; i < graph->roots.nr; i++)
		stacks[graph->spaces[i].root] = graph->spaces[i].stack;
	for (size_t i = 0; i < graph->aliases.nr_tables; i++) {
		const struct shared *shared = &graph->shared[i];

		for (size_t j = 0; j < shared->table->nr; j++)
			graph->references[stacks[shared->table->refs[j].root]]
					 [shared->node]++;
	}
	free(stacks);
}

void graph_find(struct libvmem *vm, const struct libvmem_scope *scope,
		struct graph *graph)
{
	struct libvmem_error error;

	check(walk_spaces(vm, &graph->roots, scope, NULL, NULL,
			  &graph->aliases.walked, &error),
	      &error);
	aliases_collect(&graph->aliases);
	if (graph->aliases.nr_tables > MAX_SHARED)
		die("%zu tables are shared, too many for a picture: give fewer roots, or a range",
		    graph->aliases.nr_tables);
	find_shared(graph);
	make_nodes(graph);
	find_spaces(vm, graph);
	make_stacks(graph);
	count_references(graph);
}

void graph_free(struct graph *graph)
{
	free(graph->order);
	free(graph->nodes);
	free(graph->stacks);
	free(graph->spaces);
	free(graph->shared);
	free(graph->sets);
	aliases_free(&graph->aliases);
}
