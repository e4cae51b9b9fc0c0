/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Mode and root: how a guest's tables are to be read, derived once from its
 * registers as the processor derives it, and where they begin.
 */
#ifndef _VMEM_MODE_H
#define _VMEM_MODE_H

#include <linux/bits.h>
#include <linux/types.h>
#include <uapi/linux/vmem.h>
#include <vmem/mem.h>

struct vmem_arch;

/* Bits of the registers that choose a mode, or that accesses are judged by. */
#define GUEST_CR0_PE BIT_ULL(0)
#define GUEST_CR0_WP BIT_ULL(16)
#define GUEST_CR0_PG BIT_ULL(31)
#define GUEST_CR3_LAM_U57 BIT_ULL(61)
#define GUEST_CR3_LAM_U48 BIT_ULL(62)
#define GUEST_CR4_PSE BIT_ULL(4)
#define GUEST_CR4_PAE BIT_ULL(5)
#define GUEST_CR4_PGE BIT_ULL(7)
#define GUEST_CR4_LA57 BIT_ULL(12)
#define GUEST_CR4_SMEP BIT_ULL(20)
#define GUEST_CR4_SMAP BIT_ULL(21)
#define GUEST_CR4_PKE BIT_ULL(22)
#define GUEST_CR4_PKS BIT_ULL(24)
#define GUEST_CR4_LAM_SUP BIT_ULL(28)
#define GUEST_EFER_LME BIT_ULL(8)
#define GUEST_EFER_NXE BIT_ULL(11)
#define GUEST_RFLAGS_AC BIT_ULL(18)

/* Guest-physical addresses have between 32 and 52 bits (SDM vol. 3, 4.1.4). */
#define VMEM_MIN_PHYADDR 32
#define VMEM_MAX_PHYADDR 52

/**
 * struct vmem_format - what the entries of one level's tables are made of
 * @leaf: the bit that tells a present entry that maps a page from one that names
 *	a table; 0 if none of this level maps one
 * @leaf_addr: bits of the page's address
 * @leaf_high: further bits of it, which are kept VMEM_HIGH_SHIFT below their place
 * @leaf_reserved: bits that an entry which maps a page must have clear
 * @leaf_beyond: further bits, if they are among the mode's @beyond
 * @table_reserved: bits that an entry which names a table must have clear
 * @table_beyond: further bits, if they are among the mode's @beyond
 * @table_grants: bits that count as set in an entry which names a table
 */
struct vmem_format {
	u64 leaf;
	u64 leaf_addr;
	u64 leaf_high;
	u64 leaf_reserved;
	u64 leaf_beyond;
	u64 table_reserved;
	u64 table_beyond;
	u64 table_grants;
};

/* PSE-36 has address bits 39:32 in bits 20:13. */
#define VMEM_HIGH_SHIFT (32 - 13)

/**
 * struct vmem_mode - a paging mode and its widths; immutable during a walk
 * @arch: the format of the entries
 * @top: level of the root table
 * @maxphyaddr: width of a guest-physical address in bits
 * @pse: 2-level only: CR4.PSE, bit 7 of a PDE selects a 4 MiB page
 * @nxe: EFER.NXE, bit 63 of an entry is execute-disable and not reserved
 * @global: CR4.PGE, bit 8 of an entry that maps a page is Global
 * @keys: CR4.PKE or CR4.PKS, bits 62:59 of such an entry are its protection key
 * @amd: bit 8 of the entries of the upper tables is reserved
 * @no_1g: no entry maps a page of 1 GiB
 * @encryption: the bit of an entry that tells whether a page is encrypted, and is no
 *	part of its address; 0 if there is none
 * @shared: the bit is set where it is not
 * @addr: bits of an 8-byte entry that can be address bits: all of 51:12 but
 *	@encryption
 * @straight: pages that follow each other across a multiple of this have entries that do
 *	not
 * @cow_mask: bits of an entry that say whether its page is copy-on-write, 0 if
 *	the guest has no such convention
 * @cow_value: what they are if it is
 * @beyond: bits of an entry that are reserved because of these widths and modes
 * @formats: the formats of the entries, by level
 * @noncanonical: first virtual address that is no address in this mode
 * @noncanonical_last: last virtual address that is no address in this mode
 */
struct vmem_mode {
	const struct vmem_arch *arch;
	int top;
	int maxphyaddr;
	bool pse;
	bool nxe;
	bool global;
	bool keys;
	bool amd;
	bool no_1g;
	bool shared;
	u64 encryption;
	u64 addr;
	u64 straight;
	u64 cow_mask;
	u64 cow_value;
	u64 beyond;
	const struct vmem_format *formats;
	u64 noncanonical;
	u64 noncanonical_last;
};

/**
 * struct vmem_root - the root of an address space
 * @mode: how its tables are to be read
 * @table: guest-physical address of the root table; the space's identity
 */
struct vmem_root {
	struct vmem_mode mode;
	u64 table;
};

/**
 * vmem_root_init - derive a root from a guest's registers
 * @root: what to fill
 * @regs: the registers
 *
 * Intel SDM vol. 3, 4.1.1 names the modes and what selects them.
 *
 * Return: 0; -EINVAL if the registers hold a state that no processor pages in
 * (CR0.PG clear, long mode without CR4.PAE, @maxphyaddr or the rules' bit out of range)
 * or the copy-on-write convention is none; -EOPNOTSUPP for a rule that is not known.
 */
int vmem_root_init(struct vmem_root *root, const struct vmem_regs *regs);

/**
 * vmem_is_canonical - is a virtual address one in this paging mode
 * @mode: the mode
 * @va: the address
 */
static inline bool vmem_is_canonical(const struct vmem_mode *mode, u64 va)
{
	return va < mode->noncanonical || va > mode->noncanonical_last;
}

#endif /* _VMEM_MODE_H */
