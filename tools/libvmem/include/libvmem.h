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
 * A function that returns int returns 0, or a negative enum libvmem_code with
 * *@error saying more (@error may be NULL), or, if it takes a callback, the
 * positive value by which the callback ended it.
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
 * @LIBVMEM_NO_ROOT: the guest has no memory where CR3 points
 * @LIBVMEM_QMP: QEMU's monitor cannot be reached, or refuses
 * @LIBVMEM_GUEST_RUNS: the guest runs, or ran meanwhile, and must not
 * @LIBVMEM_TOO_MUCH: more than the kernel, the guest's mode or a file can hold
 * @LIBVMEM_UNREADABLE: guest memory that cannot be read, where all of it must be
 * @LIBVMEM_VERSION: the module is of another version
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
	LIBVMEM_VERSION,
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

/* The version of the library, as "0.1.0". */
const char *libvmem_version(void);

/* A guest that can be asked. */
struct libvmem;

/**
 * libvmem_open_pid - ask the VM of a process
 * @vm: set to the handle
 * @pid: the process
 * @vm_fd: its descriptor of the VM; -1 to find the only one that it has
 * @error: see above
 */
int libvmem_open_pid(struct libvmem **vm, pid_t pid, int vm_fd,
		     struct libvmem_error *error);

/* The same for a VM of the calling process; @vm_fd stays the caller's. */
int libvmem_open_vm(struct libvmem **vm, int vm_fd,
		    struct libvmem_error *error);

/* The same for a file with a guest's memory: an ELF core, a snapshot, raw. */
int libvmem_open_image(struct libvmem **vm, const char *path,
		       struct libvmem_error *error);

/* Close a guest, or NULL. */
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
 * struct libvmem_image - what the file of an image is
 * @path: of the file, as it was given
 * @format: "raw", "elf32" or "elf64"
 * @size: bytes of the file
 * @spaces: the spaces of a snapshot, in order of primacy
 * @nr_spaces: how many they are; 0 if the image is no snapshot
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

/* The image that @vm is, valid until it is closed; NULL if the guest runs. */
const struct libvmem_image *libvmem_image(const struct libvmem *vm);

/* Version, limits, source, number of vCPUs: see struct vmem_info_args. */
int libvmem_info(struct libvmem *vm, struct vmem_info_args *info,
		 struct libvmem_error *error);

/*
 * Give each piece of guest memory to @row, by rising address. Of an image, @hva
 * is an offset in the file. @row returns 0, or a positive value to end it.
 */
int libvmem_memslots(struct libvmem *vm,
		     int (*row)(const struct vmem_memslot *slot, void *priv),
		     void *priv, struct libvmem_error *error);

/*
 * The registers of the vCPU with @index. CR3 is 0 where the guest runs: see
 * struct vmem_vcpu_args.
 */
int libvmem_vcpu(struct libvmem *vm, unsigned int index,
		 struct vmem_vcpu_args *vcpu, struct libvmem_error *error);

/* Registers */

/* Members of struct vmem_regs, as a set. */
#define LIBVMEM_CR0 0x1u
#define LIBVMEM_CR3 0x2u
#define LIBVMEM_CR4 0x4u
#define LIBVMEM_EFER 0x8u
#define LIBVMEM_MAXPHYADDR 0x10u
#define LIBVMEM_ALL_REGS 0x1fu

/**
 * struct libvmem_regs - registers as far as they are known
 * @regs: the values; the copy-on-write convention is known if it is not 0
 * @have: LIBVMEM_CR0, ...: which of @regs are set
 */
struct libvmem_regs {
	struct vmem_regs regs;
	unsigned int have;
};

/* How a guest pages. */
enum libvmem_mode {
	LIBVMEM_MODE_OFF,
	LIBVMEM_MODE_2LEVEL,
	LIBVMEM_MODE_2LEVEL_PSE,
	LIBVMEM_MODE_PAE,
	LIBVMEM_MODE_4LEVEL,
	LIBVMEM_MODE_5LEVEL,
};

enum libvmem_mode libvmem_mode(const struct vmem_regs *regs);

/* "4-level", for programs; "4-level (long mode)", for people. */
const char *libvmem_mode_name(enum libvmem_mode mode);
const char *libvmem_mode_text(enum libvmem_mode mode);

/* The table that CR3 points at: its level, and its guest-physical address. */
enum vmem_level libvmem_top_level(const struct vmem_regs *regs);
__u64 libvmem_root(const struct vmem_regs *regs);

/* All but CR3, as kernels of "amd64" or "i686" have them; NULL for others. */
const struct libvmem_regs *libvmem_arch_regs(const char *name);

/* A connection to QEMU's monitor. */
struct libvmem_qmp;

int libvmem_qmp_open(struct libvmem_qmp **qmp, const char *path,
		     struct libvmem_error *error);
void libvmem_qmp_close(struct libvmem_qmp *qmp);

/* Registers of a vCPU; MAXPHYADDR is not among them. */
int libvmem_qmp_regs(struct libvmem_qmp *qmp, unsigned int vcpu,
		     struct libvmem_regs *regs, struct libvmem_error *error);

/* -LIBVMEM_GUEST_RUNS if the guest runs, or has run since libvmem_qmp_open(). */
int libvmem_qmp_check_stopped(struct libvmem_qmp *qmp,
			      struct libvmem_error *error);

/**
 * struct libvmem_source - where registers are to come from; the more explicit
 *	source wins: @given, @qmp, @arch, the vCPU or the image
 * @given: registers that are known
 * @cr3s: with @nr_cr3s, CR3 of each space, in order of primacy
 * @nr_cr3s: how many they are, up to VMEM_MAX_ROOTS; 0 to find them
 * @qmp: path of QEMU's QMP socket, or NULL
 * @arch: see libvmem_arch_regs(), or NULL
 * @vcpu: index of the vCPU to take registers from
 */
struct libvmem_source {
	struct libvmem_regs given;
	const __u64 *cr3s;
	unsigned int nr_cr3s;
	const char *qmp;
	const struct libvmem_regs *arch;
	unsigned int vcpu;
};

/**
 * struct libvmem_roots - address spaces, in order of primacy
 * @regs: the registers that they have in common, and CR3 of the first
 * @nr: how many they are, at least 1
 * @nr_left_out: vCPUs that are not among them, as they page in another mode
 * @cr3s: CR3 of each
 * @left_out: index of each vCPU that is not among them
 */
struct libvmem_roots {
	struct vmem_regs regs;
	unsigned int nr;
	unsigned int nr_left_out;
	__u64 cr3s[VMEM_MAX_ROOTS];
	unsigned int left_out[VMEM_MAX_ROOTS];
};

/* The registers of one address space. */
int libvmem_find_regs(struct libvmem *vm, const struct libvmem_source *source,
		      struct vmem_regs *regs, struct libvmem_error *error);

/*
 * The spaces that @source names. Without CR3s there: that of its vCPU or, with
 * @all, those of all vCPUs, or of a snapshot.
 */
int libvmem_find_roots(struct libvmem *vm, const struct libvmem_source *source,
		       bool all, struct libvmem_roots *roots,
		       struct libvmem_error *error);

/* Keep of each space the first of its roots: several vCPUs may be in one. */
void libvmem_drop_repeated_roots(struct libvmem_roots *roots);

/* Registers with CR3 of one of the spaces; the address of its root table. */
struct vmem_regs libvmem_regs_of_root(const struct libvmem_roots *roots,
				      unsigned int index);
__u64 libvmem_space_of_root(const struct libvmem_roots *roots,
			    unsigned int index);

/* Questions about one space */

/*
 * Translate @nr addresses; @row gets each with its answer, in order. It returns
 * 0, or a positive value to end it.
 */
int libvmem_translate(struct libvmem *vm, const struct vmem_regs *regs,
		      const __u64 *vas, size_t nr,
		      int (*row)(__u64 va,
				 const struct vmem_translation *answer,
				 void *priv),
		      void *priv, struct libvmem_error *error);

/**
 * struct libvmem_found - what listing a range counted besides its rows
 * @mappings: rows given
 * @bytes: bytes of virtual memory that they map
 * @anomalies: entries that lead nowhere
 * @torn: tables that the guest replaced meanwhile: rows may be of two times
 */
struct libvmem_found {
	__u64 mappings;
	__u64 bytes;
	__u64 anomalies;
	__u64 torn;
};

/*
 * List what is mapped from @va to @last_va, inclusive, merged with its
 * neighbours, by rising address.
 */
int libvmem_ranges(struct libvmem *vm, const struct vmem_regs *regs, __u64 va,
		   __u64 last_va,
		   int (*row)(const struct vmem_mapping *mapping, void *priv),
		   void *priv, struct libvmem_found *found,
		   struct libvmem_error *error);

/**
 * struct libvmem_read - how far a reading came
 * @len: bytes read
 * @status: VMEM_MAPPED if all were, else why the next address cannot be read
 * @level: enum vmem_level where its path ended; of physical memory,
 *	VMEM_LEVEL_NONE
 */
struct libvmem_read {
	__u64 len;
	__u32 status;
	__u32 level;
};

/* Read guest memory by virtual address. A part that can be read is no failure. */
int libvmem_read(struct libvmem *vm, const struct vmem_regs *regs, __u64 va,
		 void *buf, size_t len, struct libvmem_read *read,
		 struct libvmem_error *error);

/* The same by guest-physical address. */
int libvmem_read_phys(struct libvmem *vm, __u64 gpa, void *buf, size_t len,
		      struct libvmem_read *read, struct libvmem_error *error);

/* Many spaces at once */

/**
 * struct libvmem_scope - the part of each space to look at
 * @va: first virtual address
 * @last_va: last virtual address, inclusive
 * @excluded: ranges to leave out, by rising address, none touching another
 * @nr_excluded: how many they are, up to VMEM_MAX_EXCLUDED
 */
struct libvmem_scope {
	__u64 va;
	__u64 last_va;
	const struct vmem_span *excluded;
	unsigned int nr_excluded;
};

/*
 * Walk spaces, once for each guest that was opened: @row gets the records of
 * VMEM_WALK_SPACES in their order. @row may be NULL, if only owners are asked
 * for.
 */
int libvmem_walk_spaces(struct libvmem *vm, const struct libvmem_roots *roots,
			const struct libvmem_scope *scope,
			int (*row)(const struct vmem_record *record,
				   void *priv),
			void *priv, struct vmem_spaces_stats *stats,
			struct libvmem_error *error);

/*
 * As libvmem_translate(), in the space with @index of those walked, and with
 * the owners of tables.
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
 * @roots: the spaces, none twice
 * @scope: the part of each, made of whole pages
 * @base: guest-physical address of its memory, a multiple of 4096 below 2^52
 * @flags: LIBVMEM_SNAPSHOT_*
 * @qmp: to take the vCPUs' registers from, and to check that the guest stands
 *	still, or NULL
 * @progress: optional: called now and then with what is done and what is to
 *	do, in bytes, or with tables read and 0 while the tables are rebuilt.
 *	Returns 0, or a positive value to end it.
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
 * struct libvmem_snapshot - what a snapshot is made of
 * @tables_read: tables of the guest that were read
 * @tables: tables in the snapshot
 * @leaves: pages mapped, of their own sizes, each mapping counted
 * @links: entries that name a table which another entry names as well
 * @empty_links: references to tables in which nothing is mapped; left out
 * @dropped: entries that lead nowhere; left out
 * @unreadable: pages that are mapped and cannot be read; left out
 * @file_size: bytes of the file
 * @guest_size: bytes of the guest's memory
 * @extents: its memory, by rising address; the first begins with the root
 *	tables: the i-th at base + i * 4096
 * @nr_extents: how many pieces it is in
 */
struct libvmem_snapshot {
	__u64 tables_read;
	__u64 tables;
	__u64 leaves;
	__u64 links;
	__u64 empty_links;
	__u64 dropped;
	__u64 unreadable;
	__u64 file_size;
	__u64 guest_size;
	struct libvmem_extent extents[LIBVMEM_MAX_EXTENTS];
	unsigned int nr_extents;
};

/*
 * Write a snapshot of a guest that stands still, or of an image, to @fd, a
 * regular file that is empty and open for reading and writing. After a failure,
 * or if @progress ended it, what the file holds is of no use.
 */
int libvmem_snapshot(struct libvmem *vm,
		     const struct libvmem_snapshot_args *args, int fd,
		     struct libvmem_snapshot *made,
		     struct libvmem_error *error);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
