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

static const char *kind_name(__u32 kind)
{
	switch (kind) {
	case VMEM_KIND_BASIC:
		return "basic";
	case VMEM_KIND_COW:
		return "cow";
	default:
		return "unmapped";
	}
}

/* A page size is a power of two: 4K, 2M, 4M, 1G. */
void print_page_size(__u64 size)
{
	static const char units[] = "BKMGTPE";
	unsigned int unit = 0;

	for (; size >= 1024; size /= 1024)
		unit++;
	out("%2llu%c", size, units[unit]);
}

void print_region(const struct vmem_regs *regs, __u64 va, __u64 last_va)
{
	int digits = va_digits(regs);

	out("%0*llx-%0*llx", digits, va, digits, last_va);
}

void print_perms(__u32 perms)
{
	out("r%c%c%c", perms & VMEM_WRITABLE ? 'w' : '-',
	    perms & VMEM_EXECUTABLE ? 'x' : '-', perms & VMEM_USER ? 'u' : 's');
}

void print_mapping(const struct vmem_regs *regs, const struct vmem_mapping *m,
		   const struct pat *pat)
{
	print_region(regs, m->va, m->last_va);
	out(" %0*llx ", gpa_digits(regs), m->gpa);
	print_page_size(m->page_size);
	out(" ");
	print_perms(m->perms);
	if (pat)
		print_attributes(regs, pat, m->attributes);
	out("%s\n", m->kind == VMEM_KIND_COW ? " cow" : "");
}

void print_space(const struct vmem_regs *regs, __u32 index, __u64 space)
{
	out("space %u: root %0*llx", index, gpa_digits(regs), space);
}

static void begin_space(struct json_space *space)
{
	__u64 root = libvmem_space_of_root(space->roots, space->index);

	if (space->roots->nr > 1)
		out(space->index ? "," : "[");
	out("{\"root\":");
	json_put(json_hex(root));
	out(",\"%s\":[", space->key);
	space->begun = true;
}

void json_put_row(struct json_space *space, json_t *row)
{
	if (!space->begun)
		begin_space(space);
	json_put_next(&space->has_rows, row);
}

static void end_list(const struct json_space *space)
{
	out(space->roots->nr > 1 ? "]\n" : "\n");
}

void json_end_space(struct json_space *space)
{
	if (!space->begun)
		begin_space(space);
	out("]");
	if (space->pat) {
		out(",\"pat\":");
		json_put(json_hex(space->pat->value));
		out(",\"pat_source\":\"%s\"", space->pat->source);
	}
	if (space->found)
		out(",\"anomalies\":%llu,\"torn\":%llu",
		    space->found->anomalies, space->found->torn);
	out("}");
	if (space->index + 1 == space->roots->nr)
		end_list(space);
}

void json_check(struct json_space *space, int ret,
		const struct libvmem_error *error)
{
	if (ret < 0 && (space->begun || space->index)) {
		if (!space->begun)
			begin_space(space);
		out("],\"error\":");
		json_put(json_path(error->message));
		out("}");
		end_list(space);
	}
	check(ret, error);
}

void json_set_perms(json_t *o, __u32 perms)
{
	json_set(o, "writable", json_boolean(perms & VMEM_WRITABLE));
	json_set(o, "user", json_boolean(perms & VMEM_USER));
	json_set(o, "executable", json_boolean(perms & VMEM_EXECUTABLE));
}

json_t *json_mapping(const struct vmem_mapping *m)
{
	json_t *o = json_object();

	json_set(o, "va", json_hex(m->va));
	json_set(o, "last_va", json_hex(m->last_va));
	json_set(o, "gpa", json_hex(m->gpa));
	json_set(o, "page_size", json_integer(m->page_size));
	json_set(o, "kind", json_name(kind_name(m->kind)));
	json_set_perms(o, m->perms);
	return o;
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
		out(", %llu %s", nr, nr == 1 ? thing : things);
}

void print_stats(const struct walked *walked)
{
	const struct vmem_spaces_stats *stats = &walked->stats;

	out("total: %llu space%s", stats->spaces,
	    stats->spaces == 1 ? "" : "s");
	print_nr(stats->root_aliases, "root alias", "root aliases");
	print_nr(stats->mappings, "mapping", "mappings");
	print_nr(stats->leaves, "leaf", "leaves");
	print_nr(stats->references, "reference", "references");
	print_nr(stats->anomalies, "anomaly", "anomalies");
	out("\n");
	out("read:  %llu table%s, %llu entries\n", stats->tables,
	    stats->tables == 1 ? "" : "s", stats->entries);
	out("each root alone would show %llu leaves\n",
	    walked_expands_to(walked));
}

json_t *json_stats(const struct walked *walked)
{
	const struct vmem_spaces_stats *stats = &walked->stats;
	json_t *o = json_object();

	json_set(o, "spaces", json_count(stats->spaces));
	json_set(o, "root_aliases", json_count(stats->root_aliases));
	json_set(o, "mappings", json_count(stats->mappings));
	json_set(o, "leaves", json_count(stats->leaves));
	json_set(o, "references", json_count(stats->references));
	json_set(o, "anomalies", json_count(stats->anomalies));
	json_set(o, "known", json_count(stats->known));
	json_set(o, "tables", json_count(stats->tables));
	json_set(o, "entries", json_count(stats->entries));
	json_set(o, "expands_to", json_count(walked_expands_to(walked)));
	return o;
}
