/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * vmemctl - ask libvmem about the page tables of a guest, and print its answers
 *
 * A process is one question. The first error ends it where it is found:
 * die(), usage() and fail() print one line and do not return.
 */
#ifndef VMEMCTL_H
#define VMEMCTL_H

#include <libvmem.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdnoreturn.h>
#include <sys/types.h>

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

/* How long a vCPU that runs is waited for */
#define PATIENCE_US 1000000

/* Exit status. 0: all answered. */
#define EXIT_FAILED 1
#define EXIT_USAGE 2

/* Of a line of a batch: no more can be asked. */
#define EXIT_CUT 3

/* Regions on a command line */
#define MAX_REGIONS 256

/**
 * struct opts - the command line
 * @pid: process that holds the VM, 0 if not given
 * @vm_fd: its descriptor of the VM, -1 if not given
 * @image: path of the image, or NULL
 * @regions: where guest memory is in the image
 * @nr_regions: elements of @regions; 0 if the image says it
 * @hole: where a PC's hole begins; 0 if not given
 * @qmp: path of QEMU's socket, or NULL
 * @source: where registers come from; its connection is guest_open()'s
 * @cr3s: those of @source
 * @has_cr3s: --cr3 was given, for a line of a batch in that line
 * @scope: the excluded ranges; its addresses are set by the command
 * @excluded: those of @scope
 * @pat: --pat
 * @has_pat: --pat was given
 * @attributes: maps: show attributes
 * @kinds: access: set of 1 << LIBVMEM_ACCESS_*; none for all
 * @users: access: set of 1 << true and 1 << false: by user mode or not; none for both
 * @access: access: what accesses are judged by
 * @have_access: set of LIBVMEM_RFLAGS, ...: what of it was given
 * @output: file to write, or NULL
 * @base: guest-physical address where a snapshot's memory begins
 * @has_base: --base was given
 * @strict: snapshot: fail if a page cannot be read
 * @by_va: snapshot: by virtual address
 * @all: all spaces that are found in the guest
 * @fetch: roots, all: look at memory too that is swapped out or in a file
 * @watch: vcpus: sample for so many seconds; 0 for now
 * @json: print JSON
 * @r: -r: as @raw or, for access, one of @kinds
 * @raw: read: print the bytes as they are
 * @phys: read: the address is guest-physical
 * @given: bit N: the command line, or the line of a batch, has option N
 * @help: print help and do nothing else
 * @version: print the version and do nothing else
 * @batch: a batch is open, in @vm
 * @vm: its guest
 * @args: the command and its arguments
 * @nr_args: length of @args
 */
struct opts {
	pid_t pid;
	int vm_fd;
	const char *image;
	struct libvmem_region regions[MAX_REGIONS + 1];
	unsigned int nr_regions;
	__u64 hole;
	const char *qmp;
	struct libvmem_source source;
	__u64 cr3s[VMEM_MAX_ROOTS];
	bool has_cr3s;
	struct libvmem_scope scope;
	struct vmem_span excluded[VMEM_MAX_EXCLUDED];
	__u64 pat;
	bool has_pat;
	bool attributes;
	unsigned int kinds;
	unsigned int users;
	struct libvmem_access access;
	unsigned int have_access;
	const char *output;
	__u64 base;
	bool has_base;
	bool strict;
	bool by_va;
	bool all;
	bool fetch;
	unsigned int watch;
	bool json;
	bool r;
	bool raw;
	bool phys;
	__u64 given;
	bool help;
	bool version;
	bool batch;
	struct libvmem *vm;
	char **args;
	int nr_args;
};

/* What a command takes: sets of options, and those that are not here always */
enum {
	TAKES_QMP = 1 << 0,
	TAKES_ROOT = 1 << 1, /* --cr3, and all that says how tables are read */
	TAKES_PAT = 1 << 2,
	TAKES_ALL = 1 << 3, /* and with it --fetch */
	TAKES_FETCH = 1 << 4, /* without --all, too */
	TAKES_EXCLUDE = 1 << 5,
	TAKES_JSON = 1 << 6,
	TAKES_ATTRIBUTES = 1 << 7,
	TAKES_BYTES = 1 << 8, /* -r, --raw, --phys */
	TAKES_ACCESS = 1 << 9, /* -r, -w, -x, --user, ..., --pkrs */
	TAKES_OUTPUT = 1 << 10,
	TAKES_SNAPSHOT = 1 << 11, /* --base, --strict, --virtual */
	TAKES_WATCH = 1 << 12,

	TAKES_SPACE = TAKES_QMP | TAKES_ROOT | TAKES_JSON,
	TAKES_SPACES = TAKES_SPACE | TAKES_ALL,
};

/**
 * struct command - one command
 * @name: its name
 * @args: its arguments, as the help shows them
 * @summary: its line in the list of commands
 * @help: its own help
 * @one_root: it takes no more than one --cr3
 * @takes: set of TAKES_*
 * @alone: it is not for a line of a batch
 * @run: runs it, with the arguments behind the name
 */
struct command {
	const char *name;
	const char *args;
	const char *summary;
	const char *help;
	bool one_root;
	unsigned int takes;
	bool alone;
	void (*run)(struct opts *opts, int nr_args, char **args);
};

extern const struct command info_command;
extern const struct command vcpus_command;
extern const struct command roots_command;
extern const struct command who_command;
extern const struct command debugfs_command;
extern const struct command vtop_command;
extern const struct command access_command;
extern const struct command maps_command;
extern const struct command spaces_command;
extern const struct command aliases_command;
extern const struct command read_command;
extern const struct command snapshot_command;
extern const struct command graph_command;
extern const struct command mount_command;
extern const struct command batch_command;

/* main.c: answer a command line; returns the exit status. */
int command_line(int argc, char **argv, struct opts *opts);

/* error.c */

/* The question failed: say why and what to do, exit with EXIT_FAILED. */
noreturn __printf(1, 2) void die(const char *fmt, ...);

/* The command line is wrong: exit with EXIT_USAGE. */
noreturn __printf(1, 2) void usage(const char *fmt, ...);

__printf(1, 2) void warn(const char *fmt, ...);

/* Messages name this line of a batch from now on. */
void report_line(unsigned long line);

/* die() with an error of the library. */
noreturn void fail(const struct libvmem_error *error);

/*
 * Check what a function of the library returned: fail() if it is an error. A
 * positive value is out_ended()'s, by way of a callback.
 */
void check(int ret, const struct libvmem_error *error);

/* parse.c: each of these is a usage error if @s is anything but a number. */

/* An address or a register: hexadecimal, with 0x or without. */
__u64 parse_hex(const char *what, const char *s);
__u32 parse_hex32(const char *what, const char *s);

/* A count: decimal, or hexadecimal with 0x; from @min to @max. */
__u64 parse_count(const char *what, const char *s, __u64 min, __u64 max);

/*
 * The range that a command takes as its arguments: two addresses, or none for
 * a whole space.
 */
void parse_range(const char *command, int nr_args, char **args,
		 struct libvmem_scope *scope);

/* A usage error unless a range is made of whole pages. */
void check_whole_pages(const char *what, __u64 va, __u64 last_va);

/* "amd" or "intel": the vendor's rules. */
void parse_vendor(struct libvmem_regs *given, const char *s);

/* The bit of memory encryption, set in entries of pages that are encrypted or shared. */
void parse_encryption(struct libvmem_regs *given, const char *option,
		      const char *s, bool shared);

/* A convention for copy-on-write, "MASK:VALUE". */
void parse_cow(struct vmem_regs *regs, char *s);

/* A range to exclude, "VA-LAST_VA", into its place among the others. */
void parse_excluded(struct opts *opts, char *s);

/* Where memory is in an image, "GPA:LEN:OFFSET[:FILE]", or where a PC's hole begins. */
void parse_region(struct opts *opts, char *s);
void parse_hole(struct opts *opts, const char *s);

/**
 * struct addresses - those that a command is asked about
 * @all: the addresses, for free()
 * @nr: how many; more than 0
 */
struct addresses {
	__u64 *all;
	int nr;
};

/*
 * The addresses among a command's arguments; for "-", those on standard input, with
 * white space between them. @what: "VA" or "GPA".
 */
struct addresses parse_addresses(const char *command, const char *what,
				 int nr_args, char **args);

/* confine.c */

/**
 * enum confined - what is left allowed
 * @CONFINED: to query the device and to print
 * @CONFINED_WRITER: to create a file as well
 * @CONFINED_SERVER: to begin threads as well
 */
enum confined {
	CONFINED,
	CONFINED_WRITER,
	CONFINED_SERVER,
};

/*
 * Drop capabilities, and system calls. Warns if the kernel refuses seccomp. Threads that
 * are there already keep theirs.
 */
void confine(enum confined confined);

/* guest.c: what every command asks the library first, or fail(). */

/* @nr handles of it, for as many threads; without confine() */
void guest_attach(struct opts *opts, struct libvmem **vms, unsigned int nr);

/* And connects to its QEMU, if that is to be asked. */
struct libvmem *guest_open(struct opts *opts);
void guest_close(struct libvmem *vm, struct opts *opts);
void guest_regs(struct libvmem *vm, const struct opts *opts,
		struct vmem_regs *regs);

/* All roots that are in the guest, with progress; its roots are for free(). */
void guest_search(struct libvmem *vm, const struct opts *opts,
		  struct libvmem_search *search);

/* The spaces of the command line or, with @all, of all vCPUs or a snapshot. */
void guest_roots(struct libvmem *vm, const struct opts *opts, bool all,
		 struct libvmem_roots *roots);

/* attributes.c */

/**
 * struct pat - the PAT register, which memory types follow
 * @value: its value
 * @source: "option", "vcpu", or "reset" where it is not known
 */
struct pat {
	__u64 value;
	const char *source;
};

struct pat guest_pat(struct libvmem *vm, const struct opts *opts);

/* Columns of a mapping's attributes */
void print_attributes(const struct vmem_regs *regs, const struct pat *pat,
		      __u32 attributes);

/* The attributes of a page, in words */
void print_page_attributes(const struct vmem_regs *regs, const struct pat *pat,
			   __u32 attributes);

/* Names of what is set in an entry, in parentheses; nothing if it is not present */
void print_entry(const struct vmem_regs *regs, enum vmem_level level,
		 __u64 raw);

void json_put_pat(const struct pat *pat);
void json_put_attributes(const struct vmem_regs *regs, const struct pat *pat,
			 __u32 attributes);

/* An entry of a table at @level, as JSON; @key is NULL in a list. */
void json_put_entry(const char *key, const struct vmem_regs *regs,
		    enum vmem_level level, const struct vmem_trace *entry);

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
 * struct walked - the records of a walk over spaces
 * @roots: the spaces
 * @records: the records, in the order of VMEM_WALK_SPACES
 * @nr: length of @records
 * @room: records that @records has room for
 * @spaces: for each root, where its records are
 * @before: for each record, and the end, the leaves that all records before it
 *	expand to, saturated
 * @stats: counts of the walk
 */
struct walked {
	const struct libvmem_roots *roots;
	struct vmem_record *records;
	size_t nr;
	size_t room;
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

/*
 * Collect the records of a walk. @grown, unless NULL, is called after each new record:
 * @records and @nr are valid, @spaces and @before are not yet. A value other than 0
 * ends the walk. Returns 0, that value, or a negative code.
 */
int walk_spaces(struct libvmem *vm, const struct libvmem_roots *roots,
		const struct libvmem_scope *scope,
		int (*grown)(const struct walked *walked, void *priv),
		void *priv, struct walked *walked, struct libvmem_error *error);
void walked_free(struct walked *walked);

/* Index of the first of a space's records @first to @end that is not below @va. */
size_t walked_find(const struct walked *walked, size_t first, size_t end,
		   __u64 va);

/* Leaves that a table's region in its owner's space expands to, saturated. */
__u64 walked_leaves(const struct walked *walked, __u32 root, __u64 va,
		    __u64 len);

/* Leaves that a walk of each root by itself would find, saturated. */
__u64 walked_expands_to(const struct walked *walked);

/* The run that begins at the first of @nr records; returns its @nr. */
size_t run_find(const struct vmem_record *records, size_t nr, struct run *run);

/* The reference has rights that the owner's path lacks. */
bool is_wider(const struct vmem_reference *reference);

/* rows.c */

/* Hexadecimal digits of an address, and of an entry, for columns. */
int va_digits(const struct vmem_regs *regs);
int gpa_digits(const struct vmem_regs *regs);
int raw_digits(const struct vmem_regs *regs);

void print_region(const struct vmem_regs *regs, __u64 va, __u64 last_va);
void print_perms(__u32 perms);
void print_page_size(__u64 size);

/* With @pat, its attributes as well. */
void print_mapping(const struct vmem_regs *regs, const struct vmem_mapping *m,
		   const struct pat *pat);

/* The heading of a space, without the end of the line. */
void print_space(const struct vmem_regs *regs, __u32 index, __u64 space);

/* Explain the mark behind a reference's rights. */
void print_wider_note(void);
void print_stats(const struct walked *walked);

/*
 * Begin a space in the list of spaces, without its end; and the whole list, where
 * commands do not answer for each space.
 */
void json_open_space(unsigned int space, __u64 root);
void json_put_spaces(const struct libvmem_roots *roots);

void json_put_perms(__u32 perms);

/* Size and rights of the page that an address is in, or nulls */
void json_put_page(const struct vmem_translation *t);

/* With @pat, its attributes as well. */
void json_put_mapping(const struct vmem_regs *regs,
		      const struct vmem_mapping *m, const struct pat *pat);

/* @key is NULL in a list. */
void json_put_reference(const char *key,
			const struct vmem_reference *reference);

/* The owner of a shared table, or nulls: space, root, and address there. */
void json_put_owner(bool has, __u32 space, __u64 root, __u64 va);
void json_put_stats(const struct walked *walked);

/* print.c: stdout is written through these, so that no write error is lost. */

__printf(1, 2) void out(const char *fmt, ...);
void out_bytes(const void *bytes, size_t len);

/* For the rows that there are many of: vfprintf() takes most of their time. */
void out_char(char c);
void out_text(const char *text);
void out_hex(__u64 value, int digits); /* with zeros in front */

/* This thread's out() goes to @file, or to stdout again for NULL. */
void out_to(FILE *file);

/* Why stdout cannot be written any more, or 0: the return value of a callback. */
int out_ended(void);

/* Flush stdout; die() if that failed, or a write before it. */
void out_flush(void);

/*
 * Show progress on a terminal: a line on stderr, which the next one or any
 * message replaces.
 */
__printf(1, 2) void progress(const char *fmt, ...);
void progress_end(void);

/* The word for as many */
static inline const char *plural(__u64 nr, const char *one, const char *more)
{
	return nr == 1 ? one : more;
}

/* Longest text of size_text(), with its end. */
#define SIZE_TEXT_MAX 16

/* "2 MiB" */
const char *size_text(__u64 size, char *buf);

/* Names in output; level_name() is NULL for VMEM_LEVEL_NONE. */
const char *status_name(__u32 status);
const char *level_name(__u32 level);
const char *table_name(__u32 table);

/*
 * json.c: an answer as JSON. Each value is written when it is put, into the list or
 * object that is open; the key of an element of a list is NULL. die() closes all that
 * is open, and says in the answer why. Until the first row nothing is written, so that
 * an error before it leaves stdout empty.
 */
void json_begin(const char *command);
void json_end(void);

void json_open_object(const char *key);
void json_open_list(const char *key);

/* An object that says its type, as all in lists do. */
void json_open_row(const char *key, const char *type);

/* A string of bytes in hexadecimal, for json_put_bytes(). */
void json_open_bytes(const char *key);
void json_put_bytes(const unsigned char *bytes, size_t len);

/* Close the list, object or string that was opened last. */
void json_close(void);

void json_put_null(const char *key);
void json_put_bool(const char *key, bool value);
void json_put_hex(const char *key, __u64 value);
void json_put_count(const char *key,
		    __u64 nr); /* at most JSON's readers' limit */
void json_put_name(const char *key, const char *name); /* null for NULL */
void json_put_text(const char *key, const char *text); /* null if no UTF-8 */

/* null unless @has */
void json_put_hex_if(const char *key, bool has, __u64 value);
void json_put_count_if(const char *key, bool has, __u64 nr);
void json_put_bool_if(const char *key, bool has, bool value);

/* An error without an answer is an answer as well: that of a line of a batch. */
void json_expect(void);

/*
 * If an answer has begun, or is expected, end it with an error. @advice may be NULL.
 */
void json_fail(const char *message, const char *advice);

#endif
