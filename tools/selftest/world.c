// SPDX-License-Identifier: GPL-2.0-only
/*
 * world.c - a VM whose memory holds many address spaces that share tables
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <time.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <linux/kvm.h>

#include "file.h"
#include "ktap.h"
#include "world.h"

void world_init(struct world *w, __u64 ram_len)
{
	w->kvm_fd = (int)must(open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
	w->vm_fd =
		(int)must(ioctl(w->kvm_fd, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
	w->ram = ram_new(WORLD_GPA, ram_len);
	world_add_slot(w, 0, w->ram.gpa, w->ram.hva, w->ram.len);
	w->nr = 0;
	w->spaces = (struct session_spaces){ .cr3 = w->cr3, .last_va = ~0ULL };
	w->restless = false;
}

void world_free(struct world *w)
{
	close(w->vm_fd);
	close(w->kvm_fd);
	ram_free(&w->ram);
}

void world_add_slot(struct world *w, __u32 id, __u64 gpa, void *hva, __u64 len)
{
	struct kvm_userspace_memory_region region = {
		.slot = id,
		.guest_phys_addr = gpa,
		.memory_size = len,
		.userspace_addr = (uintptr_t)hva,
	};

	must(ioctl(w->vm_fd, KVM_SET_USER_MEMORY_REGION, &region),
	     "KVM_SET_USER_MEMORY_REGION");
}

void world_add_root(struct world *w, const struct tables *t)
{
	errno = ENOSPC;
	must(w->nr < WORLD_MAX ? 0 : -1, "roots");
	w->spaces.regs = tables_regs(t);
	w->cr3[w->nr++] = t->root;
	w->spaces.nr_cr3 = w->nr;
}

struct tables world_add(struct world *w, const struct tables_format *format)
{
	struct tables t = format->make(&w->ram);

	world_add_root(w, &t);
	return t;
}

struct tables world_add_amd64(struct world *w)
{
	return world_add(w, &formats[FORMAT_AMD64]);
}

struct tables world_add_i686(struct world *w)
{
	return world_add(w, &formats[FORMAT_I686]);
}

__u64 world_table(const struct tables *t, __u64 va, int level)
{
	struct vmem_translation tr = tables_walk(t, va);

	errno = ENOENT;
	must(t->top - level < (int)tr.out_nr_trace ? 0 : -1, "table");
	return tr.out_trace[t->top - level].entry_gpa & ~(PAGE - 1);
}

void world_share(struct tables *to, __u64 va, const struct tables *from,
		 __u64 from_va, int level, __u64 flags)
{
	flags &= tables_open(to, level + 1) | PTE_NX;
	tables_set(to, va, level + 1,
		   world_table(from, from_va, level) | flags);
}

void world_scatter(struct tables *t, __u64 va, __u64 nr)
{
	__u64 i;

	for (i = 0; i < nr; i++)
		tables_map(t, va + i * PAGE, GB(1) + 2 * i * PAGE,
			   VMEM_LEVEL_PT, PTE_PWU);
}

int world_open(const struct world *w)
{
	int session = session_open();

	CHECK_EQ(session_attach_kvm(session, w->vm_fd), 0);
	CHECK_EQ(session_set_spaces(session, &w->spaces), 0);
	return session;
}

void world_walk(const struct world *w, struct session_records *records)
{
	int session = world_open(w);

	CHECK_EQ(session_walk_spaces(session, records), 0);
	close(session);
	check_records(w, records);
}

void print_record(const struct vmem_record *r)
{
	const struct vmem_reference *a = &r->reference;

	switch (r->type) {
	case VMEM_SPACE:
		printf("# %u space %#llx alias_of %u\n", r->root,
		       r->space.space, r->space.alias_of);
		break;
	case VMEM_THIS_SPACE:
		printf("# %u this_space %#llx-%#llx %#llx %llu kind %u perms %u\n",
		       r->root, r->mapping.va, r->mapping.last_va,
		       r->mapping.gpa, r->mapping.page_size, r->mapping.kind,
		       r->mapping.perms);
		break;
	case VMEM_ALIASING:
		printf("# %u aliasing table %u at %#llx of %#llx (%u), ",
		       r->root, a->table, a->table_gpa, a->space,
		       a->owner_root);
		printf("%#llx -> %#llx, len %#llx, perms %u of %u\n", a->our_va,
		       a->their_va, a->len, a->perms, a->owner_perms);
		break;
	case VMEM_ANOMALY:
		printf("# %u anomaly %u level %u %#llx-%#llx table %#llx raw %#llx\n",
		       r->root, r->anomaly.status, r->anomaly.level,
		       r->anomaly.va, r->anomaly.last_va, r->anomaly.table_gpa,
		       r->anomaly.raw);
		break;
	default:
		printf("# %u of unknown type %u\n", r->root, r->type);
	}
}

void check_same_records(const char *what, const struct session_records *got,
			const struct vmem_record *want, __u32 nr)
{
	__u32 i;

	CHECK_EQ_AT(what, got->nr, nr);
	for (i = 0; i < nr && i < got->nr; i++) {
		if (!memcmp(&got->rows[i], &want[i], sizeof(want[i])))
			continue;
		ktap_fail("%s: record %u differs: got, then wanted:", what, i);
		print_record(&got->rows[i]);
		print_record(&want[i]);
		return;
	}
	for (; i < got->nr && i < nr + 4; i++)
		print_record(&got->rows[i]);
}

/* ---- Rules for every walk ---- */

static __u64 region_start(const struct vmem_record *r)
{
	switch (r->type) {
	case VMEM_THIS_SPACE:
		return r->mapping.va;
	case VMEM_ALIASING:
		return r->reference.our_va;
	case VMEM_ANOMALY:
		return r->anomaly.va;
	default:
		return 0;
	}
}

static size_t member_size(const struct vmem_record *r)
{
	switch (r->type) {
	case VMEM_SPACE:
		return sizeof(r->space);
	case VMEM_THIS_SPACE:
		return sizeof(r->mapping);
	case VMEM_ALIASING:
		return sizeof(r->reference);
	case VMEM_ANOMALY:
		return sizeof(r->anomaly);
	default:
		return 0;
	}
}

static bool rest_is_zero(const struct vmem_record *r)
{
	const __u8 *byte = (const __u8 *)r;
	size_t i = offsetof(struct vmem_record, space) + member_size(r);

	for (; i < sizeof(*r); i++)
		if (byte[i])
			return false;
	return true;
}

/* A space begins with its record; one that was given twice has nothing else. */
static bool space_ok(const struct world *w, const struct vmem_record *r,
		     const struct vmem_record *before)
{
	__u32 first;

	for (first = 0; w->cr3[first] != w->cr3[r->root]; first++)
		;
	return r->root == (before ? before->root + 1 : 0) &&
	       r->space.space == w->cr3[r->root] &&
	       r->space.alias_of == first && !r->space.__reserved;
}

/* Nothing of what was excluded, nor outside the range. */
static bool in_scope(const struct world *w, __u64 va, __u64 last_va)
{
	const struct vmem_span *excluded = w->spaces.excluded;
	__u32 i;

	for (i = 0; i < w->spaces.nr_excluded; i++)
		if (va <= excluded[i].last_va && excluded[i].va <= last_va)
			return false;
	return w->spaces.va <= va && va <= last_va &&
	       last_va <= w->spaces.last_va;
}

static bool mapping_ok(const struct world *w, const struct vmem_mapping *m)
{
	return in_scope(w, m->va, m->last_va) && m->page_size >= PAGE &&
	       m->kind == VMEM_KIND_BASIC &&
	       !(m->perms & ~(VMEM_WRITABLE | VMEM_USER | VMEM_EXECUTABLE));
}

static bool reference_ok(const struct world *w, const struct vmem_record *r)
{
	const struct vmem_reference *a = &r->reference;

	if (a->owner_root > r->root || w->cr3[a->owner_root] != a->space)
		return false;
	if (a->owner_root == r->root && a->their_va >= a->our_va)
		return false;
	return a->table != VMEM_TABLE_NONE && a->len &&
	       !(a->our_va & (a->len - 1)) && !(a->their_va & (a->len - 1)) &&
	       !(a->table_gpa & (PAGE - 1));
}

static bool follows(const struct world *w, const struct vmem_record *r,
		    const struct vmem_record *before)
{
	__u64 va = region_start(r);

	if (!before || before->root != r->root)
		return false;
	if (before->type == VMEM_SPACE)
		return before->space.alias_of == r->root;
	if (w->restless && r->type == VMEM_ALIASING)
		va += r->reference.len - 1;
	return region_start(before) <= va;
}

static bool is_torn(const struct vmem_record *r)
{
	return r->type == VMEM_ANOMALY && r->anomaly.status == VMEM_TORN;
}

/* It is told behind what it is about, by guests that change only. */
static bool torn_ok(const struct world *w, const struct vmem_record *r,
		    const struct vmem_record *before)
{
	const struct vmem_anomaly *a = &r->anomaly;

	return w->restless && before && before->root == r->root &&
	       region_start(before) <= a->last_va && a->va <= a->last_va &&
	       w->spaces.va <= a->va && a->last_va <= w->spaces.last_va;
}

static bool record_ok(const struct world *w, const struct vmem_record *r,
		      const struct vmem_record *before)
{
	if (r->root >= w->nr || !rest_is_zero(r))
		return false;
	switch (r->type) {
	case VMEM_SPACE:
		return space_ok(w, r, before);
	case VMEM_THIS_SPACE:
		return follows(w, r, before) && mapping_ok(w, &r->mapping);
	case VMEM_ALIASING:
		return follows(w, r, before) && reference_ok(w, r);
	case VMEM_ANOMALY:
		if (is_torn(r))
			return torn_ok(w, r, before);
		return follows(w, r, before) &&
		       in_scope(w, r->anomaly.va, r->anomaly.last_va);
	default:
		return false;
	}
}

static __u64 pages_of(const struct vmem_mapping *m)
{
	return m->last_va / m->page_size - m->va / m->page_size + 1;
}

static void check_stats(const struct session_records *rec)
{
	const struct vmem_spaces_stats *stats = &rec->stats;
	struct vmem_spaces_stats count = { .spaces = 0 };
	__u32 i;

	for (i = 0; i < rec->nr; i++) {
		const struct vmem_record *r = &rec->rows[i];

		if (r->type == VMEM_THIS_SPACE)
			count.leaves += pages_of(&r->mapping);
		count.mappings += r->type == VMEM_THIS_SPACE;
		count.references += r->type == VMEM_ALIASING;
		count.anomalies += r->type == VMEM_ANOMALY;
		if (r->type != VMEM_SPACE)
			continue;
		count.spaces += r->space.alias_of == r->root;
		count.root_aliases += r->space.alias_of != r->root;
	}
	CHECK_EQ(stats->spaces, count.spaces);
	CHECK_EQ(stats->root_aliases, count.root_aliases);
	CHECK_EQ(stats->mappings, count.mappings);
	CHECK_EQ(stats->leaves, count.leaves);
	CHECK_EQ(stats->references, count.references);
	CHECK_EQ(stats->anomalies, count.anomalies);
}

void check_records(const struct world *w, const struct session_records *rec)
{
	const struct vmem_record *before = NULL;
	__u32 i;

	for (i = 0; i < rec->nr; i++) {
		if (!record_ok(w, &rec->rows[i], before)) {
			ktap_fail("record %u breaks a rule:", i);
			print_record(&rec->rows[i]);
			return;
		}
		if (!is_torn(&rec->rows[i]))
			before = &rec->rows[i];
	}
	CHECK_EQ(before ? before->root + 1 : 0, w->nr);
	check_stats(rec);
}

/* ---- Following the references, by the records alone ---- */

/**
 * struct expansion - one space with every reference followed
 * @rec: the records
 * @first: index of the first record of each root, and the end
 * @rows: the mappings, by rising address
 * @room: how many @rows has room for
 * @nr: how many there are
 */
struct expansion {
	const struct session_records *rec;
	__u32 first[WORLD_MAX + 1];
	struct vmem_mapping *rows;
	__u32 room;
	__u32 nr;
};

static void expansion_add(struct expansion *x, struct vmem_mapping row)
{
	struct vmem_mapping *last = &x->rows[x->nr - 1];

	if (x->nr && row.va == last->last_va + 1 &&
	    row.gpa - last->gpa == row.va - last->va &&
	    row.page_size == last->page_size && row.perms == last->perms) {
		last->last_va = row.last_va;
		return;
	}
	errno = ENOBUFS;
	must(x->nr < x->room ? 0 : -1, "rows of an expansion");
	x->rows[x->nr++] = row;
}

/**
 * struct window - the part of a space that is looked through
 * @root: index of its root
 * @va: first address
 * @last_va: last address
 * @shift: what leads from an address there to the one that asked
 * @mask: permissions of the references on the way
 */
struct window {
	__u32 root;
	__u64 va;
	__u64 last_va;
	__u64 shift;
	__u32 mask;
};

static void expand_mapping(struct expansion *x, const struct window *win,
			   struct vmem_mapping row)
{
	if (row.va < win->va) {
		row.gpa += win->va - row.va;
		row.va = win->va;
	}
	if (row.last_va > win->last_va)
		row.last_va = win->last_va;
	row.va += win->shift;
	row.last_va += win->shift;
	row.perms &= win->mask;
	expansion_add(x, row);
}

static struct window behind(const struct window *win,
			    const struct vmem_reference *a)
{
	__u64 va = a->our_va, last_va = a->our_va + (a->len - 1);

	if (va < win->va)
		va = win->va;
	if (last_va > win->last_va)
		last_va = win->last_va;
	return (struct window){
		.root = a->owner_root,
		.va = va - a->our_va + a->their_va,
		.last_va = last_va - a->our_va + a->their_va,
		.shift = win->shift + a->our_va - a->their_va,
		.mask = win->mask & a->perms,
	};
}

static __u64 region_end(const struct vmem_record *r)
{
	switch (r->type) {
	case VMEM_THIS_SPACE:
		return r->mapping.last_va;
	case VMEM_ALIASING:
		return r->reference.our_va + (r->reference.len - 1);
	default:
		return 0;
	}
}

static void expand(struct expansion *x, const struct window *win)
{
	const struct vmem_record *r;
	struct window next;
	__u32 i;

	for (i = x->first[win->root] + 1; i < x->first[win->root + 1]; i++) {
		r = &x->rec->rows[i];
		if (region_start(r) > win->last_va)
			return;
		if (region_end(r) < win->va)
			continue;
		if (r->type == VMEM_THIS_SPACE)
			expand_mapping(x, win, r->mapping);
		if (r->type != VMEM_ALIASING)
			continue;
		next = behind(win, &r->reference);
		expand(x, &next);
	}
}

static void find_first_records(struct expansion *x)
{
	__u32 i;

	for (i = 0; i < x->rec->nr; i++)
		if (x->rec->rows[i].type == VMEM_SPACE)
			x->first[x->rec->rows[i].root] = i;
	x->first[x->rec->rows[i - 1].root + 1] = i;
}

/* Adds what VMEM_MAP_RANGE says of a part of the range. */
static void map_part(const struct world *w, int session, __u32 root,
		     const struct vmem_span *part, struct session_maps *maps)
{
	struct vmem_regs regs = w->spaces.regs;
	struct session_maps more = *maps;
	int ret;

	regs.cr3 = w->cr3[root];
	more.rows = maps->rows + maps->nr;
	more.room = maps->room - maps->nr;
	ret = session_map_range(session, &regs, part->va, part->last_va, &more);
	/* Nothing is mapped by a root that is not there. */
	if (ret != -ENXIO)
		CHECK_EQ(ret, 0);
	maps->nr += more.nr;
}

/* Adds what it says of all that is not excluded. */
static void map_naively(const struct world *w, int session, __u32 root,
			struct session_maps *maps)
{
	const struct vmem_span *out = w->spaces.excluded;
	const struct vmem_span *end = out + w->spaces.nr_excluded;
	struct vmem_span part = { w->spaces.va, w->spaces.last_va };

	maps->nr = 0;
	for (; out < end && out->va <= w->spaces.last_va; out++) {
		if (out->last_va < part.va)
			continue;
		if (out->va > part.va) {
			part.last_va = out->va - 1;
			map_part(w, session, root, &part, maps);
		}
		if (out->last_va >= w->spaces.last_va)
			return;
		part.va = out->last_va + 1;
	}
	part.last_va = w->spaces.last_va;
	map_part(w, session, root, &part, maps);
}

static void check_rows_equal(__u32 root, const struct expansion *x,
			     const struct session_maps *maps)
{
	__u32 i;

	for (i = 0; i < x->nr && i < maps->nr; i++)
		if (memcmp(&x->rows[i], &maps->rows[i], sizeof(x->rows[i])))
			break;
	if (i == x->nr && i == maps->nr)
		return;
	ktap_fail("root %u, row %u: not the same (%u rows, %u alone)", root, i,
		  x->nr, maps->nr);
	if (i < x->nr)
		printf("# by reference: %#llx-%#llx %#llx %llu %u\n",
		       x->rows[i].va, x->rows[i].last_va, x->rows[i].gpa,
		       x->rows[i].page_size, x->rows[i].perms);
	if (i < maps->nr)
		printf("# alone: %#llx-%#llx %#llx %llu %u\n", maps->rows[i].va,
		       maps->rows[i].last_va, maps->rows[i].gpa,
		       maps->rows[i].page_size, maps->rows[i].perms);
}

#define EXPANSION_ROWS 1000000

static void *new_rows(void)
{
	void *rows = calloc(EXPANSION_ROWS, sizeof(struct vmem_mapping));

	must(rows ? 0 : -1, "calloc");
	return rows;
}

void check_expansion(const struct world *w, const struct session_records *rec)
{
	struct session_maps maps = {
		.rows = new_rows(),
		.room = EXPANSION_ROWS,
		.per_call = 4096,
	};
	struct expansion *x = calloc(1, sizeof(*x));
	int session = world_open(w);
	__u32 i;

	must(x ? 0 : -1, "calloc");
	x->rec = rec;
	x->rows = new_rows();
	x->room = EXPANSION_ROWS;
	find_first_records(x);
	for (i = 0; i < w->nr; i++) {
		const struct window all = {
			.root = rec->rows[x->first[i]].space.alias_of,
			.last_va = ~0ULL,
			.mask = ~0u,
		};

		x->nr = 0;
		expand(x, &all);
		map_naively(w, session, i, &maps);
		check_rows_equal(i, x, &maps);
	}
	close(session);
	free(x->rows);
	free(x);
	free(maps.rows);
}

double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

__u64 number_of(const char *variable, __u64 otherwise)
{
	const char *text = getenv(variable);

	return text ? strtoull(text, NULL, 0) : otherwise;
}

#define SECONDS_TO_DIE 5

void kill_callers(const char *what, void (*fn)(void *w), struct world *w)
{
	long long lost = pages_lost_before();
	double start, slowest = 0, took;
	int i, status;
	pid_t child;

	for (i = 0; i < 8; i++) {
		child = ktap_fork(fn, w);
		usleep(300000 + 7000 * (unsigned int)i);
		CHECK_EQ_AT(what, waitpid(child, &status, WNOHANG), 0);
		start = seconds();
		must(kill(child, SIGKILL), "kill");
		must(waitpid(child, &status, 0), "waitpid");
		took = seconds() - start;
		CHECK_EQ_AT(what, status, SIGKILL);
		if (took > slowest)
			slowest = took;
	}
	printf("# %s: gone after %.3f s at most\n", what, slowest);
	CHECK(slowest < SECONDS_TO_DIE);
	CHECK_EQ(pages_lost(), lost);
}

#define VGA_MEMORY 0xa0000

void *device_page(void)
{
	int fd = (int)must(open("/dev/mem", O_RDONLY | O_SYNC), "/dev/mem");
	void *page;

	page = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, VGA_MEMORY);
	must(page == MAP_FAILED ? -1 : 0, "mmap of /dev/mem");
	close(fd);
	return page;
}

#define HUGE_PAGES "/proc/sys/vm/nr_hugepages"

void set_huge_pages(const char *nr)
{
	int ret = file_put(HUGE_PAGES, nr);

	if (ret)
		printf("# %s: %s\n", HUGE_PAGES, strerror(-ret));
}

#define SLABS "/sys/kernel/slab"

void shrink_slabs(void)
{
	struct dirent *entry;
	char path[512];
	DIR *dir = opendir(SLABS);

	must(dir ? 0 : -1, SLABS);
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), SLABS "/%s/shrink", entry->d_name);
		/* It may have gone meanwhile. */
		file_put(path, "1");
	}
	closedir(dir);
}

long kernel_memory(void)
{
	/* What is freed after a grace period is freed by then. */
	usleep(500000);
	must(file_put("/proc/sys/vm/drop_caches", "3"), "drop_caches");
	shrink_slabs();
	return kilobytes("Slab") + kilobytes("VmallocUsed");
}
