/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The formats: what one table entry means, and how one is made. Both are pure:
 * they touch no memory, take no lock and report nothing. A level-L table's entry is EMPTY,
 * a TABLE of level L-1, a LEAF of that level's page size, or RESERVED.
 */
#ifndef _VMEM_ARCH_H
#define _VMEM_ARCH_H

#include <linux/types.h>
#include <vmem/regime.h>

/**
 * enum vmem_entry_kind - the outcomes of decoding an entry
 * @VMEM_ENTRY_EMPTY: not present
 * @VMEM_ENTRY_TABLE: names a table of the next lower level
 * @VMEM_ENTRY_LEAF: maps a page of its level's size
 * @VMEM_ENTRY_RESERVED: present, but the processor would fault on it
 */
enum vmem_entry_kind {
	VMEM_ENTRY_EMPTY,
	VMEM_ENTRY_TABLE,
	VMEM_ENTRY_LEAF,
	VMEM_ENTRY_RESERVED,
};

/**
 * struct vmem_entry - a decoded entry
 * @kind: what it is
 * @perms: VMEM_WRITABLE, VMEM_USER and VMEM_EXECUTABLE as this entry alone
 *	grants them; 0 unless TABLE or LEAF
 * @addr: guest-physical address of the table or page; 0 unless TABLE or LEAF
 */
struct vmem_entry {
	enum vmem_entry_kind kind;
	u32 perms;
	u64 addr;
};

/**
 * struct vmem_arch - one format of tables
 * @name: for people
 * @entry_size: bytes of an entry, 4 or 8
 * @index_bits: a table holds 1 << @index_bits entries
 * @root_table: the root table's address in a CR3 value
 * @writable: the bit of an entry that lets what it maps be written to
 * @ignored: the bits of an entry that maps a page which the processor leaves to
 *	the guest
 * @decode: what the entry @raw of a table of @level means; pure
 * @encode: the entry of a table of @level that is @kind, TABLE or LEAF, and has
 *	this address and these permissions and no other bit set; pure. What the
 *	format cannot say decodes to something else.
 * @retarget: the entry @raw, TABLE or LEAF, with another address; pure
 * @split: what the entries that map the pages of the next lower level are to be
 *	to stand for the large page that @raw maps, but for their addresses,
 *	which are 0; pure
 * @shared: the tables that several entries may name, by level; VMEM_TABLE_NONE
 *	for a level whose tables cannot be shared
 */
struct vmem_arch {
	const char *name;
	int entry_size;
	int index_bits;
	u64 (*root_table)(const struct vmem_regime *regime, u64 cr3);
	u64 writable;
	u64 ignored;
	struct vmem_entry (*decode)(const struct vmem_regime *regime, int level,
				    u64 raw);
	u64 (*encode)(const struct vmem_regime *regime, int level,
		      enum vmem_entry_kind kind, u64 addr, u32 perms);
	u64 (*retarget)(const struct vmem_regime *regime, int level, u64 raw,
			u64 addr);
	u64 (*split)(const struct vmem_regime *regime, int level, u64 raw);
	enum vmem_table shared[VMEM_MAX_LEVELS + 1];
};

extern const struct vmem_arch vmem_arch_i686;
extern const struct vmem_arch vmem_arch_amd64;

/**
 * vmem_shared_table - what references call the tables of a level
 * @arch: the format
 * @level: the level
 *
 * Return: the name; VMEM_TABLE_NONE if there can be no reference to one.
 */
static inline enum vmem_table vmem_shared_table(const struct vmem_arch *arch,
						int level)
{
	return arch->shared[level];
}

/**
 * vmem_level_shift - log2 of what one entry of a table spans
 * @arch: the format
 * @level: the table's level
 */
static inline int vmem_level_shift(const struct vmem_arch *arch, int level)
{
	return VMEM_PAGE_SHIFT + arch->index_bits * (level - 1);
}

/**
 * vmem_level_size - bytes of virtual memory that one entry of a table spans,
 *	which is the size of the page that it maps if it is a leaf
 * @arch: the format
 * @level: the table's level
 */
static inline u64 vmem_level_size(const struct vmem_arch *arch, int level)
{
	return 1ULL << vmem_level_shift(arch, level);
}

/**
 * vmem_is_cow - does the guest's own convention mark a page copy-on-write
 * @regime: the paging mode, with the convention
 * @raw: the entry that maps the page
 */
static inline bool vmem_is_cow(const struct vmem_regime *regime, u64 raw)
{
	return regime->cow_mask &&
	       (raw & regime->cow_mask) == regime->cow_value;
}

#endif /* _VMEM_ARCH_H */
