// SPDX-License-Identifier: GPL-2.0-only
/*
 * A space's maps as a file
 *
 * A guest may have more rows than there is memory for, and tables that take an hour to
 * read, so that no request reads all: rows are made from where the last one ended, in
 * windows of addresses, and joined again where a window ended. One thread makes them, for
 * all readers in turn.
 */
#include <errno.h>
#include <linux/const.h>
#include <stdlib.h>
#include <string.h>

#include "mount.h"

/* Bytes that one entry of a PML4 maps, and of a PML5 */
#define WINDOW _BITULL(39)
#define PML5_WINDOW _BITULL(48)

/* Bytes of text that are made at once */
#define ENOUGH_TEXT 0x40000

/* The same, with the row that is too much, and the end */
#define TEXT_MAX (ENOUGH_TEXT + 4096)

/* Turns of a second in which a row is looked for */
#define PATIENCE 10

/**
 * struct maps - a file that is open
 * @regs: the space
 * @va: where the next window begins
 * @ended: there is none
 * @told: the totals are in the text
 * @row: the last row, which the next one may join
 * @nr: rows, with @row
 * @bytes: bytes that they map
 * @nowhere: there were entries that lead nowhere
 * @torn: tables were replaced while they were read
 * @turns: turns without a row
 * @text: rows that are not read yet
 * @len: bytes of @text
 * @sent: bytes of @text that were read
 *
 * A file belongs to the thread, but for its end.
 */
struct maps {
	struct vmem_regs regs;
	__u64 va;
	bool ended;
	bool told;
	struct vmem_mapping row;
	__u64 nr;
	__u64 bytes;
	bool nowhere;
	bool torn;
	unsigned int turns;
	char *text;
	size_t len;
	size_t sent;
};

/**
 * struct window - a look at one window
 * @maps: the file
 * @out: where rows go
 */
struct window {
	struct maps *maps;
	FILE *out;
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
	return ftell(window->out) >= ENOUGH_TEXT;
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
	struct libvmem_found found;
	int ret;

	if (is_absent(&maps->regs, maps->va)) {
		end_window(maps, maps->va | (PML5_WINDOW - 1));
		return 0;
	}
	ret = libvmem_ranges(mount_vm, &maps->regs, maps->va, last_va, take_row,
			     window, &found, &error);
	if (ret < 0)
		return mount_errno(&error);
	maps->nowhere |= found.anomalies != 0;
	maps->torn |= found.torn != 0;
	/* Ended by a row that may be the window's last one. */
	if (!ret || maps->va > last_va || !maps->va)
		end_window(maps, last_va);
	return 0;
}

/* Not how many: what is behind the last row is read again. */
static void print_warnings(const struct maps *maps)
{
	if (maps->nowhere)
		out("# warning: entries lead nowhere: reserved, unbacked, unreadable, withheld\n");
	if (maps->torn)
		out("# warning: tables were replaced meanwhile: rows may be of two times\n");
}

static void print_end(struct maps *maps)
{
	char size[SIZE_TEXT_MAX];

	if (maps->nr)
		print_mapping(&maps->regs, &maps->row, NULL);
	out("total: %llu mapping%s, %s\n", maps->nr, plural(maps->nr, "", "s"),
	    size_text(maps->bytes, size));
	print_warnings(maps);
	maps->told = true;
}

/* For a second, or a window if that takes longer. */
static int print_some(struct window *window)
{
	struct maps *maps = window->maps;
	const time_t begin = mount_now();
	int ret = 0;

	while (!ret && !maps->ended && !ftell(window->out) &&
	       mount_now() == begin)
		ret = read_window(window);
	if (!ret && maps->ended)
		print_end(maps);
	if (!ret && !ftell(window->out) && ++maps->turns < PATIENCE)
		return 0;
	if (!ret && !ftell(window->out))
		ret = -EIO;
	maps->turns = 0;
	return ret;
}

/* Into room for all of it: a row that there were none for would be lost. */
static int make_text(struct maps *maps)
{
	static char buffer[BUFSIZ];
	struct window window = { .maps = maps };
	int ret;

	free(maps->text);
	maps->len = 0;
	maps->sent = 0;
	maps->text = malloc(TEXT_MAX);
	if (!maps->text)
		return -ENOMEM;
	window.out = fmemopen(maps->text, TEXT_MAX, "w");
	if (!window.out)
		return -ENOMEM;
	setvbuf(window.out, buffer, _IOFBF, sizeof(buffer));
	out_to(window.out);
	ret = print_some(&window);
	out_to(NULL);
	maps->len = ftell(window.out);
	fclose(window.out);
	return ret;
}

static void free_maps(struct maps *maps)
{
	free(maps->text);
	free(maps);
}

struct maps *maps_open(const struct vmem_regs *regs)
{
	struct maps *maps = calloc(1, sizeof(*maps));

	if (maps)
		maps->regs = *regs;
	return maps;
}

/* All who read it were answered. */
void maps_close(struct texts *texts, struct maps *maps)
{
	pthread_mutex_lock(&texts->waiters.lock);
	if (texts->busy == maps)
		texts->closed = true;
	else
		free_maps(maps);
	pthread_mutex_unlock(&texts->waiters.lock);
}

static struct maps *file_of(const struct waiter *waiter)
{
	return (void *)(uintptr_t)waiter->fi.fh;
}

/* Whether there is an answer by now */
static bool answer(struct maps *maps, const struct waiter *waiter, int ret)
{
	size_t size = maps->len - maps->sent;

	if (!size && !maps->told && !ret)
		return false;
	if (size > waiter->size)
		size = waiter->size;
	if (!size && ret)
		fuse_reply_err(waiter->req, -ret);
	else
		fuse_reply_buf(waiter->req, maps->text + maps->sent, size);
	maps->sent += size;
	return true;
}

static void answer_readers(struct texts *texts, struct maps *maps, int ret)
{
	struct waiter **at = &texts->waiters.first, *waiter;

	while ((waiter = *at)) {
		if (file_of(waiter) == maps && answer(maps, waiter, ret)) {
			*at = waiter->next;
			free(waiter);
		} else {
			at = &waiter->next;
		}
	}
}

/* Called with the lock, which is dropped meanwhile. */
static void serve(struct texts *texts, struct maps *maps)
{
	int ret = 0;

	if (maps->sent == maps->len && !maps->told) {
		texts->busy = maps;
		pthread_mutex_unlock(&texts->waiters.lock);
		ret = make_text(maps);
		pthread_mutex_lock(&texts->waiters.lock);
		texts->busy = NULL;
	}
	if (texts->closed)
		free_maps(maps);
	else
		answer_readers(texts, maps, ret);
	texts->closed = false;
}

void *maps_serve(void *arg)
{
	struct texts *texts = arg;

	mount_vm = texts->vm;
	pthread_mutex_lock(&texts->waiters.lock);
	for (;;)
		serve(texts, file_of(waiters_next(&texts->waiters)));
	return NULL;
}
