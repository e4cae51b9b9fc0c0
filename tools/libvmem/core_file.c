// SPDX-License-Identifier: GPL-2.0-only
/*
 * Writing an ELF core: its header, its program headers and its notes. libelf
 * does the headers. It would want all of the memory at once for the rest, so
 * that is written where the headers say it is.
 */
#include <elf.h>
#include <errno.h>
#include <gelf.h>
#include <libelf.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core_file.h"
#include "note.h"

#define PAGE 4096ull

/* libelf makes no section header 0 alone. */
#define NR_SECTIONS 2

/* What is known of a task in a Linux core: NT_PRSTATUS of either machine. */
struct prstatus64 {
	__u8 pad[32];
	__u32 pid;
	__u8 pad2[76];
	__u64 r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8;
	__u64 rax, rcx, rdx, rsi, rdi, orig_rax, rip, cs, rflags, rsp, ss;
	__u64 fs_base, gs_base, ds, es, fs, gs;
	__u64 pad3;
};

struct prstatus32 {
	__u8 pad[24];
	__u32 pid;
	__u8 pad2[44];
	__u32 ebx, ecx, edx, esi, edi, ebp, eax;
	__u32 ds, es, fs, gs, orig_eax, eip, cs, eflags, esp, ss;
	__u32 pad3;
};

static struct prstatus64 status64(const struct core_cpu *cpu, __u32 pid)
{
	return (struct prstatus64){
		.pid = pid,
		.r15 = cpu->r15,
		.r14 = cpu->r14,
		.r13 = cpu->r13,
		.r12 = cpu->r12,
		.rbp = cpu->rbp,
		.rbx = cpu->rbx,
		.r11 = cpu->r11,
		.r10 = cpu->r10,
		.r9 = cpu->r9,
		.r8 = cpu->r8,
		.rax = cpu->rax,
		.rcx = cpu->rcx,
		.rdx = cpu->rdx,
		.rsi = cpu->rsi,
		.rdi = cpu->rdi,
		.rip = cpu->rip,
		.cs = cpu->cs.selector,
		.rflags = cpu->rflags,
		.rsp = cpu->rsp,
		.ss = cpu->ss.selector,
		.fs_base = cpu->fs.base,
		.gs_base = cpu->gs.base,
		.ds = cpu->ds.selector,
		.es = cpu->es.selector,
		.fs = cpu->fs.selector,
		.gs = cpu->gs.selector,
	};
}

static struct prstatus32 status32(const struct core_cpu *cpu, __u32 pid)
{
	return (struct prstatus32){
		.pid = pid,
		.ebx = cpu->rbx,
		.ecx = cpu->rcx,
		.edx = cpu->rdx,
		.esi = cpu->rsi,
		.edi = cpu->rdi,
		.ebp = cpu->rbp,
		.eax = cpu->rax,
		.ds = cpu->ds.selector,
		.es = cpu->es.selector,
		.fs = cpu->fs.selector,
		.gs = cpu->gs.selector,
		.eip = cpu->rip,
		.cs = cpu->cs.selector,
		.eflags = cpu->rflags,
		.esp = cpu->rsp,
		.ss = cpu->ss.selector,
	};
}

/* Names and contents each take up whole words of 4 bytes. */
static size_t words(size_t size)
{
	return (size + 3) & ~(size_t)3;
}

static size_t note_size(const char *name, size_t size)
{
	return sizeof(GElf_Nhdr) + words(strlen(name) + 1) + words(size);
}

static size_t status_size(const struct core *core)
{
	return core->long_mode ? sizeof(struct prstatus64) :
				 sizeof(struct prstatus32);
}

size_t core_notes_size(const struct core *core)
{
	size_t size = note_size("CORE", status_size(core)) +
		      note_size(CORE_CPU_NAME, sizeof(*core->cpus));

	size *= core->nr_cpus;
	if (core->vmcoreinfo_size)
		size += note_size(VMCOREINFO_NAME, core->vmcoreinfo_size);
	if (core->note_size)
		size += note_size(VMEM_NOTE_NAME, core->note_size);
	return size;
}

/* Append a note to the bytes at @at, which are zero; returns its end. */
static unsigned char *put_note(unsigned char *at, const char *name,
			       GElf_Word type, const void *desc, size_t size)
{
	const GElf_Nhdr nhdr = {
		.n_namesz = strlen(name) + 1,
		.n_descsz = size,
		.n_type = type,
	};

	memcpy(at, &nhdr, sizeof(nhdr));
	memcpy(at + sizeof(nhdr), name, nhdr.n_namesz);
	memcpy(at + sizeof(nhdr) + words(nhdr.n_namesz), desc, size);
	return at + note_size(name, size);
}

static unsigned char *put_status(unsigned char *at, const struct core *core,
				 unsigned int i)
{
	const struct prstatus64 s64 = status64(&core->cpus[i], i + 1);
	const struct prstatus32 s32 = status32(&core->cpus[i], i + 1);

	return put_note(at, "CORE", NT_PRSTATUS,
			core->long_mode ? (void *)&s64 : (void *)&s32,
			status_size(core));
}

void core_put_notes(const struct core *core, void *notes)
{
	unsigned char *at = notes;

	for (unsigned int i = 0; i < core->nr_cpus; i++)
		at = put_status(at, core, i);
	for (unsigned int i = 0; i < core->nr_cpus; i++)
		at = put_note(at, CORE_CPU_NAME, CORE_CPU_TYPE, &core->cpus[i],
			      sizeof(core->cpus[i]));
	if (core->vmcoreinfo_size)
		at = put_note(at, VMCOREINFO_NAME, VMCOREINFO_TYPE,
			      core->vmcoreinfo, core->vmcoreinfo_size);
	if (core->note_size)
		put_note(at, VMEM_NOTE_NAME, VMEM_NOTE_TYPE, core->note,
			 core->note_size);
}

static size_t nr_phdrs(const struct core *core)
{
	return core->nr_loads + 1;
}

/* A number that does not fit in the ELF header is in section header 0. */
static bool has_sections(const struct core *core)
{
	return nr_phdrs(core) >= PN_XNUM;
}

/* Room for the headers of the larger class, whichever it is. */
static __u64 sections_offset(const struct core *core)
{
	return sizeof(GElf_Ehdr) + nr_phdrs(core) * sizeof(GElf_Phdr);
}

static __u64 notes_offset(const struct core *core)
{
	return sections_offset(core) +
	       (has_sections(core) ? NR_SECTIONS * sizeof(GElf_Shdr) : 0);
}

__u64 core_memory_offset(const struct core *core)
{
	__u64 end = notes_offset(core) + core_notes_size(core);

	return (end + PAGE - 1) & ~(PAGE - 1);
}

static bool is_above_4g(const struct core_load *load)
{
	return load->gpa + load->len >= 1ull << 32;
}

/*
 * As QEMU chooses it; but what is in the file has to be within reach as well. Outside
 * of long mode debuggers read no core of 64 bits.
 */
static int elf_class(const struct core *core)
{
	if (core->long_mode ||
	    core_memory_offset(core) + core->memory_size >= 1ull << 32)
		return ELFCLASS64;
	for (size_t i = 0; i < core->nr_loads && !core->is_virtual; i++)
		if (is_above_4g(&core->loads[i]))
			return ELFCLASS64;
	return ELFCLASS32;
}

static bool put_ehdr(const struct core *core, Elf *elf, int class)
{
	GElf_Ehdr ehdr = {};

	if (!gelf_newehdr(elf, class) || !gelf_getehdr(elf, &ehdr))
		return false;
	ehdr.e_ident[EI_DATA] = ELFDATA2LSB;
	ehdr.e_type = ET_CORE;
	ehdr.e_machine = core->long_mode ? EM_X86_64 : EM_386;
	ehdr.e_version = EV_CURRENT;
	ehdr.e_phoff = gelf_fsize(elf, ELF_T_EHDR, 1, EV_CURRENT);
	return gelf_update_ehdr(elf, &ehdr);
}

static bool put_sections(const struct core *core, Elf *elf)
{
	Elf_Scn *section;
	GElf_Shdr shdr;
	GElf_Ehdr ehdr;

	if (!has_sections(core))
		return true;
	section = elf_newscn(elf);
	if (!section || !gelf_getshdr(section, &shdr) ||
	    !gelf_getehdr(elf, &ehdr))
		return false;
	ehdr.e_shoff = sections_offset(core);
	/* It is empty, but libelf clears what is in front of it. */
	shdr.sh_offset = notes_offset(core);
	return gelf_update_ehdr(elf, &ehdr) && gelf_update_shdr(section, &shdr);
}

static bool put_load(const struct core *core, Elf *elf, size_t i)
{
	const struct core_load *load = &core->loads[i];
	GElf_Phdr phdr = {
		.p_type = PT_LOAD,
		.p_flags = load->flags,
		.p_offset = core_memory_offset(core) + load->offset,
		.p_vaddr = load->va,
		.p_paddr = load->gpa,
		.p_filesz = load->len,
		.p_memsz = load->len,
	};

	/* As a kernel's core has it where the address is not known */
	if (gelf_getclass(elf) == ELFCLASS32 && is_above_4g(load))
		phdr.p_paddr = ~0u;
	return gelf_update_phdr(elf, i + 1, &phdr);
}

static bool put_phdrs(const struct core *core, Elf *elf)
{
	GElf_Phdr phdr = {
		.p_type = PT_NOTE,
		.p_offset = notes_offset(core),
		.p_filesz = core_notes_size(core),
		.p_memsz = core_notes_size(core),
	};

	if (!gelf_newphdr(elf, nr_phdrs(core)) ||
	    !gelf_update_phdr(elf, 0, &phdr))
		return false;
	for (size_t i = 0; i < core->nr_loads; i++)
		if (!put_load(core, elf, i))
			return false;
	return true;
}

int error_write(struct libvmem_error *error)
{
	return error_of(error, STEP_WRITE, errno, 0, NULL,
			"cannot write the file");
}

int write_at(int fd, const void *bytes, size_t len, __u64 offset,
	     struct libvmem_error *error)
{
	const char *from = bytes;

	while (len) {
		ssize_t done = pwrite(fd, from, len, offset);

		if (done < 0 && errno != EINTR)
			return error_write(error);
		if (done <= 0)
			continue;
		from += done;
		offset += done;
		len -= done;
	}
	return 0;
}

static int write_headers(const struct core *core, int fd,
			 struct libvmem_error *error)
{
	Elf *elf;
	bool done;
	int ret;

	elf_version(EV_CURRENT);
	errno = 0;
	elf = elf_begin(fd, ELF_C_WRITE, NULL);
	done = elf && put_ehdr(core, elf, elf_class(core)) &&
	       put_sections(core, elf) && put_phdrs(core, elf) &&
	       elf_flagelf(elf, ELF_C_SET, ELF_F_LAYOUT) &&
	       elf_update(elf, ELF_C_WRITE) >= 0;
	if (done) {
		elf_end(elf);
		return 0;
	}
	/* libelf's own errors are about what it is given. */
	if (errno)
		ret = error_write(error);
	else
		ret = error_set(error, LIBVMEM_SYSTEM, STEP_WRITE, 0,
				elf_errmsg(-1), "cannot write the ELF header");
	elf_end(elf);
	return ret;
}

int core_write(const struct core *core, int fd, struct libvmem_error *error)
{
	unsigned char *notes = calloc(1, core_notes_size(core));
	int ret;

	if (!notes)
		return error_memory(error, "the notes");
	core_put_notes(core, notes);
	/* First of all: libelf cuts the file off behind them. */
	ret = write_headers(core, fd, error);
	if (!ret)
		ret = write_at(fd, notes, core_notes_size(core),
			       notes_offset(core), error);
	free(notes);
	return ret;
}
