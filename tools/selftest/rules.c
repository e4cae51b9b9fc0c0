// SPDX-License-Identifier: GPL-2.0-only
/*
 * rules.c - what a vendor and a model reserve, and what entries say of a page besides
 *
 * VMEM_VCPU tells the rules of a vCPU's CPUID; each rule is asked for here in every
 * format, with entries that only it makes right or wrong. Attributes are compared with
 * those that are read off the entries here, bit by bit.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <sys/ioctl.h>
#include <linux/kvm.h>

#include "ktap.h"
#include "vcpu.h"
#include "world.h"

#define SMALL MB(4)

#define PTE_PWT BIT_ULL(3)
#define PTE_PCD BIT_ULL(4)
#define PTE_PAT BIT_ULL(7)
#define PTE_G BIT_ULL(8)
#define PTE_LARGE_PAT BIT_ULL(12)
#define PTE_KEY(key) ((__u64)(key) << 59)

/* ---- The rules of a vCPU ---- */

static bool host_is_amd(void)
{
	unsigned int eax, name[4] = { 0 };

	__get_cpuid(0, &eax, &name[0], &name[2], &name[1]);
	return !strcmp((const char *)name, VENDOR_AMD);
}

static bool host_has_1g(void)
{
	unsigned int eax, ebx, ecx, edx = 0;

	__get_cpuid(0x80000001, &eax, &ebx, &ecx, &edx);
	return edx & 1u << 26;
}

static bool is_on(const char *path)
{
	FILE *file = fopen(path, "r");
	int c = file ? fgetc(file) : 'N';

	if (file)
		fclose(file);
	return c == 'Y' || c == '1';
}

/* Then the processor walks the guest's tables, by rules of its own. */
static bool has_nested_paging(void)
{
	return is_on("/sys/module/kvm_amd/parameters/npt") ||
	       is_on("/sys/module/kvm_intel/parameters/ept");
}

/* Both are of long mode only: no entry of another has them. */
static __u32 rules_of(const struct vcpu_model *model, bool is_long)
{
	const bool amd = model->vendor ? !strcmp(model->vendor, VENDOR_AMD) :
					 host_is_amd();
	const bool no_1g = has_nested_paging() ? !host_has_1g() : model->no_1g;

	if (!is_long)
		return 0;
	return (amd ? VMEM_RULES_AMD : 0) | (no_1g ? VMEM_RULES_NO_1G : 0);
}

#define SOME_PAT 0x0007010600070406ULL

static void set_pat(const struct vcpu *vcpu, __u64 pat)
{
	struct {
		struct kvm_msrs msrs;
		struct kvm_msr_entry entry;
	} args = { .msrs.nmsrs = 1, .entry = { 0x277, 0, pat } };

	CHECK_EQ(ioctl(vcpu->fd, KVM_SET_MSRS, &args), 1);
}

static void vcpu_of(const struct tables_format *format,
		    const struct vcpu_model *model)
{
	struct vmem_vcpu_args args;
	struct vmem_regs regs;
	struct vcpu vcpu;
	struct tables t;
	struct world w;
	int session;

	world_init(&w, SMALL);
	t = world_add(&w, format);
	regs = tables_regs(&t);
	vcpu_init(&vcpu, w.kvm_fd, w.vm_fd, 0);
	vcpu_set_model(&vcpu, w.kvm_fd, model);
	vcpu_set_mode(&vcpu, &regs);
	set_pat(&vcpu, SOME_PAT);
	session = world_open(&w);
	CHECK_EQ_AT(format->name, session_vcpu(session, 0, &args), 0);
	CHECK_EQ_AT(format->name, args.out_regs.cr0, regs.cr0);
	CHECK_EQ_AT(format->name, args.out_regs.cr4, regs.cr4);
	CHECK_EQ_AT(format->name, args.out_regs.efer, regs.efer);
	CHECK_EQ_AT(format->name, args.out_regs.rules,
		    rules_of(model, tables_are_long(&t)));
	CHECK_EQ_AT(format->name, args.out_pat, SOME_PAT);

	/* They are as VMEM_TRANSLATE and the others take them. */
	w.spaces.regs.rules = args.out_regs.rules;
	w.spaces.regs.maxphyaddr = args.out_regs.maxphyaddr;
	close(session);
	session = world_open(&w);
	close(session);
	vcpu_free(&vcpu);
	world_free(&w);
}

static void vcpus_of_each_model(void)
{
	static const struct vcpu_model models[] = {
		{ NULL, false },	 { NULL, true },
		{ VENDOR_AMD, false },	 { VENDOR_AMD, true },
		{ VENDOR_INTEL, false }, { VENDOR_INTEL, true },
	};
	size_t i;
	int format;

	for (i = 0; i < ARRAY_SIZE(models); i++)
		for (format = 0; format < NR_FORMATS; format++)
			if (format != FORMAT_LA57 || vcpu_can_la57())
				vcpu_of(&formats[format], &models[i]);
}

/* ---- What is reserved by them ---- */

/**
 * struct reserving - an entry, and what becomes of it by some rules
 * @what: for people
 * @format: its format
 * @level: its level
 * @raw: the bits that it has besides those of a page or table at GB(1)
 * @rules: the rules
 * @reserved: whether they reserve it
 */
struct reserving {
	const char *what;
	int format;
	int level;
	__u64 raw;
	__u32 rules;
	bool reserved;
};

#define BIT_45 VMEM_RULES_ENCRYPTION_BIT(45)

static const struct reserving reserving[] = {
	{ "bit 8 of a PML4E", FORMAT_AMD64, VMEM_LEVEL_PML4, PTE_G, 0, false },
	{ "bit 8 of a PML4E, AMD", FORMAT_AMD64, VMEM_LEVEL_PML4, PTE_G,
	  VMEM_RULES_AMD, true },
	{ "bit 8 of a PML4E of 5 levels, AMD", FORMAT_LA57, VMEM_LEVEL_PML4,
	  PTE_G, VMEM_RULES_AMD, true },
	{ "bit 8 of a PML5E", FORMAT_LA57, VMEM_LEVEL_PML5, PTE_G, 0, false },
	{ "bit 8 of a PML5E, AMD", FORMAT_LA57, VMEM_LEVEL_PML5, PTE_G,
	  VMEM_RULES_AMD, true },
	{ "bit 8 of a PDPTE, AMD", FORMAT_AMD64, VMEM_LEVEL_PDPT, PTE_G,
	  VMEM_RULES_AMD, false },
	{ "bit 8 of a PDE, AMD", FORMAT_AMD64, VMEM_LEVEL_PD, PTE_G,
	  VMEM_RULES_AMD, false },
	{ "1 GiB", FORMAT_AMD64, VMEM_LEVEL_PDPT, PTE_PS, VMEM_RULES_AMD,
	  false },
	{ "1 GiB, no 1 GiB", FORMAT_AMD64, VMEM_LEVEL_PDPT, PTE_PS,
	  VMEM_RULES_NO_1G, true },
	{ "1 GiB of 5 levels, no 1 GiB", FORMAT_LA57, VMEM_LEVEL_PDPT, PTE_PS,
	  VMEM_RULES_NO_1G, true },
	{ "2 MiB, no 1 GiB", FORMAT_AMD64, VMEM_LEVEL_PD, PTE_PS,
	  VMEM_RULES_NO_1G, false },
	{ "a PD, no 1 GiB", FORMAT_AMD64, VMEM_LEVEL_PDPT, 0, VMEM_RULES_NO_1G,
	  false },
	{ "PS of a PML4E", FORMAT_AMD64, VMEM_LEVEL_PML4, PTE_PS, 0, true },
	{ "PS of a PML5E", FORMAT_LA57, VMEM_LEVEL_PML5, PTE_PS, 0, true },
	{ "bit 45 of a PTE", FORMAT_AMD64, VMEM_LEVEL_PT, BIT_ULL(45), 0,
	  true },
	{ "bit 45 of a PTE, encryption", FORMAT_AMD64, VMEM_LEVEL_PT,
	  BIT_ULL(45), BIT_45, false },
	{ "bit 46 of a PTE, encryption", FORMAT_AMD64, VMEM_LEVEL_PT,
	  BIT_ULL(46), BIT_45, true },
	{ "bit 45 of a PML5E, encryption", FORMAT_LA57, VMEM_LEVEL_PML5,
	  BIT_ULL(45), BIT_45, false },
	{ "bit 45 of a PTE of PAE", FORMAT_PAE, VMEM_LEVEL_PT, BIT_ULL(45), 0,
	  true },
	{ "bit 45 of a PTE of PAE, encryption", FORMAT_PAE, VMEM_LEVEL_PT,
	  BIT_ULL(45), BIT_45, false },
	{ "bit 45 of a PDPTE of PAE, encryption", FORMAT_PAE, VMEM_LEVEL_PDPT,
	  BIT_ULL(45), BIT_45, false },
	{ "bit 52 of a PTE", FORMAT_AMD64, VMEM_LEVEL_PT, BIT_ULL(52), 0,
	  false },
	{ "bit 52 of a PTE of PAE", FORMAT_PAE, VMEM_LEVEL_PT, BIT_ULL(52), 0,
	  true },
	{ "bit 62 of a PDE of PAE", FORMAT_PAE, VMEM_LEVEL_PD, BIT_ULL(62), 0,
	  true },
	{ "W of a PDPTE of PAE", FORMAT_PAE, VMEM_LEVEL_PDPT, PTE_W, 0, true },
	{ "U of a PDPTE of PAE", FORMAT_PAE, VMEM_LEVEL_PDPT, PTE_U, 0, true },
	{ "A of a PDPTE of PAE", FORMAT_PAE, VMEM_LEVEL_PDPT, PTE_A, 0, false },
	{ "D of a PDPTE of PAE", FORMAT_PAE, VMEM_LEVEL_PDPT, PTE_D, 0, true },
	{ "PS of a PDPTE of PAE", FORMAT_PAE, VMEM_LEVEL_PDPT, PTE_PS, 0,
	  true },
	{ "bit 8 of a PDPTE of PAE", FORMAT_PAE, VMEM_LEVEL_PDPT, PTE_G, 0,
	  true },
	{ "NX of a PDPTE of PAE", FORMAT_PAE, VMEM_LEVEL_PDPT, PTE_NX, 0,
	  true },
	{ "PWT and PCD of a PDPTE of PAE", FORMAT_PAE, VMEM_LEVEL_PDPT,
	  PTE_PWT | PTE_PCD, 0, false },
};

/* The table or page that the entry names is not looked at, but for the status. */
static void check_reserving(const struct reserving *r)
{
	struct vmem_translation tr;
	struct vmem_regs regs;
	struct tables t;
	struct world w;
	__u64 entry;
	int session;

	world_init(&w, SMALL);
	t = world_add(&w, &formats[r->format]);
	regs = tables_regs(&t);
	regs.rules = r->rules;
	entry = tables_set(&t, 0, r->level, GB(1) | PTE_P | r->raw);
	session = world_open(&w);
	CHECK_EQ_AT(r->what, session_translate_one(session, &regs, 0, &tr), 0);
	CHECK_EQ_AT(r->what, tr.out_status == VMEM_RESERVED, r->reserved);
	if (r->reserved) {
		CHECK_EQ_AT(r->what, tr.out_level, r->level);
	} else if (tr.out_status == VMEM_MAPPED) {
		CHECK_EQ_AT(r->what, tr.out_gpa, GB(1));
	} else {
		CHECK_EQ_AT(r->what, tr.out_status, VMEM_UNBACKED);
		CHECK_EQ_AT(r->what, tr.out_level, r->level - 1);
	}
	CHECK_EQ_AT(r->what, tr.out_trace[tr.out_nr_trace - 1].entry_gpa,
		    entry);
	close(session);
	world_free(&w);
}

static void rules_reserve(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(reserving); i++)
		check_reserving(&reserving[i]);
}

/* ---- Attributes ---- */

/* What an entry says, bit by bit. */
static __u32 attributes_of(const struct tables *t, const struct vmem_regs *regs,
			   int level, __u64 raw)
{
	const __u64 pat = level == VMEM_LEVEL_PT ? PTE_PAT : PTE_LARGE_PAT;
	const __u32 bit = regs->rules >> 8 & 63;
	__u32 attributes = 0;

	attributes |= raw & PTE_A ? 1 << 0 : 0;
	attributes |= raw & PTE_D ? 1 << 1 : 0;
	attributes |= raw & PTE_G && regs->cr4 & CR4_PGE ? 1 << 2 : 0;
	if (t->entry_size == 8 && bit &&
	    !!(raw & BIT_ULL(bit)) != !!(regs->rules & VMEM_RULES_SHARED_BIT))
		attributes |= 1 << 3;
	attributes |= raw & PTE_PWT ? 1 << 4 : 0;
	attributes |= raw & PTE_PCD ? 1 << 5 : 0;
	attributes |= raw & pat ? 1 << 6 : 0;
	if (tables_are_long(t) && regs->cr4 & CR4_PKE)
		attributes |= (__u32)(raw >> 59 & 15) << 8;
	return attributes;
}

/* Bits of an entry that say something of its page; each by itself, and together. */
static __u64 telling(const struct tables *t, int level, __u32 bit, __u32 i)
{
	const __u64 pat = level == VMEM_LEVEL_PT ? PTE_PAT : PTE_LARGE_PAT;
	const __u64 one[] = {
		0,   PTE_A,   PTE_D,   PTE_G,
		pat, PTE_PWT, PTE_PCD, PTE_A | PTE_D | PTE_G | PTE_PWT | pat,
	};
	__u64 raw = one[i % 8];

	if (t->entry_size == 8 && bit && i & 8)
		raw |= BIT_ULL(bit);
	if (tables_are_long(t))
		raw |= PTE_KEY(i);
	return raw;
}

#define NR_TELLING 16

/* Contiguous pages whose entries differ in nothing but that. */
static void map_telling(struct tables *t, int level, __u32 bit, __u64 *raws)
{
	const __u64 page = tables_page_size(t, level);
	__u64 flags = PTE_PWU | (level > VMEM_LEVEL_PT ? PTE_PS : 0);
	__u32 i;

	for (i = 0; i < NR_TELLING; i++) {
		raws[i] = GB(1) + i * page;
		raws[i] |= flags | telling(t, level, bit, i);
		tables_set(t, i * page, level, raws[i]);
	}
}

static void check_attributes(const struct tables *t,
			     const struct vmem_regs *regs, int level,
			     const __u64 *raws, const struct session_maps *maps)
{
	const __u64 page = tables_page_size(t, level);
	const struct vmem_mapping *row = maps->rows;
	__u32 i;

	for (i = 0; i < NR_TELLING; i++) {
		if (i * page > row->last_va)
			row++;
		if (!CHECK(row < maps->rows + maps->nr))
			return;
		CHECK_EQ(row->attributes,
			 attributes_of(t, regs, level, raws[i]));
		CHECK_EQ(row->__reserved, 0);
		CHECK_EQ(row->gpa + (i * page - row->va), GB(1) + i * page);
		CHECK_EQ(row->page_size, page);
		CHECK_EQ(row->perms,
			 VMEM_WRITABLE | VMEM_USER | VMEM_EXECUTABLE);
	}
	CHECK(row == maps->rows + maps->nr - 1);
}

static void ask_for_attributes(const struct world *w, const struct tables *t,
			       const struct vmem_regs *regs, int level,
			       const __u64 *raws)
{
	struct vmem_mapping rows[NR_TELLING + 4];
	struct session_maps maps = { .rows = rows, .room = ARRAY_SIZE(rows) };
	const __u64 last = NR_TELLING * tables_page_size(t, level) - 1;
	int session = world_open(w);
	__u32 nr = 0;

	/* Without them the pages are one mapping, which has none. */
	maps.per_call = 4;
	CHECK_EQ(session_map_range(session, regs, 0, last, &maps), 0);
	CHECK_EQ(maps.nr, 1);
	CHECK_EQ(rows[0].attributes, 0);
	CHECK_EQ(rows[0].__reserved, 0);

	maps.flags = VMEM_MAP_ATTRIBUTES;
	for (maps.per_call = 1; maps.per_call <= 4; maps.per_call++) {
		CHECK_EQ(session_map_range(session, regs, 0, last, &maps), 0);
		check_attributes(t, regs, level, raws, &maps);
		nr = maps.nr;
	}
	maps.per_call = NR_TELLING;
	CHECK_EQ(session_map_range(session, regs, 0, last, &maps), 0);
	CHECK_EQ(maps.nr, nr);
	close(session);
}

static void attributes_at(int format, int level, __u64 cr4, __u32 rules)
{
	__u64 raws[NR_TELLING];
	struct vmem_regs regs;
	struct tables t;
	struct world w;

	world_init(&w, SMALL);
	t = world_add(&w, &formats[format]);
	regs = tables_regs(&t);
	regs.cr4 |= cr4;
	regs.rules = rules;
	map_telling(&t, level, rules >> 8 & 63, raws);
	ask_for_attributes(&w, &t, &regs, level, raws);
	world_free(&w);
}

static void attributes_of_each_size(void)
{
	static const __u64 cr4[] = { 0, CR4_PGE, CR4_PKE, CR4_PGE | CR4_PKE };
	static const __u32 rules[] = {
		0,
		VMEM_RULES_ENCRYPTION_BIT(47),
		VMEM_RULES_ENCRYPTION_BIT(51) | VMEM_RULES_SHARED_BIT,
	};
	int format;
	size_t i, j;

	for (format = 0; format < NR_FORMATS; format++)
		for (i = 0; i < ARRAY_SIZE(cr4); i++)
			for (j = 0; j < ARRAY_SIZE(rules); j++) {
				attributes_at(format, VMEM_LEVEL_PT, cr4[i],
					      rules[j]);
				attributes_at(format, VMEM_LEVEL_PD, cr4[i],
					      rules[j]);
			}
	attributes_at(FORMAT_AMD64, VMEM_LEVEL_PDPT, CR4_PKE, rules[2]);
}

/* ---- The encryption bit is no part of an address ---- */

static void encrypted_tables_in(int format)
{
	const __u64 c = BIT_ULL(47);
	struct vmem_translation tr;
	struct vmem_regs regs;
	struct tables t;
	struct world w;
	int session, level;

	world_init(&w, SMALL);
	t = world_add(&w, &formats[format]);
	regs = tables_regs(&t);
	regs.rules = VMEM_RULES_ENCRYPTION_BIT(47);
	tables_set(&t, 0, VMEM_LEVEL_PT, GB(1) | PTE_PWU | c);
	for (level = VMEM_LEVEL_PD; level <= t.top; level++)
		tables_set(&t, 0, level,
			   world_table(&t, 0, level - 1) | c |
				   tables_open(&t, level));
	if (tables_are_long(&t))
		regs.cr3 |= c;
	session = world_open(&w);
	CHECK_EQ(session_translate_one(session, &regs, 0, &tr), 0);
	CHECK_EQ_AT(formats[format].name, tr.out_status, VMEM_MAPPED);
	CHECK_EQ_AT(formats[format].name, tr.out_gpa, GB(1));

	/* Without the rule the bit is beyond MAXPHYADDR. */
	regs.rules = 0;
	regs.cr3 = t.root;
	CHECK_EQ(session_translate_one(session, &regs, 0, &tr), 0);
	CHECK_EQ_AT(formats[format].name, tr.out_status, VMEM_RESERVED);
	close(session);
	world_free(&w);
}

static void encrypted_tables(void)
{
	encrypted_tables_in(FORMAT_PAE);
	encrypted_tables_in(FORMAT_AMD64);
	encrypted_tables_in(FORMAT_LA57);
}

/* A bit below MAXPHYADDR: pages on both sides of it do not follow each other. */
static void encryption_bit_inside_the_width(void)
{
	const __u64 c = BIT_ULL(35);
	struct vmem_mapping rows[4];
	struct session_maps maps = { .rows = rows, .room = 4, .per_call = 4 };
	struct vmem_regs regs;
	struct tables t;
	struct world w;
	int session;

	world_init(&w, SMALL);
	t = world_add_amd64(&w);
	regs = tables_regs(&t);
	tables_set(&t, 0, VMEM_LEVEL_PT, (c - PAGE) | PTE_PWU);
	tables_set(&t, PAGE, VMEM_LEVEL_PT, c | PTE_PWU);
	session = world_open(&w);
	CHECK_EQ(session_map_range(session, &regs, 0, ~0ULL, &maps), 0);
	CHECK_EQ(maps.nr, 1);
	regs.rules = VMEM_RULES_ENCRYPTION_BIT(35);
	CHECK_EQ(session_map_range(session, &regs, 0, ~0ULL, &maps), 0);
	if (CHECK_EQ(maps.nr, 2)) {
		CHECK_EQ(rows[0].gpa, c - PAGE);
		CHECK_EQ(rows[1].gpa, 0);
	}
	close(session);
	world_free(&w);
}

static const struct ktap_case cases[] = {
	{ "vcpus_of_each_model", vcpus_of_each_model },
	{ "rules_reserve", rules_reserve },
	{ "attributes_of_each_size", attributes_of_each_size },
	{ "encrypted_tables", encrypted_tables },
	{ "encryption_bit_inside_the_width", encryption_bit_inside_the_width },
};

int main(void)
{
	return ktap_main(cases, ARRAY_SIZE(cases));
}
