// SPDX-License-Identifier: GPL-2.0-only
/*
 * addresses.c - mapped addresses of a guest to ask about, and vmem asked
 */
#include <stdint.h>
#include <sys/ioctl.h>

#include "../../selftest/ktap.h"
#include "../../selftest/session.h"
#include "addresses.h"
#include "series.h"

/* More than the rows of any guest of the lab's. */
#define MAX_ROWS 1000000
#define MAX_LEAVES 4000000

/* A page, and one of the addresses where it is mapped. */
struct leaf {
	__u64 va;
	__u64 gpa;
	__u64 size;
};

/* Each half's pages, one after the other. */
struct leaves {
	struct leaf *leaf;
	__u32 nr;
};

/* splitmix64: small, and good enough to shuffle with. */
static __u64 next_random(__u64 *state)
{
	__u64 z = *state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

static void *new_array(size_t nr, size_t size)
{
	void *array = calloc(nr, size);

	must(array ? 0 : -1, "calloc");
	return array;
}

static int compare_leaves(const void *a, const void *b)
{
	const struct leaf *x = a, *y = b;

	if (x->gpa != y->gpa)
		return x->gpa < y->gpa ? -1 : 1;
	return x->va < y->va ? -1 : x->va > y->va;
}

/* The kernel's half of 4-level paging is that of the negative addresses. */
static bool is_kernel(__u64 va)
{
	return va >> 63;
}

static void add_row(struct leaves *all, const struct vmem_mapping *row)
{
	__u64 offset;

	for (offset = 0; offset <= row->last_va - row->va;
	     offset += row->page_size) {
		errno = ENOBUFS;
		must(all->nr < MAX_LEAVES ? 0 : -1, "pages of the guest");
		all->leaf[all->nr++] = (struct leaf){
			.va = row->va + offset,
			.gpa = row->gpa + offset,
			.size = row->page_size,
		};
	}
}

/* The pages of one half, each once, in the order of their addresses. */
static struct leaves half_of(const struct session_maps *maps, bool kernel)
{
	struct leaves half = { new_array(MAX_LEAVES, sizeof(struct leaf)), 0 };
	__u32 i, nr = 0;

	for (i = 0; i < maps->nr; i++)
		if (is_kernel(maps->rows[i].va) == kernel)
			add_row(&half, &maps->rows[i]);
	qsort(half.leaf, half.nr, sizeof(*half.leaf), compare_leaves);
	for (i = 0; i < half.nr; i++)
		if (!nr || half.leaf[nr - 1].gpa != half.leaf[i].gpa)
			half.leaf[nr++] = half.leaf[i];
	half.nr = nr;
	errno = ENOENT;
	must(nr ? 0 : -1, "pages in each half");
	return half;
}

static void choose_one(struct addresses *a, int i, const struct leaves *half,
		       __u64 *random)
{
	const struct leaf *leaf = &half->leaf[next_random(random) % half->nr];
	__u64 offset = next_random(random) & (leaf->size - 1);

	a->vas[i] = leaf->va + offset;
	a->gpas[i] = leaf->gpa + offset;
}

int addresses_session(int vm_fd)
{
	int session = session_open();

	errno = -session_attach_kvm(session, vm_fd);
	must(errno ? -1 : 0, "VMEM_ATTACH_KVM");
	return session;
}

void addresses_choose(struct addresses *a, int session,
		      const struct vmem_regs *regs, __u64 seed)
{
	struct session_maps maps = {
		.rows = new_array(MAX_ROWS, sizeof(struct vmem_mapping)),
		.room = MAX_ROWS,
		.per_call = 4096,
	};
	struct leaves user, kernel;
	int i;

	errno = -session_map_range(session, regs, 0, ~0ULL, &maps);
	must(errno ? -1 : 0, "VMEM_MAP_RANGE");
	user = half_of(&maps, false);
	kernel = half_of(&maps, true);
	a->session = session;
	a->regs = *regs;
	a->nr_user = user.nr;
	a->nr_kernel = kernel.nr;
	for (i = 0; i < NR_ADDRESSES; i++)
		choose_one(a, i, next_random(&seed) & 1 ? &kernel : &user,
			   &seed);
	free(user.leaf);
	free(kernel.leaf);
	free(maps.rows);
}

void addresses_note(const struct addresses *a, const char *id)
{
	tell_note(id, "of %u pages of the user's half, %u of the kernel's",
		  a->nr_user, a->nr_kernel);
}

/* ---- Asking vmem ---- */

/* Asks about as many from address @first on as the kernel does in one call. */
static __u32 translate_once(struct addresses *a, __u32 first)
{
	__u32 left = NR_ADDRESSES - first;
	struct vmem_translate_args args = {
		.size = sizeof(args),
		.nr = left < a->batch ? left : a->batch,
		.result_size = a->result_size,
		.vas = (uintptr_t)&a->vas[first],
		.results = (uintptr_t)a->results,
		.regs = a->regs,
	};

	if (ioctl(a->session, VMEM_TRANSLATE, &args)) {
		must(errno == EINVAL ? 0 : -1, "VMEM_TRANSLATE");
		return 0;
	}
	return args.out_nr;
}

double vmem_translate_all(struct addresses *a, int passes)
{
	double start = now();
	__u32 first, nr;
	int pass;

	for (pass = 0; pass < passes; pass++) {
		for (first = 0; first < NR_ADDRESSES; first += nr) {
			nr = translate_once(a, first);
			if (!nr)
				return 0;
		}
	}
	return (now() - start) / NR_ADDRESSES / passes;
}

void addresses_check_one(const struct addresses *a, const char *who, int i,
			 __u64 gpa)
{
	if (gpa == a->gpas[i])
		return;
	printf("Bail out! %s: %#llx is at %#llx, not at %#llx\n", who,
	       a->vas[i], gpa, a->gpas[i]);
	exit(1);
}

void addresses_check(struct addresses *a)
{
	const struct vmem_translation *result;
	__u32 first, nr, i;

	for (first = 0; first < NR_ADDRESSES; first += nr) {
		nr = translate_once(a, first);
		errno = EINVAL;
		must(nr ? 0 : -1, "VMEM_TRANSLATE");
		for (i = 0; i < nr; i++) {
			result = (void *)&a->results[i * a->result_size];
			addresses_check_one(a, "vmem", (int)(first + i),
					    result->out_gpa);
		}
	}
}
