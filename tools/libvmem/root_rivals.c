// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which of two: roots with the same user half, of which one is used, and a root that lies
 * in what another one maps to user mode
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

/* Claims of all roots together */
#define MAX_CLAIMS BIT(22)

/**
 * struct claims - all claims
 * @all: by table
 * @nr: elements of @all
 * @room: elements that there is room for
 */
struct claims {
	struct claim *all;
	size_t nr;
	size_t room;
};

static int claim(struct finder *f, struct claims *claims, u64 table,
		 size_t root)
{
	if (claims->nr == MAX_CLAIMS)
		return error_set(
			f->error, LIBVMEM_TOO_MUCH, STEP_REGISTERS, 0,
			"no guest has so many processes: name the roots with --cr3",
			"what looks like roots has more than %lu tables of user mode",
			MAX_CLAIMS);
	if (claims->nr == claims->room) {
		size_t room = claims->room ? claims->room * 2 : 1024;
		struct claim *all =
			reallocarray(claims->all, room, sizeof(*all));

		if (!all)
			return error_memory(f->error, NULL);
		claims->all = all;
		claims->room = room;
	}
	claims->all[claims->nr++] = (struct claim){ table, root };
	return 0;
}

/* All tables of user halves: a copy may lack some of them. */
static int claim_tables(struct finder *f, struct claims *claims)
{
	size_t i;
	int ret = 0;

	for (i = 0; i < f->search->nr && !ret; i++) {
		u64 root = f->search->roots[i].root;
		struct top top;
		unsigned int at;

		if (!is_used(&f->search->roots[i]))
			continue;
		ret = read_top(f, root, &top);
		for (at = 0; at < f->split && !ret; at++)
			if (top.keys[at] && top.keys[at] != BAD_KEY)
				ret = claim(f, claims, top.keys[at], i);
		f->pointers[f->nr_pointers++] =
			(struct pointers){ .gpa = root, .root = i };
	}
	sort(claims->all, claims->nr, sizeof(*claims->all), by_table, NULL);
	return ret;
}

/* As many roots have the same word before a pointer, or it is of no meaning. */
#define MIN_ALIKE 2

static int by_gpa(const void *a, const void *b)
{
	const struct pointers *x = a, *y = b;

	return x->gpa < y->gpa ? -1 : x->gpa > y->gpa;
}

/* The first that is not below @address, in the order of @va or of the roots */
static size_t first_from(const struct finder *f, bool is_va, u64 address)
{
	size_t low = 0, high = f->nr_pointers;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct pointers *p = &f->pointers[middle];

		if ((is_va ? p->va : p->gpa) < address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/*
 * The kernel's map of all memory is what has all of them first. What is behind it may be
 * much more: a few tables in very many places.
 */
static int note_kernel_map(const struct vmem_mapping *mapping, void *priv)
{
	struct finder *f = priv;
	u64 last = mapping->gpa + (mapping->last_va - mapping->va);
	size_t i = first_from(f, false, mapping->gpa);

	if (!(mapping->perms & VMEM_WRITABLE))
		return 0;
	for (; i < f->nr_pointers && f->pointers[i].gpa <= last; i++) {
		struct pointers *pointers = &f->pointers[i];

		f->nr_unmapped -= !pointers->va;
		if (!pointers->va)
			pointers->va =
				mapping->va + pointers->gpa - mapping->gpa;
	}
	return !f->nr_unmapped;
}

static int by_va(const void *a, const void *b)
{
	const struct pointers *x = a, *y = b;

	return x->va < y->va ? -1 : x->va > y->va;
}

static void note_pointer(struct finder *f, struct pointers *pointers,
			 u64 before, u64 page)
{
	unsigned int i;

	if (!is_marked(f, f->others, page))
		f->search->roots[pointers->root].pointers++;
	for (i = 0; i < pointers->nr; i++)
		if (pointers->before[i] == before && pointers->page[i] == page)
			return;
	if (i == MAX_ACCOUNTS)
		return;
	pointers->before[i] = before;
	pointers->page[i] = page;
	pointers->nr++;
}

/* What user mode can write is no account of the kernel's. */
static int note_pointers(u64 gpa, const void *page, void *priv)
{
	struct finder *f = priv;
	int size = is_long(f) ? 8 : 4;
	u64 first = f->pointers[0].va;
	u64 last = f->pointers[f->nr_pointers - 1].va;
	u64 at, before = 0;

	if (is_marked(f, f->frames, gpa))
		return 0;
	for (at = 0; at < VMEM_PAGE_SIZE; at += size) {
		u64 word = vmem_load_entry(size, page + at);
		size_t i;

		if (word && word - first <= last - first) {
			for (i = first_from(f, true, word);
			     i < f->nr_pointers && f->pointers[i].va == word;
			     i++)
				note_pointer(f, &f->pointers[i], before, gpa);
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
 * the same in many. Learnt from the roots that have no rival; sets @before, if there is one
 * such word.
 */
static bool learn(const struct finder *f, u64 *before)
{
	unsigned int nr = 0, most = MIN_ALIKE - 1;
	bool found = false;
	size_t i;

	for (i = 0; i < f->nr_accounts; i++) {
		const struct account *account = &f->accounts[i];
		bool is_next = !i || account->before != account[-1].before;

		if (is_next)
			nr = 0;
		if (is_rival(f, account->root) ||
		    (!is_next && account->root == account[-1].root) ||
		    ++nr < most)
			continue;
		found = nr > most || (found && account->before == *before);
		most = nr;
		*before = account->before;
	}
	return found;
}

/* All that was found, by what is before it */
static int gather_accounts(struct finder *f)
{
	size_t i;

	f->nr_accounts = 0;
	f->accounts = kcalloc(f->nr_pointers + 1,
			      MAX_ACCOUNTS * sizeof(*f->accounts), GFP_KERNEL);
	if (!f->accounts)
		return error_memory(f->error, NULL);
	for (i = 0; i < f->nr_pointers; i++) {
		const struct pointers *pointers = &f->pointers[i];
		unsigned int k;

		for (k = 0; k < pointers->nr; k++)
			f->accounts[f->nr_accounts++] =
				(struct account){ pointers->before[k],
						  pointers->page[k],
						  pointers->root };
	}
	sort(f->accounts, f->nr_accounts, sizeof(*f->accounts), by_before,
	     NULL);
	return 0;
}

/* Of each root, the accounts that it has in memory that is not marked. */
static void count_accounts(struct finder *f, u64 before)
{
	size_t i;

	for (i = 0; i < f->search->nr; i++)
		f->search->roots[i].pointers = 0;
	for (i = 0; i < f->nr_accounts; i++) {
		const struct account *account = &f->accounts[i];

		f->search->roots[account->root].pointers +=
			account->before == before &&
			!is_marked(f, f->others, account->page);
	}
}

/*
 * What has an account is a root, unless it has a rival that has one as well. No table and
 * no account is in memory that such a root maps to user mode.
 */
static int trust_accounts(struct finder *f, u64 before)
{
	struct libvmem_root_found *roots = f->search->roots;
	size_t i;
	int ret;

	memset(f->others, 0, f->nr_frames / 8 + 1);
	count_accounts(f, before);
	for (i = 0; i < f->search->nr; i++) {
		if (roots[i].kind != LIBVMEM_ROOT_USER || !roots[i].pointers)
			continue;
		ret = mark_user_pages(f, roots[i].root, f->others, NULL, NULL);
		if (ret < 0 && ret != -LIBVMEM_NO_ROOT)
			return ret;
	}
	count_accounts(f, before);
	return 0;
}

static int look_for_pointers(struct finder *f)
{
	const struct vmem_regs regs = regs_of_root(f, f->root.table);
	struct scan scan = {
		.vm = f->vm,
		.fetch = f->search->fetch,
		.page = note_pointers,
		.priv = f,
	};
	u64 last = is_long(f) ? ~0ull : 0xffffffff;
	u64 from = is_long(f) ? 1ull << 63 : f->from;
	u64 budget = CALLS_OF_A_ROOT(f->nr_frames);
	struct libvmem_found counts;
	int ret;

	f->nr_unmapped = f->nr_pointers;
	sort(f->pointers, f->nr_pointers, sizeof(*f->pointers), by_gpa, NULL);
	ret = ranges_within(f->vm, &regs, from, last, &budget, note_kernel_map,
			    f, &counts, f->error);
	if (ret < 0)
		return ret;
	sort(f->pointers, f->nr_pointers, sizeof(*f->pointers), by_va, NULL);
	return scan_memory(&scan, f->error);
}

/* Where a root has so many pointers, its account may be one of those not looked at. */
static void note_crowded(struct finder *f)
{
	size_t i;

	for (i = 0; i < f->nr_pointers; i++)
		f->crowded |= f->pointers[i].nr == MAX_ACCOUNTS &&
			      is_rival(f, f->pointers[i].root);
}

/* Of roots with the same table in their user halves, the one that is used; or NULL. */
static struct libvmem_root_found *
find_used(const struct finder *f, const struct claim *claims, size_t nr)
{
	struct libvmem_root_found *roots = f->search->roots;
	struct libvmem_root_found *used = NULL;
	unsigned int nr_pointed = 0;
	size_t i;

	for (i = 0; i < nr; i++)
		if (roots[claims[i].root].vcpu_seen)
			return &roots[claims[i].root];
	for (i = 0; i < nr; i++) {
		if (!roots[claims[i].root].pointers)
			continue;
		used = &roots[claims[i].root];
		nr_pointed++;
	}
	return nr_pointed == 1 && !f->crowded ? used : NULL;
}

/* All others of the same table are copies of the one that is used. */
static void settle(struct finder *f, const struct claim *claims, size_t nr)
{
	struct libvmem_root_found *used = find_used(f, claims, nr);
	size_t i;

	for (i = 0; i < nr && used; i++) {
		struct libvmem_root_found *root =
			&f->search->roots[claims[i].root];

		if (root == used || root->vcpu_seen)
			continue;
		root->kind = LIBVMEM_ROOT_COPY;
		root->of = used->root;
	}
}

/* Where none is said to be used, and more than one is no copy, each is unclear. */
static void leave_unclear(struct finder *f, const struct claim *claims,
			  size_t nr)
{
	struct libvmem_root_found *roots = f->search->roots;
	size_t i, left = 0;

	for (i = 0; i < nr; i++)
		left += roots[claims[i].root].kind != LIBVMEM_ROOT_COPY;
	for (i = 0; i < nr && left > 1 && !find_used(f, claims, nr); i++)
		if (roots[claims[i].root].kind != LIBVMEM_ROOT_COPY)
			roots[claims[i].root].kind = LIBVMEM_ROOT_UNCLEAR;
}

static size_t nr_equal(const struct claim *claims, size_t nr)
{
	size_t i = 1;

	while (i < nr && claims[i].table == claims[0].table)
		i++;
	return i;
}

typedef void rivalry(struct finder *f, const struct claim *claims, size_t nr);

/* Call @settle with each set of roots that have the same table. */
static void at_each_rivalry(struct finder *f, const struct claims *claims,
			    rivalry *settle)
{
	size_t i, n;

	for (i = 0; i < claims->nr; i += n) {
		n = nr_equal(&claims->all[i], claims->nr - i);
		if (n > 1)
			settle(f, &claims->all[i], n);
	}
}

/*
 * First all that is sure: whoever makes a copy of parts of two roots must not make these
 * rivals of each other.
 */
static void settle_all(struct finder *f, const struct claims *claims)
{
	struct libvmem_root_found *roots = f->search->roots;
	size_t i;

	at_each_rivalry(f, claims, settle);
	for (i = 0; i < f->search->nr; i++)
		if (is_rival(f, i))
			roots[i].kind = roots[i].vcpu_seen ? LIBVMEM_ROOT_VCPU :
							     LIBVMEM_ROOT_USER;
	at_each_rivalry(f, claims, leave_unclear);
}

/* Mapped to user mode by what looks like a root: one of the two is none. */
static bool is_doubtful(const struct finder *f,
			const struct libvmem_root_found *root)
{
	return root->kind == LIBVMEM_ROOT_USER &&
	       is_marked(f, f->others, root->root);
}

static size_t nr_doubtful(const struct finder *f)
{
	size_t i, nr = 0;

	for (i = 0; i < f->search->nr; i++)
		nr += is_doubtful(f, &f->search->roots[i]);
	return nr;
}

/* @known: it is known what an account is, and who has one */
static void settle_doubtful(struct finder *f, bool known)
{
	size_t i;

	for (i = 0; i < f->search->nr; i++) {
		struct libvmem_root_found *root = &f->search->roots[i];

		root->in_user_memory |= is_doubtful(f, root);
		if (is_doubtful(f, root))
			root->kind = LIBVMEM_ROOT_COPY;
		else if (known && root->kind == LIBVMEM_ROOT_USER &&
			 !root->pointers)
			root->kind = LIBVMEM_ROOT_UNCLEAR;
	}
}

/* Until it is settled, each of several is unclear. */
static void note_rivals(struct finder *f, const struct claim *claims, size_t nr)
{
	size_t i;

	for (i = 0; i < nr; i++)
		f->search->roots[claims[i].root].kind = LIBVMEM_ROOT_UNCLEAR;
	f->has_rivals = true;
}

static int settle_claims(struct finder *f, const struct claims *claims)
{
	size_t doubtful = nr_doubtful(f);
	u64 before = 0;
	bool known;
	int ret;

	at_each_rivalry(f, claims, note_rivals);
	if (!f->has_rivals && !doubtful)
		return 0;
	ret = look_for_pointers(f) ?: gather_accounts(f);
	if (ret)
		return ret;
	known = learn(f, &before);
	ret = known ? trust_accounts(f, before) : 0;
	if (ret)
		return ret;
	note_crowded(f);
	settle_all(f, claims);
	if (doubtful)
		settle_doubtful(f, known);
	return 0;
}

int settle_rivals(struct finder *f)
{
	struct claims claims = {};
	int ret = 0;

	f->pointers =
		kcalloc(f->search->nr + 1, sizeof(*f->pointers), GFP_KERNEL);
	if (!f->pointers)
		ret = error_memory(f->error, NULL);
	if (!ret)
		ret = claim_tables(f, &claims) ?: settle_claims(f, &claims);
	kfree(f->accounts);
	kfree(f->pointers);
	free(claims.all);
	return ret;
}
