/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ELF cores as QEMU's dump-guest-memory writes them: what is in front of the
 * memory, and a vCPU's registers in there
 */
#ifndef LIBVMEM_CORE_FILE_H
#define LIBVMEM_CORE_FILE_H

#include <libvmem.h>

#include "error.h"

/* QEMU's note of a vCPU: its name, type and version. */
#define CORE_CPU_NAME "QEMU"
#define CORE_CPU_TYPE 0
#define CORE_CPU_VERSION 1

/**
 * struct core_segment - a segment register
 * @selector: the selector
 * @limit: the limit
 * @flags: the attributes, as bits 23:8 of a descriptor's second half
 * @pad: 0
 * @base: the base address
 */
struct core_segment {
	__u32 selector;
	__u32 limit;
	__u32 flags;
	__u32 pad;
	__u64 base;
};

/**
 * struct core_cpu - a vCPU's registers, as QEMU's note has them
 * @version: CORE_CPU_VERSION
 * @size: sizeof(struct core_cpu)
 *
 * A 32-bit guest has the lower halves of what is there, and no R8 to R15. CR1
 * is 0.
 */
struct core_cpu {
	__u32 version;
	__u32 size;
	__u64 rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp;
	__u64 r8, r9, r10, r11, r12, r13, r14, r15;
	__u64 rip, rflags;
	struct core_segment cs, ds, es, fs, gs, ss;
	struct core_segment ldt, tr, gdt, idt;
	__u64 cr[5];
	__u64 kernel_gs_base;
};

/**
 * struct core_load - a piece of memory by one address
 * @va: virtual address by which debuggers know it
 * @gpa: guest-physical address
 * @len: its size in bytes
 * @offset: where in the file, from the beginning of the memory on
 * @flags: PF_*
 */
struct core_load {
	__u64 va;
	__u64 gpa;
	__u64 len;
	__u64 offset;
	__u32 flags;
};

/**
 * struct core - what a core is to say
 * @long_mode: of an amd64 guest
 * @is_virtual: what counts of the memory is the virtual address
 * @cpus: the vCPUs
 * @nr_cpus: how many they are
 * @vmcoreinfo: what the guest's kernel says of itself
 * @vmcoreinfo_size: its size in bytes; 0 for no such note
 * @note: the contents of our own note
 * @note_size: its size in bytes; 0 for no such note
 * @loads: the memory
 * @nr_loads: elements of @loads, no more than CORE_MAX_LOADS
 * @memory_size: bytes of it in the file
 */
struct core {
	bool long_mode;
	bool is_virtual;
	const struct core_cpu *cpus;
	unsigned int nr_cpus;
	const void *vmcoreinfo;
	size_t vmcoreinfo_size;
	const void *note;
	size_t note_size;
	const struct core_load *loads;
	size_t nr_loads;
	__u64 memory_size;
};

/* Of 56 bytes each in the file */
#define CORE_MAX_LOADS 1048576u

/* The notes, and their size in bytes. @notes is filled with zeros before. */
size_t core_notes_size(const struct core *core);
void core_put_notes(const struct core *core, void *notes);

/* Where in the file the memory begins. */
__u64 core_memory_offset(const struct core *core);

/* Write all that is in front of the memory to @fd, which is empty. */
int core_write(const struct core *core, int fd, struct libvmem_error *error);

/* Write @len bytes at @offset of @fd. */
int write_at(int fd, const void *bytes, size_t len, __u64 offset,
	     struct libvmem_error *error);

/* What could not be written, and why: errno */
int error_write(struct libvmem_error *error);

#endif
