// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a processor does with an access. The expectations are read off the manuals:
 * Intel SDM vol. 3, 4.6 "Access Rights" and 4.7 "Page-Fault Exceptions", and AMD APM
 * vol. 2, 5.6; those of random accesses follow the sentences of the former.
 */
#include <linux/kernel.h>
#include <linux/string.h>
#include <kunit/test.h>
#include <vmem/access.h>

#include "guest.h"
#include "rng.h"
#include "space.h"

/* Register bits, as the manuals number them */
#define WP BIT_ULL(16)
#define PAE BIT_ULL(5)
#define LA57 BIT_ULL(12)
#define SMEP BIT_ULL(20)
#define SMAP BIT_ULL(21)
#define PKE BIT_ULL(22)
#define PKS BIT_ULL(24)
#define LAM_SUP BIT_ULL(28)
#define LAM_U57 BIT_ULL(61)
#define LAM_U48 BIT_ULL(62)
#define NXE BIT_ULL(11)
#define AC BIT_ULL(18)

/*
 * Part one: every rule by itself.
 */
struct access_case {
	const char *desc;
	struct vmem_regs regs;
	struct vmem_access access;
	enum vmem_status status;
	struct {
		u32 nr;
		u64 raw[VMEM_MAX_LEVELS];
	} path;
	struct vmem_verdict want;
};

#define REGS(c0, c4, msr)                                           \
	{                                                           \
		.cr0 = X86_CR0_PG | X86_CR0_PE | (c0), .cr4 = (c4), \
		.efer = (msr), .maxphyaddr = 40,                    \
	}
#define LONG(c0, c4, msr) REGS(c0, PAE | (c4), EFER_LME | EFER_LMA | (msr))

#define BY(what, by_user)                                     \
	{                                                     \
		.kind = VMEM_ACCESS_##what, .user = (by_user) \
	}
#define U_READ BY(READ, true)
#define U_WRITE BY(WRITE, true)
#define U_FETCH BY(FETCH, true)
#define S_READ BY(READ, false)
#define S_WRITE BY(WRITE, false)
#define S_FETCH BY(FETCH, false)

/* The same, with RFLAGS, or with PKRU and PKRS */
#define WITH(what, by_user, flags)                             \
	{                                                      \
		.kind = VMEM_ACCESS_##what, .user = (by_user), \
		.rflags = (flags)                              \
	}
#define KEYS(what, by_user, ru, rs)                                          \
	{                                                                    \
		.kind = VMEM_ACCESS_##what, .user = (by_user), .pkru = (ru), \
		.pkrs = (rs)                                                 \
	}

/* An entry of key 5, and rights: all accesses are forbidden to it, or writes */
#define KEY5 (5ULL << 59)
#define AD5 0x400
#define WD5 0x800
#define ALL_BUT_5 0xfffff3ff

#define PATH(n, ...)                \
	{                           \
		(n),                \
		{                   \
			__VA_ARGS__ \
		}                   \
	}
#define TO(leaf) PATH(4, PTE_PWU, PTE_PWU, PTE_PWU, leaf)
#define PU (PTE_P | PTE_U)
#define PW (PTE_P | PTE_W)

#define PASSES(entry)                           \
	{                                       \
		VMEM_REASON_NONE, 0, 0, (entry) \
	}
#define PF(why, code, entry)                           \
	{                                              \
		VMEM_REASON_##why, 14, (code), (entry) \
	}
#define NO_ANSWER(entry)                            \
	{                                           \
		VMEM_REASON_UNBACKED, 0, 0, (entry) \
	}

/* clang-format off */
static const struct access_case access_cases[] = {
	/* User-mode and supervisor-mode addresses (4.6.1) */
	{ "user reads a user page", LONG(0, 0, 0), U_READ,
	  VMEM_MAPPED, TO(PTE_PWU), PASSES(3) },
	{ "user reads a supervisor page", LONG(0, 0, 0), U_READ,
	  VMEM_MAPPED, TO(PW), PF(SUPERVISOR, 0x05, 3) },
	{ "user writes to a supervisor page", LONG(0, 0, 0), U_WRITE,
	  VMEM_MAPPED, TO(PW), PF(SUPERVISOR, 0x07, 3) },
	{ "user fetches from a supervisor page", LONG(0, 0, NXE), U_FETCH,
	  VMEM_MAPPED, TO(PW), PF(SUPERVISOR, 0x15, 3) },
	{ "user reads below a supervisor's PML4E", LONG(0, 0, 0), U_READ,
	  VMEM_MAPPED, PATH(4, PW, PTE_PWU, PTE_PWU, PTE_PWU),
	  PF(SUPERVISOR, 0x05, 0) },
	{ "user reads below two supervisor's entries", LONG(0, 0, 0), U_READ,
	  VMEM_MAPPED, PATH(4, PTE_PWU, PTE_PWU, PW, PW),
	  PF(SUPERVISOR, 0x05, 2) },
	{ "supervisor reads a supervisor page", LONG(WP, SMAP | SMEP, NXE),
	  S_READ, VMEM_MAPPED, TO(PTE_P), PASSES(3) },
	{ "supervisor reads a user page", LONG(WP, SMEP, NXE), S_READ,
	  VMEM_MAPPED, TO(PU), PASSES(3) },
	/* Writes and CR0.WP */
	{ "user writes to a read-only page", LONG(WP, 0, 0), U_WRITE,
	  VMEM_MAPPED, TO(PU), PF(READ_ONLY, 0x07, 3) },
	{ "user writes to a read-only page, without WP", LONG(0, 0, 0), U_WRITE,
	  VMEM_MAPPED, TO(PU), PF(READ_ONLY, 0x07, 3) },
	{ "user writes below a read-only PDPTE", LONG(WP, 0, 0), U_WRITE,
	  VMEM_MAPPED, PATH(4, PTE_PWU, PU, PTE_PWU, PTE_PWU),
	  PF(READ_ONLY, 0x07, 1) },
	{ "user reads a read-only page", LONG(WP, 0, 0), U_READ,
	  VMEM_MAPPED, TO(PU), PASSES(3) },
	{ "user writes to a writable page", LONG(WP, 0, 0), U_WRITE,
	  VMEM_MAPPED, TO(PTE_PWU), PASSES(3) },
	{ "supervisor writes to a read-only page", LONG(WP, 0, 0), S_WRITE,
	  VMEM_MAPPED, TO(PTE_P), PF(READ_ONLY, 0x03, 3) },
	{ "supervisor writes to one, without WP", LONG(0, 0, 0), S_WRITE,
	  VMEM_MAPPED, TO(PTE_P), PASSES(3) },
	{ "supervisor writes to the user's", LONG(WP, 0, 0), S_WRITE,
	  VMEM_MAPPED, TO(PU), PF(READ_ONLY, 0x03, 3) },
	{ "supervisor writes to the user's, without WP", LONG(0, 0, 0), S_WRITE,
	  VMEM_MAPPED, TO(PU), PASSES(3) },
	/* Fetches and EFER.NXE */
	{ "user fetches", LONG(WP, SMEP, NXE), U_FETCH,
	  VMEM_MAPPED, TO(PU), PASSES(3) },
	{ "user fetches, execute-disable", LONG(WP, 0, NXE), U_FETCH,
	  VMEM_MAPPED, TO(PU | PTE_NX), PF(NO_EXECUTE, 0x15, 3) },
	{ "user fetches, execute-disable in the PML4E", LONG(WP, 0, NXE),
	  U_FETCH, VMEM_MAPPED, PATH(4, PU | PTE_NX, PU, PU, PU),
	  PF(NO_EXECUTE, 0x15, 0) },
	{ "user reads, execute-disable", LONG(WP, 0, NXE), U_READ,
	  VMEM_MAPPED, TO(PU | PTE_NX), PASSES(3) },
	{ "supervisor fetches", LONG(WP, SMEP, NXE), S_FETCH,
	  VMEM_MAPPED, TO(PTE_P), PASSES(3) },
	{ "supervisor fetches, execute-disable", LONG(0, 0, NXE), S_FETCH,
	  VMEM_MAPPED, TO(PTE_P | PTE_NX), PF(NO_EXECUTE, 0x11, 3) },
	{ "fetch from a 2 MiB page, execute-disable", LONG(0, 0, NXE), S_FETCH,
	  VMEM_MAPPED, PATH(3, PTE_PWU, PTE_PWU, PTE_P | PTE_PS | PTE_NX),
	  PF(NO_EXECUTE, 0x11, 2) },
	{ "fetch from a 1 GiB page", LONG(0, 0, NXE), S_FETCH,
	  VMEM_MAPPED, PATH(2, PTE_PWU, PTE_P | PTE_PS), PASSES(1) },
	/* CR4.SMEP */
	{ "SMEP: supervisor fetches from a user page", LONG(0, SMEP, 0),
	  S_FETCH, VMEM_MAPPED, TO(PU), PF(SMEP, 0x11, 3) },
	{ "SMEP: the same with AC", LONG(0, SMEP, NXE),
	  WITH(FETCH, false, AC), VMEM_MAPPED, TO(PU), PF(SMEP, 0x11, 3) },
	{ "no SMEP: supervisor fetches from a user page", LONG(0, SMAP, NXE),
	  S_FETCH, VMEM_MAPPED, TO(PU), PASSES(3) },
	{ "SMEP: a supervisor's PDE is enough", LONG(0, SMEP, NXE), S_FETCH,
	  VMEM_MAPPED, PATH(4, PU, PU, PTE_P, PU), PASSES(3) },
	/* CR4.SMAP */
	{ "SMAP: supervisor reads a user page", LONG(0, SMAP, NXE), S_READ,
	  VMEM_MAPPED, TO(PTE_PWU), PF(SMAP, 0x01, 3) },
	{ "SMAP: supervisor writes to one", LONG(0, SMAP, NXE), S_WRITE,
	  VMEM_MAPPED, TO(PTE_PWU), PF(SMAP, 0x03, 3) },
	{ "SMAP: with AC", LONG(WP, SMAP, NXE), WITH(WRITE, false, AC),
	  VMEM_MAPPED, TO(PTE_PWU), PASSES(3) },
	{ "SMAP: with every flag but AC", LONG(WP, SMAP, NXE),
	  WITH(READ, false, ~AC), VMEM_MAPPED, TO(PTE_PWU),
	  PF(SMAP, 0x01, 3) },
	{ "SMAP: AC makes nothing writable", LONG(WP, SMAP, NXE),
	  WITH(WRITE, false, AC), VMEM_MAPPED, TO(PU),
	  PF(READ_ONLY, 0x03, 3) },
	{ "SMAP: user reads", LONG(0, SMAP, NXE), U_READ,
	  VMEM_MAPPED, TO(PTE_PWU), PASSES(3) },
	/* Protection keys (4.6.2) */
	{ "PKE: AD, user reads", LONG(WP, PKE, NXE), KEYS(READ, true, AD5, 0),
	  VMEM_MAPPED, TO(PTE_PWU | KEY5), PF(KEY, 0x25, 3) },
	{ "PKE: AD, user writes", LONG(WP, PKE, NXE),
	  KEYS(WRITE, true, AD5, 0),
	  VMEM_MAPPED, TO(PTE_PWU | KEY5), PF(KEY, 0x27, 3) },
	{ "PKE: AD, user fetches", LONG(WP, PKE, NXE),
	  KEYS(FETCH, true, AD5, 0),
	  VMEM_MAPPED, TO(PTE_PWU | KEY5), PASSES(3) },
	{ "PKE: AD, fetch from no-execute", LONG(WP, PKE, NXE),
	  KEYS(FETCH, true, AD5, 0), VMEM_MAPPED, TO(PU | KEY5 | PTE_NX),
	  PF(NO_EXECUTE, 0x15, 3) },
	{ "PKE: AD, supervisor writes, without WP", LONG(0, PKE, NXE),
	  KEYS(WRITE, false, AD5, 0),
	  VMEM_MAPPED, TO(PTE_PWU | KEY5), PF(KEY, 0x23, 3) },
	{ "PKE: WD, user reads", LONG(WP, PKE, NXE), KEYS(READ, true, WD5, 0),
	  VMEM_MAPPED, TO(PTE_PWU | KEY5), PASSES(3) },
	{ "PKE: WD, user writes, without WP", LONG(0, PKE, NXE),
	  KEYS(WRITE, true, WD5, 0),
	  VMEM_MAPPED, TO(PTE_PWU | KEY5), PF(KEY, 0x27, 3) },
	{ "PKE: WD, supervisor writes", LONG(WP, PKE, NXE),
	  KEYS(WRITE, false, WD5, 0),
	  VMEM_MAPPED, TO(PTE_PWU | KEY5), PF(KEY, 0x23, 3) },
	{ "PKE: WD, supervisor writes, without WP", LONG(0, PKE, NXE),
	  KEYS(WRITE, false, WD5, 0),
	  VMEM_MAPPED, TO(PTE_PWU | KEY5), PASSES(3) },
	{ "PKE: rights of other keys", LONG(WP, PKE, NXE),
	  KEYS(WRITE, true, ALL_BUT_5, 0),
	  VMEM_MAPPED, TO(PTE_PWU | KEY5), PASSES(3) },
	{ "PKE: the last key", LONG(WP, PKE, NXE),
	  KEYS(READ, true, 0x40000000, 0),
	  VMEM_MAPPED, TO(PTE_PWU | 15ULL << 59), PF(KEY, 0x25, 3) },
	{ "PKE: only the last entry has a key", LONG(WP, PKE, NXE),
	  KEYS(WRITE, true, AD5, 0), VMEM_MAPPED,
	  PATH(4, PTE_PWU | KEY5, PTE_PWU | KEY5, PTE_PWU | KEY5, PTE_PWU),
	  PASSES(3) },
	{ "PKE: key of a 2 MiB page", LONG(WP, PKE, NXE),
	  KEYS(READ, true, AD5, 0), VMEM_MAPPED,
	  PATH(3, PTE_PWU, PTE_PWU, PU | PTE_PS | KEY5), PF(KEY, 0x25, 2) },
	{ "PKE: read-only as well", LONG(WP, PKE, NXE),
	  KEYS(WRITE, true, AD5, 0),
	  VMEM_MAPPED, TO(PU | KEY5), PF(READ_ONLY, 0x27, 3) },
	{ "PKE: SMAP as well", LONG(WP, PKE | SMAP, NXE),
	  KEYS(READ, false, AD5, 0),
	  VMEM_MAPPED, TO(PU | KEY5), PF(SMAP, 0x21, 3) },
	{ "PKE: PKRU and a supervisor page", LONG(WP, PKE, NXE),
	  KEYS(WRITE, false, ~0U, ~0U),
	  VMEM_MAPPED, TO(PW | KEY5), PASSES(3) },
	{ "no PKE", LONG(WP, PKS, NXE), KEYS(WRITE, true, ~0U, ~0U),
	  VMEM_MAPPED, TO(PTE_PWU | KEY5), PASSES(3) },
	{ "PKS: AD, supervisor reads", LONG(WP, PKS, NXE),
	  KEYS(READ, false, 0, AD5),
	  VMEM_MAPPED, TO(PW | KEY5), PF(KEY, 0x21, 3) },
	{ "PKS: AD, supervisor fetches", LONG(WP, PKS, NXE),
	  KEYS(FETCH, false, 0, AD5),
	  VMEM_MAPPED, TO(PW | KEY5), PASSES(3) },
	{ "PKS: WD, supervisor writes", LONG(WP, PKS, NXE),
	  KEYS(WRITE, false, 0, WD5),
	  VMEM_MAPPED, TO(PW | KEY5), PF(KEY, 0x23, 3) },
	{ "PKS: WD, supervisor writes, without WP", LONG(0, PKS, NXE),
	  KEYS(WRITE, false, 0, WD5),
	  VMEM_MAPPED, TO(PW | KEY5), PASSES(3) },
	{ "PKS: PKRS and a user page", LONG(WP, PKE | PKS, NXE),
	  KEYS(READ, false, 0, ~0U),
	  VMEM_MAPPED, TO(PTE_PWU | KEY5), PASSES(3) },
	/* Paths that end before a page, and the error code (4.7) */
	{ "not present, user reads", LONG(0, 0, 0), U_READ,
	  VMEM_NOT_PRESENT, PATH(1, 0), PF(NOT_PRESENT, 0x04, 0) },
	{ "not present, supervisor writes", LONG(0, 0, 0), S_WRITE,
	  VMEM_NOT_PRESENT, TO(PTE_W), PF(NOT_PRESENT, 0x02, 3) },
	{ "not present, keys", LONG(WP, PKE | PKS, NXE),
	  KEYS(READ, true, ~0U, ~0U),
	  VMEM_NOT_PRESENT, TO(KEY5), PF(NOT_PRESENT, 0x04, 3) },
	{ "fetch without NXE and SMEP", LONG(0, 0, 0), U_FETCH,
	  VMEM_NOT_PRESENT, TO(0), PF(NOT_PRESENT, 0x04, 3) },
	{ "fetch with NXE", LONG(0, 0, NXE), U_FETCH,
	  VMEM_NOT_PRESENT, TO(0), PF(NOT_PRESENT, 0x14, 3) },
	{ "fetch with SMEP", LONG(0, SMEP, 0), S_FETCH,
	  VMEM_NOT_PRESENT, TO(0), PF(NOT_PRESENT, 0x10, 3) },
	{ "reserved bit, user writes", LONG(0, 0, 0), U_WRITE,
	  VMEM_RESERVED, PATH(3, PTE_PWU, PTE_PWU, PTE_PWU | BIT_ULL(45)),
	  PF(RESERVED, 0x0f, 2) },
	{ "reserved bit, supervisor fetches", LONG(0, 0, NXE), S_FETCH,
	  VMEM_RESERVED, PATH(1, PTE_P | PTE_PS), PF(RESERVED, 0x19, 0) },
	{ "reserved bit, keys", LONG(WP, PKE | PKS, NXE),
	  KEYS(READ, true, ~0U, ~0U), VMEM_RESERVED,
	  TO(PTE_PWU | BIT_ULL(45)), PF(RESERVED, 0x0d, 3) },
	{ "no canonical address", LONG(0, 0, 0), U_READ,
	  VMEM_NON_CANONICAL, {}, { VMEM_REASON_NON_CANONICAL, 13, 0, -1 } },
	{ "unbacked", LONG(0, 0, 0), U_READ,
	  VMEM_UNBACKED, PATH(2, PTE_PWU, PTE_PWU), NO_ANSWER(1) },
	{ "unreadable root", LONG(0, 0, 0), U_READ,
	  VMEM_UNREADABLE, {}, NO_ANSWER(-1) },
	{ "torn", LONG(0, 0, 0), U_READ,
	  VMEM_TORN, PATH(2, PTE_PWU, PTE_PWU), NO_ANSWER(1) },
	/* 5-level paging */
	{ "5-level: supervisor's PML5E", LONG(WP, LA57, NXE), U_READ,
	  VMEM_MAPPED, PATH(5, PW, PTE_PWU, PTE_PWU, PTE_PWU, PTE_PWU),
	  PF(SUPERVISOR, 0x05, 0) },
	{ "5-level: execute-disable in the PML5E", LONG(WP, LA57, NXE), U_FETCH,
	  VMEM_MAPPED, PATH(5, PU | PTE_NX, PU, PU, PU, PU),
	  PF(NO_EXECUTE, 0x15, 0) },
	{ "5-level: key", LONG(WP, LA57 | PKE, NXE), KEYS(READ, true, AD5, 0),
	  VMEM_MAPPED, PATH(5, PU, PU, PU, PU, PU | KEY5), PF(KEY, 0x25, 4) },
	/* PAE: a PDPTE has no rights, and there are no keys. */
	{ "PAE: user writes", REGS(WP, PAE | PKE, NXE),
	  KEYS(WRITE, true, ~0U, ~0U),
	  VMEM_MAPPED, PATH(3, PTE_P, PTE_PWU, PTE_PWU), PASSES(2) },
	{ "PAE: read-only PDE", REGS(WP, PAE, NXE), U_WRITE,
	  VMEM_MAPPED, PATH(3, PTE_P, PU, PTE_PWU), PF(READ_ONLY, 0x07, 1) },
	{ "PAE: supervisor's PTE", REGS(WP, PAE, 0), U_FETCH,
	  VMEM_MAPPED, PATH(3, PTE_P, PTE_PWU, PW), PF(SUPERVISOR, 0x05, 2) },
	{ "PAE: execute-disable", REGS(WP, PAE, NXE), U_FETCH,
	  VMEM_MAPPED, PATH(3, PTE_P, PU, PU | PTE_NX),
	  PF(NO_EXECUTE, 0x15, 2) },
	{ "PAE: SMAP", REGS(WP, PAE | SMAP, NXE), S_READ,
	  VMEM_MAPPED, PATH(3, PTE_P, PU, PU), PF(SMAP, 0x01, 2) },
	/* 2-level: no execute-disable, whatever EFER says. */
	{ "2-level: fetch", REGS(WP, 0, NXE), U_FETCH,
	  VMEM_MAPPED, PATH(2, PU, PU), PASSES(1) },
	{ "2-level: fetch of what is not present", REGS(WP, 0, NXE), U_FETCH,
	  VMEM_NOT_PRESENT, PATH(1, 0), PF(NOT_PRESENT, 0x04, 0) },
	{ "2-level: SMEP", REGS(WP, SMEP, 0), S_FETCH,
	  VMEM_MAPPED, PATH(2, PU, PU), PF(SMEP, 0x11, 1) },
	{ "2-level: keys", REGS(WP, PKE | PKS, 0), KEYS(READ, true, ~0U, ~0U),
	  VMEM_MAPPED, PATH(2, PU, PU), PASSES(1) },
	{ "2-level: read-only PDE", REGS(WP, 0, 0), S_WRITE,
	  VMEM_MAPPED, PATH(2, PTE_P, PW), PF(READ_ONLY, 0x03, 0) },
	{ "2-level: 4 MiB page", REGS(WP, X86_CR4_PSE, 0), U_WRITE,
	  VMEM_MAPPED, PATH(1, PU | PTE_PS), PF(READ_ONLY, 0x07, 0) },
	{ "2-level: above 4 GiB", REGS(WP, 0, 0), U_READ,
	  VMEM_NON_CANONICAL, {}, { VMEM_REASON_NON_CANONICAL, 0, 0, -1 } },
};

/* clang-format on */

static void access_desc(const struct access_case *c, char *desc)
{
	strscpy(desc, c->desc, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(access, access_cases, access_desc);

static void judge(struct kunit *test, const struct access_case *c,
		  struct vmem_verdict *got)
{
	struct vmem_translation t = {
		.out_status = c->status,
		.out_nr_trace = c->path.nr,
	};
	struct vmem_root root;
	u32 i;

	for (i = 0; i < c->path.nr; i++)
		t.out_trace[i].raw = c->path.raw[i];
	KUNIT_ASSERT_EQ(test, vmem_root_init(&root, &c->regs), 0);
	memset(got, 0xff, sizeof(*got));
	vmem_access(&c->regs, &root.mode, &c->access, &t, got);
}

static void vmem_access_named(struct kunit *test)
{
	const struct access_case *c = test->param_value;
	struct vmem_verdict got;

	judge(test, c, &got);
	KUNIT_EXPECT_EQ(test, (int)got.reason, (int)c->want.reason);
	KUNIT_EXPECT_EQ(test, got.vector, c->want.vector);
	KUNIT_EXPECT_EQ(test, got.error_code, c->want.error_code);
	KUNIT_EXPECT_EQ(test, got.decides, c->want.decides);
}

/*
 * Part two: the address. Metadata is replaced by the bit below it, so that what is
 * no address of the other half, or of the mode, stays none.
 */
struct address_case {
	const char *desc;
	u64 cr3;
	u64 cr4;
	enum vmem_access_kind kind;
	u64 va;
	u64 want;
};

#define DATA VMEM_ACCESS_READ

/* clang-format off */
static const struct address_case address_cases[] = {
	{ "no LAM", 0, 0, DATA, 0x7e00123456789abc, 0x7e00123456789abc },
	{ "no LAM, supervisor's", LAM_U48 | LAM_U57, 0, DATA,
	  0x8100f23456789abc, 0x8100f23456789abc },
	{ "LAM_U48", LAM_U48, 0, DATA,
	  0x7fff123456789abc, 0x0000123456789abc },
	{ "LAM_U48, bit 47", LAM_U48, 0, DATA,
	  0x0001923456789abc, 0x7fff923456789abc },
	{ "LAM_U48, 5-level", LAM_U48, LA57, DATA,
	  0x0055123456789abc, 0x0000123456789abc },
	{ "LAM_U57", LAM_U57, 0, DATA,
	  0x7e00123456789abc, 0x0000123456789abc },
	{ "LAM_U57 leaves bits 56:48", LAM_U57, 0, DATA,
	  0x7eff123456789abc, 0x00ff123456789abc },
	{ "LAM_U57, bit 56", LAM_U57, LA57, DATA,
	  0x0100123456789abc, 0x7f00123456789abc },
	{ "LAM_U57 over LAM_U48", LAM_U48 | LAM_U57, 0, DATA,
	  0x7e01123456789abc, 0x0001123456789abc },
	{ "LAM_U57, a write", LAM_U57, 0, VMEM_ACCESS_WRITE,
	  0x7e00123456789abc, 0x0000123456789abc },
	{ "LAM_U57, a fetch", LAM_U57, 0, VMEM_ACCESS_FETCH,
	  0x7e00123456789abc, 0x7e00123456789abc },
	{ "LAM_SUP, user's", 0, LAM_SUP, DATA,
	  0x7e00123456789abc, 0x7e00123456789abc },
	{ "LAM_SUP, 4-level", 0, LAM_SUP, DATA,
	  0x8001f23456789abc, 0xfffff23456789abc },
	{ "LAM_SUP, 4-level, bit 47 clear", 0, LAM_SUP, DATA,
	  0xffff723456789abc, 0x8000723456789abc },
	{ "LAM_SUP, 5-level", 0, LAM_SUP | LA57, DATA,
	  0x8101f23456789abc, 0xff01f23456789abc },
	{ "LAM_SUP, a fetch", 0, LAM_SUP, VMEM_ACCESS_FETCH,
	  0x8001f23456789abc, 0x8001f23456789abc },
};

/* clang-format on */

static void address_desc(const struct address_case *c, char *desc)
{
	strscpy(desc, c->desc, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(address, address_cases, address_desc);

/* Whoever makes the access: the address says whose half it is in. */
static void vmem_access_address(struct kunit *test)
{
	const struct address_case *c = test->param_value;
	const struct vmem_access by_user = { .kind = c->kind, .user = true };
	const struct vmem_access by_supervisor = { .kind = c->kind };
	struct vmem_regs regs = LONG(0, c->cr4, NXE);

	regs.cr3 = c->cr3;
	KUNIT_EXPECT_EQ(test, vmem_access_va(&regs, &by_user, c->va), c->want);
	KUNIT_EXPECT_EQ(test, vmem_access_va(&regs, &by_supervisor, c->va),
			c->want);
	/* Outside long mode CR3 and CR4 have no such bits. */
	regs.efer = 0;
	KUNIT_EXPECT_EQ(test, vmem_access_va(&regs, &by_user, c->va), c->va);
}

/*
 * Part three: random accesses, beside the sentences of the manual.
 */

/* Index of the first entry from @first on that has these bits so; -1 if none has. */
static int first_with(const struct access_case *c, u32 first, u64 mask,
		      u64 bits)
{
	u32 i;

	for (i = first; i < c->path.nr; i++)
		if ((c->path.raw[i] & mask) == bits)
			return i;
	return -1;
}

/* "The processor prevents ...": PKRU and PKRS, 4.6.2 */
static bool key_prevents(const struct access_case *c, bool user_address)
{
	const struct vmem_access *a = &c->access;
	u32 key = c->path.raw[c->path.nr - 1] >> 59 & 15;
	u32 rights = user_address ? a->pkru : a->pkrs;
	bool ad = rights & 1U << key * 2;
	bool wd = rights & 1U << (key * 2 + 1);

	if (!(c->regs.efer & EFER_LME) || a->kind == VMEM_ACCESS_FETCH)
		return false;
	if (!(c->regs.cr4 & (user_address ? PKE : PKS)))
		return false;
	if (ad)
		return true;
	if (!wd || a->kind != VMEM_ACCESS_WRITE)
		return false;
	return a->user || c->regs.cr0 & WP;
}

static void ref_page(const struct access_case *c, struct vmem_verdict *want)
{
	bool long_mode = c->regs.efer & EFER_LME;
	u32 rights_from = c->regs.cr4 & PAE && !long_mode;
	int no_user = first_with(c, rights_from, PTE_U, 0);
	int no_write = first_with(c, rights_from, PTE_W, 0);
	int no_execute = first_with(c, rights_from, PTE_NX, PTE_NX);
	bool write = c->access.kind == VMEM_ACCESS_WRITE;
	bool fetch = c->access.kind == VMEM_ACCESS_FETCH;
	bool user = c->access.user;
	bool user_address = no_user < 0;
	bool key = key_prevents(c, user_address);

	want->decides = c->path.nr - 1;
	if (user && !user_address) {
		want->reason = VMEM_REASON_SUPERVISOR;
		want->decides = no_user;
	} else if (!user && user_address && fetch && c->regs.cr4 & SMEP) {
		want->reason = VMEM_REASON_SMEP;
	} else if (!user && user_address && !fetch && c->regs.cr4 & SMAP &&
		   !(c->access.rflags & AC)) {
		want->reason = VMEM_REASON_SMAP;
	} else if (write && no_write >= 0 && (user || c->regs.cr0 & WP)) {
		want->reason = VMEM_REASON_READ_ONLY;
		want->decides = no_write;
	} else if (fetch && no_execute >= 0) {
		want->reason = VMEM_REASON_NO_EXECUTE;
		want->decides = no_execute;
	} else if (key) {
		want->reason = VMEM_REASON_KEY;
	}
	if (want->reason != VMEM_REASON_NONE)
		want->error_code = 0x01 | (key ? 0x20 : 0);
}

static void ref_verdict(const struct access_case *c, struct vmem_verdict *want)
{
	bool tells_fetch = c->regs.cr4 & SMEP ||
			   (c->regs.cr4 & PAE && c->regs.efer & NXE);

	memset(want, 0, sizeof(*want));
	if (c->status == VMEM_MAPPED) {
		ref_page(c, want);
		if (want->reason == VMEM_REASON_NONE)
			return;
	} else {
		want->decides = c->path.nr - 1;
		want->reason = c->status == VMEM_RESERVED ?
				       VMEM_REASON_RESERVED :
				       VMEM_REASON_NOT_PRESENT;
		want->error_code = c->status == VMEM_RESERVED ? 0x09 : 0;
	}
	want->vector = 14;
	if (c->access.kind == VMEM_ACCESS_WRITE)
		want->error_code |= 0x02;
	if (c->access.user)
		want->error_code |= 0x04;
	if (c->access.kind == VMEM_ACCESS_FETCH && tells_fetch)
		want->error_code |= 0x10;
}

/* The formats, by their registers and by how many entries lead to a page */
static const struct {
	u64 cr4;
	u64 efer;
	int shortest;
	int longest;
} formats[] = {
	{ 0, 0, 2, 2 },
	{ X86_CR4_PSE, 0, 1, 2 },
	{ PAE, 0, 2, 3 },
	{ PAE, EFER_LME, 2, 4 },
	{ PAE | LA57, EFER_LME, 3, 5 },
};

/* An entry that most accesses pass */
static u64 random_entry(struct rnd_state *rng, const struct access_case *c)
{
	u64 raw = PTE_P | (rng_one_in(rng, 8) ? 0 : PTE_W) |
		  (rng_one_in(rng, 8) ? 0 : PTE_U);

	if (c->regs.cr4 & PAE && c->regs.efer & NXE && rng_one_in(rng, 8))
		raw |= PTE_NX;
	if (c->regs.efer & EFER_LME)
		raw |= (u64)rng_below(rng, 16) << 59;
	return raw;
}

/* A path to a page, or one that ends before that. */
static void random_path(struct rnd_state *rng, struct access_case *c,
			int format)
{
	int longest = formats[format].longest;
	u32 i;

	c->path.nr = formats[format].shortest +
		     rng_below(rng, longest - formats[format].shortest + 1);
	for (i = 0; i < c->path.nr; i++)
		c->path.raw[i] = random_entry(rng, c);
	if (c->regs.cr4 & PAE && !(c->regs.efer & EFER_LME))
		c->path.raw[0] = PTE_P;
	if (c->path.nr < longest)
		c->path.raw[c->path.nr - 1] |= PTE_PS;
	c->status = VMEM_MAPPED;
	if (!rng_one_in(rng, 8))
		return;
	c->path.nr = 1 + rng_below(rng, longest);
	c->status = rng_one_in(rng, 2) ? VMEM_RESERVED : VMEM_NOT_PRESENT;
	if (c->status == VMEM_NOT_PRESENT)
		c->path.raw[c->path.nr - 1] &= ~PTE_P;
}

static void random_case(struct rnd_state *rng, struct access_case *c)
{
	int format = rng_below(rng, ARRAY_SIZE(formats));

	memset(c, 0, sizeof(*c));
	c->regs.cr0 = X86_CR0_PG | X86_CR0_PE | (rng_bits64(rng) & WP);
	c->regs.cr4 = formats[format].cr4 |
		      (rng_bits64(rng) & (SMEP | SMAP | PKE | PKS));
	c->regs.efer = formats[format].efer | (rng_bits64(rng) & NXE);
	c->regs.maxphyaddr = 40;
	c->access.kind = rng_below(rng, 3);
	c->access.user = rng_one_in(rng, 2);
	c->access.rflags = rng_bits64(rng);
	/* Two keys in three have rights left. */
	c->access.pkru = prandom_u32_state(rng) & prandom_u32_state(rng);
	c->access.pkrs = prandom_u32_state(rng) & prandom_u32_state(rng);
	random_path(rng, c, format);
}

#define NR_RANDOM 200000

static void vmem_access_random(struct kunit *test)
{
	unsigned int met[VMEM_REASON_KEY + 1] = {};
	struct vmem_verdict want, got;
	struct access_case c;
	struct rnd_state rng;
	int i;

	rng_seed(&rng, rng_first_seed);
	for (i = 0; i < NR_RANDOM; i++) {
		random_case(&rng, &c);
		ref_verdict(&c, &want);
		judge(test, &c, &got);
		met[want.reason]++;
		if (!memcmp(&got, &want, sizeof(got)))
			continue;
		KUNIT_FAIL(test, "case %d: %d %#x %d for %d %#x %d", i,
			   got.reason, got.error_code, got.decides, want.reason,
			   want.error_code, want.decides);
		kunit_err(test, "again: vmem_kunit.seed=%llu", rng_first_seed);
		return;
	}
	/* Each reason, or the rest proves little */
	for (i = VMEM_REASON_NONE; i <= VMEM_REASON_KEY; i++)
		if (i != VMEM_REASON_NON_CANONICAL && i != VMEM_REASON_UNBACKED)
			KUNIT_EXPECT_GT(test, met[i], NR_RANDOM / 100U);
}

static struct kunit_case vmem_access_test_cases[] = {
	KUNIT_CASE_PARAM(vmem_access_named, access_gen_params),
	KUNIT_CASE_PARAM(vmem_access_address, address_gen_params),
	KUNIT_CASE(vmem_access_random),
	{}
};

static struct kunit_suite vmem_access_suite = {
	.name = "vmem_access",
	.test_cases = vmem_access_test_cases,
};

kunit_test_suite(vmem_access_suite);
