// SPDX-License-Identifier: GPL-2.0-only
/*
 * hostile.c - tables that are made to be walked for ever, or to nowhere
 *
 * Whatever the tables are, each call ends within the entries that it may read,
 * which is told by counts and not by a clock, small calls add up to what large ones
 * say, translations agree with the walk, and memory comes back.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <linux/kvm.h>

#include "file.h"
#include "folder.h"
#include "ktap.h"
#include "world.h"

/* ---- Guests ---- */

#define MAX_RAMS 4

/**
 * struct guest - a guest, and how it is attached to
 * @format: what kind of tables it has
 * @regions: by a region table, in place of its VM
 * @w: the VM; its memory holds the tables
 * @t: its first space
 * @regs: the registers of that
 * @rams: further pieces of memory
 * @nr_rams: how many they are
 */
struct guest {
	int format;
	bool regions;
	struct world w;
	struct tables t;
	struct vmem_regs regs;
	struct guest_ram rams[MAX_RAMS];
	__u32 nr_rams;
};

static void guest_init(struct guest *g, int format, bool regions, __u64 len)
{
	g->format = format;
	g->regions = regions;
	g->nr_rams = 0;
	world_init(&g->w, len);
	g->t = world_add(&g->w, &formats[format]);
	g->regs = tables_regs(&g->t);
}

static void guest_free(struct guest *g)
{
	world_free(&g->w);
	while (g->nr_rams)
		ram_free(&g->rams[--g->nr_rams]);
}

/* One more piece, which is the guest's from now on. */
static void guest_add(struct guest *g, const struct guest_ram *ram, __u32 flags)
{
	struct kvm_userspace_memory_region slot = {
		.slot = 1 + g->nr_rams,
		.flags = flags,
		.guest_phys_addr = ram->gpa,
		.memory_size = ram->len,
		.userspace_addr = (uintptr_t)ram->hva,
	};

	if (!g->regions)
		must(ioctl(g->w.vm_fd, KVM_SET_USER_MEMORY_REGION, &slot),
		     "KVM_SET_USER_MEMORY_REGION");
	g->rams[g->nr_rams++] = *ram;
}

static struct vmem_region region_of(const struct guest_ram *ram)
{
	return (struct vmem_region){ ram->gpa, ram->len, (uintptr_t)ram->hva };
}

static int guest_open(const struct guest *g)
{
	struct vmem_region regions[1 + MAX_RAMS];
	int session = session_open();
	__u32 i;

	if (!g->regions) {
		CHECK_EQ(session_attach_kvm(session, g->w.vm_fd), 0);
		return session;
	}
	regions[0] = region_of(&g->w.ram);
	for (i = 0; i < g->nr_rams; i++)
		regions[1 + i] = region_of(&g->rams[i]);
	CHECK_EQ(session_attach_regions(session, regions, 1 + g->nr_rams), 0);
	return session;
}

static int open_with_spaces(const struct guest *g)
{
	int session = guest_open(g);

	CHECK_EQ(session_set_spaces(session, &g->w.spaces), 0);
	return session;
}

static __u64 nr_entries(const struct guest *g)
{
	return BIT_ULL(g->t.index_bits);
}

/* All that a root of PAE has are four. */
static __u64 nr_root_entries(const struct guest *g)
{
	return g->format == FORMAT_PAE ? 4 : nr_entries(g);
}

/* What the root names a table at @gpa by. */
static __u64 root_entry(const struct guest *g, __u64 gpa)
{
	return gpa | tables_open(&g->t, g->t.top);
}

/* Entry @i of the table at @gpa. */
static void set_entry(const struct guest *g, __u64 gpa, __u64 i, __u64 raw)
{
	memcpy(ram_ptr(&g->w.ram, gpa + i * (__u64)g->t.entry_size), &raw,
	       (size_t)g->t.entry_size);
}

static __u64 get_entry(const struct guest *g, __u64 gpa, __u64 i)
{
	__u64 raw = 0;

	memcpy(&raw, ram_ptr(&g->w.ram, gpa + i * (__u64)g->t.entry_size),
	       (size_t)g->t.entry_size);
	return raw;
}

static void fill_table(const struct guest *g, __u64 gpa, __u64 raw)
{
	__u64 i;

	for (i = 0; i < nr_entries(g); i++)
		set_entry(g, gpa, i, raw);
}

/* ---- Random bytes ---- */

static __u64 seed;

/* Marsaglia's xorshift. */
static __u64 random_next(__u64 *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* ---- Designs ---- */

/* Every slot of the root leads back to it, on every level. */
static void all_slots_to_self(struct guest *g)
{
	fill_table(g, g->t.root, root_entry(g, g->t.root));
}

/* The root too: every entry of every table leads to the one that is not it. */
static void all_to_one_table(struct guest *g)
{
	__u64 one = ram_alloc(&g->w.ram, PAGE);
	int i;

	fill_table(g, g->t.root, root_entry(g, one));
	fill_table(g, one, one | PTE_PWU);
	for (i = 0; i < 100; i++)
		fill_table(g, ram_alloc(&g->w.ram, PAGE), one | PTE_PWU);
}

/* A table for each level, all entries of which lead to the next: @raw at last. */
static void chain_to(struct guest *g, __u64 raw)
{
	__u64 table = g->t.root, next;
	int level;

	for (level = g->t.top; level > VMEM_LEVEL_PT; level--) {
		next = ram_alloc(&g->w.ram, PAGE);
		fill_table(g, table, next | tables_open(&g->t, level));
		table = next;
	}
	fill_table(g, table, raw);
}

static void chain_to_a_page(struct guest *g)
{
	chain_to(g, WORLD_GPA | PTE_PWU);
}

static void chain_to_nothing(struct guest *g)
{
	chain_to(g, 0);
}

#define NR_RANDOM_ROOTS 64

static void add_roots(struct guest *g)
{
	__u64 gpa = g->w.ram.gpa;

	while (g->w.nr < NR_RANDOM_ROOTS) {
		gpa += PAGE;
		g->w.cr3[g->w.nr++] = gpa;
	}
	g->w.spaces.nr_cr3 = g->w.nr;
}

static void random_bytes(struct guest *g)
{
	__u64 *word = (__u64 *)g->w.ram.hva, state = seed;
	__u64 *end = word + g->w.ram.len / sizeof(*word);

	while (word < end)
		*word++ = random_next(&state);
	add_roots(g);
	/* One entry at least that leads somewhere. */
	set_entry(g, g->t.root, 0, root_entry(g, WORLD_GPA + PAGE));
}

/* One entry in 64 is there, and leads to a page or table, seldom a large page. */
static __u64 random_entry(const struct guest *g, __u64 random)
{
	__u64 pages = g->w.ram.len / PAGE;
	__u64 raw = WORLD_GPA + (random >> 32) % pages * PAGE;

	if (random % 64)
		return 0;
	raw |= PTE_P | (random >> 6 & (PTE_W | PTE_U));
	if (!(random >> 16 & 63))
		raw |= PTE_PS;
	return raw | (g->t.entry_size == 8 && random >> 24 & 1 ? PTE_NX : 0);
}

/* Roots lead somewhere in PAE too, whose four entries have no rights. */
static void open_pae_roots(const struct guest *g)
{
	__u64 root, i, raw;

	for (root = 0; root < g->w.nr; root++)
		for (i = 0; i < nr_root_entries(g); i++) {
			raw = get_entry(g, g->w.cr3[root], i);
			raw &= BIT_ULL(40) - PAGE;
			set_entry(g, g->w.cr3[root], i, raw ? raw | PTE_P : 0);
		}
}

/* All of the memory is tables, which lead to each other in all ways. */
static void random_graph(struct guest *g)
{
	__u64 pages = g->w.ram.len / PAGE, state = seed;
	__u64 page, i;

	for (page = 0; page < pages; page++)
		for (i = 0; i < nr_entries(g); i++)
			set_entry(g, WORLD_GPA + page * PAGE, i,
				  random_entry(g, random_next(&state)));
	add_roots(g);
	if (g->format == FORMAT_PAE)
		open_pae_roots(g);
}

/**
 * struct design - tables of a kind
 * @name: for people
 * @build: makes them
 * @len: bytes of memory that they have
 * @naive: the naive walk can do with them: no reserved bit is set
 * @walk_only: it takes too long to ask for anything else
 * @max_known: so many tables at most are known afterwards, for each level that a
 *	table can be at; 0 if that is as many as there is memory
 */
struct design {
	const char *name;
	void (*build)(struct guest *g);
	__u64 len;
	bool naive;
	bool walk_only;
	__u64 max_known;
};

/* ---- Walks ---- */

/**
 * struct summary - what a walk over spaces told, in short
 * @hash: of all records
 * @nr: how many they were
 * @calls: in how many calls
 * @most_entries: the most entries that a call has read
 * @stats: of the last call
 */
struct summary {
	__u64 hash;
	__u64 nr;
	__u64 calls;
	__u64 most_entries;
	struct vmem_spaces_stats stats;
};

/* Fowler, Noll and Vo's, by words. */
static void add_to_hash(__u64 *hash, const struct session_records *records)
{
	const __u64 *word = (const __u64 *)records->rows;
	const __u64 *end = (const __u64 *)(records->rows + records->nr);

	while (word < end)
		*hash = (*hash ^ *word++) * 0x100000001b3ULL;
}

static struct summary walk(int session, __u32 per_call)
{
	struct session_records records = { .per_call = per_call };
	struct summary sum = { .hash = 0xcbf29ce484222325ULL };
	__u64 read;
	bool more = true;

	while (more) {
		records.nr = 0;
		if (!CHECK_EQ(session_walk_once(session, &records, &more), 0))
			break;
		read = records.stats.entries - sum.stats.entries;
		if (read > sum.most_entries)
			sum.most_entries = read;
		add_to_hash(&sum.hash, &records);
		sum.nr += records.nr;
		sum.calls++;
		sum.stats = records.stats;
	}
	free(records.rows);
	return sum;
}

static __u64 max_entries(int session)
{
	struct vmem_info_args info;

	CHECK_EQ(session_info(session, &info), 0);
	return info.out_max_entries;
}

/*
 * No table is read twice, but for those on the path that a call goes back to, and
 * no entry of one: so the work is bounded by the tables, whatever they say.
 */
static void check_work(const struct design *d, const struct guest *g,
		       int session, const struct summary *sum)
{
	__u64 levels = (__u64)g->t.top;
	__u64 pages = d->max_known ? d->max_known : d->len / PAGE + g->w.nr;
	__u64 again = sum->calls * levels;

	CHECK(sum->most_entries <= max_entries(session));
	CHECK(sum->stats.known <= pages * levels);
	CHECK(sum->stats.tables <= sum->stats.known + again);
	CHECK(sum->stats.entries <= sum->stats.known * nr_entries(g) + again);
}

/* Few records in a call, and many: the whole is the same. */
static void check_walk(const struct design *d, const struct guest *g,
		       int session)
{
	struct summary whole = walk(session, 65536), again;
	int other = open_with_spaces(g);

	check_work(d, g, session, &whole);
	again = walk(other, whole.nr > 20000 ? 1009 : 7);
	check_work(d, g, other, &again);
	CHECK(again.calls >= whole.calls);
	CHECK_EQ(again.nr, whole.nr);
	CHECK_EQ(again.hash, whole.hash);
	CHECK_EQ(again.stats.known, whole.stats.known);
	close(other);
	printf("# %s: %llu records, %llu tables, %llu entries in %llu calls, ",
	       d->name, whole.nr, whole.stats.tables, whole.stats.entries,
	       whole.calls);
	printf("%llu at most in one; or %llu calls\n", whole.most_entries,
	       again.calls);
}

/* ---- Translations ---- */

#define NR_VAS 256

/* From an entry on, the next one that leads somewhere. */
static __u64 next_present(const struct guest *g, __u64 table, __u64 i, __u64 nr)
{
	__u64 n;

	for (n = 0; n < nr; n++, i = (i + 1) % nr)
		if (get_entry(g, table, i) & PTE_P)
			break;
	return i;
}

static bool in_ram(const struct guest *g, __u64 gpa)
{
	return gpa >= g->w.ram.gpa && gpa - g->w.ram.gpa < g->w.ram.len;
}

static __u64 canonical(const struct guest *g, __u64 va)
{
	const __u64 sign = g->format == FORMAT_LA57 ? BIT_ULL(56) : BIT_ULL(47);

	return tables_are_long(&g->t) && va & sign ? va | -sign : va;
}

/* An address whose path is as long as can be found. */
static __u64 deep_va(const struct guest *g, __u64 *state)
{
	__u64 table = g->t.root, va = random_next(state) % PAGE, i, nr;
	int level;

	for (level = g->t.top; level >= VMEM_LEVEL_PT; level--) {
		nr = level == g->t.top ? nr_root_entries(g) : nr_entries(g);
		i = random_next(state) % nr;
		if (in_ram(g, table))
			i = next_present(g, table, i, nr);
		va |= i * tables_page_size(&g->t, level);
		if (in_ram(g, table))
			table = get_entry(g, table, i) & (BIT_ULL(40) - PAGE);
	}
	return canonical(g, va);
}

/* A page may be where there is no memory; else reading says what translating does. */
static void check_read(const struct guest *g, int session, __u64 va,
		       const struct vmem_translation *tr)
{
	struct vmem_read_args end;
	__u64 word;

	CHECK_EQ(session_read(session, &g->regs, va & ~7ULL, &word,
			      sizeof(word), &end),
		 0);
	if (tr->out_status != VMEM_MAPPED) {
		CHECK_EQ(end.out_status, tr->out_status);
		CHECK_EQ(end.out_level, tr->out_level);
	} else if (in_ram(g, tr->out_gpa)) {
		CHECK_EQ(end.out_len, sizeof(word));
		CHECK_EQ(memcmp(&word, ram_ptr(&g->w.ram, tr->out_gpa & ~7ULL),
				sizeof(word)),
			 0);
	} else {
		CHECK_EQ(end.out_status, VMEM_UNBACKED);
	}
}

/* The spaces of @session were walked to the end. */
static void check_translations(const struct design *d, const struct guest *g,
			       int session)
{
	struct vmem_translation plain[NR_VAS], shared[NR_VAS], naive;
	__u64 vas[NR_VAS], state = seed + 1;
	int i, nr_mapped = 0;

	for (i = 0; i < NR_VAS; i++)
		vas[i] = i % 16 ? deep_va(g, &state) : random_next(&state);
	CHECK_EQ(session_translate(session, &g->regs, vas, NR_VAS, plain), 0);
	CHECK_EQ(session_translate_in(session, 0, vas, NR_VAS, shared), 0);
	for (i = 0; i < NR_VAS && !ktap_reason[0]; i++) {
		CHECK_EQ(memcmp(&plain[i], &shared[i],
				offsetof(struct vmem_translation,
					 out_owner_space)),
			 0);
		naive = tables_walk(&g->t, vas[i]);
		if (d->naive)
			CHECK_EQ(memcmp(&plain[i], &naive, sizeof(naive)), 0);
		check_read(g, session, vas[i], &plain[i]);
		nr_mapped += plain[i].out_status == VMEM_MAPPED;
	}
	printf("# %s: %d of %d addresses mapped\n", d->name, nr_mapped, NR_VAS);
}

/* A range of all: no end is in sight, but that of each call. */
static void check_map_range(const struct guest *g, int session)
{
	struct vmem_mapping rows[1000];
	struct vmem_map_range_args args;
	__u64 va = 0;
	int i;

	for (i = 0; i < 3; i++) {
		args = (struct vmem_map_range_args){
			.size = sizeof(args),
			.nr = ARRAY_SIZE(rows),
			.mapping_size = sizeof(rows[0]),
			.mappings = (uintptr_t)rows,
			.regs = g->regs,
			.va = va,
			.last_va = ~0ULL,
		};
		CHECK_EQ(session_call(session, VMEM_MAP_RANGE, &args), 0);
		if (!args.out_more)
			return;
		CHECK(args.out_next_va > va);
		/* It ended for one reason or the other. */
		if (args.out_nr < ARRAY_SIZE(rows))
			CHECK(args.out_next_va - va >=
			      max_entries(session) / 2 * PAGE);
		va = args.out_next_va;
	}
}

/* ---- All of it, for each kind ---- */

/* What the kernel's caches may keep of it. A walk of the largest takes more. */
#define TOLERANCE_KB 1024

static void try_guest(const struct design *d, const struct guest *g)
{
	struct folder folder;
	struct counters end;
	double start = seconds();
	int session = open_with_spaces(g);
	long used;

	folder = newest_folder();
	check_walk(d, g, session);
	used = kilobytes("Slab") + kilobytes("VmallocUsed");
	if (!d->walk_only) {
		check_translations(d, g, session);
		check_map_range(g, session);
	}
	end = read_counters(&folder);
	CHECK(end.hints <= 1024);
	close(session);
	printf("# %s: %s, %s: %lld calls, %lld pages looked up, %.1f s, %ld kB\n",
	       d->name, formats[g->format].name, g->regions ? "regions" : "KVM",
	       end.calls, end.looked_up, seconds() - start, used);
}

/* Large ones are made once for each kind of tables; others, attached to both ways. */
static void try_design(const struct design *d)
{
	const bool large = d->len > MB(4);
	long long lost = pages_lost_before();
	struct guest *g = calloc(1, sizeof(*g));
	long before = kernel_memory(), after;
	int i;

	must(g ? 0 : -1, "calloc");
	for (i = 0; i < (large ? NR_FORMATS : 2 * NR_FORMATS); i++) {
		guest_init(g, i % NR_FORMATS, large ? i & 1 : i >= NR_FORMATS,
			   d->len);
		d->build(g);
		try_guest(d, g);
		guest_free(g);
		CHECK_EQ(pages_lost(), lost);
	}
	free(g);
	after = kernel_memory();
	printf("# %s: %ld kB before, %ld kB after\n", d->name, before, after);
	CHECK(after - before < TOLERANCE_KB);
}

static void slots_to_self(void)
{
	static const struct design d = { .name = "all slots to self",
					 .build = all_slots_to_self,
					 .len = MB(1),
					 .naive = true,
					 .max_known = 1 };

	try_design(&d);
}

static void one_table(void)
{
	static const struct design d = { .name = "all to one table",
					 .build = all_to_one_table,
					 .len = MB(1),
					 .naive = true,
					 .max_known = 2 };

	try_design(&d);
}

static void a_page_over_and_over(void)
{
	static const struct design d = { .name = "one page over and over",
					 .build = chain_to_a_page,
					 .len = MB(1),
					 .naive = true,
					 .max_known = 4 };

	try_design(&d);
}

static void nothing_over_and_over(void)
{
	static const struct design d = { .name = "nothing over and over",
					 .build = chain_to_nothing,
					 .len = MB(1),
					 .naive = true,
					 .max_known = 4 };

	try_design(&d);
}

/* Of so many MB. */
static __u64 random_len(void)
{
	return MB(number_of("VMEM_TABLES_MB", 64));
}

static void random_64_mb(void)
{
	const struct design d = { .name = "random bytes",
				  .build = random_bytes,
				  .len = random_len() };

	try_design(&d);
}

static void graph_4_mb(void)
{
	static const struct design d = { .name = "random graph",
					 .build = random_graph,
					 .len = MB(4) };

	try_design(&d);
}

static void graph_64_mb(void)
{
	const struct design d = { .name = "large random graph",
				  .build = random_graph,
				  .len = random_len(),
				  .walk_only = true };

	try_design(&d);
}

/* ---- Where CR3 points ---- */

#define ROM_GPA GB(1)
#define MMIO_GPA 0xfee00000ULL
#define LAST_OF_4GB (GB(4) - PAGE)
#define LAST_OF_40_BITS (BIT_ULL(40) - PAGE)
#define LAST_OF_52_BITS (BIT_ULL(52) - PAGE)
#define SMALL MB(1)

/**
 * struct cr3_case - a root
 * @what: where it is
 * @cr3: CR3
 * @maxphyaddr: the width of addresses
 * @backed: there is memory
 * @wide: it takes more than 32 bits
 * @by_region: KVM has no slots there
 */
struct cr3_case {
	const char *what;
	__u64 cr3;
	__u32 maxphyaddr;
	bool backed;
	bool wide;
	bool by_region;
};

static const struct cr3_case cr3_cases[] = {
	{ .what = "0", .cr3 = 0 },
	{ .what = "below a slot", .cr3 = WORLD_GPA - PAGE },
	{ .what = "last page of a slot",
	  .cr3 = WORLD_GPA + SMALL - PAGE,
	  .backed = true },
	{ .what = "behind a slot", .cr3 = WORLD_GPA + SMALL },
	{ .what = "ROM", .cr3 = ROM_GPA, .backed = true },
	{ .what = "behind ROM", .cr3 = ROM_GPA + PAGE },
	{ .what = "MMIO", .cr3 = MMIO_GPA },
	{ .what = "last page of 4 GB", .cr3 = LAST_OF_4GB, .backed = true },
	{ .what = "last page of 40 bits",
	  .cr3 = LAST_OF_40_BITS,
	  .backed = true,
	  .wide = true },
	{ .what = "last page of 52 bits, with memory",
	  .cr3 = LAST_OF_52_BITS,
	  .maxphyaddr = 52,
	  .backed = true,
	  .wide = true,
	  .by_region = true },
	{ .what = "last but one of 52 bits",
	  .cr3 = LAST_OF_52_BITS - PAGE,
	  .maxphyaddr = 52,
	  .wide = true },
	/* These bits are ignored. */
	{ .what = "over MAXPHYADDR",
	  .cr3 = ROM_GPA | BIT_ULL(45),
	  .backed = true,
	  .wide = true },
	{ .what = "all ones", .cr3 = ~0ULL, .backed = true, .wide = true },
};

/* Memory at all places where there is to be some; all of it is empty tables. */
static void add_memory(struct guest *g)
{
	struct guest_ram rom = ram_new(ROM_GPA, PAGE);
	struct guest_ram low = ram_new(LAST_OF_4GB, PAGE);
	struct guest_ram high = ram_new(LAST_OF_40_BITS, PAGE);
	struct guest_ram top = ram_new(LAST_OF_52_BITS, PAGE);

	must(mprotect(rom.hva, PAGE, PROT_READ), "mprotect");
	guest_add(g, &rom, KVM_MEM_READONLY);
	guest_add(g, &low, 0);
	guest_add(g, &high, 0);
	if (g->regions)
		guest_add(g, &top, 0);
	else
		ram_free(&top);
}

/* The one record behind that of the space; 0 if there is none. */
static __u32 status_of_root(int session)
{
	struct session_records records = { .per_call = 4 };
	__u32 status = VMEM_MAPPED;

	CHECK_EQ(session_walk_spaces(session, &records), 0);
	CHECK_EQ(records.rows[0].type, VMEM_SPACE);
	if (records.nr > 1) {
		CHECK_EQ(records.nr, 2);
		CHECK_EQ(records.rows[1].type, VMEM_ANOMALY);
		status = records.rows[1].anomaly.status;
	}
	free(records.rows);
	return status;
}

/* Nothing is mapped, or there is no memory, and each question says which. */
static void check_cr3(const struct guest *g, const struct cr3_case *c)
{
	struct vmem_regs regs = g->regs;
	struct session_spaces spaces = g->w.spaces;
	const int want = c->backed ? 0 : -ENXIO;
	struct vmem_translation tr;
	struct vmem_mapping row;
	struct session_maps maps = { .rows = &row, .room = 1, .per_call = 1 };
	struct vmem_read_args end;
	int session = guest_open(g);
	__u64 va = 0;
	char byte;

	regs.cr3 = c->cr3;
	regs.maxphyaddr = c->maxphyaddr ? c->maxphyaddr : 40;
	spaces.regs = regs;
	spaces.cr3 = &regs.cr3;
	CHECK_EQ_AT(c->what, session_translate_one(session, &regs, va, &tr),
		    want);
	if (!want)
		CHECK_EQ_AT(c->what, tr.out_status, VMEM_NOT_PRESENT);
	CHECK_EQ_AT(c->what, session_map_range(session, &regs, 0, ~0ULL, &maps),
		    want);
	CHECK_EQ_AT(c->what, session_read(session, &regs, va, &byte, 1, &end),
		    want);
	CHECK_EQ_AT(c->what, session_set_spaces(session, &spaces), 0);
	CHECK_EQ_AT(c->what, status_of_root(session),
		    c->backed ? VMEM_MAPPED : VMEM_UNBACKED);
	CHECK_EQ_AT(c->what, session_translate_in(session, 0, &va, 1, &tr), 0);
	CHECK_EQ_AT(c->what, tr.out_status,
		    c->backed ? VMEM_NOT_PRESENT : VMEM_UNBACKED);
	close(session);
}

static void cr3_anywhere(void)
{
	struct guest *g = calloc(1, sizeof(*g));
	size_t c;
	int i;

	must(g ? 0 : -1, "calloc");
	for (i = 0; i < 2 * NR_FORMATS; i++) {
		guest_init(g, i % NR_FORMATS, i >= NR_FORMATS, SMALL);
		add_memory(g);
		for (c = 0; c < ARRAY_SIZE(cr3_cases); c++)
			if ((tables_are_long(&g->t) || !cr3_cases[c].wide) &&
			    (g->regions || !cr3_cases[c].by_region))
				check_cr3(g, &cr3_cases[c]);
		guest_free(g);
	}
	free(g);
}

/* ---- Memory that is not there, or not yet ---- */

#define FAR_GPA GB(1)
#define NR_FAR 256

/* All entries of the root but the last name one, if it has not that many. */
static __u64 nr_far(const struct guest *g)
{
	return g->format == FORMAT_PAE ? 3 : NR_FAR;
}

/* The first entries of the root name so many tables, one beside the other. */
static void lead_far_away(const struct guest *g)
{
	__u64 i;

	for (i = 0; i < nr_far(g); i++)
		set_entry(g, g->t.root, i, root_entry(g, FAR_GPA + i * PAGE));
}

/* The same as one of many spaces, where it is an answer. */
static void check_far_space(const struct guest *g, const char *what,
			    enum vmem_status status)
{
	const __u64 va = 0, cr3 = FAR_GPA;
	const struct session_spaces spaces = {
		.regs = g->regs,
		.cr3 = &cr3,
		.nr_cr3 = 1,
		.last_va = ~0ULL,
	};
	struct session_records records = { .per_call = 16 };
	struct vmem_translation tr;
	int session = guest_open(g);

	CHECK_EQ(session_set_spaces(session, &spaces), 0);
	CHECK_EQ(session_walk_spaces(session, &records), 0);
	CHECK_EQ_AT(what, records.stats.anomalies,
		    status == VMEM_NOT_PRESENT ? 0 : 1);
	CHECK_EQ(session_translate_in(session, 0, &va, 1, &tr), 0);
	CHECK_EQ_AT(what, tr.out_status, status);
	free(records.rows);
	close(session);
}

/* What a root says that is in memory of this status. */
static void check_far_root(const struct guest *g, int session, const char *what,
			   enum vmem_status status)
{
	const int want = status == VMEM_NOT_PRESENT ? 0 : -ENXIO;
	struct vmem_regs regs = g->regs;
	struct vmem_mapping row;
	struct session_maps maps = { .rows = &row, .room = 1, .per_call = 1 };
	struct vmem_translation tr;
	struct vmem_read_args end;
	__u8 byte;

	regs.cr3 = FAR_GPA;
	CHECK_EQ_AT(what, session_translate_one(session, &regs, 0, &tr), want);
	CHECK_EQ_AT(what, session_map_range(session, &regs, 0, ~0ULL, &maps),
		    want);
	CHECK_EQ_AT(what, session_read(session, &regs, 0, &byte, 1, &end),
		    want);
	check_far_space(g, what, status);
}

/* Reading memory of this status, which is all zeros if it can be read. */
static void check_far_pages(const struct guest *g, int session,
			    const char *what, enum vmem_status status)
{
	bool dead = status != VMEM_NOT_PRESENT;
	/* By the last entry of the root, which leads to no far table. */
	__u64 last = nr_root_entries(g) - 1;
	__u64 va = -tables_page_size(&g->t, g->t.top);
	struct tables t = g->t;
	struct vmem_read_phys_args phys;
	static __u8 data[3 * PAGE];
	struct vmem_read_args end;

	if (!tables_are_long(&g->t))
		va = (__u32)va;
	tables_map(&t, va, FAR_GPA, VMEM_LEVEL_PT, PTE_PWU);
	CHECK_EQ(session_read(session, &g->regs, va + 8, data, 8, &end), 0);
	CHECK_EQ_AT(what, end.out_len, dead ? 0 : 8);
	CHECK_EQ_AT(what, end.out_status, dead ? status : VMEM_MAPPED);
	CHECK_EQ_AT(what, data[0], dead ? POISON : 0);
	CHECK_EQ(session_read_phys(session, FAR_GPA + 8, data, 2 * PAGE, &phys),
		 0);
	CHECK_EQ_AT(what, phys.out_len, dead ? 0 : 2 * PAGE);
	CHECK_EQ_AT(what, phys.out_status, dead ? status : VMEM_MAPPED);
	CHECK_EQ_AT(what, data[0], dead ? POISON : 0);
	CHECK_EQ_AT(what, data[2 * PAGE - 1], dead ? POISON : 0);
	CHECK_EQ(session_read_phys(session, FAR_GPA, NULL, NR_FAR * PAGE,
				   &phys),
		 0);
	CHECK_EQ_AT(what, phys.out_len, dead ? 0 : NR_FAR * PAGE);
	CHECK_EQ_AT(what, phys.out_status, dead ? status : VMEM_MAPPED);
	set_entry(g, g->t.root, last, 0);
}

static void check_far_tables(const struct guest *g, const char *what,
			     enum vmem_status status)
{
	struct session_records records = { .per_call = 1024 };
	struct vmem_translation tr;
	int session = open_with_spaces(g);
	__u64 va = 2 * tables_page_size(&g->t, g->t.top);
	__u32 i;
	bool dead = status != VMEM_NOT_PRESENT;

	CHECK_EQ(session_translate_one(session, &g->regs, va, &tr), 0);
	CHECK_EQ_AT(what, tr.out_status, status);
	CHECK_EQ_AT(what, tr.out_level, (__u32)g->t.top - 1);
	CHECK_EQ(session_walk_spaces(session, &records), 0);
	CHECK_EQ_AT(what, records.stats.anomalies, dead ? nr_far(g) : 0);
	CHECK_EQ_AT(what, records.stats.tables, dead ? 1 : 1 + nr_far(g));
	for (i = 0; i < records.nr; i++)
		if (records.rows[i].type == VMEM_ANOMALY)
			CHECK_EQ_AT(what, records.rows[i].anomaly.status,
				    status);
	check_far_root(g, session, what, status);
	check_far_pages(g, session, what, status);
	free(records.rows);
	close(session);
}

/* The page frame that is at an address of ours; 0 if there is none. */
static __u64 frame_at(const void *address)
{
	int fd = (int)must(open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC),
			   "pagemap");
	__u64 entry = 0;

	must(pread(fd, &entry, sizeof(entry),
		   (off_t)((uintptr_t)address / PAGE * sizeof(entry))),
	     "pagemap");
	close(fd);
	return entry & BIT_ULL(63) ? entry & (BIT_ULL(55) - 1) : 0;
}

/* What was never touched is the one page of zeros that all have in common. */
static void never_touched(struct guest *g)
{
	struct guest_ram far = ram_new(FAR_GPA, NR_FAR * PAGE);
	__u64 i, zeros;

	guest_add(g, &far, 0);
	check_far_tables(g, "never touched", VMEM_NOT_PRESENT);
	zeros = frame_at(far.hva);
	for (i = 0; i < NR_FAR; i++)
		CHECK_EQ(frame_at(far.hva + i * PAGE), zeros);
}

static struct guest_ram map_file(int fd)
{
	struct guest_ram far = { .gpa = FAR_GPA, .len = NR_FAR * PAGE };

	far.hva =
		mmap(NULL, far.len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	must(far.hva == MAP_FAILED ? -1 : 0, "mmap");
	return far;
}

static long long pages_of_file(int fd)
{
	struct stat stat;

	must(fstat(fd, &stat), "fstat");
	return stat.st_blocks * 512 / (long long)PAGE;
}

/* As when its owner reads it: a file gets its pages, each of them once. */
static void sparse_file(struct guest *g)
{
	int fd = (int)must(memfd_create("sparse", MFD_CLOEXEC), "memfd_create");
	struct guest_ram far;

	must(ftruncate(fd, NR_FAR * PAGE), "ftruncate");
	far = map_file(fd);
	guest_add(g, &far, 0);
	check_far_tables(g, "sparse file", VMEM_NOT_PRESENT);
	printf("# sparse file: %lld pages now\n", pages_of_file(fd));
	CHECK(pages_of_file(fd) <= NR_FAR);
	must(ftruncate(fd, 0), "ftruncate");
	check_far_tables(g, "file cut off", VMEM_UNREADABLE);
	CHECK_EQ(pages_of_file(fd), 0);
	close(fd);
}

static void not_readable(struct guest *g)
{
	struct guest_ram far = ram_new(FAR_GPA, NR_FAR * PAGE);

	memset(far.hva, 0, far.len);
	guest_add(g, &far, 0);
	check_far_tables(g, "readable", VMEM_NOT_PRESENT);
	must(mprotect(far.hva, far.len, PROT_NONE), "mprotect");
	check_far_tables(g, "PROT_NONE", VMEM_UNREADABLE);
	must(mprotect(far.hva, far.len, PROT_READ), "mprotect");
	check_far_tables(g, "readable again", VMEM_NOT_PRESENT);
	must(munmap(far.hva, far.len), "munmap");
	check_far_tables(g, "unmapped", VMEM_UNREADABLE);
}

/* Pages that the machine has found to be broken, each of them on its own. */
static void poisoned(struct guest *g)
{
	struct guest_ram far = ram_new(FAR_GPA, NR_FAR * PAGE);
	__u64 i;

	memset(far.hva, 0, far.len);
	guest_add(g, &far, 0);
	check_far_tables(g, "sound", VMEM_NOT_PRESENT);
	for (i = 0; i < NR_FAR; i++) {
		ktap_skipped = poison(far.hva + i * PAGE);
		if (ktap_skipped)
			return;
	}
	check_far_tables(g, "poisoned", VMEM_UNREADABLE);
}

/* A slot over a device is like no slot at all. */
static void slot_over_a_device(struct guest *g)
{
	struct guest_ram far = { .gpa = FAR_GPA, .len = PAGE };

	far.hva = device_page();
	guest_add(g, &far, 0);
	check_far_tables(g, "a device", VMEM_UNBACKED);
}

static void not_there(struct guest *g)
{
	check_far_tables(g, "a hole", VMEM_UNBACKED);
}

/* Two pieces that meet: tables on both sides of where they do, and data over it. */
static void pieces_that_meet(struct guest *g)
{
	struct guest_ram a = ram_new(FAR_GPA, NR_FAR / 2 * PAGE);
	struct guest_ram b = ram_new(FAR_GPA + a.len, NR_FAR / 2 * PAGE);
	__u64 va = 5 * PAGE;
	struct vmem_read_args end;
	char data[16];
	int session;

	/* So that they do not meet in our memory. */
	memset(a.hva + a.len - 8, 'a', 8);
	memset(b.hva, 'b', 8);
	guest_add(g, &a, 0);
	guest_add(g, &b, 0);
	set_entry(g, g->t.root, 0, 0);
	tables_map(&g->t, va, b.gpa - PAGE, VMEM_LEVEL_PT, PTE_PWU);
	tables_map(&g->t, va + PAGE, b.gpa, VMEM_LEVEL_PT, PTE_PWU);
	session = guest_open(g);
	CHECK_EQ(session_read(session, &g->regs, va + PAGE - 8, data,
			      sizeof(data), &end),
		 0);
	CHECK_EQ(end.out_len, sizeof(data));
	CHECK_EQ(memcmp(data, "aaaaaaaabbbbbbbb", sizeof(data)), 0);
	close(session);
}

/* A large page whose second part is where nothing is. */
static void page_over_the_end(struct guest *g)
{
	struct guest_ram far = ram_new(FAR_GPA, MB(1));
	static char data[MB(2)];
	struct vmem_read_args end;
	int session;

	guest_add(g, &far, 0);
	set_entry(g, g->t.root, 0, 0);
	tables_map(&g->t, 0, FAR_GPA, VMEM_LEVEL_PD, PTE_PWU);
	session = guest_open(g);
	CHECK_EQ(session_read(session, &g->regs, 0, data, sizeof(data), &end),
		 0);
	CHECK_EQ(end.out_len, MB(1));
	CHECK_EQ(end.out_status, VMEM_UNBACKED);
	CHECK_EQ(end.out_level, VMEM_LEVEL_PD);
	close(session);
}

static void try_memory(void (*event)(struct guest *g))
{
	long long lost = pages_lost_before();
	struct guest *g = calloc(1, sizeof(*g));
	int i;

	must(g ? 0 : -1, "calloc");
	for (i = 0; i < 2 * NR_FORMATS; i++) {
		guest_init(g, i % NR_FORMATS, i >= NR_FORMATS, SMALL);
		lead_far_away(g);
		event(g);
		guest_free(g);
		CHECK_EQ(pages_lost(), lost);
	}
	free(g);
}

static void memory_never_touched(void)
{
	try_memory(never_touched);
}

static void memory_sparse_file(void)
{
	try_memory(sparse_file);
}

static void memory_not_readable(void)
{
	try_memory(not_readable);
}

/* Of one kind of guest: the kernel logs each page, and has to log other things. */
static void memory_poisoned(void)
{
	struct guest *g = calloc(1, sizeof(*g));

	must(g ? 0 : -1, "calloc");
	guest_init(g, FORMAT_AMD64, false, SMALL);
	lead_far_away(g);
	poisoned(g);
	guest_free(g);
	free(g);
}

static void memory_of_a_device(void)
{
	try_memory(slot_over_a_device);
}

static void memory_not_there(void)
{
	try_memory(not_there);
}

static void memory_in_pieces(void)
{
	try_memory(pieces_that_meet);
}

static void memory_ends_in_a_page(void)
{
	try_memory(page_over_the_end);
}

/* ---- Killed ---- */

static void walk_for_ever(void *arg)
{
	const struct world *w = arg;
	int session;

	for (;;) {
		session = world_open(w);
		walk(session, 65536);
		close(session);
	}
}

static void killed_meanwhile(void)
{
	struct guest *g = calloc(1, sizeof(*g));

	must(g ? 0 : -1, "calloc");
	guest_init(g, FORMAT_AMD64, false, MB(16));
	random_graph(g);
	kill_callers("a walk of a random graph", walk_for_ever, &g->w);
	guest_free(g);
	free(g);
}

static const struct ktap_case cases[] = {
	{ "slots_to_self", slots_to_self },
	{ "one_table", one_table },
	{ "a_page_over_and_over", a_page_over_and_over },
	{ "nothing_over_and_over", nothing_over_and_over },
	{ "random_64_mb", random_64_mb },
	{ "graph_4_mb", graph_4_mb },
	{ "graph_64_mb", graph_64_mb },
	{ "cr3_anywhere", cr3_anywhere },
	{ "memory_never_touched", memory_never_touched },
	{ "memory_sparse_file", memory_sparse_file },
	{ "memory_not_readable", memory_not_readable },
	{ "memory_poisoned", memory_poisoned },
	{ "memory_of_a_device", memory_of_a_device },
	{ "memory_not_there", memory_not_there },
	{ "memory_in_pieces", memory_in_pieces },
	{ "memory_ends_in_a_page", memory_ends_in_a_page },
	{ "killed_meanwhile", killed_meanwhile },
};

int main(void)
{
	seed = number_of("VMEM_SEED", 0x766d656d);
	printf("# VMEM_SEED=%#llx\n", seed);
	return ktap_main(cases, ARRAY_SIZE(cases));
}
