// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which pages can be roots: those whose kernel half is that of one that is known
 */
#include <linux/bits.h>
#include <linux/kernel.h>
#include <linux/minmax.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/string.h>

#include "guest_memory.h"
#include "roots.h"
#include "scan.h"

/* Where user mode ends in 32-bit modes, unless a known root tells; and it has a GiB. */
#define USUAL_SPLIT 0xc0000000ull
#define FIRST_SPLIT 0x40000000ull

/* ---- Tables ---- */

static u64 key_of(const struct finder *f, int level, u64 raw)
{
	struct vmem_entry entry = vmem_decode(&f->root.mode, level, raw);

	if (entry.kind == VMEM_ENTRY_EMPTY)
		return 0;
	if (entry.kind == VMEM_ENTRY_RESERVED)
		return BAD_KEY;
	return entry.addr | entry.kind;
}

static u64 key_at(const struct finder *f, int level, const void *table,
		  unsigned int index)
{
	int size = f->root.mode.arch->entry_size;

	return key_of(f, level, vmem_load_entry(size, table + index * size));
}

static void take_top(const struct finder *f, const void *table, struct top *top)
{
	unsigned int i;

	for (i = 0; i < f->nr; i++)
		top->keys[i] = key_at(f, f->root.mode.top, table, i);
}

/* Where a page cannot be read, there is no table. */
int read_top(struct finder *f, u64 root, struct top *top)
{
	u8 table[VMEM_PAGE_SIZE];
	struct libvmem_read read;
	int ret = libvmem_read_phys(f->vm, root, table,
				    min_t(u64, f->size, sizeof(table)), &read,
				    f->error);

	memset(top, 0, sizeof(*top));
	if (!ret && read.len == min_t(u64, f->size, sizeof(table)))
		take_top(f, table, top);
	return ret;
}

static bool has_user_half(const struct finder *f, const struct top *top)
{
	unsigned int i;

	for (i = 0; i < f->split; i++)
		if (top->keys[i])
			return true;
	return false;
}

static bool is_same_user_half(const struct finder *f, const struct top *a,
			      const struct top *b)
{
	return has_user_half(f, a) &&
	       !memcmp(a->keys, b->keys, f->split * sizeof(a->keys[0]));
}

/* With PAE the kernel half is a PD. */
static unsigned int nr_in_pd(struct finder *f, u64 pd)
{
	u64 entries[VMEM_PAGE_SIZE / sizeof(u64)];
	struct libvmem_read read;
	unsigned int i, nr = 0;

	if (libvmem_read_phys(f->vm, pd, entries, sizeof(entries), &read,
			      NULL) ||
	    read.len < sizeof(entries))
		return 0;
	for (i = 0; i < ARRAY_SIZE(entries); i++)
		nr += entries[i] & VMEM_RAW_PRESENT;
	return nr;
}

static unsigned int nr_kernel_entries(struct finder *f, const struct top *top)
{
	u64 last = top->keys[f->nr - 1];
	unsigned int i, nr = 0;

	if (is_pae(f))
		return last ? nr_in_pd(f, last & VMEM_PAGE_MASK) : 0;
	for (i = f->split; i < f->nr; i++)
		nr += top->keys[i] != 0;
	return nr;
}

bool is_twin(struct finder *f, const struct top *user, const struct top *kernel)
{
	return is_same_user_half(f, user, kernel) &&
	       nr_kernel_entries(f, user) * 2 <= nr_kernel_entries(f, kernel);
}

/* ---- Is it like the reference? ---- */

static void compare(struct likeness *likeness, u64 key, u64 like)
{
	if (!key)
		return;
	likeness->same += key == like;
	likeness->other += like && key != like;
	likeness->more += !like;
}

/*
 * A few entries may be a process's own. With 2 levels a kernel fills in the kernel half of
 * each root when it is needed there, so the reference may lack some as well.
 */
static bool is_like(const struct finder *f, const struct likeness *likeness)
{
	unsigned int few = likeness->same / 4;

	return likeness->same && likeness->same * 2 >= likeness->kernel &&
	       likeness->other <= few &&
	       likeness->more <= (f->root.mode.top == VMEM_LEVEL_PD ?
					  likeness->same :
					  few);
}

/* A kernel that isolates its page tables has a PD for each process, a copy of one. */
static bool is_pd_like(struct finder *f, u64 pd, struct likeness *likeness)
{
	u8 table[VMEM_PAGE_SIZE];
	struct libvmem_read read;
	unsigned int i;

	f->pds_left -= f->pds_left > 0;
	if (libvmem_read_phys(f->vm, pd, table, sizeof(table), &read, NULL) ||
	    read.len < sizeof(table))
		return false;
	*likeness = (struct likeness){ 0 };
	for (i = 0; i < 512; i++) {
		compare(likeness, key_at(f, VMEM_LEVEL_PD, table, i),
			f->pd.keys[i]);
		likeness->kernel += f->pd.keys[i] != 0;
	}
	return is_like(f, likeness);
}

static bool is_pae_root(struct finder *f, const void *table,
			struct likeness *likeness)
{
	u64 keys[PAE_ENTRIES];
	unsigned int i;

	for (i = 0; i < PAE_ENTRIES; i++) {
		keys[i] = key_at(f, VMEM_LEVEL_PDPT, table, i);
		if (keys[i] == BAD_KEY)
			return false;
	}
	for (i = f->split; i < PAE_ENTRIES; i++)
		compare(likeness, keys[i], f->like.keys[i]);
	if (is_like(f, likeness))
		return true;
	return f->split == 3 && keys[0] && keys[1] && keys[2] && keys[3] &&
	       is_pd_like(f, keys[3] & VMEM_PAGE_MASK, likeness);
}

/* Most pages are done with at the first entry that the reference has. */
bool is_like_root(struct finder *f, const void *table,
		  struct likeness *likeness)
{
	int top = f->root.mode.top;
	unsigned int i;

	*likeness = (struct likeness){ .kernel = f->kernel };
	if (is_pae(f))
		return is_pae_root(f, table, likeness);
	for (i = f->split; i < f->nr; i++) {
		compare(likeness, key_at(f, top, table, i), f->like.keys[i]);
		if (likeness->other > f->kernel / 4)
			return false;
	}
	if (!is_like(f, likeness))
		return false;
	for (i = 0; i < f->split; i++)
		if (key_at(f, top, table, i) == BAD_KEY)
			return false;
	return true;
}

/* ---- The reference ---- */

/*
 * In 32-bit modes it is the kernel's choice where user mode ends. What it has below that is
 * for itself, as to start a CPU.
 */
static int note_end(const struct vmem_mapping *mapping, void *priv)
{
	struct finder *f = priv;

	if (mapping->perms & VMEM_USER)
		f->from = 0;
	else if (!f->from && mapping->va >= FIRST_SPLIT)
		f->from = mapping->va;
	return 0;
}

static int find_split(struct finder *f, u64 root)
{
	const struct vmem_regs regs = regs_of_root(f, root);
	int shift = vmem_level_shift(f->root.mode.arch, f->root.mode.top);
	int ret;

	if (f->root.mode.top >= VMEM_LEVEL_PML4) {
		f->split = f->nr / 2;
		return 0;
	}
	f->from = 0;
	ret = libvmem_ranges(f->vm, &regs, 0, 0xffffffff, note_end, f, NULL,
			     f->error);
	if (!f->from)
		f->from = USUAL_SPLIT;
	f->split = min_t(u64, f->from >> shift, f->nr - 1);
	return ret;
}

static int no_reference(struct finder *f, u64 root)
{
	return error_set(
		f->error, LIBVMEM_NO_REGISTERS, STEP_REGISTERS, root,
		"give --cr3 of a process, and the right --arch",
		"the table at %#llx is no root with a kernel half in this mode",
		root);
}

int take_reference(struct finder *f, u64 root)
{
	int ret = find_split(f, root) ?: read_top(f, root, &f->like);
	unsigned int i;
	u64 pd;

	f->root.table = root;
	f->kernel = 0;
	for (i = 0; i < f->nr && !ret; i++)
		if (f->like.keys[i] == BAD_KEY)
			return no_reference(f, root);
	for (i = f->split; i < f->nr; i++)
		f->kernel += f->like.keys[i] != 0;
	if (!ret && !f->kernel)
		return no_reference(f, root);
	pd = f->like.keys[PAE_ENTRIES - 1] & VMEM_PAGE_MASK;
	if (!ret && is_pae(f) && pd) {
		u8 table[VMEM_PAGE_SIZE];
		struct libvmem_read read;

		ret = libvmem_read_phys(f->vm, pd, table, sizeof(table), &read,
					f->error);
		for (i = 0; i < 512 && !ret && read.len == sizeof(table); i++)
			f->pd.keys[i] = key_at(f, VMEM_LEVEL_PD, table, i);
	}
	return ret;
}

/* ---- A reference where no root is known ---- */

/* How many kernel halves are tried, and how many tables may have any */
#define MAX_GUESSES 64
#define MAX_TABLES BIT(24)

/**
 * struct guess - a table that can be a root
 * @half: a hash of what its kernel half leads to
 * @root: its guest-physical address
 */
struct guess {
	u64 half;
	u64 root;
};

/**
 * struct guesses - all of them
 * @f: the search
 * @all: by hash
 * @nr: length of @all
 * @room: elements that there is room for
 */
struct guesses {
	struct finder *f;
	struct guess *all;
	size_t nr;
	size_t room;
};

/*
 * A hash of the kernel half; 0 if the table cannot be a root. With 2 levels, where not all of
 * the half is filled at once, its beginning counts.
 */
static u64 hash_half(const struct finder *f, const void *table)
{
	unsigned int i, nr = 0,
			end = is_long(f) || is_pae(f) ? f->nr : f->split + 4;
	u64 hash = 0xcbf29ce484222325ull;

	for (i = 0; i < f->nr; i++) {
		u64 key = key_at(f, f->root.mode.top, table, i);

		if (key == BAD_KEY || key / VMEM_PAGE_SIZE >= f->nr_frames)
			return 0;
		if (i < f->split || i >= end)
			continue;
		nr += key != 0;
		hash = (hash ^ key) * 0x100000001b3ull;
	}
	return nr >= (is_pae(f) ? 1 : 2) ? hash : 0;
}

static int note_guess(u64 gpa, const void *page, void *priv)
{
	struct guesses *guesses = priv;
	u64 at, half;

	for (at = 0; at < VMEM_PAGE_SIZE; at += guesses->f->size) {
		half = hash_half(guesses->f, page + at);
		if (!half)
			continue;
		if (guesses->nr == MAX_TABLES)
			return error_set(
				guesses->f->error, LIBVMEM_TOO_MUCH,
				STEP_REGISTERS, 0,
				"name a root with --cr3: then only what has its kernel half counts",
				"%lu tables and more can be roots", MAX_TABLES);
		if (guesses->nr == guesses->room) {
			size_t room = guesses->room ? guesses->room * 2 : 1024;
			struct guess *all =
				reallocarray(guesses->all, room, sizeof(*all));

			if (!all)
				return error_memory(guesses->f->error, NULL);
			guesses->all = all;
			guesses->room = room;
		}
		guesses->all[guesses->nr++] = (struct guess){ half, gpa + at };
	}
	return 0;
}

static int by_half(const void *a, const void *b)
{
	const struct guess *x = a, *y = b;

	if (x->half != y->half)
		return x->half < y->half ? -1 : 1;
	return x->root < y->root ? -1 : x->root > y->root;
}

static size_t nr_alike(const struct guesses *guesses, size_t first)
{
	const struct guess *guess = &guesses->all[first];
	size_t n = 1;

	while (first + n < guesses->nr && guess[n].half == guess->half)
		n++;
	return n;
}

/* One of several roots with the same kernel half, and how many these are */
struct half {
	u64 root;
	size_t nr;
};

static int by_nr(const void *a, const void *b)
{
	const struct half *x = a, *y = b;

	return x->nr > y->nr ? -1 : x->nr < y->nr;
}

/* The kernel halves that most have, and how many these are. */
static unsigned int find_halves(const struct guesses *guesses,
				struct half *halves)
{
	unsigned int nr = 0;
	size_t i, n;

	for (i = 0; i < guesses->nr; i += n) {
		struct half half = { guesses->all[i].root,
				     nr_alike(guesses, i) };

		n = half.nr;
		if (nr < MAX_GUESSES)
			halves[nr++] = half;
		else if (n > halves[nr - 1].nr)
			halves[nr - 1] = half;
		else
			continue;
		sort(halves, nr, sizeof(*halves), by_nr, NULL);
	}
	return nr;
}

static int pass_over(const struct vmem_mapping *mapping, void *priv)
{
	(void)mapping;
	(void)priv;
	return 0;
}

/* Its kernel half maps something, and all of it holds, as far as it is looked at. */
static int holds(struct finder *f, u64 root, bool *does)
{
	const struct vmem_regs regs = regs_of_root(f, root);
	struct libvmem_found counts;
	u64 from = is_long(f) ? 1ull << 63 : USUAL_SPLIT;
	u64 last = is_long(f) ? ~0ull : 0xffffffff;
	u64 budget = CALLS_OF_A_ROOT(f->nr_frames);
	int ret = ranges_within(f->vm, &regs, from, last, &budget, pass_over,
				NULL, &counts, f->error);

	*does = ret >= 0 && counts.mappings && !counts.anomalies;
	return min(ret, 0);
}

static int try_guesses(const struct guesses *guesses, u64 *root)
{
	struct half halves[MAX_GUESSES];
	unsigned int i, nr = find_halves(guesses, halves);
	bool does = false;
	int ret;

	for (i = 0; i < nr; i++) {
		*root = halves[i].root;
		ret = holds(guesses->f, *root, &does);
		if (ret || does)
			return ret;
	}
	*root = 0;
	return 0;
}

int guess_reference(struct finder *f, u64 *root)
{
	struct guesses guesses = { .f = f };
	struct scan scan = { .vm = f->vm,
			     .page = note_guess,
			     .priv = &guesses };
	int ret;

	f->split = is_long(f) ? f->nr / 2 :
		   is_pae(f)  ? PAE_ENTRIES - 1 :
				f->nr * 3 / 4;
	*root = 0;
	ret = scan_memory(&scan, f->error);
	if (!ret && guesses.nr) {
		sort(guesses.all, guesses.nr, sizeof(*guesses.all), by_half,
		     NULL);
		ret = try_guesses(&guesses, root);
	}
	free(guesses.all);
	return ret;
}
