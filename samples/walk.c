// SPDX-License-Identifier: GPL-2.0-only
/*
 * walk.c - over libvmem: where does a guest have an address, and what else does
 * it map?
 *
 *   walk -p PID CR3 VA     a guest that runs, of the VMM with that PID
 *   walk FILE VA           an image: an ELF core of QEMU's, or a snapshot
 *
 * Build it with: cc walk.c $(pkg-config --cflags --libs libvmem) -o walk
 */
#include <libvmem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fail(const struct libvmem_error *error)
{
	fprintf(stderr, "walk: %s%s%s\n", error->message,
		error->advice[0] ? ": " : "", error->advice);
	return EXIT_FAILURE;
}

/* Every entry on the way, from the root table on, and where it led. */
static int print_address(__u64 va, const struct vmem_translation *t, void *priv)
{
	(void)priv;
	for (unsigned int i = 0; i < t->out_nr_trace; i++)
		printf("entry %#llx = %#llx\n", t->out_trace[i].entry_gpa,
		       t->out_trace[i].raw);
	if (t->out_status == VMEM_MAPPED)
		printf("va %#llx = gpa %#llx, page of %llu bytes\n", va,
		       t->out_gpa, t->out_page_size);
	else
		printf("va %#llx is not mapped: status %u at level %u\n", va,
		       t->out_status, t->out_level);
	return 0;
}

static int print_mapping(const struct vmem_mapping *m, void *priv)
{
	(void)priv;
	printf("%016llx-%016llx %012llx r%c%c%c\n", m->va, m->last_va, m->gpa,
	       m->perms & VMEM_WRITABLE ? 'w' : '-',
	       m->perms & VMEM_EXECUTABLE ? 'x' : '-',
	       m->perms & VMEM_USER ? 'u' : 's');
	return 0;
}

static int walk(struct libvmem *vm, const struct libvmem_source *source,
		__u64 va, struct libvmem_error *error)
{
	struct libvmem_found found;
	struct vmem_regs regs;

	if (libvmem_find_regs(vm, source, &regs, error))
		return fail(error);
	printf("%s paging, root table at %#llx\n",
	       libvmem_mode_name(libvmem_mode(&regs)), libvmem_root(&regs));
	if (libvmem_translate(vm, &regs, &va, 1, print_address, NULL, error))
		return fail(error);
	if (libvmem_ranges(vm, &regs, 0, UINT64_MAX, print_mapping, NULL,
			   &found, error))
		return fail(error);
	printf("%llu mappings\n", found.mappings);
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	struct libvmem_source source = {};
	struct libvmem_error error;
	struct libvmem *vm;
	int status;

	if (argc == 5 && !strcmp(argv[1], "-p")) {
		/* KVM knows all registers of a vCPU that runs, but CR3. */
		source.given.regs.cr3 = strtoull(argv[3], NULL, 16);
		source.given.have = LIBVMEM_CR3;
		if (libvmem_open_pid(&vm, atoi(argv[2]), -1, &error))
			return fail(&error);
	} else if (argc == 3) {
		if (libvmem_open_image(&vm, argv[1], &error))
			return fail(&error);
	} else {
		fprintf(stderr, "usage: walk -p PID CR3 VA | walk FILE VA\n");
		return 2;
	}
	status = walk(vm, &source, strtoull(argv[argc - 1], NULL, 16), &error);
	libvmem_close(vm);
	return status;
}
