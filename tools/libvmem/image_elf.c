// SPDX-License-Identifier: GPL-2.0-only
/*
 * ELF cores: the guest's memory is in the PT_LOAD segments, by their physical
 * address; registers and spaces are in notes.
 */
#include <gelf.h>
#include <linux/const.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core_file.h"
#include "image.h"

/* QEMU's note as its first writers had it ends with CR4. */
#define CPU_SIZE offsetof(struct core_cpu, kernel_gs_base)

/* 64-bit code, of which there is none outside of long mode */
#define CS_L _BITUL(21)

#define RULES_KNOWN                                                  \
	(VMEM_RULES_AMD | VMEM_RULES_NO_1G | VMEM_RULES_SHARED_BIT | \
	 VMEM_RULES_ENCRYPTION_BIT(63))

/* VirtualBox's notes */
#define VBOX_NAME "VBCORE"
#define VBOX_TYPE 0xb00
#define VBOX_MAGIC 0xc01ac0deu
#define VBOX_OLD_VERSION 0x00010000
#define VBOX_CPU_NAME "VBCPU"
#define VBOX_CPU_TYPE 0xb01

/* What QEMU writes for debuggers of a vCPU of an amd64 guest, in bytes */
#define PRSTATUS64_SIZE 336

bool image_is_elf(const struct image *image)
{
	const struct image_file *file = image->files;

	return file->size >= SELFMAG && !memcmp(file->map, ELFMAG, SELFMAG);
}

/* QEMU knows the first vCPU's EFER.LMA, and says so in this way. */
static bool is_long_mode(const GElf_Ehdr *ehdr)
{
	return ehdr->e_machine == EM_X86_64;
}

static int check_header(const struct image *image, const GElf_Ehdr *ehdr,
			struct libvmem_error *error)
{
	if (ehdr->e_ident[EI_DATA] != ELFDATA2LSB ||
	    (ehdr->e_machine != EM_X86_64 && ehdr->e_machine != EM_386))
		return refuse(image, error, "is not of an x86 machine",
			      "give one of an amd64 or i686 guest");
	if (ehdr->e_type != ET_CORE)
		return refuse(image, error, "is an ELF file, but no core",
			      "give what dump-guest-memory wrote");
	return 0;
}

/* From 0xffff program headers on, their number is in section header 0. */
static size_t nr_phdrs_told(Elf *elf, const GElf_Ehdr *ehdr)
{
	GElf_Shdr shdr;

	if (ehdr->e_phnum != PN_XNUM)
		return ehdr->e_phnum;
	return gelf_getshdr(elf_getscn(elf, 0), &shdr) ? shdr.sh_info : PN_XNUM;
}

/* libelf leaves out headers that the file has no room for, or fails. */
static int nr_phdrs(const struct image *image, Elf *elf, const GElf_Ehdr *ehdr,
		    size_t *nr, struct libvmem_error *error)
{
	size_t told = nr_phdrs_told(elf, ehdr);

	if (elf_getphdrnum(elf, nr))
		*nr = 0;
	if (*nr < told)
		return refuse(
			image, error, "is truncated",
			"it has %zu of %zu program headers: dump or copy it again",
			*nr, told);
	return 0;
}

/* Where a kernel's own core does not know the guest-physical address, of vmalloc say. */
static bool has_address(const struct image *image, const GElf_Phdr *phdr)
{
	return phdr->p_paddr !=
	       (!strcmp(image->format, "elf32") ? 0xffffffff : ~0ull);
}

static int add_segment(struct image *image, const GElf_Phdr *phdr,
		       size_t number, struct libvmem_error *error)
{
	const struct image_segment segment = {
		.gpa = phdr->p_paddr,
		.len = phdr->p_memsz,
		.file_len = phdr->p_filesz,
		.offset = phdr->p_offset,
		.number = number,
	};

	if ((!phdr->p_memsz && !phdr->p_filesz) || !has_address(image, phdr))
		return 0;
	image->has_paddr |= phdr->p_paddr;
	image->has_vaddr |= phdr->p_vaddr;
	return image_add(image, &segment, error);
}

/*
 * QEMU does not note EFER and MAXPHYADDR: they are as --arch has them. So execute-disable
 * is presumed, which takes no bit for a reserved one that a guest would have set.
 */
static void complete_regs(struct vmem_regs *regs, bool long_mode)
{
	bool pae = libvmem_mode(regs) == LIBVMEM_MODE_PAE;
	const struct libvmem_regs *arch = libvmem_arch_regs(!pae ? "i686" :
							    long_mode ?
								   "amd64" :
								   "i686-pae");

	regs->efer = arch->regs.efer;
	regs->maxphyaddr = arch->regs.maxphyaddr;
}

/* "has an unknown note of vCPU 1 (version 2, 440 of 440 bytes)" */
static int refuse_note(const struct image *image, const struct core_cpu *note,
		       size_t len, struct libvmem_error *error)
{
	char what[128];

	snprintf(what, sizeof(what),
		 "has an unknown note of vCPU %u (version %u, %u of %zu bytes)",
		 image->nr_vcpus, note->version, note->size, len);
	return refuse(image, error, what, "dump it with QEMU");
}

static int add_vcpu(struct image *image, const struct core_cpu *note,
		    const struct vmem_regs *regs, struct libvmem_error *error)
{
	struct vmem_regs *vcpus;
	struct core_cpu *cpus;

	if (image->nr_vcpus == VMEM_MAX_ROOTS)
		return refuse(image, error, "is damaged",
			      "it has notes of more than %u vCPUs",
			      VMEM_MAX_ROOTS);
	vcpus = image_grow(image->vcpus, image->nr_vcpus, sizeof(*vcpus),
			   error);
	if (!vcpus)
		return -LIBVMEM_NO_MEMORY;
	image->vcpus = vcpus;
	cpus = image_grow(image->cpus, image->nr_vcpus, sizeof(*cpus), error);
	if (!cpus)
		return -LIBVMEM_NO_MEMORY;
	image->cpus = cpus;
	vcpus[image->nr_vcpus] = *regs;
	cpus[image->nr_vcpus++] = *note;
	return 0;
}

static int read_vcpu(struct image *image, const void *desc, size_t len,
		     bool long_mode, struct libvmem_error *error)
{
	struct core_cpu note = {};
	struct vmem_regs regs;

	if (len < CPU_SIZE)
		return refuse(
			image, error, "is damaged",
			"the note of vCPU %u has %zu byte%s instead of %zu",
			image->nr_vcpus, len, plural(len), CPU_SIZE);
	memcpy(&note, desc, len < sizeof(note) ? len : sizeof(note));
	if (note.version != CORE_CPU_VERSION || note.size < CPU_SIZE ||
	    note.size > len)
		return refuse_note(image, &note, len, error);
	note.size = sizeof(note);
	regs = (struct vmem_regs){
		.cr0 = note.cr[0],
		.cr3 = note.cr[3],
		.cr4 = note.cr[4],
	};
	complete_regs(&regs, long_mode || note.cs.flags & CS_L);
	return add_vcpu(image, &note, &regs, error);
}

/*
 * What VirtualBox writes of a vCPU: 18 general registers, 6 segments of 24 bytes, CR0,
 * CR2, CR3 and CR4, and further on EFER.
 */
#define VBOX_CRS 288
#define VBOX_EFER 488

/* In the first version the notes of vCPUs are a struct of its own, which changed. */
static int read_virtualbox(struct image *image, const unsigned char *desc,
			   size_t len, struct libvmem_error *error)
{
	__u32 words[2] = {};

	memcpy(words, desc, len < sizeof(words) ? len : sizeof(words));
	if (words[0] != VBOX_MAGIC || words[1] >> 16 != 1 ||
	    words[1] == VBOX_OLD_VERSION)
		return refuse(
			image, error,
			"is a core of an unknown version of VirtualBox",
			"its note has version %#x; say with --region where in the file memory is",
			words[1]);
	image->is_virtualbox = true;
	return 0;
}

/* The general registers, in VirtualBox's order */
#define CPU(reg) offsetof(struct core_cpu, reg)
static const size_t vbox_general[] = {
	CPU(rax), CPU(rbx), CPU(rcx), CPU(rdx), CPU(rsi), CPU(rdi),
	CPU(r8),  CPU(r9),  CPU(r10), CPU(r11), CPU(r12), CPU(r13),
	CPU(r14), CPU(r15), CPU(rip), CPU(rsp), CPU(rbp), CPU(rflags),
};

static int read_virtualbox_vcpu(struct image *image, const unsigned char *desc,
				size_t len, struct libvmem_error *error)
{
	struct core_cpu note = {
		.version = CORE_CPU_VERSION,
		.size = sizeof(note),
	};
	struct vmem_regs regs;
	__u64 crs[4], efer;

	if (!image->is_virtualbox || len < VBOX_EFER + sizeof(efer))
		return refuse(image, error, "is damaged",
			      "the note of vCPU %u has %zu byte%s",
			      image->nr_vcpus, len, plural(len));
	for (size_t i = 0; i < ARRAY_SIZE(vbox_general); i++)
		memcpy((char *)&note + vbox_general[i],
		       desc + i * sizeof(__u64), sizeof(__u64));
	memcpy(crs, desc + VBOX_CRS, sizeof(crs));
	memcpy(&efer, desc + VBOX_EFER, sizeof(efer));
	regs = (struct vmem_regs){
		.cr0 = crs[0],
		.cr3 = crs[2],
		.cr4 = crs[3],
	};
	note.cr[0] = regs.cr0;
	note.cr[2] = crs[1];
	note.cr[3] = regs.cr3;
	note.cr[4] = regs.cr4;
	complete_regs(&regs, true);
	regs.efer = efer;
	return add_vcpu(image, &note, &regs, error);
}

static bool is_zero(const unsigned char *bytes, size_t len)
{
	while (len && !bytes[len - 1])
		len--;
	return !len;
}

/*
 * Registers of which the note has @len bytes; false if they say what is not
 * known here, or as much as no writer ever did.
 */
static bool copy_regs(struct vmem_regs *regs, const unsigned char *bytes,
		      size_t len)
{
	size_t known = len < sizeof(*regs) ? len : sizeof(*regs);

	memset(regs, 0, sizeof(*regs));
	memcpy(regs, bytes, known);
	return len >= offsetof(struct vmem_regs, rules) + sizeof(__u32) &&
	       len % sizeof(__u64) == 0 && is_zero(bytes + known, len - known);
}

static int check_spaces(const struct image *image, struct libvmem_error *error)
{
	struct vmem_regs first = image->regs;
	unsigned int bit = first.rules >> 8;

	if (image->regs.maxphyaddr < 32 || image->regs.maxphyaddr > 52)
		return refuse(
			image, error, "is damaged",
			"the snapshot's note has MAXPHYADDR %u, not 32 to 52",
			image->regs.maxphyaddr);
	if (bit ? bit < 32 || bit > 51 :
		  image->regs.rules & VMEM_RULES_SHARED_BIT)
		return refuse(
			image, error, "is damaged",
			"the snapshot's note has bit %u for memory encryption, not 32 to 51",
			bit);
	first.cr3 = image->spaces[0].root;
	if (libvmem_root(&first) != libvmem_root(&image->regs))
		return refuse(
			image, error, "is damaged",
			"the snapshot's note has CR3 %#llx, and %#llx for its first space",
			image->regs.cr3, image->spaces[0].root);
	return 0;
}

static int refuse_version(const struct image *image, const char *version,
			  struct libvmem_error *error)
{
	char what[64];

	snprintf(what, sizeof(what), "is a snapshot of %s", version);
	return refuse(image, error, what,
		      "read it with the vmemctl that wrote it");
}

/*
 * Read the registers, and the part of @note around them, which is longer or
 * shorter than ours in a snapshot of another release.
 */
static int read_note(struct image *image, const unsigned char *desc, size_t len,
		     struct vmem_note *note, struct libvmem_error *error)
{
	const size_t before = offsetof(struct vmem_note, regs);
	const size_t behind = 2 * sizeof(__u32);
	char version[24];

	if (len < before)
		return refuse(image, error, "is damaged",
			      "the snapshot's note has %zu byte%s", len,
			      plural(len));
	memcpy(note, desc, before);
	snprintf(version, sizeof(version), "version %u", note->version);
	if (note->version != VMEM_NOTE_VERSION)
		return refuse_version(image, version, error);
	if (note->size > len || note->size < before + behind)
		return refuse(image, error, "is damaged",
			      "the snapshot's note has %zu byte%s, and says %u",
			      len, plural(len), note->size);
	memcpy(&note->nr_spaces, desc + note->size - behind, behind);
	if (note->__reserved ||
	    !copy_regs(&image->regs, desc + before,
		       note->size - before - behind) ||
	    image->regs.rules & ~RULES_KNOWN)
		return refuse_version(image, "another version", error);
	return 0;
}

static int read_spaces(struct image *image, const unsigned char *desc,
		       size_t len, struct libvmem_error *error)
{
	struct vmem_note note;
	size_t size;
	int ret;

	if (image->nr_spaces)
		return refuse(image, error, "is damaged",
			      "it has two snapshot's notes");
	ret = read_note(image, desc, len, &note, error);
	if (ret)
		return ret;
	size = note.nr_spaces * sizeof(*image->spaces);
	if (!note.nr_spaces || note.nr_spaces > VMEM_MAX_ROOTS ||
	    size != len - note.size)
		return refuse(
			image, error, "is damaged",
			"the snapshot's note has %zu bytes for %u spaces, which are 1 to %u",
			len - note.size, note.nr_spaces, VMEM_MAX_ROOTS);
	image->spaces =
		image_grow(NULL, note.nr_spaces, sizeof(*image->spaces), error);
	if (!image->spaces)
		return -LIBVMEM_NO_MEMORY;
	memcpy(image->spaces, desc + note.size, size);
	image->nr_spaces = note.nr_spaces;
	return check_spaces(image, error);
}

/**
 * struct note - a note
 * @type: its type
 * @name: its name
 * @name_len: bytes of @name
 * @desc: its contents
 * @len: bytes of @desc
 */
struct note {
	__u32 type;
	const char *name;
	size_t name_len;
	const unsigned char *desc;
	size_t len;
};

/* Take the note at @at. Where the next one is, or 0: it makes no sense. */
static size_t take_note(const unsigned char *bytes, size_t size, size_t at,
			struct note *note)
{
	GElf_Nhdr header;
	size_t name, end;

	if (size - at < sizeof(header))
		return 0;
	memcpy(&header, bytes + at, sizeof(header));
	at += sizeof(header);
	name = ((size_t)header.n_namesz + 3) & -4;
	end = ((size_t)header.n_descsz + 3) & -4;
	if (name > size - at || header.n_descsz > size - at - name)
		return 0;
	*note = (struct note){
		.type = header.n_type,
		.name = (const char *)bytes + at,
		.name_len = header.n_namesz,
		.desc = bytes + at + name,
		.len = header.n_descsz,
	};
	/* Behind the last one there may be no padding. */
	return end < size - at - name ? at + name + end : size;
}

/* VirtualBox counts no NUL. */
static bool is_note(const struct note *note, const char *want, __u32 type)
{
	const size_t len = strlen(want);

	return note->type == type &&
	       (note->name_len == len + 1 || note->name_len == len) &&
	       !memcmp(note->name, want, note->name_len);
}

/* Notes of other names tell nothing needed. */
int image_read_notes(struct image *image, const unsigned char *bytes,
		     size_t size, bool long_mode, struct libvmem_error *error)
{
	struct note n;
	size_t next;
	int ret = 0;

	for (size_t at = 0; at < size && !ret; at = next) {
		next = take_note(bytes, size, at, &n);
		if (!next)
			return refuse(
				image, error, "is damaged",
				"its notes make no sense from byte %zu on", at);
		if (is_note(&n, CORE_CPU_NAME, CORE_CPU_TYPE))
			ret = read_vcpu(image, n.desc, n.len, long_mode, error);
		else if (is_note(&n, VMEM_NOTE_NAME, VMEM_NOTE_TYPE))
			ret = read_spaces(image, n.desc, n.len, error);
		else if (is_note(&n, VBOX_NAME, VBOX_TYPE))
			ret = read_virtualbox(image, n.desc, n.len, error);
		else if (is_note(&n, VBOX_CPU_NAME, VBOX_CPU_TYPE))
			ret = read_virtualbox_vcpu(image, n.desc, n.len, error);
	}
	return ret;
}

bool image_notes_long_mode(const unsigned char *bytes, size_t size)
{
	struct note n;
	size_t next;

	for (size_t at = 0; at < size; at = next) {
		next = take_note(bytes, size, at, &n);
		if (!next)
			break;
		if (is_note(&n, "CORE", NT_PRSTATUS))
			return n.len >= PRSTATUS64_SIZE;
	}
	return false;
}

static int read_note_segment(struct image *image, const GElf_Phdr *phdr,
			     bool long_mode, struct libvmem_error *error)
{
	if (!phdr->p_filesz)
		return 0;
	if (phdr->p_offset > image->files->size ||
	    phdr->p_filesz > image->files->size - phdr->p_offset)
		return refuse(
			image, error, "is truncated",
			"its notes end behind the end of the file: dump or copy it again");
	if (phdr->p_filesz > MAX_NOTES_SIZE - image->notes_size)
		return refuse_notes(image, error);
	image->notes_size += phdr->p_filesz;
	return image_read_notes(image, image->files->map + phdr->p_offset,
				phdr->p_filesz, long_mode, error);
}

static int read_phdr(struct image *image, Elf *elf, size_t number,
		     bool long_mode, struct libvmem_error *error)
{
	GElf_Phdr phdr;
	char what[64];

	snprintf(what, sizeof(what),
		 "has a program header, %zu, that cannot be read", number);
	if (!gelf_getphdr(elf, number, &phdr))
		return refuse(image, error, what, "%s", elf_errmsg(-1));
	if (phdr.p_type == PT_LOAD)
		return add_segment(image, &phdr, number, error);
	if (phdr.p_type == PT_NOTE)
		return read_note_segment(image, &phdr, long_mode, error);
	return 0;
}

/* A debugger's core of a process has no guest-physical addresses. */
static int check_is_guest(const struct image *image,
			  struct libvmem_error *error)
{
	if (image->has_paddr || !image->has_vaddr || image->nr_vcpus ||
	    image->nr_spaces)
		return 0;
	return refuse(
		image, error,
		"has no physical addresses, as the core of a process",
		"dump the guest and not its VMM; or say with --region where in the file its memory is");
}

static int read_elf(struct image *image, Elf *elf, struct libvmem_error *error)
{
	GElf_Ehdr ehdr;
	size_t nr;
	int ret;

	if (!elf || !gelf_getehdr(elf, &ehdr))
		return refuse(image, error, "is truncated or damaged",
			      "its ELF header cannot be read: %s",
			      elf_errmsg(-1));
	ret = check_header(image, &ehdr, error);
	if (!ret)
		ret = nr_phdrs(image, elf, &ehdr, &nr, error);
	if (ret)
		return ret;
	image->format = gelf_getclass(elf) == ELFCLASS32 ? "elf32" : "elf64";
	for (size_t i = 0; i < nr && !ret; i++)
		ret = read_phdr(image, elf, i, is_long_mode(&ehdr), error);
	return ret ? ret : check_is_guest(image, error);
}

/*
 * By read(2): libelf writes into what it maps. Everything that is wanted of the
 * headers is copied, so it is closed again.
 */
int image_read_elf(struct image *image, int fd, struct libvmem_error *error)
{
	Elf *elf;
	int ret;

	elf_version(EV_CURRENT);
	elf = elf_begin(fd, ELF_C_READ, NULL);
	ret = read_elf(image, elf, error);
	elf_end(elf);
	return ret;
}
