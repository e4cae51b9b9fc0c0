// SPDX-License-Identifier: GPL-2.0-only
/*
 * Target: what an entry means, for any registers, level and entry, against the
 * manuals' rules put in another way: which bits of it have to be zero (Intel SDM
 * vol. 3, tables 4-4 to 4-6, 4-8 to 4-11 and 4-14 to 4-20), where the address is, and
 * what it says of the page besides.
 */
#include <errno.h>
#include <string.h>

#include <asm/msr-index.h>
#include <asm/processor-flags.h>
#include <fuzz/fuzz.h>
#include <vmem/arch.h>

#define ALL_PERMS (VMEM_WRITABLE | VMEM_USER | VMEM_EXECUTABLE)

static u64 bits(int high, int low)
{
	return high < low ? 0 : (~0ULL >> (63 - high)) & (~0ULL << low);
}

/* Which paging mode the registers name, by its levels: 2, 3, 4 or 5. */
static int levels(const struct vmem_regs *regs)
{
	if (regs->efer & EFER_LME)
		return regs->cr4 & X86_CR4_LA57 ? 5 : 4;
	return regs->cr4 & X86_CR4_PAE ? 3 : 2;
}

static u64 encryption_bit(const struct vmem_regs *regs)
{
	u32 bit = regs->rules >> 8 & 63;

	return bit && levels(regs) > 2 ? BIT_ULL(bit) : 0;
}

#define ALL_RULES                                                    \
	(VMEM_RULES_AMD | VMEM_RULES_NO_1G | VMEM_RULES_SHARED_BIT | \
	 VMEM_RULES_ENCRYPTION_BIT(63))

static int want_init(const struct vmem_regs *regs)
{
	bool lme = regs->efer & EFER_LME, pae = regs->cr4 & X86_CR4_PAE;
	u64 ignored = lme ? bits(58, 52) | bits(11, 9) : bits(11, 9);
	u32 bit = regs->rules >> 8;

	if (regs->rules & ~ALL_RULES)
		return -EOPNOTSUPP;
	if (!(regs->cr0 & X86_CR0_PG) || !(regs->cr0 & X86_CR0_PE) ||
	    regs->maxphyaddr < 32 || regs->maxphyaddr > 52 || (lme && !pae))
		return -EINVAL;
	if ((bit && (bit < 32 || bit > 51)) ||
	    (!bit && regs->rules & VMEM_RULES_SHARED_BIT))
		return -EINVAL;
	if (regs->cow_mask & ~ignored || regs->cow_value & ~regs->cow_mask ||
	    !!regs->cow_mask != !!regs->cow_value)
		return -EINVAL;
	return 0;
}

/* A mode of a processor's, with all its other bits as they are. */
static void set_mode(struct vmem_regs *regs, int nr_levels)
{
	regs->efer &= ~EFER_LME;
	regs->cr4 &= ~(u64)(X86_CR4_PAE | X86_CR4_LA57);
	if (nr_levels > 2)
		regs->cr4 |= X86_CR4_PAE;
	if (nr_levels > 3)
		regs->efer |= EFER_LME;
	if (nr_levels > 4)
		regs->cr4 |= X86_CR4_LA57;
}

static void set_known_rules(struct vmem_regs *regs)
{
	u32 bit = regs->rules >> 8 & 63;

	regs->rules &= VMEM_RULES_AMD | VMEM_RULES_NO_1G |
		       (bit ? VMEM_RULES_SHARED_BIT : 0);
	/* And one too low, and one too high. */
	if (bit)
		regs->rules |= VMEM_RULES_ENCRYPTION_BIT(31 + bit % 22);
}

static struct vmem_regs take_regs(struct input *in)
{
	u8 plain = take(in, 1), mode = take(in, 1);
	struct vmem_regs regs = {
		.cr0 = take(in, 8),
		.cr3 = take(in, 8),
		.cr4 = take(in, 4),
		.efer = take(in, 4),
		.maxphyaddr = take(in, 1),
		.cow_mask = take(in, 8),
		.cow_value = take(in, 8),
		.rules = take(in, 4),
	};

	/* Mostly what a processor runs with. */
	if (plain & 1)
		regs.cr0 |= X86_CR0_PG | X86_CR0_PE;
	if (plain & 2)
		regs.maxphyaddr = 32 + regs.maxphyaddr % 21;
	if (mode % 8 > 1)
		set_mode(&regs, 2 + mode % 4);
	if (plain & 4)
		set_known_rules(&regs);
	if (plain & 8)
		regs.rules = 0;
	if (plain & 16)
		regs.cow_mask &= bits(11, 9);
	if (plain & 32)
		regs.cow_value &= regs.cow_mask;
	if (plain & 64) {
		regs.cow_mask = 0;
		regs.cow_value = 0;
	}
	return regs;
}

/**
 * struct rule - what the manuals say of one entry
 * @page: it maps a page, if it is of any use
 * @grants: all, whatever is in it
 * @zero: bits of it that have to be zero
 * @addr: the address in it
 */
struct rule {
	bool page;
	bool grants;
	u64 zero;
	u64 addr;
};

static struct rule rule_2level(const struct vmem_regs *regs, int level, u64 raw)
{
	int width = regs->maxphyaddr < 40 ? regs->maxphyaddr : 40;

	if (level == 1 || !(regs->cr4 & X86_CR4_PSE) || !(raw & 1 << 7))
		return (struct rule){ .page = level == 1,
				      .addr = raw & bits(31, 12) };
	return (struct rule){
		.page = true,
		/* Bits 20:13 are address bits 39:32. */
		.zero = bits(21, 21) | bits(20, 13 + width - 32),
		.addr = (raw & bits(31, 22)) | (raw & bits(20, 13)) << 19,
	};
}

/* What all entries of 8 bytes have in common. */
static struct rule rule_8byte(const struct vmem_regs *regs, int level, u64 raw)
{
	u64 encryption = encryption_bit(regs);
	struct rule rule = {
		.page = level == 1 || (level == 2 && raw & 1 << 7),
		.zero = bits(51, regs->maxphyaddr) & ~encryption,
		.addr = raw & bits(51, 12) & ~encryption,
	};

	if (!(regs->efer & EFER_NX))
		rule.zero |= bits(63, 63);
	if (rule.page && level == 2)
		rule.zero |= bits(20, 13);
	return rule;
}

static struct rule rule_pae(const struct vmem_regs *regs, int level, u64 raw)
{
	struct rule rule = rule_8byte(regs, level, raw);

	rule.zero |= bits(62, 52);
	if (level == 3) {
		/* Accessed would be zero as well, but some emulation sets it. */
		rule.zero |= bits(63, 63) | bits(8, 6) | bits(2, 1);
		rule.grants = true;
	}
	return rule;
}

static struct rule rule_long(const struct vmem_regs *regs, int level, u64 raw)
{
	struct rule rule = rule_8byte(regs, level, raw);

	if (level == 3 && raw & 1 << 7) {
		rule.page = true;
		rule.zero |= bits(29, 13);
		if (regs->rules & VMEM_RULES_NO_1G)
			rule.zero |= bits(7, 7);
	}
	if (level > 3)
		rule.zero |= bits(7, 7);
	if (level > 3 && regs->rules & VMEM_RULES_AMD)
		rule.zero |= bits(8, 8);
	return rule;
}

static struct rule rule_of(const struct vmem_regs *regs, int level, u64 raw)
{
	struct rule rule;

	switch (levels(regs)) {
	case 2:
		return rule_2level(regs, level, raw);
	case 3:
		rule = rule_pae(regs, level, raw);
		break;
	default:
		rule = rule_long(regs, level, raw);
	}
	/* Bit 12 is PAT. */
	if (rule.page && level > 1)
		rule.addr &= ~bits(12, 12);
	return rule;
}

/* Bit by bit. */
static u32 attributes_of(const struct vmem_regs *regs, int level, u64 raw)
{
	u64 encryption = encryption_bit(regs);
	bool set = raw & encryption;
	u32 told = 0;

	told |= (raw >> 5 & 1) << 0;
	told |= (raw >> 6 & 1) << 1;
	if (regs->cr4 & 1 << 7)
		told |= (raw >> 8 & 1) << 2;
	if (encryption && set != !!(regs->rules & VMEM_RULES_SHARED_BIT))
		told |= 1 << 3;
	told |= (raw >> 3 & 1) << 4;
	told |= (raw >> 4 & 1) << 5;
	told |= (raw >> (level == 1 ? 7 : 12) & 1) << 6;
	if (levels(regs) > 3 && regs->cr4 & (1 << 22 | 1 << 24))
		told |= (raw >> 59 & 15) << 8;
	return told;
}

/* How many bits of an address an entry has room for. */
static int address_width(const struct vmem_mode *mode, bool large)
{
	if (mode->arch->entry_size == 8)
		return mode->maxphyaddr;
	if (!large)
		return 32;
	return mode->maxphyaddr < 40 ? mode->maxphyaddr : 40;
}

static void check_entry(const struct vmem_regs *regs,
			const struct vmem_mode *mode, int level, u64 raw)
{
	struct rule rule = rule_of(regs, level, raw);
	struct vmem_entry entry = vmem_decode(mode, level, raw);
	struct vmem_entry again =
		vmem_decode_as(mode, &mode->formats[level], raw);
	u32 perms = (raw & 2 ? VMEM_WRITABLE : 0) | (raw & 4 ? VMEM_USER : 0);

	REQUIRE(entry.kind == again.kind && entry.addr == again.addr &&
		entry.perms == again.perms);
	if (!(raw & 1)) {
		REQUIRE(entry.kind == VMEM_ENTRY_EMPTY);
	} else if (raw & rule.zero) {
		REQUIRE(entry.kind == VMEM_ENTRY_RESERVED);
	} else {
		REQUIRE(entry.kind ==
			(rule.page ? VMEM_ENTRY_LEAF : VMEM_ENTRY_TABLE));
		REQUIRE(entry.addr == rule.addr);
		if (!(raw >> 63))
			perms |= VMEM_EXECUTABLE;
		REQUIRE(entry.perms == (rule.grants ? ALL_PERMS : perms));
	}
	if (entry.kind == VMEM_ENTRY_EMPTY || entry.kind == VMEM_ENTRY_RESERVED)
		REQUIRE(!entry.addr && !entry.perms);
	if (entry.kind == VMEM_ENTRY_LEAF) {
		REQUIRE(!(entry.addr &
			  (vmem_level_size(mode->arch, level) - 1)));
		REQUIRE(!(entry.addr >> address_width(mode, level > 1)));
		REQUIRE(vmem_attributes(mode, level, raw) ==
			attributes_of(regs, level, raw));
	}
	REQUIRE(vmem_is_cow(mode, raw) ==
		(regs->cow_mask && (raw & regs->cow_mask) == regs->cow_value));
}

/* What is made says what it was to say, or can be seen to say something else. */
static void check_made(const struct vmem_mode *mode, int level, u64 addr,
		       u32 perms, bool leaf)
{
	enum vmem_entry_kind kind = leaf ? VMEM_ENTRY_LEAF : VMEM_ENTRY_TABLE;
	bool pdpte = mode->top == 3 && level == 3;
	u64 raw = mode->arch->encode(mode, level, kind, addr, perms);
	struct vmem_entry entry = vmem_decode(mode, level, raw);

	/* Level 1 names no tables, and what has no execute-disable executes. */
	if (entry.kind != kind || entry.addr != addr)
		return;
	/* A PDPTE of PAE has no rights to take. */
	REQUIRE(entry.perms == (pdpte ? ALL_PERMS : perms) || mode->top == 2);
	REQUIRE(pdpte || !((entry.perms ^ perms) & ~VMEM_EXECUTABLE));
}

/* Only the address changes. */
static void check_retarget(const struct vmem_mode *mode, int level, u64 raw,
			   u64 to)
{
	struct vmem_entry was = vmem_decode(mode, level, raw);
	bool leaf = was.kind == VMEM_ENTRY_LEAF;
	u64 size = vmem_level_size(mode->arch, level);
	u32 told = vmem_attributes(mode, level, raw);
	struct vmem_entry now;

	if (!leaf && was.kind != VMEM_ENTRY_TABLE)
		return;
	to &= leaf ? ~(size - 1) : VMEM_PAGE_MASK;
	if (to >> address_width(mode, leaf && level > VMEM_LEVEL_PT) ||
	    to & mode->encryption)
		return;
	raw = mode->arch->retarget(mode, level, raw, to);
	now = vmem_decode(mode, level, raw);
	REQUIRE(now.kind == was.kind && now.addr == to &&
		now.perms == was.perms);
	REQUIRE(!leaf || vmem_attributes(mode, level, raw) == told);
}

/* What stands for a large page grants what it granted, and says what it said. */
static void check_split(const struct vmem_mode *mode, int level, u64 raw)
{
	struct vmem_entry was = vmem_decode(mode, level, raw);
	struct vmem_entry now;
	u64 part;

	if (was.kind != VMEM_ENTRY_LEAF || level == VMEM_LEVEL_PT)
		return;
	part = mode->arch->split(mode, level, raw);
	now = vmem_decode(mode, level - 1, part);
	REQUIRE(now.kind == VMEM_ENTRY_LEAF && !now.addr &&
		now.perms == was.perms);
	REQUIRE(vmem_attributes(mode, level - 1, part) ==
		vmem_attributes(mode, level, raw));
}

/* Any bytes have bits set that have to be zero: without them, and with one of them. */
static void check_nearly_right(const struct vmem_regs *regs,
			       const struct vmem_mode *mode, int level, u64 raw,
			       int bit)
{
	raw &= ~rule_of(regs, level, raw).zero;
	/* That may have made another kind of entry of it. */
	raw &= ~rule_of(regs, level, raw).zero;
	raw |= 1;
	check_entry(regs, mode, level, raw);
	check_entry(regs, mode, level, raw | BIT_ULL(bit));
	check_retarget(mode, level, raw, raw);
	check_split(mode, level, raw);
}

/* Does an address repeat its highest bit in all above? */
static bool is_canonical(const struct vmem_regs *regs, u64 va)
{
	int unused = 16;

	if (levels(regs) < 4)
		return !(va >> 32);
	if (levels(regs) == 5)
		unused = 7;
	return (s64)(va << unused) >> unused == (s64)va;
}

static u64 root_of(const struct vmem_regs *regs)
{
	switch (levels(regs)) {
	case 2:
		return regs->cr3 & bits(31, 12);
	case 3:
		return regs->cr3 & bits(31, 5);
	default:
		return regs->cr3 & bits(regs->maxphyaddr - 1, 12) &
		       ~encryption_bit(regs);
	}
}

void fuzz_init(void)
{
}

void fuzz_one(const u8 *data, size_t size)
{
	struct input in = { data, data + size, data + size };
	struct vmem_regs regs = take_regs(&in);
	struct vmem_root root = {};
	int level, ret = vmem_root_init(&root, &regs);
	u64 addr, mask = levels(&regs) > 2 ? ~0ULL : ~0U;

	REQUIRE(ret == want_init(&regs));
	if (ret)
		return;
	REQUIRE(root.table == root_of(&regs));
	REQUIRE(root.mode.top == levels(&regs));
	addr = take(&in, 8);
	REQUIRE(vmem_is_canonical(&root.mode, addr) ==
		is_canonical(&regs, addr));
	do {
		u64 raw = take(&in, 8) & mask;
		int bit = take(&in, 1) % (root.mode.arch->entry_size * 8);

		for (level = 1; level <= root.mode.top; level++) {
			check_entry(&regs, &root.mode, level, raw);
			check_entry(&regs, &root.mode, level, raw | 1);
			check_nearly_right(&regs, &root.mode, level, raw, bit);
			check_retarget(&root.mode, level, raw, addr);
			check_split(&root.mode, level, raw);
			check_made(&root.mode, level, raw & VMEM_PAGE_MASK,
				   addr & ALL_PERMS, raw & 1);
		}
	} while (in.at < in.middle);
}
