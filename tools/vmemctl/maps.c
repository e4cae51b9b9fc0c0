// SPDX-License-Identifier: GPL-2.0-only
/*
 * vmemctl maps: what is mapped in a range of an address space
 */

#include "vmemctl.h"

#define MAPPINGS_A_CALL 1024

/**
 * struct output - the mappings on their way out
 * @regs: their address space
 * @list: where they go as JSON, or NULL to print them as text
 * @last: the last one, held back because the next call may continue it
 * @nr: how many there are, without @last
 * @bytes: how much memory these map
 * @anomalies: entries that lead nowhere
 * @torn: tables that the guest replaced meanwhile
 */
struct output {
	const struct vmem_regs *regs;
	json_t *list;
	struct vmem_mapping last;
	__u64 nr;
	__u64 bytes;
	__u64 anomalies;
	__u64 torn;
};

static bool has_last(const struct output *o)
{
	return o->last.page_size;
}

static bool continues(const struct vmem_mapping *last,
		      const struct vmem_mapping *m)
{
	return last->last_va + 1 == m->va &&
	       last->gpa + (m->va - last->va) == m->gpa &&
	       last->page_size == m->page_size && last->kind == m->kind &&
	       last->perms == m->perms;
}

static void put_last(struct output *o)
{
	if (!has_last(o))
		return;
	if (o->list)
		json_add(o->list, json_mapping(&o->last));
	else
		print_mapping(o->regs, &o->last);
	o->nr++;
	o->bytes += o->last.last_va - o->last.va + 1;
}

static void put(struct output *o, const struct vmem_mapping *m)
{
	if (has_last(o) && continues(&o->last, m)) {
		o->last.last_va = m->last_va;
		return;
	}
	put_last(o);
	o->last = *m;
}

static void map_range(struct target *target, struct vmem_map_range_args *args)
{
	__u64 va = args->va;

	if (target_ask(target, VMEM_MAP_RANGE, args))
		fail(STEP_MAP_RANGE, &args->regs,
		     "cannot list mappings at %#llx-%#llx with CR3 %#llx", va,
		     args->last_va, args->regs.cr3);
	if (args->out_more && args->out_next_va <= va)
		die("cannot list mappings at %#llx: the module makes no progress",
		    va);
	args->va = args->out_next_va;
}

static void collect(struct target *target, const struct vmem_regs *regs,
		    __u64 va, __u64 last_va, struct output *o)
{
	static struct vmem_mapping mappings[MAPPINGS_A_CALL];
	struct vmem_map_range_args args = {
		.size = sizeof(args),
		.nr = MAPPINGS_A_CALL,
		.mapping_size = sizeof(mappings[0]),
		.mappings = (uintptr_t)mappings,
		.regs = *regs,
		.va = va,
		.last_va = last_va,
	};

	do {
		map_range(target, &args);
		for (unsigned int i = 0; i < args.out_nr; i++)
			put(o, &mappings[i]);
		o->anomalies += args.out_anomalies;
		o->torn += args.out_torn;
		out_flush();
	} while (args.out_more);
	put_last(o);
}

static void print_total(const struct output *o)
{
	char size[SIZE_TEXT_MAX];

	out("total: %llu mapping%s, %s\n", o->nr, o->nr == 1 ? "" : "s",
	    size_text(o->bytes, size));
}

/* One object; several make up a list, which is printed as it comes. */
static void print_json(const struct roots *roots, unsigned int index,
		       json_t *mappings)
{
	json_t *o = json_object();

	json_set(o, "root", json_hex(roots_space(roots, index)));
	json_set(o, "mappings", mappings);
	if (roots->nr > 1)
		out(index ? "," : "[");
	json_put(o);
	if (index + 1 == roots->nr)
		out(roots->nr > 1 ? "]\n" : "\n");
}

static void print_heading(const struct roots *roots, unsigned int index)
{
	if (index)
		out("\n");
	print_space(&roots->regs, index, roots_space(roots, index));
	out("\n");
}

static void list_maps(const struct opts *opts, struct target *target,
		      const struct roots *roots, unsigned int index, __u64 va,
		      __u64 last_va)
{
	const struct vmem_regs regs = roots_regs(roots, index);
	struct output o = { .regs = &regs };

	if (opts->json)
		o.list = json_array();
	else if (roots->nr > 1)
		print_heading(roots, index);
	collect(target, &regs, va, last_va, &o);
	if (opts->json)
		print_json(roots, index, o.list);
	else
		print_total(&o);
	if (o.anomalies)
		warn("warning: %llu entries lead nowhere: reserved bits, or no memory there",
		     o.anomalies);
	if (o.torn)
		warn("warning: %llu tables were replaced meanwhile: rows may be of two times",
		     o.torn);
}

static void run(const struct opts *opts, int nr_args, char **args)
{
	struct target *target;
	struct roots roots;
	__u64 va, last_va;

	parse_range("maps", nr_args, args, &va, &last_va);
	target = target_open(opts);
	roots_resolve(opts, target, &roots);
	for (unsigned int i = 0; i < roots.nr; i++)
		list_maps(opts, target, &roots, i, va, last_va);
	target_close(target);
}

const struct command maps_command = {
	.name = "maps",
	.args = "[VA LAST_VA]",
	.summary = "what is mapped, in merged rows",
	.help = "List what is mapped from VA to LAST_VA, inclusive, or in all of the\n"
		"address space; of each one, if several are given.\n"
		"\vAddresses are hexadecimal, with 0x or without. A row has the first\n"
		"and the last virtual address, the guest-physical address, the page\n"
		"size, and the permissions of the whole path: r, w(ritable),\n"
		"x (executable), u(ser) or s(upervisor).",
	.needs_root = true,
	.many_roots = true,
	.run = run,
};
