/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * vmemctl - ask about the page tables of a guest: /dev/vmem about one that runs,
 * the core of its module about one whose memory is in a file
 *
 * A run of the tool is one question. The first error ends it, in the place
 * where it is found: die(), usage() and fail() print one line and do not
 * return, so no caller hands errors on.
 */
#ifndef VMEMCTL_H
#define VMEMCTL_H

#include <jansson.h>
#include <linux/const.h>
#include <linux/vmem.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdnoreturn.h>
#include <sys/types.h>

#define VMEMCTL_VERSION "0.1.0"

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

/* Exit status. 0: all answered. */
#define EXIT_FAILED 1
#define EXIT_USAGE 2

/* Members of struct vmem_regs, as a set. */
#define REG_CR0 _BITUL(0)
#define REG_CR3 _BITUL(1)
#define REG_CR4 _BITUL(2)
#define REG_EFER _BITUL(3)
#define REG_MAXPHYADDR _BITUL(4)
#define REG_ALL (REG_CR0 | REG_CR3 | REG_CR4 | REG_EFER | REG_MAXPHYADDR)

/**
 * struct known_regs - registers as far as they are known
 * @regs: the values
 * @have: REG_*: which of @regs are set
 */
struct known_regs {
	struct vmem_regs regs;
	unsigned int have;
};

/**
 * struct roots - the address spaces that are asked about, in order of primacy
 * @regs: the registers that they have in common, and CR3 of the first
 * @cr3s: CR3 of each
 * @nr: how many they are, at least 1
 */
struct roots {
	struct vmem_regs regs;
	__u64 cr3s[VMEM_MAX_ROOTS];
	unsigned int nr;
};

/**
 * struct scope - the part of each space to look at
 * @va: first virtual address
 * @last_va: last virtual address, inclusive
 * @excluded: ranges to leave out, by rising address, none touching another
 * @nr_excluded: how many they are
 */
struct scope {
	__u64 va;
	__u64 last_va;
	struct vmem_span excluded[VMEM_MAX_EXCLUDED];
	unsigned int nr_excluded;
};

/**
 * struct opts - the command line
 * @pid: process that holds the VM, 0 if not given
 * @vm_fd: its descriptor of the VM, -1 if not given
 * @image: path of the image, or NULL
 * @root: registers given one by one; of several CR3, the first
 * @cr3s: all of them
 * @nr_cr3s: how many they are
 * @arch: registers that --arch stands for, or NULL
 * @qmp: path of QEMU's QMP socket, or NULL
 * @vcpu: index of the vCPU to take registers from
 * @scope: what is excluded; the range is the command's
 * @output: file to write, or NULL
 * @base: where a snapshot's memory is to begin
 * @has_base: it was given
 * @json: print JSON
 * @raw: read: print the bytes as they are
 * @help: print help and do nothing else
 * @version: print the version and do nothing else
 * @args: the command and its arguments
 * @nr_args: how many there are
 */
struct opts {
	pid_t pid;
	int vm_fd;
	const char *image;
	struct known_regs root;
	__u64 cr3s[VMEM_MAX_ROOTS];
	unsigned int nr_cr3s;
	const struct known_regs *arch;
	const char *qmp;
	unsigned int vcpu;
	struct scope scope;
	const char *output;
	__u64 base;
	bool has_base;
	bool json;
	bool raw;
	bool help;
	bool version;
	char **args;
	int nr_args;
};

/**
 * struct command - one command
 * @name: what it is called by
 * @args: its arguments, as the help shows them
 * @summary: its line in the list of commands
 * @help: its own help
 * @needs_root: it asks about an address space, so CR3 has to be known
 * @many_roots: it can ask about several
 * @can_raw: it knows --raw
 * @can_exclude: it knows --exclude
 * @can_write: it writes a file, and knows --output and --base
 * @run: does it; gets the arguments behind the name
 */
struct command {
	const char *name;
	const char *args;
	const char *summary;
	const char *help;
	bool needs_root;
	bool many_roots;
	bool can_raw;
	bool can_exclude;
	bool can_write;
	void (*run)(const struct opts *opts, int nr_args, char **args);
};

extern const struct command info_command;
extern const struct command vtop_command;
extern const struct command maps_command;
extern const struct command spaces_command;
extern const struct command aliases_command;
extern const struct command read_command;
extern const struct command snapshot_command;

/* error.c */

/**
 * enum step - what was being done when an errno came back
 * @STEP_ANY: matches all of them
 * @STEP_PIDFD: pidfd_open(2)
 * @STEP_SCAN: reading /proc/PID/fd
 * @STEP_GETFD: pidfd_getfd(2)
 * @STEP_OPEN: opening /dev/vmem
 * @STEP_IMAGE: opening an image
 * @STEP_ATTACH: VMEM_ATTACH_KVM
 * @STEP_INFO: VMEM_INFO
 * @STEP_MEMSLOTS: VMEM_MEMSLOTS
 * @STEP_VCPU: VMEM_VCPU
 * @STEP_TRANSLATE: VMEM_TRANSLATE
 * @STEP_MAP_RANGE: VMEM_MAP_RANGE
 * @STEP_READ: VMEM_READ
 * @STEP_SET_SPACES: VMEM_SET_SPACES
 * @STEP_WALK_SPACES: VMEM_WALK_SPACES
 * @STEP_SNAPSHOT: VMEM_SNAPSHOT
 * @STEP_SNAPSHOT_READ: VMEM_SNAPSHOT_READ
 * @STEP_FILE: writing a file
 * @STEP_QMP_CONNECT: connecting to a QMP socket
 * @STEP_QMP_TALK: sending to it or receiving from it
 */
enum step {
	STEP_ANY,
	STEP_PIDFD,
	STEP_SCAN,
	STEP_GETFD,
	STEP_OPEN,
	STEP_IMAGE,
	STEP_ATTACH,
	STEP_INFO,
	STEP_MEMSLOTS,
	STEP_VCPU,
	STEP_TRANSLATE,
	STEP_MAP_RANGE,
	STEP_READ,
	STEP_SET_SPACES,
	STEP_WALK_SPACES,
	STEP_SNAPSHOT,
	STEP_SNAPSHOT_READ,
	STEP_FILE,
	STEP_QMP_CONNECT,
	STEP_QMP_TALK,
};

/* Part of a message: what to do with a guest that runs. */
#define STOP_FIRST "stop it first (QMP: {\"execute\":\"stop\"})"

/* The question failed: say why and what to do, exit with EXIT_FAILED. */
noreturn __printf(1, 2) void die(const char *fmt, ...);

/* The command line is wrong: exit with EXIT_USAGE. */
noreturn __printf(1, 2) void usage(const char *fmt, ...);

__printf(1, 2) void warn(const char *fmt, ...);

/**
 * fail - die() with the reason that errno stands for in a step
 * @step: what was being done
 * @regs: the registers that were passed, or NULL; some reasons follow from them
 * @fmt: "cannot do what, where"; the reason and what to do are appended
 */
noreturn __printf(3, 4) void fail(enum step step, const struct vmem_regs *regs,
				  const char *fmt, ...);

/* parse.c: each of these is a usage error if @s is anything but a number. */

/* An address or a register: hexadecimal, with 0x or without. */
__u64 parse_hex(const char *what, const char *s);

/* A count: decimal, or hexadecimal with 0x; from @min to @max. */
__u64 parse_count(const char *what, const char *s, __u64 min, __u64 max);

/*
 * The range that @command takes as its arguments: two addresses, or none for
 * all there is.
 */
void parse_range(const char *command, int nr_args, char **args, __u64 *va,
		 __u64 *last_va);

/* A range has to be made of whole pages: a usage error if it is not. */
void check_whole_pages(const char *what, __u64 va, __u64 last_va);

/* A convention for copy-on-write, "MASK:VALUE". */
void parse_cow(struct vmem_regs *regs, char *s);

/* A range to exclude, "VA-LAST_VA", into its place among the others. */
void parse_excluded(struct scope *scope, char *s);

/* target.c */

struct image;
struct offline;

/**
 * struct target - the guest that is asked about
 * @dev: a session of /dev/vmem that is attached to it; -1 if it is an image
 * @image: the image; NULL if the guest runs
 * @offline: what answers for the image
 */
struct target {
	int dev;
	struct image *image;
	struct offline *offline;
};

/* The guest that @opts names, ready to be asked. */
struct target *target_open(const struct opts *opts);
void target_close(struct target *target);

/* ioctl(2) on the device, or what stands for it: 0, or -1 and errno. */
int target_ask(struct target *target, unsigned int cmd, void *args);

/* registers.c */

/* How a guest pages. */
enum paging {
	PAGING_OFF,
	PAGING_2LEVEL,
	PAGING_2LEVEL_PSE,
	PAGING_PAE,
	PAGING_4LEVEL,
	PAGING_5LEVEL,
};

enum paging regs_paging(const struct vmem_regs *regs);
const char *paging_name(enum paging paging);
const char *paging_text(enum paging paging);

/* The table that CR3 points at: how deep it is, and where. */
enum vmem_level regs_top_level(const struct vmem_regs *regs);
__u64 regs_root(const struct vmem_regs *regs);

/* Hexadecimal digits of an address, for columns. */
int regs_va_digits(const struct vmem_regs *regs);
int regs_gpa_digits(const struct vmem_regs *regs);

/* What --arch @name stands for; NULL if there is no such. */
const struct known_regs *regs_of_arch(const char *name);

/* A usage error unless it is known where CR3 is to come from. */
void regs_check(const struct opts *opts);

/* The registers of the address space that @opts names. */
void regs_resolve(const struct opts *opts, struct target *target,
		  struct vmem_regs *regs);

/* The address spaces that @opts names: without --cr3, that of one vCPU. */
void roots_resolve(const struct opts *opts, struct target *target,
		   struct roots *roots);

/* The same, but without --cr3, those of all vCPUs, or of a snapshot. */
void roots_resolve_all(const struct opts *opts, struct target *target,
		       struct roots *roots);

/* What a space is known by: the address of its root table. */
__u64 roots_space(const struct roots *roots, unsigned int index);

/* Registers with CR3 of one of the spaces. */
struct vmem_regs roots_regs(const struct roots *roots, unsigned int index);

/* How many vCPUs the guest has; more than there can be roots do not count. */
unsigned int regs_nr_vcpus(struct target *target);

/* Registers of the vCPU with @index from KVM, all but CR3; or from an image. */
void regs_of_vcpu(struct target *target, unsigned int index,
		  struct vmem_vcpu_args *vcpu);

/* qmp.c */

struct qmp;
struct core_cpu;

struct qmp *qmp_open(const char *path);
void qmp_regs(struct qmp *qmp, unsigned int vcpu, struct known_regs *out);
void qmp_cpu(struct qmp *qmp, unsigned int vcpu, struct core_cpu *cpu);

/* die() if the guest runs, or has run since qmp_open(). */
void qmp_check_stopped(struct qmp *qmp);
void qmp_close(struct qmp *qmp);

/* walk.c */

/**
 * struct walked_space - where one space's records are
 * @first: index of its VMEM_SPACE
 * @end: index behind its last one
 */
struct walked_space {
	size_t first;
	size_t end;
};

/**
 * struct walked - all that a walk over spaces told
 * @roots: the spaces
 * @records: what it told, in the order of VMEM_WALK_SPACES
 * @nr: how many records
 * @spaces: for each root, where its records are
 * @before: for each record, and the end, the leaves that all records before it
 *	expand to, saturated
 * @stats: the module's counts
 */
struct walked {
	const struct roots *roots;
	struct vmem_record *records;
	size_t nr;
	struct walked_space *spaces;
	__u64 *before;
	struct vmem_spaces_stats stats;
};

/**
 * struct run - references that one row can show
 * @first: the first one; all agree with it in space, rights, owner and size
 * @nr: how many follow each other
 * @step: from one's address to the next one's; 0 if there is only one
 * @their_step: from one's address in the owner's space to the next one's: 0 if
 *	all refer to one table, else the size of what it maps
 */
struct run {
	const struct vmem_record *first;
	size_t nr;
	__u64 step;
	__u64 their_step;
};

/* The spaces that a session is about. It can be told once. */
void set_spaces(struct target *target, const struct roots *roots,
		const struct scope *scope);

/* Walk spaces to the end. A session can do this once. */
void walk_spaces(struct target *target, const struct roots *roots,
		 const struct scope *scope, struct walked *walked);
void walked_free(struct walked *walked);

/* The same for a session that only has to learn who owns what. */
void walk_owners(struct target *target, const struct roots *roots);

/* What a table's region in its owner's space expands to, saturated. */
__u64 walked_leaves(const struct walked *walked, __u32 root, __u64 va,
		    __u64 len);

/* The leaves that walks of each root alone would find, saturated. */
__u64 walked_expands_to(const struct walked *walked);

/* The run that begins at the first of @nr records; returns its @nr. */
size_t run_find(const struct vmem_record *records, size_t nr, struct run *run);

/* The reference has rights that the owner's path lacks. */
bool is_wider(const struct vmem_reference *reference);

/* rows.c */

void print_region(const struct vmem_regs *regs, __u64 va, __u64 last_va);
void print_perms(__u32 perms);
void print_mapping(const struct vmem_regs *regs, const struct vmem_mapping *m);

/* The heading of a space, without the end of the line. */
void print_space(const struct vmem_regs *regs, __u32 index, __u64 space);

/* What the mark behind a reference's rights means. */
void print_wider_note(void);
void print_stats(const struct walked *walked);

void json_set_perms(json_t *o, __u32 perms);
json_t *json_mapping(const struct vmem_mapping *m);
json_t *json_stats(const struct walked *walked);

/* print.c: stdout is written through these, so that no write error is lost. */

__printf(1, 2) void out(const char *fmt, ...);
void out_bytes(const void *bytes, size_t len);

/* Hand over what was printed; die() if that, or any of it before, failed. */
void out_flush(void);

/*
 * How far it has come, on a terminal: a line on stderr that the next one takes
 * the place of, and that any message does.
 */
__printf(1, 2) void progress(const char *fmt, ...);
void progress_end(void);

/* Longest text of size_text(), with its end. */
#define SIZE_TEXT_MAX 16

/* "2 MiB" */
const char *size_text(__u64 size, char *buf);

/* Names in output; level_name() is NULL for VMEM_LEVEL_NONE. */
const char *status_name(__u32 status);
const char *level_name(__u32 level);
const char *table_name(__u32 table);

/*
 * jansson answers NULL when memory is short: a value is checked once, where it
 * is put, so that no answer goes out with a part of it missing.
 */
json_t *json_hex(__u64 value);
json_t *json_name(const char *name); /* null for NULL */
json_t *json_count(__u64 nr); /* no more than JSON's readers take */
void json_set(json_t *object, const char *key, json_t *value);
void json_add(json_t *array, json_t *value);
void json_print(json_t *value);

/*
 * For answers too long to be built as a whole: a value without the end of the
 * line, and one of a list, with a comma unless it is the first.
 */
void json_put(json_t *value);
void json_put_next(bool *begun, json_t *value);

#endif
