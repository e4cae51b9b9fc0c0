// SPDX-License-Identifier: GPL-2.0-only
/*
 * vmemctl vtop: addresses and their paths through the tables
 */
#include <stdlib.h>

#include "vmemctl.h"

#define ADDRESSES_A_CALL 64

/* The name of the table that entry number @i of a path is in. */
static const char *trace_level(const struct vmem_regs *regs, unsigned int i)
{
	return level_name(regs_top_level(regs) - i);
}

/* A kernel that knows more levels than we do still fills only our array. */
static unsigned int nr_trace(const struct vmem_translation *t)
{
	return t->out_nr_trace < VMEM_MAX_LEVELS ? t->out_nr_trace :
						   VMEM_MAX_LEVELS;
}

static void print_trace(const struct vmem_regs *regs,
			const struct vmem_translation *t)
{
	for (unsigned int i = 0; i < nr_trace(t); i++)
		out("%7s: %0*llx => %0*llx\n", trace_level(regs, i),
		    regs_gpa_digits(regs), t->out_trace[i].entry_gpa,
		    regs_va_digits(regs), t->out_trace[i].raw);
}

static void print_page(const struct vmem_regs *regs,
		       const struct vmem_translation *t)
{
	char size[SIZE_TEXT_MAX];

	out("   PAGE: %0*llx (%s)\n", regs_gpa_digits(regs),
	    t->out_gpa & ~(t->out_page_size - 1),
	    size_text(t->out_page_size, size));
	out("  FLAGS: %s, %s, %s\n",
	    t->out_perms & VMEM_WRITABLE ? "writable" : "read-only",
	    t->out_perms & VMEM_USER ? "user" : "supervisor",
	    t->out_perms & VMEM_EXECUTABLE ? "executable" : "no-execute");
}

/* The first of the roots that are that space's. */
static unsigned int find_space(const struct roots *roots, __u64 space)
{
	unsigned int i = 0;

	while (i < roots->nr && roots_space(roots, i) != space)
		i++;
	return i;
}

static void print_owner(const struct roots *roots,
			const struct vmem_translation *t)
{
	const struct vmem_regs *regs = &roots->regs;

	out("  OWNER: space %u (root %0*llx) at %0*llx\n",
	    find_space(roots, t->out_owner_space), regs_gpa_digits(regs),
	    t->out_owner_space, regs_va_digits(regs), t->out_owner_va);
}

static void print_end(const struct vmem_translation *t)
{
	const char *level = level_name(t->out_level);

	out("         %s%s%s\n", status_name(t->out_status),
	    level ? " at " : "", level ? level : "");
}

static void print_text(const struct roots *roots, __u64 va,
		       const struct vmem_translation *t)
{
	const struct vmem_regs *regs = &roots->regs;
	bool mapped = t->out_status == VMEM_MAPPED;

	out("%-16s  PHYSICAL\n", "VIRTUAL");
	if (mapped)
		out("%-16llx  %llx\n", va, t->out_gpa);
	else
		out("%-16llx  (not %s)\n", va,
		    t->out_status == VMEM_TORN ? "known" : "mapped");
	print_trace(regs, t);
	if (mapped)
		print_page(regs, t);
	else
		print_end(t);
	if (t->out_referenced)
		print_owner(roots, t);
	out("\n");
}

static json_t *json_trace(const struct vmem_regs *regs,
			  const struct vmem_translation *t)
{
	json_t *trace = json_array();

	for (unsigned int i = 0; i < nr_trace(t); i++) {
		json_t *o = json_object();

		json_set(o, "level", json_name(trace_level(regs, i)));
		json_set(o, "entry_gpa", json_hex(t->out_trace[i].entry_gpa));
		json_set(o, "raw", json_hex(t->out_trace[i].raw));
		json_add(trace, o);
	}
	return trace;
}

/* What only a mapped address has; null for any other. */
static void json_set_page(json_t *o, const struct vmem_translation *t)
{
	bool mapped = t->out_status == VMEM_MAPPED;
	__u32 perms = t->out_perms;

	json_set(o, "gpa", mapped ? json_hex(t->out_gpa) : json_null());
	json_set(o, "page_size",
		 mapped ? json_integer(t->out_page_size) : json_null());
	json_set(o, "writable",
		 mapped ? json_boolean(perms & VMEM_WRITABLE) : json_null());
	json_set(o, "user",
		 mapped ? json_boolean(perms & VMEM_USER) : json_null());
	json_set(o, "executable",
		 mapped ? json_boolean(perms & VMEM_EXECUTABLE) : json_null());
}

static json_t *json_owner(const struct vmem_translation *t)
{
	json_t *o;

	if (!t->out_referenced)
		return json_null();
	o = json_object();
	json_set(o, "space", json_hex(t->out_owner_space));
	json_set(o, "va", json_hex(t->out_owner_va));
	return o;
}

static json_t *json_result(const struct vmem_regs *regs, __u64 va,
			   const struct vmem_translation *t)
{
	json_t *o = json_object();

	json_set(o, "va", json_hex(va));
	json_set(o, "status", json_name(status_name(t->out_status)));
	json_set_page(o, t);
	json_set(o, "level", json_name(level_name(t->out_level)));
	json_set(o, "owner", json_owner(t));
	json_set(o, "trace", json_trace(regs, t));
	return o;
}

static json_t *json_space(__u64 root, json_t *results)
{
	json_t *o = json_object();

	json_set(o, "root", json_hex(root));
	json_set(o, "results", results);
	return o;
}

/*
 * Translate the first of @nr addresses in the root with @index; returns how
 * many that were. Who owns a table is known once the spaces were walked, which
 * is not worth it for the sake of one.
 */
static unsigned int translate_some(struct target *target,
				   const struct roots *roots,
				   unsigned int index, const __u64 *vas, int nr,
				   struct vmem_translation *results)
{
	const struct vmem_regs regs = roots_regs(roots, index);
	struct vmem_translate_args args = {
		.size = sizeof(args),
		.nr = nr < ADDRESSES_A_CALL ? nr : ADDRESSES_A_CALL,
		.result_size = sizeof(*results),
		.vas = (uintptr_t)vas,
		.results = (uintptr_t)results,
	};

	if (roots->nr > 1) {
		args.flags = VMEM_TRANSLATE_SPACES;
		args.root = index;
	} else {
		args.regs = regs;
	}
	if (target_ask(target, VMEM_TRANSLATE, &args))
		fail(STEP_TRANSLATE, &regs,
		     "cannot translate %#llx with CR3 %#llx", vas[0], regs.cr3);
	if (!args.out_nr)
		die("cannot translate %#llx: the module returned no result",
		    vas[0]);
	return args.out_nr;
}

/* Print as text, or add to the list of results if there is one. */
static void vtop(struct target *target, const struct roots *roots,
		 unsigned int index, const __u64 *vas, int nr, json_t *list)
{
	struct vmem_translation results[ADDRESSES_A_CALL];
	unsigned int done;

	for (; nr; vas += done, nr -= done) {
		done = translate_some(target, roots, index, vas, nr, results);
		for (unsigned int i = 0; i < done; i++) {
			if (list)
				json_add(list, json_result(&roots->regs, vas[i],
							   &results[i]));
			else
				print_text(roots, vas[i], &results[i]);
		}
		out_flush();
	}
}

static void print_spaces(struct target *target, const struct roots *roots,
			 const __u64 *vas, int nr)
{
	for (unsigned int i = 0; i < roots->nr; i++) {
		if (roots->nr > 1) {
			print_space(&roots->regs, i, roots_space(roots, i));
			out("\n");
		}
		vtop(target, roots, i, vas, nr, NULL);
	}
}

static json_t *json_spaces(struct target *target, const struct roots *roots,
			   const __u64 *vas, int nr)
{
	json_t *spaces = json_array();

	for (unsigned int i = 0; i < roots->nr; i++) {
		json_t *results = json_array();

		vtop(target, roots, i, vas, nr, results);
		json_add(spaces, json_space(roots_space(roots, i), results));
	}
	return spaces;
}

/* A list only where there are several. */
static json_t *json_only(json_t *spaces)
{
	json_t *only = json_incref(json_array_get(spaces, 0));

	if (json_array_size(spaces) > 1) {
		json_decref(only);
		return spaces;
	}
	json_decref(spaces);
	return only;
}

static void vtop_all(const struct opts *opts, const __u64 *vas, int nr)
{
	struct target *target = target_open(opts);
	struct roots roots;

	roots_resolve(opts, target, &roots);
	if (roots.nr > 1)
		walk_owners(target, &roots);
	if (opts->json)
		json_print(json_only(json_spaces(target, &roots, vas, nr)));
	else
		print_spaces(target, &roots, vas, nr);
	target_close(target);
}

static void run(const struct opts *opts, int nr_args, char **args)
{
	__u64 *vas;

	if (!nr_args)
		usage("vtop needs an address: vmemctl ... vtop VA...");
	vas = calloc(nr_args, sizeof(*vas));
	if (!vas)
		die("out of memory");
	for (int i = 0; i < nr_args; i++)
		vas[i] = parse_hex("VA", args[i]);
	vtop_all(opts, vas, nr_args);
	free(vas);
}

const struct command vtop_command = {
	.name = "vtop",
	.args = "VA...",
	.summary = "addresses with their paths through the tables",
	.help = "Translate guest-virtual addresses and show the entries on their way.\n"
		"\vVA is hexadecimal, with 0x or without. FLAGS are those of the\n"
		"whole path. That an address is not mapped is an answer too: the\n"
		"exit status is 0. With several roots, each address is translated in each\n"
		"of them, and OWNER says which space was the first to reach a table that\n"
		"is shared, and at which address; that takes a walk of them all.",
	.needs_root = true,
	.many_roots = true,
	.run = run,
};
