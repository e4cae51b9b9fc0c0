/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Notes of an ELF core that QEMU does not write
 */
#ifndef NOTE_H
#define NOTE_H

#include <linux/vmem.h>

/*
 * The note of a snapshot: its name and type. There are debuggers that go by the
 * type alone, and would take 1 for a thread's registers if the size fits.
 */
#define VMEM_NOTE_NAME "VMEM"
#define VMEM_NOTE_TYPE 0x564d454d
#define VMEM_NOTE_VERSION 1

/* The kernel's note of itself, for whoever reads its memory. */
#define VMCOREINFO_NAME "VMCOREINFO"
#define VMCOREINFO_TYPE 0

/**
 * struct vmem_note_space - a space of a snapshot
 * @space: what it was known by in the guest: the address of its root there
 * @root: guest-physical address of its root table in the snapshot
 */
struct vmem_note_space {
	__aligned_u64 space;
	__aligned_u64 root;
};

/**
 * struct vmem_note - the note of a snapshot
 * @version: VMEM_NOTE_VERSION
 * @size: bytes in front of @spaces. It says how long @regs is, which grows at
 *	the end as it does in the interface: what is missing is zero, and what a
 *	reader does not know has to be.
 * @regs: registers of the spaces, with CR3 of the first
 * @nr_spaces: how many they are, 1 to VMEM_MAX_ROOTS
 * @__reserved: 0
 * @spaces: the spaces, in order of primacy
 */
struct vmem_note {
	__u32 version;
	__u32 size;
	struct vmem_regs regs;
	__u32 nr_spaces;
	__u32 __reserved;
	struct vmem_note_space spaces[];
};

#endif
