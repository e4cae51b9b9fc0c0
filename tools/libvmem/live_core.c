// SPDX-License-Identifier: GPL-2.0-only
/*
 * A guest as an ELF core that nobody has written: its bytes are made as they are read
 *
 * In front are the headers and notes, then the pieces of memory, each from a page of the
 * file on. A segment more names the kernel's own text and data by its addresses, in the
 * bytes of the piece that it is in.
 */
#include <elf.h>
#include <linux/kernel.h>
#include <linux/minmax.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "core_file.h"
#include "image.h"
#include "note.h"
#include "vmcoreinfo.h"

#define PAGE 4096ull

/* How long a vCPU that runs is waited for, and all of them: a reader waits as long. */
#define PATIENCE_US 100000u
#define PATIENCE_IN_ALL_US 1000000u

/* An address of memory that has none */
#define NO_VA (~0ull)

/* A code segment of 64 bits, as QEMU's note has it */
#define CODE_64 0xa09b00

/**
 * struct piece - guest memory that is in one piece in the core
 * @gpa: its guest-physical address
 * @len: its size in bytes
 * @va: its virtual address, or NO_VA
 * @offset: where it is in the core
 */
struct piece {
	u64 gpa;
	u64 len;
	u64 va;
	u64 offset;
};

struct libvmem_core {
	struct libvmem_core_layout layout;
	struct vmcoreinfo info;
	struct kernel_map map;
	bool long_mode;
	bool is_64;
	struct piece *pieces;
	size_t nr;
	struct piece text;
	unsigned int nr_cpus;
};

/* The layout */

static int add_piece(struct libvmem_core *core, u64 gpa, u64 len)
{
	struct piece *last = core->nr ? &core->pieces[core->nr - 1] : NULL;
	struct piece *pieces;

	if (last && last->gpa + last->len == gpa) {
		last->len += len;
		return 0;
	}
	pieces = reallocarray(core->pieces, core->nr + 1, sizeof(*pieces));
	if (!pieces)
		return LIBVMEM_NO_MEMORY;
	core->pieces = pieces;
	pieces[core->nr++] = (struct piece){ .gpa = gpa, .len = len };
	return 0;
}

static int add_slot(const struct vmem_memslot *slot, void *priv)
{
	return add_piece(priv, slot->gpa, slot->len);
}

/* A 32-bit kernel has no address for all of its memory: divide the piece that it ends in. */
static int divide(struct libvmem_core *core, u64 end)
{
	struct piece *piece = core->pieces;
	size_t i;

	for (i = 0; i < core->nr && piece[i].gpa + piece[i].len <= end; i++)
		;
	if (i == core->nr || piece[i].gpa >= end)
		return 0;
	piece = reallocarray(piece, core->nr + 1, sizeof(*piece));
	if (!piece)
		return LIBVMEM_NO_MEMORY;
	core->pieces = piece;
	memmove(&piece[i + 1], &piece[i], (core->nr++ - i) * sizeof(*piece));
	piece[i].len = end - piece[i].gpa;
	piece[i + 1].gpa = end;
	piece[i + 1].len -= piece[i].len;
	return 0;
}

/* Without a known kernel, virtual addresses equal physical ones, as in QEMU's dumps. */
static u64 va_of(const struct libvmem_core *core, u64 gpa)
{
	if (!core->map.has_direct)
		return gpa;
	if (!core->long_mode && gpa >= core->map.direct_end)
		return NO_VA;
	return core->map.direct + gpa;
}

/* Where a piece begins, in guest-physical memory or in the core. */
static u64 start_of(const struct piece *piece, bool by_gpa)
{
	return by_gpa ? piece->gpa : piece->offset;
}

/* The first piece that ends above @at, or the end of them. */
static const struct piece *find_piece(const struct libvmem_core *core, u64 at,
				      bool by_gpa)
{
	size_t low = 0, high = core->nr;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct piece *piece = &core->pieces[middle];

		if (start_of(piece, by_gpa) + piece->len <= at)
			low = middle + 1;
		else
			high = middle;
	}
	return &core->pieces[low];
}

static bool is_inside(const struct piece *piece, u64 gpa, u64 len)
{
	return gpa >= piece->gpa && gpa - piece->gpa < piece->len &&
	       len <= piece->len - (gpa - piece->gpa);
}

static void place_text(struct libvmem_core *core)
{
	const struct kernel_map *map = &core->map;
	const struct piece *piece = find_piece(core, map->text_gpa, true);

	if (!map->text_len || piece == core->pieces + core->nr ||
	    !is_inside(piece, map->text_gpa, map->text_len))
		return;
	core->text = (struct piece){
		.gpa = map->text_gpa,
		.len = map->text_len,
		.va = map->text_va,
		.offset = piece->offset + (map->text_gpa - piece->gpa),
	};
}

static struct core notes_of(const struct libvmem_core *core,
			    const struct core_cpu *cpus)
{
	return (struct core){
		.long_mode = core->long_mode,
		.cpus = cpus,
		.nr_cpus = core->nr_cpus,
		.vmcoreinfo = core->info.text,
		.vmcoreinfo_size = core->info.size,
	};
}

/* Room for the headers of the larger class, whichever it is. */
static u64 notes_offset(const struct libvmem_core *core)
{
	return sizeof(Elf64_Ehdr) + (core->nr + 2) * sizeof(Elf64_Phdr);
}

static void place(struct libvmem_core *core)
{
	const struct core notes = notes_of(core, NULL);
	u64 at = notes_offset(core) + core_notes_size(&notes);
	const struct piece *last = &core->pieces[core->nr - 1];
	size_t i;

	core->layout.head_size = at;
	for (i = 0; i < core->nr; i++) {
		struct piece *piece = &core->pieces[i];

		piece->offset = (at + PAGE - 1) & -PAGE;
		piece->va = va_of(core, piece->gpa);
		at = piece->offset + piece->len;
	}
	core->layout.size = at;
	core->layout.memory_end = last->gpa + last->len;
	core->is_64 = core->long_mode || max(at, last->gpa + last->len) >> 32;
	place_text(core);
}

/* Facts about the guest */

static int find_memory(struct libvmem_core *core, struct libvmem *vm,
		       struct libvmem_error *error)
{
	int ret = libvmem_memslots(vm, add_slot, core, error);

	if (!ret && core->map.has_direct && !core->long_mode &&
	    divide(core, core->map.direct_end))
		ret = LIBVMEM_NO_MEMORY;
	if (ret > 0)
		return error_memory(error, "the guest's memory");
	if (ret)
		return ret;
	if (!core->nr)
		return error_set(error, LIBVMEM_BAD_ARGUMENT, STEP_MEMSLOTS, 0,
				 NULL, "the guest has no memory");
	if (core->nr + 2 >= PN_XNUM)
		return error_set(
			error, LIBVMEM_TOO_MUCH, STEP_MEMSLOTS, 0, NULL,
			"%zu pieces of memory are more than a core has",
			core->nr);
	return 0;
}

/*
 * The kernel's own root is best, and any other has the kernel in it; but a guest that
 * tells neither is a core all the same.
 */
static int find_kernel(struct libvmem_core *core, struct libvmem *vm,
		       const struct libvmem_core_args *args,
		       struct libvmem_error *error)
{
	struct kernel_map *map = &core->map;
	int ret = vmcoreinfo_find(vm, &core->info, &map->regs, args->step,
				  args->priv, error);

	if (ret)
		return ret;
	core->layout.vmcoreinfo = core->info.gpa;
	if (!map->regs.cr0) {
		ret = libvmem_find_regs(vm, args->source, &map->regs, error);
		if (ret == -LIBVMEM_NO_PROCESS)
			return ret;
		if (ret)
			map->regs = (struct vmem_regs){};
	}
	core->long_mode = !map->regs.cr0 ||
			  libvmem_top_level(&map->regs) >= VMEM_LEVEL_PML4;
	core->layout.regs = map->regs;
	kernel_map_find(vm, map);
	core->layout.has_direct = map->has_direct;
	core->layout.direct = map->direct;
	return 0;
}

int libvmem_core_open(struct libvmem_core **core, struct libvmem *vm,
		      const struct libvmem_core_args *args,
		      struct libvmem_error *error)
{
	struct libvmem_core *new = kzalloc(sizeof(*new), GFP_KERNEL);
	int ret;

	*core = NULL;
	if (!new)
		return error_memory(error, NULL);
	ret = find_kernel(new, vm, args, error);
	if (!ret)
		ret = find_memory(new, vm, error);
	if (!ret)
		ret = nr_vcpus(vm, &new->nr_cpus, error);
	if (ret) {
		libvmem_core_close(new);
		return ret;
	}
	place(new);
	*core = new;
	return 0;
}

void libvmem_core_close(struct libvmem_core *core)
{
	if (core)
		free(core->pieces);
	kfree(core);
}

void libvmem_core_layout(const struct libvmem_core *core,
			 struct libvmem_core_layout *layout)
{
	*layout = core->layout;
}

/* Its head */

/* Of a guest that runs, a vCPU's general registers are not known. */
static int get_cpu(const struct libvmem_core *core, struct libvmem *vm,
		   unsigned int index, struct core_cpu *cpu,
		   struct libvmem_error *error)
{
	struct vmem_vcpu_args vcpu;
	int ret;

	if (vm->image) {
		*cpu = vm->image->cpus[index];
		return 0;
	}
	*cpu = (struct core_cpu){
		.version = CORE_CPU_VERSION,
		.size = sizeof(*cpu),
		.cs.flags = core->long_mode ? CODE_64 : 0,
	};
	ret = libvmem_vcpu(vm, index,
			   min(PATIENCE_US, PATIENCE_IN_ALL_US / core->nr_cpus),
			   &vcpu, error);
	/* The vCPU encrypts its registers (SEV-ES), or was unplugged. */
	if (ret == -LIBVMEM_UNREADABLE || ret == -LIBVMEM_BAD_ARGUMENT)
		return 0;
	if (ret)
		return ret;
	cpu->cr[0] = vcpu.out_regs.cr0;
	cpu->cr[4] = vcpu.out_regs.cr4;
	if (libvmem_has_own_root(&vcpu))
		cpu->cr[3] = vcpu.out_regs.cr3;
	if (!(vcpu.out_state & VMEM_VCPU_NO_RIP))
		cpu->rip = vcpu.out_rip;
	return 0;
}

static void *put_phdr(const struct libvmem_core *core, void *at, u32 type,
		      const struct piece *piece)
{
	const Elf64_Phdr phdr = {
		.p_type = type,
		.p_offset = piece->offset,
		.p_vaddr = piece->va,
		.p_paddr = piece->gpa,
		.p_filesz = piece->len,
		.p_memsz = piece->len,
	};
	const Elf32_Phdr small = {
		.p_type = type,
		.p_offset = piece->offset,
		.p_vaddr = piece->va,
		.p_paddr = piece->gpa,
		.p_filesz = piece->len,
		.p_memsz = piece->len,
	};
	const size_t size = core->is_64 ? sizeof(phdr) : sizeof(small);

	memcpy(at, core->is_64 ? (const void *)&phdr : &small, size);
	return at + size;
}

static void *put_ehdr(const struct libvmem_core *core, void *at)
{
	const Elf64_Half machine = core->long_mode ? EM_X86_64 : EM_386;
	const Elf64_Half nr = 1 + (core->text.len != 0) + core->nr;
	const Elf64_Ehdr ehdr = {
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64,
			     ELFDATA2LSB, EV_CURRENT },
		.e_type = ET_CORE,
		.e_machine = machine,
		.e_version = EV_CURRENT,
		.e_phoff = sizeof(ehdr),
		.e_ehsize = sizeof(ehdr),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = nr,
	};
	const Elf32_Ehdr small = {
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS32,
			     ELFDATA2LSB, EV_CURRENT },
		.e_type = ET_CORE,
		.e_machine = machine,
		.e_version = EV_CURRENT,
		.e_phoff = sizeof(small),
		.e_ehsize = sizeof(small),
		.e_phentsize = sizeof(Elf32_Phdr),
		.e_phnum = nr,
	};
	const size_t size = core->is_64 ? sizeof(ehdr) : sizeof(small);

	memcpy(at, core->is_64 ? (const void *)&ehdr : &small, size);
	return at + size;
}

static void put_head(const struct libvmem_core *core,
		     const struct core_cpu *cpus, void *head)
{
	const struct core notes = notes_of(core, cpus);
	const struct piece note = {
		.offset = notes_offset(core),
		.len = core_notes_size(&notes),
	};
	void *at;
	size_t i;

	memset(head, 0, core->layout.head_size);
	at = put_ehdr(core, head);
	at = put_phdr(core, at, PT_NOTE, &note);
	if (core->text.len)
		at = put_phdr(core, at, PT_LOAD, &core->text);
	for (i = 0; i < core->nr; i++)
		at = put_phdr(core, at, PT_LOAD, &core->pieces[i]);
	core_put_notes(&notes, head + note.offset);
}

int libvmem_core_head(const struct libvmem_core *core, struct libvmem *vm,
		      void *head, struct libvmem_error *error)
{
	struct core_cpu *cpus =
		kcalloc(core->nr_cpus + 1, sizeof(*cpus), GFP_KERNEL);
	unsigned int i;
	int ret = 0;

	if (!cpus)
		return error_memory(error, "the registers");
	for (i = 0; i < core->nr_cpus && !ret; i++)
		ret = get_cpu(core, vm, i, &cpus[i], error);
	if (!ret)
		put_head(core, cpus, head);
	kfree(cpus);
	return ret;
}

/* Its memory */

/* As much as is in one piece, or between two, where there are zeros. */
static int read_part(struct libvmem *vm, const struct piece *piece, u64 start,
		     u64 at, void *buf, size_t len, struct libvmem_read *read,
		     struct libvmem_error *error)
{
	if (at >= start)
		return libvmem_read_phys(
			vm, piece->gpa + (at - start), buf,
			min_t(u64, len, start + piece->len - at), read, error);
	*read = (struct libvmem_read){
		.len = min_t(u64, len, start - at),
		.status = VMEM_MAPPED,
	};
	memset(buf, 0, read->len);
	return 0;
}

static int read_memory(const struct libvmem_core *core, struct libvmem *vm,
		       u64 at, bool by_gpa, void *buf, size_t len,
		       struct libvmem_read *read, struct libvmem_error *error)
{
	const struct piece *piece = find_piece(core, at, by_gpa);
	const struct piece *end = core->pieces + core->nr;
	struct libvmem_read part;
	int ret;

	*read = (struct libvmem_read){ .status = VMEM_MAPPED };
	while (read->len < len && piece < end && read->status == VMEM_MAPPED) {
		u64 start = start_of(piece, by_gpa);

		ret = read_part(vm, piece, start, at + read->len,
				buf + read->len, len - read->len, &part, error);
		if (ret)
			return ret;
		read->len += part.len;
		read->status = part.status;
		piece += at + read->len >= start + piece->len;
	}
	return 0;
}

int libvmem_core_read(const struct libvmem_core *core, struct libvmem *vm,
		      __u64 offset, void *buf, size_t len,
		      struct libvmem_read *read, struct libvmem_error *error)
{
	return read_memory(core, vm, offset, false, buf, len, read, error);
}

int libvmem_core_read_phys(const struct libvmem_core *core, struct libvmem *vm,
			   __u64 gpa, void *buf, size_t len,
			   struct libvmem_read *read,
			   struct libvmem_error *error)
{
	return read_memory(core, vm, gpa, true, buf, len, read, error);
}

__u64 libvmem_core_next(const struct libvmem_core *core, __u64 gpa, bool memory)
{
	const struct piece *piece = find_piece(core, gpa, true);

	if (piece == core->pieces + core->nr)
		return core->layout.memory_end;
	if (gpa < piece->gpa)
		return memory ? piece->gpa : gpa;
	return memory ? gpa : piece->gpa + piece->len;
}
