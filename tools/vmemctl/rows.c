// SPDX-License-Identifier: GPL-2.0-only
/*
 * Rows that several commands print, and the totals of walks over spaces
 */
#include "vmemctl.h"

int va_digits(const struct vmem_regs *regs)
{
	return libvmem_top_level(regs) < VMEM_LEVEL_PML4 ? 8 : 16;
}

int raw_digits(const struct vmem_regs *regs)
{
	return libvmem_top_level(regs) == VMEM_LEVEL_PD ? 8 : 16;
}

int gpa_digits(const struct vmem_regs *regs)
{
	return (regs->maxphyaddr + 3) / 4;
}

/* A page size is a power of two: 4K, 2M, 4M, 1G. */
void print_page_size(__u64 size)
{
	static const char units[] = "BKMGTPE";
	unsigned int unit = 0;
	char text[4];
	char *end = text + sizeof(text);
	char *at = end;

	for (; size >= 1024; size /= 1024)
		unit++;
	for (; size || end - at < 1; size /= 10)
		*--at = '0' + size % 10;
	if (end - at < 2)
		*--at = ' ';
	out_bytes(at, end - at);
	out_char(units[unit]);
}

void print_region(const struct vmem_regs *regs, __u64 va, __u64 last_va)
{
	int digits = va_digits(regs);

	out_hex(va, digits);
	out_char('-');
	out_hex(last_va, digits);
}

void print_perms(__u32 perms)
{
	const char text[] = {
		'r',
		perms & VMEM_WRITABLE ? 'w' : '-',
		perms & VMEM_EXECUTABLE ? 'x' : '-',
		perms & VMEM_USER ? 'u' : 's',
	};

	out_bytes(text, sizeof(text));
}

void print_mapping(const struct vmem_regs *regs, const struct vmem_mapping *m,
		   const struct pat *pat)
{
	print_region(regs, m->va, m->last_va);
	out_char(' ');
	out_hex(m->gpa, gpa_digits(regs));
	out_char(' ');
	print_page_size(m->page_size);
	out_char(' ');
	print_perms(m->perms);
	if (pat)
		print_attributes(regs, pat, m->attributes);
	if (m->kind == VMEM_KIND_COW)
		out_text(" cow");
	out_char('\n');
}

void print_space(const struct vmem_regs *regs, __u32 index, __u64 space)
{
	out("space %u: root %0*llx", index, gpa_digits(regs), space);
}

void json_open_space(unsigned int space, __u64 root)
{
	json_open_object(NULL);
	json_put_name("type", "space");
	json_put_count("space", space);
	json_put_hex("root", root);
}

void json_put_spaces(const struct libvmem_roots *roots)
{
	json_open_list("spaces");
	for (unsigned int i = 0; i < roots->nr; i++) {
		json_open_space(i, libvmem_space_of_root(roots, i));
		json_close();
	}
	json_close();
}

void json_put_perms(__u32 perms)
{
	json_put_bool("writable", perms & VMEM_WRITABLE);
	json_put_bool("user", perms & VMEM_USER);
	json_put_bool("executable", perms & VMEM_EXECUTABLE);
}

void json_put_page(const struct vmem_translation *t)
{
	bool mapped = t->out_status == VMEM_MAPPED;
	__u32 perms = t->out_perms;

	json_put_count_if("page_size", mapped, t->out_page_size);
	json_put_bool_if("writable", mapped, perms & VMEM_WRITABLE);
	json_put_bool_if("user", mapped, perms & VMEM_USER);
	json_put_bool_if("executable", mapped, perms & VMEM_EXECUTABLE);
}

static void put_range(__u64 va, __u64 last_va)
{
	json_put_hex("va", va);
	json_put_hex("last_va", last_va);
	json_put_count("len", last_va - va + 1);
}

void json_put_mapping(const struct vmem_regs *regs,
		      const struct vmem_mapping *m, const struct pat *pat)
{
	json_open_row(NULL, "mapping");
	put_range(m->va, m->last_va);
	json_put_hex("gpa", m->gpa);
	json_put_count("page_size", m->page_size);
	json_put_perms(m->perms);
	json_put_bool("cow", m->kind == VMEM_KIND_COW);
	if (pat)
		json_put_attributes(regs, pat, m->attributes);
	json_close();
}

void json_put_owner(bool has, __u32 space, __u64 root, __u64 va)
{
	json_put_count_if("owner_space", has, space);
	json_put_hex_if("owner_root", has, root);
	json_put_hex_if("owner_va", has, va);
}

void json_put_reference(const char *key, const struct vmem_reference *reference)
{
	json_open_row(key, "reference");
	put_range(reference->our_va, reference->our_va + (reference->len - 1));
	json_put_name("level", table_name(reference->table));
	json_put_hex("table_gpa", reference->table_gpa);
	json_put_owner(true, reference->owner_root, reference->space,
		       reference->their_va);
	json_put_perms(reference->perms);
	json_put_bool("wider", is_wider(reference));
	json_close();
}

void print_wider_note(void)
{
	out("* rights wider here than on the owner's path, which limits the rows told\n"
	    "  there: ask vtop or maps in this space for the rights of these pages\n");
}

/* ", 3 things", and nothing at all if there are none. */
static void print_nr(__u64 nr, const char *thing, const char *things)
{
	if (nr)
		out(", %llu %s", nr, plural(nr, thing, things));
}

void print_stats(const struct walked *walked)
{
	const struct vmem_spaces_stats *stats = &walked->stats;
	const __u64 expands_to = walked_expands_to(walked);

	out("total: %llu space%s", stats->spaces,
	    plural(stats->spaces, "", "s"));
	print_nr(stats->root_aliases, "root alias", "root aliases");
	print_nr(stats->mappings, "mapping", "mappings");
	print_nr(stats->leaves, "leaf", "leaves");
	print_nr(stats->references, "reference", "references");
	print_nr(stats->anomalies, "anomaly", "anomalies");
	out("\n");
	out("read:  %llu table%s, %llu entr%s\n", stats->tables,
	    plural(stats->tables, "", "s"), stats->entries,
	    plural(stats->entries, "y", "ies"));
	out("each root alone would show %llu %s\n", expands_to,
	    plural(expands_to, "leaf", "leaves"));
}

void json_put_stats(const struct walked *walked)
{
	const struct vmem_spaces_stats *stats = &walked->stats;

	json_open_object("stats");
	json_put_count("spaces", stats->spaces);
	json_put_count("root_aliases", stats->root_aliases);
	json_put_count("mappings", stats->mappings);
	json_put_count("leaves", stats->leaves);
	json_put_count("references", stats->references);
	json_put_count("anomalies", stats->anomalies);
	json_put_count("tables_known", stats->known);
	json_put_count("tables_read", stats->tables);
	json_put_count("entries_read", stats->entries);
	json_put_count("expands_to", walked_expands_to(walked));
	json_close();
}
