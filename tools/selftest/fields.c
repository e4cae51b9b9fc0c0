// SPDX-License-Identifier: GPL-2.0-only
/*
 * fields.c - every member of every struct that the caller gives, at its limits
 *
 * One member of a call that works is changed. What is refused leaves the struct,
 * the array and the session as they were.
 */
#define _GNU_SOURCE
#include <limits.h>
#include <stdint.h>

#include "commands.h"
#include "ktap.h"

/**
 * struct value - a member of a struct, and what is said of a value of it
 * @cmd: the command
 * @what: the member
 * @at: its offset
 * @len: its size
 * @value: the value
 * @want: 0 or -errno
 */
struct value {
	unsigned long cmd;
	const char *what;
	int at;
	__u32 len;
	__u64 value;
	int want;
};

#define VALUE(bits, nr, type, member, v, err)                           \
	{                                                               \
		.cmd = (nr), .what = "VMEM_" #type ": " #member,        \
		.at = (int)offsetof(struct vmem_##type##_args, member), \
		.len = (bits) / 8, .value = (__u64)(v), .want = (err)   \
	}

#define ATTACH_KVM(bits, member, v, err) \
	VALUE(bits, VMEM_ATTACH_KVM, attach_kvm, member, v, err)
#define ATTACH_REGIONS(bits, member, v, err) \
	VALUE(bits, VMEM_ATTACH_REGIONS, attach_regions, member, v, err)
#define MEMSLOTS(bits, member, v, err) \
	VALUE(bits, VMEM_MEMSLOTS, memslots, member, v, err)
#define VCPU(bits, member, v, err) VALUE(bits, VMEM_VCPU, vcpu, member, v, err)
#define TRANSLATE(bits, member, v, err) \
	VALUE(bits, VMEM_TRANSLATE, translate, member, v, err)
#define MAP_RANGE(bits, member, v, err) \
	VALUE(bits, VMEM_MAP_RANGE, map_range, member, v, err)
#define READ(bits, member, v, err) VALUE(bits, VMEM_READ, read, member, v, err)
#define SET_SPACES(bits, member, v, err) \
	VALUE(bits, VMEM_SET_SPACES, set_spaces, member, v, err)
#define WALK_SPACES(bits, member, v, err) \
	VALUE(bits, VMEM_WALK_SPACES, walk_spaces, member, v, err)
#define READ_PHYS(bits, member, v, err) \
	VALUE(bits, VMEM_READ_PHYS, read_phys, member, v, err)

#define U32 (~0u)
#define U64 (~0ULL)

static const struct value values[] = {
	ATTACH_KVM(32, vm_fd, -1, -EBADF),
	ATTACH_KVM(32, vm_fd, INT_MAX, -EBADF),
	ATTACH_KVM(32, vm_fd, INT_MIN, -EBADF),
	ATTACH_REGIONS(32, nr, 0, -EINVAL),
	/* The second one is all zero: its size is. */
	ATTACH_REGIONS(32, nr, 2, -EINVAL),
	ATTACH_REGIONS(32, nr, 4097, -EINVAL),
	ATTACH_REGIONS(32, nr, 1u << 31, -EINVAL),
	ATTACH_REGIONS(32, nr, U32, -EINVAL),
	MEMSLOTS(32, nr, 0, -EINVAL),
	MEMSLOTS(32, nr, 1, 0),
	MEMSLOTS(32, nr, U32, 0),
	MEMSLOTS(64, gpa, 1, 0),
	MEMSLOTS(64, gpa, RAM_GPA - 1, 0),
	MEMSLOTS(64, gpa, RAM_GPA + RAM_LEN - 1, 0),
	MEMSLOTS(64, gpa, RAM_GPA + RAM_LEN, 0),
	MEMSLOTS(64, gpa, BIT_ULL(52), 0),
	MEMSLOTS(64, gpa, BIT_ULL(63), 0),
	MEMSLOTS(64, gpa, U64, 0),
	VCPU(32, index, 1, -EINVAL),
	VCPU(32, index, INT_MAX, -EINVAL),
	VCPU(32, index, 1u << 31, -EINVAL),
	VCPU(32, index, U32, -EINVAL),
	VCPU(32, timeout_us, 1, 0),
	VCPU(32, timeout_us, VMEM_MAX_VCPU_TIMEOUT_US, 0),
	VCPU(32, timeout_us, VMEM_MAX_VCPU_TIMEOUT_US + 1, -EINVAL),
	VCPU(32, timeout_us, U32, -EINVAL),
	TRANSLATE(32, nr, 0, -EINVAL),
	TRANSLATE(32, nr, 1, 0),
	TRANSLATE(32, nr, NR_MANY, 0),
	TRANSLATE(32, root, 1, -EINVAL),
	TRANSLATE(32, root, 1u << 31, -EINVAL),
	TRANSLATE(32, root, U32, -EINVAL),
	MAP_RANGE(32, flags, VMEM_MAP_ATTRIBUTES, 0),
	MAP_RANGE(32, nr, 0, -EINVAL),
	MAP_RANGE(32, nr, 1, 0),
	MAP_RANGE(64, va, 1, 0),
	MAP_RANGE(64, va, PAGE - 1, 0),
	MAP_RANGE(64, va, PAGE + 1, 0),
	MAP_RANGE(64, va, BIT_ULL(47) - 1, 0),
	MAP_RANGE(64, va, BIT_ULL(47), 0),
	MAP_RANGE(64, va, ~BIT_ULL(47), 0),
	MAP_RANGE(64, va, ~BIT_ULL(47) + 1, 0),
	MAP_RANGE(64, va, U64, 0),
	MAP_RANGE(64, last_va, 0, 0),
	MAP_RANGE(64, last_va, PAGE - 1, 0),
	MAP_RANGE(64, last_va, PAGE, 0),
	MAP_RANGE(64, last_va, U64 - 1, 0),
	READ(64, va, 1, 0),
	READ(64, va, BIT_ULL(47) - 1, 0),
	READ(64, va, BIT_ULL(47), 0),
	READ(64, va, ~BIT_ULL(47), 0),
	READ(64, va, -(__u64)READ_LEN, 0),
	READ(64, va, -(__u64)READ_LEN + 1, -EOVERFLOW),
	READ(64, va, U64, -EOVERFLOW),
	READ(64, len, 0, -EINVAL),
	READ(64, len, 1, 0),
	READ(64, len, PAGE + 1, 0),
	READ(64, len, BIT_ULL(47), 0),
	READ(64, len, BIT_ULL(63), 0),
	READ(64, len, U64, 0),
	SET_SPACES(32, nr_cr3, 0, -EINVAL),
	SET_SPACES(32, nr_cr3, VMEM_MAX_ROOTS + 1, -EINVAL),
	SET_SPACES(32, nr_cr3, 1u << 31, -EINVAL),
	SET_SPACES(32, nr_cr3, U32, -EINVAL),
	SET_SPACES(32, nr_excluded, 0, 0),
	SET_SPACES(32, nr_excluded, VMEM_MAX_EXCLUDED + 1, -EINVAL),
	SET_SPACES(32, nr_excluded, 1u << 31, -EINVAL),
	SET_SPACES(32, nr_excluded, U32, -EINVAL),
	SET_SPACES(64, va, 1, 0),
	SET_SPACES(64, va, BIT_ULL(47), 0),
	SET_SPACES(64, va, U64, 0),
	SET_SPACES(64, last_va, 0, 0),
	SET_SPACES(64, last_va, 1, 0),
	SET_SPACES(64, last_va, U64 - 1, 0),
	WALK_SPACES(32, nr, 0, -EINVAL),
	WALK_SPACES(32, nr, 1, 0),
	READ_PHYS(64, gpa, 0, 0),
	READ_PHYS(64, gpa, RAM_GPA + 1, 0),
	READ_PHYS(64, gpa, RAM_GPA + RAM_LEN - 1, 0),
	READ_PHYS(64, gpa, RAM_GPA + RAM_LEN, 0),
	READ_PHYS(64, gpa, BIT_ULL(52), 0),
	READ_PHYS(64, gpa, -(__u64)READ_LEN, 0),
	READ_PHYS(64, gpa, -(__u64)READ_LEN + 1, -EOVERFLOW),
	READ_PHYS(64, gpa, U64, -EOVERFLOW),
	READ_PHYS(64, len, 0, -EINVAL),
	READ_PHYS(64, len, 1, 0),
	READ_PHYS(64, len, PAGE + 1, 0),
	READ_PHYS(64, len, U64, -EOVERFLOW),
	READ_PHYS(64, buf, 0, 0),
	READ_PHYS(64, buf, 1, -EFAULT),
};

/* A call that works, of @c; the session it is made on is as good as new. */
static void works(const char *what, const struct command *c,
		  const struct guest *g, int session)
{
	struct call call;

	call_fill(&call, c, g);
	CHECK_EQ_AT(what, session_call(session, c->cmd, call.args.bytes), 0);
}

/* Makes the call, whose members at some place were changed. */
static void check_call(const char *what, const struct command *c,
		       const struct guest *g, struct call *call, int want)
{
	struct call before = *call;

	CHECK_EQ_AT(what, call_make(call, c), want);
	if (want) {
		check_untouched(what, call, &before);
		works(what, c, g, call->session);
	} else {
		CHECK_EQ_AT(what, bytes_changed(c, call, &before), 0);
	}
	close(call->session);
}

static void members(void)
{
	const struct value *v;
	const struct command *c;
	struct call call;
	struct guest g;

	guest_init(&g);
	for (v = values; v < values + ARRAY_SIZE(values); v++) {
		c = command(v->cmd);
		call_init(&call, c, &g);
		memcpy(call.args.bytes + v->at, &v->value, v->len);
		check_call(v->what, c, &g, &call, v->want);
	}
	guest_free(&g);
}

/* Each bit that a command does not know as a flag, or that is to be 0. */
static void bits_of_32(const struct command *c, const struct guest *g, int at,
		       __u32 known)
{
	struct call call;
	__u32 bit;

	for (bit = 1; bit; bit <<= 1) {
		if (bit & known)
			continue;
		call_init(&call, c, g);
		*u32_at(&call, at) |= bit;
		check_call(c->name, c, g, &call, -EOPNOTSUPP);
	}
}

static void unknown_bits(void)
{
	const struct command *c;
	struct guest g;

	guest_init(&g);
	for (c = commands; c < commands_end; c++) {
		bits_of_32(c, &g, offsetof(struct vmem_info_args, flags),
			   c->flags);
		if (c->reserved != NONE)
			bits_of_32(c, &g, c->reserved, c->known);
	}
	guest_free(&g);
}

/* One element is asked for, in sizes that it may have, and others. */
static void element_sizes(void)
{
	const struct command *c;
	struct call call;
	struct guest g;
	size_t i;

	guest_init(&g);
	for (c = commands; c < commands_end; c++) {
		const __u32 least = c->element_min ?: c->element_size;
		const struct {
			__u32 size;
			int want;
		} sizes[] = {
			{ 0, -EINVAL },		{ 1, -EINVAL },
			{ least - 1, -EINVAL }, { least, 0 },
			{ least + 1, 0 },	{ c->element_size, 0 },
			{ PAGE - 1, 0 },	{ PAGE, 0 },
			{ PAGE + 1, -EINVAL },	{ 2 * PAGE, -EINVAL },
			{ 1u << 31, -EINVAL },	{ U32, -EINVAL },
		};

		for (i = 0; c->element && i < ARRAY_SIZE(sizes); i++) {
			call_init(&call, c, &g);
			*u32_at(&call, c->nr) = 1;
			*u32_at(&call, c->element) = sizes[i].size;
			check_call(c->name, c, &g, &call, sizes[i].want);
		}
	}
	guest_free(&g);
}

/* ---- Registers ---- */

/**
 * struct changed_regs - a guest's registers, with some of them changed
 * @what: what is special about them
 * @change: changes them
 * @want: 0 or -errno
 */
struct changed_regs {
	const char *what;
	void (*change)(struct vmem_regs *regs, __u64 value);
	__u64 value;
	int want;
};

static void put_cr0(struct vmem_regs *regs, __u64 value)
{
	regs->cr0 = value;
}

static void put_cr3(struct vmem_regs *regs, __u64 value)
{
	regs->cr3 = value;
}

static void or_cr3(struct vmem_regs *regs, __u64 value)
{
	regs->cr3 |= value;
}

static void put_cr4(struct vmem_regs *regs, __u64 value)
{
	regs->cr4 = value;
}

static void or_cr4(struct vmem_regs *regs, __u64 value)
{
	regs->cr4 |= value;
}

static void put_efer(struct vmem_regs *regs, __u64 value)
{
	regs->efer = value;
}

static void put_width(struct vmem_regs *regs, __u64 value)
{
	regs->maxphyaddr = (__u32)value;
}

static void put_2_levels(struct vmem_regs *regs, __u64 value)
{
	regs->cr4 = value;
	regs->efer = 0;
}

static void put_pae(struct vmem_regs *regs, __u64 value)
{
	regs->cr4 = CR4_PAE | value;
	regs->efer = EFER_NXE;
}

static void put_rules(struct vmem_regs *regs, __u64 value)
{
	regs->rules = (__u32)value;
}

static void put_bit(struct vmem_regs *regs, __u64 value)
{
	regs->rules = VMEM_RULES_ENCRYPTION_BIT(value);
}

static void put_bit_of_2_levels(struct vmem_regs *regs, __u64 value)
{
	put_2_levels(regs, 0);
	put_bit(regs, value);
}

static void put_cow(struct vmem_regs *regs, __u64 value)
{
	regs->cow_mask = value;
	regs->cow_value = value;
}

static void put_cow_mask(struct vmem_regs *regs, __u64 value)
{
	regs->cow_mask = value;
}

static void put_cow_value(struct vmem_regs *regs, __u64 value)
{
	regs->cow_mask = 7 << 9;
	regs->cow_value = value;
}

static void put_cow_value_alone(struct vmem_regs *regs, __u64 value)
{
	regs->cow_value = value;
}

static void put_cow_of_2_levels(struct vmem_regs *regs, __u64 value)
{
	put_2_levels(regs, 0);
	put_cow(regs, value);
}

static void put_cow_of_pae(struct vmem_regs *regs, __u64 value)
{
	put_pae(regs, 0);
	put_cow(regs, value);
}

static void put_cow_of_5_levels(struct vmem_regs *regs, __u64 value)
{
	or_cr4(regs, CR4_LA57);
	put_cow(regs, value);
}

/* What is left to software in entries: 11:9, and 58:52. */
#define COW_LOW (7ULL << 9)
#define COW_HIGH (0x7fULL << 52)

static const struct changed_regs changed_regs[] = {
	{ "CR0 0", put_cr0, 0, -EINVAL },
	{ "CR0.PE alone", put_cr0, CR0_PE, -EINVAL },
	{ "CR0.PG alone", put_cr0, CR0_PG, -EINVAL },
	{ "CR0 all but PG", put_cr0, ~CR0_PG, -EINVAL },
	{ "CR0.PE and PG", put_cr0, CR0_PE | CR0_PG, 0 },
	{ "CR0 all ones", put_cr0, U64, 0 },
	{ "CR3 0", put_cr3, 0, -ENXIO },
	{ "CR3 all ones", put_cr3, U64, -ENXIO },
	{ "CR3 with a PCID", or_cr3, 0xfff, 0 },
	{ "CR3 bit 63", or_cr3, BIT_ULL(63), 0 },
	{ "CR4.LA57", or_cr4, CR4_LA57, 0 },
	{ "CR4 0 and EFER.LME", put_cr4, 0, -EINVAL },
	{ "CR4.PAE alone", put_cr4, CR4_PAE, 0 },
	{ "CR4 all ones", put_cr4, U64, 0 },
	{ "CR4 all but LA57", put_cr4, ~CR4_LA57, 0 },
	{ "EFER 0 and CR4.PAE", put_efer, 0, 0 },
	{ "EFER.LME alone", put_efer, EFER_LME, 0 },
	{ "EFER all but LME", put_efer, ~EFER_LME, 0 },
	{ "EFER all ones", put_efer, U64, 0 },
	{ "2-level", put_2_levels, 0, 0 },
	{ "2-level, CR4.PSE", put_2_levels, CR4_PSE, 0 },
	{ "2-level, CR4.LA57", put_2_levels, CR4_LA57, 0 },
	{ "PAE", put_pae, 0, 0 },
	{ "PAE, CR4.LA57", put_pae, CR4_LA57, 0 },
	{ "rules: unknown", put_rules, 1u << 3, -EOPNOTSUPP },
	{ "rules: all ones", put_rules, U32, -EOPNOTSUPP },
	{ "rules: unknown, and no such bit", put_rules,
	  1u << 31 | VMEM_RULES_ENCRYPTION_BIT(1), -EOPNOTSUPP },
	{ "rules: AMD", put_rules, VMEM_RULES_AMD, 0 },
	{ "rules: no 1 GiB", put_rules, VMEM_RULES_NO_1G, 0 },
	{ "rules: all known", put_rules,
	  VMEM_RULES_AMD | VMEM_RULES_NO_1G | VMEM_RULES_SHARED_BIT |
		  VMEM_RULES_ENCRYPTION_BIT(47),
	  0 },
	{ "rules: shared bit, none named", put_rules, VMEM_RULES_SHARED_BIT,
	  -EINVAL },
	{ "encryption bit 1", put_bit, 1, -EINVAL },
	{ "encryption bit 31", put_bit, 31, -EINVAL },
	{ "encryption bit 32", put_bit, 32, 0 },
	{ "encryption bit 51", put_bit, 51, 0 },
	{ "encryption bit 52", put_bit, 52, -EINVAL },
	{ "encryption bit 63", put_bit, 63, -EINVAL },
	{ "encryption bit 51 of 2-level", put_bit_of_2_levels, 51, 0 },
	{ "encryption bit 52 of 2-level", put_bit_of_2_levels, 52, -EINVAL },
	{ "MAXPHYADDR 0", put_width, 0, -EINVAL },
	{ "MAXPHYADDR 31", put_width, 31, -EINVAL },
	{ "MAXPHYADDR 32", put_width, 32, 0 },
	{ "MAXPHYADDR 52", put_width, 52, 0 },
	{ "MAXPHYADDR 53", put_width, 53, -EINVAL },
	{ "MAXPHYADDR all ones", put_width, U32, -EINVAL },
	{ "COW all", put_cow, COW_LOW | COW_HIGH, 0 },
	{ "COW all ones", put_cow, U64, -EINVAL },
	{ "COW mask without value", put_cow_mask, COW_LOW, -EINVAL },
	{ "COW value without mask", put_cow_value_alone, 1 << 9, -EINVAL },
	{ "COW value in mask", put_cow_value, 5 << 9, 0 },
	{ "COW value beside mask", put_cow_value, 1 << 9 | 1ULL << 52,
	  -EINVAL },
	{ "COW of 2-level", put_cow_of_2_levels, COW_LOW, 0 },
	{ "COW of 2-level, high", put_cow_of_2_levels, COW_HIGH, -EINVAL },
	{ "COW of PAE", put_cow_of_pae, COW_LOW, 0 },
	{ "COW of PAE, high", put_cow_of_pae, COW_HIGH, -EINVAL },
	{ "COW of 5-level", put_cow_of_5_levels, COW_LOW | COW_HIGH, 0 },
};

/* The list of roots has what is in CR3 for the other commands. */
static void regs_of(const struct command *c, const struct guest *g,
		    const struct changed_regs *r,
		    int (*open)(const struct guest *g))
{
	struct vmem_regs *regs;
	struct call call;
	int want = r->want;

	call_fill(&call, c, g);
	call.session = open(g);
	regs = (struct vmem_regs *)(call.args.bytes + c->regs);
	regs->cr3 = g->regs.cr3;
	r->change(regs, r->value);
	if (c->cmd == VMEM_SET_SPACES) {
		call.cr3 = regs->cr3;
		regs->cr3 = 0;
		want = want == -ENXIO ? 0 : want;
	}
	check_call(r->what, c, g, &call, want);
}

static void registers(void)
{
	const struct command *c;
	struct guest g;
	size_t i;

	guest_init(&g);
	for (c = commands; c < commands_end; c++)
		for (i = 0; c->regs && i < ARRAY_SIZE(changed_regs); i++) {
			regs_of(c, &g, &changed_regs[i], open_on_kvm);
			regs_of(c, &g, &changed_regs[i], open_on_regions);
		}
	guest_free(&g);
}

/* Every bit by itself as the mark of what is copy-on-write. */
static void copy_on_write_bits(void)
{
	const struct command *c;
	struct guest g;
	int bit;

	guest_init(&g);
	for (bit = 0; bit < 64; bit++) {
		__u64 mask = BIT_ULL(bit);
		bool soft = mask & (COW_LOW | COW_HIGH);
		const struct changed_regs r = { "COW bit", put_cow, mask,
						soft ? 0 : -EINVAL };

		for (c = commands; c < commands_end; c++)
			if (c->regs)
				regs_of(c, &g, &r, open_on_kvm);
	}
	guest_free(&g);
}

/* ---- Regions ---- */

#define LAST_GPA (BIT_ULL(52) - PAGE)

/* User space ends here or earlier, by the processor and the kernel. */
#define TOP BIT_ULL(63)

static const struct {
	const char *what;
	struct vmem_region region;
	int want;
} regions[] = {
	{ "gpa 0", { 0, PAGE, PAGE }, 0 },
	{ "gpa at the last page", { LAST_GPA, PAGE, PAGE }, 0 },
	{ "gpa behind the last page", { LAST_GPA + PAGE, PAGE, PAGE }, -EINVAL },
	{ "gpa all ones", { U64, PAGE, PAGE }, -EINVAL },
	{ "gpa at the last page of all", { -PAGE, PAGE, PAGE }, -EINVAL },
	{ "gpa all, and more", { 0, BIT_ULL(52) + PAGE, PAGE }, -EINVAL },
	{ "gpa wraps", { -PAGE, 2 * PAGE, PAGE }, -EOVERFLOW },
	{ "len 0", { 0, 0, PAGE }, -EINVAL },
	{ "len 1", { 0, 1, PAGE }, -EINVAL },
	{ "len a page less 1", { 0, PAGE - 1, PAGE }, -EINVAL },
	{ "len a page more 1", { 0, PAGE + 1, PAGE }, -EINVAL },
	{ "len all ones", { 0, U64, PAGE }, -EINVAL },
	{ "len all but a page", { 0, -PAGE, 0 }, -EINVAL },
	{ "all wraps", { PAGE, -PAGE, 2 * PAGE }, -EOVERFLOW },
	{ "hva 0", { 0, PAGE, 0 }, 0 },
	{ "hva all ones", { 0, PAGE, U64 }, -EINVAL },
	{ "hva wraps", { 0, 2 * PAGE, -PAGE }, -EOVERFLOW },
	{ "hva at the last page of all", { 0, PAGE, -PAGE }, -EFAULT },
	{ "hva in the kernel", { 0, PAGE, TOP }, -EFAULT },
	{ "hva ends there", { 0, 2 * PAGE, TOP - PAGE }, -EFAULT },
	{ "hva not canonical", { 0, PAGE, BIT_ULL(62) }, -EFAULT },
};

static void region_at(const char *what, const struct guest *g,
		      const struct vmem_region *region, int want)
{
	const struct command *c = command(VMEM_ATTACH_REGIONS);
	struct call call;

	call_init(&call, c, g);
	memcpy(call.array, region, sizeof(*region));
	check_call(what, c, g, &call, want);
}

static void region_members(void)
{
	struct vmem_region region;
	struct guest g;
	__u64 bit;
	size_t i;

	guest_init(&g);
	for (i = 0; i < ARRAY_SIZE(regions); i++)
		region_at(regions[i].what, &g, &regions[i].region,
			  regions[i].want);
	for (bit = 1; bit < PAGE; bit <<= 1) {
		region = (struct vmem_region){ bit, PAGE, PAGE };
		region_at("gpa unaligned", &g, &region, -EINVAL);
		region = (struct vmem_region){ 0, PAGE | bit, PAGE };
		region_at("len unaligned", &g, &region, -EINVAL);
		region = (struct vmem_region){ 0, PAGE, PAGE | bit };
		region_at("hva unaligned", &g, &region, -EINVAL);
	}
	guest_free(&g);
}

/* ---- Cursors ---- */

/* A cursor that no call gave is an address like any other. */
static void memslots_from_anywhere(void)
{
	static const __u64 from[] = {
		0,
		1,
		RAM_GPA - 1,
		RAM_GPA,
		RAM_GPA + RAM_LEN - 1,
		RAM_GPA + RAM_LEN,
		BIT_ULL(51),
		BIT_ULL(63),
		U64,
	};
	const struct command *c = command(VMEM_MEMSLOTS);
	struct call call;
	struct guest g;
	size_t i;
	int kind;

	guest_init(&g);
	for (i = 0; i < ARRAY_SIZE(from) * 2; i++) {
		__u64 gpa = from[i / 2];
		bool there = gpa < RAM_GPA + RAM_LEN;

		kind = i % 2;
		call_fill(&call, c, &g);
		call.session = kind ? open_on_kvm(&g) : open_on_regions(&g);
		call.args.memslots.gpa = gpa;
		CHECK_EQ(call_end(&call, c), 0);
		CHECK_EQ(call.args.memslots.out_nr, there);
		CHECK_EQ(call.args.memslots.out_next_gpa,
			 there ? RAM_GPA + RAM_LEN : gpa);
	}
	guest_free(&g);
}

/* The rows of a range lie in it, whatever its ends are. */
static void range_of(const struct guest *g, __u64 va, __u64 last_va)
{
	const struct command *c = command(VMEM_MAP_RANGE);
	struct vmem_mapping rows[NR_ELEMENTS];
	struct call call;
	__u64 next = va;
	__u32 i;

	call_init(&call, c, g);
	call.args.map_range.va = va;
	call.args.map_range.last_va = last_va;
	CHECK_EQ(call_end(&call, c), 0);
	memcpy(rows, call.array, sizeof(rows));
	for (i = 0; i < call.args.map_range.out_nr; i++) {
		CHECK(rows[i].va >= next && rows[i].last_va <= last_va);
		CHECK(rows[i].last_va >= rows[i].va);
		CHECK_EQ(rows[i].gpa, RAM_GPA + rows[i].va % PAGE);
		next = rows[i].last_va + 1;
	}
	CHECK(call.args.map_range.out_more <= 1);
	if (call.args.map_range.out_more)
		CHECK(call.args.map_range.out_next_va >= next &&
		      call.args.map_range.out_next_va <= last_va);
}

static void ranges_from_anywhere(void)
{
	static const __u64 ends[] = {
		0,
		1,
		PAGE - 1,
		PAGE,
		PAGE + 1,
		2 * PAGE,
		2 * PAGE + 1,
		30 * PAGE + 7,
		MB(2),
		BIT_ULL(47) - 1,
		BIT_ULL(47),
		~BIT_ULL(47),
		-BIT_ULL(47),
		U64 - PAGE,
		U64,
	};
	struct guest g;
	size_t i, j;

	guest_init(&g);
	for (i = 0; i < ARRAY_SIZE(ends); i++)
		for (j = i; j < ARRAY_SIZE(ends); j++)
			range_of(&g, ends[i], ends[j]);
	guest_free(&g);
}

static long long lost_at_start;

static void no_pages_lost(void)
{
	CHECK_EQ(pages_lost(), lost_at_start);
}

static const struct ktap_case cases[] = {
	{ "members", members },
	{ "unknown_bits", unknown_bits },
	{ "element_sizes", element_sizes },
	{ "registers", registers },
	{ "copy_on_write_bits", copy_on_write_bits },
	{ "region_members", region_members },
	{ "memslots_from_anywhere", memslots_from_anywhere },
	{ "ranges_from_anywhere", ranges_from_anywhere },
	{ "no_pages_lost", no_pages_lost },
};

int main(void)
{
	lost_at_start = pages_lost_before();
	return ktap_main(cases, ARRAY_SIZE(cases));
}
