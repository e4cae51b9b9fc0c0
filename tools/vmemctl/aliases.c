// SPDX-License-Identifier: GPL-2.0-only
/*
 * vmemctl aliases: shared tables, their owners and the references to them
 */
#include <stdlib.h>

#include "aliases.h"

/* Rows of references that the text shows of one table. */
#define ROWS_A_TABLE 8

/* Sequences of spaces that a row of these names. */
#define PARTS_A_ROW 6

static int compare(__u64 a, __u64 b)
{
	return (a > b) - (a < b);
}

/* By target. A guest that runs may put several tables at one address. */
static int compare_targets(const struct vmem_record *a,
			   const struct vmem_record *b)
{
	const struct vmem_reference *x = &a->reference, *y = &b->reference;

	return compare(x->owner_root, y->owner_root)	 ?:
		       compare(x->their_va, y->their_va) ?:
		       compare(y->table, x->table)	 ?:
		       compare(x->table_gpa, y->table_gpa);
}

static int compare_refs(const void *a, const void *b)
{
	const struct vmem_record *x = a, *y = b;

	return compare_targets(x, y)		 ?:
		       compare(x->root, y->root) ?:
		       compare(x->reference.our_va, y->reference.our_va);
}

static int compare_tables(const void *a, const void *b)
{
	const struct table *x = a, *y = b;

	return compare(y->nr, x->nr)			     ?:
		       compare(y->expands_to, x->expands_to) ?:
		       compare_targets(x->refs, y->refs);
}

/* Runs that are alike but for their space are neighbours. */
static int compare_shapes(const struct run *a, const struct run *b)
{
	const struct vmem_reference *x = &a->first->reference;
	const struct vmem_reference *y = &b->first->reference;

	return compare(x->our_va, y->our_va)	 ?:
		       compare(a->nr, b->nr)	 ?:
		       compare(a->step, b->step) ?:
						   compare(x->perms, y->perms);
}

static int compare_runs(const void *a, const void *b)
{
	const struct run *x = a, *y = b;

	return compare_shapes(x, y) ?: compare(x->first->root, y->first->root);
}

void *aliases_array(size_t nr, size_t size)
{
	void *new = calloc(nr ? nr : 1, size);

	if (!new)
		die("out of memory for the references: ask for fewer roots or a smaller range");
	return new;
}

static void collect_refs(struct aliases *aliases)
{
	const struct walked *walked = &aliases->walked;

	aliases->refs = aliases_array(walked->nr, sizeof(*aliases->refs));
	for (size_t i = 0; i < walked->nr; i++) {
		if (walked->records[i].type == VMEM_ALIASING)
			aliases->refs[aliases->nr_refs++] = walked->records[i];
	}
	qsort(aliases->refs, aliases->nr_refs, sizeof(*aliases->refs),
	      compare_refs);
}

static void count_table(const struct walked *walked, struct table *table)
{
	const struct vmem_reference *a = &table->refs->reference;

	table->leaves =
		walked_leaves(walked, a->owner_root, a->their_va, a->len);
	if (__builtin_mul_overflow(table->leaves, table->nr,
				   &table->expands_to))
		table->expands_to = ~0ull;
}

static void collect_tables(struct aliases *aliases)
{
	struct table *table = NULL;

	aliases->tables =
		aliases_array(aliases->nr_refs, sizeof(*aliases->tables));
	for (size_t i = 0; i < aliases->nr_refs; i++) {
		const struct vmem_record *ref = &aliases->refs[i];

		if (!table || compare_targets(table->refs, ref)) {
			table = &aliases->tables[aliases->nr_tables++];
			table->refs = ref;
		}
		table->nr++;
	}
	for (size_t i = 0; i < aliases->nr_tables; i++)
		count_table(&aliases->walked, &aliases->tables[i]);
}

void aliases_collect(struct aliases *aliases)
{
	collect_refs(aliases);
	collect_tables(aliases);
}

const struct table *aliases_find(const struct aliases *aliases,
				 const struct vmem_record *ref)
{
	size_t first = 0, end = aliases->nr_tables;

	while (first < end) {
		size_t middle = first + (end - first) / 2;

		if (compare_targets(aliases->tables[middle].refs, ref) < 0)
			first = middle + 1;
		else
			end = middle;
	}
	return &aliases->tables[first];
}

void aliases_free(struct aliases *aliases)
{
	free(aliases->refs);
	free(aliases->tables);
	walked_free(&aliases->walked);
}

static void print_owner(const struct vmem_regs *regs, const struct table *table)
{
	const struct vmem_reference *a = &table->refs->reference;

	out("  owner: space %u (root %0*llx) at ", a->owner_root,
	    gpa_digits(regs), a->space);
	print_region(regs, a->their_va, a->their_va + (a->len - 1));
	out(" ");
	print_perms(a->owner_perms);
	out("\n");
}

/* Length of the runs that are alike but for their space. */
static size_t nr_alike(const struct run *runs, size_t nr)
{
	size_t i = 1;

	while (i < nr && !compare_shapes(runs, &runs[i]))
		i++;
	return i;
}

/* Length of the runs whose spaces follow each other. */
static size_t nr_in_sequence(const struct run *runs, size_t nr)
{
	size_t i = 1;

	while (i < nr && runs[i].first->root == runs[i - 1].first->root + 1)
		i++;
	return i;
}

/* "spaces 1-4, 7" */
static void print_spaces(const struct run *runs, size_t nr)
{
	size_t parts = 0, sequence;

	out("space%s ", plural(nr, "", "s"));
	for (size_t i = 0; i < nr && parts < PARTS_A_ROW; i += sequence) {
		__u32 root = runs[i].first->root;

		sequence = nr_in_sequence(&runs[i], nr - i);
		out(parts++ ? ", %u" : "%u", root);
		if (sequence > 1)
			out("-%zu", root + sequence - 1);
		if (parts == PARTS_A_ROW && i + sequence < nr)
			out(", ... (%zu spaces)", nr);
	}
}

/* Print runs that are alike but for their space. */
static void print_runs(const struct vmem_regs *regs, const struct run *runs,
		       size_t nr)
{
	const struct vmem_reference *a = &runs->first->reference;
	char size[SIZE_TEXT_MAX];

	print_spaces(runs, nr);
	out(" at ");
	print_region(regs, a->our_va,
		     a->our_va + (runs->nr - 1) * runs->step + (a->len - 1));
	out(" ");
	print_perms(a->perms);
	out("%s", is_wider(a) ? "*" : "");
	if (runs->nr > 1)
		out(", %zu times%s", runs->nr, nr > 1 ? " each" : "");
	if (runs->nr > 1 && runs->step != a->len)
		out(", one every %s", size_text(runs->step, size));
	out("\n");
}

static size_t find_runs(const struct table *table, struct run *runs)
{
	size_t nr = 0;

	for (size_t i = 0; i < table->nr; nr++)
		i += run_find(&table->refs[i], table->nr - i, &runs[nr]);
	qsort(runs, nr, sizeof(*runs), compare_runs);
	return nr;
}

static void print_refs(const struct vmem_regs *regs, const struct table *table,
		       struct run *runs)
{
	size_t nr_runs = find_runs(table, runs);
	size_t rows = 0, shown = 0, nr;

	for (size_t i = 0; i < nr_runs && rows < ROWS_A_TABLE; i += nr) {
		nr = nr_alike(&runs[i], nr_runs - i);
		out("  %s ", rows++ ? "      " : " from:");
		print_runs(regs, &runs[i], nr);
		shown += nr * runs[i].nr;
	}
	if (shown < table->nr)
		out("         and %zu more\n", table->nr - shown);
}

static bool has_wider(const struct aliases *aliases)
{
	for (size_t i = 0; i < aliases->nr_refs; i++) {
		if (is_wider(&aliases->refs[i].reference))
			return true;
	}
	return false;
}

static void print_table(const struct aliases *aliases,
			const struct table *table)
{
	const struct vmem_regs *regs = &aliases->walked.roots->regs;
	const struct vmem_reference *a = &table->refs->reference;

	out("%s %0*llx: %zu reference%s to %llu %s, expanded: %llu\n",
	    table_name(a->table), gpa_digits(regs), a->table_gpa, table->nr,
	    plural(table->nr, "", "s"), table->leaves,
	    plural(table->leaves, "leaf", "leaves"), table->expands_to);
	print_owner(regs, table);
	print_refs(regs, table, aliases->runs);
	out("\n");
}

static void print_text(struct aliases *aliases)
{
	aliases->runs = aliases_array(aliases->nr_refs, sizeof(*aliases->runs));
	for (size_t i = 0; i < aliases->nr_tables; i++)
		print_table(aliases, &aliases->tables[i]);
	free(aliases->runs);
	if (has_wider(aliases))
		print_wider_note();
	out("%zu shared table%s\n", aliases->nr_tables,
	    plural(aliases->nr_tables, "", "s"));
	print_stats(&aliases->walked);
}

static void put_reference(const struct walked *walked,
			  const struct vmem_record *ref)
{
	const struct vmem_reference *a = &ref->reference;

	json_open_row(NULL, "table-reference");
	json_put_count("space", ref->root);
	json_put_hex("root", libvmem_space_of_root(walked->roots, ref->root));
	json_put_hex("va", a->our_va);
	json_put_perms(a->perms);
	json_put_bool("wider", is_wider(a));
	json_close();
}

static void put_table(const struct walked *walked, const struct table *table)
{
	const struct vmem_reference *a = &table->refs->reference;

	json_open_row(NULL, "table");
	json_put_name("level", table_name(a->table));
	json_put_hex("table_gpa", a->table_gpa);
	json_put_owner(true, a->owner_root, a->space, a->their_va);
	json_put_count("len", a->len);
	json_put_perms(a->owner_perms);
	json_put_count("leaves", table->leaves);
	json_put_count("expands_to", table->expands_to);
	json_open_list("references");
	for (size_t i = 0; i < table->nr; i++)
		put_reference(walked, &table->refs[i]);
	json_close();
	json_close();
}

static void print_json(const struct aliases *aliases)
{
	json_begin("aliases");
	json_put_spaces(aliases->walked.roots);
	json_open_list("tables");
	for (size_t i = 0; i < aliases->nr_tables; i++)
		put_table(&aliases->walked, &aliases->tables[i]);
	json_close();
	json_put_stats(&aliases->walked);
	json_end();
}

static void run(struct opts *opts, int nr_args, char **args)
{
	static struct libvmem_roots roots;
	struct libvmem_error error;
	struct aliases aliases = {};
	struct libvmem *vm;

	parse_range("aliases", nr_args, args, &opts->scope);
	vm = guest_open(opts);
	guest_roots(vm, opts, true, &roots);
	check(walk_spaces(vm, &roots, &opts->scope, NULL, NULL, &aliases.walked,
			  &error),
	      &error);
	aliases_collect(&aliases);
	qsort(aliases.tables, aliases.nr_tables, sizeof(*aliases.tables),
	      compare_tables);
	if (opts->json)
		print_json(&aliases);
	else
		print_text(&aliases);
	aliases_free(&aliases);
	guest_close(vm, opts);
}

const struct command aliases_command = {
	.name = "aliases",
	.args = "[VA LAST_VA]",
	.summary = "the shared tables only: owners and references",
	.help = "List the tables that are reached more than once, in one space or from\n"
		"several, the most referenced first.\n"
		"\vRoots and range are those of spaces. Each table is shown with its\n"
		"guest-physical address, the leaves behind it (those of tables that it\n"
		"refers to as well) and what its references expand to; then its owner\n"
		"and the first references, with the addresses and rights of each. -j has\n"
		"them all.",
	.takes = TAKES_SPACES | TAKES_EXCLUDE,
	.run = run,
};
