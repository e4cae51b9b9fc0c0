// SPDX-License-Identifier: GPL-2.0-only
/*
 * copy.c - a snapshot's memory in our own, and what has to be so of it
 */
#define _GNU_SOURCE
#include <gelf.h>
#include <stdint.h>
#include <sys/mman.h>

#include "copy.h"
#include "ktap.h"

struct copy copy_new(const struct libvmem_extent *extents, __u32 nr)
{
	struct copy copy = { .nr = nr };
	__u32 i;

	for (i = 0; i < nr; i++)
		copy.rams[i] = ram_new(extents[i].gpa, extents[i].len);
	return copy;
}

void copy_free(struct copy *copy)
{
	__u32 i;

	for (i = 0; i < copy->nr; i++)
		ram_free(&copy->rams[i]);
}

int copy_file(void)
{
	return (int)must(memfd_create("snapshot", MFD_CLOEXEC), "memfd_create");
}

int copy_make(int vm_fd, const struct libvmem_snapshot_args *args, int fd,
	      struct libvmem_snapshot *made, struct libvmem_error *error)
{
	struct libvmem *vm;
	int ret = libvmem_open_vm(&vm, vm_fd, error);

	if (!ret)
		ret = libvmem_snapshot(vm, args, fd, made, error);
	libvmem_close(vm);
	if (ret < 0) {
		printf("# %s: %s\n", error->message, error->advice);
		CHECK_EQ(ret, -(int)error->code);
	}
	return ret;
}

static void read_segment(int fd, const struct guest_ram *ram, __u64 offset)
{
	ssize_t done;
	__u64 at;

	for (at = 0; at < ram->len; at += (__u64)done) {
		done = pread(fd, ram->hva + at, ram->len - at,
			     (off_t)(offset + at));
		errno = ENODATA;
		must(done > 0 ? 0 : -1, "the snapshot's file");
	}
}

struct copy copy_load(int fd)
{
	struct copy copy = { .nr = 0 };
	GElf_Phdr phdr;
	size_t i, nr;
	Elf *elf;

	elf_version(EV_CURRENT);
	elf = elf_begin(fd, ELF_C_READ, NULL);
	must(elf && !elf_getphdrnum(elf, &nr) ? 0 : -1, "libelf");
	for (i = 0; i < nr && gelf_getphdr(elf, (int)i, &phdr); i++) {
		if (phdr.p_type != PT_LOAD ||
		    !CHECK(copy.nr < LIBVMEM_MAX_EXTENTS))
			continue;
		CHECK_EQ(phdr.p_filesz, phdr.p_memsz);
		copy.rams[copy.nr] = ram_new(phdr.p_paddr, phdr.p_memsz);
		read_segment(fd, &copy.rams[copy.nr++], phdr.p_offset);
	}
	elf_end(elf);
	return copy;
}

__u64 copy_len(const struct copy *copy)
{
	__u64 len = 0;
	__u32 i;

	for (i = 0; i < copy->nr; i++)
		len += copy->rams[i].len;
	return len;
}

void *copy_ptr(const struct copy *copy, __u64 gpa)
{
	const struct guest_ram *ram;

	for (ram = copy->rams; ram < copy->rams + copy->nr; ram++)
		if (gpa >= ram->gpa && gpa - ram->gpa < ram->len)
			return ram->hva + (gpa - ram->gpa);
	return NULL;
}

struct tables copy_tables(struct copy *copy, const struct tables *like,
			  __u32 index)
{
	struct tables t = *like;

	t.ram = &copy->rams[0];
	t.root = copy->rams[0].gpa + index * PAGE;
	return t;
}

int copy_open(const struct copy *copy)
{
	struct vmem_region regions[LIBVMEM_MAX_EXTENTS];
	int session = session_open();
	__u32 i;

	for (i = 0; i < copy->nr; i++)
		regions[i] = (struct vmem_region){
			.gpa = copy->rams[i].gpa,
			.len = copy->rams[i].len,
			.hva = (uintptr_t)copy->rams[i].hva,
		};
	CHECK_EQ(session_attach_regions(session, regions, copy->nr), 0);
	return session;
}

/* ---- Two views ---- */

/**
 * struct pair - a page of 4 KiB, or a part of a larger one, in two views
 * @a: what the one calls it
 * @b: what the other calls it
 * @va: where it is mapped
 * @root: in what space
 */
struct pair {
	__u64 a;
	__u64 b;
	__u64 va;
	__u32 root;
};

/**
 * struct pairs - all that two views map
 * @rows: the pages, each mapping by itself
 * @nr: how many they are
 * @room: how many @rows has room for
 */
struct pairs {
	struct pair *rows;
	__u64 nr;
	__u64 room;
};

static void pairs_add(struct pairs *pairs, const struct pair *pair)
{
	if (pairs->nr == pairs->room) {
		pairs->room = 2 * pairs->room + 1024;
		pairs->rows = realloc(pairs->rows,
				      pairs->room * sizeof(*pairs->rows));
		must(pairs->rows ? 0 : -1, "realloc");
	}
	pairs->rows[pairs->nr++] = *pair;
}

#define VIEW_ROWS 200000

/* The rows of a space, in one of two arrays for all. */
static struct session_maps view_maps(const struct view *v, __u32 root,
				     int which)
{
	static struct vmem_mapping rows[2][VIEW_ROWS];
	struct session_maps maps = {
		.rows = rows[which],
		.room = VIEW_ROWS,
		.per_call = 4096,
	};
	struct vmem_regs regs = v->regs;
	int ret;

	regs.cr3 = v->cr3[root];
	ret = session_map_range(v->session, &regs, v->va, v->last_va, &maps);
	/* Nothing is mapped by a root that is not there. */
	if (ret != -ENXIO)
		CHECK_EQ(ret, 0);
	return maps;
}

/* One of two views may have in one row what the other has in several. */
struct cursor {
	struct vmem_mapping *row;
	__u64 at;
};

static bool same_page(const struct cursor *a, const struct cursor *b,
		      bool any_size)
{
	return a->row->va + a->at == b->row->va + b->at &&
	       (any_size || a->row->page_size == b->row->page_size) &&
	       a->row->kind == b->row->kind && a->row->perms == b->row->perms;
}

/* Goes on to the next page, maybe of the next row. */
static void step(struct cursor *c)
{
	c->at += PAGE;
	if (c->row->va + (c->at - 1) != c->row->last_va)
		return;
	c->row++;
	c->at = 0;
}

static void pair_rows(__u32 root, const struct session_maps *ma,
		      const struct session_maps *mb, bool any_size,
		      struct pairs *pairs)
{
	struct cursor a = { .row = ma->rows }, b = { .row = mb->rows };
	struct pair pair = { .root = root };

	while (a.row < ma->rows + ma->nr && b.row < mb->rows + mb->nr) {
		if (!same_page(&a, &b, any_size)) {
			ktap_fail("root %u: %#llx and %#llx differ", root,
				  a.row->va + a.at, b.row->va + b.at);
			return;
		}
		pair.a = a.row->gpa + a.at;
		pair.b = b.row->gpa + b.at;
		pair.va = a.row->va + a.at;
		pairs_add(pairs, &pair);
		step(&a);
		step(&b);
	}
	CHECK(a.row == ma->rows + ma->nr && b.row == mb->rows + mb->nr);
}

static int order(__u64 x, __u64 y)
{
	return (x > y) - (x < y);
}

static int by_a(const void *x, const void *y)
{
	const struct pair *p = x, *q = y;

	return p->a != q->a ? order(p->a, q->a) : order(p->b, q->b);
}

static int by_b(const void *x, const void *y)
{
	const struct pair *p = x, *q = y;

	return p->b != q->b ? order(p->b, q->b) : order(p->a, q->a);
}

/* One name there for each name here. Leaves one pair for each of them. */
static void check_names_of_a(struct pairs *pairs)
{
	struct pair *p = pairs->rows;
	__u64 i, nr = 0;

	qsort(p, pairs->nr, sizeof(*p), by_a);
	for (i = 0; i < pairs->nr; i++) {
		if (!nr || p[nr - 1].a != p[i].a)
			p[nr++] = p[i];
		else if (p[nr - 1].b != p[i].b)
			ktap_fail("page %#llx is %#llx and %#llx", p[i].a,
				  p[nr - 1].b, p[i].b);
	}
	pairs->nr = nr;
}

/* And the other way round. */
static void check_names_of_b(struct pairs *pairs)
{
	const struct pair *p = pairs->rows;
	__u64 i;

	qsort(pairs->rows, pairs->nr, sizeof(*p), by_b);
	for (i = 1; i < pairs->nr; i++)
		if (p[i].b == p[i - 1].b)
			ktap_fail("pages %#llx and %#llx are both %#llx",
				  p[i - 1].a, p[i].a, p[i].b);
}

static void check_contents(const struct view *a, const struct view *b,
			   const struct pair *pair)
{
	static char buf_a[PAGE], buf_b[PAGE];
	struct vmem_regs regs_a = a->regs, regs_b = b->regs;
	struct vmem_read_args end_a, end_b;
	char at[48];

	snprintf(at, sizeof(at), "root %u, %#llx", pair->root, pair->va);
	regs_a.cr3 = a->cr3[pair->root];
	regs_b.cr3 = b->cr3[pair->root];
	CHECK_EQ_AT(at,
		    session_read(a->session, &regs_a, pair->va, buf_a, PAGE,
				 &end_a),
		    0);
	CHECK_EQ_AT(at,
		    session_read(b->session, &regs_b, pair->va, buf_b, PAGE,
				 &end_b),
		    0);
	CHECK_EQ_AT(at, end_a.out_len, end_b.out_len);
	CHECK_EQ_AT(at, end_a.out_status, end_b.out_status);
	CHECK_EQ_AT(at, memcmp(buf_a, buf_b, PAGE), 0);
}

__u64 check_same_but_for_names(const struct view *a, const struct view *b)
{
	struct pairs pairs = { .rows = NULL };
	struct session_maps ma, mb;
	__u64 nr, i;
	__u32 root;

	CHECK_EQ(a->nr, b->nr);
	for (root = 0; root < a->nr; root++) {
		ma = view_maps(a, root, 0);
		mb = view_maps(b, root, 1);
		pair_rows(root, &ma, &mb, a->any_size, &pairs);
	}
	nr = pairs.nr;
	if (nr) {
		check_names_of_a(&pairs);
		check_names_of_b(&pairs);
	}
	for (i = 0; i < pairs.nr && !ktap_reason[0]; i++)
		check_contents(a, b, &pairs.rows[i]);
	free(pairs.rows);
	return nr;
}
