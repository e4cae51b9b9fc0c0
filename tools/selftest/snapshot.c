// SPDX-License-Identifier: GPL-2.0-only
/*
 * snapshot.c - snapshots of live VMs by libvmem, on tables made by hand
 *
 * The tables of a snapshot as such are tested in KUnit. This program tests what
 * takes a VM: memory that cannot be read, devices, a guest that changes, limits.
 * vmem reads the snapshots in turn: check_copy().
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <sys/mman.h>

#include "copy.h"
#include "ktap.h"
#include "world.h"

#define SMALL MB(4)
#define BASE GB(2)
#define KERNEL_VA 0xffff888000000000ULL

/* What a PDE of an i686 guest maps. */
#define PDE(n) (MB(4) * (__u64)(n))

/**
 * struct shot - a snapshot, and what the library says of it
 * @flags: LIBVMEM_SNAPSHOT_*
 * @progress: as for libvmem_snapshot(), or NULL
 * @priv: passed to it
 * @copy: its memory
 * @made: its numbers
 * @error: the failure
 */
struct shot {
	unsigned int flags;
	int (*progress)(__u64 done, __u64 todo, void *priv);
	void *priv;
	struct copy copy;
	struct libvmem_snapshot made;
	struct libvmem_error error;
};

static int make(const struct world *w, struct shot *s, int fd)
{
	static struct libvmem_roots roots;
	const struct libvmem_scope scope = { .last_va = ~0ULL };
	const struct libvmem_snapshot_args args = {
		.roots = &roots,
		.scope = &scope,
		.base = BASE,
		.flags = s->flags,
		.progress = s->progress,
		.priv = s->priv,
	};

	roots.regs = w->spaces.regs;
	roots.regs.cr3 = w->cr3[0];
	roots.nr = w->nr;
	memcpy(roots.cr3s, w->cr3, w->nr * sizeof(*w->cr3));
	return copy_make(w->vm_fd, &args, fd, &s->made, &s->error);
}

/* The file and what the library says of it agree. */
static void check_extents(const struct shot *s)
{
	__u32 i;

	CHECK_EQ(s->copy.nr, s->made.nr_extents);
	for (i = 0; i < s->copy.nr; i++) {
		CHECK_EQ(s->copy.rams[i].gpa, s->made.extents[i].gpa);
		CHECK_EQ(s->copy.rams[i].len, s->made.extents[i].len);
	}
	CHECK_EQ(s->copy.rams[0].gpa, BASE);
}

/* A snapshot with its memory. Ends the program where there is none. */
static void take(const struct world *w, struct shot *s)
{
	int fd = copy_file();

	errno = ENODATA;
	must(make(w, s, fd) ? -1 : 0, "snapshot");
	s->copy = copy_load(fd);
	close(fd);
	check_extents(s);
}

/* A snapshot that fails, or that @progress ends. */
static int try(const struct world *w, struct shot *s)
{
	int fd = copy_file();
	int ret = make(w, s, fd);

	close(fd);
	return ret;
}

/* The copy's spaces are the world's. Returns the number of pages they map. */
static __u64 check_copy(const struct world *w, const struct copy *copy)
{
	static __u64 cr3[WORLD_MAX];
	struct view old = {
		.session = world_open(w),
		.regs = w->spaces.regs,
		.cr3 = w->cr3,
		.nr = w->nr,
		.last_va = ~0ULL,
	};
	struct view new = old;
	__u64 nr;
	__u32 i;

	for (i = 0; i < w->nr; i++)
		cr3[i] = BASE + i * PAGE;
	new.session = copy_open(copy);
	new.cr3 = cr3;
	nr = check_same_but_for_names(&old, &new);
	close(old.session);
	close(new.session);
	return nr;
}

static void check_made(const struct libvmem_snapshot *made, __u64 tables,
		       __u64 leaves, __u64 links)
{
	CHECK_EQ(made->tables, tables);
	CHECK_EQ(made->leaves, leaves);
	CHECK_EQ(made->links, links);
	CHECK_EQ(made->empty_links, 0);
	CHECK_EQ(made->dropped, 0);
	CHECK_EQ(made->unreadable, 0);
}

/* Pages with memory behind them, each with contents of its own. */
static __u64 map_own(struct world *w, struct tables *t, __u64 va, __u64 nr)
{
	__u64 gpa = ram_alloc(&w->ram, nr * PAGE), i;

	for (i = 0; i < nr; i++) {
		memset(ram_ptr(&w->ram, gpa + i * PAGE), (int)(gpa / PAGE + i),
		       PAGE);
		/* Backwards, so that no page is contiguous with the next. */
		tables_map(t, va + (nr - 1 - i) * PAGE, gpa + i * PAGE,
			   VMEM_LEVEL_PT, PTE_PWU);
	}
	return gpa;
}

/* ---- Contents ---- */

static void two_spaces_in(const struct tables_format *format)
{
	struct tables a, b, na, nb;
	struct shot s = { .flags = 0 };
	struct world w;
	__u64 tables;

	world_init(&w, SMALL);
	a = world_add(&w, format);
	b = world_add(&w, format);
	map_own(&w, &a, PDE(1), 3);
	world_share(&b, PDE(9), &a, PDE(1), VMEM_LEVEL_PT, PTE_P | PTE_U);
	map_own(&w, &b, PDE(2), 2);
	take(&w, &s);
	/* For each level above PTs one table each; the shared table, and B's own. */
	tables = 2 * (__u64)(a.top - 1) + 2;
	check_made(&s.made, tables, 5, 1);
	CHECK_EQ(s.made.nr_extents, 1);
	CHECK_EQ(s.made.guest_size, SMALL);
	CHECK_EQ(copy_len(&s.copy), (tables + 5) * PAGE);
	CHECK_EQ(check_copy(&w, &s.copy), 8);
	na = copy_tables(&s.copy, &a, 0);
	nb = copy_tables(&s.copy, &b, 1);
	CHECK_EQ(world_table(&na, PDE(1), VMEM_LEVEL_PT),
		 world_table(&nb, PDE(9), VMEM_LEVEL_PT));
	CHECK_EQ(tables_walk(&nb, PDE(9)).out_perms,
		 VMEM_USER | VMEM_EXECUTABLE);
	copy_free(&s.copy);
	world_free(&w);
}

static void two_spaces(void)
{
	int format;

	for (format = 0; format < NR_FORMATS; format++)
		two_spaces_in(&formats[format]);
}

/* Two large pages, a page of one of them, and three small ones. */
static void large_pages_in(const struct tables_format *format)
{
	struct shot s = { .flags = 0 };
	struct guest_ram more = ram_new(GB(1), MB(16));
	struct tables a, na;
	struct world w;
	__u64 size, i;

	world_init(&w, SMALL);
	world_add_slot(&w, 1, more.gpa, more.hva, more.len);
	a = world_add(&w, format);
	size = tables_page_size(&a, VMEM_LEVEL_PD);
	map_own(&w, &a, PDE(1), 3);
	for (i = 0; i < more.len / PAGE; i += 3)
		memset(more.hva + i * PAGE, (int)i + 1, PAGE);
	tables_map(&a, PDE(3), more.gpa + size, VMEM_LEVEL_PD, PTE_PWU);
	tables_map(&a, PDE(4), more.gpa + 3 * size, VMEM_LEVEL_PD, PTE_P);
	tables_map(&a, PDE(5), more.gpa + 2 * size - PAGE, VMEM_LEVEL_PT,
		   PTE_PWU);
	take(&w, &s);
	CHECK_EQ(s.made.nr_extents, 2);
	CHECK_EQ(s.made.extents[1].len, 2 * size);
	na = copy_tables(&s.copy, &a, 0);
	CHECK_EQ(tables_walk(&na, PDE(3)).out_page_size, size);
	CHECK_EQ(tables_walk(&na, PDE(3)).out_gpa & (size - 1), 0);
	CHECK_EQ(tables_walk(&na, PDE(4)).out_gpa & (size - 1), 0);
	CHECK_EQ(check_copy(&w, &s.copy), 3 + 2 * (size / PAGE) + 1);
	copy_free(&s.copy);
	world_free(&w);
	ram_free(&more);
}

static void large_pages(void)
{
	int format;

	for (format = 0; format < NR_FORMATS; format++)
		large_pages_in(&formats[format]);
}

/* Each has a page of its own in the copy. */
static void pae_roots_in_one_page(void)
{
	struct shot s = { .flags = 0 };
	struct tables a;
	struct world w;
	__u64 i;

	world_init(&w, SMALL);
	a = world_add(&w, &formats[FORMAT_PAE]);
	map_own(&w, &a, GB(3), 2);
	for (i = 1; i < PAGE / 32; i++) {
		a.root += 32;
		world_add_root(&w, &a);
		map_own(&w, &a, GB(1), 1);
	}
	take(&w, &s);
	check_made(&s.made, 3 * PAGE / 32, 2 + PAGE / 32 - 1, 0);
	CHECK_EQ(check_copy(&w, &s.copy), 2 + PAGE / 32 - 1);
	copy_free(&s.copy);
	world_free(&w);
}

/* What the copy has is plain, and so are its entries. */
static void encrypted(void)
{
	const __u64 c = BIT_ULL(47);
	struct shot s = { .flags = 0 };
	struct vmem_translation tr;
	struct tables a, na;
	struct world w;
	__u64 gpa;
	__u32 i;

	world_init(&w, SMALL);
	a = world_add_amd64(&w);
	gpa = map_own(&w, &a, 0, 1);
	tables_map(&a, 0, gpa, VMEM_LEVEL_PT, PTE_PWU | c);
	w.spaces.regs.rules = VMEM_RULES_ENCRYPTION_BIT(47);
	take(&w, &s);
	na = copy_tables(&s.copy, &a, 0);
	tr = tables_walk(&na, 0);
	CHECK_EQ(tr.out_status, VMEM_MAPPED);
	for (i = 0; i < tr.out_nr_trace; i++)
		CHECK_EQ(tr.out_trace[i].raw & c, 0);
	CHECK_EQ(memcmp(copy_ptr(&s.copy, tr.out_gpa), ram_ptr(&w.ram, gpa),
			PAGE),
		 0);
	copy_free(&s.copy);
	world_free(&w);
}

static void copy_on_write(void)
{
	struct shot s = { .flags = LIBVMEM_SNAPSHOT_COW };
	struct tables a, na;
	struct world w;

	world_init(&w, SMALL);
	a = world_add_amd64(&w);
	map_own(&w, &a, 0, 1);
	tables_map(&a, PAGE, tables_walk(&a, 0).out_gpa, VMEM_LEVEL_PT,
		   PTE_P | PTE_U);
	CHECK_EQ(try(&w, &s), -LIBVMEM_BAD_ARGUMENT);
	w.spaces.regs.cow_mask = 0xe00;
	w.spaces.regs.cow_value = 0x200;
	take(&w, &s);
	na = copy_tables(&s.copy, &a, 0);
	CHECK_EQ(tables_walk(&na, 0).out_trace[3].raw & 0xfff,
		 PTE_P | PTE_U | 0x200);
	CHECK_EQ(tables_walk(&na, PAGE).out_trace[3].raw & 0xfff,
		 PTE_P | PTE_U);
	copy_free(&s.copy);
	world_free(&w);
}

/* Not one bit of the guest's memory changes. */
static void guest_stays_as_it_was(void)
{
	struct shot s = { .flags = 0 };
	struct tables a, b;
	struct world w;
	void *before;

	world_init(&w, SMALL);
	a = world_add_amd64(&w);
	b = world_add_amd64(&w);
	map_own(&w, &a, 0, 300);
	world_share(&b, GB(5), &a, 0, VMEM_LEVEL_PD, PTE_PWU);
	before = malloc(w.ram.used);
	must(before ? 0 : -1, "malloc");
	memcpy(before, w.ram.hva, w.ram.used);
	take(&w, &s);
	CHECK_EQ(memcmp(before, w.ram.hva, w.ram.used), 0);
	free(before);
	copy_free(&s.copy);
	world_free(&w);
}

/* ---- Devices ---- */

#define DEVICE_GPA GB(1)

/* Mappings of no slot, and of a slot over [vvar], stay where they were. */
static void devices_stay(void)
{
	struct shot s = { .flags = LIBVMEM_SNAPSHOT_STRICT };
	struct tables a, na;
	struct world w;

	world_init(&w, SMALL);
	a = world_add_amd64(&w);
	map_own(&w, &a, 0, 2);
	world_add_slot(&w, 1, DEVICE_GPA, device_page(), PAGE);
	tables_map(&a, GB(1), DEVICE_GPA, VMEM_LEVEL_PT, PTE_PWU);
	tables_map(&a, GB(2), DEVICE_GPA + MB(2), VMEM_LEVEL_PD, PTE_PWU);
	take(&w, &s);
	CHECK_EQ(s.made.leaves, 4);
	CHECK_EQ(s.made.unreadable, 0);
	CHECK_EQ(copy_len(&s.copy), (s.made.tables + 2) * PAGE);
	na = copy_tables(&s.copy, &a, 0);
	CHECK_EQ(tables_walk(&na, GB(1)).out_gpa, DEVICE_GPA);
	CHECK_EQ(tables_walk(&na, GB(2)).out_gpa, DEVICE_GPA + MB(2));
	CHECK_EQ(check_copy(&w, &s.copy), 2 + 1 + 512);
	copy_free(&s.copy);
	world_free(&w);
}

static void entries_that_lead_nowhere(void)
{
	struct shot s = { .flags = 0 };
	struct tables a, nowhere, na;
	struct world w;

	world_init(&w, SMALL);
	a = world_add_amd64(&w);
	nowhere = a;
	nowhere.root = GB(40);
	world_add_root(&w, &nowhere);
	map_own(&w, &a, 0, 2);
	tables_set(&a, MB(2), VMEM_LEVEL_PD, GB(40) | PTE_PWU);
	tables_set(&a, 5 * PAGE, VMEM_LEVEL_PT, GB(1) | BIT_ULL(45) | PTE_PWU);
	/* A table that maps nothing is left out, and so is a link to it. */
	tables_set(&a, GB(3), VMEM_LEVEL_PT, 0);
	world_share(&a, GB(4), &a, GB(3), VMEM_LEVEL_PD, PTE_PWU);
	take(&w, &s);
	CHECK_EQ(s.made.tables, 4 + 1);
	CHECK_EQ(s.made.empty_links, 1);
	CHECK_EQ(s.made.dropped, 3);
	CHECK_EQ(s.made.unreadable, 0);
	CHECK_EQ(check_copy(&w, &s.copy), 2);
	na = copy_tables(&s.copy, &a, 0);
	CHECK_EQ(tables_walk(&na, GB(4)).out_level, VMEM_LEVEL_PDPT);
	copy_free(&s.copy);
	world_free(&w);
}

/* ---- Memory that cannot be read ---- */

typedef void hide_fn(void *hva, __u64 len);

static void hide_by_protection(void *hva, __u64 len)
{
	must(mprotect(hva, len, PROT_NONE), "mprotect");
}

static void hide_by_unmapping(void *hva, __u64 len)
{
	must(munmap(hva, len), "munmap");
}

static void hide_by_truncation(void *hva, __u64 len)
{
	int fd = copy_file();
	void *p;

	must(ftruncate(fd, (off_t)len), "ftruncate");
	p = mmap(hva, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
		 0);
	must(p == MAP_FAILED ? -1 : 0, "mmap");
	memset(hva, POISON, len);
	must(ftruncate(fd, 0), "ftruncate");
	close(fd);
}

/* Where the pages of struct dark are mapped. */
#define DARK_VA PDE(16)
#define LIGHT_VA (DARK_VA + PAGE)
#define DARK_TABLE_VA PDE(32)
#define PART_VA PDE(64)
#define WHOLE_VA PDE(128)

/* The page of the large page at PART_VA that is hidden. */
#define PART_AT (5 * PAGE)

/**
 * struct dark - a guest with memory to hide
 * @w: the guest
 * @t: its only space
 * @ram: a slot of three large pages. The first one has two small pages; one of
 *	them is hidden, and a link to a table leads there as well. Of the second
 *	one, a page is hidden. The third one is hidden as a whole.
 * @size: size of a large page in bytes
 */
struct dark {
	struct world w;
	struct tables t;
	struct guest_ram ram;
	__u64 size;
};

static void dark_init(struct dark *d, const struct tables_format *format)
{
	__u64 i;

	world_init(&d->w, SMALL);
	d->t = world_add(&d->w, format);
	d->size = tables_page_size(&d->t, VMEM_LEVEL_PD);
	d->ram = ram_new(GB(1), 3 * d->size);
	world_add_slot(&d->w, 1, d->ram.gpa, d->ram.hva, d->ram.len);
	/* No byte is zero, and bit 0 is clear, so no entry is present. */
	for (i = 0; i < d->ram.len / PAGE; i++)
		memset(d->ram.hva + i * PAGE, (int)(i % 127 + 1) * 2, PAGE);
	map_own(&d->w, &d->t, PDE(1), 3);
	tables_map(&d->t, DARK_VA, d->ram.gpa, VMEM_LEVEL_PT, PTE_PWU);
	tables_map(&d->t, LIGHT_VA, d->ram.gpa + PAGE, VMEM_LEVEL_PT, PTE_PWU);
	tables_set(&d->t, DARK_TABLE_VA, VMEM_LEVEL_PD, d->ram.gpa | PTE_PWU);
	tables_map(&d->t, PART_VA, d->ram.gpa + d->size, VMEM_LEVEL_PD,
		   PTE_PWU);
	tables_map(&d->t, WHOLE_VA, d->ram.gpa + 2 * d->size, VMEM_LEVEL_PD,
		   PTE_PWU);
}

static void dark_hide(const struct dark *d, hide_fn *hide)
{
	hide(d->ram.hva, PAGE);
	hide(d->ram.hva + d->size + PART_AT, PAGE);
	hide(d->ram.hva + 2 * d->size, d->size);
}

static void dark_free(struct dark *d)
{
	world_free(&d->w);
	ram_free(&d->ram);
}

/* The copy maps the guest's page at @va, and has its contents. */
static void check_page(const struct dark *d, struct shot *s, __u64 va,
		       const void *old)
{
	struct tables t = copy_tables(&s->copy, &d->t, 0);
	struct vmem_translation tr = tables_walk(&t, va);
	const void *new = copy_ptr(&s->copy, tr.out_gpa);
	char at[24];

	snprintf(at, sizeof(at), "%#llx", va);
	if (CHECK_EQ_AT(at, tr.out_status, VMEM_MAPPED) && CHECK(new))
		CHECK_EQ_AT(at, memcmp(new, old, PAGE), 0);
}

/* What can be read is in the copy, and nothing else: no zeros. */
static void check_dark(const struct dark *d, struct shot *s)
{
	const __u64 pages = d->size / PAGE;
	struct tables t = copy_tables(&s->copy, &d->t, 0);
	__u64 i;

	/* The page, the table, the page of the large one, the large one. */
	CHECK_EQ(s->made.unreadable, 1 + 1 + 1 + pages);
	CHECK_EQ(s->made.leaves, 3 + 1 + pages - 1);
	CHECK_EQ(copy_len(&s->copy),
		 (s->made.tables + 3 + 1 + pages - 1) * PAGE);
	CHECK_EQ(tables_walk(&t, DARK_VA).out_status, VMEM_NOT_PRESENT);
	CHECK_EQ(tables_walk(&t, DARK_TABLE_VA).out_status, VMEM_NOT_PRESENT);
	CHECK_EQ(tables_walk(&t, DARK_TABLE_VA).out_level, VMEM_LEVEL_PD);
	CHECK_EQ(tables_walk(&t, WHOLE_VA).out_status, VMEM_NOT_PRESENT);
	CHECK_EQ(tables_walk(&t, PART_VA + PART_AT).out_status,
		 VMEM_NOT_PRESENT);
	check_page(d, s, LIGHT_VA, d->ram.hva + PAGE);
	for (i = 0; i < pages; i++)
		if (i * PAGE != PART_AT)
			check_page(d, s, PART_VA + i * PAGE,
				   d->ram.hva + d->size + i * PAGE);
}

static void try_hidden_in(const struct tables_format *format, hide_fn *hide)
{
	struct shot s = { .flags = LIBVMEM_SNAPSHOT_STRICT };
	struct dark d;

	dark_init(&d, format);
	CHECK_EQ(try(&d.w, &s), 0);
	dark_hide(&d, hide);
	CHECK_EQ(try(&d.w, &s), -LIBVMEM_UNREADABLE);
	CHECK_EQ(s.error.address, DARK_VA);
	s.flags = 0;
	take(&d.w, &s);
	check_dark(&d, &s);
	copy_free(&s.copy);
	dark_free(&d);
}

static void try_hidden(hide_fn *hide)
{
	int format;

	for (format = 0; format < NR_FORMATS; format++)
		try_hidden_in(&formats[format], hide);
}

static void not_readable(void)
{
	try_hidden(hide_by_protection);
}

static void unmapped(void)
{
	try_hidden(hide_by_unmapping);
}

static void truncated(void)
{
	try_hidden(hide_by_truncation);
}

/* A root that cannot be read is a space that maps nothing. */
static void root_not_readable(void)
{
	struct guest_ram more = ram_new(GB(1), MB(2));
	struct shot s = { .flags = 0 };
	struct tables a, b;
	struct world w;

	world_init(&w, SMALL);
	world_add_slot(&w, 1, more.gpa, more.hva, more.len);
	a = world_add_amd64(&w);
	map_own(&w, &a, 0, 2);
	b = tables_new_amd64(&more);
	world_add_root(&w, &b);
	tables_map(&b, 0, w.ram.gpa, VMEM_LEVEL_PT, PTE_PWU);
	hide_by_protection(ram_ptr(&more, b.root), PAGE);
	take(&w, &s);
	CHECK_EQ(s.made.unreadable, 1);
	CHECK_EQ(s.made.tables, 4 + 1);
	CHECK_EQ(check_copy(&w, &s.copy), 2);
	copy_free(&s.copy);
	s.flags = LIBVMEM_SNAPSHOT_STRICT;
	CHECK_EQ(try(&w, &s), -LIBVMEM_UNREADABLE);
	world_free(&w);
	ram_free(&more);
}

/**
 * struct late - memory that is hidden between the tables and the copying
 * @d: the guest
 * @hide: how; NULL to remove the memory slot
 */
struct late {
	struct dark d;
	hide_fn *hide;
};

static int hide_now(__u64 done, __u64 todo, void *priv)
{
	struct late *l = priv;
	struct dark *d = &l->d;

	(void)done;
	if (todo)
		return 0;
	if (l->hide)
		dark_hide(d, l->hide);
	else
		world_add_slot(&d->w, 1, d->ram.gpa, d->ram.hva, 0);
	return 0;
}

/* Its pages have their places by then, where zeros would be. */
static void hidden_meanwhile(void)
{
	static hide_fn *const hides[] = {
		hide_by_protection,
		hide_by_unmapping,
		hide_by_truncation,
		NULL,
	};
	static struct late l;
	struct shot s = { .progress = hide_now, .priv = &l };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(hides); i++) {
		dark_init(&l.d, &formats[FORMAT_AMD64]);
		l.hide = hides[i];
		if (CHECK_EQ(try(&l.d.w, &s), -LIBVMEM_UNREADABLE))
			CHECK_EQ(strcmp(s.error.where, "copy"), 0);
		dark_free(&l.d);
	}
}

/* ---- A guest that runs ---- */

/**
 * struct writer - a thread that changes a table
 * @word: an entry that stays absent
 * @stop: it is to end
 */
struct writer {
	__u32 *word;
	int stop;
};

static void *write_for_ever(void *arg)
{
	struct writer *writer = arg;
	__u32 n;

	for (n = 0; !__atomic_load_n(&writer->stop, __ATOMIC_RELAXED); n += 2)
		__atomic_store_n(writer->word, n, __ATOMIC_RELAXED);
	return NULL;
}

/* Where little else gets to run, it takes a while until one is caught writing. */
#define SECONDS_TO_SEE 60

static void guest_runs(void)
{
	struct shot s = { .flags = 0 };
	struct writer writer = { .stop = 0 };
	pthread_t thread;
	struct tables a;
	struct world w;
	double end;
	int ret = 0;

	world_init(&w, SMALL);
	a = world_add_i686(&w);
	map_own(&w, &a, PDE(1), 3);
	writer.word = ram_ptr(&w.ram, a.root);
	errno = pthread_create(&thread, NULL, write_for_ever, &writer);
	must(errno ? -1 : 0, "pthread_create");
	for (end = seconds() + SECONDS_TO_SEE; !ret && seconds() < end;)
		ret = try(&w, &s);
	CHECK_EQ(ret, -LIBVMEM_GUEST_RUNS);
	__atomic_store_n(&writer.stop, 1, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	CHECK_EQ(try(&w, &s), 0);
	world_free(&w);
}

/* ---- Size ---- */

#define NR_PTS 900

/* Two roots with 900 PTs each, every fifth of them shared. */
static void add_many_tables(struct world *w)
{
	struct tables a = world_add_i686(w), b = world_add_i686(w);
	__u64 gpa = ram_alloc(&w->ram, 64 * PAGE), i;

	for (i = 0; i < 64; i++)
		memset(ram_ptr(&w->ram, gpa + i * PAGE), (int)i + 1, PAGE);
	for (i = 0; i < NR_PTS; i++) {
		tables_map(&a, PDE(i), gpa + i % 64 * PAGE, VMEM_LEVEL_PT,
			   PTE_PWU);
		if (i % 5)
			tables_map(&b, PDE(i) + PAGE, gpa + i % 63 * PAGE,
				   VMEM_LEVEL_PT, PTE_PWU);
		else
			world_share(&b, PDE(i), &a, PDE(i), VMEM_LEVEL_PT,
				    PTE_PWU);
	}
}

/* What a snapshot of it has. */
#define MANY_TABLES (2 + NR_PTS + NR_PTS / 5 * 4)

/**
 * struct steps - calls of @progress
 * @tables: calls while tables were rebuilt
 * @bytes: calls while memory was copied
 * @end: @bytes at which to end the snapshot, 0 for none
 */
struct steps {
	int tables;
	int bytes;
	int end;
};

static int count_steps(__u64 done, __u64 todo, void *priv)
{
	struct steps *steps = priv;

	CHECK(!todo || done <= todo);
	if (todo)
		steps->bytes++;
	else
		steps->tables++;
	return steps->end && steps->bytes == steps->end ? 77 : 0;
}

static void more_tables_than_hints(void)
{
	struct steps steps = { .tables = 0 };
	struct shot s = { .progress = count_steps, .priv = &steps };
	struct world w;

	world_init(&w, MB(16));
	add_many_tables(&w);
	take(&w, &s);
	check_made(&s.made, MANY_TABLES, NR_PTS + NR_PTS / 5 * 4, NR_PTS / 5);
	CHECK_EQ(copy_len(&s.copy), (MANY_TABLES + 64) * PAGE);
	CHECK_EQ(check_copy(&w, &s.copy), 2 * NR_PTS);
	copy_free(&s.copy);
	/* The tables take more than one call of the core, the memory 7 MiB. */
	CHECK(steps.tables > 1);
	CHECK(steps.bytes > 1);
	steps = (struct steps){ .end = 2 };
	CHECK_EQ(try(&w, &s), 77);
	CHECK_EQ(steps.bytes, 2);
	world_free(&w);
}

#define NR_PROCESSES 1000

/* As an operating system has them: one kernel, many processes. */
static void add_processes(struct world *w)
{
	struct tables kernel = world_add_amd64(w), t;
	__u64 i;

	for (i = 0; i < 8; i++)
		map_own(w, &kernel, KERNEL_VA + i * MB(2), 10);
	while (w->nr < NR_PROCESSES) {
		t = world_add_amd64(w);
		world_share(&t, KERNEL_VA, &kernel, KERNEL_VA, VMEM_LEVEL_PDPT,
			    PTE_PWU);
		map_own(w, &t, w->nr * MB(2), 2);
	}
}

static void many_processes(void)
{
	const __u64 tables = 1 + 2 + 8 + 4ULL * (NR_PROCESSES - 1);
	const __u64 leaves = 80 + 2ULL * (NR_PROCESSES - 1);
	struct shot s = { .flags = 0 };
	struct world w;
	double start;

	world_init(&w, MB(40));
	add_processes(&w);
	start = seconds();
	take(&w, &s);
	printf("# %d roots: %llu tables, %llu read, %llu KiB, %.3f s\n",
	       NR_PROCESSES, s.made.tables, s.made.tables_read,
	       copy_len(&s.copy) >> 10, seconds() - start);
	check_made(&s.made, tables, leaves, NR_PROCESSES - 1);
	CHECK_EQ(copy_len(&s.copy), (tables + leaves) * PAGE);
	CHECK_EQ(check_copy(&w, &s.copy), 82ULL * (NR_PROCESSES - 1) + 80);
	copy_free(&s.copy);
	world_free(&w);
}

/* ---- The VM, and the end ---- */

static void descriptor_of_no_vm(void)
{
	struct libvmem_error error;
	struct libvmem *vm;
	struct world w;

	world_init(&w, SMALL);
	CHECK_EQ(libvmem_open_vm(&vm, w.kvm_fd, &error), -LIBVMEM_NO_VM);
	CHECK(!vm);
	CHECK_EQ(libvmem_open_vm(&vm, -1, &error), -LIBVMEM_NO_VM);
	CHECK(!vm);
	world_free(&w);
}

static void snapshot_for_ever(void *arg)
{
	struct shot s = { .flags = 0 };

	for (;;)
		try(arg, &s);
}

static void killed(void)
{
	struct world w;

	world_init(&w, MB(40));
	add_processes(&w);
	kill_callers("libvmem_snapshot", snapshot_for_ever, &w);
	world_free(&w);
}

static long long lost_at_start;

static void no_pages_lost(void)
{
	CHECK_EQ(pages_lost(), lost_at_start);
}

static const struct ktap_case cases[] = {
	{ "two_spaces", two_spaces },
	{ "large_pages", large_pages },
	{ "pae_roots_in_one_page", pae_roots_in_one_page },
	{ "encrypted", encrypted },
	{ "copy_on_write", copy_on_write },
	{ "guest_stays_as_it_was", guest_stays_as_it_was },
	{ "devices_stay", devices_stay },
	{ "entries_that_lead_nowhere", entries_that_lead_nowhere },
	{ "not_readable", not_readable },
	{ "unmapped", unmapped },
	{ "truncated", truncated },
	{ "root_not_readable", root_not_readable },
	{ "hidden_meanwhile", hidden_meanwhile },
	{ "guest_runs", guest_runs },
	{ "more_tables_than_hints", more_tables_than_hints },
	{ "many_processes", many_processes },
	{ "descriptor_of_no_vm", descriptor_of_no_vm },
	{ "killed", killed },
	{ "no_pages_lost", no_pages_lost },
};

int main(void)
{
	lost_at_start = pages_lost_before();
	return ktap_main(cases, ARRAY_SIZE(cases));
}
