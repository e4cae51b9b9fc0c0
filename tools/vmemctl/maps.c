// SPDX-License-Identifier: GPL-2.0-only
/*
 * vmemctl maps: what is mapped in a range of an address space
 */
#include "vmemctl.h"

/**
 * struct output - where rows go
 * @regs: their address space
 * @pat: their PAT; NULL to leave out attributes
 * @json: print JSON
 */
struct output {
	struct vmem_regs regs;
	const struct pat *pat;
	bool json;
};

static int put_mapping(const struct vmem_mapping *mapping, void *priv)
{
	const struct output *o = priv;

	if (o->json)
		json_put_mapping(&o->regs, mapping, o->pat);
	else
		print_mapping(&o->regs, mapping, o->pat);
	return out_ended();
}

static void print_heading(const struct libvmem_roots *roots, unsigned int index)
{
	if (index)
		out("\n");
	print_space(&roots->regs, index, libvmem_space_of_root(roots, index));
	out("\n");
}

static void print_total(const struct libvmem_found *found,
			const struct pat *pat)
{
	char size[SIZE_TEXT_MAX];

	if (pat)
		out("PAT: %016llx (%s)\n", pat->value, pat->source);
	out("total: %llu mapping%s, %s\n", found->mappings,
	    plural(found->mappings, "", "s"), size_text(found->bytes, size));
}

static void end_space(const struct libvmem_found *found)
{
	json_close();
	json_put_count("anomalies", found->anomalies);
	json_put_count("torn", found->torn);
	json_close();
}

static void warn_of(const struct libvmem_found *found)
{
	if (found->anomalies)
		warn("warning: %llu %s nowhere: reserved, unbacked, unreadable, withheld",
		     found->anomalies,
		     plural(found->anomalies, "entry leads", "entries lead"));
	if (found->torn)
		warn("warning: %llu %s replaced meanwhile: rows may be of two times",
		     found->torn,
		     plural(found->torn, "table was", "tables were"));
}

static void list_maps(const struct opts *opts, struct libvmem *vm,
		      const struct libvmem_roots *roots, unsigned int index,
		      const struct pat *pat)
{
	struct output o = {
		.regs = libvmem_regs_of_root(roots, index),
		.pat = pat,
		.json = opts->json,
	};
	struct libvmem_error error;
	struct libvmem_found found;

	if (opts->json) {
		json_open_space(index, libvmem_space_of_root(roots, index));
		json_open_list("rows");
	} else if (roots->nr > 1) {
		print_heading(roots, index);
	}
	check(libvmem_ranges_with(vm, &o.regs, pat ? VMEM_MAP_ATTRIBUTES : 0,
				  opts->scope.va, opts->scope.last_va,
				  put_mapping, &o, &found, &error),
	      &error);
	if (opts->json)
		end_space(&found);
	else
		print_total(&found, pat);
	warn_of(&found);
}

static void list_all(struct opts *opts, struct libvmem *vm,
		     const struct pat *pat)
{
	static struct libvmem_roots roots;

	guest_roots(vm, opts, false, &roots);
	if (opts->json) {
		json_begin("maps");
		if (pat)
			json_put_pat(pat);
		json_open_list("spaces");
	}
	for (unsigned int i = 0; i < roots.nr; i++)
		list_maps(opts, vm, &roots, i, pat);
	if (opts->json) {
		json_close();
		json_end();
	}
}

static void run(struct opts *opts, int nr_args, char **args)
{
	struct libvmem *vm;
	struct pat pat;

	parse_range("maps", nr_args, args, &opts->scope);
	vm = guest_open(opts);
	pat = guest_pat(vm, opts);
	list_all(opts, vm, opts->attributes ? &pat : NULL);
	guest_close(vm, opts);
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
		"x (executable), u(ser) or s(upervisor). --attributes adds a(ccessed),\n"
		"d(irty), g(lobal), the memory type by the PAT and, where the guest has\n"
		"them, the protection key and whether the page is encrypted; rows then\n"
		"merge only if they have all of this in common.",
	.takes = TAKES_SPACES | TAKES_ATTRIBUTES | TAKES_PAT,
	.run = run,
};
