// SPDX-License-Identifier: GPL-2.0-only
/*
 * Spaces and the tables that they share, as text for Graphviz
 */
#include "graph_nodes.h"

/* Rows of a node of tables; spaces that are drawn in all, about, and in a row */
#define MAX_ROWS 14
#define MAX_CELLS 144
#define COLUMNS 12

/* Rights, and how much has them. Some viewers drop spaces at the end of bold text. */
static void print_rights(const struct amount *amount)
{
	const char *comma = "";
	char size[SIZE_TEXT_MAX];

	for (int i = amount_next(amount, -1); i >= 0;
	     i = amount_next(amount, i)) {
		out(is_exposed(i) ? "%s<B>%s %s</B>" : "%s%s %s", comma,
		    rights_name(i), size_text(amount->bytes[i], size));
		comma = ", ";
	}
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
	out("\"spaces %u\" [spaces=%u, kinds=%u, bytes=\"%llu\",\n"
	    "label=<<TABLE BORDER=\"1\" CELLBORDER=\"1\"\n"
	    " CELLSPACING=\"2\" CELLPADDING=\"3\">\n<TR><TD COLSPAN=\"%u\" BORDER=\"0\">\n"
	    "<FONT POINT-SIZE=\"13\"><B>%u space%s</B></FONT><BR/>",
	    index, stack->nr, stack->kinds, amount_total(&stack->amount),
	    columns, stack->nr, plural(stack->nr, "", "s"));
	if (stack->kinds > 1)
		out("of %u kinds that are not drawn apart<BR/>", stack->kinds);
	out("%s %s</TD></TR>\n",
	    stack->nr > 1 ? "alone they map, in all," : "alone it maps",
	    size_text(amount_total(&stack->amount), size));
	for (unsigned int i = 0; i < cells; i++) {
		out("%s", i % columns ? "" : "<TR>");
		print_cell(graph, &graph->spaces[stack->first + i]);
		out("%s", (i + 1) % columns && i + 1 < cells ? "" : "</TR>\n");
	}
	if (cells < stack->nr)
		out("<TR><TD COLSPAN=\"%u\" BORDER=\"0\">and %u more, none larger</TD></TR>\n",
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
		amount_add(amount, &next->amount);
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
	out("\"><FONT FACE=\"monospace\">%s%0*llx</FONT></TD><TD>",
	    shared_is_inner(graph, from) ? "&#9492; " : "", va_digits(regs),
	    place(from)->their_va);
	if (nr > 1)
		out("%u ", nr);
	out("%s%s</TD><TD ALIGN=\"RIGHT\">%s</TD><TD ALIGN=\"LEFT\">",
	    table_name(place(from)->table), plural(nr, "", "s"),
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
		out("<TR><TD COLSPAN=\"4\" ALIGN=\"LEFT\">and %u table%s more</TD></TR>\n",
		    end - i, plural(end - i, "", "s"));
}

static void print_node(const struct graph *graph, unsigned int index)
{
	const struct node *node = &graph->nodes[index];
	char size[SIZE_TEXT_MAX];

	out("\"tables %u\" [tables=%u, kinds=%u, users=%u, references=\"%llu\", bytes=\"%llu\",\n"
	    " label=<<TABLE BORDER=\"2\" STYLE=\"ROUNDED\" CELLBORDER=\"0\" CELLSPACING=\"0\"\n"
	    " CELLPADDING=\"3\">\n<TR><TD COLSPAN=\"4\"><FONT POINT-SIZE=\"13\">\n"
	    "<B>%u table%s</B></FONT><BR/>",
	    index, node->nr, node->kinds, node->nr_users, node->references,
	    amount_total(&node->amount), node->nr, plural(node->nr, "", "s"));
	if (node->kinds > 1)
		out("of %u sets of spaces that are not drawn apart",
		    node->kinds);
	else if (node->nr_users == graph->roots.nr && node->nr_users > 1)
		out("that all %u spaces use", node->nr_users);
	else if (node->nr_users > 1)
		out("that %u spaces use", node->nr_users);
	else
		out("that one space uses at several addresses");
	out("<BR/>%llu reference%s; mapped: %s</TD></TR>\n", node->references,
	    plural(node->references, "", "s"),
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
		out("\"spaces %u\" -> \"tables %u\" [references=\"%llu\", style=%s,\n"
		    " tooltip=\"%u space%s, %u table%s, %llu reference%s\"];\n",
		    stack, i, graph->references[stack][i],
		    from->kinds > 1 || graph->nodes[i].kinds > 1 ? "dashed" :
								   "solid",
		    from->nr, plural(from->nr, "", "s"), graph->nodes[i].nr,
		    plural(graph->nodes[i].nr, "", "s"),
		    graph->references[stack][i],
		    plural(graph->references[stack][i], "", "s"));
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
	    graph->roots.nr, plural(graph->roots.nr, "", "s"));
	out_guest(opts);
	out(", %s: %zu shared table%s, %zu reference%s",
	    libvmem_mode_text(libvmem_mode(&graph->roots.regs)),
	    aliases->nr_tables, plural(aliases->nr_tables, "", "s"),
	    aliases->nr_refs, plural(aliases->nr_refs, "", "s"));
	if (aliases->walked.stats.anomalies)
		out("; entries that lead nowhere, or back: %llu",
		    aliases->walked.stats.anomalies);
	out("</TD></TR>\n<TR><TD>");
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

	guest_roots(vm, opts, true, &graph.roots);
	libvmem_drop_repeated_roots(&graph.roots);
	graph_find(vm, &opts->scope, &graph);
	print_graph(&graph, opts);
	graph_free(&graph);
}
