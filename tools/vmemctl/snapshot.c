// SPDX-License-Identifier: GPL-2.0-only
/*
 * vmemctl snapshot: write the memory that spaces map, and new tables, to a file
 */
#include <string.h>

#include "new_file.h"
#include "vmemctl.h"

#define PAGE 4096ull

/**
 * struct snapshot - all that snapshot prints
 * @path: of the file
 * @by_va: it is by virtual address
 * @roots: the spaces, none twice
 * @base: guest-physical address where its memory begins
 * @made: what the library made
 */
struct snapshot {
	const char *path;
	bool by_va;
	struct libvmem_roots roots;
	__u64 base;
	struct libvmem_snapshot made;
};

/* The root of a space in the snapshot: see struct libvmem_snapshot. */
static __u64 new_root(const struct snapshot *s, unsigned int index)
{
	return s->base + index * PAGE;
}

static int show_progress(__u64 done, __u64 todo, void *priv)
{
	const struct snapshot *s = priv;

	new_file_check_signals();
	if (todo)
		progress("%llu of %llu MiB", done >> 20, todo >> 20);
	else
		progress("%llu %s", done,
			 s->by_va ? plural(done, "mapping", "mappings") :
				    plural(done, "table read", "tables read"));
	return 0;
}

static void make(struct libvmem *vm, const struct opts *opts,
		 struct new_file *file, struct snapshot *s)
{
	const struct libvmem_snapshot_args args = {
		.roots = &s->roots,
		.scope = &opts->scope,
		.base = s->base,
		.flags = (opts->strict ? LIBVMEM_SNAPSHOT_STRICT : 0) |
			 (s->by_va ? LIBVMEM_SNAPSHOT_VIRTUAL : 0),
		.qmp = opts->source.qmp,
		.progress = show_progress,
		.priv = s,
	};
	struct libvmem_error error;
	int ret = libvmem_snapshot(vm, &args, new_file_fd(file), &s->made,
				   &error);

	/* The library does not know the name of the file. */
	if (ret < 0 && !strcmp(error.where, "write"))
		new_file_fail(file, error.err);
	check(ret, &error);
}

/* Before its registers are read: they are of a guest that stood still since. */
static void check_stopped(const struct opts *opts)
{
	struct libvmem_qmp *qmp = opts->source.qmp;
	struct libvmem_error error;

	if (qmp)
		check(libvmem_qmp_check_stopped(qmp, &error), &error);
}

static void warn_of(const struct libvmem_snapshot *made)
{
	if (made->dropped)
		warn("warning: %llu %s nowhere, and %s left out", made->dropped,
		     plural(made->dropped, "entry leads", "entries lead"),
		     plural(made->dropped, "is", "are"));
	if (made->unreadable)
		warn("warning: %llu %s unreadable, and %s left out",
		     made->unreadable,
		     plural(made->unreadable, "page or table is",
			    "pages or tables are"),
		     plural(made->unreadable, "is", "are"));
	if (made->strays)
		warn("warning: %u %s the first space's root there: %s is left out",
		     made->strays,
		     plural(made->strays, "vCPU has", "vCPUs have"),
		     plural(made->strays, "its own", "theirs"));
}

static void print_new_roots(const struct snapshot *s)
{
	const struct libvmem_snapshot *made = &s->made;
	const struct vmem_regs *regs = &s->roots.regs;
	int digits = gpa_digits(regs);
	char size[SIZE_TEXT_MAX];

	for (unsigned int i = 0; i < s->roots.nr; i++) {
		print_space(regs, i, libvmem_space_of_root(&s->roots, i));
		out(" -> %0*llx\n", digits, new_root(s, i));
	}
	out("\n");
	for (unsigned int i = 0; i < made->nr_extents; i++) {
		const struct libvmem_extent *extent = &made->extents[i];

		out("memory: %0*llx-%0*llx %s\n", digits, extent->gpa, digits,
		    extent->gpa + (extent->len - 1),
		    size_text(extent->len, size));
	}
	out("tables: %llu, of %llu read; %llu link%s to shared ones, %llu %s\n",
	    made->tables, made->tables_read, made->links,
	    plural(made->links, "", "s"), made->leaves,
	    plural(made->leaves, "leaf", "leaves"));
}

static void print_text(const struct snapshot *s)
{
	const struct libvmem_snapshot *made = &s->made;
	char size[SIZE_TEXT_MAX];

	if (!s->by_va) {
		print_new_roots(s);
	} else {
		print_space(&s->roots.regs, 0,
			    libvmem_space_of_root(&s->roots, 0));
		out("\nby virtual address: %llu segment%s, %u vCPU%s\n",
		    made->segments, plural(made->segments, "", "s"),
		    made->vcpus, plural(made->vcpus, "", "s"));
	}
	out("%s: %s", s->path, size_text(made->file_size, size));
	out(", of a guest with %s\n", size_text(made->guest_size, size));
}

static void put_spaces(const struct snapshot *s)
{
	json_open_list("spaces");
	for (unsigned int i = 0; i < s->roots.nr; i++) {
		json_open_space(i, libvmem_space_of_root(&s->roots, i));
		json_put_hex_if("new_root", !s->by_va, new_root(s, i));
		json_close();
	}
	json_close();
}

static void put_extents(const struct libvmem_snapshot *made)
{
	json_open_list("extents");
	for (unsigned int i = 0; i < made->nr_extents; i++) {
		json_open_row(NULL, "extent");
		json_put_hex("gpa", made->extents[i].gpa);
		json_put_count("len", made->extents[i].len);
		json_close();
	}
	json_close();
}

static void print_json(const struct snapshot *s)
{
	const struct libvmem_snapshot *made = &s->made;

	json_begin("snapshot");
	json_put_text("file", s->path);
	json_put_count("file_bytes", made->file_size);
	json_put_count("guest_bytes", made->guest_size);
	put_spaces(s);
	put_extents(made);
	json_put_count("tables_read", made->tables_read);
	json_put_count("tables", made->tables);
	json_put_count("leaves", made->leaves);
	json_put_count("links", made->links);
	json_put_count("dropped", made->dropped);
	json_put_count("unreadable", made->unreadable);
	json_put_count("strays", made->strays);
	json_put_count("segments", made->segments);
	json_put_count("vcpu_notes", made->vcpus);
	json_end();
}

static void check_args(const struct opts *opts, __u64 base)
{
	const struct libvmem_scope *scope = &opts->scope;

	if (!opts->output)
		usage("snapshot: where to? give -o FILE");
	if (base & (PAGE - 1) || base >> 52)
		usage("--base %#llx: give a multiple of 1000 below 2^52", base);
	if (opts->by_va && opts->has_base)
		usage("--virtual and --base exclude each other");
	if (opts->by_va && (opts->source.nr_cr3s > 1 || opts->all))
		usage("--virtual takes one address space: give one --cr3");
	check_whole_pages("snapshot", scope->va, scope->last_va);
	for (unsigned int i = 0; i < scope->nr_excluded; i++)
		check_whole_pages("--exclude", scope->excluded[i].va,
				  scope->excluded[i].last_va);
}

static void run(struct opts *opts, int nr_args, char **args)
{
	static struct snapshot s;
	struct new_file *file;
	struct libvmem *vm;

	parse_range("snapshot", nr_args, args, &opts->scope);
	s.path = opts->output;
	s.by_va = opts->by_va;
	s.base = opts->has_base ? opts->base : LIBVMEM_SNAPSHOT_BASE;
	check_args(opts, s.base);
	vm = guest_open(opts);
	check_stopped(opts);
	guest_roots(vm, opts, !s.by_va, &s.roots);
	libvmem_drop_repeated_roots(&s.roots);
	file = new_file_open(s.path);
	make(vm, opts, file, &s);
	guest_close(vm, opts);
	new_file_commit(file);
	progress_end();

	warn_of(&s.made);
	if (opts->json)
		print_json(&s);
	else
		print_text(&s);
}

const struct command snapshot_command = {
	.name = "snapshot",
	.args = "-o FILE [VA LAST_VA]",
	.summary = "what spaces map, and their tables, into a file",
	.help = "Write the pages that the spaces map, each once, and new tables that map\n"
		"them as the guest's do, sharing what they share, into an ELF core.\n"
		"\vA guest has to be stopped meanwhile. With --qmp that is checked, and the\n"
		"vCPUs' registers are in FILE as well. Give --cr3 for each space, or --qmp\n"
		"alone for those of all vCPUs; of an image, the default is all that it\n"
		"names. FILE appears when it is complete; a file that was there before is\n"
		"replaced. Pages that are unreadable are left out, and counted in a\n"
		"warning; with --strict, they are an error.\n\n"
		"With --virtual, FILE is for a debugger: what one space maps, by virtual\n"
		"address, and the registers of the vCPUs in it.",
	.takes = TAKES_SPACES | TAKES_EXCLUDE | TAKES_OUTPUT | TAKES_SNAPSHOT,
	.alone = true,
	.run = run,
};
