// SPDX-License-Identifier: GPL-2.0-only
/*
 * One address, and one entry of a table: what the core makes of them
 */
#include <linux/bits.h>
#include <linux/kernel.h>
#include <vmem/access.h>

#include "error.h"

/* What an entry that names a table says of how that is read. */
#define TABLE_ATTRIBUTES (VMEM_ATTR_ACCESSED | VMEM_ATTR_ENCRYPTED | 3 << 4)

u64 libvmem_data_address(const struct vmem_regs *regs, u64 va)
{
	const struct vmem_access access = { .kind = VMEM_ACCESS_READ };

	return vmem_access_va(regs, &access, va);
}

int libvmem_entry(const struct vmem_regs *regs, enum vmem_level level, u64 raw,
		  struct libvmem_entry *entry, struct libvmem_error *error)
{
	const struct vmem_format *format;
	struct vmem_entry decoded;
	struct vmem_root root;
	int ret = vmem_root_init(&root, regs);

	*entry = (struct libvmem_entry){};
	if (ret)
		return error_of(error, STEP_REGISTERS, -ret, raw, regs,
				"cannot decode the entry %#llx", raw);
	if (level < VMEM_LEVEL_PT || (int)level > root.mode.top)
		return error_set(error, LIBVMEM_BAD_ARGUMENT, STEP_ARGUMENT,
				 raw, NULL, "there are no tables of level %d",
				 level);
	if (!(raw & VMEM_RAW_PRESENT))
		return 0;

	format = &root.mode.formats[level];
	decoded = vmem_decode(&root.mode, level, raw);
	entry->perms = decoded.perms;
	entry->addr = decoded.addr;
	entry->attributes = vmem_attributes(&root.mode, level, raw);
	if (raw & format->leaf) {
		entry->kind = LIBVMEM_ENTRY_PAGE;
		entry->reserved = raw &
				  (format->leaf_reserved |
				   (format->leaf_beyond & root.mode.beyond));
	} else {
		entry->kind = LIBVMEM_ENTRY_TABLE;
		entry->attributes &= TABLE_ATTRIBUTES;
		entry->reserved = raw &
				  (format->table_reserved |
				   (format->table_beyond & root.mode.beyond));
	}
	return 0;
}

/* Intel SDM vol. 3, table 12-10; AMD APM vol. 2, table 7-9 */
const char *libvmem_memory_type(u64 pat, u32 attributes)
{
	static const char names[8][16] = { "UC", "WC", "reserved", "reserved",
					   "WT", "WP", "WB",	   "UC-" };
	unsigned int type = pat >> 8 * VMEM_ATTR_PAT(attributes) & 0xff;

	return names[type < ARRAY_SIZE(names) ? type : 2];
}
