// SPDX-License-Identifier: GPL-2.0-only
/*
 * A snapshot of all spaces: work on tables, and copying of pages
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "native.h"

/* What is copied goes here, over and over: larger than the caches. */
#define BUFFER_SIZE (64ULL << 20)

/**
 * struct snapshot_case - a snapshot, made
 * @guest: of whom
 * @roots: the spaces
 * @built: the spaces in the snapshot
 * @snapshot: the snapshot
 * @buffer: where it is copied to
 * @pages: where each of its pages is read from
 * @nr_pages: how many they are
 */
struct snapshot_case {
	struct guest *guest;
	struct vmem_root *roots;
	struct vmem_root *built;
	struct vmem_snapshot snapshot;
	unsigned char *buffer;
	const void **pages;
	u64 nr_pages;
};

static u64 run_make(void *priv)
{
	struct snapshot_case *c = priv;
	struct vmem_snapshot snapshot;
	u64 made;

	core_snapshot(c->guest, c->roots, c->guest->nr_spaces, c->built,
		      &snapshot);
	made = snapshot.nr_made;
	vmem_snapshot_destroy(&snapshot);
	return made;
}

struct copy {
	struct snapshot_case *c;
	int (*take)(struct copy *copy, const void *data, size_t len);
	u64 done;
};

static int take(const void *data, size_t len, void *priv)
{
	struct copy *copy = priv;
	int ret = copy->take(copy, data, len);

	copy->done += len;
	return ret;
}

static int take_bytes(struct copy *copy, const void *data, size_t len)
{
	memcpy(copy->c->buffer + copy->done % BUFFER_SIZE, data, len);
	return 0;
}

static int take_place(struct copy *copy, const void *data, size_t len)
{
	copy->c->pages[copy->done / VMEM_PAGE_SIZE] = data;
	return 0;
}

static u64 read_all(struct snapshot_case *c,
		    int (*how)(struct copy *copy, const void *data, size_t len))
{
	struct copy copy = { .c = c, .take = how };
	u32 i;

	for (i = 0; i < c->snapshot.nr_extents; i++) {
		const struct vmem_extent *extent = &c->snapshot.extents[i];
		u64 gpa = extent->gpa;

		if (vmem_snapshot_read(&c->snapshot, &c->guest->mem, &gpa,
				       gpa + extent->len, take, &copy))
			die("the snapshot cannot be read");
	}
	return copy.done;
}

static u64 run_read(void *priv)
{
	return read_all(priv, take_bytes);
}

static u64 run_memcpy(void *priv)
{
	struct snapshot_case *c = priv;
	u64 i;

	for (i = 0; i < c->nr_pages; i++)
		memcpy(c->buffer + i * VMEM_PAGE_SIZE % BUFFER_SIZE,
		       c->pages[i], VMEM_PAGE_SIZE);
	return c->nr_pages * VMEM_PAGE_SIZE;
}

static void snapshot_case_init(struct snapshot_case *c, struct guest *guest)
{
	u32 nr = guest->nr_spaces;
	u32 i;

	c->guest = guest;
	c->roots = calloc(nr, sizeof(*c->roots));
	c->built = calloc(nr, sizeof(*c->built));
	c->buffer = malloc(BUFFER_SIZE);
	if (!c->roots || !c->built || !c->buffer)
		die("out of memory for a snapshot");
	for (i = 0; i < nr; i++)
		c->roots[i] = guest_root(guest, i);
	core_snapshot(guest, c->roots, nr, c->built, &c->snapshot);
	for (i = 0; i < c->snapshot.nr_extents; i++)
		c->nr_pages += c->snapshot.extents[i].len / VMEM_PAGE_SIZE;
	c->pages = calloc(c->nr_pages, sizeof(*c->pages));
	if (!c->pages)
		die("out of memory for %llu pages", c->nr_pages);
	read_all(c, take_place);
}

static void snapshot_case_destroy(struct snapshot_case *c)
{
	vmem_snapshot_destroy(&c->snapshot);
	free(c->roots);
	free(c->built);
	free(c->buffer);
	free(c->pages);
}

#define TABLES_NOTE \
	"The walk, the rebuild and placing, against copying the whole snapshot to a buffer."

#define COPY_NOTE \
	"memcpy() of the same pages, from the same places, by a list of them that was made before."

static void compare(struct bench *bench, struct snapshot_case *c)
{
	u64 bytes = c->nr_pages * VMEM_PAGE_SIZE;
	char tables_title[80], copy_title[80];
	struct measurement tables = {
		.id = "snapshot-tables",
		.title = tables_title,
		.unit = "ms",
		.note = TABLES_NOTE,
		.per = 1e6,
		.priv = c,
		.contenders = {
			{ "vmem: tables", run_make, c->snapshot.nr_made },
			{ "vmem: copying the pages", run_read, bytes },
		},
	};
	struct measurement copy = {
		.id = "snapshot-copy",
		.title = copy_title,
		.unit = "ms",
		.note = COPY_NOTE,
		.per = 1e6,
		.priv = c,
		.contenders = {
			{ "vmem", run_read, bytes },
			{ "memcpy()", run_memcpy, bytes },
		},
	};

	snprintf(tables_title, sizeof(tables_title),
		 "snapshot of %u spaces, tables against pages (%llu MiB)",
		 c->guest->nr_spaces, bytes >> 20);
	snprintf(copy_title, sizeof(copy_title),
		 "snapshot of %u spaces, copying it (%llu MiB)",
		 c->guest->nr_spaces, bytes >> 20);
	bench_measure(bench, &tables);
	bench_measure(bench, &copy);
}

void bench_snapshot(struct bench *bench, struct guest *captured)
{
	struct snapshot_case c = {};

	if (!captured || !bench_wants(bench, "snapshot"))
		return;
	snapshot_case_init(&c, captured);
	compare(bench, &c);
	snapshot_case_destroy(&c);
}
