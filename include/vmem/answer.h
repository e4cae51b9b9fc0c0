/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Answers: questions of the interface (see uapi/linux/vmem.h), answered in pieces
 * that are copied out as they are found. The device answers for a running guest,
 * libvmem for an image; each brings the memory and the copying.
 */
#ifndef _VMEM_ANSWER_H
#define _VMEM_ANSWER_H

#include <linux/types.h>
#include <vmem/spaces.h>

/* Entries that one call reads before the caller has to come back for more. */
#define VMEM_MAX_ENTRIES BIT(20)

struct vmem_answer;

/**
 * struct vmem_answer_ops - access to the caller's memory. A copy returns 0, -EFAULT,
 *	or -EAGAIN: the memory has to be waited for, and nothing was copied that
 *	would not be copied again.
 * @get_words: copy @nr words from the caller's address @src to @dst
 * @put: copy @len bytes from @src to the caller's address @dst
 * @put_elements: copy @nr elements of @size bytes each to the caller's address
 *	@dst, where each has room for @room bytes: cut an element that is longer,
 *	and clear the tail behind one that is shorter
 * @wait: wait for @len bytes at the caller's address @at, which are to be written if
 *	@write, and may be cleared; for those whose copies return -EAGAIN. Nothing
 *	of the guest's memory may be pinned, since all of it is let go meanwhile.
 *	Returns 0, -EFAULT, -ESRCH if the guest's memory is gone, or what
 *	vmem_breathe() does.
 */
struct vmem_answer_ops {
	int (*get_words)(u64 *dst, u64 src, u32 nr);
	int (*put)(u64 dst, const void *src, size_t len);
	int (*put_elements)(u64 dst, u32 room, const void *src, u32 size,
			    u32 nr);
	int (*wait)(struct vmem_answer *answer, u64 at, size_t len, bool write);
};

/**
 * struct vmem_walked - the work of a call; 0 where it did or counted none
 * @roots: address spaces in question
 * @space: the space at the beginning: guest-physical address of its root table
 * @va: address at the beginning, guest-physical for VMEM_READ_PHYS; 0 for
 *	VMEM_TRANSLATE, which has many
 * @asked: addresses, bytes or records asked for; 0 if the question was refused
 * @given: addresses, bytes or records given
 * @tables: guest tables read
 * @entries: table entries read
 * @torn: answers that are VMEM_TORN
 * @more: the caller has to come back for the rest
 */
struct vmem_walked {
	u32 roots;
	u64 space;
	u64 va;
	u64 asked;
	u64 given;
	u64 tables;
	u64 entries;
	u64 torn;
	bool more;
};

/**
 * struct vmem_answer - a question under way
 * @ops: access to the caller's memory
 * @mem: the guest's memory
 * @vas: for VMEM_TRANSLATE: room for addresses on their way in
 * @results: for VMEM_TRANSLATE: room for as many answers on their way out
 * @nr_at_once: elements of both, at least 1
 * @spaces: the caller's spaces: for VMEM_WALK_SPACES, and walked to the end for
 *	VMEM_TRANSLATE_SPACES
 * @walked: the work that was done; all 0 before
 */
struct vmem_answer {
	const struct vmem_answer_ops *ops;
	struct vmem_mem *mem;
	u64 *vas;
	struct vmem_translation *results;
	u32 nr_at_once;
	struct vmem_spaces *spaces;
	struct vmem_walked walked;
};

/**
 * vmem_element_size_ok - is this a size for elements of a caller's array
 * @size: the size that the caller gives
 * @first_version: size of the element's first version
 *
 * Elements grow at their end, as argument structs do.
 */
static inline bool vmem_element_size_ok(u32 size, size_t first_version)
{
	return size >= first_version && size <= VMEM_PAGE_SIZE;
}

/**
 * vmem_answer_translate - answer VMEM_TRANSLATE
 * @answer: the question
 * @args: its arguments
 *
 * Return: 0, or an errno that uapi/linux/vmem.h lists.
 */
int vmem_answer_translate(struct vmem_answer *answer,
			  struct vmem_translate_args *args);

/**
 * vmem_answer_map_range - answer VMEM_MAP_RANGE
 * @answer: the question
 * @args: its arguments
 *
 * Return: as vmem_answer_translate().
 */
int vmem_answer_map_range(struct vmem_answer *answer,
			  struct vmem_map_range_args *args);

/**
 * vmem_answer_read - answer VMEM_READ
 * @answer: the question
 * @args: its arguments
 *
 * Return: as vmem_answer_translate().
 */
int vmem_answer_read(struct vmem_answer *answer, struct vmem_read_args *args);

/**
 * vmem_answer_read_phys - answer VMEM_READ_PHYS
 * @answer: the question
 * @args: its arguments
 *
 * Return: as vmem_answer_translate().
 */
int vmem_answer_read_phys(struct vmem_answer *answer,
			  struct vmem_read_phys_args *args);

/**
 * vmem_answer_walk_spaces - answer VMEM_WALK_SPACES
 * @answer: the question; the walk of @answer->spaces goes on
 * @args: its arguments
 *
 * Return: as vmem_answer_translate().
 */
int vmem_answer_walk_spaces(struct vmem_answer *answer,
			    struct vmem_walk_spaces_args *args);

/**
 * vmem_answer_set_spaces - make the spaces that VMEM_SET_SPACES describes
 * @ops: access to the caller's memory
 * @args: its arguments
 * @spaces: the walk over them, at its beginning; for vmem_answer_free_spaces()
 *
 * Return: as vmem_answer_translate(); after an errno there is nothing to free.
 */
int vmem_answer_set_spaces(const struct vmem_answer_ops *ops,
			   const struct vmem_set_spaces_args *args,
			   struct vmem_spaces *spaces);

/**
 * vmem_answer_free_spaces - free all that vmem_answer_set_spaces() made
 * @spaces: the spaces; or zeros
 */
void vmem_answer_free_spaces(struct vmem_spaces *spaces);

#endif /* _VMEM_ANSWER_H */
