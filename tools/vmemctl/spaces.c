// SPDX-License-Identifier: GPL-2.0-only
/*
 * vmemctl spaces: all spaces, with references in place of shared tables
 */
#include "vmemctl.h"

/* "PT of space 0 at ..., 3 times", or "3 PTs of space 0 at ..." */
static void print_target(const struct vmem_regs *regs, const struct run *run)
{
	const struct vmem_reference *a = &run->first->reference;
	const char *table = table_name(a->table);
	__u64 last = a->their_va + (run->nr - 1) * run->their_step;
	char size[SIZE_TEXT_MAX];

	if (run->their_step)
		out("%zu %ss", run->nr, table);
	else
		out("%s", table);
	if (a->owner_root == run->first->root)
		out(" of this space at ");
	else
		out(" of space %u at ", a->owner_root);
	print_region(regs, a->their_va, last + (a->len - 1));
	if (run->nr > 1 && !run->their_step)
		out(", %zu times", run->nr);
	if (run->nr > 1 && run->step != a->len)
		out(", one every %s", size_text(run->step, size));
	out("\n");
}

static void print_run(const struct vmem_regs *regs, const struct run *run)
{
	const struct vmem_reference *a = &run->first->reference;
	__u64 last = a->our_va + (run->nr - 1) * run->step;
	char size[SIZE_TEXT_MAX];

	print_region(regs, a->our_va, last + (a->len - 1));
	out(" ");
	print_perms(a->perms);
	out("%s %s -> ", is_wider(a) ? "*" : "",
	    size_text(run->nr * a->len, size));
	print_target(regs, run);
}

static void print_anomaly(const struct vmem_regs *regs,
			  const struct vmem_anomaly *anomaly)
{
	print_region(regs, anomaly->va, anomaly->last_va);
	out(" !! %s", status_name(anomaly->status));
	if (anomaly->status == VMEM_RESERVED)
		out(": entry of a %s", level_name(anomaly->level));
	else
		out(": %0*llx as a %s", gpa_digits(regs), anomaly->table_gpa,
		    level_name(anomaly->level));
	out(", raw %llx\n", anomaly->raw);
}

static void print_heading(const struct vmem_regs *regs,
			  const struct vmem_record *record)
{
	const struct vmem_space *space = &record->space;

	if (record->root)
		out("\n");
	print_space(regs, record->root, space->space);
	if (space->alias_of != record->root)
		out(", same as root %u", space->alias_of);
	out("\n");
}

/* Returns the number of records that went into the row. */
static size_t print_row(const struct vmem_regs *regs,
			const struct vmem_record *records, size_t nr)
{
	struct run run;

	switch (records->type) {
	case VMEM_SPACE:
		print_heading(regs, records);
		break;
	case VMEM_THIS_SPACE:
		print_mapping(regs, &records->mapping);
		break;
	case VMEM_ALIASING:
		run_find(records, nr, &run);
		print_run(regs, &run);
		return run.nr;
	case VMEM_ANOMALY:
		print_anomaly(regs, &records->anomaly);
		break;
	}
	return 1;
}

static void print_text(const struct walked *walked)
{
	const struct vmem_regs *regs = &walked->roots->regs;
	bool wider = false;

	for (size_t i = 0; i < walked->nr; i++) {
		const struct vmem_record *record = &walked->records[i];

		wider |= record->type == VMEM_ALIASING &&
			 is_wider(&record->reference);
	}
	for (size_t i = 0; i < walked->nr;)
		i += print_row(regs, &walked->records[i], walked->nr - i);
	out("\n");
	if (wider)
		print_wider_note();
	print_stats(walked);
}

static json_t *json_this_space(const struct vmem_mapping *mapping)
{
	json_t *o = json_object();

	json_set(o, "this_space", json_mapping(mapping));
	return o;
}

static json_t *json_reference(const struct vmem_reference *a)
{
	json_t *reference = json_object();
	json_t *o = json_object();

	json_set(reference, "table", json_name(table_name(a->table)));
	json_set(reference, "space", json_hex(a->space));
	json_set(reference, "our_va", json_hex(a->our_va));
	json_set(reference, "their_va", json_hex(a->their_va));
	json_set_perms(reference, a->perms);
	if (is_wider(a))
		json_set(reference, "wider", json_true());
	json_set(o, "aliasing", reference);
	return o;
}

static json_t *json_anomaly(const struct vmem_anomaly *anomaly)
{
	json_t *o = json_object();

	json_set(o, "status", json_name(status_name(anomaly->status)));
	json_set(o, "level", json_name(level_name(anomaly->level)));
	json_set(o, "va", json_hex(anomaly->va));
	json_set(o, "last_va", json_hex(anomaly->last_va));
	json_set(o, "raw", json_hex(anomaly->raw));
	return o;
}

/* Mappings and references, or else anomalies, from one heading to the next. */
static void put_records(const struct walked *walked,
			const struct walked_space *space, bool anomalies)
{
	bool begun = false;

	for (size_t i = space->first; i < space->end; i++) {
		const struct vmem_record *record = &walked->records[i];

		if (record->type == VMEM_ANOMALY && anomalies)
			json_put_next(&begun, json_anomaly(&record->anomaly));
		if (record->type == VMEM_THIS_SPACE && !anomalies)
			json_put_next(&begun,
				      json_this_space(&record->mapping));
		if (record->type == VMEM_ALIASING && !anomalies)
			json_put_next(&begun,
				      json_reference(&record->reference));
	}
}

static void put_space(const struct walked *walked, __u32 root)
{
	const struct walked_space *space = &walked->spaces[root];
	const struct vmem_record *record = &walked->records[space->first];
	__u32 alias_of = record->space.alias_of;

	out("{\"space\":");
	json_put(json_hex(record->space.space));
	out(",\"root_alias_of\":");
	json_put(alias_of == root ? json_null() : json_integer(alias_of));
	out(",\"mappings\":[");
	put_records(walked, space, false);
	out("],\"anomalies\":[");
	put_records(walked, space, true);
	out("]}");
}

/* Row by row: a tree of them all would take many times their memory. */
static void print_json(const struct walked *walked)
{
	out("{\"spaces\":[");
	for (__u32 root = 0; root < walked->roots->nr; root++) {
		out("%s", root ? "," : "");
		put_space(walked, root);
	}
	out("],\"stats\":");
	json_put(json_stats(walked));
	out("}\n");
}

static void run(struct opts *opts, int nr_args, char **args)
{
	static struct libvmem_roots roots;
	struct libvmem *vm;
	struct walked walked;

	parse_range("spaces", nr_args, args, &opts->scope);
	vm = guest_open(opts);
	guest_roots(vm, opts, true, &roots);
	walk_spaces(vm, &roots, &opts->scope, &walked);
	if (opts->json)
		print_json(&walked);
	else
		print_text(&walked);
	walked_free(&walked);
	guest_close(vm, opts);
}

const struct command spaces_command = {
	.name = "spaces",
	.args = "[VA LAST_VA]",
	.summary = "all spaces, with references to what they share",
	.help = "Walk the spaces of all roots together, from VA to LAST_VA, inclusive, or\n"
		"whole. A table that was reached before is shown as a reference to the\n"
		"space that reached it first, its owner, and not once more.\n"
		"\vGive --cr3 for each space, in order of primacy, or --qmp alone for\n"
		"those of all vCPUs. Rows are those of maps, and \"ADDRESSES RIGHTS SIZE\n"
		"-> TABLE of SPACE at ADDRESSES\" for references: what is mapped there is\n"
		"mapped here as well. \"!!\" marks entries that lead nowhere, or back. The\n"
		"last lines have the totals.",
	.can_exclude = true,
	.run = run,
};
