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

/* Fewest new records for another attempt to print rows */
#define ROWS_AT_ONCE 1024

/**
 * struct show - progress of the output, which goes on beside the walk
 * @json: print JSON
 * @shown: number of records printed
 * @next: number of records at the next attempt
 * @heading: index of the current space's VMEM_SPACE
 * @has_rows: for JSON, the space's list has a row
 * @wider: a printed reference has rights that its owner's path lacks
 */
struct show {
	bool json;
	size_t shown;
	size_t next;
	size_t heading;
	bool has_rows;
	bool wider;
};

static void print_row(const struct vmem_regs *regs,
		      const struct vmem_record *record, const struct run *run)
{
	switch (record->type) {
	case VMEM_SPACE:
		print_heading(regs, record);
		break;
	case VMEM_THIS_SPACE:
		print_mapping(regs, &record->mapping, NULL);
		break;
	case VMEM_ALIASING:
		print_run(regs, run);
		break;
	case VMEM_ANOMALY:
		print_anomaly(regs, &record->anomaly);
		break;
	}
}

/* JSON lists a space's anomalies after its mappings. */
static void json_end_list(const struct show *show, const struct walked *walked)
{
	bool begun = false;

	out("],\"anomalies\":[");
	for (size_t i = show->heading; i < show->shown; i++) {
		const struct vmem_record *record = &walked->records[i];

		if (record->type == VMEM_ANOMALY)
			json_put_next(&begun, json_anomaly(&record->anomaly));
	}
	out("]}");
}

static void json_begin_space(struct show *show, const struct walked *walked)
{
	const struct vmem_record *record = &walked->records[show->shown];
	__u32 alias_of = record->space.alias_of;

	if (show->shown)
		json_end_list(show, walked);
	out(show->shown ? "," : "{\"spaces\":[");
	out("{\"space\":");
	json_put(json_hex(record->space.space));
	out(",\"root_alias_of\":");
	json_put(alias_of == record->root ? json_null() :
					    json_integer(alias_of));
	out(",\"mappings\":[");
	show->heading = show->shown;
	show->has_rows = false;
}

static void json_put_record(struct show *show, const struct walked *walked)
{
	const struct vmem_record *record = &walked->records[show->shown];

	switch (record->type) {
	case VMEM_SPACE:
		json_begin_space(show, walked);
		break;
	case VMEM_THIS_SPACE:
		json_put_next(&show->has_rows,
			      json_this_space(&record->mapping));
		break;
	case VMEM_ALIASING:
		json_put_next(&show->has_rows,
			      json_reference(&record->reference));
		break;
	}
}

/* Returns the number of records printed, or 0 if the run may still grow. */
static size_t text_put_row(struct show *show, const struct walked *walked,
			   bool end)
{
	const struct vmem_record *record = &walked->records[show->shown];
	size_t nr = walked->nr - show->shown;
	struct run run = { .nr = 1 };

	if (record->type == VMEM_ALIASING) {
		run_find(record, nr, &run);
		if (!end && run.nr >= nr - 1)
			return 0;
		show->wider |= is_wider(&record->reference);
	}
	print_row(&walked->roots->regs, record, &run);
	return run.nr;
}

static void show_rows(struct show *show, const struct walked *walked, bool end)
{
	while (show->shown < walked->nr) {
		size_t nr = 1;

		if (show->json)
			json_put_record(show, walked);
		else
			nr = text_put_row(show, walked, end);
		if (!nr)
			break;
		show->shown += nr;
	}
}

/*
 * A run may grow with the next records, and is then scanned again. Waiting for as many
 * records as are pending keeps the scans linear.
 */
static int show_some(const struct walked *walked, void *priv)
{
	struct show *show = priv;
	size_t left;

	if (walked->nr < show->next)
		return 0;
	show_rows(show, walked, false);
	left = walked->nr - show->shown;
	show->next = walked->nr + (left > ROWS_AT_ONCE ? left : ROWS_AT_ONCE);
	return out_ended();
}

/* The rows before an error keep their explanation. */
static void end_text(const struct show *show, const struct walked *walked,
		     int ret)
{
	if (!ret || show->wider)
		out("\n");
	if (show->wider)
		print_wider_note();
	if (!ret)
		print_stats(walked);
}

/* If the walk fails before its first row, stdout stays empty. */
static void end_json(const struct show *show, const struct walked *walked,
		     int ret, const struct libvmem_error *error)
{
	if (ret < 0 && !show->shown)
		return;
	json_end_list(show, walked);
	out("],\"%s\":", ret < 0 ? "error" : "stats");
	json_put(ret < 0 ? json_path(error->message) : json_stats(walked));
	out("}\n");
}

static void run(struct opts *opts, int nr_args, char **args)
{
	struct show show = { .json = opts->json, .next = ROWS_AT_ONCE };
	static struct libvmem_roots roots;
	struct libvmem_error error;
	struct walked walked;
	struct libvmem *vm;
	int ret;

	parse_range("spaces", nr_args, args, &opts->scope);
	vm = guest_open(opts);
	guest_roots(vm, opts, true, &roots);
	ret = walk_spaces(vm, &roots, &opts->scope, show_some, &show, &walked,
			  &error);
	if (ret <= 0)
		show_rows(&show, &walked, true);
	if (ret <= 0 && opts->json)
		end_json(&show, &walked, ret, &error);
	else if (ret <= 0)
		end_text(&show, &walked, ret);
	check(ret, &error);
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
	.can_search = true,
	.can_exclude = true,
	.run = run,
};
