/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * commands.h - the commands of /dev/vmem as a table, and a guest to ask about
 *
 * A row says where a command's struct has what. The tests of what holds for
 * every command go through all rows, so a new command needs a row and no test
 * of its own for that.
 */
#ifndef VMEM_SELFTEST_COMMANDS_H
#define VMEM_SELFTEST_COMMANDS_H

#include "session.h"
#include "tables.h"

/* ---- A guest to ask about ---- */

#define RAM_GPA MB(1)
#define RAM_LEN MB(2)

/* Pages mapped at VA 0, every other one: so many rows of VMEM_MAP_RANGE. */
#define NR_MAPPED 16

struct guest {
	int kvm_fd;
	int vm_fd;
	int vcpu_fd;
	struct guest_ram ram;
	struct tables tables;
	struct vmem_regs regs;
	struct vmem_region region;
	int session;
};

void guest_init(struct guest *g);
void guest_free(struct guest *g);

/* Sessions that are attached to its VM, and to its memory as a region table. */
int open_on_kvm(const struct guest *g);
int open_on_regions(const struct guest *g);

/* Sets its one space on a session. */
void set_spaces(int session, const struct guest *g);

/* ---- The commands ---- */

/* More than a page, as a struct's tail may be. */
#define MAX_ARGS (2 * PAGE)

/* Elements of the arrays that a call gets. */
#define NR_ELEMENTS 10

/* More addresses than a call of VMEM_TRANSLATE takes at once. */
#define NR_MANY 200

/* Room for elements when they are grown. */
#define MAX_ELEMENT 256

/* Bytes that the commands which read are asked for. */
#define READ_LEN (NR_ELEMENTS * MAX_ELEMENT)

/**
 * struct call - one call, right in every respect until a test changes it
 * @args: the struct of the command, and zeroes behind it
 * @array: what the kernel writes, or the regions it reads
 * @vas: the addresses of VMEM_TRANSLATE
 * @cr3: the root of VMEM_SET_SPACES
 * @excluded: what it leaves out
 * @session: who is asked
 */
struct call {
	union {
		__u32 size;
		__u8 bytes[MAX_ARGS];
		struct vmem_info_args info;
		struct vmem_attach_kvm_args attach_kvm;
		struct vmem_attach_regions_args attach_regions;
		struct vmem_memslots_args memslots;
		struct vmem_vcpu_args vcpu;
		struct vmem_translate_args translate;
		struct vmem_map_range_args map_range;
		struct vmem_read_args read;
		struct vmem_set_spaces_args set_spaces;
		struct vmem_walk_spaces_args walk_spaces;
		struct vmem_read_phys_args read_phys;
	} args;
	__u8 array[NR_MANY * sizeof(struct vmem_translation)];
	__u64 vas[NR_MANY];
	__u64 cr3;
	struct vmem_span excluded;
	int session;
};

/* Where a command's struct does not have it: every struct begins with @size. */
#define NONE 0

/**
 * struct part - some members of a struct, one behind the other
 * @at: offset of the first one; NONE if there is none
 * @end: where the last one ends
 */
struct part {
	int at;
	int end;
};

/**
 * struct buffer - a buffer that the struct points to
 * @at: offset of the pointer; NONE if there is no more
 * @len: bytes of it that the kernel uses
 * @written: the kernel writes it, and does not read it
 */
struct buffer {
	int at;
	__u32 len;
	bool written;
};

#define MAX_PARTS 3

/**
 * struct command - one row for each command
 * @name: its name
 * @cmd: its number
 * @size: size of its struct
 * @min_size: size of the struct's first version, if that is less
 * @attaches: it is for a session that is not attached
 * @prepare: what comes before it in an attached session; NULL for nothing
 * @fill: writes what the caller gives, all but @size, on a struct that is
 *	poisoned but for its flags
 * @flags: the flags that it knows
 * @outs: the members that the kernel writes
 * @buffers: what the struct points to
 * @reserved: offset of a field with bits that must be 0
 * @known: the other bits of it
 * @regs: offset of the struct vmem_regs
 * @nr: offset of the number of elements
 * @element: offset of the size of one element
 * @element_size: what that is
 * @element_min: the least that it may be, if that is less
 * @array: offset of the pointer to the array or buffer
 * @out_nr: offset of the number of elements, or bytes, that were done
 */
struct command {
	const char *name;
	unsigned long cmd;
	__u32 size;
	__u32 min_size;
	bool attaches;
	void (*prepare)(int session, const struct guest *g);
	void (*fill)(struct call *call, const struct guest *g);
	__u32 flags;
	struct part outs[MAX_PARTS];
	struct buffer buffers[MAX_PARTS];
	int reserved;
	__u32 known;
	int regs;
	int nr;
	int element;
	__u32 element_size;
	__u32 element_min;
	int array;
	int out_nr;
};

/* The commands by their numbers, and behind them other ways to give them. */
extern const struct command commands[];
extern const struct command *const commands_end;
extern const struct command *const ways_end;

const struct command *command(unsigned long cmd);

/* Whether what it does is bytes, of which it has 64-bit counts. */
bool is_read(const struct command *c);

/* The count of what was done. */
__u64 out_nr(const struct command *c, const struct call *call);

__u32 *u32_at(struct call *call, int offset);
__u64 *u64_at(struct call *call, int offset);

/* Writes a call that works; all that the kernel is to write is @poison. */
void call_poison(struct call *call, const struct command *c,
		 const struct guest *g, __u8 poison);
void call_fill(struct call *call, const struct command *c,
	       const struct guest *g);

/* A session that @c works on. */
int open_for(const struct command *c, const struct guest *g);

/* A call of @c that works, on a session of its own; and making it. */
void call_init(struct call *call, const struct command *c,
	       const struct guest *g);
int call_make(struct call *call, const struct command *c);
int call_end(struct call *call, const struct command *c);

/* The bytes of the call that are not what they were, but for @outs. */
__u32 bytes_changed(const struct command *c, const struct call *call,
		    const struct call *before);

/* All bytes of the struct, and of the array, are what they were. */
void check_untouched(const char *what, const struct call *call,
		     const struct call *before);

#endif /* VMEM_SELFTEST_COMMANDS_H */
