/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * libvmem - ask about the page tables of a guest: a VM of another process, the
 * caller's own VM, or an image of a guest's memory
 *
 * What an answer says (struct vmem_translation, vmem_mapping, vmem_record, ...)
 * is described in <linux/vmem.h>. Everything that this header declares begins
 * with libvmem_ or LIBVMEM_.
 *
 * The library prints nothing, ends no process, keeps no state outside of the
 * handles, and installs no signal handler. A handle may be used by one thread at
 * a time; different handles by different threads.
 */
#ifndef LIBVMEM_H
#define LIBVMEM_H

#include <linux/vmem.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC visibility push(default)

/**
 * DOC: Return values
 *
 * A function that returns int returns 0 or a negative enum libvmem_code. *@error
 * then has the same code and says more; @error may be NULL. A function that takes
 * a callback also returns the positive value by which the callback ended it.
 *
 * Any function that asks the guest can fail with LIBVMEM_NO_MEMORY,
 * LIBVMEM_NO_PROCESS, LIBVMEM_DENIED, LIBVMEM_OTHER_VERSION and LIBVMEM_SYSTEM. A
 * function that takes registers can also fail with LIBVMEM_BAD_MODE,
 * LIBVMEM_BAD_ARGUMENT and LIBVMEM_NO_ROOT. The functions list what else they
 * fail with. Addresses and sizes are in bytes.
 */

/**
 * enum libvmem_code - kinds of failure, for a program to act on
 * @LIBVMEM_OK: success
 * @LIBVMEM_NO_MEMORY: this process cannot allocate memory
 * @LIBVMEM_BAD_ARGUMENT: a value out of its documented range
 * @LIBVMEM_NO_PROCESS: no such process, or it has exited
 * @LIBVMEM_NO_VM: the process has no KVM VM, or not at this descriptor
 * @LIBVMEM_SEVERAL_VMS: the process has several VMs: choose a descriptor
 * @LIBVMEM_NO_DEVICE: /dev/vmem is not there: the module is not loaded
 * @LIBVMEM_DENIED: the caller lacks a right, or the kernel is locked down
 * @LIBVMEM_BAD_IMAGE: the file is no image, is damaged, or of no known format
 * @LIBVMEM_NO_REGISTERS: nothing says what CR3, or another register, is
 * @LIBVMEM_BAD_MODE: the registers name no paging mode that is supported
 * @LIBVMEM_NO_ROOT: the guest has no memory, or none that can be read, where
 *	CR3 points
 * @LIBVMEM_QMP: QEMU's monitor cannot be reached, or refuses
 * @LIBVMEM_GUEST_RUNS: the guest runs, or ran meanwhile, and must not
 * @LIBVMEM_TOO_MUCH: more than the kernel, the guest's mode or a file can hold
 * @LIBVMEM_UNREADABLE: guest memory that cannot be read, where all of it must be; or
 *	tables or registers that the guest keeps from the host (SEV, TDX, ...)
 * @LIBVMEM_OTHER_VERSION: the module is of another version
 * @LIBVMEM_SYSTEM: any other failure of the system; @err of the error says which
 */
enum libvmem_code {
	LIBVMEM_OK = 0,
	LIBVMEM_NO_MEMORY,
	LIBVMEM_BAD_ARGUMENT,
	LIBVMEM_NO_PROCESS,
	LIBVMEM_NO_VM,
	LIBVMEM_SEVERAL_VMS,
	LIBVMEM_NO_DEVICE,
	LIBVMEM_DENIED,
	LIBVMEM_BAD_IMAGE,
	LIBVMEM_NO_REGISTERS,
	LIBVMEM_BAD_MODE,
	LIBVMEM_NO_ROOT,
	LIBVMEM_QMP,
	LIBVMEM_GUEST_RUNS,
	LIBVMEM_TOO_MUCH,
	LIBVMEM_UNREADABLE,
	LIBVMEM_OTHER_VERSION,
	LIBVMEM_SYSTEM,
};

/* Sizes of the texts of an error, with their ends. */
#define LIBVMEM_MESSAGE_SIZE 512
#define LIBVMEM_ADVICE_SIZE 256

/**
 * struct libvmem_error - a failure
 * @code: its kind
 * @err: errno of the call that failed; 0 if none did
 * @where: name of the step that failed: "open", "attach", "translate", ...
 * @address: the address or offset concerned, 0 if none is
 * @message: what failed, in one line without an end
 * @advice: why, and what to do about it: a clause that can follow @message
 *	behind a colon; empty if @message says it all
 */
struct libvmem_error {
	enum libvmem_code code;
	int err;
	const char *where;
	__u64 address;
	char message[LIBVMEM_MESSAGE_SIZE];
	char advice[LIBVMEM_ADVICE_SIZE];
};

/**
 * libvmem_version - version of the library
 *
 * Return: text like "0.1.0".
 */
const char *libvmem_version(void);

/* A guest that can be asked. */
struct libvmem;

/**
 * libvmem_open_pid - open the VM of a process
 * @vm: set to the handle; NULL after a failure
 * @pid: the process, above 0
 * @vm_fd: descriptor of the VM in that process; -1 to find the only VM it has
 * @error: the failure, or NULL
 *
 * The handle stays with the VM, also when the PID is used again.
 *
 * Return: 0; -LIBVMEM_NO_PROCESS; -LIBVMEM_NO_VM; -LIBVMEM_SEVERAL_VMS;
 * -LIBVMEM_NO_DEVICE; -LIBVMEM_DENIED.
 */
int libvmem_open_pid(struct libvmem **vm, pid_t pid, int vm_fd,
		     struct libvmem_error *error);

/**
 * libvmem_open_vm - open a VM of the calling process
 * @vm: set to the handle; NULL after a failure
 * @vm_fd: the VM; stays the caller's
 * @error: the failure, or NULL
 *
 * Return: 0; -LIBVMEM_NO_VM; -LIBVMEM_NO_DEVICE; -LIBVMEM_DENIED.
 */
int libvmem_open_vm(struct libvmem **vm, int vm_fd,
		    struct libvmem_error *error);

/**
 * libvmem_open_image - open a file with a guest's memory
 * @vm: set to the handle; NULL after a failure
 * @path: an ELF core of QEMU's dump-guest-memory, of VirtualBox or of a kernel that
 *	has crashed, a kdump-compressed dump, a snapshot, a file of LiME's, or raw
 *	memory from guest-physical address 0 on. The file must not become shorter
 *	while it is open: the process would get SIGBUS.
 * @error: the failure, or NULL
 *
 * Return: 0; -LIBVMEM_BAD_IMAGE; -LIBVMEM_DENIED; -LIBVMEM_SYSTEM.
 */
int libvmem_open_image(struct libvmem **vm, const char *path,
		       struct libvmem_error *error);

/**
 * struct libvmem_region - a part of a guest's memory as it is in a file
 * @gpa: its guest-physical address, a multiple of 4096
 * @len: bytes, a multiple of 4096; 0 for the whole pages up to the end of the file
 * @offset: where in the file
 * @path: the file; NULL for the image's own
 */
struct libvmem_region {
	__u64 gpa;
	__u64 len;
	__u64 offset;
	const char *path;
};

/**
 * libvmem_open_regions - open files with a guest's memory, wherever it is in them
 * @vm: set to the handle; NULL after a failure
 * @path: the image's own file, of any format: nothing in it but the regions counts
 * @regions: what is where; no two of them have other bytes for the same memory
 * @nr: elements of @regions; with 0, as libvmem_open_image()
 * @error: the failure, or NULL
 *
 * Return: as libvmem_open_image().
 */
int libvmem_open_regions(struct libvmem **vm, const char *path,
			 const struct libvmem_region *regions, unsigned int nr,
			 struct libvmem_error *error);

/**
 * libvmem_close - close a guest
 * @vm: the handle, or NULL
 */
void libvmem_close(struct libvmem *vm);

/**
 * struct libvmem_space - a space of a snapshot
 * @space: its identity in the guest: where its root table was there
 * @root: guest-physical address of its root table in the snapshot
 */
struct libvmem_space {
	__u64 space;
	__u64 root;
};

/**
 * struct libvmem_image - the file of an image
 * @path: path of the file, as it was given
 * @format: "raw", "elf32", "elf64", "lime" or "kdump"
 * @size: bytes of the file
 * @spaces: the spaces of a snapshot, in order of primacy
 * @nr_spaces: elements of @spaces; 0 if the image is no snapshot
 * @regs: with spaces: their registers, with CR3 of the first
 */
struct libvmem_image {
	const char *path;
	const char *format;
	__u64 size;
	const struct libvmem_space *spaces;
	unsigned int nr_spaces;
	struct vmem_regs regs;
};

/**
 * libvmem_image - the file that a guest is
 * @vm: the guest
 *
 * Return: the file, valid until libvmem_close(); NULL if the guest runs.
 */
const struct libvmem_image *libvmem_image(const struct libvmem *vm);

/**
 * libvmem_image_file - the file that a piece of an image's memory is in
 * @vm: the guest
 * @id: the piece, as libvmem_memslots() has it
 *
 * Return: the file's path, valid until libvmem_close(); NULL if the guest runs, or has
 * no such piece.
 */
const char *libvmem_image_file(const struct libvmem *vm, __u32 id);

/**
 * libvmem_info - version, limits, source, and the number of vCPUs
 * @vm: the guest
 * @info: set
 * @error: the failure, or NULL
 *
 * Return: 0 or a negative code.
 */
int libvmem_info(struct libvmem *vm, struct vmem_info_args *info,
		 struct libvmem_error *error);

/**
 * libvmem_memslots - list the guest's memory, by rising address
 * @vm: the guest
 * @row: called for each piece; returns 0, or a positive value to end the list.
 *	@hva of an image's piece is its offset in the file, or 0 if that is packed:
 *	see libvmem_image_file().
 * @priv: passed to @row
 * @error: the failure, or NULL
 *
 * Return: 0; a negative code; a positive value of @row.
 */
int libvmem_memslots(struct libvmem *vm,
		     int (*row)(const struct vmem_memslot *slot, void *priv),
		     void *priv, struct libvmem_error *error);

/**
 * libvmem_vcpu - registers of a vCPU
 * @vm: the guest
 * @index: index of the vCPU, less than @out_nr_vcpus of libvmem_info()
 * @timeout_us: how long a vCPU that runs may be waited for: see struct vmem_vcpu_args.
 *	An image has all at once.
 * @vcpu: set; @out_pat is 0 where it is not known
 * @error: the failure, or NULL
 *
 * Return: 0; -LIBVMEM_BAD_ARGUMENT if there is no such vCPU.
 */
int libvmem_vcpu(struct libvmem *vm, unsigned int index,
		 unsigned int timeout_us, struct vmem_vcpu_args *vcpu,
		 struct libvmem_error *error);

/**
 * libvmem_has_own_root - whether CR3 of a vCPU is known, and leads to the guest's tables
 * @vcpu: what libvmem_vcpu() set
 *
 * Return: false for a vCPU in system management mode or in a guest of the guest too.
 */
bool libvmem_has_own_root(const struct vmem_vcpu_args *vcpu);

/* Registers */

/* Members of struct vmem_regs, as a set. */
#define LIBVMEM_CR0 0x1u
#define LIBVMEM_CR3 0x2u
#define LIBVMEM_CR4 0x4u
#define LIBVMEM_EFER 0x8u
#define LIBVMEM_MAXPHYADDR 0x10u
#define LIBVMEM_ALL_REGS 0x1fu

/*
 * And parts of its @rules: VMEM_RULES_AMD, VMEM_RULES_NO_1G, and the other two. None of
 * them has to be known: 0 takes no bit for a reserved one.
 */
#define LIBVMEM_VENDOR 0x20u
#define LIBVMEM_NO_1G 0x40u
#define LIBVMEM_ENCRYPTION 0x80u
#define LIBVMEM_ALL_RULES 0xe0u

/**
 * struct libvmem_regs - some of a vCPU's registers
 * @regs: the values; a @cow_mask of 0 is unknown too
 * @have: set of LIBVMEM_CR0, ...: the registers and rules in @regs that are known
 */
struct libvmem_regs {
	struct vmem_regs regs;
	unsigned int have;
};

/**
 * enum libvmem_mode - paging modes
 * @LIBVMEM_MODE_OFF: paging is off
 * @LIBVMEM_MODE_2LEVEL: 2-level paging
 * @LIBVMEM_MODE_2LEVEL_PSE: 2-level paging with pages of 4 MiB
 * @LIBVMEM_MODE_PAE: PAE
 * @LIBVMEM_MODE_4LEVEL: 4-level paging
 * @LIBVMEM_MODE_5LEVEL: 5-level paging
 */
enum libvmem_mode {
	LIBVMEM_MODE_OFF,
	LIBVMEM_MODE_2LEVEL,
	LIBVMEM_MODE_2LEVEL_PSE,
	LIBVMEM_MODE_PAE,
	LIBVMEM_MODE_4LEVEL,
	LIBVMEM_MODE_5LEVEL,
};

/**
 * libvmem_mode - the paging mode that registers choose
 * @regs: the registers
 *
 * Return: the mode.
 */
enum libvmem_mode libvmem_mode(const struct vmem_regs *regs);

/**
 * libvmem_mode_name - name of a mode, for programs
 * @mode: a mode that libvmem_mode() returned
 *
 * Return: a name like "4-level".
 */
const char *libvmem_mode_name(enum libvmem_mode mode);

/**
 * libvmem_mode_text - name of a mode, for people
 * @mode: a mode that libvmem_mode() returned
 *
 * Return: a text like "4-level (long mode)".
 */
const char *libvmem_mode_text(enum libvmem_mode mode);

/**
 * libvmem_top_level - level of the root table
 * @regs: the registers
 *
 * Return: the level; VMEM_LEVEL_NONE if paging is off.
 */
enum vmem_level libvmem_top_level(const struct vmem_regs *regs);

/**
 * libvmem_root - address of the root table
 * @regs: the registers
 *
 * Return: the guest-physical address that CR3 names.
 */
__u64 libvmem_root(const struct vmem_regs *regs);

/**
 * libvmem_data_address - the address that a processor translates for data
 * @regs: the registers
 * @va: the address as a pointer has it
 *
 * Linear-address masking takes metadata out of it, where CR3 or CR4 says so.
 *
 * Return: @va, or what is left of it.
 */
__u64 libvmem_data_address(const struct vmem_regs *regs, __u64 va);

/**
 * enum libvmem_entry_kind - what an entry of a table is
 * @LIBVMEM_ENTRY_NOT_PRESENT: its Present bit is clear: the rest is the guest's own
 * @LIBVMEM_ENTRY_TABLE: names a table
 * @LIBVMEM_ENTRY_PAGE: maps a page
 */
enum libvmem_entry_kind {
	LIBVMEM_ENTRY_NOT_PRESENT,
	LIBVMEM_ENTRY_TABLE,
	LIBVMEM_ENTRY_PAGE,
};

/**
 * struct libvmem_entry - an entry of a table, decoded
 * @kind: what it is
 * @perms: VMEM_WRITABLE, VMEM_USER and VMEM_EXECUTABLE as it grants them by itself
 * @attributes: VMEM_ATTR_* of a page; of a table, those but Dirty, Global and the key
 * @addr: guest-physical address of the table or page
 * @reserved: reserved bits that are set; @perms and @addr are 0 then
 */
struct libvmem_entry {
	enum libvmem_entry_kind kind;
	__u32 perms;
	__u32 attributes;
	__u64 addr;
	__u64 reserved;
};

/**
 * libvmem_entry - decode an entry of a table
 * @regs: the registers of its space
 * @level: level of the table
 * @raw: the entry, as in struct vmem_trace
 * @entry: set
 * @error: the failure, or NULL
 *
 * Return: 0; -LIBVMEM_BAD_ARGUMENT if there are no tables of @level.
 */
int libvmem_entry(const struct vmem_regs *regs, enum vmem_level level,
		  __u64 raw, struct libvmem_entry *entry,
		  struct libvmem_error *error);

/* The PAT register after a reset. */
#define LIBVMEM_RESET_PAT 0x0007040600070406ull

/**
 * libvmem_memory_type - memory type of a page by the PAT
 * @pat: the PAT register
 * @attributes: VMEM_ATTR_* of the page
 *
 * The MTRRs, which may make it a stricter one, are not looked at.
 *
 * Return: "UC", "UC-", "WC", "WT", "WP" or "WB"; "reserved" if it is none.
 */
const char *libvmem_memory_type(__u64 pat, __u32 attributes);

/**
 * libvmem_arch_regs - registers as the kernels of an architecture have them
 * @name: "amd64", "amd64-la57", "i686" or "i686-pae"
 *
 * Return: all registers but CR3; NULL for any other @name.
 */
const struct libvmem_regs *libvmem_arch_regs(const char *name);

/* A connection to QEMU's monitor. */
struct libvmem_qmp;

/**
 * struct libvmem_qmp_vcpu - a vCPU as QEMU numbers it
 * @index: QEMU's number of it; in a guest whose vCPUs were plugged in and out, not
 *	the module's
 * @apic_id: its APIC ID, which is KVM's name for it: @out_id of VMEM_VCPU
 */
struct libvmem_qmp_vcpu {
	unsigned int index;
	__u32 apic_id;
};

/**
 * libvmem_qmp_open - connect to QEMU, and list its vCPUs
 * @qmp: set to the connection; NULL after a failure
 * @path: path of the socket of QEMU's -qmp option. QEMU serves one client at a
 *	time; another one waits for 5 seconds, as for every answer.
 * @pid: the process that it must be QEMU's: its vCPUs are threads of that; or 0
 * @error: the failure, or NULL
 *
 * Return: 0; -LIBVMEM_QMP; -LIBVMEM_NO_PROCESS; -LIBVMEM_NO_MEMORY.
 */
int libvmem_qmp_open(struct libvmem_qmp **qmp, const char *path, pid_t pid,
		     struct libvmem_error *error);

/**
 * libvmem_qmp_vcpus - the vCPUs that QEMU had when the connection was opened
 * @qmp: the connection
 * @vcpus: set to the list, which lives as long as the connection
 *
 * Return: how many they are, at least 1; of more than VMEM_MAX_ROOTS, the first.
 */
unsigned int libvmem_qmp_vcpus(const struct libvmem_qmp *qmp,
			       const struct libvmem_qmp_vcpu **vcpus);

/**
 * libvmem_qmp_close - end a connection
 * @qmp: the connection, or NULL
 */
void libvmem_qmp_close(struct libvmem_qmp *qmp);

/**
 * libvmem_qmp_regs - registers of a vCPU, from QEMU
 * @qmp: the connection
 * @vcpu: QEMU's index of the vCPU
 * @regs: set; has CR3, and never MAXPHYADDR
 * @error: the failure, or NULL
 *
 * Return: 0; -LIBVMEM_QMP; -LIBVMEM_NO_MEMORY.
 */
int libvmem_qmp_regs(struct libvmem_qmp *qmp, unsigned int vcpu,
		     struct libvmem_regs *regs, struct libvmem_error *error);

/**
 * libvmem_qmp_check_stopped - check that the guest stands still
 * @qmp: the connection
 * @error: the failure, or NULL
 *
 * Return: 0; -LIBVMEM_GUEST_RUNS if the guest runs, or has run since
 * libvmem_qmp_open(); -LIBVMEM_QMP; -LIBVMEM_NO_MEMORY.
 */
int libvmem_qmp_check_stopped(struct libvmem_qmp *qmp,
			      struct libvmem_error *error);

/**
 * struct libvmem_source - where to take registers from; the more explicit source
 *	wins: @given, @qmp, @arch, the vCPU or the image
 * @given: registers that the caller knows
 * @cr3s: CR3 of each space, in order of primacy; the first wins over @given
 * @nr_cr3s: elements of @cr3s, up to VMEM_MAX_ROOTS; 0 to find CR3
 * @qmp: a connection to the guest's QEMU, or NULL
 * @arch: see libvmem_arch_regs(), or NULL
 * @vcpu: index of the vCPU to take registers from: QEMU's where there is @qmp
 */
struct libvmem_source {
	struct libvmem_regs given;
	const __u64 *cr3s;
	unsigned int nr_cr3s;
	struct libvmem_qmp *qmp;
	const struct libvmem_regs *arch;
	unsigned int vcpu;
};

/**
 * struct libvmem_roots - address spaces, in order of primacy
 * @regs: the registers that they have in common, and CR3 of the first
 * @nr: elements of @cr3s, at least 1
 * @nr_left_out: elements of @left_out
 * @cr3s: CR3 of each space
 * @left_out: index of each vCPU whose space is left out, because it pages in
 *	another mode, or does not tell its CR3
 */
struct libvmem_roots {
	struct vmem_regs regs;
	unsigned int nr;
	unsigned int nr_left_out;
	__u64 cr3s[VMEM_MAX_ROOTS];
	unsigned int left_out[VMEM_MAX_ROOTS];
};

/**
 * libvmem_find_regs - find the registers of one address space
 * @vm: the guest
 * @source: where to take them from
 * @regs: set
 * @error: the failure, or NULL
 *
 * CR3 of a guest that runs is the vCPU's at some moment of the call. One that is not
 * in a state to tell it is given two seconds.
 *
 * Return: 0; -LIBVMEM_NO_REGISTERS if no source has CR3 or another register;
 * -LIBVMEM_BAD_ARGUMENT if there is no such vCPU; -LIBVMEM_QMP.
 */
int libvmem_find_regs(struct libvmem *vm, const struct libvmem_source *source,
		      struct vmem_regs *regs, struct libvmem_error *error);

/**
 * libvmem_find_pat - find the PAT register of a vCPU
 * @vm: the guest
 * @source: which vCPU
 * @pat: set: LIBVMEM_RESET_PAT where it is not known
 *
 * Return: whether it is known: an image does not have it, nor does a module that is
 * older than it.
 */
bool libvmem_find_pat(struct libvmem *vm, const struct libvmem_source *source,
		      __u64 *pat);

/**
 * libvmem_find_roots - find the registers of several address spaces
 * @vm: the guest
 * @source: where to take them from
 * @all: if @source has no CR3: take the spaces of all vCPUs, or of a snapshot,
 *	and not that of one vCPU. More than VMEM_MAX_ROOTS vCPUs are cut off.
 * @roots: set
 * @error: the failure, or NULL
 *
 * Return: as libvmem_find_regs().
 */
int libvmem_find_roots(struct libvmem *vm, const struct libvmem_source *source,
		       bool all, struct libvmem_roots *roots,
		       struct libvmem_error *error);

/**
 * libvmem_drop_repeated_roots - keep each space once: vCPUs may share one
 * @roots: the spaces; of equal ones, the first stays
 */
void libvmem_drop_repeated_roots(struct libvmem_roots *roots);

/**
 * libvmem_regs_of_root - registers of one of the spaces
 * @roots: the spaces
 * @index: index of the space, less than @nr of @roots
 *
 * Return: the registers, with CR3 of that space.
 */
struct vmem_regs libvmem_regs_of_root(const struct libvmem_roots *roots,
				      unsigned int index);

/**
 * libvmem_space_of_root - identity of one of the spaces
 * @roots: the spaces
 * @index: index of the space, less than @nr of @roots
 *
 * Return: guest-physical address of its root table.
 */
__u64 libvmem_space_of_root(const struct libvmem_roots *roots,
			    unsigned int index);

/* Which spaces there are */

/**
 * enum libvmem_root_kind - what a root that was found is
 * @LIBVMEM_ROOT_VCPU: a process's, and a vCPU had it
 * @LIBVMEM_ROOT_USER: a process's: its user half maps pages
 * @LIBVMEM_ROOT_KERNEL: the kernel half alone: a kernel thread's, or one that was
 *	freed; a vCPU may have it all the same
 * @LIBVMEM_ROOT_TWIN: what user mode of another root runs on, with little of the kernel
 * @LIBVMEM_ROOT_COPY: another root is what it leads to: it is no root that is used, or
 *	its page is mapped to user mode
 * @LIBVMEM_ROOT_UNCLEAR: one of several with the same user half, and nothing tells
 *	which one is used
 */
enum libvmem_root_kind {
	LIBVMEM_ROOT_VCPU,
	LIBVMEM_ROOT_USER,
	LIBVMEM_ROOT_KERNEL,
	LIBVMEM_ROOT_TWIN,
	LIBVMEM_ROOT_COPY,
	LIBVMEM_ROOT_UNCLEAR,
};

/**
 * struct libvmem_root_found - a root in guest memory, with its class and the evidence
 * @root: guest-physical address of the root table
 * @kind: what it is
 * @of: of a twin or a copy, the root that it belongs to; else 0
 * @shared: entries of the kernel half that name the same tables as the known root's
 * @kernel: entries of the kernel half that the known root has
 * @user: bytes that its user half maps to user mode
 * @pointers: words of guest memory that hold its address, where it was looked for
 * @vcpu_seen: a vCPU had it, at the beginning or while memory was read
 * @in_user_memory: a copy: its page is mapped to user mode
 */
struct libvmem_root_found {
	__u64 root;
	enum libvmem_root_kind kind;
	__u64 of;
	unsigned int shared;
	unsigned int kernel;
	__u64 user;
	__u64 pointers;
	bool vcpu_seen;
	bool in_user_memory;
};

/**
 * struct libvmem_search - a search for the guest's address spaces
 * @source: where the registers, and the roots to begin with, are taken from
 * @fetch: look at what the VMM does not have in memory as well: it is brought back from
 *	swap, or from the file that it is mapped from; of what was never touched, an empty page
 *	is mapped
 * @step: called now and then, with the bytes of guest memory that have been looked at, and
 *	how many there are; returns 0, or a positive value to end the search; or NULL
 * @priv: passed to @step
 * @roots: set, for free(): the roots, those of vCPUs first
 * @nr: set: elements of @roots
 * @regs: set: the registers that they have in common
 * @guessed: set: no root was known, so that they were found by what most have in common
 * @read: set: bytes of guest memory that were looked at
 * @untouched: set: bytes that are not in memory: never touched, swapped out, or in a file
 */
struct libvmem_search {
	const struct libvmem_source *source;
	bool fetch;
	int (*step)(__u64 done, __u64 all, void *priv);
	void *priv;
	struct libvmem_root_found *roots;
	size_t nr;
	struct vmem_regs regs;
	bool guessed;
	__u64 read;
	__u64 untouched;
};

/**
 * libvmem_search_roots - find the guest's address spaces in its memory
 * @vm: the guest
 * @search: what to look for; its results
 * @error: the failure, or NULL
 *
 * All that the guest has in memory is read once, or twice where several roots lead to the
 * same user half. Without @fetch, what was never touched is not brought into being.
 *
 * Return: 0; a negative code; a positive value of @step.
 */
int libvmem_search_roots(struct libvmem *vm, struct libvmem_search *search,
			 struct libvmem_error *error);

/* Questions about one space */

/**
 * libvmem_translate - translate virtual addresses
 * @vm: the guest
 * @regs: the address space
 * @vas: the addresses, in any order
 * @nr: elements of @vas
 * @row: called for each address, in order, with its answer; returns 0, or a
 *	positive value to end the question
 * @priv: passed to @row
 * @error: the failure, or NULL
 *
 * Return: 0; a negative code; a positive value of @row.
 */
int libvmem_translate(struct libvmem *vm, const struct vmem_regs *regs,
		      const __u64 *vas, size_t nr,
		      int (*row)(__u64 va,
				 const struct vmem_translation *answer,
				 void *priv),
		      void *priv, struct libvmem_error *error);

/**
 * struct libvmem_found - counts of a list of mappings
 * @mappings: mappings given
 * @bytes: bytes of virtual memory that they map
 * @anomalies: entries that lead nowhere
 * @torn: tables that the guest replaced meanwhile: mappings below them may be of
 *	two moments
 */
struct libvmem_found {
	__u64 mappings;
	__u64 bytes;
	__u64 anomalies;
	__u64 torn;
};

/**
 * libvmem_ranges - list the mappings in a range, by rising address
 * @vm: the guest
 * @regs: the address space
 * @va: first virtual address
 * @last_va: last virtual address, inclusive, not below @va
 * @row: called for each mapping, merged with its neighbours; returns 0, or a
 *	positive value to end the list
 * @priv: passed to @row
 * @found: set to the counts, as far as the list came; or NULL
 * @error: the failure, or NULL
 *
 * Return: 0; a negative code; a positive value of @row.
 */
int libvmem_ranges(struct libvmem *vm, const struct vmem_regs *regs, __u64 va,
		   __u64 last_va,
		   int (*row)(const struct vmem_mapping *mapping, void *priv),
		   void *priv, struct libvmem_found *found,
		   struct libvmem_error *error);

/**
 * libvmem_ranges_with - list mappings with more than addresses and rights
 * @vm: the guest
 * @regs: the address space
 * @flags: VMEM_MAP_*
 * @va: first virtual address
 * @last_va: last virtual address, inclusive, not below @va
 * @row: as for libvmem_ranges()
 * @priv: passed to @row
 * @found: as for libvmem_ranges()
 * @error: the failure, or NULL
 *
 * Return: as libvmem_ranges().
 */
int libvmem_ranges_with(struct libvmem *vm, const struct vmem_regs *regs,
			unsigned int flags, __u64 va, __u64 last_va,
			int (*row)(const struct vmem_mapping *mapping,
				   void *priv),
			void *priv, struct libvmem_found *found,
			struct libvmem_error *error);

/**
 * struct libvmem_read - the end of a reading
 * @len: bytes read
 * @status: enum vmem_status of the next address; VMEM_MAPPED if all was read
 * @level: enum vmem_level where the path of the next address ended;
 *	VMEM_LEVEL_NONE if all was read, and for guest-physical memory
 */
struct libvmem_read {
	__u64 len;
	__u32 status;
	__u32 level;
};

/**
 * libvmem_read - read guest memory by virtual address
 * @vm: the guest
 * @regs: the address space
 * @va: first virtual address
 * @buf: room for @len bytes
 * @len: bytes to read; @va + @len - 1 must not wrap around
 * @read: set: the reading ends at the first address that cannot be read, which is
 *	no failure
 * @error: the failure, or NULL
 *
 * Return: 0 or a negative code.
 */
int libvmem_read(struct libvmem *vm, const struct vmem_regs *regs, __u64 va,
		 void *buf, size_t len, struct libvmem_read *read,
		 struct libvmem_error *error);

/**
 * libvmem_read_phys - read guest memory by guest-physical address
 * @vm: the guest
 * @gpa: first guest-physical address
 * @buf: room for @len bytes; NULL to find out how far the memory can be read
 * @len: bytes to read; @gpa + @len - 1 must not wrap around
 * @read: set, as by libvmem_read()
 * @error: the failure, or NULL
 *
 * Return: 0 or a negative code.
 */
int libvmem_read_phys(struct libvmem *vm, __u64 gpa, void *buf, size_t len,
		      struct libvmem_read *read, struct libvmem_error *error);

/* What a processor would do */

/* Members of struct libvmem_access, in one set with those of struct vmem_regs. */
#define LIBVMEM_RFLAGS 0x100u
#define LIBVMEM_PKRU 0x200u
#define LIBVMEM_PKRS 0x400u

/**
 * enum libvmem_access_kind - what an access does
 * @LIBVMEM_ACCESS_READ: reads data
 * @LIBVMEM_ACCESS_WRITE: writes data
 * @LIBVMEM_ACCESS_FETCH: fetches an instruction
 */
enum libvmem_access_kind {
	LIBVMEM_ACCESS_READ,
	LIBVMEM_ACCESS_WRITE,
	LIBVMEM_ACCESS_FETCH,
};

/**
 * struct libvmem_access - an access, and what a processor judges it by besides the
 *	registers of the address space
 * @kind: what it does
 * @user: made by user mode: at privilege level 3
 * @rflags: RFLAGS, of which AC counts; 0 for an access that the processor makes by
 *	itself, to a descriptor table for one
 * @pkru: PKRU
 * @pkrs: the IA32_PKRS MSR
 */
struct libvmem_access {
	enum libvmem_access_kind kind;
	bool user;
	__u64 rflags;
	__u32 pkru;
	__u32 pkrs;
};

/**
 * enum libvmem_reason - why an access faults
 * @LIBVMEM_REASON_NONE: it passes
 * @LIBVMEM_REASON_NON_CANONICAL: the paging mode has no such address
 * @LIBVMEM_REASON_NOT_PRESENT: an entry is not present
 * @LIBVMEM_REASON_RESERVED: an entry has a reserved bit set
 * @LIBVMEM_REASON_UNKNOWN: no entry can be read where the path ends; the answer's
 *	status says why
 * @LIBVMEM_REASON_SUPERVISOR: user mode, and the page is the supervisor's
 * @LIBVMEM_REASON_READ_ONLY: a write, and an entry is not writable
 * @LIBVMEM_REASON_NO_EXECUTE: a fetch, and an entry has execute-disable set
 * @LIBVMEM_REASON_SMEP: a fetch by supervisor mode from a user page, with CR4.SMEP
 * @LIBVMEM_REASON_SMAP: data of a user page, in supervisor mode with CR4.SMAP
 * @LIBVMEM_REASON_KEY: the rights of the page's protection key
 */
enum libvmem_reason {
	LIBVMEM_REASON_NONE,
	LIBVMEM_REASON_NON_CANONICAL,
	LIBVMEM_REASON_NOT_PRESENT,
	LIBVMEM_REASON_RESERVED,
	LIBVMEM_REASON_UNKNOWN,
	LIBVMEM_REASON_SUPERVISOR,
	LIBVMEM_REASON_READ_ONLY,
	LIBVMEM_REASON_NO_EXECUTE,
	LIBVMEM_REASON_SMEP,
	LIBVMEM_REASON_SMAP,
	LIBVMEM_REASON_KEY,
};

/**
 * struct libvmem_verdict - the end of an access
 * @reason: why it faults
 * @vector: the exception: 14 is #PF, 13 is #GP (#SS for an access to the stack); 0 if
 *	there is none, and where @reason is LIBVMEM_REASON_UNKNOWN or no instruction
 *	can have the address: one above 4 GiB outside long mode
 * @error_code: the error code of #PF (Intel SDM vol. 3, 4.7), else 0
 * @decides: index into @out_trace of the entry that decides: the first one that takes
 *	the right away; or the last one, if the whole path grants or forbids it. -1 if
 *	no entry was read.
 * @rests_on: set of LIBVMEM_CR0, LIBVMEM_CR4, LIBVMEM_VENDOR, LIBVMEM_RFLAGS,
 *	LIBVMEM_PKRU and LIBVMEM_PKRS: the verdict would be another with CR0.WP, CR4.SMEP,
 *	SMAP, PKE or PKS, the vendor or RFLAGS.AC the other way round, or with other
 *	rights of the page's key
 */
struct libvmem_verdict {
	enum libvmem_reason reason;
	__u32 vector;
	__u32 error_code;
	int decides;
	unsigned int rests_on;
};

/**
 * libvmem_access - judge an access as a processor would by these tables
 * @regs: the address space
 * @access: the access
 * @answer: the translation of its address; for data, of what libvmem_data_address()
 *	makes of that
 * @verdict: set
 * @error: the failure, or NULL
 *
 * A processor may use older entries that its TLB holds, or the four of a PAE root that
 * it loaded with CR3. CR4.LASS, shadow stacks, and AMD's upper address ignore and
 * nested page tables play no part.
 *
 * Return: 0; -LIBVMEM_BAD_ARGUMENT if @answer is none to these registers.
 */
int libvmem_access(const struct vmem_regs *regs,
		   const struct libvmem_access *access,
		   const struct vmem_translation *answer,
		   struct libvmem_verdict *verdict,
		   struct libvmem_error *error);

/* Many spaces at once */

/**
 * struct libvmem_scope - the part of each space to look at
 * @va: first virtual address
 * @last_va: last virtual address, inclusive, not below @va
 * @excluded: ranges to leave out, by rising address, none overlapping another
 * @nr_excluded: elements of @excluded, up to VMEM_MAX_EXCLUDED
 */
struct libvmem_scope {
	__u64 va;
	__u64 last_va;
	const struct vmem_span *excluded;
	unsigned int nr_excluded;
};

/**
 * libvmem_walk_spaces - walk many spaces and report what they share
 * @vm: the guest; each handle can do this once
 * @roots: the spaces
 * @scope: the part of each space
 * @row: called for each record, in the order of VMEM_WALK_SPACES; returns 0, or a
 *	positive value to end the walk. NULL to find the owners of tables alone.
 *	Every space has its VMEM_SPACE, and a record refers to spaces that have
 *	begun: the library checks that.
 * @priv: passed to @row
 * @stats: set to the counts, as far as the walk came; or NULL
 * @error: the failure, or NULL
 *
 * Return: 0; -LIBVMEM_BAD_ARGUMENT; -LIBVMEM_TOO_MUCH if there are more than
 * VMEM_MAX_TABLES tables; a positive value of @row.
 */
int libvmem_walk_spaces(struct libvmem *vm, const struct libvmem_roots *roots,
			const struct libvmem_scope *scope,
			int (*row)(const struct vmem_record *record,
				   void *priv),
			void *priv, struct vmem_spaces_stats *stats,
			struct libvmem_error *error);

/**
 * libvmem_translate_shared - translate in one of the walked spaces, and name the
 *	owners of tables
 * @vm: the guest, whose spaces libvmem_walk_spaces() walked to the end
 * @roots: the spaces that were walked
 * @index: index of the space, less than @nr of @roots
 * @vas: the addresses, in any order
 * @nr: elements of @vas
 * @row: as for libvmem_translate()
 * @priv: passed to @row
 * @error: the failure, or NULL
 *
 * Return: 0; -LIBVMEM_BAD_ARGUMENT if the spaces were not walked, or there is no
 * such space; a positive value of @row.
 */
int libvmem_translate_shared(
	struct libvmem *vm, const struct libvmem_roots *roots,
	unsigned int index, const __u64 *vas, size_t nr,
	int (*row)(__u64 va, const struct vmem_translation *answer, void *priv),
	void *priv, struct libvmem_error *error);

/* Snapshots */

/* Let what is writable be copy-on-write, by the convention of the registers. */
#define LIBVMEM_SNAPSHOT_COW 0x1u
/* Fail where guest memory that is mapped cannot be read. */
#define LIBVMEM_SNAPSHOT_STRICT 0x2u
/* One space as debuggers see it: by virtual address. */
#define LIBVMEM_SNAPSHOT_VIRTUAL 0x4u

/* Where a snapshot's memory begins by default: above a PC's low memory. */
#define LIBVMEM_SNAPSHOT_BASE 0x100000ull

/* A snapshot begins anew, aligned, for each size of page that it has. */
#define LIBVMEM_MAX_EXTENTS 4

/**
 * struct libvmem_extent - a piece of a snapshot's memory
 * @gpa: its guest-physical address
 * @len: its size in bytes
 */
struct libvmem_extent {
	__u64 gpa;
	__u64 len;
};

/**
 * struct libvmem_snapshot_args - the snapshot to make
 * @roots: the spaces, none twice; one with LIBVMEM_SNAPSHOT_VIRTUAL
 * @scope: the part of each, made of whole pages
 * @base: guest-physical address of its memory, a multiple of 4096 below 2^52; of no
 *	account with LIBVMEM_SNAPSHOT_VIRTUAL
 * @flags: LIBVMEM_SNAPSHOT_*
 * @qmp: to take the vCPUs' registers from, and to check that the guest stands
 *	still, or NULL
 * @progress: optional: called now and then with what is done and what is to
 *	do, in bytes, or with tables read and 0 while the tables are rebuilt, or
 *	with mappings and 0 while they are listed. Returns 0, or a positive value to end it.
 * @priv: passed to it
 */
struct libvmem_snapshot_args {
	const struct libvmem_roots *roots;
	const struct libvmem_scope *scope;
	__u64 base;
	unsigned int flags;
	struct libvmem_qmp *qmp;
	int (*progress)(__u64 done, __u64 todo, void *priv);
	void *priv;
};

/**
 * struct libvmem_snapshot - the contents of a snapshot
 * @tables_read: tables of the guest that were read
 * @tables: tables in the snapshot
 * @leaves: pages mapped, of their own sizes, each mapping counted
 * @links: entries that name a table which another entry names as well
 * @empty_links: references to tables in which nothing is mapped; left out
 * @dropped: entries that lead nowhere; left out
 * @unreadable: pages, in units of 4 KiB, each mapping counted, and tables that
 *	cannot be read; left out
 * @vcpus: vCPUs whose registers it has
 * @strays: those whose space is none of the roots; they have the first one's root
 * @segments: with LIBVMEM_SNAPSHOT_VIRTUAL: pieces of memory by virtual address
 * @file_size: bytes of the file
 * @guest_size: bytes of the guest's memory
 * @extents: its memory, by rising address; the first begins with the root
 *	tables: the i-th at base + i * 4096
 * @nr_extents: elements of @extents; 0 with LIBVMEM_SNAPSHOT_VIRTUAL
 */
struct libvmem_snapshot {
	__u64 tables_read;
	__u64 tables;
	__u64 leaves;
	__u64 links;
	__u64 empty_links;
	__u64 dropped;
	__u64 unreadable;
	unsigned int vcpus;
	unsigned int strays;
	__u64 segments;
	__u64 file_size;
	__u64 guest_size;
	struct libvmem_extent extents[LIBVMEM_MAX_EXTENTS];
	unsigned int nr_extents;
};

/**
 * libvmem_snapshot - write a snapshot of a guest into an ELF core
 * @vm: the guest, which must stand still; or an image
 * @args: the snapshot to make
 * @fd: a regular file that is empty and open for reading and writing. It is left
 *	open, and not synchronised. After a failure, or if @progress ended the
 *	snapshot, its contents are of no use. A failure to write it has "write"
 *	as its @where.
 * @made: set
 * @error: the failure, or NULL
 *
 * The core has the pages that the spaces map, each once, and new tables that map
 * them as the guest's do. Pages that are no memory, a device's for one, are mapped
 * where they were. Its segments have virtual addresses that no guest has, so that a
 * debugger shows no page in another one's place.
 *
 * With LIBVMEM_SNAPSHOT_VIRTUAL it has what the one space maps, each page once, in
 * segments by the virtual addresses and with the rights that it has there, and the
 * registers of the vCPUs in that space; of a guest that runs without @qmp, RIP alone.
 * No table is made, and pages that are no memory are left out. Guest-physical addresses
 * are those of the guest, but for all ones in a core of 32 bits where they do not fit.
 *
 * Return: 0; -LIBVMEM_BAD_ARGUMENT; -LIBVMEM_GUEST_RUNS if the guest ran, or
 * changed its tables; -LIBVMEM_UNREADABLE with LIBVMEM_SNAPSHOT_STRICT;
 * -LIBVMEM_TOO_MUCH; -LIBVMEM_QMP; a positive value of @progress.
 */
int libvmem_snapshot(struct libvmem *vm,
		     const struct libvmem_snapshot_args *args, int fd,
		     struct libvmem_snapshot *made,
		     struct libvmem_error *error);

/* The guest as a file */

/* A guest as an ELF core. It does not change: any number of threads can read it. */
struct libvmem_core;

/**
 * struct libvmem_core_args - how to make a core
 * @source: where the registers of a kernel without VMCOREINFO are taken from
 * @step: called now and then, with the bytes of guest memory that have been looked at, and
 *	how many there are; returns 0, or a positive value to end it; or NULL
 * @priv: passed to @step
 */
struct libvmem_core_args {
	const struct libvmem_source *source;
	int (*step)(__u64 done, __u64 all, void *priv);
	void *priv;
};

/**
 * struct libvmem_core_layout - what is where in a core
 * @size: bytes of the core
 * @head_size: bytes in front of its memory: headers and notes
 * @memory_end: guest-physical address behind the last memory
 * @vmcoreinfo: guest-physical address of the VMCOREINFO note that was found; 0 if none
 *	was
 * @regs: registers of an address space that has the kernel in it: its own, if VMCOREINFO
 *	tells them; all 0 if none are known
 * @has_direct: the kernel has all memory mapped in one piece: its segments have virtual
 *	addresses
 * @direct: that of guest-physical address 0
 */
struct libvmem_core_layout {
	__u64 size;
	size_t head_size;
	__u64 memory_end;
	__u64 vmcoreinfo;
	struct vmem_regs regs;
	bool has_direct;
	__u64 direct;
};

/**
 * libvmem_core_open - make an ELF core of a guest, which stays where it is
 * @core: set to the core; NULL after a failure
 * @vm: the guest
 * @args: how
 * @error: the failure, or NULL
 *
 * The core is as QEMU's dump-guest-memory writes it: a note of each vCPU's registers, the
 * guest's own VMCOREINFO, and all of its memory. What the guest has in memory is read once,
 * up to VMCOREINFO. Memory that is plugged in later is not in the core.
 *
 * Return: 0; -LIBVMEM_TOO_MUCH if memory is in more pieces than a core has; a negative
 * code; a positive value of @step.
 */
int libvmem_core_open(struct libvmem_core **core, struct libvmem *vm,
		      const struct libvmem_core_args *args,
		      struct libvmem_error *error);

/**
 * libvmem_core_close - forget a core
 * @core: the core, or NULL
 */
void libvmem_core_close(struct libvmem_core *core);

/**
 * libvmem_core_layout - what is where in a core
 * @core: the core
 * @layout: set
 */
void libvmem_core_layout(const struct libvmem_core *core,
			 struct libvmem_core_layout *layout);

/**
 * libvmem_core_head - headers and notes, with the registers of now
 * @core: the core
 * @vm: a handle of the same guest
 * @head: room for @head_size bytes of the layout
 * @error: the failure, or NULL
 *
 * Of a guest that runs, RIP, CR0, CR3 and CR4 are known; other registers are 0.
 *
 * Return: 0 or a negative code.
 */
int libvmem_core_head(const struct libvmem_core *core, struct libvmem *vm,
		      void *head, struct libvmem_error *error);

/**
 * libvmem_core_read - read the memory in a core
 * @core: the core
 * @vm: a handle of the same guest
 * @offset: where in the core, behind its head
 * @buf: room for @len bytes
 * @len: bytes to read
 * @read: set, as by libvmem_read(); the reading ends at the end of the core, too
 * @error: the failure, or NULL
 *
 * Return: 0 or a negative code.
 */
int libvmem_core_read(const struct libvmem_core *core, struct libvmem *vm,
		      __u64 offset, void *buf, size_t len,
		      struct libvmem_read *read, struct libvmem_error *error);

/**
 * libvmem_core_read_phys - read memory by guest-physical address
 * @core: the core
 * @vm: a handle of the same guest
 * @gpa: first guest-physical address
 * @buf: room for @len bytes
 * @len: bytes to read
 * @read: set, as by libvmem_core_read(); where there is no memory, there are zeros
 * @error: the failure, or NULL
 *
 * Return: 0 or a negative code.
 */
int libvmem_core_read_phys(const struct libvmem_core *core, struct libvmem *vm,
			   __u64 gpa, void *buf, size_t len,
			   struct libvmem_read *read,
			   struct libvmem_error *error);

/**
 * libvmem_core_next - find memory, or where there is none
 * @core: the core
 * @gpa: guest-physical address to begin at
 * @memory: look for memory, else for the end of it
 *
 * Return: the first such address from @gpa on, or @memory_end of the layout.
 */
__u64 libvmem_core_next(const struct libvmem_core *core, __u64 gpa,
			bool memory);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
