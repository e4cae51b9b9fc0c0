/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * vmem - live guest page-table introspection: the interface of /dev/vmem
 *
 * One open file is one session. A session is attached once, to the memory of
 * one guest (VMEM_ATTACH_KVM or VMEM_ATTACH_REGIONS), and is then asked about
 * that guest's address spaces until it is closed. Calls on one session may run
 * in any number of threads at once.
 */
#ifndef _UAPI_LINUX_VMEM_H
#define _UAPI_LINUX_VMEM_H

#include <linux/ioctl.h>
#include <linux/types.h>

/**
 * DOC: Rules that hold for every command
 *
 * Every argument struct begins with its own size in bytes, which says which
 * version of it the caller was built with. Structs grow at the end only: a
 * shorter one (down to the first version's size) has the missing fields read
 * as zero, a longer one of up to 4096 bytes is accepted if what the kernel does
 * not know is zero. Arrays carry the size of one element for the same reason:
 * from the first version's size, else -EINVAL, to 4096 bytes. An element that
 * the caller gives follows the rule for structs; of one that the kernel writes,
 * it writes what both sides know and clears the rest. Members named
 * @out_* are written by the kernel, all others by the caller. Pointers are
 * __u64. Addresses and sizes are in bytes.
 *
 * If a call fails, its argument struct is as it was, unless it is the struct
 * itself that cannot be written; an array that the call was to write may have
 * been written in part. A struct with no @out_* members is not written at all.
 *
 * "Not mapped" is an answer, given in a status. An errno means that the
 * question could not be asked:
 *
 * ============ ===============================================================
 * -EFAULT      A pointer cannot be read or written, or a region lies outside
 *              user space. Where the last thing, to write the struct, is what
 *              fails, the call has been done all the same.
 * -EINVAL      The struct is shorter than its first version, or a value is out
 *              of its documented range: registers with paging off, for one.
 * -E2BIG       The struct is longer than the kernel's and its tail is not
 *              zero, or longer than 4096 bytes.
 * -EOPNOTSUPP  A flag, a rule or a reserved field is not known.
 * -ENOTTY      No such command.
 * -ENOTCONN    The session has not been attached to a guest.
 * -EISCONN     The session has been attached, or its spaces set, already.
 * -ENODATA     The session's spaces have not been set.
 * -EBUSY       Another thread is in VMEM_WALK_SPACES on this session, or what the
 *              call relies on is not finished.
 * -ENOSPC      The guest has more tables than a session keeps track of.
 * -EBADF       The descriptor is not open, or is not a KVM VM.
 * -EPERM       The VM belongs to another process and the caller lacks
 *              CAP_SYS_PTRACE; or the region table belongs to another process;
 *              or (from open) the kernel is locked down.
 * -EOVERFLOW   A range of addresses wraps around.
 * -ENXIO       There is no guest memory where CR3 points, or none that can be
 *              read.
 * -EACCES      The guest keeps from the host what CR3 points to, or the registers
 *              of the vCPU: @out_protection of VMEM_INFO says by what.
 * -ENOMEM      Memory is short, or over what the caller's memory cgroup may have.
 * -ESRCH       The process whose memory it was has exited.
 * -EINTR       The caller was killed, or there was a signal and nothing was done
 *              yet (where the signal's action says SA_RESTART, the call is begun
 *              anew).
 * ============ ===============================================================
 *
 * A call that has done a part when it meets a limit (its buffer, the entries it
 * may read, memory, a signal) returns 0, says how far it got, and goes on from there
 * when it is called again; nothing is lost in between. For VMEM_WALK_SPACES, where
 * the session knows how far it got, the end of what can be written of @records is
 * such a limit as well.
 *
 * A call holds references on the pages that it reads. It holds none when it returns,
 * or while it waits for the caller's own memory (userfaultfd, a remote file). Sharing
 * of pages by KSM and fork stays as it is; a page that is swapped out is read back
 * in. Between calls a session remembers where pages are, until their owner changes
 * the mapping.
 *
 * Bytes of the caller's arrays and buffers behind the ones reported as written may be
 * cleared.
 *
 * A page is read as its owner would read it. One that the owner has never touched
 * is zeros: anonymous memory gets no page by that, but a file does, shared memory
 * included. Memory that the owner must not read, that its file has lost, or that is
 * poisoned is VMEM_UNREADABLE, and never zeros. A slot over a device's registers
 * is as if there were no slot: VMEM_UNBACKED. Memory that the guest keeps from the host
 * is VMEM_WITHHELD, and never what the owner has mapped in its place.
 *
 * Whatever a guest's tables are, the work is bounded by the tables that there
 * are: a walk over spaces reads each table once for each level and window that it
 * is at, and a call that maps or walks reads @out_max_entries of VMEM_INFO at most.
 */

#define VMEM_IOC_TYPE 0xBD

/* What VMEM_INFO gives as @out_api_version. */
#define VMEM_API_VERSION 1

/**
 * enum vmem_status - where the path of an address ended
 * @VMEM_MAPPED: at a leaf: the address is mapped
 * @VMEM_NOT_PRESENT: at an entry whose Present bit is clear
 * @VMEM_RESERVED: at a present entry with a reserved bit set: a page fault
 *	with the RSVD error code (Intel SDM vol. 3, 4.7)
 * @VMEM_NON_CANONICAL: before the root: no address of this paging mode
 * @VMEM_UNBACKED: at a table that lies where the guest has no memory: in no
 *	memory slot, or in one that maps a device
 * @VMEM_TORN: the guest changed the path, at the level given, under each of four
 *	attempts to read it: ask again. Of a walk over spaces: see struct
 *	vmem_anomaly.
 * @VMEM_ANCESTOR: at an entry that names a table which is on the path to it
 *	already: a self-map. Of a walk over spaces; a translation goes on through
 *	it as the processor does.
 * @VMEM_CROSS_LEVEL: at an entry that names a table which was reached before as
 *	a table of another level. Of a walk over spaces likewise.
 * @VMEM_UNREADABLE: at a table, or a page, in guest memory that cannot be read:
 *	the VMM itself may not read it, it is poisoned, or its file ends before it
 * @VMEM_WITHHELD: at a table, or a page, that the guest keeps from the host: it is
 *	private, or, a table, encrypted (see VMEM_PROTECTION_PRIVATE)
 */
enum vmem_status {
	VMEM_MAPPED = 0,
	VMEM_NOT_PRESENT = 1,
	VMEM_RESERVED = 2,
	VMEM_NON_CANONICAL = 3,
	VMEM_UNBACKED = 4,
	VMEM_TORN = 5,
	VMEM_ANCESTOR = 6,
	VMEM_CROSS_LEVEL = 7,
	VMEM_UNREADABLE = 8,
	VMEM_WITHHELD = 9,
};

/**
 * enum vmem_level - the tables, by their names in the processor manuals
 * @VMEM_LEVEL_NONE: no table was reached
 * @VMEM_LEVEL_PT: page table; its entries map 4 KiB
 * @VMEM_LEVEL_PD: page directory
 * @VMEM_LEVEL_PDPT: page-directory-pointer table
 * @VMEM_LEVEL_PML4: page-map level-4 table
 * @VMEM_LEVEL_PML5: page-map level-5 table
 */
enum vmem_level {
	VMEM_LEVEL_NONE = 0,
	VMEM_LEVEL_PT = 1,
	VMEM_LEVEL_PD = 2,
	VMEM_LEVEL_PDPT = 3,
	VMEM_LEVEL_PML4 = 4,
	VMEM_LEVEL_PML5 = 5,
};

/**
 * enum vmem_table - the tables that entries of several tables can name, by the
 *	format that has them
 * @VMEM_TABLE_NONE: none
 * @VMEM_TABLE_I686_PT: page table of 2-level paging
 * @VMEM_TABLE_AMD64_PT: page table of 4-level and 5-level paging
 * @VMEM_TABLE_AMD64_PD: page directory of the same
 * @VMEM_TABLE_AMD64_PDPT: page-directory-pointer table of the same
 * @VMEM_TABLE_AMD64_PML4: page-map level-4 table of 5-level paging
 * @VMEM_TABLE_PAE_PT: page table of PAE paging
 * @VMEM_TABLE_PAE_PD: page directory of PAE paging
 */
enum vmem_table {
	VMEM_TABLE_NONE = 0,
	VMEM_TABLE_I686_PT = 1,
	VMEM_TABLE_AMD64_PT = 2,
	VMEM_TABLE_AMD64_PD = 3,
	VMEM_TABLE_AMD64_PDPT = 4,
	VMEM_TABLE_AMD64_PML4 = 5,
	VMEM_TABLE_PAE_PT = 6,
	VMEM_TABLE_PAE_PD = 7,
};

/* How many levels the deepest paging mode has. */
#define VMEM_MAX_LEVELS 5

/*
 * Effective permissions: the entries of the whole path taken together, as the
 * processor takes them (Intel SDM vol. 3, 4.6; AMD APM vol. 2, 5.6). They are
 * reported, never enforced, and CR0.WP, CR4.SMEP and CR4.SMAP play no part.
 */
#define VMEM_WRITABLE (1u << 0)
#define VMEM_USER (1u << 1)
#define VMEM_EXECUTABLE (1u << 2)

/*
 * Attributes of a page that are neither its address nor a right: Accessed, Dirty and
 * Global of the entry that maps it (Global where CR4.PGE is set); whether it is
 * encrypted, where the registers' rules say which bit tells that; the index into the
 * PAT that its PAT, PCD and PWT make (Intel SDM vol. 3, 12.12.3; AMD APM vol. 2, 7.8.2);
 * and its protection key, where CR4.PKE or CR4.PKS is set, in long mode.
 */
#define VMEM_ATTR_ACCESSED (1u << 0)
#define VMEM_ATTR_DIRTY (1u << 1)
#define VMEM_ATTR_GLOBAL (1u << 2)
#define VMEM_ATTR_ENCRYPTED (1u << 3)
#define VMEM_ATTR_PAT(attributes) ((attributes) >> 4 & 7u)
#define VMEM_ATTR_KEY(attributes) ((attributes) >> 8 & 15u)

/*
 * What the processor's vendor and model decide, in @rules of struct vmem_regs.
 * AMD: bit 8 is reserved in entries of PML4s and PML5s, which Intel ignores.
 * NO_1G: there are no pages of 1 GiB (CPUID.80000001H:EDX[26] is 0), so PS is reserved
 * in a PDPTE. ENCRYPTION_BIT: this bit of an entry (32 to 51) is no part of the address,
 * and says that the page is encrypted (AMD's C-bit: CPUID.8000001FH:EBX[5:0]);
 * with SHARED_BIT, that it is not (TDX's shared bit). It means nothing in 2-level
 * paging.
 */
#define VMEM_RULES_AMD (1u << 0)
#define VMEM_RULES_NO_1G (1u << 1)
#define VMEM_RULES_SHARED_BIT (1u << 2)
#define VMEM_RULES_ENCRYPTION_BIT(bit) ((__u32)(bit) << 8)

/**
 * struct vmem_regs - what says where a guest's tables are and how to read them
 * @cr0: CR0; PG must be set
 * @cr3: CR3; the address of the root table is in bits 31:12 in 2-level paging,
 *	in bits 31:5 in PAE paging, in bits @maxphyaddr - 1:12 in 4-level and
 *	5-level paging, and other bits are ignored. The four entries of a PAE root
 *	are read from memory; a processor may use those that it loaded when CR3
 *	was written (Intel SDM vol. 3, 4.4.1).
 * @cr4: CR4; PSE, PAE, PGE, LA57, PKE and PKS are looked at
 * @efer: the EFER MSR; LME and NXE are looked at
 * @maxphyaddr: width of a guest-physical address in bits, 32 to 52
 *	(CPUID.80000008H:EAX[7:0])
 * @rules: VMEM_RULES_*
 * @cow_mask: 0, or the bits by which the guest marks the entries of pages that
 *	are copy-on-write. That is a convention of its own, so the bits have to
 *	be among those that the processor leaves to software: 11:9, and 58:52 in
 *	4-level and 5-level paging.
 * @cow_value: what these bits are for such a page; not 0 unless @cow_mask is,
 *	and none outside it
 */
struct vmem_regs {
	__aligned_u64 cr0;
	__aligned_u64 cr3;
	__aligned_u64 cr4;
	__aligned_u64 efer;
	__u32 maxphyaddr;
	__u32 rules;
	__aligned_u64 cow_mask;
	__aligned_u64 cow_value;
};

/**
 * enum vmem_source - what a session is attached to
 * @VMEM_SOURCE_NONE: nothing yet
 * @VMEM_SOURCE_KVM: a KVM VM
 * @VMEM_SOURCE_REGIONS: a region table of its own process
 */
enum vmem_source {
	VMEM_SOURCE_NONE = 0,
	VMEM_SOURCE_KVM = 1,
	VMEM_SOURCE_REGIONS = 2,
};

/*
 * What keeps the host from reading a guest, in @out_protection of VMEM_INFO.
 *
 * PRIVATE: the guest has memory of its own (guest_memfd: SEV-SNP, TDX,
 * KVM_X86_SW_PROTECTED_VM) beside what it shares with its VMM. A page that is private
 * is VMEM_WITHHELD; shared ones are read as those of any guest.
 *
 * ENCRYPTED: the guest's memory is encrypted in place (SEV, SEV-ES). The processor
 * takes a guest's page tables for encrypted in any case (AMD APM vol. 2, 15.34.5),
 * so each table is VMEM_WITHHELD. Nothing tells which other pages are encrypted:
 * VMEM_READ_PHYS reads all of them as they are, which may be as ciphertext. A guest
 * that was made one of SEV by KVM_SEV_INIT is told by the bit that its CPUID has for
 * encryption, and not at all where that lies below MAXPHYADDR.
 *
 * REGISTERS: the registers of vCPUs are encrypted (SEV-ES, SEV-SNP, TDX): VMEM_VCPU is
 * -EACCES. Of SEV-ES and SEV-SNP they are from when the guest is ready to run.
 */
#define VMEM_PROTECTION_PRIVATE (1u << 0)
#define VMEM_PROTECTION_ENCRYPTED (1u << 1)
#define VMEM_PROTECTION_REGISTERS (1u << 2)

/**
 * struct vmem_info_args - VMEM_INFO: the device's version and limits, and what
 *	the session is attached to
 * @size: sizeof(struct vmem_info_args)
 * @flags: must be 0
 * @out_api_version: VMEM_API_VERSION of the module
 * @out_source: enum vmem_source
 * @out_max_regions: regions that VMEM_ATTACH_REGIONS takes
 * @out_nr_vcpus: vCPUs of the VM, 0 where there is none or its process has exited
 * @out_max_entries: entries of tables that one VMEM_MAP_RANGE reads
 * @out_protection: VMEM_PROTECTION_* of the VM, 0 where its process has exited
 * @__reserved: 0
 */
struct vmem_info_args {
	__u32 size;
	__u32 flags;
	__u32 out_api_version;
	__u32 out_source;
	__u32 out_max_regions;
	__u32 out_nr_vcpus;
	__aligned_u64 out_max_entries;
	__u32 out_protection;
	__u32 __reserved;
};

#define VMEM_INFO _IO(VMEM_IOC_TYPE, 0x00)

/**
 * struct vmem_attach_kvm_args - VMEM_ATTACH_KVM: attach to a KVM VM
 * @size: sizeof(struct vmem_attach_kvm_args)
 * @flags: must be 0
 * @vm_fd: what KVM_CREATE_VM returned, or a duplicate of it taken from
 *	another process with pidfd_getfd(2)
 * @__reserved: must be 0
 *
 * The VM of the caller's own process needs nothing besides; any other needs
 * CAP_SYS_PTRACE. That is checked here and once: whoever is given the session
 * afterwards, a child included, can use it. Memory slots that are added, moved
 * or removed afterwards are followed. The session keeps the VM object alive, as
 * another descriptor of it would, until its process exits.
 */
struct vmem_attach_kvm_args {
	__u32 size;
	__u32 flags;
	__s32 vm_fd;
	__u32 __reserved;
};

#define VMEM_ATTACH_KVM _IO(VMEM_IOC_TYPE, 0x01)

/**
 * struct vmem_region - one piece of guest memory in the caller's own memory
 * @gpa: guest-physical address, a multiple of 4096
 * @len: size in bytes, a multiple of 4096 and not 0; the region ends below
 *	2^52
 * @hva: where the caller has it mapped, a multiple of 4096
 */
struct vmem_region {
	__aligned_u64 gpa;
	__aligned_u64 len;
	__aligned_u64 hva;
};

/**
 * struct vmem_attach_regions_args - VMEM_ATTACH_REGIONS: attach to guest
 *	memory that the caller describes
 * @size: sizeof(struct vmem_attach_regions_args)
 * @flags: must be 0
 * @nr: number of regions, at least 1 and at most @out_max_regions of VMEM_INFO
 * @region_size: sizeof(struct vmem_region)
 * @regions: pointer to @nr regions, in any order; none may overlap another in
 *	guest-physical memory
 *
 * The table is bound to the memory of the process that sets it: calls on the
 * session from any other process, a child included, get -EPERM, but for
 * VMEM_INFO.
 */
struct vmem_attach_regions_args {
	__u32 size;
	__u32 flags;
	__u32 nr;
	__u32 region_size;
	__aligned_u64 regions;
};

#define VMEM_ATTACH_REGIONS _IO(VMEM_IOC_TYPE, 0x02)

/* The guest cannot write to this memory slot. */
#define VMEM_MEMSLOT_READONLY (1u << 0)

/**
 * struct vmem_memslot - one piece of guest-physical memory
 * @gpa: its guest-physical address
 * @len: its size in bytes
 * @hva: where its owner has it mapped
 * @id: KVM's number of the slot, KVM's own slots included; a region's place in
 *	the order of addresses
 * @flags: VMEM_MEMSLOT_*
 */
struct vmem_memslot {
	__aligned_u64 gpa;
	__aligned_u64 len;
	__aligned_u64 hva;
	__u32 id;
	__u32 flags;
};

/**
 * struct vmem_memslots_args - VMEM_MEMSLOTS: list the guest's memory
 * @size: sizeof(struct vmem_memslots_args)
 * @flags: must be 0
 * @nr: elements that @slots has room for, at least 1
 * @slot_size: sizeof(struct vmem_memslot)
 * @slots: pointer to the elements to write, in the order of their addresses
 * @gpa: where to begin: slots that end at or below it are left out
 * @out_nr: elements written
 * @out_more: 0 if the list is complete, 1 if there may be more
 * @out_next_gpa: @gpa for the call that goes on behind the last element
 */
struct vmem_memslots_args {
	__u32 size;
	__u32 flags;
	__u32 nr;
	__u32 slot_size;
	__aligned_u64 slots;
	__aligned_u64 gpa;
	__u32 out_nr;
	__u32 out_more;
	__aligned_u64 out_next_gpa;
};

#define VMEM_MEMSLOTS _IO(VMEM_IOC_TYPE, 0x03)

/**
 * enum vmem_known - how the registers of a vCPU are known
 * @VMEM_KNOWN_UNKNOWN: KVM was in the middle of something all the time: CR3 is not
 *	known, and the others are as of an earlier exit from the guest
 * @VMEM_KNOWN_ENTRY: it ran, and entered the guest with them during the call
 * @VMEM_KNOWN_EXIT: it is not in the guest, and nobody runs it: they are those that it
 *	will go on with, unless the VMM sets others
 * @VMEM_KNOWN_HALTED: it waits, for an interrupt or to be started, or for memory that
 *	KVM fetches meanwhile
 */
enum vmem_known {
	VMEM_KNOWN_UNKNOWN = 0,
	VMEM_KNOWN_ENTRY = 1,
	VMEM_KNOWN_EXIT = 2,
	VMEM_KNOWN_HALTED = 3,
};

/*
 * State of a vCPU, and limits of its registers. SMM: the vCPU is in system management
 * mode; its registers are those of that mode. NESTED: the vCPU runs a nested guest; CR3 is
 * an address of that guest's memory. NO_CR3, NO_RIP: the register is unknown, and 0. On
 * Intel, the processor holds CR3 and RIP of a vCPU outside the guest until KVM reads them;
 * on AMD, newer kernels skip CR3 if the vCPU has no APIC in KVM. OLD_BITS: CR0.WP and
 * CR4.PGE may date from an earlier exit (Intel: the guest writes them without an exit).
 */
#define VMEM_VCPU_SMM (1u << 0)
#define VMEM_VCPU_NESTED (1u << 1)
#define VMEM_VCPU_NO_CR3 (1u << 2)
#define VMEM_VCPU_NO_RIP (1u << 3)
#define VMEM_VCPU_OLD_BITS (1u << 4)

/* The most of @timeout_us */
#define VMEM_MAX_VCPU_TIMEOUT_US 1000000

/**
 * struct vmem_vcpu_args - VMEM_VCPU: how a vCPU pages
 * @size: sizeof(struct vmem_vcpu_args)
 * @flags: must be 0
 * @index: 0 to @out_nr_vcpus of VMEM_INFO less 1; -EINVAL beyond. -EACCES if the
 *	registers of this vCPU are encrypted.
 * @out_id: the vCPU's APIC id, as KVM_CREATE_VCPU was given it
 * @out_regs: its registers, all of one moment. @maxphyaddr is what the VMM told the
 *	guest, whether it is in range or not; @rules is what KVM makes of the CPUID
 *	that the VMM set.
 * @out_pat: its PAT register
 * @out_rip: where it is in its code
 * @timeout_us: how long the call may take to see a vCPU that runs enter the guest, in
 *	microseconds, up to VMEM_MAX_VCPU_TIMEOUT_US; -EINVAL beyond. It costs the guest
 *	an exit. 0: the vCPU is left alone, and CR3 is known only if it is out of the guest.
 *	Before that, the call may wait for other calls that begin.
 * @out_known: enum vmem_known
 * @out_state: VMEM_VCPU_*
 * @__reserved: must be 0
 */
struct vmem_vcpu_args {
	__u32 size;
	__u32 flags;
	__u32 index;
	__u32 out_id;
	struct vmem_regs out_regs;
	__aligned_u64 out_pat;
	__aligned_u64 out_rip;
	__u32 timeout_us;
	__u32 out_known;
	__u32 out_state;
	__u32 __reserved;
};

#define VMEM_VCPU _IO(VMEM_IOC_TYPE, 0x04)

/**
 * struct vmem_trace - one entry on the path of an address
 * @entry_gpa: guest-physical address of the entry
 * @raw: the entry as it was read; 4-byte entries are zero-extended
 */
struct vmem_trace {
	__aligned_u64 entry_gpa;
	__aligned_u64 raw;
};

/**
 * struct vmem_translation - what became of one address
 * @out_gpa: the guest-physical address, where @out_status is VMEM_MAPPED
 * @out_page_size: size of the page that maps it, in bytes
 * @out_status: enum vmem_status
 * @out_perms: VMEM_WRITABLE, VMEM_USER and VMEM_EXECUTABLE of the whole path
 * @out_level: enum vmem_level of the table where the path ended: the one that
 *	holds the last entry read, or the one that is unbacked
 * @out_nr_trace: entries read, root first
 * @out_trace: the entries, the first of which is the root table's, and zeros
 * @out_owner_space: where @out_referenced is 1: the space that owns the table which
 *	maps the address, or one above it
 * @out_owner_va: where @out_referenced is 1: the address in that space that is
 *	mapped by the same entry
 * @out_referenced: 1 if the address is in a table that another space owns, or this
 *	one at a lower address; only with VMEM_TRANSLATE_SPACES
 * @out_owner_root: where @out_referenced is 1: index of the owner's root
 *
 * Where the status is not VMEM_MAPPED, @out_gpa, @out_page_size, @out_perms and
 * @out_referenced are 0.
 */
struct vmem_translation {
	__aligned_u64 out_gpa;
	__aligned_u64 out_page_size;
	__u32 out_status;
	__u32 out_perms;
	__u32 out_level;
	__u32 out_nr_trace;
	struct vmem_trace out_trace[VMEM_MAX_LEVELS];
	__aligned_u64 out_owner_space;
	__aligned_u64 out_owner_va;
	__u32 out_referenced;
	__u32 out_owner_root;
};

/*
 * Bytes of struct vmem_translation before @out_trace: a caller that has no use
 * for the path and the owner gives this as @result_size, which is faster.
 */
#define VMEM_TRANSLATION_BRIEF 32

/*
 * Translate in the space with index @root of VMEM_SET_SPACES, with @regs all 0,
 * and tell who owns the tables. The spaces must have been walked to the end. If
 * the root is not backed by memory, or unreadable, that is an answer too.
 */
#define VMEM_TRANSLATE_SPACES (1u << 0)

/**
 * struct vmem_translate_args - VMEM_TRANSLATE: translate virtual addresses
 * @size: sizeof(struct vmem_translate_args)
 * @flags: VMEM_TRANSLATE_*
 * @nr: number of addresses, at least 1
 * @result_size: sizeof(struct vmem_translation), or VMEM_TRANSLATION_BRIEF
 * @vas: pointer to @nr virtual addresses, __u64 each
 * @results: pointer to @nr struct vmem_translation to write
 * @regs: the address space
 * @out_nr: addresses done; where it is less than @nr, call again for the rest
 * @root: with VMEM_TRANSLATE_SPACES, index of the space; else 0
 *
 * The addresses may be in any order. An answer is of one moment during the call:
 * a path is read once more, from the root on, when its last entry has been read,
 * and if it changed, it is read anew. What this cannot tell is a guest that took
 * an entry away and put it back between the two readings, and a VMM that put
 * other memory where tables were during the call.
 */
struct vmem_translate_args {
	__u32 size;
	__u32 flags;
	__u32 nr;
	__u32 result_size;
	__aligned_u64 vas;
	__aligned_u64 results;
	struct vmem_regs regs;
	__u32 out_nr;
	__u32 root;
};

#define VMEM_TRANSLATE _IO(VMEM_IOC_TYPE, 0x05)

/**
 * enum vmem_kind - what a mapping is made of
 * @VMEM_KIND_UNMAPPED: nothing
 * @VMEM_KIND_BASIC: pages with the permissions given
 * @VMEM_KIND_COW: pages that the guest's own convention marks copy-on-write (see
 *	struct vmem_regs); never writable
 */
enum vmem_kind {
	VMEM_KIND_UNMAPPED = 0,
	VMEM_KIND_BASIC = 1,
	VMEM_KIND_COW = 2,
};

/**
 * struct vmem_mapping - pages of one size and one set of permissions that are
 *	contiguous in virtual and in guest-physical memory
 * @va: first virtual address
 * @last_va: last virtual address, inclusive
 * @gpa: guest-physical address of @va
 * @page_size: size of its pages in bytes. A mapping is clipped to the range
 *	that was asked for and may begin or end inside a page.
 * @kind: enum vmem_kind
 * @perms: VMEM_WRITABLE, VMEM_USER, VMEM_EXECUTABLE
 * @attributes: VMEM_ATTR_* of each of its pages, with VMEM_MAP_ATTRIBUTES; else 0
 * @__reserved: 0
 */
struct vmem_mapping {
	__aligned_u64 va;
	__aligned_u64 last_va;
	__aligned_u64 gpa;
	__aligned_u64 page_size;
	__u32 kind;
	__u32 perms;
	__u32 attributes;
	__u32 __reserved;
};

/* Tell the attributes of mappings too: pages merge only if they have the same. */
#define VMEM_MAP_ATTRIBUTES (1u << 0)

/**
 * struct vmem_map_range_args - VMEM_MAP_RANGE: what is mapped in a range
 * @size: sizeof(struct vmem_map_range_args)
 * @flags: VMEM_MAP_*
 * @nr: elements that @mappings has room for, at least 1
 * @mapping_size: sizeof(struct vmem_mapping)
 * @mappings: pointer to the struct vmem_mapping to write, by rising @va
 * @regs: the address space
 * @va: first virtual address of the range
 * @last_va: last virtual address of the range, inclusive
 * @out_nr: elements written
 * @out_more: 1 if the range is not finished: go on at @out_next_va
 * @out_next_va: if @out_more, @va for the next call; above @va of this one
 * @out_anomalies: entries in the part walked that are present but lead
 *	nowhere: reserved bits, or a table without memory behind it
 * @out_torn: tables that the guest replaced while this call walked them: what
 *	it tells of their addresses may never have been mapped together
 *
 * Neighbours are merged within a call. The first mapping of a call that goes
 * on may continue the last one of the call before. A part of the range that has
 * no addresses in the paging mode maps nothing. What is mapped to where the
 * guest has no memory, to a device for one, is a mapping like any other. @va
 * above @last_va is -EOVERFLOW.
 */
struct vmem_map_range_args {
	__u32 size;
	__u32 flags;
	__u32 nr;
	__u32 mapping_size;
	__aligned_u64 mappings;
	struct vmem_regs regs;
	__aligned_u64 va;
	__aligned_u64 last_va;
	__u32 out_nr;
	__u32 out_more;
	__aligned_u64 out_next_va;
	__aligned_u64 out_anomalies;
	__aligned_u64 out_torn;
};

#define VMEM_MAP_RANGE _IO(VMEM_IOC_TYPE, 0x06)

/**
 * struct vmem_read_args - VMEM_READ: read guest memory by virtual address
 * @size: sizeof(struct vmem_read_args)
 * @flags: must be 0
 * @regs: the address space
 * @va: first virtual address
 * @len: bytes to read, at least 1
 * @buf: pointer to the @len bytes to write
 * @out_len: bytes read, up to the first address that could not be
 * @out_status: enum vmem_status of the address behind the bytes read, where
 *	that is what ended them; VMEM_MAPPED where @out_len is @len or where the
 *	call met a limit and is to be called again for the rest. VMEM_UNBACKED,
 *	VMEM_UNREADABLE and VMEM_WITHHELD may also be about the page that the
 *	address is mapped to.
 *	The path of each page is of one moment, as in VMEM_TRANSLATE.
 * @out_level: enum vmem_level where the path of that address ended; 0 where
 *	@out_status is VMEM_MAPPED
 *
 * @va + @len - 1 that wraps around is -EOVERFLOW.
 */
struct vmem_read_args {
	__u32 size;
	__u32 flags;
	struct vmem_regs regs;
	__aligned_u64 va;
	__aligned_u64 len;
	__aligned_u64 buf;
	__aligned_u64 out_len;
	__u32 out_status;
	__u32 out_level;
};

#define VMEM_READ _IO(VMEM_IOC_TYPE, 0x07)

/**
 * struct vmem_read_phys_args - VMEM_READ_PHYS: read guest memory by
 *	guest-physical address
 * @size: sizeof(struct vmem_read_phys_args)
 * @flags: must be 0
 * @gpa: first guest-physical address
 * @len: bytes to read, at least 1
 * @buf: pointer to the @len bytes to write; or 0, to find out how far the memory
 *	can be read without a copy of it
 * @out_len: bytes read, up to the first page that cannot be read
 * @out_status: enum vmem_status of the page behind the bytes read: VMEM_UNBACKED
 *	for no memory (no memory slot, or one over a device), VMEM_UNREADABLE for
 *	memory that cannot be read, VMEM_WITHHELD for a private page. VMEM_MAPPED
 *	where @out_len is @len, or where the call met a limit: call again for the
 *	rest.
 * @__reserved: must be 0
 *
 * @gpa + @len - 1 that wraps around is -EOVERFLOW.
 */
struct vmem_read_phys_args {
	__u32 size;
	__u32 flags;
	__aligned_u64 gpa;
	__aligned_u64 len;
	__aligned_u64 buf;
	__aligned_u64 out_len;
	__u32 out_status;
	__u32 __reserved;
};

#define VMEM_READ_PHYS _IO(VMEM_IOC_TYPE, 0x0a)

/* What VMEM_SET_SPACES takes at most. */
#define VMEM_MAX_ROOTS 4096
#define VMEM_MAX_EXCLUDED 256

/*
 * How many tables VMEM_WALK_SPACES keeps track of. It bounds the memory that a
 * guest can make a walk use to 64 MiB, and half as much again while that grows.
 * All of it is charged to the memory cgroup of the caller, who gets -ENOMEM where
 * that has no room.
 */
#define VMEM_MAX_TABLES (1u << 20)

/**
 * struct vmem_span - a range of virtual addresses
 * @va: first address
 * @last_va: last address, inclusive, not below @va
 */
struct vmem_span {
	__aligned_u64 va;
	__aligned_u64 last_va;
};

/**
 * struct vmem_set_spaces_args - VMEM_SET_SPACES: the address spaces that a
 *	session looks at together
 * @size: sizeof(struct vmem_set_spaces_args)
 * @flags: must be 0
 * @regs: the registers that all spaces have in common; @regs.cr3 must be 0
 * @nr_cr3: number of spaces, 1 to VMEM_MAX_ROOTS
 * @nr_excluded: number of excluded ranges, up to VMEM_MAX_EXCLUDED
 * @cr3: pointer to @nr_cr3 values of CR3, __u64 each, in order of primacy: a
 *	table that several spaces share is owned by the one that comes first
 * @excluded: pointer to @nr_excluded struct vmem_span, by rising address, none
 *	overlapping another, though they may touch: parts to leave out of every
 *	space
 * @va: first virtual address to look at in every space
 * @last_va: last virtual address to look at, inclusive
 *
 * Set once in a session: -EISCONN after that.
 */
struct vmem_set_spaces_args {
	__u32 size;
	__u32 flags;
	struct vmem_regs regs;
	__u32 nr_cr3;
	__u32 nr_excluded;
	__aligned_u64 cr3;
	__aligned_u64 excluded;
	__aligned_u64 va;
	__aligned_u64 last_va;
};

#define VMEM_SET_SPACES _IO(VMEM_IOC_TYPE, 0x08)

/**
 * enum vmem_record_type - what a record tells
 * @VMEM_SPACE: a space begins
 * @VMEM_THIS_SPACE: a mapping in the space, which is the first to reach it
 * @VMEM_ALIASING: a table of the space is an earlier space's, or this one's at
 *	a lower address, and what it maps is told there
 * @VMEM_ANOMALY: an entry that leads nowhere, or back, or has changed
 */
enum vmem_record_type {
	VMEM_SPACE = 1,
	VMEM_THIS_SPACE = 2,
	VMEM_ALIASING = 3,
	VMEM_ANOMALY = 4,
};

/**
 * struct vmem_space - a space
 * @space: its identity: guest-physical address of its root table
 * @alias_of: index of the first root that has the same table. If that is not
 *	the space's own, the root was given twice and no records of it follow.
 * @__reserved: 0
 */
struct vmem_space {
	__aligned_u64 space;
	__u32 alias_of;
	__u32 __reserved;
};

/**
 * struct vmem_reference - a reference to a shared table
 * @table: enum vmem_table
 * @perms: permissions of this space's path down to the table
 * @table_gpa: guest-physical address of the table
 * @space: the space that owns it
 * @our_va: an address in the region that the table maps here: its first
 * @their_va: an address in the region that it maps in the owner's space: its
 *	first
 * @len: size of the region in bytes
 * @owner_root: index of the owner's root
 * @owner_perms: permissions of the owner's path down to the table. What the
 *	owner's mappings say is limited by them: where @perms has more, only a
 *	translation or VMEM_MAP_RANGE in this space tells its rights.
 */
struct vmem_reference {
	__u32 table;
	__u32 perms;
	__aligned_u64 table_gpa;
	__aligned_u64 space;
	__aligned_u64 our_va;
	__aligned_u64 their_va;
	__aligned_u64 len;
	__u32 owner_root;
	__u32 owner_perms;
};

/**
 * struct vmem_anomaly - an entry that leads nowhere, or back, or has changed
 * @status: VMEM_RESERVED, VMEM_UNBACKED, VMEM_UNREADABLE, VMEM_WITHHELD, VMEM_ANCESTOR
 *	or VMEM_CROSS_LEVEL, and what is behind the latter two follows in further
 *	records; VMEM_TORN: the entry led elsewhere, or granted other rights, when
 *	the walk left the table that it had named: the records of these
 *	addresses may never have been true together. This record follows them;
 *	several such tables may share one, which names the highest table and
 *	the addresses from the first of them to the last. A table that is
 *	replaced between two calls is not noticed.
 * @level: enum vmem_level: of the table that holds the entry (VMEM_RESERVED), of
 *	the table that it names (all others)
 * @va: first virtual address concerned
 * @last_va: last virtual address concerned, inclusive
 * @table_gpa: guest-physical address of the table that it names, else 0
 * @raw: the entry; 0 if it is CR3 that leads nowhere
 */
struct vmem_anomaly {
	__u32 status;
	__u32 level;
	__aligned_u64 va;
	__aligned_u64 last_va;
	__aligned_u64 table_gpa;
	__aligned_u64 raw;
};

/**
 * struct vmem_record - one piece of what a walk over spaces tells
 * @type: enum vmem_record_type, which says what member of the union holds
 * @root: index of the space's root
 * @space: VMEM_SPACE
 * @mapping: VMEM_THIS_SPACE
 * @reference: VMEM_ALIASING
 * @anomaly: VMEM_ANOMALY
 */
struct vmem_record {
	__u32 type;
	__u32 root;
	union {
		struct vmem_space space;
		struct vmem_mapping mapping;
		struct vmem_reference reference;
		struct vmem_anomaly anomaly;
	};
};

/**
 * struct vmem_spaces_stats - what a walk over spaces has found so far
 * @spaces: spaces walked or begun
 * @root_aliases: roots given before
 * @mappings: mappings told
 * @leaves: pages, of their own sizes, that they are made of
 * @references: references told
 * @anomalies: anomalies told
 * @known: distinct tables known, roots included, by level and window
 * @tables: tables read. Each is read once, but for those on the path that a
 *	resumed call goes back to.
 * @entries: entries read
 */
struct vmem_spaces_stats {
	__aligned_u64 spaces;
	__aligned_u64 root_aliases;
	__aligned_u64 mappings;
	__aligned_u64 leaves;
	__aligned_u64 references;
	__aligned_u64 anomalies;
	__aligned_u64 known;
	__aligned_u64 tables;
	__aligned_u64 entries;
};

/**
 * struct vmem_walk_spaces_args - VMEM_WALK_SPACES: what is in the spaces of
 *	VMEM_SET_SPACES, with references in place of what they share
 * @size: sizeof(struct vmem_walk_spaces_args)
 * @flags: must be 0
 * @nr: records that @records has room for, at least 1
 * @record_size: sizeof(struct vmem_record)
 * @records: pointer to the struct vmem_record to write: the spaces in order of
 *	their roots, each with its VMEM_SPACE first and then by rising address
 * @out_nr: records written
 * @out_more: 1 if there is more: the next call goes on where this one ended
 * @out_stats: what was found from the first call on
 *
 * Mappings are merged across calls too. After the end, a call writes nothing. A
 * reference is told from the first address of its region on: where the guest
 * changes its tables between two calls, that may lie below the record before.
 */
struct vmem_walk_spaces_args {
	__u32 size;
	__u32 flags;
	__u32 nr;
	__u32 record_size;
	__aligned_u64 records;
	__u32 out_nr;
	__u32 out_more;
	struct vmem_spaces_stats out_stats;
};

#define VMEM_WALK_SPACES _IO(VMEM_IOC_TYPE, 0x09)

#endif /* _UAPI_LINUX_VMEM_H */
