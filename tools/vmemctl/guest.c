// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guest and the address spaces that the command line names
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "new_file.h"
#include "vmemctl.h"

/* A PC's hole is between these. */
#define LOWEST_HOLE (2ull << 30)
#define HOLE_END (4ull << 30)

/* How the handler ends a line of a batch: nothing more can be asked. */
static int cut_status = EXIT_FAILED;

/* An image is mapped, and somebody has cut it. Nothing can be said but this. */
static void end_by_sigbus(int number)
{
	static const char text[] =
		"vmemctl: the image has become shorter meanwhile: ask a copy of it\n";

	ssize_t said = write(STDERR_FILENO, text, sizeof(text) - 1);

	(void)number;
	(void)said;
	new_file_abandon();
	_exit(cut_status);
}

/* What a PC has no room for below the hole, it has from 4 GiB on. */
static void find_hole(struct opts *opts)
{
	struct stat st;

	opts->regions[opts->nr_regions++] = (struct libvmem_region){};
	if (stat(opts->image, &st) || (__u64)st.st_size <= opts->hole)
		return;
	opts->regions[0].len = opts->hole;
	opts->regions[opts->nr_regions++] = (struct libvmem_region){
		.gpa = HOLE_END,
		.offset = opts->hole,
	};
}

static bool is_same(const char *path, const struct stat *file)
{
	struct stat st;

	return !stat(path, &st) && st.st_dev == file->st_dev &&
	       st.st_ino == file->st_ino;
}

/* An output file must not replace a file of the image. */
static void check_output(const struct opts *opts)
{
	struct stat output;
	bool same;

	if (!opts->output || !opts->image || stat(opts->output, &output))
		return;
	same = is_same(opts->image, &output);
	for (unsigned int i = 0; i < opts->nr_regions && !same; i++)
		same = opts->regions[i].path &&
		       is_same(opts->regions[i].path, &output);
	if (same)
		die("cannot write %s: it is a file of the image: give another FILE",
		    opts->output);
}

static struct libvmem *attach(const struct opts *opts)
{
	struct libvmem_error error;
	struct libvmem *vm;
	int ret;

	if (opts->image)
		ret = libvmem_open_regions(&vm, opts->image, opts->regions,
					   opts->nr_regions, &error);
	else
		ret = libvmem_open_pid(&vm, opts->pid, opts->vm_fd, &error);
	check(ret, &error);
	return vm;
}

void guest_attach(struct opts *opts, struct libvmem **vms, unsigned int nr)
{
	struct libvmem_error error;

	if (opts->batch)
		cut_status = EXIT_CUT;
	if (opts->qmp)
		check(libvmem_qmp_open(&opts->source.qmp, opts->qmp, opts->pid,
				       &error),
		      &error);
	if (opts->hole)
		find_hole(opts);
	if (opts->image)
		signal(SIGBUS, end_by_sigbus);
	for (unsigned int i = 0; i < nr; i++)
		vms[i] = attach(opts);
}

struct libvmem *guest_open(struct opts *opts)
{
	struct libvmem *vm;

	if (opts->vm)
		return opts->vm;
	guest_attach(opts, &vm, 1);
	check_output(opts);
	confine(opts->output ? CONFINED_WRITER : CONFINED);
	return vm;
}

void guest_close(struct libvmem *vm, struct opts *opts)
{
	if (opts->batch)
		return;
	libvmem_qmp_close(opts->source.qmp);
	libvmem_close(vm);
}

#define GIVE_CR3 "--cr3, of which `vmemctl roots' lists some"
#define GIVE_MODE "--arch, or --cr0 --cr4 --efer --maxphyaddr"

/* Nothing in an image says where the tables are: the command line has to. */
static void check_regs(int ret, const struct opts *opts,
		       const struct libvmem_error *error)
{
	const unsigned int mode = LIBVMEM_ALL_REGS & ~LIBVMEM_CR3;

	if (ret == -LIBVMEM_NO_REGISTERS && opts->image)
		usage("no registers in %s: give %s", opts->image,
		      opts->source.arch || !(mode & ~opts->source.given.have) ?
			      GIVE_CR3 :
		      opts->source.nr_cr3s ? GIVE_MODE :
					     GIVE_MODE "; and " GIVE_CR3);
	check(ret, error);
}

/*
 * Does the table name another one that would be in the file, if what is above 4 GiB were
 * moved down by the size of a hole?
 */
static bool is_moved(struct libvmem *vm, const struct vmem_regs *regs,
		     enum vmem_level level, __u64 table)
{
	const __u64 size = libvmem_image(vm)->size;
	const size_t width = libvmem_top_level(regs) == VMEM_LEVEL_PD ? 4 : 8;
	unsigned char bytes[4096];
	size_t end = sizeof(bytes);
	struct libvmem_entry entry;
	struct libvmem_read read;
	__u64 raw = 0;

	if (table >= size)
		return table >= HOLE_END &&
		       table < size + HOLE_END - LOWEST_HOLE;
	if (level == VMEM_LEVEL_PT ||
	    libvmem_read_phys(vm, table & -4096ull, bytes, sizeof(bytes), &read,
			      NULL) ||
	    read.len < sizeof(bytes))
		return false;
	/* A PAE root is 4 entries; what is behind it belongs to others. */
	if (libvmem_top_level(regs) == VMEM_LEVEL_PDPT &&
	    level == VMEM_LEVEL_PDPT)
		end = table % 4096 + 32;
	for (size_t at = table % 4096; at < end; at += width) {
		memcpy(&raw, bytes + at, width);
		if (libvmem_entry(regs, level, raw, &entry, NULL) ||
		    entry.kind != LIBVMEM_ENTRY_TABLE || entry.reserved)
			continue;
		if (level == libvmem_top_level(regs) ?
			    is_moved(vm, regs, level - 1, entry.addr) :
			    entry.addr >= size &&
				    is_moved(vm, regs, level - 1, entry.addr))
			return true;
	}
	return false;
}

/* Raw memory has no word for where it lies. */
static void warn_of_hole(struct libvmem *vm, const struct opts *opts,
			 const struct vmem_regs *regs)
{
	const struct libvmem_image *image = libvmem_image(vm);

	if (!image || strcmp(image->format, "raw") || opts->nr_regions ||
	    image->size <= LOWEST_HOLE)
		return;
	if (is_moved(vm, regs, libvmem_top_level(regs), libvmem_root(regs)))
		warn("warning: tables lie behind the end of the file: see --hole in vmemctl(8)");
}

void guest_regs(struct libvmem *vm, const struct opts *opts,
		struct vmem_regs *regs)
{
	struct libvmem_error error;

	check_regs(libvmem_find_regs(vm, &opts->source, regs, &error), opts,
		   &error);
	warn_of_hole(vm, opts, regs);
}

static int show_progress(__u64 done, __u64 all, void *priv)
{
	(void)priv;
	if (all)
		progress("vmemctl: looking for roots: %llu of %llu MiB",
			 done >> 20, all >> 20);
	return 0;
}

void guest_search(struct libvmem *vm, const struct opts *opts,
		  struct libvmem_search *search)
{
	struct libvmem_error error;
	int ret;

	*search = (struct libvmem_search){
		.source = &opts->source,
		.fetch = opts->fetch,
		.step = show_progress,
	};
	ret = libvmem_search_roots(vm, search, &error);
	progress_end();
	if (ret == -LIBVMEM_NO_REGISTERS && opts->image &&
	    !opts->source.nr_cr3s && !opts->source.arch)
		usage("no registers in %s: give --arch and, if it is known, --cr3",
		      opts->image);
	check(ret, &error);
}

static bool is_process(const struct libvmem_root_found *root)
{
	return root->kind == LIBVMEM_ROOT_VCPU ||
	       root->kind == LIBVMEM_ROOT_USER;
}

/* A guest without processes, as a unikernel, has what its vCPUs have. */
static bool is_kernel_of_vcpu(const struct libvmem_root_found *root)
{
	return root->kind == LIBVMEM_ROOT_KERNEL && root->vcpu_seen;
}

/* A page that looks like a root, and that a process can write to */
static bool is_in_user_memory(const struct libvmem_root_found *root)
{
	return root->kind == LIBVMEM_ROOT_COPY && root->user && !root->of;
}

/* How many roots are like this; the first of them are taken. */
static size_t take_roots(const struct libvmem_search *search,
			 bool (*like)(const struct libvmem_root_found *root),
			 struct libvmem_roots *roots)
{
	size_t nr = 0;

	for (size_t i = 0; i < search->nr; i++) {
		if (!like(&search->roots[i]))
			continue;
		if (nr++ < VMEM_MAX_ROOTS)
			roots->cr3s[roots->nr++] = search->roots[i].root;
	}
	return nr;
}

static void warn_of_left_out(const struct libvmem_search *search, size_t nr)
{
	size_t unclear = 0, in_user_memory = 0;

	for (size_t i = 0; i < search->nr; i++) {
		unclear += search->roots[i].kind == LIBVMEM_ROOT_UNCLEAR;
		in_user_memory += is_in_user_memory(&search->roots[i]);
	}
	if (unclear)
		warn("warning: %zu unclear root%s left out: see vmemctl roots",
		     unclear, plural(unclear, " is", "s are"));
	if (in_user_memory)
		warn("warning: %zu likeness%s of roots %s left out: see vmemctl roots",
		     in_user_memory, plural(in_user_memory, "", "es"),
		     plural(in_user_memory, "is", "are"));
	if (nr > VMEM_MAX_ROOTS)
		warn("warning: %zu space%s left out: no more than %u are looked at together",
		     nr - VMEM_MAX_ROOTS,
		     plural(nr - VMEM_MAX_ROOTS, " is", "s are"),
		     VMEM_MAX_ROOTS);
}

/* Those of vCPUs and of processes, and no kernel's alone, twin, copy or riddle. */
static void find_all(struct libvmem *vm, const struct opts *opts,
		     struct libvmem_roots *roots)
{
	struct libvmem_search search;
	size_t nr;

	guest_search(vm, opts, &search);
	roots->regs = search.regs;
	roots->nr = 0;
	roots->nr_left_out = 0;
	if (search.guessed)
		warn("warning: no root was known: the spaces are by a guess, see vmemctl roots");
	nr = take_roots(&search, is_process, roots);
	if (!nr)
		nr = take_roots(&search, is_kernel_of_vcpu, roots);
	if (!nr)
		die("no root was found: `vmemctl roots' shows what was");
	roots->regs.cr3 = roots->cr3s[0];
	warn_of_left_out(&search, nr);
	free(search.roots);
}

void guest_roots(struct libvmem *vm, const struct opts *opts, bool all,
		 struct libvmem_roots *roots)
{
	struct libvmem_error error;

	if (opts->all) {
		find_all(vm, opts, roots);
		return;
	}
	check_regs(libvmem_find_roots(vm, &opts->source, all, roots, &error),
		   opts, &error);
	warn_of_hole(vm, opts, &roots->regs);
	for (unsigned int i = 0; i < roots->nr_left_out; i++)
		warn("warning: vCPU %u is left out: it does not page like vCPU %u%s",
		     roots->left_out[i], opts->source.vcpu,
		     opts->image || opts->qmp ? "" : ", or tells no CR3");
}
