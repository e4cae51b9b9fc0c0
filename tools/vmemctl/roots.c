// SPDX-License-Identifier: GPL-2.0-only
/*
 * vmemctl roots: the guest's address spaces, found in its memory
 */
#include <stdlib.h>

#include "vmemctl.h"

static const struct {
	const char *name;
	const char *text;
} classes[] = {
	[LIBVMEM_ROOT_VCPU] = { "vcpu", "a vCPU has it, or it was given" },
	[LIBVMEM_ROOT_USER] = { "user", "a process's" },
	[LIBVMEM_ROOT_KERNEL] = { "kernel",
				  "kernel half alone: a kernel thread's, or freed" },
	[LIBVMEM_ROOT_TWIN] = { "twin", "user mode of" },
	[LIBVMEM_ROOT_COPY] = { "copy", "no root in use" },
	[LIBVMEM_ROOT_UNCLEAR] = { "unclear",
				   "one of several with the same user half" },
};

static void print_root(const struct libvmem_search *search,
		       const struct libvmem_root_found *root)
{
	char size[SIZE_TEXT_MAX];

	out("%0*llx  %-7s  %4u/%-4u  %10s  %s", gpa_digits(&search->regs),
	    root->root, classes[root->kind].name, root->shared, root->kernel,
	    size_text(root->user, size), classes[root->kind].text);
	if (root->kind == LIBVMEM_ROOT_TWIN)
		out(" %llx", root->of);
	else if (root->of)
		out(": same user half as %llx", root->of);
	else if (root->in_user_memory)
		out(": in memory of user mode");
	out("\n");
}

static void print_text(const struct libvmem_search *search)
{
	size_t counts[ARRAY_SIZE(classes)] = {};
	char read[SIZE_TEXT_MAX], untouched[SIZE_TEXT_MAX];

	out("%-*s  CLASS    KERNEL     USER MAPS\n", gpa_digits(&search->regs),
	    "ROOT");
	for (size_t i = 0; i < search->nr; i++) {
		print_root(search, &search->roots[i]);
		counts[search->roots[i].kind]++;
	}
	out("\ntotal:");
	for (size_t i = 0; i < ARRAY_SIZE(classes); i++)
		out("%s %zu %s", i ? "," : "", counts[i], classes[i].name);
	if (search->guessed)
		out("\nguess: no root was known: these have the kernel half that most tables have");
	out("\nread:  %s, and %s not in memory\n",
	    size_text(search->read, read),
	    size_text(search->untouched, untouched));
}

static void put_root(const struct libvmem_root_found *root)
{
	json_open_row(NULL, "root");
	json_put_hex("root", root->root);
	json_put_name("class", classes[root->kind].name);
	json_put_hex_if("of_root", root->of, root->of);
	json_put_count("kernel_shared", root->shared);
	json_put_count("kernel_entries", root->kernel);
	json_put_count("user_bytes", root->user);
	json_put_count("pointers", root->pointers);
	json_put_bool("vcpu_seen", root->vcpu_seen);
	json_put_bool("in_user_memory", root->in_user_memory);
	json_close();
}

static void print_json(const struct libvmem_search *search)
{
	json_begin("roots");
	json_put_name("mode", libvmem_mode_name(libvmem_mode(&search->regs)));
	json_put_bool("guessed", search->guessed);
	json_put_count("read_bytes", search->read);
	json_put_count("untouched_bytes", search->untouched);
	json_open_list("roots");
	for (size_t i = 0; i < search->nr; i++)
		put_root(&search->roots[i]);
	json_close();
	json_end();
}

static void run(struct opts *opts, int nr_args, char **args)
{
	struct libvmem_search search;
	struct libvmem *vm;

	if (nr_args)
		usage("roots takes no argument, but got '%s'", args[0]);
	vm = guest_open(opts);
	guest_search(vm, opts, &search);
	if (opts->json)
		print_json(&search);
	else
		print_text(&search);
	free(search.roots);
	guest_close(vm, opts);
}

const struct command roots_command = {
	.name = "roots",
	.args = "",
	.summary = "the address spaces that are in the guest",
	.help = "Find the guest's address spaces in its memory, by the kernel half that\n"
		"they share with the root of a vCPU, or of --cr3. The guest is not asked,\n"
		"and not stopped.\n"
		"\vKERNEL is how many entries of the kernel half name the same tables as the\n"
		"known root's; USER MAPS is what the user half maps.",
	.takes = TAKES_SPACE | TAKES_FETCH,
	.run = run,
};
