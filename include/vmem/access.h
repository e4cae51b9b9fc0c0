/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Access: whether a processor would let an access to memory pass, by a path that was
 * translated, and how it would fault. Pure, as decoding is. The device tells paths;
 * who asks judges them.
 */
#ifndef _VMEM_ACCESS_H
#define _VMEM_ACCESS_H

#include <linux/bits.h>
#include <linux/types.h>
#include <vmem/arch.h>

/**
 * enum vmem_access_kind - what an access does
 * @VMEM_ACCESS_READ: data is read
 * @VMEM_ACCESS_WRITE: data is written
 * @VMEM_ACCESS_FETCH: an instruction is fetched
 */
enum vmem_access_kind {
	VMEM_ACCESS_READ,
	VMEM_ACCESS_WRITE,
	VMEM_ACCESS_FETCH,
};

/**
 * struct vmem_access - an access, and what the processor judges it by besides the path
 * @kind: what it does
 * @user: it is made at privilege level 3, and is no implicit one to a system table
 * @rflags: RFLAGS; AC is looked at, as it stands for an explicit access
 * @pkru: PKRU, the rights of the protection keys of user pages
 * @pkrs: IA32_PKRS, those of supervisor pages
 */
struct vmem_access {
	enum vmem_access_kind kind;
	bool user;
	u64 rflags;
	u32 pkru;
	u32 pkrs;
};

/* Vectors of the exceptions that an access can end in; of a push, #SS is one for #GP. */
#define VMEM_VECTOR_GP 13
#define VMEM_VECTOR_PF 14

/* Bits of the error code of a page fault (Intel SDM vol. 3, 4.7) */
#define VMEM_PF_PRESENT BIT(0)
#define VMEM_PF_WRITE BIT(1)
#define VMEM_PF_USER BIT(2)
#define VMEM_PF_RSVD BIT(3)
#define VMEM_PF_FETCH BIT(4)
#define VMEM_PF_KEY BIT(5)

/**
 * enum vmem_reason - why an access faults
 * @VMEM_REASON_NONE: it does not
 * @VMEM_REASON_NON_CANONICAL: the address is none of this paging mode
 * @VMEM_REASON_NOT_PRESENT: an entry is not present
 * @VMEM_REASON_RESERVED: an entry has a reserved bit set
 * @VMEM_REASON_UNBACKED: a table lies where there is no readable memory: no processor
 *	has an answer, and neither is there one here
 * @VMEM_REASON_SUPERVISOR: an access of a user's to a supervisor's page
 * @VMEM_REASON_READ_ONLY: a write to a page that is not writable
 * @VMEM_REASON_NO_EXECUTE: a fetch from a page with execute-disable
 * @VMEM_REASON_SMEP: a supervisor's fetch from a user page
 * @VMEM_REASON_SMAP: a supervisor's access to a user page
 * @VMEM_REASON_KEY: the page's protection key forbids it
 */
enum vmem_reason {
	VMEM_REASON_NONE,
	VMEM_REASON_NON_CANONICAL,
	VMEM_REASON_NOT_PRESENT,
	VMEM_REASON_RESERVED,
	VMEM_REASON_UNBACKED,
	VMEM_REASON_SUPERVISOR,
	VMEM_REASON_READ_ONLY,
	VMEM_REASON_NO_EXECUTE,
	VMEM_REASON_SMEP,
	VMEM_REASON_SMAP,
	VMEM_REASON_KEY,
};

/**
 * struct vmem_verdict - what becomes of an access
 * @reason: why it faults
 * @vector: exception that it raises, VMEM_VECTOR_*; 0 if there is none, @reason is
 *	VMEM_REASON_UNBACKED, or no instruction can have such an address: one above 4 GiB
 *	outside long mode
 * @error_code: error code of a page fault, VMEM_PF_*; 0 for any other
 * @decides: index into the path of the entry that decides: the first that takes the
 *	right away, the last one where the whole path together does, or grants it; -1
 *	where no entry was read
 */
struct vmem_verdict {
	enum vmem_reason reason;
	u32 vector;
	u32 error_code;
	int decides;
};

/**
 * vmem_access_va - the address that a processor translates for an access
 * @regs: the registers
 * @access: the access
 * @va: the address as the instruction has it
 *
 * Linear-address masking (Intel SDM vol. 3, "Linear-Address Masking (LAM)") takes
 * metadata out of addresses of data in 64-bit mode: CR3.LAM_U48, CR3.LAM_U57,
 * CR4.LAM_SUP.
 *
 * Return: the address to translate; one that is not canonical if the access is to fault
 * for that.
 */
u64 vmem_access_va(const struct vmem_regs *regs,
		   const struct vmem_access *access, u64 va);

/**
 * vmem_access - judge an access
 * @regs: the registers, which vmem_root_init() takes
 * @mode: the paging mode that follows from them
 * @access: the access
 * @translation: what became of its address, with the path
 * @verdict: the verdict
 */
void vmem_access(const struct vmem_regs *regs, const struct vmem_mode *mode,
		 const struct vmem_access *access,
		 const struct vmem_translation *translation,
		 struct vmem_verdict *verdict);

#endif /* _VMEM_ACCESS_H */
