// SPDX-License-Identifier: GPL-2.0-only
/*
 * A space's maps as a file
 *
 * A guest may have more rows than there is memory for, and tables that take an hour to
 * read, so that no request reads all: rows are made from where the last one ended, in
 * windows of addresses, and joined again where a window ended.
 */
#include <errno.h>
#include <linux/const.h>
#include <stdlib.h>
#include <string.h>

#include "mount.h"

/* Bytes that one entry of a PML4 maps, and of a PML5 */
#define WINDOW _BITULL(39)
#define PML5_WINDOW _BITULL(48)

/* A reader waits no longer for a row. */
#define PATIENCE_SECONDS 10

/**
 * struct maps - a file that is open
 * @lock: protects the members below
 * @regs: the space
 * @va: where the next window begins
 * @ended: there is none
 * @told: the totals are in the text
 * @row: the last row, which the next one may join
 * @nr: rows, with @row
 * @bytes: bytes that they map
 * @text: rows that are not read yet
 * @len: bytes of @text
 * @sent: bytes of @text that were read
 */
struct maps {
	pthread_mutex_t lock;
	struct vmem_regs regs;
	__u64 va;
	bool ended;
	bool told;
	struct vmem_mapping row;
	__u64 nr;
	__u64 bytes;
	char *text;
	size_t len;
	size_t sent;
};

/**
 * struct window - a look at one window
 * @maps: the file
 * @out: where rows go
 * @want: bytes of text that are enough
 */
struct window {
	struct maps *maps;
	FILE *out;
	long want;
};

static bool joins(const struct vmem_mapping *row,
		  const struct vmem_mapping *next)
{
	return row->last_va + 1 == next->va &&
	       row->gpa + (next->va - row->va) == next->gpa &&
	       row->page_size == next->page_size && row->perms == next->perms &&
	       row->kind == next->kind;
}

static int take_row(const struct vmem_mapping *row, void *priv)
{
	struct window *window = priv;
	struct maps *maps = window->maps;

	maps->va = row->last_va + 1;
	maps->bytes += row->last_va - row->va + 1;
	if (maps->nr && joins(&maps->row, row)) {
		maps->row.last_va = row->last_va;
		return 0;
	}
	if (maps->nr++)
		print_mapping(&maps->regs, &maps->row, NULL);
	maps->row = *row;
	return ftell(window->out) >= window->want;
}

static int take_answer(__u64 va, const struct vmem_translation *answer,
		       void *priv)
{
	struct vmem_translation *taken = priv;

	(void)va;
	*taken = *answer;
	return 0;
}

/* A PML5 is nearly empty: there would be 262,144 windows. */
static bool is_absent(const struct vmem_regs *regs, __u64 va)
{
	struct vmem_translation answer = {};

	return libvmem_top_level(regs) == VMEM_LEVEL_PML5 &&
	       !(va & (PML5_WINDOW - 1)) &&
	       !libvmem_translate(mount_vm, regs, &va, 1, take_answer, &answer,
				  NULL) &&
	       answer.out_status == VMEM_NOT_PRESENT &&
	       answer.out_level == VMEM_LEVEL_PML5;
}

/* The last address of the window that begins at @va */
static __u64 window_end(const struct vmem_regs *regs, __u64 va)
{
	if (libvmem_top_level(regs) < VMEM_LEVEL_PML4)
		return 0xffffffff;
	return va | (WINDOW - 1);
}

/* 0 if there is none: nothing is mapped between the halves. */
static __u64 behind(const struct vmem_regs *regs, __u64 last_va)
{
	const enum vmem_level top = libvmem_top_level(regs);
	const unsigned int bits = top == VMEM_LEVEL_PML5 ? 56 : 47;

	if (top < VMEM_LEVEL_PML4)
		return 0;
	if (last_va == (1ull << bits) - 1)
		return -(1ull << bits);
	return last_va + 1;
}

static void end_window(struct maps *maps, __u64 last_va)
{
	maps->va = behind(&maps->regs, last_va);
	maps->ended = !maps->va;
}

static int read_window(struct window *window)
{
	struct maps *maps = window->maps;
	const __u64 last_va = window_end(&maps->regs, maps->va);
	struct libvmem_error error;
	int ret;

	if (is_absent(&maps->regs, maps->va)) {
		end_window(maps, maps->va | (PML5_WINDOW - 1));
		return 0;
	}
	ret = libvmem_ranges(mount_vm, &maps->regs, maps->va, last_va, take_row,
			     window, NULL, &error);
	if (ret < 0)
		return mount_errno(&error);
	/* Ended by a row that may be the window's last one. */
	if (!ret || maps->va > last_va || !maps->va)
		end_window(maps, last_va);
	return 0;
}

static void print_end(struct maps *maps)
{
	char size[SIZE_TEXT_MAX];

	if (maps->nr)
		print_mapping(&maps->regs, &maps->row, NULL);
	out("total: %llu mapping%s, %s\n", maps->nr, maps->nr == 1 ? "" : "s",
	    size_text(maps->bytes, size));
	maps->told = true;
}

static int print_some(struct window *window, fuse_req_t req)
{
	struct maps *maps = window->maps;
	time_t end = mount_now() + PATIENCE_SECONDS;
	int ret = 0;

	while (!ret && !maps->ended && ftell(window->out) < window->want) {
		ret = read_window(window);
		if (!ret && fuse_req_interrupted(req))
			ret = -EINTR;
		if (!ret && !ftell(window->out) && mount_now() > end)
			ret = -EIO;
	}
	if (!ret && maps->ended)
		print_end(maps);
	return ret;
}

/* Make more text. Text made before a failure is still returned. */
static int make_text(struct maps *maps, fuse_req_t req, size_t size)
{
	struct window window = { .maps = maps, .want = size };
	bool lost;
	int ret;

	free(maps->text);
	maps->text = NULL;
	maps->len = 0;
	maps->sent = 0;
	window.out = open_memstream(&maps->text, &maps->len);
	if (!window.out)
		return -ENOMEM;
	out_to(window.out);
	ret = print_some(&window, req);
	out_to(NULL);
	lost = ferror(window.out);
	if (fclose(window.out) || lost)
		return -ENOMEM;
	return maps->len ? 0 : ret;
}

struct maps *maps_open(const struct vmem_regs *regs)
{
	struct maps *maps = calloc(1, sizeof(*maps));

	if (maps) {
		pthread_mutex_init(&maps->lock, NULL);
		maps->regs = *regs;
	}
	return maps;
}

void maps_close(struct maps *maps)
{
	free(maps->text);
	free(maps);
}

ssize_t maps_read(struct maps *maps, fuse_req_t req, char *buf, size_t size)
{
	ssize_t len = 0;

	pthread_mutex_lock(&maps->lock);
	if (maps->sent == maps->len && !maps->told)
		len = make_text(maps, req, size);
	if (!len) {
		len = maps->len - maps->sent < size ? maps->len - maps->sent :
						      size;
		memcpy(buf, maps->text + maps->sent, len);
		maps->sent += len;
	}
	pthread_mutex_unlock(&maps->lock);
	return len;
}
