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
		out(", same as space %u", space->alias_of);
	out("\n");
}

/* Fewest new records for another attempt to print rows */
#define ROWS_AT_ONCE 1024

/**
 * struct show - progress of the output, which goes on beside the walk
 * @json: print JSON
 * @shown: number of records printed
 * @next: number of records at the next attempt
 * @wider: a printed reference has rights that its owner's path lacks
 */
struct show {
	bool json;
	size_t shown;
	size_t next;
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

static void end_space(void)
{
	json_close();
	json_close();
}

static void begin_space(const struct vmem_record *record)
{
	__u32 alias_of = record->space.alias_of;

	if (record->root)
		end_space();
	json_open_space(record->root, record->space.space);
	json_put_count_if("same_as", alias_of != record->root, alias_of);
	json_open_list("rows");
}

static void put_anomaly(const struct vmem_anomaly *anomaly)
{
	json_open_row(NULL, "anomaly");
	json_put_hex("va", anomaly->va);
	json_put_hex("last_va", anomaly->last_va);
	json_put_name("status", status_name(anomaly->status));
	json_put_name("level", level_name(anomaly->level));
	json_put_hex_if("table_gpa", anomaly->status != VMEM_RESERVED,
			anomaly->table_gpa);
	json_put_hex("raw", anomaly->raw);
	json_close();
}

static void put_record(const struct walked *walked,
		       const struct vmem_record *record)
{
	switch (record->type) {
	case VMEM_SPACE:
		begin_space(record);
		break;
	case VMEM_THIS_SPACE:
		json_put_mapping(&walked->roots->regs, &record->mapping, NULL);
		break;
	case VMEM_ALIASING:
		json_put_reference(NULL, &record->reference);
		break;
	case VMEM_ANOMALY:
		put_anomaly(&record->anomaly);
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
			put_record(walked, &walked->records[show->shown]);
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

static void end_json(const struct walked *walked)
{
	end_space();
	json_close();
	json_put_stats(walked);
	json_end();
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
	if (opts->json) {
		json_begin("spaces");
		json_open_list("spaces");
	}
	ret = walk_spaces(vm, &roots, &opts->scope, show_some, &show, &walked,
			  &error);
	if (ret <= 0)
		show_rows(&show, &walked, true);
	if (!ret && opts->json)
		end_json(&walked);
	else if (ret <= 0 && !opts->json)
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
	.takes = TAKES_SPACES | TAKES_EXCLUDE,
	.run = run,
};
