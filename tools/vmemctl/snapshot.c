// SPDX-License-Identifier: GPL-2.0-only
/*
 * vmemctl snapshot: the memory that spaces map, and their tables, into a file
 */
#include <stdlib.h>
#include <string.h>

#include "core.h"
#include "new_file.h"
#include "note.h"
#include "vmemctl.h"

/* Above the holes that a PC has in its first megabyte. */
#define DEFAULT_BASE 0x100000ull

#define PAGE 4096ull
#define BYTES_A_CALL 0x100000u

/* What is zero is left out of the file by as much as that. */
#define HOLE 0x10000u

#define SLOTS_A_CALL 64

/**
 * struct snapshot - a snapshot, from the question to the file
 * @target: the guest
 * @qmp: holds the guest's status, or NULL
 * @roots: the spaces, none of them twice
 * @base: where the memory begins
 * @cpus: the vCPUs' registers
 * @nr_cpus: how many they are
 * @note: what is noted of the spaces
 * @note_size: its size in bytes
 * @made: what the module made
 * @file_size: bytes of the file
 * @guest_size: bytes of the guest's memory
 */
struct snapshot {
	struct target *target;
	struct qmp *qmp;
	struct roots roots;
	__u64 base;
	struct core_cpu *cpus;
	unsigned int nr_cpus;
	struct vmem_note *note;
	size_t note_size;
	struct vmem_snapshot_args made;
	__u64 file_size;
	__u64 guest_size;
};

/* A zeroed array. */
static void *array(size_t nr, size_t size)
{
	void *new = calloc(nr ? nr : 1, size);

	if (!new)
		die("out of memory");
	return new;
}

/* The space that CR3 names, or -1. */
static int find_space(const struct roots *roots, __u64 cr3)
{
	struct vmem_regs regs = roots->regs;

	regs.cr3 = cr3;
	for (unsigned int i = 0; i < roots->nr; i++)
		if (roots_space(roots, i) == regs_root(&regs))
			return i;
	return -1;
}

/* vCPUs may be in one space; it is to be there once. */
static void drop_repeated(struct roots *roots)
{
	unsigned int nr = roots->nr;

	roots->nr = 0;
	for (unsigned int i = 0; i < nr; i++)
		if (find_space(roots, roots->cr3s[i]) < 0)
			roots->cr3s[roots->nr++] = roots->cr3s[i];
	roots->regs.cr3 = roots->cr3s[0];
}

/* Where the module puts a root. */
static __u64 new_root(const struct snapshot *s, unsigned int index)
{
	return s->base + index * PAGE;
}

/* What is known of a vCPU without QEMU. */
static void cpu_of_kvm(struct target *target, unsigned int index,
		       struct core_cpu *cpu)
{
	struct vmem_vcpu_args vcpu;

	regs_of_vcpu(target, index, &vcpu);
	*cpu = (struct core_cpu){
		.version = CORE_CPU_VERSION,
		.size = sizeof(*cpu),
		.cr = { [0] = vcpu.out_regs.cr0, [4] = vcpu.out_regs.cr4 },
	};
}

static void get_cpus(struct snapshot *s)
{
	s->nr_cpus = regs_nr_vcpus(s->target);
	s->cpus = array(s->nr_cpus, sizeof(*s->cpus));
	for (unsigned int i = 0; i < s->nr_cpus; i++) {
		int space = -1;

		if (s->qmp) {
			qmp_cpu(s->qmp, i, &s->cpus[i]);
			space = find_space(&s->roots, s->cpus[i].cr[3]);
		} else {
			cpu_of_kvm(s->target, i, &s->cpus[i]);
		}
		s->cpus[i].cr[3] = new_root(s, space < 0 ? 0 : space);
	}
}

static void get_guest_size(struct snapshot *s)
{
	struct vmem_memslot slots[SLOTS_A_CALL];
	struct vmem_memslots_args args = {
		.size = sizeof(args),
		.nr = SLOTS_A_CALL,
		.slot_size = sizeof(slots[0]),
		.slots = (uintptr_t)slots,
	};

	do {
		if (target_ask(s->target, VMEM_MEMSLOTS, &args))
			fail(STEP_MEMSLOTS, NULL,
			     "cannot list the guest's memory");
		for (unsigned int i = 0; i < args.out_nr; i++)
			s->guest_size += slots[i].len;
		args.gpa = args.out_next_gpa;
	} while (args.out_nr == args.nr);
}

static void make_note(struct snapshot *s)
{
	const size_t size = s->roots.nr * sizeof(s->note->spaces[0]);

	s->note_size = sizeof(*s->note) + size;
	s->note = array(1, s->note_size);
	s->note->version = VMEM_NOTE_VERSION;
	s->note->size = sizeof(*s->note);
	s->note->regs = s->roots.regs;
	s->note->regs.cr3 = new_root(s, 0);
	s->note->nr_spaces = s->roots.nr;
	for (unsigned int i = 0; i < s->roots.nr; i++) {
		s->note->spaces[i].space = roots_space(&s->roots, i);
		s->note->spaces[i].root = new_root(s, i);
	}
}

static void make_some(struct snapshot *s)
{
	struct vmem_snapshot_args *made = &s->made;
	__u64 read = made->out_stats.tables_read;

	if (target_ask(s->target, VMEM_SNAPSHOT, made))
		fail(STEP_SNAPSHOT, &s->roots.regs,
		     "cannot make a snapshot at %#llx of %u space%s", s->base,
		     s->roots.nr, s->roots.nr == 1 ? "" : "s");
	if (made->out_more && made->out_stats.tables_read == read)
		die("cannot make a snapshot: the module makes no progress");
	new_file_check_signals();
}

static void make(struct snapshot *s, const struct scope *scope)
{
	s->made = (struct vmem_snapshot_args){
		.size = sizeof(s->made),
		.base = s->base,
	};
	set_spaces(s->target, &s->roots, scope);
	do {
		make_some(s);
		progress("%llu tables read", s->made.out_stats.tables_read);
	} while (s->made.out_more);
	if (!s->made.out_nr_extents ||
	    s->made.out_nr_extents > VMEM_MAX_EXTENTS)
		die("the module told of %u pieces of memory: load the one of this vmemctl",
		    s->made.out_nr_extents);
}

static void read_all(struct snapshot *s, void *buf, __u64 gpa, __u64 len)
{
	struct vmem_snapshot_read_args args = { .size = sizeof(args) };

	for (__u64 done = 0; done < len; done += args.out_len) {
		args.gpa = gpa + done;
		args.len = len - done;
		args.buf = (uintptr_t)buf + done;
		if (target_ask(s->target, VMEM_SNAPSHOT_READ, &args))
			fail(STEP_SNAPSHOT_READ, NULL,
			     "cannot read the snapshot at %#llx", args.gpa);
		if (!args.out_len)
			die("cannot read the snapshot at %#llx: the module makes no progress",
			    args.gpa);
	}
}

static bool is_zero(const char *bytes, size_t len)
{
	return !bytes[0] && !memcmp(bytes, bytes + 1, len - 1);
}

static void write_bytes(struct new_file *file, const char *bytes, size_t len,
			__u64 offset)
{
	for (size_t at = 0; at < len; at += HOLE) {
		size_t some = len - at < HOLE ? len - at : HOLE;

		if (!is_zero(bytes + at, some))
			new_file_write(file, bytes + at, some, offset + at);
	}
}

static void write_extent(struct snapshot *s, struct new_file *file,
			 const struct vmem_extent *extent, __u64 offset)
{
	static char buf[BYTES_A_CALL];
	__u64 len;

	for (__u64 done = 0; done < extent->len; done += len) {
		len = extent->len - done;
		if (len > sizeof(buf))
			len = sizeof(buf);
		read_all(s, buf, extent->gpa + done, len);
		new_file_check_signals();
		write_bytes(file, buf, len, offset + done);
		progress("%llu of %llu MiB", (offset + done + len) >> 20,
			 s->file_size >> 20);
	}
}

static void write_file(struct snapshot *s, struct new_file *file)
{
	const struct core core = {
		.long_mode = regs_paging(&s->roots.regs) == PAGING_4LEVEL,
		.cpus = s->cpus,
		.nr_cpus = s->nr_cpus,
		.note = s->note,
		.note_size = s->note_size,
		.extents = s->made.out_extents,
		.nr_extents = s->made.out_nr_extents,
	};
	__u64 offset = core_memory_offset(&core);

	s->file_size = offset;
	for (unsigned int i = 0; i < core.nr_extents; i++)
		s->file_size += core.extents[i].len;
	core_write(&core, file);
	new_file_resize(file, s->file_size);
	for (unsigned int i = 0; i < core.nr_extents; i++) {
		write_extent(s, file, &core.extents[i], offset);
		offset += core.extents[i].len;
	}
}

static void print_text(const struct snapshot *s, const char *path)
{
	const struct vmem_snapshot_stats *stats = &s->made.out_stats;
	const struct vmem_regs *regs = &s->roots.regs;
	int digits = regs_gpa_digits(regs);
	char size[SIZE_TEXT_MAX];

	for (unsigned int i = 0; i < s->roots.nr; i++) {
		print_space(regs, i, roots_space(&s->roots, i));
		out(" -> %0*llx\n", digits, new_root(s, i));
	}
	out("\n");
	for (unsigned int i = 0; i < s->made.out_nr_extents; i++) {
		const struct vmem_extent *extent = &s->made.out_extents[i];

		out("memory: %0*llx-%0*llx %s\n", digits, extent->gpa, digits,
		    extent->gpa + (extent->len - 1),
		    size_text(extent->len, size));
	}
	out("tables: %llu, of %llu read; %llu links to shared ones, %llu leaves\n",
	    stats->tables, stats->tables_read, stats->links, stats->leaves);
	out("%s: %s", path, size_text(s->file_size, size));
	out(", of a guest with %s\n", size_text(s->guest_size, size));
}

static json_t *json_spaces(const struct snapshot *s)
{
	json_t *spaces = json_array();

	for (unsigned int i = 0; i < s->roots.nr; i++) {
		json_t *o = json_object();

		json_set(o, "space", json_hex(roots_space(&s->roots, i)));
		json_set(o, "root", json_hex(new_root(s, i)));
		json_add(spaces, o);
	}
	return spaces;
}

static json_t *json_extents(const struct snapshot *s)
{
	json_t *extents = json_array();

	for (unsigned int i = 0; i < s->made.out_nr_extents; i++) {
		const struct vmem_extent *extent = &s->made.out_extents[i];
		json_t *o = json_object();

		json_set(o, "gpa", json_hex(extent->gpa));
		json_set(o, "len", json_count(extent->len));
		json_add(extents, o);
	}
	return extents;
}

/* A path need not be text that JSON can hold. */
static void print_json(const struct snapshot *s, const char *path)
{
	const struct vmem_snapshot_stats *stats = &s->made.out_stats;
	json_t *file = json_string(path);
	json_t *o = json_object();

	json_set(o, "file", file ? file : json_null());
	json_set(o, "spaces", json_spaces(s));
	json_set(o, "extents", json_extents(s));
	json_set(o, "tables_read", json_count(stats->tables_read));
	json_set(o, "tables", json_count(stats->tables));
	json_set(o, "leaves", json_count(stats->leaves));
	json_set(o, "links", json_count(stats->links));
	json_set(o, "bytes", json_count(s->file_size));
	json_set(o, "guest_bytes", json_count(s->guest_size));
	json_print(o);
}

static void check_args(const struct opts *opts, const struct scope *scope,
		       __u64 base)
{
	if (opts->image)
		usage("snapshot is made of a guest, not of an image: give --pid");
	if (!opts->output)
		usage("snapshot: where to? give -o FILE");
	if (base & (PAGE - 1) || base >> 52)
		usage("--base %#llx: give a multiple of 1000 below 2^52", base);
	check_whole_pages("snapshot", scope->va, scope->last_va);
	for (unsigned int i = 0; i < scope->nr_excluded; i++)
		check_whole_pages("--exclude", scope->excluded[i].va,
				  scope->excluded[i].last_va);
}

/* QEMU serves one client at a time: who asks it for roots comes first. */
static void open_qmp(const struct opts *opts, struct snapshot *s)
{
	if (!opts->qmp)
		return;
	s->qmp = qmp_open(opts->qmp);
	qmp_check_stopped(s->qmp);
}

static void close_qmp(struct snapshot *s)
{
	if (!s->qmp)
		return;
	qmp_check_stopped(s->qmp);
	qmp_close(s->qmp);
}

static void run(const struct opts *opts, int nr_args, char **args)
{
	static struct snapshot s;
	struct scope scope = opts->scope;
	struct new_file *file;

	parse_range("snapshot", nr_args, args, &scope.va, &scope.last_va);
	s.base = opts->has_base ? opts->base : DEFAULT_BASE;
	check_args(opts, &scope, s.base);
	s.target = target_open(opts);
	roots_resolve_all(opts, s.target, &s.roots);
	drop_repeated(&s.roots);
	open_qmp(opts, &s);
	file = new_file_open(opts->output);

	get_cpus(&s);
	get_guest_size(&s);
	make_note(&s);
	make(&s, &scope);
	write_file(&s, file);
	close_qmp(&s);
	new_file_commit(file);
	progress_end();

	if (s.made.out_stats.dropped)
		warn("warning: %llu entries lead nowhere, and are left out",
		     s.made.out_stats.dropped);
	if (opts->json)
		print_json(&s, opts->output);
	else
		print_text(&s, opts->output);
	free(s.cpus);
	free(s.note);
	target_close(s.target);
}

const struct command snapshot_command = {
	.name = "snapshot",
	.args = "-o FILE [VA LAST_VA]",
	.summary = "what spaces map, and their tables, into a file",
	.help = "Write the pages that the spaces map, each once, and new tables that map\n"
		"them as the guest's do, sharing what they share, into an ELF core.\n"
		"\vThe guest has to be stopped meanwhile. With --qmp that is checked, and\n"
		"the vCPUs' registers are in FILE as well. Give --cr3 for each space, or\n"
		"--qmp alone for those of all vCPUs. FILE appears when it is complete; a\n"
		"file that was there before is replaced.",
	.needs_root = true,
	.many_roots = true,
	.can_exclude = true,
	.can_write = true,
	.run = run,
};
