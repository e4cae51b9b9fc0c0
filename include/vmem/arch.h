/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The formats: what one table entry means, and how one is made. Both are pure:
 * they touch no memory, take no lock and report nothing. A level-L table's entry
 * is EMPTY, a TABLE of level L-1, a LEAF of that level's page size, or RESERVED.
 */
#ifndef _VMEM_ARCH_H
#define _VMEM_ARCH_H

#include <linux/compiler.h>
#include <linux/types.h>
#include <vmem/mode.h>

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
 * @ignored: the bits of an entry that maps a page which the processor leaves to
 *	the guest
 * @untold: the bits of an entry that maps a page which say neither where it leads
 *	nor who may use it how
 * @init_formats: set @formats and @beyond of a mode, once its mode and widths
 *	are known; pure
 * @table_addr: bits of the address in an entry that names a table
 * @no_execute: the bit of an entry that forbids execution, 0 if there is none
 * @encode: the entry of a table of @level that is @kind, TABLE or LEAF, and has
 *	this address and these permissions and no other bit set; pure. What the
 *	format cannot say decodes to something else.
 * @retarget: the entry @raw, TABLE or LEAF, with another address; pure
 * @split: the entry of a page of the next lower level, with address 0 and the
 *	attributes of the large page that @raw maps; pure
 * @shared: the tables that several entries may name, by level; VMEM_TABLE_NONE
 *	for a level whose tables cannot be shared
 */
struct vmem_arch {
	const char *name;
	int entry_size;
	int index_bits;
	u64 (*root_table)(const struct vmem_mode *mode, u64 cr3);
	u64 ignored;
	u64 untold;
	void (*init_formats)(struct vmem_mode *mode);
	u64 table_addr;
	u64 no_execute;
	u64 (*encode)(const struct vmem_mode *mode, int level,
		      enum vmem_entry_kind kind, u64 addr, u32 perms);
	u64 (*retarget)(const struct vmem_mode *mode, int level, u64 raw,
			u64 addr);
	u64 (*split)(const struct vmem_mode *mode, int level, u64 raw);
	enum vmem_table shared[VMEM_MAX_LEVELS + 1];
};

extern const struct vmem_arch vmem_arch_i686;
extern const struct vmem_arch vmem_arch_pae;
extern const struct vmem_arch vmem_arch_amd64;

/* Entries of 8 bytes are made alike in long mode and in PAE. */
u64 vmem_amd64_encode(const struct vmem_mode *mode, int level,
		      enum vmem_entry_kind kind, u64 addr, u32 perms);
u64 vmem_amd64_retarget(const struct vmem_mode *mode, int level, u64 raw,
			u64 addr);
u64 vmem_amd64_split(const struct vmem_mode *mode, int level, u64 raw);

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
 * vmem_load_entry - read an entry, in one load
 * @size: bytes of the entry, 4 or 8
 * @entry: the entry, in guest memory that is pinned; it may change at any time
 *
 * Return: the entry, 4-byte ones zero-extended.
 */
static inline u64 vmem_load_entry(int size, const void *entry)
{
	if (size == sizeof(u32))
		return READ_ONCE(*(const u32 *)entry);
	return READ_ONCE(*(const u64 *)entry);
}

/*
 * These are at the same place in all formats (SDM vol. 3, 4.3 to 4.5). Dirty is
 * ignored in an entry that names a table.
 */
#define VMEM_RAW_PRESENT BIT_ULL(0)
#define VMEM_RAW_WRITABLE BIT_ULL(1)
#define VMEM_RAW_USER BIT_ULL(2)
#define VMEM_RAW_ACCESSED BIT_ULL(5)
#define VMEM_RAW_DIRTY BIT_ULL(6)

/* And these. PAT is where a large page has PS, and has bit 12 there. */
#define VMEM_RAW_PWT BIT_ULL(3)
#define VMEM_RAW_PCD BIT_ULL(4)
#define VMEM_RAW_PAT BIT_ULL(7)
#define VMEM_RAW_GLOBAL BIT_ULL(8)
#define VMEM_RAW_LARGE_PAT BIT_ULL(12)
#define VMEM_RAW_KEY_SHIFT 59

/**
 * vmem_decode_as - what an entry means, of a level whose format is at hand
 * @mode: the paging mode
 * @format: the format, of @mode
 * @raw: the entry, 4-byte ones zero-extended
 *
 * Pure, and in line, because a walk does little else.
 */
static __always_inline struct vmem_entry
vmem_decode_as(const struct vmem_mode *mode, const struct vmem_format *format,
	       u64 raw)
{
	struct vmem_entry entry = { .kind = VMEM_ENTRY_EMPTY };
	u64 reserved;

	if (!(raw & VMEM_RAW_PRESENT))
		return entry;
	if (raw & format->leaf) {
		entry.kind = VMEM_ENTRY_LEAF;
		entry.addr = (raw & format->leaf_addr & mode->addr) |
			     (raw & format->leaf_high) << VMEM_HIGH_SHIFT;
		reserved = format->leaf_reserved |
			   (format->leaf_beyond & mode->beyond);
	} else {
		entry.kind = VMEM_ENTRY_TABLE;
		entry.addr = raw & mode->arch->table_addr & mode->addr;
		reserved = format->table_reserved |
			   (format->table_beyond & mode->beyond);
	}
	if (raw & reserved)
		return (struct vmem_entry){ .kind = VMEM_ENTRY_RESERVED };
	if (entry.kind == VMEM_ENTRY_TABLE)
		raw |= format->table_grants;
	/* The bits of an entry are those of perms, one place further up. */
	entry.perms = (raw >> 1 & (VMEM_WRITABLE | VMEM_USER)) |
		      (raw & mode->arch->no_execute ? 0 : VMEM_EXECUTABLE);
	return entry;
}

/**
 * vmem_decode - what an entry means
 * @mode: the paging mode
 * @level: level of the table that the entry is in
 * @raw: the entry, 4-byte ones zero-extended
 */
static inline struct vmem_entry vmem_decode(const struct vmem_mode *mode,
					    int level, u64 raw)
{
	return vmem_decode_as(mode, &mode->formats[level], raw);
}

/**
 * vmem_attributes - what an entry that maps a page says of it besides
 * @mode: the paging mode
 * @level: level of the table that the entry is in
 * @raw: the entry
 *
 * Return: VMEM_ATTR_*
 */
static inline u32 vmem_attributes(const struct vmem_mode *mode, int level,
				  u64 raw)
{
	u64 pat = level == VMEM_LEVEL_PT ? VMEM_RAW_PAT : VMEM_RAW_LARGE_PAT;
	u32 attributes = (raw & VMEM_RAW_PWT ? 1 << 4 : 0) |
			 (raw & VMEM_RAW_PCD ? 2 << 4 : 0) |
			 (raw & pat ? 4 << 4 : 0);

	if (raw & VMEM_RAW_ACCESSED)
		attributes |= VMEM_ATTR_ACCESSED;
	if (raw & VMEM_RAW_DIRTY)
		attributes |= VMEM_ATTR_DIRTY;
	if (mode->global && raw & VMEM_RAW_GLOBAL)
		attributes |= VMEM_ATTR_GLOBAL;
	if (mode->encryption && !(raw & mode->encryption) == mode->shared)
		attributes |= VMEM_ATTR_ENCRYPTED;
	if (mode->keys)
		attributes |= (raw >> VMEM_RAW_KEY_SHIFT & 15) << 8;
	return attributes;
}

/**
 * vmem_is_cow - does the guest's own convention mark a page copy-on-write
 * @mode: the paging mode, with the convention
 * @raw: the entry that maps the page
 */
static inline bool vmem_is_cow(const struct vmem_mode *mode, u64 raw)
{
	return mode->cow_mask && (raw & mode->cow_mask) == mode->cow_value;
}

#endif /* _VMEM_ARCH_H */
