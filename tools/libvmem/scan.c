// SPDX-License-Identifier: GPL-2.0-only
/*
 * All of a guest's memory, once
 */
#include <linux/const.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "image.h"
#include "scan.h"

#define PAGE 4096ull
#define PAGES_A_CALL 256

/* An entry of /proc/PID/pagemap: the page is in memory. */
#define PAGEMAP_PRESENT _BITULL(63)

/**
 * struct piece - pages of one slot that are read at once
 * @gpa: guest-physical address of the first
 * @hva: where the VMM has it
 * @nr: how many
 */
struct piece {
	__u64 gpa;
	__u64 hva;
	__u64 nr;
};

/**
 * struct pass - a pass that is under way
 * @scan: what it is for
 * @error: the failure
 * @all: bytes of guest memory
 * @done: bytes behind it
 * @next: guest-physical address behind the last page of it
 * @there: for each page of a piece, its entry in the pagemap
 * @buf: the pages of a piece
 */
struct pass {
	struct scan *scan;
	struct libvmem_error *error;
	__u64 all;
	__u64 done;
	__u64 next;
	__u64 there[PAGES_A_CALL];
	unsigned char *buf;
};

/*
 * Of an image, or if it is to be fetched, all is there; of a guest that runs, nothing that
 * the pagemap does not tell.
 */
static void find_there(struct pass *pass, const struct piece *piece)
{
	const struct libvmem *vm = pass->scan->vm;
	const size_t len = piece->nr * sizeof(__u64);

	memset(pass->there, 0, sizeof(pass->there));
	if (vm->image || pass->scan->fetch)
		for (__u64 i = 0; i < piece->nr; i++)
			pass->there[i] = PAGEMAP_PRESENT;
	else if (pread(vm->pagemap, pass->there, len,
		       piece->hva / PAGE * sizeof(__u64)) < 0)
		memset(pass->there, 0, sizeof(pass->there));
}

/* Pages that are there, side by side. What cannot be read is passed over. */
static int read_run(struct pass *pass, __u64 gpa, __u64 nr)
{
	struct scan *scan = pass->scan;

	while (nr) {
		struct libvmem_read read;
		__u64 got;
		int ret = libvmem_read_phys(scan->vm, gpa, pass->buf, nr * PAGE,
					    &read, pass->error);

		if (ret)
			return ret;
		got = read.len / PAGE;
		for (__u64 i = 0; i < got && !ret; i++)
			ret = scan->page(gpa + i * PAGE, pass->buf + i * PAGE,
					 scan->priv);
		if (ret)
			return ret;
		scan->read += got * PAGE;
		if (got < nr)
			scan->untouched += PAGE, got++;
		gpa += got * PAGE;
		nr -= got;
	}
	return 0;
}

static int read_piece(struct pass *pass, const struct piece *piece)
{
	__u64 i, first;
	int ret = 0;

	find_there(pass, piece);
	for (i = 0; i < piece->nr && !ret; i++) {
		if (!(pass->there[i] & PAGEMAP_PRESENT)) {
			pass->scan->untouched += PAGE;
			continue;
		}
		for (first = i;
		     i + 1 < piece->nr && pass->there[i + 1] & PAGEMAP_PRESENT;
		     i++)
			;
		ret = read_run(pass, piece->gpa + first * PAGE, i + 1 - first);
	}
	pass->done += piece->nr * PAGE;
	if (!ret && pass->scan->step)
		ret = pass->scan->step(pass->done, pass->all, pass->scan->priv);
	return ret;
}

/* What of an image's piece is not in the file is zeros, and of no interest. */
static __u64 len_in_file(const struct libvmem *vm,
			 const struct vmem_memslot *slot)
{
	return vm->image ? image_find(vm->image, slot->gpa)->file_len :
			   slot->len;
}

/* A page may be in two pieces of an image. */
static int read_slot(const struct vmem_memslot *slot, void *priv)
{
	struct pass *pass = priv;
	__u64 len = len_in_file(pass->scan->vm, slot);
	__u64 end = (slot->gpa + len + PAGE - 1) & -PAGE;
	struct piece piece = { .gpa = slot->gpa & -PAGE };
	int ret = 0;

	if (piece.gpa < pass->next)
		piece.gpa = pass->next;
	piece.hva = slot->hva + (piece.gpa - slot->gpa);
	for (; piece.gpa < end && !ret; piece.gpa += piece.nr * PAGE) {
		piece.nr = (end - piece.gpa) / PAGE;
		if (piece.nr > PAGES_A_CALL)
			piece.nr = PAGES_A_CALL;
		ret = read_piece(pass, &piece);
		piece.hva += piece.nr * PAGE;
	}
	pass->next = end;
	pass->scan->untouched += slot->len - len;
	pass->done += slot->len - len;
	return ret;
}

static int add_size(const struct vmem_memslot *slot, void *priv)
{
	__u64 *all = priv;

	*all += slot->len;
	return 0;
}

int scan_memory(struct scan *scan, struct libvmem_error *error)
{
	struct pass pass = { .scan = scan, .error = error };
	int ret;

	scan->read = 0;
	scan->untouched = 0;
	ret = libvmem_memslots(scan->vm, add_size, &pass.all, error);
	if (ret)
		return ret;
	pass.buf = new_room(PAGES_A_CALL * PAGE);
	if (!pass.buf)
		return error_memory(error, NULL);
	ret = libvmem_memslots(scan->vm, read_slot, &pass, error);
	free(pass.buf);
	return ret;
}
