// SPDX-License-Identifier: GPL-2.0-only
/*
 * guest.c - a captured guest in a VM of our own
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <gelf.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "../../selftest/ktap.h"
#include "guest.h"

#define EFLAGS_FIXED 0x2
#define EFLAGS_AC 0x40000

/* ---- Memory ---- */

static void add_slot(int vm_fd, __u32 id, const struct vmem_region *piece)
{
	struct kvm_userspace_memory_region region = {
		.slot = id,
		.guest_phys_addr = piece->gpa,
		.memory_size = piece->len,
		.userspace_addr = piece->hva,
	};

	must(ioctl(vm_fd, KVM_SET_USER_MEMORY_REGION, &region),
	     "KVM_SET_USER_MEMORY_REGION");
}

int vm_with_memory(int kvm_fd, void *hva, __u64 len)
{
	const struct vmem_region piece = { .len = len, .hva = (uintptr_t)hva };
	int vm_fd = (int)must(ioctl(kvm_fd, KVM_CREATE_VM, 0), "KVM_CREATE_VM");

	add_slot(vm_fd, 0, &piece);
	return vm_fd;
}

static void read_all(int fd, __u8 *to, __u64 len, __u64 offset)
{
	ssize_t got;

	while (len) {
		got = must(pread(fd, to, len, (off_t)offset), "pread");
		errno = ENODATA;
		must(got ? 0 : -1, "the captured memory");
		to += got;
		offset += (__u64)got;
		len -= (__u64)got;
	}
}

static void load_piece(struct guest *guest, int fd, const GElf_Phdr *phdr)
{
	void *hva = mmap(NULL, phdr->p_memsz, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(hva == MAP_FAILED ? -1 : 0, "mmap");
	errno = ENOBUFS;
	must(guest->nr_pieces < MAX_PIECES ? 0 : -1, "pieces of memory");
	read_all(fd, hva, phdr->p_filesz, phdr->p_offset);
	guest->pieces[guest->nr_pieces] = (struct vmem_region){
		.gpa = phdr->p_paddr,
		.len = phdr->p_memsz,
		.hva = (uintptr_t)hva,
	};
	add_slot(guest->vm_fd, (__u32)guest->nr_pieces,
		 &guest->pieces[guest->nr_pieces]);
	guest->nr_pieces++;
}

static void load_memory(struct guest *guest, const char *path)
{
	int fd = (int)must(open(path, O_RDONLY | O_CLOEXEC), path);
	GElf_Phdr phdr;
	size_t i, nr;
	Elf *elf;

	elf_version(EV_CURRENT);
	elf = elf_begin(fd, ELF_C_READ, NULL);
	errno = ENOEXEC;
	must(elf && !elf_getphdrnum(elf, &nr) ? 0 : -1, path);
	for (i = 0; i < nr; i++)
		if (gelf_getphdr(elf, (int)i, &phdr) && phdr.p_type == PT_LOAD)
			load_piece(guest, fd, &phdr);
	elf_end(elf);
	close(fd);
}

void *guest_ptr(const struct guest *guest, __u64 gpa)
{
	const struct vmem_region *piece = guest->pieces;
	int i;

	for (i = 0; i < guest->nr_pieces; i++, piece++)
		if (gpa >= piece->gpa && gpa - piece->gpa < piece->len)
			return (void *)(uintptr_t)(piece->hva + gpa -
						   piece->gpa);
	return NULL;
}

/* ---- The vCPU ---- */

/* Before the registers: a guest without long mode cannot be in it. */
static void set_cpuid(const struct guest *guest)
{
	const __u32 room = 256;
	struct kvm_cpuid2 *cpuid;

	cpuid = calloc(1, sizeof(*cpuid) + room * sizeof(cpuid->entries[0]));
	must(cpuid ? 0 : -1, "calloc");
	cpuid->nent = room;
	must(ioctl(guest->kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid),
	     "KVM_GET_SUPPORTED_CPUID");
	must(ioctl(guest->vcpu_fd, KVM_SET_CPUID2, cpuid), "KVM_SET_CPUID2");
	free(cpuid);
}

/* A flat one of kernel mode. */
static struct kvm_segment segment(bool code)
{
	return (struct kvm_segment){
		.limit = 0xffffffff,
		.selector = code ? 0x08 : 0x10,
		.type = code ? 11 : 3,
		.present = 1,
		.db = !code,
		.l = code,
		.s = 1,
		.g = 1,
	};
}

static void set_segments(struct kvm_sregs *sregs)
{
	sregs->cs = segment(true);
	sregs->ds = segment(false);
	sregs->es = segment(false);
	sregs->fs = segment(false);
	sregs->gs = segment(false);
	sregs->ss = segment(false);
	sregs->tr = (struct kvm_segment){
		.limit = 0x67,
		.selector = 0x18,
		.type = 11,
		.present = 1,
	};
}

static void set_paging(const struct guest *guest, const struct vmem_regs *regs)
{
	struct kvm_sregs sregs;

	must(ioctl(guest->vcpu_fd, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
	set_segments(&sregs);
	sregs.cr0 = regs->cr0;
	sregs.cr3 = regs->cr3;
	sregs.cr4 = regs->cr4;
	sregs.efer = regs->efer;
	must(ioctl(guest->vcpu_fd, KVM_SET_SREGS, &sregs), "KVM_SET_SREGS");
}

/*
 * KVM_TRANSLATE reads as the kernel would: with CR4.SMAP it finds no user's
 * page unless EFLAGS.AC is set.
 */
static void set_rip(const struct guest *guest, __u64 rip, __u64 rbx)
{
	const struct kvm_regs regs = {
		.rip = rip,
		.rbx = rbx,
		.rflags = EFLAGS_FIXED | EFLAGS_AC,
	};

	must(ioctl(guest->vcpu_fd, KVM_SET_REGS, &regs), "KVM_SET_REGS");
}

static void add_vcpu(struct guest *guest)
{
	size_t len =
		(size_t)must(ioctl(guest->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0),
			     "KVM_GET_VCPU_MMAP_SIZE");

	guest->vcpu_fd = (int)must(ioctl(guest->vm_fd, KVM_CREATE_VCPU, 0),
				   "KVM_CREATE_VCPU");
	guest->run = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED,
			  guest->vcpu_fd, 0);
	must(guest->run == MAP_FAILED ? -1 : 0, "mmap of the vCPU");
	set_cpuid(guest);
}

void guest_load(struct guest *guest, const char *image,
		const struct vmem_regs *regs)
{
	*guest = (struct guest){ .nr_pieces = 0 };
	guest->kvm_fd =
		(int)must(open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
	guest->vm_fd = (int)must(ioctl(guest->kvm_fd, KVM_CREATE_VM, 0),
				 "KVM_CREATE_VM");
	load_memory(guest, image);
	add_vcpu(guest);
	set_paging(guest, regs);
	set_rip(guest, 0, 0);
}

void guest_prepare_loop(const struct guest *guest, __u64 code_va,
			__u64 code_gpa, __u64 counter_va)
{
	/* 1: incq (%rbx); jmp 1b */
	static const __u8 loop[] = { 0x48, 0xff, 0x03, 0xeb, 0xfb };

	memcpy(guest_ptr(guest, code_gpa), loop, sizeof(loop));
	set_rip(guest, code_va, counter_va);
}
