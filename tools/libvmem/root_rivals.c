// SPDX-License-Identifier: GPL-2.0-only
/*
 * Roots with the same user half, of which one is used
 */
#include <linux/bits.h>
#include <linux/kernel.h>
#include <linux/minmax.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/string.h>

#include "roots.h"
#include "scan.h"

/**
 * struct claim - a root says that a table of a user half is its own
 * @table: guest-physical address of the table
 * @root: index of the root
 */
struct claim {
	u64 table;
	size_t root;
};

static int by_table(const void *a, const void *b)
{
	const struct claim *x = a, *y = b;

	if (x->table != y->table)
		return x->table < y->table ? -1 : 1;
	return x->root < y->root ? -1 : x->root > y->root;
}

/* The first table of each root's user half is enough: a copy has all of them. */
static int claim_tables(struct finder *f, struct claim *claims, size_t *nr)
{
	size_t i;
	int ret = 0;

	*nr = 0;
	for (i = 0; i < f->search->nr && !ret; i++) {
		struct top top;
		unsigned int at;

		if (!is_used(&f->search->roots[i]))
			continue;
		ret = read_top(f, f->search->roots[i].root, &top);
		for (at = 0; at < f->split && !top.keys[at]; at++)
			;
		if (at < f->split)
			claims[(*nr)++] = (struct claim){ top.keys[at], i };
	}
	return ret;
}

/* Pointers that are looked at, for each root */
#define MAX_ACCOUNTS 64

/* As many roots have the same word before a pointer, or it is of no meaning. */
#define MIN_ALIKE 2

/* Where the kernel has all memory mapped, at the widest. */
static int note_kernel_map(const struct vmem_mapping *mapping, void *priv)
{
	struct finder *f = priv;
	u64 len = mapping->last_va - mapping->va + 1;
	size_t i;

	for (i = 0; i < f->nr_pointers; i++) {
		u64 root = f->search->roots[f->pointers[i].root].root;

		if (root - mapping->gpa < len &&
		    mapping->perms & VMEM_WRITABLE && !f->pointers[i].va)
			f->pointers[i].va = mapping->va + (root - mapping->gpa);
	}
	return 0;
}

static int by_va(const void *a, const void *b)
{
	const struct pointers *x = a, *y = b;

	return x->va < y->va ? -1 : x->va > y->va;
}

/* The first that is not below @va */
static size_t first_pointer(const struct finder *f, u64 va)
{
	size_t low = 0, high = f->nr_pointers;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (f->pointers[middle].va < va)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void note_account(struct finder *f, size_t root, u64 before)
{
	if (f->search->roots[root].pointers++ < MAX_ACCOUNTS)
		f->accounts[f->nr_accounts++] =
			(struct account){ before, root };
}

/* What user mode can write is no account of the kernel's. */
static int note_pointers(u64 gpa, const void *page, void *priv)
{
	struct finder *f = priv;
	int size = is_long(f) ? 8 : 4;
	u64 first = f->pointers[0].va;
	u64 last = f->pointers[f->nr_pointers - 1].va;
	u64 at, before = 0;

	if (is_user_page(f, gpa))
		return 0;
	for (at = 0; at < VMEM_PAGE_SIZE; at += size) {
		u64 word = vmem_load_entry(size, page + at);
		size_t i;

		if (word && word - first <= last - first) {
			for (i = first_pointer(f, word);
			     i < f->nr_pointers && f->pointers[i].va == word;
			     i++)
				note_account(f, f->pointers[i].root, before);
		}
		before = word;
	}
	return 0;
}

static int by_before(const void *a, const void *b)
{
	const struct account *x = a, *y = b;

	if (x->before != y->before)
		return x->before < y->before ? -1 : 1;
	return x->root < y->root ? -1 : x->root > y->root;
}

static bool is_rival(const struct finder *f, size_t root)
{
	return f->search->roots[root].kind == LIBVMEM_ROOT_UNCLEAR;
}

/*
 * A kernel's accounts of processes are all of one kind, so what is before the pointer is
 * the same in many. Learnt from the roots that have no rival; sets @before, if there is
 * such a word.
 */
static bool learn(const struct finder *f, u64 *before)
{
	unsigned int nr = 0, most = MIN_ALIKE - 1;
	size_t i;

	for (i = 0; i < f->nr_accounts; i++) {
		const struct account *account = &f->accounts[i];
		bool is_first = !i || account->before != account[-1].before;

		if (is_first)
			nr = 0;
		if (is_rival(f, account->root) ||
		    (!is_first && account->root == account[-1].root))
			continue;
		if (++nr > most) {
			most = nr;
			*before = account->before;
		}
	}
	return most >= MIN_ALIKE;
}

static void count_alike(struct finder *f)
{
	u64 before;
	size_t i;

	sort(f->accounts, f->nr_accounts, sizeof(*f->accounts), by_before,
	     NULL);
	if (!learn(f, &before))
		return;
	for (i = 0; i < f->search->nr; i++)
		f->search->roots[i].pointers = 0;
	for (i = 0; i < f->nr_accounts; i++)
		if (f->accounts[i].before == before)
			f->search->roots[f->accounts[i].root].pointers++;
}

static int look_for_pointers(struct finder *f)
{
	const struct vmem_regs regs = regs_of_root(f, f->root.table);
	struct scan scan = { .vm = f->vm, .page = note_pointers, .priv = f };
	u64 last = is_long(f) ? ~0ull : 0xffffffff;
	u64 from = is_long(f) ? 1ull << 63 : f->from;
	int ret;

	ret = libvmem_ranges(f->vm, &regs, from, last, note_kernel_map, f, NULL,
			     f->error);
	if (ret)
		return ret;
	sort(f->pointers, f->nr_pointers, sizeof(*f->pointers), by_va, NULL);
	return scan_memory(&scan, f->error);
}

/* Of roots with the same user half, the one that is used. */
static void settle(struct finder *f, const struct claim *claims, size_t nr)
{
	struct libvmem_root_found *roots = f->search->roots;
	struct libvmem_root_found *used = NULL;
	unsigned int nr_pointed = 0;
	size_t i;

	for (i = 0; i < nr; i++) {
		struct libvmem_root_found *root = &roots[claims[i].root];

		if (root->vcpu_seen)
			used = root;
		nr_pointed += root->pointers > 0;
	}
	for (i = 0; i < nr && !used && nr_pointed == 1; i++)
		if (roots[claims[i].root].pointers)
			used = &roots[claims[i].root];
	for (i = 0; i < nr; i++) {
		struct libvmem_root_found *root = &roots[claims[i].root];

		root->kind = root->vcpu_seen ? LIBVMEM_ROOT_VCPU :
			     root == used    ? LIBVMEM_ROOT_USER :
			     used	     ? LIBVMEM_ROOT_COPY :
					       LIBVMEM_ROOT_UNCLEAR;
		if (root->kind == LIBVMEM_ROOT_COPY)
			root->of = used->root;
	}
}

static size_t nr_equal(const struct claim *claims, size_t nr)
{
	size_t i = 1;

	while (i < nr && claims[i].table == claims[0].table)
		i++;
	return i;
}

static void settle_all(struct finder *f, const struct claim *claims, size_t nr)
{
	size_t i, n;

	for (i = 0; i < nr; i += n) {
		n = nr_equal(&claims[i], nr - i);
		if (n > 1)
			settle(f, &claims[i], n);
	}
}

static int settle_claims(struct finder *f, struct claim *claims, size_t nr)
{
	size_t i, n, k, nr_rivals = 0;
	int ret;

	sort(claims, nr, sizeof(*claims), by_table, NULL);
	for (i = 0; i < nr; i += n) {
		n = nr_equal(&claims[i], nr - i);
		for (k = i; k < i + n; k++)
			f->pointers[k].root = claims[k].root;
		for (k = i; n > 1 && k < i + n; k++, nr_rivals++)
			f->search->roots[claims[k].root].kind =
				LIBVMEM_ROOT_UNCLEAR;
	}
	f->nr_pointers = nr;
	if (!nr_rivals)
		return 0;
	ret = look_for_pointers(f);
	if (ret)
		return ret;
	count_alike(f);
	settle_all(f, claims, nr);
	return 0;
}

int settle_rivals(struct finder *f)
{
	size_t nr = f->search->nr;
	struct claim *claims = kcalloc(nr + 1, sizeof(*claims), GFP_KERNEL);
	int ret = 0;

	f->pointers = kcalloc(nr + 1, sizeof(*f->pointers), GFP_KERNEL);
	f->accounts = kcalloc(nr + 1, MAX_ACCOUNTS * sizeof(*f->accounts),
			      GFP_KERNEL);
	if (!claims || !f->pointers || !f->accounts)
		ret = error_memory(f->error, NULL);
	if (!ret)
		ret = claim_tables(f, claims, &nr);
	if (!ret)
		ret = settle_claims(f, claims, nr);
	kfree(f->accounts);
	kfree(f->pointers);
	kfree(claims);
	return ret;
}
