// SPDX-License-Identifier: GPL-2.0-only
/*
 * Access: would the processor let it pass? Intel SDM vol. 3, 4.6 "Access Rights", 4.6.2
 * "Protection Keys" and 4.7 "Page-Fault Exceptions"; AMD APM vol. 2, 5.6.
 */
#include <linux/bits.h>
#include <linux/string.h>
#include <vmem/access.h>

/* Bits 62 down to @bit + 1 as @bit is. */
static u64 without_metadata(u64 va, int bit)
{
	u64 metadata = GENMASK_ULL(62, bit + 1);

	return va & BIT_ULL(bit) ? va | metadata : va & ~metadata;
}

u64 vmem_access_va(const struct vmem_regs *regs,
		   const struct vmem_access *access, u64 va)
{
	if (!(regs->efer & GUEST_EFER_LME) || access->kind == VMEM_ACCESS_FETCH)
		return va;
	if (va & BIT_ULL(63)) {
		if (!(regs->cr4 & GUEST_CR4_LAM_SUP))
			return va;
		return without_metadata(va,
					regs->cr4 & GUEST_CR4_LA57 ? 56 : 47);
	}
	if (regs->cr3 & GUEST_CR3_LAM_U57)
		return without_metadata(va, 56);
	return regs->cr3 & GUEST_CR3_LAM_U48 ? without_metadata(va, 47) : va;
}

/**
 * struct judging - an access under judgement
 * @regs: the registers
 * @mode: the paging mode
 * @access: the access
 * @t: what became of its address
 * @user_page: the whole path is open to user mode
 */
struct judging {
	const struct vmem_regs *regs;
	const struct vmem_mode *mode;
	const struct vmem_access *access;
	const struct vmem_translation *t;
	bool user_page;
};

/* The first entry on the path that does not grant @perm; their number if all do. */
static u32 first_without(const struct judging *j, u32 perm)
{
	const struct vmem_trace *path = j->t->out_trace;
	u32 i;

	for (i = 0; i < j->t->out_nr_trace; i++)
		if (!(vmem_decode(j->mode, j->mode->top - i, path[i].raw).perms &
		      perm))
			break;
	return i;
}

static bool grants(const struct judging *j, u32 perm)
{
	return first_without(j, perm) == j->t->out_nr_trace;
}

/* May a page that is not writable be written to all the same? */
static bool writes_anywhere(const struct judging *j)
{
	return !j->access->user && !(j->regs->cr0 & GUEST_CR0_WP);
}

/* Of a key, bit 0 forbids all access to data, and bit 1 writes. */
static bool key_forbids(const struct judging *j)
{
	const u64 on = j->user_page ? GUEST_CR4_PKE : GUEST_CR4_PKS;
	u64 raw = j->t->out_trace[j->t->out_nr_trace - 1].raw;
	u32 rights = j->user_page ? j->access->pkru : j->access->pkrs;

	if (!j->mode->keys || !(j->regs->cr4 & on) ||
	    j->access->kind == VMEM_ACCESS_FETCH)
		return false;
	rights >>= (raw >> VMEM_RAW_KEY_SHIFT & 15) * 2;
	return rights & 1 || (rights & 2 && !writes_anywhere(j) &&
			      j->access->kind == VMEM_ACCESS_WRITE);
}

/* Supervisor mode that is to keep its hands off user pages */
static enum vmem_reason judge_supervisor(const struct judging *j)
{
	u64 cr4 = j->regs->cr4;

	if (j->access->kind == VMEM_ACCESS_FETCH)
		return cr4 & GUEST_CR4_SMEP ? VMEM_REASON_SMEP :
					      VMEM_REASON_NONE;
	return cr4 & GUEST_CR4_SMAP && !(j->access->rflags & GUEST_RFLAGS_AC) ?
		       VMEM_REASON_SMAP :
		       VMEM_REASON_NONE;
}

static enum vmem_reason judge_page(const struct judging *j)
{
	enum vmem_access_kind kind = j->access->kind;
	enum vmem_reason reason = VMEM_REASON_NONE;

	if (j->access->user && !j->user_page)
		return VMEM_REASON_SUPERVISOR;
	if (!j->access->user && j->user_page)
		reason = judge_supervisor(j);
	if (reason != VMEM_REASON_NONE)
		return reason;
	if (kind == VMEM_ACCESS_WRITE && !writes_anywhere(j) &&
	    !grants(j, VMEM_WRITABLE))
		return VMEM_REASON_READ_ONLY;
	if (kind == VMEM_ACCESS_FETCH && !grants(j, VMEM_EXECUTABLE))
		return VMEM_REASON_NO_EXECUTE;
	return key_forbids(j) ? VMEM_REASON_KEY : VMEM_REASON_NONE;
}

static enum vmem_reason judge(const struct judging *j)
{
	switch (j->t->out_status) {
	case VMEM_MAPPED:
		return judge_page(j);
	case VMEM_NOT_PRESENT:
		return VMEM_REASON_NOT_PRESENT;
	case VMEM_RESERVED:
		return VMEM_REASON_RESERVED;
	case VMEM_NON_CANONICAL:
		return VMEM_REASON_NON_CANONICAL;
	default:
		return VMEM_REASON_UNBACKED;
	}
}

/* The processor tells fetches only where one could fault for being one. */
static bool tells_fetches(const struct vmem_regs *regs)
{
	return regs->cr4 & GUEST_CR4_SMEP ||
	       (regs->cr4 & GUEST_CR4_PAE && regs->efer & GUEST_EFER_NXE);
}

static u32 error_code(const struct judging *j, enum vmem_reason reason)
{
	enum vmem_access_kind kind = j->access->kind;
	u32 code = j->access->user ? VMEM_PF_USER : 0;

	if (kind == VMEM_ACCESS_WRITE)
		code |= VMEM_PF_WRITE;
	if (kind == VMEM_ACCESS_FETCH && tells_fetches(j->regs))
		code |= VMEM_PF_FETCH;
	if (reason == VMEM_REASON_NOT_PRESENT)
		return code;
	code |= VMEM_PF_PRESENT;
	if (reason == VMEM_REASON_RESERVED)
		return code | VMEM_PF_RSVD;
	/* Whatever else forbids it */
	return key_forbids(j) ? code | VMEM_PF_KEY : code;
}

static int deciding_entry(const struct judging *j, enum vmem_reason reason)
{
	switch (reason) {
	case VMEM_REASON_SUPERVISOR:
		return first_without(j, VMEM_USER);
	case VMEM_REASON_READ_ONLY:
		return first_without(j, VMEM_WRITABLE);
	case VMEM_REASON_NO_EXECUTE:
		return first_without(j, VMEM_EXECUTABLE);
	default:
		return (int)j->t->out_nr_trace - 1;
	}
}

void vmem_access(const struct vmem_regs *regs, const struct vmem_mode *mode,
		 const struct vmem_access *access,
		 const struct vmem_translation *translation,
		 struct vmem_verdict *verdict)
{
	struct judging j = {
		.regs = regs,
		.mode = mode,
		.access = access,
		.t = translation,
	};

	j.user_page = translation->out_status == VMEM_MAPPED &&
		      grants(&j, VMEM_USER);
	memset(verdict, 0, sizeof(*verdict));
	verdict->reason = judge(&j);
	verdict->decides = deciding_entry(&j, verdict->reason);
	switch (verdict->reason) {
	case VMEM_REASON_NONE:
	case VMEM_REASON_UNBACKED:
		break;
	case VMEM_REASON_NON_CANONICAL:
		if (regs->efer & GUEST_EFER_LME)
			verdict->vector = VMEM_VECTOR_GP;
		break;
	default:
		verdict->vector = VMEM_VECTOR_PF;
		verdict->error_code = error_code(&j, verdict->reason);
	}
}
