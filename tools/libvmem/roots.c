// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guest's address spaces, found in its memory
 *
 * All roots of a kernel share its half of the tables. So a page is a candidate if the
 * entries of its kernel half name the tables that a known root names. Rules reject freed
 * roots and copies:
 *
 * - A freed root has an empty user half: a kernel frees the tables of a process from the
 *   bottom up. A root of a kernel thread looks the same.
 * - A copy in a program's memory lies in a page that user mode can reach; no table does.
 *   A root that a vCPU has can be trusted in that, and any other that has an account.
 * - Any other copy shares its user half with the original, and no two processes share
 *   tables there. A vCPU's CR3 decides between the two, or else a pointer: the kernel's
 *   account of a process holds the address of its root in the map of all memory. All
 *   accounts are of one kind: what is before the pointer is the same in most of them,
 *   and a pointer that is something else has something else before it.
 */
#include <linux/bits.h>
#include <linux/kernel.h>
#include <linux/minmax.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/string.h>

#include "roots.h"
#include "scan.h"

/* Looks at the vCPUs while memory is read, and the time limit of each */
#define MAX_LOOKS 32
#define LOOK_US 1000

/* How many pages may look like roots, and for how many with PAE a PD tells */
#define MAX_FOUND 65536u
#define MAX_PDS 1048576u

/* So many times as many calls for what all roots map to user mode */
#define ROOTS_WITH_ALL 64

/* Of what is above, it is not known whether it is mapped to user mode. */
#define MAX_MEMORY BIT_ULL(44)

/* No root has so much: it was freed and used for something else meanwhile. */
#define MAX_ANOMALIES 64

/* ---- The roots that were found ---- */

static struct libvmem_root_found *find(const struct finder *f, u64 root)
{
	struct libvmem_search *search = f->search;
	size_t i;

	for (i = 0; i < search->nr; i++)
		if (search->roots[i].root == root)
			return &search->roots[i];
	return NULL;
}

static int make_room(struct finder *f)
{
	struct libvmem_search *search = f->search;
	struct libvmem_root_found *roots;
	size_t room = f->room ? f->room * 2 : 256;

	if (search->nr == MAX_FOUND)
		return error_set(
			f->error, LIBVMEM_TOO_MUCH, STEP_REGISTERS, 0,
			"no guest has so many processes: it fills its memory with copies; name the roots with --cr3",
			"more than %u pages look like roots", MAX_FOUND);
	if (search->nr < f->room)
		return 0;
	roots = reallocarray(search->roots, room, sizeof(*roots));
	if (!roots)
		return error_memory(f->error, NULL);
	search->roots = roots;
	f->room = room;
	return 0;
}

static int find_or_add(struct finder *f, u64 root,
		       struct libvmem_root_found **found)
{
	int ret;

	*found = find(f, root);
	if (*found)
		return 0;
	ret = make_room(f);
	if (ret)
		return ret;
	*found = &f->search->roots[f->search->nr++];
	**found = (struct libvmem_root_found){
		.root = root,
		.kernel = f->kernel,
	};
	return 0;
}

/* A root that a vCPU has */
static int add_seen(struct finder *f, u64 root)
{
	struct libvmem_root_found *found;
	int ret = find_or_add(f, root, &found);

	if (!ret)
		found->vcpu_seen = true;
	return ret;
}

/*
 * A kernel that isolates its page tables has two roots for a process, side by side: user
 * mode's is the second one, and has little of the kernel.
 */
static int without_twin(struct finder *f, u64 *root)
{
	struct top user, kernel;
	int ret;

	if (!may_have_twins(f) || !(*root & VMEM_PAGE_SIZE))
		return 0;
	f->split = is_pae(f) ? PAE_ENTRIES - 1 : f->nr / 2;
	ret = read_top(f, *root, &user) ?:
		      read_top(f, *root - VMEM_PAGE_SIZE, &kernel);
	if (!ret && is_twin(f, &user, &kernel))
		*root -= VMEM_PAGE_SIZE;
	return ret;
}

/* ---- Memory is read ---- */

/* A vCPU without an answer now gave one before, or gives one at the next look. */
static int look_at_vcpus(struct finder *f)
{
	enum libvmem_mode mode = libvmem_mode(&f->search->regs);
	unsigned int i, nr;
	int ret = nr_vcpus(f->vm, &nr, f->error);

	for (i = 0; i < nr && !ret; i++) {
		struct vmem_vcpu_args vcpu;

		if (!libvmem_vcpu(f->vm, i, LOOK_US, &vcpu, NULL) &&
		    libvmem_has_own_root(&vcpu) &&
		    libvmem_mode(&vcpu.out_regs) == mode)
			ret = add_seen(f, libvmem_root(&vcpu.out_regs));
	}
	return ret;
}

static int look_at_page(u64 gpa, const void *page, void *priv)
{
	struct finder *f = priv;
	struct likeness likeness;
	u64 at;
	int ret;

	for (at = 0; at < VMEM_PAGE_SIZE; at += f->size) {
		struct libvmem_root_found *found;

		if (!is_like_root(f, page + at, &likeness))
			continue;
		ret = find_or_add(f, gpa + at, &found);
		if (ret)
			return ret;
		found->shared = likeness.same;
		found->kernel = likeness.kernel;
	}
	if (is_pae(f) && !f->pds_left)
		return error_set(
			f->error, LIBVMEM_TOO_MUCH, STEP_REGISTERS, 0,
			"its memory is full of them on purpose; name the roots with --cr3",
			"more than %u tables are no root, or its copy for a process",
			MAX_PDS);
	return 0;
}

static int step(u64 done, u64 all, void *priv)
{
	struct finder *f = priv;

	if (!f->vm->image && done - f->looked >= all / MAX_LOOKS) {
		int ret = look_at_vcpus(f);

		if (ret)
			return ret;
		f->looked = done;
	}
	return f->search->step ? f->search->step(done, all, f->search->priv) :
				 0;
}

static int read_memory(struct finder *f)
{
	struct scan scan = {
		.vm = f->vm,
		.fetch = f->search->fetch,
		.page = look_at_page,
		.step = step,
		.priv = f,
	};
	int ret = scan_memory(&scan, f->error);

	f->search->read = scan.read;
	f->search->untouched = scan.untouched;
	return ret;
}

/* ---- What each is ---- */

/**
 * struct user_half - what a root's user half maps
 * @f: the search
 * @bits: a bit for each page, set
 * @bytes: bytes that it maps
 */
struct user_half {
	struct finder *f;
	u8 *bits;
	u64 bytes;
};

/* Set @nr bits from @first on; whole bytes at once, as there may be very many. */
static void set_bits(u8 *bits, u64 first, u64 nr)
{
	for (; nr && first % 8; first++, nr--)
		bits[first / 8] |= 1u << first % 8;
	memset(bits + first / 8, 0xff, nr / 8);
	first += nr & -8ull;
	for (nr %= 8; nr; first++, nr--)
		bits[first / 8] |= 1u << first % 8;
}

static int note_user_page(const struct vmem_mapping *mapping, void *priv)
{
	struct user_half *half = priv;
	u64 frame = mapping->gpa / VMEM_PAGE_SIZE;
	u64 nr = (mapping->last_va - mapping->va) / VMEM_PAGE_SIZE + 1;

	/* A kernel has maps of its own there: to start a CPU, for firmware. */
	if (!(mapping->perms & VMEM_USER))
		return 0;
	half->bytes += nr * VMEM_PAGE_SIZE;
	if (frame < half->f->nr_frames)
		set_bits(half->bits, frame,
			 min(nr, half->f->nr_frames - frame));
	return 0;
}

int mark_user_pages(struct finder *f, u64 root, u8 *bits, u64 *bytes,
		    u64 *anomalies)
{
	const struct vmem_regs regs = regs_of_root(f, root);
	struct user_half half = { .f = f, .bits = bits };
	struct libvmem_found counts;
	u64 last = ((u64)f->split
		    << vmem_level_shift(f->root.mode.arch, f->root.mode.top)) -
		   1;
	u64 budget = min(f->calls_left, CALLS_OF_A_ROOT(f->nr_frames));
	u64 left = budget;
	int ret = ranges_within(f->vm, &regs, 0, last, &left, note_user_page,
				&half, &counts, f->error);

	f->calls_left -= budget - (ret > 0 ? 0 : left);
	if (bytes)
		*bytes = half.bytes;
	if (anomalies)
		*anomalies = counts.anomalies;
	if (ret <= 0 || f->calls_left)
		return ret;
	return error_set(
		f->error, LIBVMEM_TOO_MUCH, STEP_MAP_RANGE, root,
		"their tables unfold to far more than there is in it; name the roots with --cr3",
		"what looks like roots maps this guest's memory more than %d times",
		ROOTS_WITH_ALL);
}

/* The root may have been freed since it was found. */
static int classify(struct finder *f, struct libvmem_root_found *found)
{
	u64 anomalies;
	int ret = mark_user_pages(f, found->root,
				  found->vcpu_seen ? f->frames : f->others,
				  &found->user, &anomalies);

	/* A vCPU may have anything as CR3, and a page may go. */
	if (ret == -LIBVMEM_NO_ROOT) {
		found->kind = LIBVMEM_ROOT_COPY;
		return 0;
	}
	if (ret < 0)
		return ret;
	/* Of a process that has ended, or the kernel's, it may be a vCPU's as well. */
	found->kind = !found->user     ? LIBVMEM_ROOT_KERNEL :
		      found->vcpu_seen ? LIBVMEM_ROOT_VCPU :
					 LIBVMEM_ROOT_USER;
	/* Or it maps all of memory more than once. */
	if (!found->vcpu_seen && (ret || anomalies > MAX_ANOMALIES))
		found->kind = LIBVMEM_ROOT_COPY;
	return 0;
}

static int classify_all(struct finder *f)
{
	size_t i;
	int ret = 0;

	for (i = 0; i < f->search->nr && !ret; i++)
		ret = classify(f, &f->search->roots[i]);
	return ret;
}

static void drop_user_pages(struct finder *f)
{
	size_t i;

	for (i = 0; i < f->search->nr; i++) {
		struct libvmem_root_found *found = &f->search->roots[i];

		if (found->vcpu_seen || !is_marked(f, f->frames, found->root))
			continue;
		found->kind = LIBVMEM_ROOT_COPY;
		found->in_user_memory = true;
	}
}

/* ---- Twins ---- */

static int add_twin(struct finder *f, size_t index)
{
	u64 root = f->search->roots[index].root;
	struct libvmem_root_found *twin;
	struct top kernel, user;
	int ret;

	if (!is_used(&f->search->roots[index]) || root & VMEM_PAGE_SIZE)
		return 0;
	ret = read_top(f, root, &kernel) ?:
		      read_top(f, root + VMEM_PAGE_SIZE, &user);
	if (ret || !is_twin(f, &user, &kernel))
		return ret;
	ret = find_or_add(f, root + VMEM_PAGE_SIZE, &twin);
	if (ret)
		return ret;
	/* With all of the kernel it is a copy, which happens to be there. */
	if (twin->shared)
		return 0;
	twin->kind = LIBVMEM_ROOT_TWIN;
	twin->of = root;
	twin->user = f->search->roots[index].user;
	/* What runs on one of them runs on both. */
	if (twin->vcpu_seen) {
		f->search->roots[index].vcpu_seen = true;
		f->search->roots[index].kind = LIBVMEM_ROOT_VCPU;
	}
	return 0;
}

/* Before roots with the same user half are looked for: twins are not two processes. */
static int add_twins(struct finder *f)
{
	size_t i, nr = f->search->nr;
	int ret = 0;

	if (!may_have_twins(f))
		return 0;
	for (i = 0; i < nr && !ret; i++)
		ret = add_twin(f, i);
	return ret;
}

/* ---- All together ---- */

static int by_kind(const void *a, const void *b)
{
	const struct libvmem_root_found *x = a, *y = b;

	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	return x->root < y->root ? -1 : x->root > y->root;
}

static int find_end(const struct vmem_memslot *slot, void *priv)
{
	u64 *end = priv;

	*end = max(*end, slot->gpa + slot->len);
	return 0;
}

static int init(struct finder *f)
{
	const struct vmem_regs *regs = &f->search->regs;
	u64 end = 0;
	int ret = vmem_root_init(&f->root, regs);

	if (ret)
		return error_of(f->error, STEP_REGISTERS, -ret, regs->cr3, regs,
				"cannot look for roots");
	if (!f->vm->image && f->vm->pagemap < 0)
		return error_set(f->error, LIBVMEM_BAD_ARGUMENT, STEP_ARGUMENT,
				 0, "open the guest by its PID, as root",
				 "cannot see which memory the VMM has touched");
	f->nr = is_pae(f) ? PAE_ENTRIES : 1u << f->root.mode.arch->index_bits;
	f->size = is_pae(f) ? PAE_ENTRIES * sizeof(u64) : VMEM_PAGE_SIZE;
	ret = libvmem_memslots(f->vm, find_end, &end, f->error);
	f->nr_frames = min(end, MAX_MEMORY) / VMEM_PAGE_SIZE;
	f->pds_left = MAX_PDS;
	f->calls_left = ROOTS_WITH_ALL * CALLS_OF_A_ROOT(f->nr_frames);
	f->frames = kcalloc(f->nr_frames / 8 + 1, 1, GFP_KERNEL);
	f->others = kcalloc(f->nr_frames / 8 + 1, 1, GFP_KERNEL);
	if (!ret && (!f->frames || !f->others))
		return error_memory(f->error, NULL);
	return ret;
}

static int begin_with(struct finder *f, const struct libvmem_roots *roots)
{
	u64 root = libvmem_space_of_root(roots, 0);
	unsigned int i;
	int ret;

	f->search->regs = roots->regs;
	ret = init(f);
	if (!ret)
		ret = without_twin(f, &root) ?: take_reference(f, root);
	for (i = 0; i < roots->nr && !ret; i++)
		ret = add_seen(f, libvmem_space_of_root(roots, i));
	return ret;
}

/* Of an image that has no registers, all but CR3 has to be given. */
static int begin_without_root(struct finder *f)
{
	struct libvmem_source source = *f->search->source;
	u64 root;
	int ret;

	source.given.have |= LIBVMEM_CR3;
	ret = libvmem_find_regs(f->vm, &source, &f->search->regs, f->error);
	if (!ret)
		ret = init(f) ?: guess_reference(f, &root);
	if (ret)
		return ret;
	f->search->guessed = true;
	if (root)
		return take_reference(f, root);
	return error_set(
		f->error, LIBVMEM_NO_REGISTERS, STEP_REGISTERS, 0,
		"is --arch right, and the file memory? else give --cr3 of one process",
		"no two tables look like roots in this mode");
}

static int begin(struct finder *f)
{
	struct libvmem_roots *roots = kzalloc(sizeof(*roots), GFP_KERNEL);
	int ret;

	if (!roots)
		return error_memory(f->error, NULL);
	ret = libvmem_find_roots(f->vm, f->search->source, true, roots,
				 f->error);
	if (!ret)
		ret = begin_with(f, roots);
	else if (ret == -LIBVMEM_NO_REGISTERS && f->vm->image)
		ret = begin_without_root(f);
	kfree(roots);
	return ret;
}

static int search_with(struct finder *f)
{
	int ret = begin(f);

	if (!ret)
		ret = read_memory(f);
	if (!ret)
		ret = classify_all(f);
	if (ret)
		return ret;
	drop_user_pages(f);
	ret = add_twins(f) ?: settle_rivals(f);
	sort(f->search->roots, f->search->nr, sizeof(*f->search->roots),
	     by_kind, NULL);
	return ret;
}

int libvmem_search_roots(struct libvmem *vm, struct libvmem_search *search,
			 struct libvmem_error *error)
{
	struct finder *f = kzalloc(sizeof(*f), GFP_KERNEL);
	int ret;

	search->roots = NULL;
	search->nr = 0;
	search->guessed = false;
	if (!f)
		return error_memory(error, NULL);
	f->vm = vm;
	f->search = search;
	f->error = error;
	ret = search_with(f);
	kfree(f->frames);
	kfree(f->others);
	kfree(f);
	return ret;
}
