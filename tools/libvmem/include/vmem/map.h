/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The write side: tables under construction, mappings in them, and links to
 * tables that are there already. None of these tables are a running guest's.
 */
#ifndef _VMEM_MAP_H
#define _VMEM_MAP_H

#include <linux/errno.h>
#include <linux/types.h>
#include <vmem/walk.h>

struct vmem_tables;

/**
 * struct vmem_tables_ops - what makes tables
 * @alloc_table: Make a table of @level, of VMEM_PAGE_SIZE bytes, all zero, and
 *	store its guest-physical address in @table.
 * @write_entry: Write the @size bytes of the entry at *@entry_gpa. If the table
 *	of the entry moves for that, the old table stays as it was, and
 *	*@entry_gpa becomes the address of the entry in the new one.
 * @moves: Does @write_entry move the table at @table? Absent where tables never
 *	move.
 * @update_root: The root table moved to @table; the @table of @root still is the
 *	old one. Absent where tables never move.
 *
 * Each returns 0 or a negative errno, which fails the call that needed it. Any
 * other value counts as -EINVAL.
 */
struct vmem_tables_ops {
	int (*alloc_table)(struct vmem_tables *tables, int level, u64 *table);
	int (*write_entry)(struct vmem_tables *tables, u64 *entry_gpa, int size,
			   u64 raw);
	bool (*moves)(struct vmem_tables *tables, u64 table);
	int (*update_root)(struct vmem_tables *tables,
			   const struct vmem_root *root, u64 table);
};

/**
 * struct vmem_tables - tables that can be read and written, embedded in
 *	whatever provides them
 * @mem: reads them
 * @ops: makes and writes them
 * @used: set by the caller: entries that are made of permissions have Accessed
 *	set, and Dirty if they map a page that is writable, so that a processor
 *	which uses the tables does not write to them. Dirty on a page that is not
 *	writable would make it a shadow stack (SDM vol. 1, 17.2.3 and vol. 3,
 *	4.6.1). Entries that are copied from a path keep their own bits.
 * @shared: where tables can move: those that have several parents. A table is
 *	known as shared once vmem_space_aware_map() has linked to it or
 *	vmem_tables_learn() has found it so.
 */
struct vmem_tables {
	struct vmem_mem mem;
	const struct vmem_tables_ops *ops;
	bool used;
	struct vmem_seen shared;
};

/**
 * vmem_callback_errno - what a callback of the write side returned
 * @ret: its return value
 *
 * Return: @ret if it is 0 or negative, else -EINVAL: a positive value would mean
 * something to the walk.
 */
static inline int vmem_callback_errno(int ret)
{
	return ret > 0 ? -EINVAL : ret;
}

/**
 * vmem_tables_encode - the entry that is made of permissions
 * @tables: the tables that it is for
 * @mode: the paging mode
 * @level: level of its table
 * @kind: VMEM_ENTRY_TABLE or VMEM_ENTRY_LEAF
 * @addr: guest-physical address of the table or page
 * @perms: what it grants
 *
 * Return: the entry, with the bits that @used of @tables asks for.
 */
u64 vmem_tables_encode(const struct vmem_tables *tables,
		       const struct vmem_mode *mode, int level,
		       enum vmem_entry_kind kind, u64 addr, u32 perms);

/**
 * vmem_tables_learn - find the tables that have several parents
 * @tables: the tables
 * @roots: all address spaces in them, of one paging mode
 * @nr_roots: how many they are
 *
 * To be called before tables that were not built with @tables are written to, if
 * they can move.
 *
 * Return: 0; any errno of vmem_walk().
 */
int vmem_tables_learn(struct vmem_tables *tables, const struct vmem_root *roots,
		      u32 nr_roots);

/**
 * vmem_tables_destroy - forget what is known of tables
 * @tables: the tables, which stay as they are
 */
static inline void vmem_tables_destroy(struct vmem_tables *tables)
{
	vmem_seen_destroy(&tables->shared);
}

/**
 * vmem_map - map a range of an address space
 * @tables: where its tables are
 * @root: the space; its @table changes if the root table has to move
 * @mapping: the mapping: VMEM_KIND_BASIC, VMEM_KIND_COW (which wants a
 *	convention in @root, and is not VMEM_WRITABLE), or VMEM_KIND_UNMAPPED,
 *	which makes a range empty and looks at @va and @last_va only
 *
 * Tables that are missing are made, and grant everything: what the pages grant
 * is in the entries that map them. To unmap makes no tables. Pages of the same
 * size that are there already are replaced.
 *
 * If a table has to move, its parents are mended up to the root. A table that
 * is known to have several parents does not move: the call fails before it has a
 * copy of any table made, and all parents go on naming the old one.
 *
 * Return: 0.
 * -EINVAL: an address is not aligned to the page size, the range is empty (its
 * last address comes before its first), the paging mode cannot map such pages or
 * say such permissions, or @tables answered what it must not.
 * -ERANGE: the range leaves the address space, or a page does not fit into a
 * guest-physical address.
 * -EEXIST: there is a larger page in the range (or, when it is to be made empty,
 * across its end), or a table where a page was to go.
 * -EACCES: a table on the way grants less than @mapping.
 * -EIO: an entry on the way is reserved, or names a table that is not there or
 * cannot be read. To make a range empty, only the last of these fails.
 * After these the tables are as they were. After any other errno, of @tables or
 * of vmem_walk(), or -EMLINK (a table that has several parents had to move), a
 * first part of the range is mapped; so it is after -ERANGE if that is because
 * @tables made a table where no entry can name it.
 */
int vmem_map(struct vmem_tables *tables, struct vmem_root *root,
	     const struct vmem_mapping *mapping);

/**
 * struct vmem_built - address spaces that are being built after others
 * @tables: where their tables are
 * @from: the spaces that they are built after
 * @roots: what is built of each of them
 * @nr: how many there are yet, in the order of the walk
 */
struct vmem_built {
	struct vmem_tables *tables;
	const struct vmem_root *from;
	struct vmem_root *roots;
	u32 nr;
};

/* What vmem_space_aware_map() returns for a reference to nothing. */
#define VMEM_MAP_CLEARED 1
#define VMEM_MAP_ABSENT 2

/**
 * vmem_space_aware_map - map a space-aware mapping: a mapping of the space's own,
 *	or a link to a table of another one
 * @built: the spaces
 * @record: VMEM_THIS_SPACE or VMEM_ALIASING, as a walk tells it; of a
 *	reference, any address of its region does for @our_va and @their_va
 * @path: the entries that led to it in the space that this one is built after,
 *	root first, down to the one that maps the page or names the table. They
 *	are written, with other addresses. NULL: entries are made of the record's
 *	permissions, which are those of its whole path. A right that the owner's
 *	path takes away from a page in a shared table is in no record, so no space
 *	that links to the table gets it, even if its own path grants it. No space
 *	gets a right that it had not. Only with @path are all rights kept.
 *
 * A reference is what the owner has at @their_va. If there is nothing, there is
 * to be nothing here: without making tables, our entry is cleared if there is a
 * table for it to be in. A link has this path's permissions, not the owner's.
 *
 * Return: 0; VMEM_MAP_CLEARED or VMEM_MAP_ABSENT; -ENOENT if the record's space
 * or the owner of its table is not among @built; -EINVAL for any other record;
 * -EEXIST if there is a page where a table is to be, in either space; any errno
 * of vmem_map().
 */
int vmem_space_aware_map(struct vmem_built *built,
			 const struct vmem_record *record,
			 const struct vmem_trace *path);

#endif /* _VMEM_MAP_H */
