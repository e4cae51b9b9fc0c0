// SPDX-License-Identifier: GPL-2.0-only
/*
 * Attributes of pages, and what is set in the entries of tables
 */
#include <linux/const.h>
#include <string.h>

#include "vmemctl.h"

#define CR4_PKE _BITULL(22)
#define CR4_PKS _BITULL(24)

/* Where a large page has PAT; PS is where a page of 4 KiB has it. */
#define LARGE_PAT _BITULL(12)

/* Which means nothing without CR4.PGE */
#define GLOBAL _BITULL(8)

/* Pages and entries have protection keys. */
static bool has_keys(const struct vmem_regs *regs)
{
	return libvmem_top_level(regs) >= VMEM_LEVEL_PML4 &&
	       regs->cr4 & (CR4_PKE | CR4_PKS);
}

/* It is known which bit tells whether a page is encrypted. */
static bool has_encryption(const struct vmem_regs *regs)
{
	return libvmem_top_level(regs) != VMEM_LEVEL_PD && regs->rules >> 8;
}

struct pat guest_pat(struct libvmem *vm, const struct opts *opts)
{
	struct pat pat = { opts->pat, "option" };

	if (!opts->has_pat)
		pat.source = libvmem_find_pat(vm, &opts->source, &pat.value) ?
				     "vcpu" :
				     "reset";
	return pat;
}

void print_attributes(const struct vmem_regs *regs, const struct pat *pat,
		      __u32 attributes)
{
	bool keys = has_keys(regs), encryption = has_encryption(regs);
	const char *type = libvmem_memory_type(pat->value, attributes);
	const char flags[] = {
		' ',
		attributes & VMEM_ATTR_ACCESSED ? 'a' : '-',
		attributes & VMEM_ATTR_DIRTY ? 'd' : '-',
		attributes & VMEM_ATTR_GLOBAL ? 'g' : '-',
		' ',
	};

	out_bytes(flags, sizeof(flags));
	out_text(type);
	for (size_t len = strlen(type); len < 3 && (keys || encryption); len++)
		out_char(' ');
	if (keys)
		out(" key %-*u", encryption ? 2 : 0, VMEM_ATTR_KEY(attributes));
	if (encryption)
		out(" %s",
		    attributes & VMEM_ATTR_ENCRYPTED ? "encrypted" : "plain");
}

void print_page_attributes(const struct vmem_regs *regs, const struct pat *pat,
			   __u32 attributes)
{
	out("%s%s%s%s (PAT %u%s)",
	    attributes & VMEM_ATTR_ACCESSED ? "accessed, " : "",
	    attributes & VMEM_ATTR_DIRTY ? "dirty, " : "",
	    attributes & VMEM_ATTR_GLOBAL ? "global, " : "",
	    libvmem_memory_type(pat->value, attributes),
	    VMEM_ATTR_PAT(attributes),
	    strcmp(pat->source, "reset") ? "" : ", as after reset");
	if (has_keys(regs))
		out(", key %u", VMEM_ATTR_KEY(attributes));
	if (has_encryption(regs))
		out(", %s", attributes & VMEM_ATTR_ENCRYPTED ? "encrypted" :
							       "not encrypted");
}

/**
 * struct flag - a bit of an entry that has a name
 * @mask: the bit
 * @name: its name
 * @in_pt: it is one of entries that map a page of 4 KiB
 * @in_large: of those that map a larger one
 * @in_table: of those that name a table
 */
static const struct flag {
	__u64 mask;
	char name[12];
	bool in_pt;
	bool in_large;
	bool in_table;
} flags[] = {
	{ 1 << 0, "PRESENT", true, true, true },
	{ 1 << 1, "RW", true, true, true },
	{ 1 << 2, "USER", true, true, true },
	{ 1 << 3, "PWT", true, true, true },
	{ 1 << 4, "PCD", true, true, true },
	{ 1 << 5, "ACCESSED", true, true, true },
	{ 1 << 6, "DIRTY", true, true, false },
	{ 1 << 7, "PAT", true, false, false },
	{ 1 << 7, "PSE", false, true, false },
	{ LARGE_PAT, "PAT", false, true, false },
	{ GLOBAL, "GLOBAL", true, true, false },
	{ _BITULL(63), "NX", true, true, true },
};

static bool has_flag(const struct flag *flag, enum vmem_level level,
		     const struct libvmem_entry *entry, __u64 raw)
{
	if (!(raw & flag->mask & ~entry->reserved) ||
	    entry->kind == LIBVMEM_ENTRY_NOT_PRESENT)
		return false;
	if (flag->mask == GLOBAL && !(entry->attributes & VMEM_ATTR_GLOBAL))
		return false;
	if (entry->kind == LIBVMEM_ENTRY_TABLE)
		return flag->in_table;
	return level == VMEM_LEVEL_PT ? flag->in_pt : flag->in_large;
}

/* Registers that were answered with do not fail here. */
static struct libvmem_entry decode(const struct vmem_regs *regs,
				   enum vmem_level level, __u64 raw)
{
	struct libvmem_error error;
	struct libvmem_entry entry;

	check(libvmem_entry(regs, level, raw, &entry, &error), &error);
	return entry;
}

/* Call @put with the name of each that is set. */
static void name_flags(const struct libvmem_entry *entry, enum vmem_level level,
		       __u64 raw, void (*put)(const char *name, void *priv),
		       void *priv)
{
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		if (has_flag(&flags[i], level, entry, raw))
			put(flags[i].name, priv);
	if (entry->attributes & VMEM_ATTR_ENCRYPTED)
		put("ENCRYPTED", priv);
}

static void print_flag(const char *name, void *priv)
{
	bool *begun = priv;

	out("%s%s", *begun ? "|" : " (", name);
	*begun = true;
}

void print_entry(const struct vmem_regs *regs, enum vmem_level level, __u64 raw)
{
	const struct libvmem_entry entry = decode(regs, level, raw);
	bool begun = false;

	if (entry.kind == LIBVMEM_ENTRY_NOT_PRESENT)
		return;
	name_flags(&entry, level, raw, print_flag, &begun);
	out(")");
	if (has_keys(regs) && VMEM_ATTR_KEY(entry.attributes))
		out(" key %u", VMEM_ATTR_KEY(entry.attributes));
	if (entry.reserved)
		out(" reserved: %llx", entry.reserved);
}

static void put_flag(const char *name, void *priv)
{
	(void)priv;
	json_put_name(NULL, name);
}

static const char *kind_name(enum libvmem_entry_kind kind)
{
	static const char *const names[] = {
		[LIBVMEM_ENTRY_NOT_PRESENT] = "not-present",
		[LIBVMEM_ENTRY_TABLE] = "table",
		[LIBVMEM_ENTRY_PAGE] = "page",
	};

	return names[kind];
}

void json_put_entry(const char *key, const struct vmem_regs *regs,
		    enum vmem_level level, const struct vmem_trace *trace)
{
	const struct libvmem_entry entry = decode(regs, level, trace->raw);

	json_open_row(key, "entry");
	json_put_name("level", level_name(level));
	json_put_hex("entry_gpa", trace->entry_gpa);
	json_put_hex("raw", trace->raw);
	json_put_name("kind", kind_name(entry.kind));
	json_put_hex_if("reserved", entry.reserved, entry.reserved);
	json_open_list("flags");
	name_flags(&entry, level, trace->raw, put_flag, NULL);
	json_close();
	json_close();
}

void json_put_pat(const struct pat *pat)
{
	json_put_hex("pat", pat->value);
	json_put_name("pat_source", pat->source);
}

void json_put_attributes(const struct vmem_regs *regs, const struct pat *pat,
			 __u32 attributes)
{
	json_open_object("attributes");
	json_put_bool("accessed", attributes & VMEM_ATTR_ACCESSED);
	json_put_bool("dirty", attributes & VMEM_ATTR_DIRTY);
	json_put_bool("global", attributes & VMEM_ATTR_GLOBAL);
	json_put_name("memory_type",
		      libvmem_memory_type(pat->value, attributes));
	json_put_count("pat_entry", VMEM_ATTR_PAT(attributes));
	json_put_count_if("key", has_keys(regs), VMEM_ATTR_KEY(attributes));
	json_put_bool_if("encrypted", has_encryption(regs),
			 attributes & VMEM_ATTR_ENCRYPTED);
	json_close();
}
