/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The walk: the function that descends through tables. Whatever vmem does with a
 * guest's tables is a set of callbacks on it; vmem/straight.h and vmem/near.h are
 * shortcuts in front of it.
 */
#ifndef _VMEM_WALK_H
#define _VMEM_WALK_H

#include <linux/types.h>
#include <vmem/arch.h>
#include <vmem/scope.h>
#include <vmem/seen.h>

/**
 * struct vmem_visit - what a callback is shown
 * @root: the space
 * @index: index of the root among the walk's roots
 * @status: what the visit is: VMEM_MAPPED for a leaf, VMEM_NOT_PRESENT and
 *	VMEM_NON_CANONICAL for a hole, any other for an anomaly; of no meaning
 *	for a table
 * @level: level of the table that holds the entry; of the table itself where
 *	that is what is visited or torn, or where it is unbacked;
 *	VMEM_LEVEL_NONE where the address is not canonical
 * @va: first virtual address of the region, clipped to the scope
 * @last_va: last virtual address of the region, clipped likewise
 * @base: first virtual address of the region, not clipped
 * @gpa: guest-physical address of @va (leaf), or of the table
 * @page_size: a leaf's own size in bytes, 0 for anything else
 * @perms: effective permissions of the path, the visited entry included; 0 for
 *	anything but a leaf or a table
 * @cow: a leaf that the guest's own convention marks copy-on-write; @perms is
 *	not writable then
 * @path: the entries read on the way, root first
 * @nr_path: how many they are. The last one is the visited entry, or the one
 *	that named the table which is visited or unbacked.
 * @referenced: a table that somebody else owns is visited, or was followed on the
 *	way here
 * @owner: if @referenced, who owns it: index of the root. If several such tables
 *	were followed, this tells about the last.
 * @owner_va: if @referenced, the address in the owner's space that corresponds to
 *	@base
 * @owner_perms: if @referenced, permissions of the owner's path to that table
 */
struct vmem_visit {
	const struct vmem_root *root;
	u32 index;
	enum vmem_status status;
	int level;
	u64 va;
	u64 last_va;
	u64 base;
	u64 gpa;
	u64 page_size;
	u32 perms;
	bool cow;
	const struct vmem_trace *path;
	int nr_path;
	bool referenced;
	u32 owner;
	u64 owner_va;
	u32 owner_perms;
};

/*
 * What a callback may return, besides 0 and a negative errno:
 * STOP ends the walk, and the cursor stays at its visit; SKIP and FOLLOW answer
 * the question whether to descend; AGAIN says that the tables were written to,
 * and comes back to the cursor from the root, which may have moved; MOVE says
 * that the callback has put the cursor elsewhere, inside the scope, and goes on
 * there, in those tables on its path that hold the new cursor.
 */
#define VMEM_WALK_STOP 1
#define VMEM_WALK_SKIP 2
#define VMEM_WALK_FOLLOW 3
#define VMEM_WALK_AGAIN 4
#define VMEM_WALK_MOVE 5

/**
 * struct vmem_walk_ops - the callbacks
 * @space: a root is next. @alias_of is the index of the root that has the same
 *	table and comes first; @index itself unless the root is given twice, and
 *	then its space is not walked again. Only called if @seen of the walk is
 *	set. A root without memory behind it is an anomaly after that.
 * @table: optional: the first visit of a table that can be shared: 0 to own it
 *	and descend, SKIP to do neither. In a walk that knows nothing of sharing,
 *	every visit of a table but the root, before it is read.
 * @reference: a table that is owned already: 0 to pass over it, FOLLOW to descend
 *	all the same. Needed if @seen of the walk is set.
 * @leaf: one page, of its natural size, or several if @runs. May answer AGAIN
 *	or MOVE.
 * @hole: optional: a region where nothing is mapped: one entry that is not
 *	present, or the part of the scope that is not canonical. May answer AGAIN
 *	or MOVE.
 * @anomaly: an entry that leads nowhere (VMEM_RESERVED, VMEM_UNBACKED,
 *	VMEM_UNREADABLE, VMEM_WITHHELD), or to a table that is on the path already
 *	(VMEM_ANCESTOR) or known, as a whole, at another level (VMEM_CROSS_LEVEL); the
 *	latter two, once for each table, only in a walk that claims tables, where 0
 *	descends and SKIP does not. May answer MOVE if there is no way down.
 * @torn: optional: the walk leaves a table whose entry names another table by
 *	now, or grants other rights. The visit has VMEM_TORN, the table, its
 *	region, and the path as it was read first. Entries that were shown below
 *	it may never have been there together. 0 or a negative errno. Tables
 *	that MOVE or AGAIN leave may go untold.
 * @runs: @leaf can do with several pages in one visit: entries that follow each
 *	other in a table and map guest-physical memory that does, with the same
 *	permissions; the path is that of the first
 * @attributes: with @runs: and with the same attributes
 * @steady: a path that ends in the walk is shown (@leaf, @hole, @anomaly of what
 *	leads nowhere) only if it was there as a whole at one moment. It is read
 *	once more when its last entry has been read; if an entry on it has
 *	changed, the path is read anew, and where that happens again and again,
 *	@anomaly is told VMEM_TORN in place of it, with the level of the entry
 *	that changed, no path, and @gpa 0. Not with @runs. What neither this nor
 *	@torn can see is memory that @pin gave and that is not the guest's any
 *	more.
 *
 * Each returns 0 to go on, VMEM_WALK_STOP to end the walk here, or a negative
 * errno to fail it. The visit is valid during the call only.
 */
struct vmem_walk_ops {
	int (*space)(const struct vmem_root *root, u32 index, u32 alias_of,
		     void *priv);
	int (*table)(const struct vmem_visit *visit, void *priv);
	int (*reference)(const struct vmem_visit *visit, void *priv);
	int (*leaf)(const struct vmem_visit *visit, void *priv);
	int (*hole)(const struct vmem_visit *visit, void *priv);
	int (*anomaly)(const struct vmem_visit *visit, void *priv);
	int (*torn)(const struct vmem_visit *visit, void *priv);
	bool runs;
	bool attributes;
	bool steady;
};

/**
 * struct vmem_walk - one walk
 * @mem: the guest's memory
 * @roots: the spaces to walk, in order of primacy; all of one paging mode if
 *	@seen is set
 * @nr_roots: how many they are
 * @scope: the part of each of them to walk
 * @seen: the tables seen and their owners; NULL to know nothing of sharing
 * @claim: note the tables that are reached first as owned; if clear, @seen is
 *	only looked at
 * @root: on return the cursor: index of the root
 * @va: the address to start at; on return the cursor: the first address of
 *	@root whose visit is not finished
 * @budget: how many entries may be read; on return what is left of it
 * @tables: counts the tables entered
 * @attempts: with @steady, times that the path to @va was read already, and had
 *	changed
 * @ops: the callbacks
 * @priv: passed to them
 */
struct vmem_walk {
	struct vmem_mem *mem;
	const struct vmem_root *roots;
	u32 nr_roots;
	struct vmem_scope scope;
	struct vmem_seen *seen;
	bool claim;
	u32 root;
	u64 va;
	u64 budget;
	u64 tables;
	u32 attempts;
	const struct vmem_walk_ops *ops;
	void *priv;
};

/**
 * vmem_walk - walk address spaces, one after the other, by rising address
 * @walk: what to walk, and the cursor
 *
 * Each entry is loaded once, and what is shown of it goes by that value; a leaf is
 * never read as a table. The guest may change its tables meanwhile: the walk then
 * sees some of the old and some of the new, and ends in any case. An entry is loaded
 * again to see whether it has changed (@steady, @torn), if it has, where a stopped
 * walk goes on, and after AGAIN and MOVE, whose callback has to see to it that the
 * walk ends.
 *
 * A walk that was stopped goes on, with the same @seen, when it is called again
 * with the cursor where it is.
 *
 * Return: 0 when all is done; VMEM_WALK_STOP when a callback ended it or the
 * budget is used up: go on from the cursor; -ENXIO, -EIO or -EACCES if there is no
 * @space callback and a root table that has to be read is unbacked, unreadable or
 * withheld; -ENOSPC if there are more than VMEM_MAX_TABLES tables to know; -EINVAL if
 * the scope is empty or the cursor outside of it; what vmem_breathe(), pinning a table
 * or a callback returned. The cursor is valid unless all is done.
 */
int vmem_walk(struct vmem_walk *walk);

/**
 * vmem_breathe - let others run, now and then in whatever may take long
 *
 * Return: 0; -EINTR if the caller was killed and is to go no further; -ERESTARTSYS
 * if any other signal waits for the caller (or a freezer, or a live patch): say how
 * far it got, or begin anew when that is done.
 */
int vmem_breathe(void);

#endif /* _VMEM_WALK_H */
