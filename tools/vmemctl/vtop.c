// SPDX-License-Identifier: GPL-2.0-only
/*
 * vmemctl vtop: addresses, and their paths through the tables
 */
#include <stdlib.h>

#include "vmemctl.h"

/**
 * struct output - where answers go
 * @roots: the spaces
 * @regs: registers of the space
 * @pat: its PAT
 * @given: the addresses as they were given, from the next answer's on
 * @json: print JSON
 */
struct output {
	const struct libvmem_roots *roots;
	struct vmem_regs regs;
	const struct pat *pat;
	const __u64 *given;
	bool json;
};

/* The level of the table that entry number @i of a path is in. */
static enum vmem_level trace_level(const struct vmem_regs *regs, unsigned int i)
{
	return libvmem_top_level(regs) - i;
}

/* A kernel that knows more levels still fills only our array. */
static unsigned int nr_trace(const struct vmem_translation *t)
{
	return t->out_nr_trace < VMEM_MAX_LEVELS ? t->out_nr_trace :
						   VMEM_MAX_LEVELS;
}

static void print_trace(const struct vmem_regs *regs,
			const struct vmem_translation *t)
{
	for (unsigned int i = 0; i < nr_trace(t); i++) {
		enum vmem_level level = trace_level(regs, i);

		out("%7s: %0*llx => %0*llx", level_name(level),
		    gpa_digits(regs), t->out_trace[i].entry_gpa,
		    raw_digits(regs), t->out_trace[i].raw);
		print_entry(regs, level, t->out_trace[i].raw);
		out("\n");
	}
}

/* The attributes of the page: those of the last entry */
static __u32 attributes_of(const struct vmem_regs *regs,
			   const struct vmem_translation *t)
{
	unsigned int last = nr_trace(t) - 1;
	struct libvmem_error error;
	struct libvmem_entry entry;

	check(libvmem_entry(regs, trace_level(regs, last),
			    t->out_trace[last].raw, &entry, &error),
	      &error);
	return entry.attributes;
}

static void print_page(const struct output *o, const struct vmem_translation *t)
{
	const struct vmem_regs *regs = &o->regs;
	char size[SIZE_TEXT_MAX];

	out("   PAGE: %0*llx (%s)\n", gpa_digits(regs),
	    t->out_gpa & ~(t->out_page_size - 1),
	    size_text(t->out_page_size, size));
	out("  FLAGS: %s, %s, %s\n",
	    t->out_perms & VMEM_WRITABLE ? "writable" : "read-only",
	    t->out_perms & VMEM_USER ? "user" : "supervisor",
	    t->out_perms & VMEM_EXECUTABLE ? "executable" : "no-execute");
	out("   ATTR: ");
	print_page_attributes(regs, o->pat, attributes_of(regs, t));
	out("\n");
}

static void print_owner(const struct libvmem_roots *roots,
			const struct vmem_translation *t)
{
	const struct vmem_regs *regs = &roots->regs;

	out("  OWNER: space %u (root %0*llx) at %0*llx\n", t->out_owner_root,
	    gpa_digits(regs), t->out_owner_space, va_digits(regs),
	    t->out_owner_va);
}

static void print_end(const struct vmem_translation *t)
{
	const char *level = level_name(t->out_level);

	out("         %s%s%s\n", status_name(t->out_status),
	    level ? " at " : "", level ? level : "");
}

static void print_text(const struct output *o, __u64 given, __u64 va,
		       const struct vmem_translation *t)
{
	bool mapped = t->out_status == VMEM_MAPPED;

	out("%-16s  PHYSICAL\n", "VIRTUAL");
	if (mapped)
		out("%-16llx  %llx\n", given, t->out_gpa);
	else
		out("%-16llx  (not %s)\n", given,
		    t->out_status == VMEM_TORN ? "known" : "mapped");
	if (given != va)
		out("    LAM: %0*llx is translated\n", va_digits(&o->regs), va);
	print_trace(&o->regs, t);
	if (mapped)
		print_page(o, t);
	else
		print_end(t);
	if (t->out_referenced)
		print_owner(o->roots, t);
	out("\n");
}

static void put_trace(const struct vmem_regs *regs,
		      const struct vmem_translation *t)
{
	json_open_list("trace");
	for (unsigned int i = 0; i < nr_trace(t); i++)
		json_put_entry(NULL, regs, trace_level(regs, i),
			       &t->out_trace[i]);
	json_close();
}

static void put_translation(const struct output *o, __u64 given, __u64 va,
			    const struct vmem_translation *t)
{
	bool mapped = t->out_status == VMEM_MAPPED;

	json_open_row(NULL, "translation");
	json_put_hex("va", given);
	json_put_hex_if("translated_va", given != va, va);
	json_put_name("status", status_name(t->out_status));
	json_put_name("level", level_name(t->out_level));
	json_put_hex_if("gpa", mapped, t->out_gpa);
	json_put_page(t);
	if (mapped)
		json_put_attributes(&o->regs, o->pat,
				    attributes_of(&o->regs, t));
	else
		json_put_null("attributes");
	json_put_owner(t->out_referenced, t->out_owner_root, t->out_owner_space,
		       t->out_owner_va);
	put_trace(&o->regs, t);
	json_close();
}

static int put_answer(__u64 va, const struct vmem_translation *answer,
		      void *priv)
{
	struct output *o = priv;
	__u64 given = *o->given++;

	if (o->json)
		put_translation(o, given, va, answer);
	else
		print_text(o, given, va, answer);
	return out_ended();
}

/* The addresses that the processor would translate. */
static __u64 *data_addresses(const struct vmem_regs *regs, const __u64 *vas,
			     int nr)
{
	__u64 *new = calloc(nr, sizeof(*new));

	if (!new)
		die("out of memory");
	for (int i = 0; i < nr; i++)
		new[i] = libvmem_data_address(regs, vas[i]);
	return new;
}

/* Only a translation in several spaces can tell who owns a table. */
static int ask(struct libvmem *vm, const struct libvmem_roots *roots,
	       unsigned int index, const __u64 *vas, int nr, struct output *o,
	       struct libvmem_error *error)
{
	if (roots->nr > 1)
		return libvmem_translate_shared(vm, roots, index, vas, nr,
						put_answer, o, error);
	return libvmem_translate(vm, &roots->regs, vas, nr, put_answer, o,
				 error);
}

static void translate(const struct opts *opts, struct libvmem *vm,
		      const struct libvmem_roots *roots, unsigned int index,
		      const struct pat *pat, const __u64 *vas, int nr)
{
	struct output o = {
		.roots = roots,
		.regs = libvmem_regs_of_root(roots, index),
		.pat = pat,
		.given = vas,
		.json = opts->json,
	};
	__u64 *translated = data_addresses(&o.regs, vas, nr);
	struct libvmem_error error;

	if (opts->json) {
		json_open_space(index, libvmem_space_of_root(roots, index));
		json_open_list("rows");
	} else if (roots->nr > 1) {
		print_space(&roots->regs, index,
			    libvmem_space_of_root(roots, index));
		out("\n");
	}
	check(ask(vm, roots, index, translated, nr, &o, &error), &error);
	if (opts->json) {
		json_close();
		json_close();
	}
	free(translated);
}

static void find_owners(struct libvmem *vm, const struct libvmem_roots *roots)
{
	const struct libvmem_scope everything = { .last_va = ~0ull };
	struct vmem_spaces_stats stats;
	struct libvmem_error error;

	check(libvmem_walk_spaces(vm, roots, &everything, NULL, NULL, &stats,
				  &error),
	      &error);
}

static void translate_all(struct opts *opts, const __u64 *vas, int nr)
{
	static struct libvmem_roots roots;
	struct libvmem *vm = guest_open(opts);
	const struct pat pat = guest_pat(vm, opts);

	guest_roots(vm, opts, false, &roots);
	if (roots.nr > 1)
		find_owners(vm, &roots);
	if (opts->json) {
		json_begin("vtop");
		json_put_pat(&pat);
		json_open_list("spaces");
	}
	for (unsigned int i = 0; i < roots.nr; i++)
		translate(opts, vm, &roots, i, &pat, vas, nr);
	if (opts->json) {
		json_close();
		json_end();
	}
	guest_close(vm, opts);
}

static void run(struct opts *opts, int nr_args, char **args)
{
	struct addresses vas = parse_addresses("vtop", "VA", nr_args, args);

	translate_all(opts, vas.all, vas.nr);
	free(vas.all);
}

const struct command vtop_command = {
	.name = "vtop",
	.args = "VA...",
	.summary = "addresses with their paths through the tables",
	.help = "Translate guest-virtual addresses and show the entries on their way.\n"
		"\vVA is hexadecimal, with 0x or without, and \"-\" are all on standard\n"
		"input; metadata that LAM takes out of an address of data is taken out.\n"
		"Behind each entry is what is set in it. FLAGS are those of the whole\n"
		"path; ATTR says what else the last entry says of\n"
		"the page, with its memory type by the PAT: of the vCPU, of --pat, or as\n"
		"after reset. That an address is not mapped is an answer too: the\n"
		"exit status is 0. With several roots, each address is translated in each\n"
		"of them, and OWNER says which space was the first to reach a table that\n"
		"is shared, and at which address; that takes a walk of them all.",
	.takes = TAKES_SPACES | TAKES_PAT,
	.run = run,
};
