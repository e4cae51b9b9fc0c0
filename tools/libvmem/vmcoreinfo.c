// SPDX-License-Identifier: GPL-2.0-only
/*
 * VMCOREINFO: the note that a Linux kernel keeps at the start of a page of its own, for
 * whoever reads its memory after a crash
 *
 * The page may be a copy, or the guest's invention. A note counts if the tables that it
 * names lead back to themselves.
 */
#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "note.h"
#include "scan.h"
#include "vmcoreinfo.h"

/* Where an amd64 kernel has its own text and data, before they are moved. */
#define AMD64_TEXT 0xffffffff80000000ull

/* As the kernel writes it: the name takes up whole words. */
struct note_head {
	Elf64_Nhdr nhdr;
	char name[12];
};

/**
 * struct hunt - a look for the note
 * @scan: the pass over memory
 * @info: the note, or the first one that may be it
 * @regs: the registers that it leads to
 * @confirmed: its tables lead back
 * @step: the caller's
 * @priv: passed to @step
 */
struct hunt {
	struct scan scan;
	struct vmcoreinfo *info;
	struct vmem_regs *regs;
	bool confirmed;
	int (*step)(__u64 done, __u64 all, void *priv);
	void *priv;
};

static bool is_note(const void *page)
{
	static const char first[] = "OSRELEASE=";
	const struct note_head *head = page;

	return head->nhdr.n_namesz == sizeof(VMCOREINFO_NAME) &&
	       head->nhdr.n_type == VMCOREINFO_TYPE &&
	       head->nhdr.n_descsz >= sizeof(first) &&
	       head->nhdr.n_descsz <= MAX_VMCOREINFO &&
	       !memcmp(head->name, VMCOREINFO_NAME, sizeof(VMCOREINFO_NAME)) &&
	       !memcmp(head + 1, first, sizeof(first) - 1);
}

static int tell(__u64 done, __u64 all, void *priv)
{
	const struct hunt *hunt = priv;

	return hunt->step ? hunt->step(done, all, hunt->priv) : 0;
}

static bool is_text(const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (text[i] != '\n' && (text[i] < ' ' || text[i] > '~'))
			return false;
	return size && text[size - 1] == '\n';
}

static bool read_note(struct libvmem *vm, __u64 gpa, struct vmcoreinfo *info)
{
	struct libvmem_read read;
	struct note_head head;

	if (libvmem_read_phys(vm, gpa, &head, sizeof(head), &read, NULL) ||
	    read.len < sizeof(head) || head.nhdr.n_descsz > MAX_VMCOREINFO ||
	    libvmem_read_phys(vm, gpa + sizeof(head), info->text,
			      head.nhdr.n_descsz, &read, NULL) ||
	    read.len < head.nhdr.n_descsz)
		return false;
	info->gpa = gpa;
	info->size = head.nhdr.n_descsz;
	info->text[info->size] = '\0';
	return is_text(info->text, info->size);
}

/* The value of a line "KEY=value"; NULL without such a line. */
static const char *value_of(const struct vmcoreinfo *info, const char *key)
{
	const size_t len = strlen(key);

	for (const char *line = info->text; *line;
	     line = strchr(line, '\n') + 1)
		if (!strncmp(line, key, len) && line[len] == '=')
			return line + len + 1;
	return NULL;
}

/* The table is where the kernel says, if its tables say the same. */
static int compare(__u64 va, const struct vmem_translation *answer, void *priv)
{
	const __u64 *want = priv;

	(void)va;
	return answer->out_status == VMEM_MAPPED && answer->out_gpa == *want;
}

static bool leads_back(struct libvmem *vm, const struct vmem_regs *regs,
		       __u64 va)
{
	__u64 root = libvmem_root(regs);

	return libvmem_translate(vm, regs, &va, 1, compare, &root, NULL) > 0;
}

/* Ways to divide 4 GiB between user mode and the kernel, the usual one first */
static const __u64 splits[] = {
	0xc0000000, 0xb0000000, 0x80000000, 0x78000000, 0x40000000,
};

static bool find_i686(struct libvmem *vm, const struct vmcoreinfo *info,
		      __u64 va, struct vmem_regs *regs)
{
	const char *name = value_of(info, "CONFIG_X86_PAE") ? "i686-pae" :
							      "i686";

	for (size_t i = 0; i < ARRAY_SIZE(splits); i++) {
		if (va < splits[i])
			continue;
		*regs = libvmem_arch_regs(name)->regs;
		regs->cr3 = va - splits[i];
		if (leads_back(vm, regs, va))
			return true;
	}
	return false;
}

/* Find the registers of the kernel that the note is of. */
static bool find_regs(struct libvmem *vm, const struct vmcoreinfo *info,
		      struct vmem_regs *regs)
{
	const char *root = value_of(info, "SYMBOL(swapper_pg_dir)");
	const char *base = value_of(info, "NUMBER(phys_base)");
	const char *levels = value_of(info, "NUMBER(pgtable_l5_enabled)");
	const char *name = levels && *levels == '1' ? "amd64-la57" : "amd64";
	__u64 va;

	if (!root)
		return false;
	va = strtoull(root, NULL, 16);
	if (!base)
		return va >> 32 == 0 && find_i686(vm, info, va, regs);
	*regs = libvmem_arch_regs(name)->regs;
	regs->cr3 = va - AMD64_TEXT + strtoll(base, NULL, 10);
	return leads_back(vm, regs, va);
}

/* The one that counts ends the look. Without that, the first one is taken. */
static int take_page(__u64 gpa, const void *page, void *priv)
{
	struct hunt *hunt = priv;
	struct libvmem *vm = hunt->scan.vm;
	struct vmcoreinfo info;

	if (!gpa || !is_note(page) || !read_note(vm, gpa, &info))
		return 0;
	hunt->confirmed = find_regs(vm, &info, hunt->regs);
	if (hunt->confirmed || !hunt->info->gpa)
		*hunt->info = info;
	return hunt->confirmed;
}

int vmcoreinfo_find(struct libvmem *vm, struct vmcoreinfo *info,
		    struct vmem_regs *regs,
		    int (*step)(__u64 done, __u64 all, void *priv), void *priv,
		    struct libvmem_error *error)
{
	struct hunt hunt = {
		.scan = {
			.vm = vm,
			.page = take_page,
			.step = tell,
			.priv = &hunt,
		},
		.info = info,
		.regs = regs,
		.step = step,
		.priv = priv,
	};
	int ret;

	*info = (struct vmcoreinfo){};
	ret = scan_memory(&hunt.scan, error);
	if (hunt.confirmed)
		return 0;
	*regs = (struct vmem_regs){};
	return ret;
}
