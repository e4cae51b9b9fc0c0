// SPDX-License-Identifier: GPL-2.0-only
/*
 * spaces.c - many address spaces at once, in a VM with tables made by hand
 *
 * Every walk here is checked by the rules that hold for all of them, in
 * check_records(). Most are also followed by the records alone and compared
 * with VMEM_MAP_RANGE of each space, in check_expansion().
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "ktap.h"
#include "random.h"
#include "world.h"

#define ALL_PERMS (VMEM_WRITABLE | VMEM_USER | VMEM_EXECUTABLE)
#define SMALL MB(4)

/* What a PDE of an i686 guest maps. */
#define PDE(n) (MB(4) * (__u64)(n))

/* Where world_scatter() maps the page with this number. */
#define SCATTERED(n) (GB(1) + 2 * PAGE * (__u64)(n))

/* ---- What is wanted of a walk ---- */

/**
 * struct wanted - the records that a walk is to give
 * @rows: the records
 * @nr: how many they are
 */
struct wanted {
	struct vmem_record rows[2100];
	__u32 nr;
};

static struct vmem_record *want(struct wanted *wanted, __u32 type, __u32 root)
{
	struct vmem_record *r = &wanted->rows[wanted->nr++];

	errno = ENOBUFS;
	must(wanted->nr <= ARRAY_SIZE(wanted->rows) ? 0 : -1, "wanted records");
	memset(r, 0, sizeof(*r));
	r->type = type;
	r->root = root;
	return r;
}

static void want_space(struct wanted *wanted, const struct world *w, __u32 root,
		       __u32 alias_of)
{
	struct vmem_record *r = want(wanted, VMEM_SPACE, root);

	r->space.space = w->cr3[root];
	r->space.alias_of = alias_of;
}

static void want_page(struct wanted *wanted, __u32 root, __u64 va, __u64 gpa,
		      __u32 perms)
{
	struct vmem_record *r = want(wanted, VMEM_THIS_SPACE, root);

	r->mapping.va = va;
	r->mapping.last_va = va + PAGE - 1;
	r->mapping.gpa = gpa;
	r->mapping.page_size = PAGE;
	r->mapping.kind = VMEM_KIND_BASIC;
	r->mapping.perms = perms;
}

/* Pages of world_scatter() from the one with number @from. */
static void want_scattered(struct wanted *wanted, __u32 root, __u64 va,
			   __u64 from, __u64 nr)
{
	__u64 i;

	for (i = 0; i < nr; i++)
		want_page(wanted, root, va + i * PAGE, SCATTERED(from + i),
			  ALL_PERMS);
}

static void want_reference(struct wanted *wanted, __u32 root,
			   struct vmem_reference a)
{
	want(wanted, VMEM_ALIASING, root)->reference = a;
}

static void want_anomaly(struct wanted *wanted, __u32 root,
			 struct vmem_anomaly a)
{
	want(wanted, VMEM_ANOMALY, root)->anomaly = a;
}

static void check_walk(const char *what, const struct world *w,
		       const struct wanted *wanted)
{
	struct session_records records = { .per_call = 4096 };

	world_walk(w, &records);
	check_same_records(what, &records, wanted->rows, wanted->nr);
	check_expansion(w, &records);
	free(records.rows);
}

/* A reference of an i686 PT that world @w's root @owner owns at @their_va. */
static struct vmem_reference alias_pt(const struct world *w,
				      const struct tables *t, __u64 our_va,
				      __u32 owner, __u64 their_va)
{
	return (struct vmem_reference){
		.table = VMEM_TABLE_I686_PT,
		.perms = ALL_PERMS,
		.table_gpa = world_table(t, our_va, VMEM_LEVEL_PT),
		.space = w->cr3[owner],
		.our_va = our_va,
		.their_va = their_va,
		.len = MB(4),
		.owner_root = owner,
		.owner_perms = ALL_PERMS,
	};
}

/* ---- Two, three, more spaces of 2-level paging ---- */

static void pt_shared_at(const char *what, __u64 va)
{
	static struct wanted wanted;
	struct tables a, b;
	struct world w;

	wanted.nr = 0;
	world_init(&w, SMALL);
	a = world_add_i686(&w);
	b = world_add_i686(&w);
	world_scatter(&a, PDE(1), 3);
	world_share(&b, va, &a, PDE(1), VMEM_LEVEL_PT, PTE_PWU);
	want_space(&wanted, &w, 0, 0);
	want_scattered(&wanted, 0, PDE(1), 0, 3);
	want_space(&wanted, &w, 1, 1);
	want_reference(&wanted, 1, alias_pt(&w, &b, va, 0, PDE(1)));
	check_walk(what, &w, &wanted);
	world_free(&w);
}

static void i686_pt_at_the_same_address(void)
{
	pt_shared_at("same", PDE(1));
}

static void i686_pt_at_another_address(void)
{
	pt_shared_at("higher", PDE(3));
	pt_shared_at("lower", 0);
	pt_shared_at("last", PDE(1023));
}

/* Private pages on both sides of a reference keep their places. */
static void i686_reference_among_mappings(void)
{
	static struct wanted wanted;
	struct tables a, b;
	struct world w;

	wanted.nr = 0;
	world_init(&w, SMALL);
	a = world_add_i686(&w);
	b = world_add_i686(&w);
	world_scatter(&a, PDE(5), 1);
	world_scatter(&b, PDE(1), 1);
	world_share(&b, PDE(2), &a, PDE(5), VMEM_LEVEL_PT, PTE_PWU);
	world_scatter(&b, PDE(3), 1);
	want_space(&wanted, &w, 0, 0);
	want_scattered(&wanted, 0, PDE(5), 0, 1);
	want_space(&wanted, &w, 1, 1);
	want_scattered(&wanted, 1, PDE(1), 0, 1);
	want_reference(&wanted, 1, alias_pt(&w, &b, PDE(2), 0, PDE(5)));
	want_scattered(&wanted, 1, PDE(3), 0, 1);
	check_walk("among", &w, &wanted);
	world_free(&w);
}

static void i686_three_sharers(void)
{
	static struct wanted wanted;
	struct tables t[3];
	struct world w;
	__u32 i;

	wanted.nr = 0;
	world_init(&w, SMALL);
	for (i = 0; i < 3; i++)
		t[i] = world_add_i686(&w);
	world_scatter(&t[0], PDE(7), 2);
	world_share(&t[1], PDE(2), &t[0], PDE(7), VMEM_LEVEL_PT, PTE_PWU);
	world_share(&t[2], PDE(9), &t[0], PDE(7), VMEM_LEVEL_PT, PTE_PWU);
	want_space(&wanted, &w, 0, 0);
	want_scattered(&wanted, 0, PDE(7), 0, 2);
	want_space(&wanted, &w, 1, 1);
	want_reference(&wanted, 1, alias_pt(&w, &t[1], PDE(2), 0, PDE(7)));
	want_space(&wanted, &w, 2, 2);
	want_reference(&wanted, 2, alias_pt(&w, &t[2], PDE(9), 0, PDE(7)));
	check_walk("three", &w, &wanted);
	world_free(&w);
}

static void i686_one_pt_twice_in_a_space(void)
{
	static struct wanted wanted;
	struct tables a;
	struct world w;

	wanted.nr = 0;
	world_init(&w, SMALL);
	a = world_add_i686(&w);
	world_scatter(&a, PDE(4), 2);
	world_share(&a, PDE(6), &a, PDE(4), VMEM_LEVEL_PT, PTE_PWU);
	want_space(&wanted, &w, 0, 0);
	want_scattered(&wanted, 0, PDE(4), 0, 2);
	want_reference(&wanted, 0, alias_pt(&w, &a, PDE(6), 0, PDE(4)));
	check_walk("double PDE", &w, &wanted);
	world_free(&w);
}

static void i686_root_given_twice(void)
{
	static struct wanted wanted;
	struct tables a, b;
	struct world w;

	wanted.nr = 0;
	world_init(&w, SMALL);
	a = world_add_i686(&w);
	world_add_root(&w, &a);
	b = world_add_i686(&w);
	world_scatter(&a, PDE(1), 1);
	world_share(&b, PDE(1), &a, PDE(1), VMEM_LEVEL_PT, PTE_PWU);
	want_space(&wanted, &w, 0, 0);
	want_scattered(&wanted, 0, PDE(1), 0, 1);
	want_space(&wanted, &w, 1, 0);
	want_space(&wanted, &w, 2, 2);
	want_reference(&wanted, 2, alias_pt(&w, &b, PDE(1), 0, PDE(1)));
	check_walk("A, A, B", &w, &wanted);
	world_free(&w);
}

/* The part of a table that one space shows says nothing of another part. */
static void i686_range_of_three_pages(void)
{
	static struct wanted wanted;
	struct tables a, b;
	struct world w;

	wanted.nr = 0;
	world_init(&w, SMALL);
	a = world_add_i686(&w);
	b = world_add_i686(&w);
	world_scatter(&a, 0, 1024);
	world_share(&b, PDE(1), &a, 0, VMEM_LEVEL_PT, PTE_PWU);
	w.spaces.va = 0x3ff000;
	w.spaces.last_va = 0x401fff;
	want_space(&wanted, &w, 0, 0);
	want_scattered(&wanted, 0, 0x3ff000, 1023, 1);
	want_space(&wanted, &w, 1, 1);
	want_scattered(&wanted, 1, 0x400000, 0, 2);
	check_walk("clipped", &w, &wanted);

	/* The same part at the same address is the same. */
	world_share(&b, 0, &a, 0, VMEM_LEVEL_PT, PTE_PWU);
	wanted.nr -= 2;
	want_reference(&wanted, 1, alias_pt(&w, &b, 0, 0, 0));
	want_scattered(&wanted, 1, 0x400000, 0, 2);
	check_walk("clipped, same place", &w, &wanted);
	world_free(&w);
}

/* Begins and ends inside a page: two pages, though one page long. */
static void i686_range_inside_pages(void)
{
	struct session_records records = { .per_call = 16 };
	struct tables a;
	struct world w;

	world_init(&w, SMALL);
	a = world_add_i686(&w);
	tables_map_all(&a, 0, GB(1), 4 * PAGE, VMEM_LEVEL_PT);
	w.spaces.va = 0x800;
	w.spaces.last_va = 0x17ff;
	world_walk(&w, &records);
	CHECK_EQ(records.nr, 2);
	CHECK_EQ(records.stats.leaves, 2);
	check_expansion(&w, &records);
	free(records.rows);
	world_free(&w);
}

/* A reference to what is in the middle of the owner's region, and around. */
static void i686_excluded(void)
{
	static const struct vmem_span excluded[] = {
		{ PDE(1) + PAGE, PDE(1) + 2 * PAGE - 1 },
		{ PDE(3), PDE(4) - 1 },
		{ PDE(6) + 0x10, PDE(6) + 0x1f },
	};
	static struct wanted wanted;
	struct tables a, b;
	struct world w;
	__u64 i;

	wanted.nr = 0;
	world_init(&w, SMALL);
	a = world_add_i686(&w);
	b = world_add_i686(&w);
	world_scatter(&a, PDE(1), 3);
	for (i = 1; i < 6; i++)
		world_share(&b, PDE(i), &a, PDE(1), VMEM_LEVEL_PT, PTE_PWU);
	w.spaces.excluded = excluded;
	w.spaces.nr_excluded = ARRAY_SIZE(excluded);

	want_space(&wanted, &w, 0, 0);
	want_scattered(&wanted, 0, PDE(1), 0, 1);
	want_scattered(&wanted, 0, PDE(1) + 2 * PAGE, 2, 1);
	want_space(&wanted, &w, 1, 1);
	want_reference(&wanted, 1, alias_pt(&w, &b, PDE(1), 0, PDE(1)));
	/* Nobody has shown the whole of it before. */
	want_scattered(&wanted, 1, PDE(2), 0, 3);
	want_reference(&wanted, 1, alias_pt(&w, &b, PDE(4), 1, PDE(2)));
	want_reference(&wanted, 1, alias_pt(&w, &b, PDE(5), 1, PDE(2)));
	check_walk("excluded", &w, &wanted);
	world_free(&w);
}

static void all_excluded(void)
{
	static const struct vmem_span all = { 0, ~0ULL };
	static struct wanted wanted;
	struct tables a;
	struct world w;

	wanted.nr = 0;
	world_init(&w, SMALL);
	a = world_add_amd64(&w);
	world_scatter(&a, 0, 3);
	w.spaces.excluded = &all;
	w.spaces.nr_excluded = 1;
	want_space(&wanted, &w, 0, 0);
	check_walk("all excluded", &w, &wanted);
	world_free(&w);
}

static void unbacked_root_among_others(void)
{
	static struct wanted wanted;
	struct tables a, b, nowhere;
	struct world w;

	wanted.nr = 0;
	world_init(&w, SMALL);
	a = world_add_amd64(&w);
	nowhere = a;
	nowhere.root = GB(40);
	world_add_root(&w, &nowhere);
	b = world_add_amd64(&w);
	world_add_root(&w, &nowhere);
	world_scatter(&a, 0, 2);
	world_scatter(&b, 0, 1);
	w.spaces.last_va = GB(1) - 1;
	want_space(&wanted, &w, 0, 0);
	want_scattered(&wanted, 0, 0, 0, 2);
	want_space(&wanted, &w, 1, 1);
	want_anomaly(&wanted, 1,
		     (struct vmem_anomaly){
			     .status = VMEM_UNBACKED,
			     .level = VMEM_LEVEL_PML4,
			     .last_va = GB(1) - 1,
			     .table_gpa = GB(40),
		     });
	want_space(&wanted, &w, 2, 2);
	want_scattered(&wanted, 2, 0, 0, 1);
	want_space(&wanted, &w, 3, 1);
	check_walk("unbacked root", &w, &wanted);
	world_free(&w);
}

static void tables_that_lead_nowhere(void)
{
	static struct wanted wanted;
	const __u64 far = GB(40) | PTE_PWU;
	const __u64 bad = GB(1) | BIT_ULL(45) | PTE_PWU;
	struct tables a;
	struct world w;

	wanted.nr = 0;
	world_init(&w, SMALL);
	a = world_add_amd64(&w);
	world_scatter(&a, 0, 1);
	tables_set(&a, MB(2), VMEM_LEVEL_PD, far);
	tables_set(&a, MB(4), VMEM_LEVEL_PD, far);
	tables_set(&a, PAGE, VMEM_LEVEL_PT, bad);
	want_space(&wanted, &w, 0, 0);
	want_scattered(&wanted, 0, 0, 0, 1);
	want_anomaly(&wanted, 0,
		     (struct vmem_anomaly){
			     .status = VMEM_RESERVED,
			     .level = VMEM_LEVEL_PT,
			     .va = PAGE,
			     .last_va = 2 * PAGE - 1,
			     .raw = bad,
		     });
	want_anomaly(&wanted, 0,
		     (struct vmem_anomaly){
			     .status = VMEM_UNBACKED,
			     .level = VMEM_LEVEL_PT,
			     .va = MB(2),
			     .last_va = MB(4) - 1,
			     .table_gpa = GB(40),
			     .raw = far,
		     });
	want_anomaly(&wanted, 0,
		     (struct vmem_anomaly){
			     .status = VMEM_UNBACKED,
			     .level = VMEM_LEVEL_PT,
			     .va = MB(4),
			     .last_va = MB(6) - 1,
			     .table_gpa = GB(40),
			     .raw = far,
		     });
	check_walk("nowhere", &w, &wanted);
	world_free(&w);
}

/* ---- Paging by entries of 8 bytes ---- */

static const enum vmem_table amd64_tables[] = {
	[VMEM_LEVEL_PT] = VMEM_TABLE_AMD64_PT,
	[VMEM_LEVEL_PD] = VMEM_TABLE_AMD64_PD,
	[VMEM_LEVEL_PDPT] = VMEM_TABLE_AMD64_PDPT,
	[VMEM_LEVEL_PML4] = VMEM_TABLE_AMD64_PML4,
};

static const enum vmem_table pae_tables[] = {
	[VMEM_LEVEL_PT] = VMEM_TABLE_PAE_PT,
	[VMEM_LEVEL_PD] = VMEM_TABLE_PAE_PD,
};

#define KERNEL_VA 0xffff888000000000ULL
#define USER_VA BIT_ULL(40)

/* What @their_va goes by in one space, @our_va goes by in another. */
static void shared_at(int format, int level, __u64 their_va, __u64 our_va)
{
	const enum vmem_table *names = format == FORMAT_PAE ? pae_tables :
							      amd64_tables;
	static struct wanted wanted;
	struct tables a, b;
	struct world w;

	wanted.nr = 0;
	world_init(&w, SMALL);
	a = world_add(&w, &formats[format]);
	b = world_add(&w, &formats[format]);
	world_scatter(&a, their_va, 2);
	world_share(&b, our_va, &a, their_va, level, PTE_PWU);
	want_space(&wanted, &w, 0, 0);
	want_scattered(&wanted, 0, their_va, 0, 2);
	want_space(&wanted, &w, 1, 1);
	want_reference(&wanted, 1,
		       (struct vmem_reference){
			       .table = names[level],
			       .perms = ALL_PERMS,
			       .table_gpa = world_table(&a, their_va, level),
			       .space = w.cr3[0],
			       .our_va = our_va,
			       .their_va = their_va,
			       .len = tables_page_size(&a, level + 1),
			       .owner_root = 0,
			       .owner_perms = ALL_PERMS,
		       });
	check_walk(formats[format].name, &w, &wanted);
	world_free(&w);
}

static void amd64_pt_shared(void)
{
	shared_at(FORMAT_AMD64, VMEM_LEVEL_PT, KERNEL_VA, USER_VA);
}

static void amd64_pd_shared(void)
{
	shared_at(FORMAT_AMD64, VMEM_LEVEL_PD, KERNEL_VA, USER_VA);
}

static void amd64_pdpt_shared(void)
{
	shared_at(FORMAT_AMD64, VMEM_LEVEL_PDPT, KERNEL_VA, USER_VA);
}

#define LA57_KERNEL_VA 0xff11000000000000ULL
#define LA57_USER_VA BIT_ULL(55)

static void la57_tables_shared(void)
{
	int level;

	for (level = VMEM_LEVEL_PT; level <= VMEM_LEVEL_PML4; level++)
		shared_at(FORMAT_LA57, level, LA57_KERNEL_VA, LA57_USER_VA);
	/* The first of the upper half, by the last of the lower. */
	shared_at(FORMAT_LA57, VMEM_LEVEL_PML4, 0xff00000000000000ULL,
		  0x00ff000000000000ULL);
}

static void pae_tables_shared(void)
{
	shared_at(FORMAT_PAE, VMEM_LEVEL_PT, GB(3) + MB(2), GB(1));
	shared_at(FORMAT_PAE, VMEM_LEVEL_PT, GB(3), GB(4) - MB(2));
	shared_at(FORMAT_PAE, VMEM_LEVEL_PD, GB(3), 0);
	shared_at(FORMAT_PAE, VMEM_LEVEL_PD, 0, GB(3));
}

/* As small hypervisors have them: each root is a space, and none is another's. */
static void pae_roots_in_one_page(void)
{
	static struct wanted wanted;
	struct tables first, t;
	struct world w;
	__u32 i;

	wanted.nr = 0;
	world_init(&w, SMALL);
	first = world_add(&w, &formats[FORMAT_PAE]);
	world_scatter(&first, GB(3), 2);
	want_space(&wanted, &w, 0, 0);
	want_scattered(&wanted, 0, GB(3), 0, 2);
	for (i = 1; i < PAGE / 32; i++) {
		t = first;
		t.root += 32 * i;
		world_add_root(&w, &t);
		world_share(&t, GB(3), &first, GB(3), VMEM_LEVEL_PD, PTE_P);
		tables_map(&t, 0, SCATTERED(i), VMEM_LEVEL_PT, PTE_PWU);
		want_space(&wanted, &w, i, i);
		want_page(&wanted, i, 0, SCATTERED(i), ALL_PERMS);
		want_reference(&wanted, i,
			       (struct vmem_reference){
				       .table = VMEM_TABLE_PAE_PD,
				       .perms = ALL_PERMS,
				       .table_gpa = world_table(&first, GB(3),
								VMEM_LEVEL_PD),
				       .space = first.root,
				       .our_va = GB(3),
				       .their_va = GB(3),
				       .len = GB(1),
				       .owner_perms = ALL_PERMS,
			       });
	}
	/* Twice the same is the same space, as anywhere. */
	world_add_root(&w, &first);
	want_space(&wanted, &w, i, 0);
	check_walk("roots in one page", &w, &wanted);
	world_free(&w);
}

/* The PD that B shares holds a PT that A has at another place already. */
static void amd64_shared_inside_shared(void)
{
	struct session_records records = { .per_call = 64 };
	struct tables a, b, c;
	struct world w;

	world_init(&w, SMALL);
	a = world_add_amd64(&w);
	b = world_add_amd64(&w);
	c = world_add_amd64(&w);
	world_scatter(&a, 0, 3);
	world_share(&a, GB(3) + MB(2), &a, 0, VMEM_LEVEL_PT, PTE_PWU);
	tables_map(&a, GB(3) + MB(8), GB(2), VMEM_LEVEL_PD, PTE_PWU);
	world_share(&b, GB(7), &a, GB(3), VMEM_LEVEL_PD, PTE_PWU);
	world_share(&c, KERNEL_VA, &b, 0, VMEM_LEVEL_PDPT, PTE_PWU);
	world_share(&c, 0, &a, 0, VMEM_LEVEL_PD, PTE_PWU);
	world_walk(&w, &records);
	check_expansion(&w, &records);
	CHECK_EQ(records.stats.mappings, 4);
	/* A's PT again, B's PD, C's PD and C's PDPT. */
	CHECK_EQ(records.stats.references, 4);
	CHECK_EQ(records.stats.anomalies, 0);
	free(records.rows);
	world_free(&w);
}

static void amd64_last_page_of_all(void)
{
	static struct wanted wanted;
	struct tables a, b;
	struct world w;

	wanted.nr = 0;
	world_init(&w, SMALL);
	a = world_add_amd64(&w);
	b = world_add_amd64(&w);
	tables_map(&a, -PAGE, GB(1), VMEM_LEVEL_PT, PTE_PWU);
	world_share(&b, -MB(2), &a, -MB(2), VMEM_LEVEL_PT, PTE_PWU);
	want_space(&wanted, &w, 0, 0);
	want_page(&wanted, 0, -PAGE, GB(1), ALL_PERMS);
	want_space(&wanted, &w, 1, 1);
	want_reference(&wanted, 1,
		       (struct vmem_reference){
			       .table = VMEM_TABLE_AMD64_PT,
			       .perms = ALL_PERMS,
			       .table_gpa = world_table(&a, -PAGE, 1),
			       .space = w.cr3[0],
			       .our_va = -MB(2),
			       .their_va = -MB(2),
			       .len = MB(2),
			       .owner_perms = ALL_PERMS,
		       });
	check_walk("last page", &w, &wanted);
	world_free(&w);
}

/* Each path has its own rights; the reference tells those of both. */
static void rights_of_both_paths(void)
{
	struct session_records records = { .per_call = 64 };
	const struct vmem_reference *alias;
	struct vmem_translation result;
	struct tables a, b;
	struct world w;
	__u64 va = KERNEL_VA;
	int session;

	world_init(&w, SMALL);
	a = world_add_amd64(&w);
	b = world_add_amd64(&w);
	world_scatter(&a, 0, 1);
	tables_set(&a, 0, VMEM_LEVEL_PD,
		   world_table(&a, 0, VMEM_LEVEL_PT) | PTE_P | PTE_U);
	world_share(&b, va, &a, 0, VMEM_LEVEL_PT, PTE_P | PTE_W | PTE_NX);
	session = world_open(&w);
	CHECK_EQ(session_walk_spaces(session, &records), 0);
	check_records(&w, &records);
	if (CHECK_EQ(records.nr, 4)) {
		CHECK_EQ(records.rows[1].mapping.perms,
			 VMEM_USER | VMEM_EXECUTABLE);
		alias = &records.rows[3].reference;
		CHECK_EQ(alias->perms, VMEM_WRITABLE);
		CHECK_EQ(alias->owner_perms, VMEM_USER | VMEM_EXECUTABLE);
	}
	CHECK_EQ(session_translate_in(session, 1, &va, 1, &result), 0);
	CHECK_EQ(result.out_perms, VMEM_WRITABLE);
	CHECK_EQ(result.out_referenced, 1);
	CHECK_EQ(result.out_owner_va, 0);
	close(session);
	free(records.rows);
	world_free(&w);
}

/* ---- Translation ---- */

/* The owner's address goes by the same entry. */
static void check_owner(const struct world *w, int session, __u32 root,
			const struct vmem_translation *got)
{
	struct vmem_regs regs = w->spaces.regs;
	struct vmem_translation there;
	__u32 last = got->out_nr_trace - 1;

	if (!CHECK(got->out_owner_root <= root))
		return;
	CHECK_EQ(got->out_owner_space, w->cr3[got->out_owner_root]);
	regs.cr3 = got->out_owner_space;
	CHECK_EQ(session_translate_one(session, &regs, got->out_owner_va,
				       &there),
		 0);
	CHECK_EQ(there.out_status, VMEM_MAPPED);
	CHECK_EQ(there.out_gpa, got->out_gpa);
	CHECK_EQ(there.out_trace[last].entry_gpa,
		 got->out_trace[last].entry_gpa);
}

/* By space and by registers it is the same but for the owner. */
static bool check_translation(const struct world *w, int session, __u32 root,
			      __u64 va)
{
	struct vmem_regs regs = w->spaces.regs;
	struct vmem_translation in, by;
	bool referenced;

	regs.cr3 = w->cr3[root];
	CHECK_EQ(session_translate_in(session, root, &va, 1, &in), 0);
	CHECK_EQ(session_translate_one(session, &regs, va, &by), 0);
	CHECK_EQ(by.out_referenced, 0);
	CHECK_EQ(by.out_owner_space, 0);
	CHECK_EQ(by.out_owner_va, 0);
	CHECK_EQ(by.out_owner_root, 0);
	referenced = in.out_referenced;
	if (referenced)
		check_owner(w, session, root, &in);
	else
		CHECK_EQ(in.out_owner_space | in.out_owner_va |
				 in.out_owner_root,
			 0);
	in.out_referenced = 0;
	in.out_owner_space = 0;
	in.out_owner_va = 0;
	in.out_owner_root = 0;
	CHECK_EQ(memcmp(&in, &by, sizeof(in)), 0);
	return referenced;
}

static void translation_names_the_owner(void)
{
	struct session_records records = { .per_call = 64 };
	struct vmem_translation result;
	struct tables a, b;
	struct world w;
	__u64 va;
	int session;

	world_init(&w, SMALL);
	a = world_add_i686(&w);
	b = world_add_i686(&w);
	world_scatter(&a, PDE(1), 3);
	world_share(&b, PDE(9), &a, PDE(1), VMEM_LEVEL_PT, PTE_P | PTE_U);
	session = world_open(&w);
	CHECK_EQ(session_walk_spaces(session, &records), 0);

	va = PDE(9) + 2 * PAGE + 0x123;
	CHECK_EQ(session_translate_in(session, 1, &va, 1, &result), 0);
	CHECK_EQ(result.out_status, VMEM_MAPPED);
	CHECK_EQ(result.out_gpa, SCATTERED(2) + 0x123);
	CHECK_EQ(result.out_page_size, PAGE);
	CHECK_EQ(result.out_perms, VMEM_USER | VMEM_EXECUTABLE);
	CHECK_EQ(result.out_nr_trace, 2);
	CHECK_EQ(result.out_referenced, 1);
	CHECK_EQ(result.out_owner_space, a.root);
	CHECK_EQ(result.out_owner_root, 0);
	CHECK_EQ(result.out_owner_va, PDE(1) + 2 * PAGE + 0x123);
	CHECK_EQ(check_translation(&w, session, 1, va), true);

	/* Nothing at the referenced spot means nothing here. */
	va = PDE(9) + 3 * PAGE;
	CHECK_EQ(session_translate_in(session, 1, &va, 1, &result), 0);
	CHECK_EQ(result.out_status, VMEM_NOT_PRESENT);
	CHECK_EQ(result.out_level, VMEM_LEVEL_PT);
	CHECK_EQ(result.out_referenced, 0);
	CHECK_EQ(check_translation(&w, session, 1, va), false);

	/* The owner's own is its own. */
	CHECK_EQ(check_translation(&w, session, 0, PDE(1)), false);
	CHECK_EQ(check_translation(&w, session, 0, BIT_ULL(32)), false);
	CHECK_EQ(check_translation(&w, session, 1, 0), false);
	close(session);
	free(records.rows);
	world_free(&w);
}

/* One dead root among them is an answer, not an error. */
static void translation_by_a_dead_root(void)
{
	struct session_records records = { .per_call = 64 };
	const __u64 vas[] = { 0, GB(3), -PAGE };
	struct vmem_translation results[3];
	struct tables a, nowhere;
	struct world w;
	int session, i;

	world_init(&w, SMALL);
	a = world_add_amd64(&w);
	world_scatter(&a, 0, 1);
	nowhere = a;
	nowhere.root = GB(40);
	world_add_root(&w, &nowhere);
	w.spaces.last_va = GB(2);
	session = world_open(&w);
	CHECK_EQ(session_walk_spaces(session, &records), 0);
	CHECK_EQ(session_translate_in(session, 1, vas, 3, results), 0);
	for (i = 0; i < 3; i++) {
		CHECK_EQ(results[i].out_status, VMEM_UNBACKED);
		CHECK_EQ(results[i].out_level, VMEM_LEVEL_PML4);
		CHECK_EQ(results[i].out_nr_trace, 0);
		CHECK_EQ(results[i].out_gpa, 0);
		CHECK_EQ(results[i].out_referenced, 0);
	}
	CHECK_EQ(session_translate_in(session, 0, vas, 1, results), 0);
	CHECK_EQ(results[0].out_status, VMEM_MAPPED);
	close(session);
	free(records.rows);
	world_free(&w);
}

static void translation_before_the_end(void)
{
	struct session_records records = { .per_call = 1 };
	struct vmem_translation result;
	__u64 va = PDE(1);
	struct tables a;
	struct world w;
	bool more = true;
	int session;

	world_init(&w, SMALL);
	a = world_add_i686(&w);
	world_scatter(&a, PDE(1), 3);
	session = world_open(&w);
	while (more) {
		CHECK_EQ(session_translate_in(session, 0, &va, 1, &result),
			 -EBUSY);
		if (!CHECK_EQ(session_walk_once(session, &records, &more), 0))
			break;
	}
	CHECK_EQ(session_translate_in(session, 0, &va, 1, &result), 0);
	CHECK_EQ(session_translate_in(session, 1, &va, 1, &result), -EINVAL);
	close(session);
	free(records.rows);
	world_free(&w);
}

/* How many of six pages another space owns. */
static int nr_referenced(const struct world *w, int session, __u32 root,
			 __u64 va)
{
	int i, nr = 0;

	for (i = 0; i < 6; i++, va += PAGE)
		nr += check_translation(w, session, root, va);
	return nr;
}

/* All orders of three roots: another owner each, one translation. */
static void roots_permuted(void)
{
	static const __u32 orders[][3] = {
		{ 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 },
		{ 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 },
	};
	static const __u64 places[] = { PDE(1), PDE(5), PDE(900) };
	struct session_records records = { .per_call = 64 };
	struct tables t[3];
	struct world w;
	__u32 i, j;
	int session;

	world_init(&w, SMALL);
	for (i = 0; i < 3; i++)
		t[i] = world_add_i686(&w);
	world_scatter(&t[0], places[0], 5);
	for (i = 1; i < 3; i++)
		world_share(&t[i], places[i], &t[0], places[0], VMEM_LEVEL_PT,
			    PTE_PWU);
	for (i = 0; i < ARRAY_SIZE(orders); i++) {
		for (w.nr = 0; w.nr < 3;)
			world_add_root(&w, &t[orders[i][w.nr]]);
		session = world_open(&w);
		CHECK_EQ(session_walk_spaces(session, &records), 0);
		check_records(&w, &records);
		check_expansion(&w, &records);
		CHECK_EQ(records.rows[1].type, VMEM_THIS_SPACE);
		CHECK_EQ(records.rows[1].mapping.va, places[orders[i][0]]);
		for (j = 0; j < 3; j++)
			CHECK_EQ(nr_referenced(&w, session, j,
					       places[orders[i][j]]),
				 j ? 5 : 0);
		close(session);
	}
	free(records.rows);
	world_free(&w);
}

/* ---- Self-maps ---- */

static void i686_self_map(void)
{
	const __u64 self_va = PDE(1023);
	static struct wanted wanted;
	struct tables a;
	struct world w;
	__u64 pt;

	wanted.nr = 0;
	world_init(&w, SMALL);
	a = world_add_i686(&w);
	world_scatter(&a, PDE(2), 1);
	tables_set(&a, self_va, VMEM_LEVEL_PD, a.root | PTE_PWU);
	pt = world_table(&a, PDE(2), VMEM_LEVEL_PT);
	want_space(&wanted, &w, 0, 0);
	want_scattered(&wanted, 0, PDE(2), 0, 1);
	want_anomaly(&wanted, 0,
		     (struct vmem_anomaly){
			     .status = VMEM_ANCESTOR,
			     .level = VMEM_LEVEL_PT,
			     .va = self_va,
			     .last_va = GB(4) - 1,
			     .table_gpa = a.root,
			     .raw = (__u32)(a.root | PTE_PWU),
		     });
	want_page(&wanted, 0, self_va + 2 * PAGE, pt, ALL_PERMS);
	want_page(&wanted, 0, self_va + 1023 * PAGE, a.root, ALL_PERMS);
	check_walk("slot 1023", &w, &wanted);
	world_free(&w);
}

static void want_self_view(struct wanted *wanted, const struct world *w,
			   int level)
{
	want_anomaly(wanted, 0,
		     (struct vmem_anomaly){
			     .status = VMEM_ANCESTOR,
			     .level = (__u32)level,
			     .last_va = (PAGE << (9 * level)) - 1,
			     .table_gpa = w->cr3[0],
			     .raw = w->cr3[0] | PTE_PWU,
		     });
}

/* Slots 1 to 511 of the table one level up name what slot 0 does. */
static void want_self_references(struct wanted *wanted, const struct world *w,
				 int level)
{
	__u64 len = PAGE << (9 * level);
	__u64 i, va;

	for (i = 1; i < 512; i++) {
		va = i * len;
		if (level == VMEM_LEVEL_PDPT && i >= 256)
			va |= 0xffff000000000000;
		want_reference(wanted, 0,
			       (struct vmem_reference){
				       .table = amd64_tables[level],
				       .perms = ALL_PERMS,
				       .table_gpa = w->cr3[0],
				       .space = w->cr3[0],
				       .our_va = va,
				       .len = len,
				       .owner_perms = ALL_PERMS,
			       });
	}
}

static void fill_with_itself(const struct tables *t)
{
	__u64 *entry = ram_ptr(t->ram, t->root);
	int i;

	for (i = 0; i < 512; i++)
		entry[i] = t->root | PTE_PWU;
}

static void amd64_all_slots_are_itself(void)
{
	struct session_records records = { .per_call = 4096 };
	static struct wanted wanted;
	struct tables a;
	struct world w;
	double start;
	__u64 i;

	wanted.nr = 0;
	world_init(&w, SMALL);
	a = world_add_amd64(&w);
	fill_with_itself(&a);
	want_space(&wanted, &w, 0, 0);
	want_self_view(&wanted, &w, VMEM_LEVEL_PDPT);
	want_self_view(&wanted, &w, VMEM_LEVEL_PD);
	want_self_view(&wanted, &w, VMEM_LEVEL_PT);
	for (i = 0; i < 512; i++)
		want_page(&wanted, 0, i * PAGE, a.root, ALL_PERMS);
	want_self_references(&wanted, &w, VMEM_LEVEL_PT);
	want_self_references(&wanted, &w, VMEM_LEVEL_PD);
	want_self_references(&wanted, &w, VMEM_LEVEL_PDPT);

	start = seconds();
	world_walk(&w, &records);
	printf("# 512^4 leaves: %u records, %llu tables, %llu entries, %.3f s\n",
	       records.nr, records.stats.tables, records.stats.entries,
	       seconds() - start);
	check_same_records("512 slots", &records, wanted.rows, wanted.nr);
	CHECK_EQ(records.stats.known, 4);
	CHECK_EQ(records.stats.tables, 4);
	CHECK_EQ(records.stats.entries, 4 * 512);
	free(records.rows);
	world_free(&w);
}

static void amd64_one_self_map(void)
{
	struct session_records records = { .per_call = 4096 };
	struct tables a, b;
	struct world w;

	world_init(&w, SMALL);
	a = world_add_amd64(&w);
	b = world_add_amd64(&w);
	world_scatter(&a, 0, 5);
	world_scatter(&b, GB(5), 5);
	world_share(&b, KERNEL_VA, &a, 0, VMEM_LEVEL_PD, PTE_PWU);
	tables_set(&a, USER_VA * 16, VMEM_LEVEL_PML4, a.root | PTE_PWU);
	tables_set(&b, USER_VA * 16, VMEM_LEVEL_PML4, b.root | PTE_PWU);
	world_walk(&w, &records);
	check_expansion(&w, &records);
	CHECK(records.stats.anomalies >= 2);
	free(records.rows);
	world_free(&w);
}

/* ---- Random graphs ---- */

#define POOL 4

/* Tables to be named, of every level below the roots. */
struct pool {
	__u64 state;
	__u64 tables[VMEM_LEVEL_PML5][POOL];
};

/*
 * What a table may hold: a table of the pool, a page, or nothing. Its slots are
 * few and the same for all, so that windows differ and tables meet.
 */
static __u64 random_entry(struct pool *pool, const struct tables *t, int level)
{
	__u64 kind = random_next(&pool->state) % 8;
	__u64 page = tables_page_size(t, level);
	__u64 gpa;

	if (level > VMEM_LEVEL_PT && kind < 5)
		return pool->tables[level - 1][random_next(&pool->state) % POOL] |
		       tables_open(t, level);
	if (level >= VMEM_LEVEL_PML4 || tables_open(t, level) == PTE_P ||
	    kind > 6)
		return 0;
	/* Little of it, so that neighbours are contiguous at times. */
	gpa = random_next(&pool->state) % 4 * page;
	gpa |= PTE_P | (random_next(&pool->state) & (PTE_W | PTE_U));
	return gpa | (level > VMEM_LEVEL_PT ? PTE_PS : 0);
}

static void fill_randomly(struct pool *pool, const struct tables *t,
			  __u64 table, int level)
{
	__u64 last =
		tables_open(t, level) == PTE_P ? 3 : BIT_ULL(t->index_bits) - 1;
	const __u64 slots[] = { 0, 1, 2, 3, last / 2, last / 2 + 1, last };
	__u64 raw;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(slots); i++) {
		raw = random_entry(pool, t, level);
		memcpy(ram_ptr(t->ram, table + slots[i] * (__u64)t->entry_size),
		       &raw, (size_t)t->entry_size);
	}
}

static void random_world(struct world *w, __u64 seed, int format)
{
	struct pool pool = { .state = seed };
	struct tables t;
	int level, i;

	for (i = 0; i < 4; i++)
		t = world_add(w, &formats[format]);
	for (level = 1; level < t.top; level++)
		for (i = 0; i < POOL; i++)
			pool.tables[level][i] = ram_alloc(&w->ram, PAGE);
	for (level = 1; level < t.top; level++)
		for (i = 0; i < POOL; i++)
			fill_randomly(&pool, &t, pool.tables[level][i], level);
	for (i = 0; i < 4; i++)
		fill_randomly(&pool, &t, w->cr3[i], t.top);
	if (seed % 3 == 0)
		w->cr3[2] = w->cr3[0];
}

/* Near where the slots are. */
static __u64 random_va(__u64 *state, int format)
{
	static const int levels[NR_FORMATS] = { 2, 3, 4, 5 };
	const int bits = format == FORMAT_I686 ? 10 : 9;
	__u64 va = 0;
	int level;

	for (level = levels[format]; level > 0; level--)
		va = va << bits | random_next(state) % 4;
	return va * PAGE + (random_next(state) % 2) * 0x7ff;
}

static void random_scope(struct world *w, struct vmem_span *excluded,
			 __u64 seed, int format)
{
	__u64 state = seed * 77, a, b;

	a = random_va(&state, format);
	b = random_va(&state, format);
	excluded->va = a < b ? a : b;
	excluded->last_va = a < b ? b : a;
	w->spaces.excluded = excluded;
	w->spaces.nr_excluded = seed % 2;
	a = random_va(&state, format);
	b = random_va(&state, format);
	if (seed % 4 < 2)
		return;
	w->spaces.va = a < b ? a : b;
	w->spaces.last_va = seed % 4 == 2 ? ~0ULL : a < b ? b : a;
}

static void random_graph(__u64 seed, int format, __u64 *aliases)
{
	struct session_records records = { .per_call = 4096 };
	struct vmem_span excluded;
	struct world w;
	__u64 state = seed;
	int session, i;

	world_init(&w, SMALL);
	random_world(&w, seed, format);
	random_scope(&w, &excluded, seed, format);
	session = world_open(&w);
	CHECK_EQ(session_walk_spaces(session, &records), 0);
	check_records(&w, &records);
	check_expansion(&w, &records);
	for (i = 0; i < 50; i++)
		check_translation(&w, session, (__u32)i % w.nr,
				  random_va(&state, format));
	if (ktap_reason[0])
		printf("# seed %llu\n", seed);
	*aliases += records.stats.references;
	close(session);
	free(records.rows);
	world_free(&w);
}

#define NR_SEEDS 24

static void random_graphs(int format)
{
	__u64 seed, aliases = 0;

	for (seed = 1; seed <= NR_SEEDS && !ktap_reason[0]; seed++)
		random_graph(seed, format, &aliases);
	printf("# %s: %d graphs, %llu references\n", formats[format].name,
	       NR_SEEDS, aliases);
	CHECK(aliases > NR_SEEDS);
}

static void i686_random_graphs(void)
{
	random_graphs(FORMAT_I686);
}

static void pae_random_graphs(void)
{
	random_graphs(FORMAT_PAE);
}

static void amd64_random_graphs(void)
{
	random_graphs(FORMAT_AMD64);
}

static void la57_random_graphs(void)
{
	random_graphs(FORMAT_LA57);
}

/* ---- Size ---- */

#define NR_KERNEL_PTS 8

/* As an operating system has them: one kernel, many processes. */
static void add_processes(struct world *w, __u32 nr)
{
	struct tables kernel, t;
	__u64 i;

	kernel = world_add_amd64(w);
	for (i = 0; i < NR_KERNEL_PTS; i++)
		world_scatter(&kernel, KERNEL_VA + i * MB(2), 20);
	while (w->nr < nr) {
		t = world_add_amd64(w);
		world_share(&t, KERNEL_VA, &kernel, KERNEL_VA, VMEM_LEVEL_PDPT,
			    PTE_PWU);
		tables_map(&t, w->nr * MB(2), GB(2), VMEM_LEVEL_PT, PTE_PWU);
	}
}

static void walk_processes(__u32 nr)
{
	const __u64 tables = 1 + 2 + NR_KERNEL_PTS + 4ULL * (nr - 1);
	struct session_records records = { .per_call = 65536 };
	struct world w;
	double start;

	world_init(&w, MB(20));
	add_processes(&w, nr);
	start = seconds();
	world_walk(&w, &records);
	printf("# %u roots: %u records, %llu tables known, %llu read, %u calls, %.3f s\n",
	       nr, records.nr, records.stats.known, records.stats.tables,
	       records.nr_calls, seconds() - start);
	CHECK_EQ(records.stats.spaces, nr);
	CHECK_EQ(records.stats.references, nr - 1);
	CHECK_EQ(records.stats.mappings, 20 * NR_KERNEL_PTS + nr - 1);
	CHECK_EQ(records.stats.known, tables);
	CHECK(records.stats.tables >= tables);
	CHECK(records.stats.tables <= tables + 4 * (records.nr_calls - 1));
	check_expansion(&w, &records);
	free(records.rows);
	world_free(&w);
}

static void roots_1000(void)
{
	walk_processes(100);
	walk_processes(1000);
}

static void roots_of_max_nr(void)
{
	struct session_records records = { .per_call = 4096 };
	struct tables a;
	struct world w;

	world_init(&w, MB(20));
	a = world_add_i686(&w);
	world_scatter(&a, 0, 1);
	while (w.nr < VMEM_MAX_ROOTS / 2)
		world_add_i686(&w);
	while (w.nr < VMEM_MAX_ROOTS)
		world_add_root(&w, &a);
	world_walk(&w, &records);
	CHECK_EQ(records.nr, VMEM_MAX_ROOTS + 1);
	CHECK_EQ(records.stats.root_aliases, VMEM_MAX_ROOTS / 2);
	free(records.rows);
	world_free(&w);
}

/* Contiguous pages as well, whose merging goes on from call to call. */
static void resumed_by_any_buffer(void)
{
	static const __u32 sizes[] = { 1, 2, 7, 4096 };
	struct session_records whole = { .per_call = 65536 };
	struct session_records parts = { .rows = NULL };
	struct tables a;
	struct world w;
	size_t i;

	world_init(&w, SMALL);
	add_processes(&w, 40);
	a = world_add_amd64(&w);
	tables_map_all(&a, 0, GB(3), MB(3), VMEM_LEVEL_PT);
	tables_map_all(&a, GB(1), GB(4), MB(20), VMEM_LEVEL_PD);
	tables_set(&a, GB(5), VMEM_LEVEL_PML4, a.root | PTE_PWU);
	world_walk(&w, &whole);
	CHECK_EQ(whole.nr_calls, 1);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		parts.per_call = sizes[i];
		world_walk(&w, &parts);
		check_same_records("resumed", &parts, whole.rows, whole.nr);
		CHECK(parts.nr_calls >= whole.nr / sizes[i]);
		CHECK(parts.nr_calls <= whole.nr / sizes[i] + 2);
		CHECK_EQ(parts.stats.known, whole.stats.known);
		printf("# by %u: %u calls\n", sizes[i], parts.nr_calls);
	}
	free(whole.rows);
	free(parts.rows);
	world_free(&w);
}

static void nothing_after_the_end(void)
{
	struct session_records records = { .per_call = 64 };
	struct tables a;
	struct world w;
	bool more = true;
	__u32 nr;
	int session;

	world_init(&w, SMALL);
	a = world_add_i686(&w);
	world_scatter(&a, 0, 3);
	session = world_open(&w);
	CHECK_EQ(session_walk_spaces(session, &records), 0);
	nr = records.nr;
	CHECK_EQ(session_walk_once(session, &records, &more), 0);
	CHECK_EQ(more, false);
	CHECK_EQ(records.nr, nr);
	check_records(&w, &records);
	close(session);
	free(records.rows);
	world_free(&w);
}

/* Two roots with 1,500 PTs each, whose entries one call can nearly read. */
static void add_more_tables(struct world *w)
{
	struct tables t;
	__u64 i;
	int n;

	for (n = 0; n < 2; n++) {
		t = world_add_amd64(w);
		for (i = 0; i < 1500; i++)
			tables_map(&t, i * MB(2), GB(1) + (i & ~1ULL) * PAGE,
				   VMEM_LEVEL_PT, PTE_PWU);
	}
}

/* More tables than there can be hints, in as few calls as entries allow. */
static void more_tables_than_hints(void)
{
	struct session_records records = { .per_call = 65536 };
	struct vmem_info_args info;
	struct world w;
	int session;

	world_init(&w, MB(16));
	add_more_tables(&w);
	session = world_open(&w);
	CHECK_EQ(session_info(session, &info), 0);
	close(session);

	world_walk(&w, &records);
	CHECK_EQ(records.stats.known, 2 * (1 + 1 + 3 + 1500));
	CHECK(records.nr_calls <=
	      1 + records.stats.known * 512 / info.out_max_entries);
	printf("# %u calls for %llu tables\n", records.nr_calls,
	       records.stats.known);
	check_expansion(&w, &records);
	free(records.rows);
	world_free(&w);
}

/* ---- Too many tables ---- */

#define FAR_GPA GB(2)

/* A table that a part is shown of counts for each of those parts. */
#define NR_WINDOWS (VMEM_MAX_EXCLUDED + 1)

/* A walk of one root finds it, and its PT in every window. */
#define KNOWN_PER_ROOT (NR_WINDOWS + 1)
#define NR_WHOLE_ROOTS (VMEM_MAX_TABLES / KNOWN_PER_ROOT)
#define KNOWN_LEFT (VMEM_MAX_TABLES % KNOWN_PER_ROOT)

/**
 * struct hostile - a guest with more tables than are kept track of
 * @w: the world
 * @excluded: all but the first page of each window
 * @pts: 512 pages that appear at 4,096 guest-physical addresses
 */
struct hostile {
	struct world w;
	struct vmem_span excluded[VMEM_MAX_EXCLUDED];
	__u8 *pts;
};

#define PTS_LEN MB(2)
#define NR_COPIES 8

/* One in 64 of the PTs maps something, so that the records are fewer. */
static bool maps_something(__u32 root)
{
	return root % 64 == NR_WHOLE_ROOTS % 64;
}

static void map_pts(struct hostile *h)
{
	int fd = (int)must(syscall(SYS_memfd_create, "tables", 0), "memfd");
	__u64 leaf = GB(1) | PTE_PWU;
	void *at;
	__u32 i;

	must(ftruncate(fd, PTS_LEN), "ftruncate");
	h->pts = mmap(NULL, NR_COPIES * PTS_LEN, PROT_NONE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(h->pts == MAP_FAILED ? -1 : 0, "mmap");
	for (i = 0; i < NR_COPIES; i++) {
		at = mmap(h->pts + i * PTS_LEN, PTS_LEN, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_FIXED, fd, 0);
		must(at == MAP_FAILED ? -1 : 0, "mmap");
	}
	close(fd);
	for (i = 0; i < PTS_LEN / PAGE; i++)
		if (maps_something(i))
			memcpy(h->pts + i * PAGE, &leaf, 4);
}

static void hostile_init(struct hostile *h, __u32 nr_roots)
{
	struct tables t;
	__u32 i;

	world_init(&h->w, MB(20));
	map_pts(h);
	world_add_slot(&h->w, 1, FAR_GPA, h->pts, NR_COPIES * PTS_LEN);
	while (h->w.nr < nr_roots) {
		__u64 pt = FAR_GPA + h->w.nr * PAGE;

		t = world_add_i686(&h->w);
		for (i = 0; i < NR_WINDOWS; i++)
			tables_set(&t, PDE(i), VMEM_LEVEL_PD, pt | PTE_PWU);
	}
	for (i = 0; i < VMEM_MAX_EXCLUDED; i++) {
		h->excluded[i].va = PDE(i) + PAGE;
		h->excluded[i].last_va = PDE(i + 1) - 1;
	}
	h->w.spaces.excluded = h->excluded;
	h->w.spaces.nr_excluded = VMEM_MAX_EXCLUDED;
	h->w.spaces.last_va = PDE(NR_WINDOWS - 1) + PAGE - 1;
}

static void hostile_free(struct hostile *h)
{
	munmap(h->pts, NR_COPIES * PTS_LEN);
	world_free(&h->w);
}

/* What a root gives of its first @nr windows. */
static __u32 records_of_root(__u32 root, __u32 nr)
{
	return 1 + (maps_something(root) ? nr : 0);
}

static __u32 records_of_whole_roots(void)
{
	__u32 root, nr = 0;

	for (root = 0; root < NR_WHOLE_ROOTS; root++)
		nr += records_of_root(root, NR_WINDOWS);
	return nr;
}

/* Walks until it fails, or goes on where it should have. */
static int walk_hostile(int session, struct session_records *records,
			__u32 limit)
{
	bool more = true;
	int ret = 0;

	while (!ret && more && records->nr <= limit && records->nr_calls < 5000)
		ret = session_walk_once(session, records, &more);
	return ret;
}

/* The limit is met at a PT: all before it is told, the last page included. */
static void too_many_tables(void)
{
	const __u32 nr_pts = KNOWN_LEFT - 1;
	const __u32 want_nr = records_of_whole_roots() +
			      records_of_root(NR_WHOLE_ROOTS, nr_pts);
	struct session_records records = { .per_call = 4096 };
	static struct hostile h;
	struct vmem_record *last;
	double start = seconds();
	bool more;
	int session;

	hostile_init(&h, NR_WHOLE_ROOTS + 3);
	session = world_open(&h.w);
	CHECK_EQ(walk_hostile(session, &records, want_nr), -ENOSPC);
	CHECK_EQ(session_walk_once(session, &records, &more), -ENOSPC);
	printf("# %llu tables known, %u records, %u calls, %.1f s\n",
	       records.stats.known, records.nr, records.nr_calls,
	       seconds() - start);
	CHECK_EQ(records.stats.known, VMEM_MAX_TABLES);
	CHECK_EQ(records.nr, want_nr);
	last = &records.rows[records.nr - 1];
	CHECK_EQ(last->type, VMEM_THIS_SPACE);
	CHECK_EQ(last->root, NR_WHOLE_ROOTS);
	CHECK_EQ(last->mapping.va, PDE(nr_pts - 1));
	close(session);
	free(records.rows);
	hostile_free(&h);
}

/* The limit is met at a root. */
static void too_many_roots(void)
{
	const __u32 nr_pts = KNOWN_LEFT - 1;
	const __u32 before = records_of_whole_roots() +
			     records_of_root(NR_WHOLE_ROOTS, nr_pts);
	struct session_records records = { .per_call = 4096 };
	static struct hostile h;
	struct tables t = { .ram = &h.w.ram, .entry_size = 4 };
	int session;
	__u32 i;

	hostile_init(&h, NR_WHOLE_ROOTS + 3);
	t.root = h.w.cr3[NR_WHOLE_ROOTS];
	t.top = VMEM_LEVEL_PD;
	t.index_bits = 10;
	for (i = nr_pts; i < NR_WINDOWS; i++)
		tables_set(&t, PDE(i), VMEM_LEVEL_PD, 0);
	session = world_open(&h.w);
	CHECK_EQ(walk_hostile(session, &records, before + 100), -ENOSPC);
	CHECK_EQ(records.stats.known, VMEM_MAX_TABLES);

	/* Whether the root is told of is not said; that it is once, is. */
	CHECK(records.nr >= before);
	CHECK(records.nr <= before + 1);
	close(session);
	free(records.rows);
	hostile_free(&h);
}

/* ---- Threads ---- */

#define NR_THREADS 3

/**
 * struct crowd - threads that walk in one session
 * @session: the session
 * @whole: what one thread alone gets
 * @nr_told: how often each of those was told
 * @nr_busy: calls that found another in it
 * @nr_wrong: calls that gave what is not one piece of the whole
 */
struct crowd {
	int session;
	struct session_records whole;
	int *nr_told;
	int nr_busy;
	int nr_wrong;
};

static void count(int *counter)
{
	__atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

static bool find_piece(struct crowd *crowd, const struct vmem_record *rows,
		       __u32 nr)
{
	const struct session_records *whole = &crowd->whole;
	__u32 at, i;

	for (at = 0; at + nr <= whole->nr; at++)
		if (!memcmp(&whole->rows[at], rows, nr * sizeof(*rows)))
			break;
	if (at + nr > whole->nr)
		return false;
	for (i = 0; i < nr; i++)
		count(&crowd->nr_told[at + i]);
	return true;
}

static void *walk_among_others(void *arg)
{
	struct session_records records = { .per_call = 5 };
	struct crowd *crowd = arg;
	bool more = true;
	int ret;

	while (more) {
		records.nr = 0;
		ret = session_walk_once(crowd->session, &records, &more);
		if (ret == -EBUSY) {
			count(&crowd->nr_busy);
			continue;
		}
		if (ret || !find_piece(crowd, records.rows, records.nr)) {
			count(&crowd->nr_wrong);
			break;
		}
	}
	free(records.rows);
	return NULL;
}

static void threads_walk_at_once(void)
{
	struct crowd crowd = { .whole.per_call = 65536 };
	pthread_t threads[NR_THREADS];
	struct world w;
	__u32 i, nr_off = 0;

	world_init(&w, MB(8));
	add_processes(&w, 300);
	world_walk(&w, &crowd.whole);
	crowd.nr_told = calloc(crowd.whole.nr, sizeof(int));
	crowd.session = world_open(&w);
	for (i = 0; i < NR_THREADS; i++)
		must(pthread_create(&threads[i], NULL, walk_among_others,
				    &crowd) ?
			     -1 :
			     0,
		     "pthread_create");
	for (i = 0; i < NR_THREADS; i++)
		pthread_join(threads[i], NULL);
	for (i = 0; i < crowd.whole.nr; i++)
		nr_off += crowd.nr_told[i] != 1;
	CHECK_EQ(crowd.nr_wrong, 0);
	CHECK_EQ(nr_off, 0);
	printf("# %d calls found the walk busy\n", crowd.nr_busy);
	close(crowd.session);
	free(crowd.nr_told);
	free(crowd.whole.rows);
	world_free(&w);
}

/* ---- A guest that does not hold still ---- */

/* Writes random entries into all tables while @stop is not set. */
struct mess {
	struct world *w;
	int stop;
	__u64 nr;
};

static void *make_a_mess(void *arg)
{
	struct mess *mess = arg;
	__u64 *entries = (__u64 *)mess->w->ram.hva;
	__u64 nr_tables = mess->w->ram.used / PAGE;
	__u64 state = 5, raw, at;

	while (!__atomic_load_n(&mess->stop, __ATOMIC_RELAXED)) {
		at = random_next(&state) % (nr_tables * 512);
		raw = WORLD_GPA + random_next(&state) % nr_tables * PAGE;
		raw |= random_next(&state) & (PTE_PWU | PTE_PS);
		__atomic_store_n(&entries[at], raw, __ATOMIC_RELAXED);
		mess->nr++;
	}
	return NULL;
}

/* What is found is anything; but it ends, and it keeps the rules. */
static void tables_change_meanwhile(void)
{
	struct session_records records = { .per_call = 100 };
	struct world w;
	struct mess mess = { .w = &w };
	pthread_t thread;
	int i;

	world_init(&w, SMALL);
	add_processes(&w, 10);
	w.restless = true;
	must(pthread_create(&thread, NULL, make_a_mess, &mess) ? -1 : 0,
	     "pthread_create");
	for (i = 0; i < 30 && !ktap_reason[0]; i++)
		world_walk(&w, &records);
	__atomic_store_n(&mess.stop, 1, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	printf("# %llu entries written; the last walk: %u records, %llu tables known\n",
	       mess.nr, records.nr, records.stats.known);
	free(records.rows);
	world_free(&w);
}

/* ---- Killed ---- */

static void map_for_ever(void *arg)
{
	static struct vmem_mapping rows[65536];
	const struct world *w = arg;
	struct session_maps maps = {
		.rows = rows,
		.room = ARRAY_SIZE(rows),
		.per_call = ARRAY_SIZE(rows),
	};
	struct vmem_regs regs = w->spaces.regs;
	int session = world_open(w);

	regs.cr3 = w->cr3[0];
	for (;;)
		session_map_range(session, &regs, 0, ~0ULL, &maps);
}

static void walk_for_ever(void *arg)
{
	const struct world *w = arg;
	struct session_records records = { .per_call = 65536 };
	int session;

	for (;;) {
		session = world_open(w);
		session_walk_spaces(session, &records);
		close(session);
	}
}

static void killed_in_map_range(void)
{
	struct tables a;
	struct world w;

	world_init(&w, SMALL);
	a = world_add_amd64(&w);
	fill_with_itself(&a);
	kill_callers("VMEM_MAP_RANGE", map_for_ever, &w);
	world_free(&w);
}

static void killed_in_walk_spaces(void)
{
	struct world w;

	world_init(&w, MB(20));
	add_processes(&w, 1000);
	kill_callers("VMEM_WALK_SPACES", walk_for_ever, &w);
	world_free(&w);
}

/* ---- What is left ---- */

/* Every third one is closed with the walk in its middle. */
static void rounds(const struct world *w, int nr)
{
	struct session_records records = { .rows = NULL };
	bool more;
	int session;

	while (nr--) {
		records.nr = 0;
		records.per_call = nr % 3 ? 8192 : 100;
		session = world_open(w);
		if (nr % 3)
			CHECK_EQ(session_walk_spaces(session, &records), 0);
		else
			CHECK_EQ(session_walk_once(session, &records, &more),
				 0);
		close(session);
	}
	free(records.rows);
}

/*
 * One round keeps 16 MiB / 512 of what it has seen, and more of its roots: 200
 * that leak any of it are over the tolerance.
 */
#define TOLERANCE_KB 1024

static void memory_is_given_back(void)
{
	long before, after;
	struct world w;

	world_init(&w, MB(8));
	add_processes(&w, 300);
	rounds(&w, 30);
	before = kernel_memory();
	rounds(&w, 200);
	after = kernel_memory();
	printf("# 200 rounds: %ld kB before, %ld kB after, tolerance %d\n",
	       before, after, TOLERANCE_KB);
	CHECK(after - before < TOLERANCE_KB);
	world_free(&w);
}

static long long lost_at_start;

static void no_pages_lost(void)
{
	CHECK_EQ(pages_lost(), lost_at_start);
}

static const struct ktap_case cases[] = {
	{ "i686_pt_at_the_same_address", i686_pt_at_the_same_address },
	{ "i686_pt_at_another_address", i686_pt_at_another_address },
	{ "i686_reference_among_mappings", i686_reference_among_mappings },
	{ "i686_three_sharers", i686_three_sharers },
	{ "i686_one_pt_twice_in_a_space", i686_one_pt_twice_in_a_space },
	{ "i686_root_given_twice", i686_root_given_twice },
	{ "i686_range_of_three_pages", i686_range_of_three_pages },
	{ "i686_range_inside_pages", i686_range_inside_pages },
	{ "i686_excluded", i686_excluded },
	{ "all_excluded", all_excluded },
	{ "unbacked_root_among_others", unbacked_root_among_others },
	{ "tables_that_lead_nowhere", tables_that_lead_nowhere },
	{ "amd64_pt_shared", amd64_pt_shared },
	{ "amd64_pd_shared", amd64_pd_shared },
	{ "amd64_pdpt_shared", amd64_pdpt_shared },
	{ "la57_tables_shared", la57_tables_shared },
	{ "pae_tables_shared", pae_tables_shared },
	{ "pae_roots_in_one_page", pae_roots_in_one_page },
	{ "amd64_shared_inside_shared", amd64_shared_inside_shared },
	{ "amd64_last_page_of_all", amd64_last_page_of_all },
	{ "rights_of_both_paths", rights_of_both_paths },
	{ "translation_names_the_owner", translation_names_the_owner },
	{ "translation_by_a_dead_root", translation_by_a_dead_root },
	{ "translation_before_the_end", translation_before_the_end },
	{ "roots_permuted", roots_permuted },
	{ "i686_self_map", i686_self_map },
	{ "amd64_all_slots_are_itself", amd64_all_slots_are_itself },
	{ "amd64_one_self_map", amd64_one_self_map },
	{ "i686_random_graphs", i686_random_graphs },
	{ "pae_random_graphs", pae_random_graphs },
	{ "amd64_random_graphs", amd64_random_graphs },
	{ "la57_random_graphs", la57_random_graphs },
	{ "roots_1000", roots_1000 },
	{ "roots_of_max_nr", roots_of_max_nr },
	{ "resumed_by_any_buffer", resumed_by_any_buffer },
	{ "nothing_after_the_end", nothing_after_the_end },
	{ "more_tables_than_hints", more_tables_than_hints },
	{ "too_many_tables", too_many_tables },
	{ "too_many_roots", too_many_roots },
	{ "threads_walk_at_once", threads_walk_at_once },
	{ "tables_change_meanwhile", tables_change_meanwhile },
	{ "killed_in_map_range", killed_in_map_range },
	{ "killed_in_walk_spaces", killed_in_walk_spaces },
	{ "memory_is_given_back", memory_is_given_back },
	{ "no_pages_lost", no_pages_lost },
};

int main(void)
{
	lost_at_start = pages_lost_before();
	return ktap_main(cases, ARRAY_SIZE(cases));
}
