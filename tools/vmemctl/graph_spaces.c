// SPDX-License-Identifier: GPL-2.0-only
/*
 * Spaces and the tables that they share, as a graph for Graphviz
 *
 * Tables that the same spaces use are one node, and so are spaces that use the same of
 * these nodes. There are never more than MAX_NODES of each: the last one has the rest.
 */
#include <stdlib.h>
#include <string.h>

#include "aliases.h"
#include "graph.h"

/* A guest shares tens of tables, or hundreds with 2 levels: see struct shared. */
#define MAX_SHARED 65536
#define MAX_NODES 12
#define MAX_ROWS 14
#define MAX_CELLS 144
#define COLUMNS 12

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

static const struct vmem_reference *place(const struct shared *shared)
{
	return &shared->table->refs->reference;
}

/* ---- Who uses a table, and what it maps ---- */

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

/* What the rows of a space map there; with @follow, by references as well */
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

static void add_amount(struct amount *to, const struct amount *amount)
{
	for (int i = 0; i < NR_RIGHTS; i++)
		to->bytes[i] += amount->bytes[i];
}

static int compare_sets(const struct graph *graph, unsigned int a,
			unsigned int b)
{
	return memcmp(graph->shared[a].users, graph->shared[b].users,
		      graph->words * sizeof(__u64));
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
		add_amount(&rest->amount, &nodes[i].amount);
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
	/* What is below another one has been counted with it. */
	if (shared->parent == NONE || compare_sets(graph, i, shared->parent))
		add_amount(&node->amount, &shared->amount);
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

/* What it maps but for the shared tables that it owns */
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
		add_amount(&stacks[nr_stacks - 1].amount, &spaces[i].alone);
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

/* ---- What is printed ---- */

static const char *plural(__u64 nr)
{
	return nr == 1 ? "" : "s";
}

/* Cells with rights and how much has them */
static void print_rights(const struct amount *amount)
{
	char size[SIZE_TEXT_MAX];

	for (int i = amount_next(amount, -1); i >= 0;
	     i = amount_next(amount, i))
		out("&#160; <FONT FACE=\"monospace\">%s</FONT>&#160;%s%s%s",
		    rights_name(i), is_exposed(i) ? "<B>" : "",
		    size_text(amount->bytes[i], size),
		    is_exposed(i) ? "</B>" : "");
}

/* The same in a tooltip */
static void print_plain_rights(const struct amount *amount)
{
	char size[SIZE_TEXT_MAX];

	for (int i = amount_next(amount, -1); i >= 0;
	     i = amount_next(amount, i))
		out("&#10;%s %s", rights_name(i),
		    size_text(amount->bytes[i], size));
}

/* From less than 1 MiB on, eight times as much for each */
static const char *const shades[] = {
	"#ffffff", "#e8e8e8", "#d0d0d0", "#b8b8b8", "#a0a0a0",
};

static unsigned int shade(__u64 bytes)
{
	unsigned int shade = 0;

	for (bytes >>= 20; bytes && shade < ARRAY_SIZE(shades) - 1; bytes >>= 3)
		shade++;
	return shade;
}

static void print_cell(const struct graph *graph, const struct space *space)
{
	const __u64 root = libvmem_space_of_root(&graph->roots, space->root);
	const __u64 bytes = amount_total(&space->alone);
	char size[SIZE_TEXT_MAX];

	out("<TD BORDER=\"%d\" BGCOLOR=\"%s\" HREF=\"#\" TOOLTIP=\"space %u: root %llx",
	    space->vcpu == NONE ? 1 : 3, shades[shade(bytes)], space->root,
	    root);
	if (space->vcpu != NONE)
		out(", on vCPU %u", space->vcpu);
	out("&#10;alone it maps:");
	print_plain_rights(&space->alone);
	out("\"><FONT FACE=\"monospace\">%llx</FONT><BR/>", root);
	if (space->vcpu != NONE)
		out("<B>vCPU %u</B><BR/>", space->vcpu);
	out("%s%s</TD>", size_text(bytes, size),
	    amount_exposed(&space->alone) ?
		    " <FONT COLOR=\"#b00000\"><B>w+x</B></FONT>" :
		    "");
}

static void print_stack(const struct graph *graph, unsigned int index)
{
	const struct node *stack = &graph->stacks[index];
	unsigned int share = MAX_CELLS * stack->nr / graph->roots.nr;
	unsigned int columns = COLUMNS, cells;
	char size[SIZE_TEXT_MAX];

	share += COLUMNS - share % COLUMNS;
	cells = stack->nr < share ? stack->nr : share;
	columns = cells < columns ? cells : columns;
	out("s%u [spaces=%u, kinds=%u, bytes=\"%llu\",\n"
	    "label=<<TABLE BORDER=\"1\" CELLBORDER=\"1\"\n"
	    " CELLSPACING=\"2\" CELLPADDING=\"3\">\n<TR><TD COLSPAN=\"%u\" BORDER=\"0\">\n"
	    "<FONT POINT-SIZE=\"13\"><B>%u space%s</B></FONT><BR/>",
	    index, stack->nr, stack->kinds, amount_total(&stack->amount),
	    columns, stack->nr, plural(stack->nr));
	if (stack->kinds > 1)
		out("of %u kinds that are not drawn apart<BR/>", stack->kinds);
	out("%s%s</TD></TR>\n",
	    stack->nr > 1 ? "each by itself, together " : "by itself ",
	    size_text(amount_total(&stack->amount), size));
	for (unsigned int i = 0; i < cells; i++) {
		out("%s", i % columns ? "" : "<TR>");
		print_cell(graph, &graph->spaces[stack->first + i]);
		out("%s", (i + 1) % columns && i + 1 < cells ? "" : "</TR>\n");
	}
	if (cells < stack->nr)
		out("<TR><TD COLSPAN=\"%u\" BORDER=\"0\">and %u more, which map less</TD></TR>\n",
		    columns, stack->nr - cells);
	out("</TABLE>>];\n");
}

/*
 * How many tables beginning with this one are in one row: those that follow each other in
 * one space, where each of its own would be too many
 */
static unsigned int nr_in_row(const struct graph *graph,
			      const struct node *node, unsigned int first,
			      struct amount *amount)
{
	const struct shared *last = &graph->shared[graph->order[first]];
	unsigned int i = first + 1;

	*amount = last->amount;
	for (; i < node->first + node->nr && node->nr > MAX_ROWS; i++) {
		const struct shared *next = &graph->shared[graph->order[i]];
		const struct vmem_reference *a = place(last), *b = place(next);

		if (a->owner_root != b->owner_root || a->table != b->table ||
		    a->their_va + a->len != b->their_va)
			break;
		add_amount(amount, &next->amount);
		last = next;
	}
	return i - first;
}

static void print_tables(const struct graph *graph, unsigned int first,
			 unsigned int nr, const struct amount *amount)
{
	const struct shared *from = &graph->shared[graph->order[first]];
	const struct shared *last =
		&graph->shared[graph->order[first + nr - 1]];
	const struct vmem_regs *regs = &graph->roots.regs;
	char size[SIZE_TEXT_MAX];
	__u64 references = 0;

	for (unsigned int i = first; i < first + nr; i++)
		references += graph->shared[graph->order[i]].table->nr;
	out("<TR><TD ALIGN=\"LEFT\" HREF=\"#\" TOOLTIP=\"");
	if (nr == 1)
		out("%s %llx", table_name(place(from)->table),
		    place(from)->table_gpa);
	else
		out("%u %ss", nr, table_name(place(from)->table));
	out(", of space %u at ", place(from)->owner_root);
	print_region(regs, place(from)->their_va,
		     place(last)->their_va + (place(last)->len - 1));
	out("&#10;references: %llu", references);
	print_plain_rights(amount);
	out("\"><FONT FACE=\"monospace\">%0*llx</FONT></TD><TD>",
	    va_digits(regs), place(from)->their_va);
	if (nr > 1)
		out("%u ", nr);
	out("%s%s</TD><TD ALIGN=\"RIGHT\">%s</TD><TD ALIGN=\"LEFT\">",
	    table_name(place(from)->table), plural(nr),
	    size_text(amount_total(amount), size));
	print_rights(amount);
	out("</TD></TR>\n");
}

static void print_rows(const struct graph *graph, const struct node *node)
{
	unsigned int rows = 0, i, nr, end = node->first + node->nr;
	struct amount amount;

	for (i = node->first; i < end && rows < MAX_ROWS; i += nr, rows++) {
		nr = nr_in_row(graph, node, i, &amount);
		print_tables(graph, i, nr, &amount);
	}
	if (i < end)
		out("<TR><TD COLSPAN=\"4\" ALIGN=\"LEFT\">and %u tables more</TD></TR>\n",
		    end - i);
}

static void print_node(const struct graph *graph, unsigned int index)
{
	const struct node *node = &graph->nodes[index];
	char size[SIZE_TEXT_MAX];

	out("t%u [tables=%u, kinds=%u, users=%u, references=\"%llu\", bytes=\"%llu\",\n"
	    " label=<<TABLE BORDER=\"2\" STYLE=\"ROUNDED\" CELLBORDER=\"0\" CELLSPACING=\"0\"\n"
	    " CELLPADDING=\"3\">\n<TR><TD COLSPAN=\"4\"><FONT POINT-SIZE=\"13\">\n"
	    "<B>%u table%s</B></FONT><BR/>",
	    index, node->nr, node->kinds, node->nr_users, node->references,
	    amount_total(&node->amount), node->nr, plural(node->nr));
	if (node->kinds > 1)
		out("of %u sets of spaces that are not drawn apart",
		    node->kinds);
	else if (node->nr_users == graph->roots.nr && node->nr_users > 1)
		out("that all %u spaces use", node->nr_users);
	else if (node->nr_users > 1)
		out("that %u spaces use", node->nr_users);
	else
		out("that one space uses at several addresses");
	out("<BR/>%llu references; mapped: %s</TD></TR>\n", node->references,
	    size_text(amount_total(&node->amount), size));
	if (node->kinds == 1)
		print_rows(graph, node);
	out("</TABLE>>];\n");
}

static void print_edges(const struct graph *graph, unsigned int stack)
{
	const struct node *from = &graph->stacks[stack];

	for (unsigned int i = 0; i < graph->nr_nodes; i++) {
		if (!(from->uses >> i & 1))
			continue;
		out("s%u -> t%u [references=\"%llu\", style=%s,\n"
		    " tooltip=\"%u space%s, %u table%s, %llu reference%s\"];\n",
		    stack, i, graph->references[stack][i],
		    from->kinds > 1 || graph->nodes[i].kinds > 1 ? "dashed" :
								   "solid",
		    from->nr, plural(from->nr), graph->nodes[i].nr,
		    plural(graph->nodes[i].nr), graph->references[stack][i],
		    plural(graph->references[stack][i]));
	}
}

static void print_title(const struct graph *graph, const struct opts *opts)
{
	const struct aliases *aliases = &graph->aliases;
	static const char *const from[] = { "less", "from 1 MiB", "from 8 MiB",
					    "from 64 MiB", "from 512 MiB" };

	out("digraph vmem {\nrankdir=LR; ranksep=1.2; nodesep=0.3; labelloc=t;\n"
	    "fontname=\"sans-serif\"; fontsize=11;\n"
	    "node [shape=plain, fontname=\"sans-serif\", fontsize=10];\n"
	    "edge [penwidth=1.5, color=\"#555555\"];\n"
	    "label=<<TABLE BORDER=\"0\" CELLSPACING=\"0\"><TR><TD COLSPAN=\"9\">\n"
	    "<FONT POINT-SIZE=\"18\"><B>%u address space%s and the tables that they share\n"
	    "</B></FONT></TD></TR><TR><TD COLSPAN=\"9\">",
	    graph->roots.nr, plural(graph->roots.nr));
	out_guest(opts);
	out(", %s: %zu shared table%s, %zu references</TD></TR>\n<TR><TD>",
	    libvmem_mode_text(libvmem_mode(&graph->roots.regs)),
	    aliases->nr_tables, plural(aliases->nr_tables), aliases->nr_refs);
	out("a space: its root, and what it maps alone, without the shared tables:  </TD>");
	for (size_t i = 0; i < ARRAY_SIZE(shades); i++)
		out("<TD BORDER=\"1\" BGCOLOR=\"%s\">%s</TD>", shades[i],
		    from[i]);
	out("</TR>\n<TR><TD COLSPAN=\"9\">r: readable, w: writable, x: executable,\n"
	    " u: user mode too, s: supervisor only</TD></TR></TABLE>>;\n");
}

static void print_graph(const struct graph *graph, const struct opts *opts)
{
	print_title(graph, opts);
	for (unsigned int i = 0; i < graph->nr_stacks; i++)
		print_stack(graph, i);
	for (unsigned int i = 0; i < graph->nr_nodes; i++)
		print_node(graph, i);
	for (unsigned int i = 0; i < graph->nr_stacks; i++)
		print_edges(graph, i);
	out("}\n");
}

void graph_spaces(struct libvmem *vm, const struct opts *opts)
{
	static struct graph graph;
	struct libvmem_error error;

	guest_roots(vm, opts, true, &graph.roots);
	libvmem_drop_repeated_roots(&graph.roots);
	check(walk_spaces(vm, &graph.roots, &opts->scope, NULL, NULL,
			  &graph.aliases.walked, &error),
	      &error);
	aliases_collect(&graph.aliases);
	if (graph.aliases.nr_tables > MAX_SHARED)
		die("%zu tables are shared, which no picture shows: give fewer roots, or a range",
		    graph.aliases.nr_tables);
	find_shared(&graph);
	make_nodes(&graph);
	find_spaces(vm, &graph);
	make_stacks(&graph);
	count_references(&graph);
	print_graph(&graph, opts);
	free(graph.order);
	free(graph.nodes);
	free(graph.stacks);
	free(graph.spaces);
	free(graph.shared);
	free(graph.sets);
	aliases_free(&graph.aliases);
}
