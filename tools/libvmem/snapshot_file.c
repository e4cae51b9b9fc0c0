// SPDX-License-Identifier: GPL-2.0-only
/*
 * A snapshot: the memory that spaces map, and new tables that map it, into an
 * ELF core
 */
#include <linux/err.h>
#include <linux/kernel.h>
#include <linux/minmax.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <unistd.h>
#include <vmem/snapshot.h>

#include "core_file.h"
#include "guest_memory.h"
#include "image.h"
#include "note.h"
#include "qmp.h"
#include "space_memory.h"
#include "vm.h"

/* Entries read between two calls of the user's @progress. */
#define ENTRIES_A_CALL BIT(20)

/*
 * Where a debugger sees a snapshot's memory: a virtual address is no guest-physical one,
 * and would show other pages. Long mode has addresses that no guest can have, and
 * otherwise the last page has to do, where what is beyond it has none.
 */
#define NO_VA BIT_ULL(56)
#define NO_VA_32 0xfffff000u

/* CR3.LAM_U48 and CR3.LAM_U57 */
#define CR3_LAM (BIT_ULL(62) | BIT_ULL(61))

#define ENCRYPTION (VMEM_RULES_SHARED_BIT | VMEM_RULES_ENCRYPTION_BIT(63))

/* Memory that is copied at once. */
#define CHUNK 0x100000u

/* Zeros are left out of the file by as much as that. */
#define HOLE 0x10000u

/**
 * struct job - a snapshot, from the question to the file
 * @vm: the guest
 * @args: the question
 * @fd: the file
 * @made: the answer
 * @error: for the user
 * @memory: the guest's memory
 * @space: what the one space maps, with LIBVMEM_SNAPSHOT_VIRTUAL
 * @snapshot: the new tables, and a place for each page
 * @roots: the spaces, for @snapshot
 * @cpus: the vCPUs' registers
 * @nr_cpus: elements of @cpus
 * @note: the note of the spaces
 * @note_size: its size in bytes
 * @loads: its memory, without LIBVMEM_SNAPSHOT_VIRTUAL
 */
struct job {
	struct libvmem *vm;
	const struct libvmem_snapshot_args *args;
	int fd;
	struct libvmem_snapshot *made;
	struct libvmem_error *error;
	struct guest_memory memory;
	struct space_memory space;
	struct vmem_snapshot snapshot;
	struct vmem_root *roots;
	struct core_cpu *cpus;
	unsigned int nr_cpus;
	struct vmem_note *note;
	size_t note_size;
	struct core_load loads[LIBVMEM_MAX_EXTENTS];
};

static bool is_virtual(const struct job *job)
{
	return job->args->flags & LIBVMEM_SNAPSHOT_VIRTUAL;
}

static int progress(const struct job *job, u64 done, u64 todo)
{
	if (!job->args->progress)
		return 0;
	return job->args->progress(done, todo, job->args->priv);
}

/* Arguments */

static int bad_argument(const struct job *job, u64 address, const char *what)
{
	return error_set(job->error, LIBVMEM_BAD_ARGUMENT, STEP_ARGUMENT,
			 address, what, "cannot make a snapshot at %#llx",
			 (u64)job->args->base);
}

static bool is_whole(u64 va, u64 last_va)
{
	return va <= last_va && !(va & ~VMEM_PAGE_MASK) &&
	       !((last_va + 1) & ~VMEM_PAGE_MASK);
}

static int check_scope(const struct job *job)
{
	const struct libvmem_scope *scope = job->args->scope;
	unsigned int i;

	if (!is_whole(scope->va, scope->last_va))
		return bad_argument(job, scope->va,
				    "the range is not of whole pages");
	for (i = 0; i < scope->nr_excluded; i++) {
		const struct vmem_span *span = &scope->excluded[i];

		if (!is_whole(span->va, span->last_va))
			return bad_argument(
				job, span->va,
				"an excluded range is not of whole pages");
	}
	return 0;
}

static int check_args(const struct job *job)
{
	const struct libvmem_roots *roots = job->args->roots;
	u64 base = job->args->base;
	unsigned int i;
	int ret;

	if (base & ~VMEM_PAGE_MASK || base >> 52)
		return bad_argument(job, base,
				    "give a multiple of 4096 below 2^52");
	if (job->args->flags &
	    ~(LIBVMEM_SNAPSHOT_COW | LIBVMEM_SNAPSHOT_STRICT |
	      LIBVMEM_SNAPSHOT_VIRTUAL))
		return bad_argument(job, 0, "a flag is not known");
	if (is_virtual(job) &&
	    (roots->nr != 1 || job->args->flags & LIBVMEM_SNAPSHOT_COW))
		return bad_argument(
			job, 0,
			"by virtual address it is of one space, as it is");
	if (job->args->flags & LIBVMEM_SNAPSHOT_COW && !roots->regs.cow_mask)
		return bad_argument(
			job, 0,
			"the registers have no convention for copy-on-write");
	ret = check_spaces(roots, job->args->scope, job->error);
	if (ret)
		return ret;
	for (i = 1; i < roots->nr; i++)
		if (find_space(roots, i, roots->cr3s[i]) >= 0)
			return bad_argument(job, roots->cr3s[i],
					    "a root is given twice");
	return check_scope(job);
}

/* What the file says of the guest */

static bool is_long_mode(const struct vmem_regs *regs)
{
	return libvmem_top_level(regs) >= VMEM_LEVEL_PML4;
}

/* Where the snapshot has a root table. */
static u64 new_root(const struct job *job, unsigned int index)
{
	if (is_virtual(job))
		return libvmem_space_of_root(job->args->roots, index);
	return job->args->base + index * VMEM_PAGE_SIZE;
}

/* CR3 for it: what linear-address masking the guest had stays. */
static u64 new_cr3(const struct job *job, unsigned int index, u64 cr3)
{
	u64 kept = is_long_mode(&job->args->roots->regs) ? CR3_LAM : 0;

	return new_root(job, index) | (cr3 & kept);
}

/* What is known of a vCPU without QEMU. */
static int cpu_of_vm(struct job *job, unsigned int index, struct core_cpu *cpu)
{
	struct vmem_vcpu_args vcpu;
	int ret;

	if (job->vm->image) {
		*cpu = job->vm->image->cpus[index];
		return 0;
	}
	ret = libvmem_vcpu(job->vm, index, 0, &vcpu, job->error);
	*cpu = (struct core_cpu){
		.version = CORE_CPU_VERSION,
		.size = sizeof(*cpu),
		.cr = { [0] = vcpu.out_regs.cr0, [4] = vcpu.out_regs.cr4 },
	};
	if (!ret && is_virtual(job) && libvmem_has_own_root(&vcpu)) {
		cpu->cr[3] = vcpu.out_regs.cr3;
		cpu->rip = vcpu.out_rip;
	}
	return ret;
}

/* Those in the space, with the CR3 that they have */
static void keep_cpus_of_space(struct job *job)
{
	const struct libvmem_roots *roots = job->args->roots;
	unsigned int i, nr = 0;

	for (i = 0; i < job->nr_cpus; i++)
		if (find_space(roots, 1, job->cpus[i].cr[3]) >= 0)
			job->cpus[nr++] = job->cpus[i];
	job->nr_cpus = nr;
	job->made->vcpus = nr;
}

/* Those of the snapshot's own tables */
static void move_cpus(struct job *job, bool known)
{
	const struct libvmem_roots *roots = job->args->roots;
	unsigned int i;

	job->made->vcpus = job->nr_cpus;
	for (i = 0; i < job->nr_cpus; i++) {
		struct core_cpu *cpu = &job->cpus[i];
		int space = find_space(roots, roots->nr, cpu->cr[3]);

		job->made->strays += known && space < 0;
		cpu->cr[3] = new_cr3(job, space < 0 ? 0 : space, cpu->cr[3]);
	}
}

static int get_cpus(struct job *job)
{
	const struct libvmem_qmp_vcpu *vcpus = NULL;
	unsigned int i;
	int ret = 0;

	if (job->args->qmp)
		job->nr_cpus = libvmem_qmp_vcpus(job->args->qmp, &vcpus);
	else
		ret = nr_vcpus(job->vm, &job->nr_cpus, job->error);
	if (ret)
		return ret;
	job->cpus = kcalloc(job->nr_cpus + 1, sizeof(*job->cpus), GFP_KERNEL);
	if (!job->cpus)
		return error_memory(job->error, NULL);
	for (i = 0; i < job->nr_cpus && !ret; i++) {
		struct core_cpu *cpu = &job->cpus[i];

		if (vcpus)
			ret = qmp_cpu(job->args->qmp, vcpus[i].index, cpu,
				      job->error);
		else
			ret = cpu_of_vm(job, i, cpu);
	}
	if (!ret && is_virtual(job))
		keep_cpus_of_space(job);
	else if (!ret)
		move_cpus(job, vcpus);
	return ret;
}

static int make_note(struct job *job)
{
	const struct libvmem_roots *roots = job->args->roots;
	unsigned int i;

	job->note_size =
		sizeof(*job->note) + roots->nr * sizeof(job->note->spaces[0]);
	job->note = kzalloc(job->note_size, GFP_KERNEL);
	if (!job->note)
		return error_memory(job->error, "the notes");
	job->note->version = VMEM_NOTE_VERSION;
	job->note->size = sizeof(*job->note);
	job->note->regs = roots->regs;
	job->note->regs.cr3 = new_cr3(job, 0, roots->cr3s[0]);
	/* The file is not encrypted, and its new tables have no encryption bit. */
	if (!is_virtual(job))
		job->note->regs.rules &= ~ENCRYPTION;
	job->note->nr_spaces = roots->nr;
	for (i = 0; i < roots->nr; i++) {
		job->note->spaces[i].space = libvmem_space_of_root(roots, i);
		job->note->spaces[i].root = new_root(job, i);
	}
	return 0;
}

/* Tables */

static int fail(const struct job *job, int err)
{
	const struct libvmem_roots *roots = job->args->roots;

	return error_of(job->error, STEP_SNAPSHOT, -err,
			job->snapshot.rebuild.va, &roots->regs,
			"cannot make a snapshot at %#llx of %u space%s",
			(u64)job->args->base, roots->nr, plural(roots->nr));
}

static int begin(struct job *job)
{
	const struct libvmem_roots *roots = job->args->roots;
	const struct libvmem_scope *scope = job->args->scope;
	struct vmem_rebuild *rebuild = &job->snapshot.rebuild;
	unsigned int i;
	int ret = 0;

	job->snapshot.base = job->args->base;
	job->snapshot.cow = job->args->flags & LIBVMEM_SNAPSHOT_COW;
	job->snapshot.strict = job->args->flags & LIBVMEM_SNAPSHOT_STRICT;
	job->roots = kvcalloc(roots->nr, sizeof(*job->roots), GFP_KERNEL);
	rebuild->roots = job->roots;
	rebuild->nr_roots = roots->nr;
	rebuild->built =
		kvcalloc(roots->nr, sizeof(*rebuild->built), GFP_KERNEL);
	if (!job->roots || !rebuild->built)
		return error_memory(job->error, NULL);
	for (i = 0; i < roots->nr && !ret; i++) {
		struct vmem_regs regs = libvmem_regs_of_root(roots, i);

		ret = vmem_root_init(&job->roots[i], &regs);
	}
	rebuild->scope = (struct vmem_scope){
		.va = scope->va,
		.last_va = scope->last_va,
		.excluded = scope->excluded,
		.nr_excluded = scope->nr_excluded,
	};
	return ret ? fail(job, ret) : 0;
}

static void tell(const struct job *job)
{
	const struct vmem_snapshot *snapshot = &job->snapshot;
	const struct vmem_rebuild_stats *stats = &snapshot->rebuild.stats;
	struct libvmem_snapshot *made = job->made;
	u32 i;

	made->tables_read = stats->tables;
	made->tables = snapshot->nr_made;
	made->leaves = stats->leaves;
	made->links = stats->links;
	made->empty_links = stats->empty_links;
	made->dropped = stats->dropped;
	made->unreadable = snapshot->unreadable;
	made->guest_size = job->memory.size;
	made->nr_extents = snapshot->nr_extents;
	for (i = 0; i < snapshot->nr_extents; i++)
		made->extents[i] = (struct libvmem_extent){
			snapshot->extents[i].gpa,
			snapshot->extents[i].len,
		};
}

static int make_tables(struct job *job)
{
	int ret, ended;

	do {
		ret = vmem_snapshot_make(&job->snapshot, &job->memory.mem,
					 ENTRIES_A_CALL);
		if (job->memory.changed)
			ret = -EAGAIN;
		if (ret && ret != VMEM_WALK_STOP)
			return fail(job, ret);
		ended = progress(job, job->snapshot.rebuild.stats.tables, 0);
	} while (ret && !ended);
	tell(job);
	return ended;
}

static int make_loads(struct job *job)
{
	const struct libvmem_snapshot *made = job->made;
	const u64 none = is_long_mode(&job->args->roots->regs) ? NO_VA : 0;
	u64 offset = 0;
	unsigned int i;
	int ret = make_tables(job);

	for (i = 0; i < made->nr_extents && !ret; i++) {
		const struct libvmem_extent *extent = &made->extents[i];

		job->loads[i] = (struct core_load){
			.va = none ? none + extent->gpa : NO_VA_32,
			.gpa = extent->gpa,
			.len = extent->len,
			.offset = offset,
		};
		offset += extent->len;
	}
	return ret;
}

/* The memory of one space at its own addresses, without new tables */
static int find_memory(struct job *job)
{
	struct libvmem_snapshot *made = job->made;
	int ret = space_memory_find(&job->space, &job->memory, job->args,
				    job->error);

	made->dropped = job->space.anomalies;
	made->unreadable = job->space.unreadable;
	made->segments = job->space.nr_loads;
	made->guest_size = job->memory.size;
	return ret;
}

/* Memory */

/**
 * struct copy - a part of the snapshot's memory, on its way to the file
 * @mem: notes the pages that the snapshot wants of the guest, which are read
 *	together where they lie together
 * @vm: the guest
 * @page: the page that is wanted
 * @from: guest-physical address of pages that were not read yet
 * @wanted: bytes there
 * @len: bytes of @buf that are filled, or will be
 * @buf: the part
 */
struct copy {
	struct vmem_mem mem;
	struct libvmem *vm;
	u64 page;
	u64 from;
	size_t wanted;
	size_t len;
	u8 buf[CHUNK];
};

/* Bytes that nobody reads: they stand for the page that is wanted. */
static const void *note_page(struct vmem_mem *mem, u64 gpa)
{
	struct copy *copy = container_of(mem, struct copy, mem);

	copy->page = gpa;
	return copy;
}

static void forget_page(struct vmem_mem *mem, u64 gpa, const void *page)
{
}

static const struct vmem_mem_ops copy_ops = {
	.pin = note_page,
	.unpin = forget_page,
};

/* All that is wanted could be read when its place in the snapshot was made. */
static int read_wanted(struct copy *copy)
{
	u8 *to = copy->buf + copy->len - copy->wanted;

	while (copy->wanted) {
		u32 status;
		s64 len = read_phys(copy->vm, copy->from, to, copy->wanted,
				    &status);

		if (len < 0)
			return len;
		if (status != VMEM_MAPPED)
			return -EIO;
		to += len;
		copy->from += len;
		copy->wanted -= len;
	}
	return 0;
}

static int sink(const void *data, size_t len, void *priv)
{
	struct copy *copy = priv;
	int ret = 0;

	if (copy->wanted &&
	    (data != copy || copy->page != copy->from + copy->wanted))
		ret = read_wanted(copy);
	if (data != copy)
		memcpy(copy->buf + copy->len, data, len);
	else if (!copy->wanted)
		copy->from = copy->page;
	if (data == copy)
		copy->wanted += len;
	copy->len += len;
	return ret;
}

static bool is_zero(const u8 *bytes, size_t len)
{
	return !bytes[0] && !memcmp(bytes, bytes + 1, len - 1);
}

static int write_chunk(const struct job *job, const struct copy *copy,
		       u64 offset)
{
	size_t at, len;
	int ret = 0;

	for (at = 0; at < copy->len && !ret; at += len) {
		len = min_t(size_t, copy->len - at, HOLE);
		if (!is_zero(copy->buf + at, len))
			ret = write_at(job->fd, copy->buf + at, len,
				       offset + at, job->error);
	}
	return ret;
}

/* Fill the buffer with what there is at @gpa, which is moved on. */
static int next_chunk(struct job *job, struct copy *copy, u64 *gpa, u64 end)
{
	int ret = 0;

	end = min_t(u64, end, *gpa + CHUNK);
	copy->len = 0;
	if (is_virtual(job)) {
		copy->from = *gpa;
		copy->wanted = end - *gpa;
		copy->len = copy->wanted;
		*gpa = end;
	} else {
		ret = vmem_snapshot_read(&job->snapshot, &copy->mem, gpa, end,
					 sink, copy);
	}
	return ret ? ret : read_wanted(copy);
}

/* Copy the extent at @gpa to @offset of the file. */
static int copy_extent(struct job *job, struct copy *copy, u64 gpa, u64 end,
		       u64 offset)
{
	int ret = 0;

	while (gpa < end && !ret) {
		u64 at = gpa;

		ret = next_chunk(job, copy, &gpa, end);
		if (ret)
			return error_of(job->error, STEP_COPY, -ret, at, NULL,
					"cannot read the snapshot at %#llx",
					at);
		ret = write_chunk(job, copy, offset);
		offset += copy->len;
		if (!ret)
			ret = progress(job, offset, job->made->file_size);
	}
	return ret;
}

static int copy_memory(struct job *job, u64 offset)
{
	const struct libvmem_extent *extents =
		is_virtual(job) ? job->space.pieces : job->made->extents;
	const size_t nr = is_virtual(job) ? job->space.nr_pieces :
					    job->made->nr_extents;
	struct copy *copy = kzalloc(sizeof(*copy), GFP_KERNEL);
	size_t i;
	int ret = 0;

	if (!copy)
		return error_memory(job->error, NULL);
	copy->mem.ops = &copy_ops;
	copy->vm = job->vm;
	for (i = 0; i < nr && !ret; i++) {
		ret = copy_extent(job, copy, extents[i].gpa,
				  extents[i].gpa + extents[i].len, offset);
		offset += extents[i].len;
	}
	kfree(copy);
	return ret;
}

/* Debuggers read no core of 64 bits of a guest that is not in long mode. */
static int check_size(const struct job *job, bool long_mode)
{
	if (!is_virtual(job) || long_mode || !(job->made->file_size >> 32))
		return 0;
	return error_set(job->error, LIBVMEM_TOO_MUCH, STEP_SNAPSHOT, 0,
			 "give a smaller range",
			 "what the space maps does not fit in a file of 4 GiB");
}

static int write_file(struct job *job)
{
	struct libvmem_snapshot *made = job->made;
	struct core core = {
		.long_mode = is_long_mode(&job->args->roots->regs),
		.is_virtual = is_virtual(job),
		.cpus = job->cpus,
		.nr_cpus = job->nr_cpus,
		.note = job->note,
		.note_size = job->note_size,
		.loads = is_virtual(job) ? job->space.loads : job->loads,
		.nr_loads = is_virtual(job) ? job->space.nr_loads :
					      made->nr_extents,
		.memory_size = job->space.size,
	};
	u64 offset;
	unsigned int i;
	int ret;

	for (i = 0; i < made->nr_extents; i++)
		core.memory_size += made->extents[i].len;
	offset = core_memory_offset(&core);
	made->file_size = offset + core.memory_size;
	ret = check_size(job, core.long_mode);
	if (!ret)
		ret = core_write(&core, job->fd, job->error);
	if (!ret && ftruncate(job->fd, made->file_size))
		ret = error_write(job->error);
	return ret ? ret : copy_memory(job, offset);
}

static int run(struct job *job)
{
	struct libvmem_qmp *qmp = job->args->qmp;
	int ret = check_args(job);

	if (!ret && qmp)
		ret = libvmem_qmp_check_stopped(qmp, job->error);
	if (!ret)
		ret = guest_memory_init(&job->memory, job->vm, job->error);
	if (!ret)
		ret = get_cpus(job);
	if (!ret)
		ret = make_note(job);
	if (!ret && is_virtual(job))
		ret = find_memory(job);
	else if (!ret)
		ret = begin(job) ?: make_loads(job);
	if (!ret)
		ret = write_file(job);
	if (!ret && qmp)
		ret = libvmem_qmp_check_stopped(qmp, job->error);
	return ret;
}

int libvmem_snapshot(struct libvmem *vm,
		     const struct libvmem_snapshot_args *args, int fd,
		     struct libvmem_snapshot *made, struct libvmem_error *error)
{
	struct job *job = kzalloc(sizeof(*job), GFP_KERNEL);
	int ret;

	*made = (struct libvmem_snapshot){};
	if (!job)
		return error_memory(error, NULL);
	job->vm = vm;
	job->args = args;
	job->fd = fd;
	job->made = made;
	job->error = error;
	ret = run(job);
	vmem_snapshot_destroy(&job->snapshot);
	space_memory_destroy(&job->space);
	guest_memory_destroy(&job->memory);
	kvfree(job->snapshot.rebuild.built);
	kvfree(job->roots);
	kfree(job->cpus);
	kfree(job->note);
	kfree(job);
	return ret;
}
