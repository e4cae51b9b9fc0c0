// SPDX-License-Identifier: GPL-2.0-only
/*
 * vmemctl debugfs: a session whose spaces others read, in the kernel's words
 */
#include <stdio.h>
#include <unistd.h>

#include "vmemctl.h"

#define FOLDER "/sys/kernel/debug/vmem"

static int skip(const struct vmem_memslot *slot, void *priv)
{
	(void)slot;
	(void)priv;
	return 1;
}

static void show_folder(bool json)
{
	char folder[sizeof(FOLDER) + 16];

	snprintf(folder, sizeof(folder), "%s/%d-*", FOLDER, getpid());
	if (json) {
		json_begin("debugfs");
		json_put_name("folder", folder);
		json_end();
	} else {
		out("%s\n", folder);
	}
}

/* The guest may end meanwhile. */
static void wait_for_its_end(struct libvmem *vm)
{
	struct libvmem_error error;

	while (libvmem_memslots(vm, skip, NULL, &error) >= 0)
		sleep(1);
	check(-1, &error);
}

static void run(struct opts *opts, int nr_args, char **args)
{
	static struct libvmem_roots roots;
	struct libvmem_error error;
	struct libvmem *vm;

	if (opts->image)
		usage("debugfs: the kernel knows no image; ask for its spaces");
	parse_range("debugfs", nr_args, args, &opts->scope);
	vm = guest_open(opts);
	guest_roots(vm, opts, true, &roots);
	check(libvmem_walk_spaces(vm, &roots, &opts->scope, NULL, NULL, NULL,
				  &error),
	      &error);
	show_folder(opts->json);
	out_flush();
	wait_for_its_end(vm);
}

const struct command debugfs_command = {
	.name = "debugfs",
	.args = "[VA LAST_VA]",
	.summary = "has debugfs show the spaces, until it is ended",
	.help = "Print the folder in debugfs where the file \"spaces\" has these spaces, as\n"
		"`vmemctl spaces' walks them, and keep it there until it is ended by a\n"
		"signal, or the guest ends.\n"
		"\vWhoever reads the file walks anew. \"memslots\" and \"counters\" are\n"
		"beside it.",
	.takes = TAKES_SPACES | TAKES_EXCLUDE,
	.alone = true,
	.run = run,
};
