// SPDX-License-Identifier: GPL-2.0-only
/*
 * Target: what an entry means, for any registers, level and entry, against the
 * manuals' rules put in another way: which bits of it have to be zero (Intel SDM
 * vol. 3, tables 4-4 to 4-6 and 4-14 to 4-20), and where the address is.
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

static int want_init(const struct vmem_regs *regs, u64 ignored)
{
	bool lme = regs->efer & EFER_LME, pae = regs->cr4 & X86_CR4_PAE;

	if (regs->rules)
		return -EOPNOTSUPP;
	if (!(regs->cr0 & X86_CR0_PG) || !(regs->cr0 & X86_CR0_PE) ||
	    regs->maxphyaddr < 32 || regs->maxphyaddr > 52 || (lme && !pae))
		return -EINVAL;
	if (regs->cow_mask & ~ignored || regs->cow_value & ~regs->cow_mask ||
	    !!regs->cow_mask != !!regs->cow_value)
		return -EINVAL;
	return 0;
}

static struct vmem_regs take_regs(struct input *in)
{
	u8 plain = take(in, 1);
	struct vmem_regs regs = {
		.cr0 = take(in, 8),
		.cr3 = take(in, 8),
		.cr4 = take(in, 4),
		.efer = take(in, 4),
		.maxphyaddr = take(in, 1),
		.cow_mask = take(in, 8),
		.cow_value = take(in, 8),
		.rules = take(in, 1) == 0xff,
	};

	/* Mostly what a processor runs with. */
	if (plain & 1)
		regs.cr0 |= X86_CR0_PG | X86_CR0_PE;
	if (plain & 2)
		regs.maxphyaddr = 32 + regs.maxphyaddr % 21;
	if (plain & 4) {
		regs.efer |= EFER_LME;
		regs.cr4 = (regs.cr4 | X86_CR4_PAE) & ~X86_CR4_LA57;
	}
	if (plain & 8) {
		regs.cr4 &= ~X86_CR4_PAE;
		regs.efer &= ~EFER_LME;
	}
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
 * @zero: bits of it that have to be zero
 * @addr: the address in it
 */
struct rule {
	bool page;
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

static struct rule rule_4level(const struct vmem_regs *regs, int level, u64 raw)
{
	bool ps = raw & 1 << 7;
	struct rule rule = {
		.page = level == 1 || ((level == 2 || level == 3) && ps),
		.zero = bits(51, regs->maxphyaddr),
		.addr = raw & bits(51, 12),
	};

	if (!(regs->efer & EFER_NX))
		rule.zero |= bits(63, 63);
	if (level == 4)
		rule.zero |= bits(7, 7);
	if (rule.page && level > 1) {
		/* Bit 12 is PAT. */
		rule.zero |= bits(level == 2 ? 20 : 29, 13);
		rule.addr &= ~bits(12, 12);
	}
	return rule;
}

/* How many bits of an address an entry has room for. */
static int address_width(const struct vmem_mode *mode, bool large)
{
	if (mode->arch == &vmem_arch_amd64)
		return mode->maxphyaddr;
	if (!large)
		return 32;
	return mode->maxphyaddr < 40 ? mode->maxphyaddr : 40;
}

static void check_entry(const struct vmem_regs *regs,
			const struct vmem_mode *mode, int level, u64 raw)
{
	bool amd64 = regs->efer & EFER_LME;
	struct rule rule = amd64 ? rule_4level(regs, level, raw) :
				   rule_2level(regs, level, raw);
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
		if (!amd64 || !(raw >> 63))
			perms |= VMEM_EXECUTABLE;
		REQUIRE(entry.perms == perms);
	}
	if (entry.kind == VMEM_ENTRY_EMPTY || entry.kind == VMEM_ENTRY_RESERVED)
		REQUIRE(!entry.addr && !entry.perms);
	if (entry.kind == VMEM_ENTRY_LEAF) {
		REQUIRE(!(entry.addr &
			  (vmem_level_size(mode->arch, level) - 1)));
		REQUIRE(!(entry.addr >> address_width(mode, level > 1)));
	}
	REQUIRE(vmem_is_cow(mode, raw) ==
		(regs->cow_mask && (raw & regs->cow_mask) == regs->cow_value));
}

/* What is made says what it was to say, or can be seen to say something else. */
static void check_made(const struct vmem_mode *mode, int level, u64 addr,
		       u32 perms, bool leaf)
{
	enum vmem_entry_kind kind = leaf ? VMEM_ENTRY_LEAF : VMEM_ENTRY_TABLE;
	bool amd64 = mode->arch == &vmem_arch_amd64;
	u64 raw = mode->arch->encode(mode, level, kind, addr, perms);
	struct vmem_entry entry = vmem_decode(mode, level, raw);

	/* Level 1 names no tables, and what has no execute-disable executes. */
	if (entry.kind != kind || entry.addr != addr)
		return;
	REQUIRE(entry.perms == perms || !amd64);
	REQUIRE(!((entry.perms ^ perms) & ~VMEM_EXECUTABLE));
}

/* Only the address changes. */
static void check_retarget(const struct vmem_mode *mode, int level, u64 raw,
			   u64 to)
{
	struct vmem_entry was = vmem_decode(mode, level, raw);
	bool leaf = was.kind == VMEM_ENTRY_LEAF;
	u64 size = vmem_level_size(mode->arch, level);
	struct vmem_entry now;

	if (!leaf && was.kind != VMEM_ENTRY_TABLE)
		return;
	to &= leaf ? ~(size - 1) : VMEM_PAGE_MASK;
	if (to >> address_width(mode, leaf && level > VMEM_LEVEL_PT))
		return;
	raw = mode->arch->retarget(mode, level, raw, to);
	now = vmem_decode(mode, level, raw);
	REQUIRE(now.kind == was.kind && now.addr == to &&
		now.perms == was.perms);
}

/* What stands for a large page grants what it granted. */
static void check_split(const struct vmem_mode *mode, int level, u64 raw)
{
	struct vmem_entry was = vmem_decode(mode, level, raw);
	struct vmem_entry now;

	if (was.kind != VMEM_ENTRY_LEAF || level == VMEM_LEVEL_PT)
		return;
	now = vmem_decode(mode, level - 1, mode->arch->split(mode, level, raw));
	REQUIRE(now.kind == VMEM_ENTRY_LEAF && !now.addr &&
		now.perms == was.perms);
}

void fuzz_init(void)
{
}

void fuzz_one(const u8 *data, size_t size)
{
	struct input in = { data, data + size, data + size };
	struct vmem_regs regs = take_regs(&in);
	bool amd64 = regs.efer & EFER_LME;
	u64 ignored = amd64 ? bits(58, 52) | bits(11, 9) : bits(11, 9);
	struct vmem_root root = {};
	int level, ret = vmem_root_init(&root, &regs);
	u64 addr, mask = amd64 ? ~0ULL : ~0U;

	REQUIRE(ret == want_init(&regs, ignored));
	if (ret)
		return;
	REQUIRE(root.table ==
		(regs.cr3 &
		 (amd64 ? bits(regs.maxphyaddr - 1, 12) : bits(31, 12))));
	REQUIRE(root.mode.top == (amd64 ? 4 : 2));
	addr = take(&in, 8);
	REQUIRE(vmem_is_canonical(&root.mode, addr) ==
		(amd64 ? (s64)(addr << 16) >> 16 == (s64)addr : !(addr >> 32)));
	do {
		u64 raw = take(&in, 8) & mask;

		for (level = 1; level <= root.mode.top; level++) {
			check_entry(&regs, &root.mode, level, raw);
			check_entry(&regs, &root.mode, level, raw | 1);
			check_retarget(&root.mode, level, raw, addr);
			check_split(&root.mode, level, raw);
			check_made(&root.mode, level, raw & VMEM_PAGE_MASK,
				   addr & ALL_PERMS, raw & 1);
		}
	} while (in.at < in.middle);
}
