// SPDX-License-Identifier: GPL-2.0-only
/*
 * vmemctl who: which spaces map a guest-physical page, and where
 */
#include <stdlib.h>

#include "vmemctl.h"

/**
 * struct place - where a page is mapped
 * @root: index of the space's root
 * @va: virtual address
 * @by: the reference by which it is mapped there too, or NULL
 */
struct place {
	__u32 root;
	__u64 va;
	const struct vmem_reference *by;
};

/**
 * struct who - the answer for one page
 * @vm: the guest
 * @walked: the records of all spaces
 * @references: those that are references, by what they refer to
 * @nr_references: length of @references
 * @told: for each record, whether it is in @places
 * @places: where the page is mapped, each shared table once
 * @nr: length of @places
 * @room: places that @places has room for
 */
struct who {
	struct libvmem *vm;
	const struct walked *walked;
	const struct vmem_record **references;
	size_t nr_references;
	bool *told;
	struct place *places;
	size_t nr;
	size_t room;
};

static void add(struct who *who, size_t record, __u64 va,
		const struct vmem_reference *by)
{
	if (who->nr == who->room) {
		who->room = who->room ? who->room * 2 : 64;
		who->places = reallocarray(who->places, who->room,
					   sizeof(*who->places));
		if (!who->places)
			die("out of memory for the places: ask for fewer roots");
	}
	who->told[record] = true;
	who->places[who->nr++] =
		(struct place){ who->walked->records[record].root, va, by };
}

static void add_mappings(struct who *who, __u64 gpa)
{
	for (size_t i = 0; i < who->walked->nr; i++) {
		const struct vmem_record *record = &who->walked->records[i];
		const struct vmem_mapping *m = &record->mapping;

		who->told[i] = false;
		if (record->type == VMEM_THIS_SPACE && gpa >= m->gpa &&
		    gpa - m->gpa <= m->last_va - m->va)
			add(who, i, m->va + (gpa - m->gpa), NULL);
	}
}

/* Of an address, as many bits choose an entry below the table, or a place in the page. */
static const unsigned int region_bits[] = {
	[VMEM_TABLE_I686_PT] = 22,    [VMEM_TABLE_AMD64_PT] = 21,
	[VMEM_TABLE_AMD64_PD] = 30,   [VMEM_TABLE_AMD64_PDPT] = 39,
	[VMEM_TABLE_AMD64_PML4] = 48, [VMEM_TABLE_PAE_PT] = 21,
	[VMEM_TABLE_PAE_PD] = 30,
};

/**
 * struct region - what a table maps in the space that owns it
 * @root: index of the space's root
 * @bits: its table's @region_bits
 * @number: the rest of the addresses
 */
struct region {
	__u32 root;
	unsigned int bits;
	__u64 number;
};

static struct region region_of(const struct vmem_reference *r)
{
	unsigned int bits =
		r->table < ARRAY_SIZE(region_bits) ? region_bits[r->table] : 0;

	return (struct region){ r->owner_root, bits, r->their_va >> bits };
}

static int compare_regions(const struct region *a, const struct region *b)
{
	if (a->root != b->root)
		return a->root < b->root ? -1 : 1;
	if (a->bits != b->bits)
		return a->bits < b->bits ? -1 : 1;
	return a->number < b->number ? -1 : a->number > b->number;
}

static int by_region(const void *a, const void *b)
{
	const struct vmem_record *const *x = a, *const *y = b;
	struct region p = region_of(&(*x)->reference);
	struct region q = region_of(&(*y)->reference);

	return compare_regions(&p, &q);
}

static void sort_references(struct who *who)
{
	const struct walked *walked = who->walked;

	for (size_t i = 0; i < walked->nr; i++)
		if (walked->records[i].type == VMEM_ALIASING)
			who->references[who->nr_references++] =
				&walked->records[i];
	qsort(who->references, who->nr_references, sizeof(*who->references),
	      by_region);
}

/* The first reference whose region is not before @region */
static size_t first_from(const struct who *who, const struct region *region)
{
	size_t low = 0, high = who->nr_references;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		struct region r =
			region_of(&who->references[middle]->reference);

		if (compare_regions(&r, region) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Those to the table that maps @region; an excluded range may be left out of it. */
static void add_references_to(struct who *who, const struct region *region,
			      __u64 va)
{
	for (size_t i = first_from(who, region); i < who->nr_references; i++) {
		const struct vmem_record *record = who->references[i];
		const struct vmem_reference *r = &record->reference;
		struct region theirs = region_of(r);
		size_t index = record - who->walked->records;

		if (compare_regions(&theirs, region))
			break;
		if (!who->told[index] && va >= r->their_va &&
		    va - r->their_va < r->len)
			add(who, index, r->our_va + (va - r->their_va), r);
	}
}

/*
 * Tables that are on the way to a place and are referred to from elsewhere. A table that
 * is referred to has all of its own region in one space, so the first place in it leads to
 * all tables above as well as any other.
 */
static void add_references(struct who *who, size_t place)
{
	static const unsigned int bits[] = { 21, 22, 30, 39, 48 };
	const struct place at = who->places[place];

	for (size_t i = 0; i < ARRAY_SIZE(bits); i++) {
		const struct region region = { at.root, bits[i],
					       at.va >> bits[i] };

		add_references_to(who, &region, at.va);
	}
}

static int take(__u64 va, const struct vmem_translation *answer, void *priv)
{
	(void)va;
	*(struct vmem_translation *)priv = *answer;
	return 0;
}

/* Rights are those of the whole path, so each place has its own. */
static struct vmem_translation translate(const struct who *who,
					 const struct place *place)
{
	const struct vmem_regs regs =
		libvmem_regs_of_root(who->walked->roots, place->root);
	struct vmem_translation answer = {};
	struct libvmem_error error;

	check(libvmem_translate(who->vm, &regs, &place->va, 1, take, &answer,
				&error),
	      &error);
	return answer;
}

static void print_place(const struct who *who, const struct place *place)
{
	const struct libvmem_roots *roots = who->walked->roots;
	const struct vmem_regs *regs = &roots->regs;
	struct vmem_translation now = translate(who, place);

	out("%0*llx  %0*llx  ", gpa_digits(regs),
	    libvmem_space_of_root(roots, place->root), va_digits(regs),
	    place->va);
	if (now.out_status == VMEM_MAPPED) {
		print_perms(now.out_perms);
		out("  ");
		print_page_size(now.out_page_size);
	} else {
		out("%s by now", status_name(now.out_status));
	}
	if (place->by)
		out("  by %s %0*llx of %0*llx", table_name(place->by->table),
		    gpa_digits(regs), place->by->table_gpa, gpa_digits(regs),
		    place->by->space);
	out("\n");
}

static void put_place(const struct who *who, const struct place *place)
{
	const struct libvmem_roots *roots = who->walked->roots;
	struct vmem_translation now = translate(who, place);

	json_open_row(NULL, "place");
	json_put_count("space", place->root);
	json_put_hex("root", libvmem_space_of_root(roots, place->root));
	json_put_hex("va", place->va);
	json_put_name("status", status_name(now.out_status));
	json_put_page(&now);
	if (place->by)
		json_put_reference("by", place->by);
	else
		json_put_null("by");
	json_close();
}

static bool is_memory(const struct who *who, __u64 gpa)
{
	struct libvmem_read read;

	return libvmem_read_phys(who->vm, gpa, NULL, 1, &read, NULL) ||
	       read.status != VMEM_UNBACKED;
}

/* A root that was mistyped maps nothing, and that is no answer. */
static void check_roots(const struct walked *walked)
{
	for (size_t i = 0; i < walked->nr; i++) {
		const struct vmem_record *record = &walked->records[i];

		if (record->type == VMEM_ANOMALY && !record->anomaly.raw)
			warn("warning: root %llx leads nowhere: %s",
			     libvmem_space_of_root(walked->roots, record->root),
			     status_name(record->anomaly.status));
	}
}

static void find(struct who *who, __u64 gpa)
{
	who->nr = 0;
	add_mappings(who, gpa);
	for (size_t i = 0; i < who->nr; i++)
		add_references(who, i);
}

static void print_text(struct who *who, __u64 gpa)
{
	const struct vmem_regs *regs = &who->walked->roots->regs;

	out("%llx: ", gpa);
	if (who->nr)
		out("%zu row%s\n", who->nr, plural(who->nr, "", "s"));
	else
		out("none of %u space%s maps it%s\n", who->walked->roots->nr,
		    plural(who->walked->roots->nr, "", "s"),
		    is_memory(who, gpa) ? "" : ": there is no memory");
	if (who->nr)
		out("%-*s  %-*s  RIGHTS SIZE\n", gpa_digits(regs), "SPACE",
		    va_digits(regs), "ADDRESS");
	for (size_t i = 0; i < who->nr; i++)
		print_place(who, &who->places[i]);
}

static void put_page(struct who *who, __u64 gpa)
{
	json_open_row(NULL, "page");
	json_put_hex("gpa", gpa);
	json_put_bool("memory", is_memory(who, gpa));
	json_open_list("places");
	for (size_t i = 0; i < who->nr; i++)
		put_place(who, &who->places[i]);
	json_close();
	json_close();
}

static void answer(struct who *who, const struct addresses *gpas, bool json)
{
	who->told = calloc(who->walked->nr + 1, sizeof(*who->told));
	who->references = calloc(who->walked->nr + 1, sizeof(*who->references));
	if (!who->told || !who->references)
		die("out of memory for the records: ask for fewer roots");
	sort_references(who);
	if (json) {
		json_begin("who");
		json_put_spaces(who->walked->roots);
		json_open_list("pages");
	}
	for (int i = 0; i < gpas->nr; i++) {
		__u64 gpa = gpas->all[i];

		find(who, gpa);
		if (json) {
			put_page(who, gpa);
			continue;
		}
		out(i ? "\n" : "");
		print_text(who, gpa);
	}
	if (json) {
		json_close();
		json_end();
	}
	free(who->places);
	free(who->references);
	free(who->told);
}

static void run(struct opts *opts, int nr_args, char **args)
{
	static struct libvmem_roots roots;
	struct libvmem_error error;
	struct walked walked;
	struct who who = { .walked = &walked };
	struct addresses gpas = parse_addresses("who", "GPA", nr_args, args);

	opts->all |= !opts->source.nr_cr3s;
	parse_range("who", 0, NULL, &opts->scope);
	who.vm = guest_open(opts);
	guest_roots(who.vm, opts, true, &roots);
	check(walk_spaces(who.vm, &roots, &opts->scope, NULL, NULL, &walked,
			  &error),
	      &error);
	check_roots(&walked);
	answer(&who, &gpas, opts->json);
	free(gpas.all);
	walked_free(&walked);
	guest_close(who.vm, opts);
}

const struct command who_command = {
	.name = "who",
	.args = "GPA...",
	.summary = "which spaces map a guest-physical page",
	.help = "Show which spaces map each guest-physical address, where, and with which\n"
		"rights: of the roots that are given with --cr3, or of all processes'.\n"
		"\vA shared table is listed once for each entry that names it, as\n"
		"\"by TABLE of SPACE\": all that it maps there is mapped here.",
	.takes = TAKES_SPACES | TAKES_FETCH | TAKES_EXCLUDE,
	.run = run,
};
