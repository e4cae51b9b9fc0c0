// SPDX-License-Identifier: GPL-2.0-only
/*
 * vmemctl info: the guest as the module sees it, or what an image has of it
 */
#include <errno.h>
#include <stdlib.h>

#include "image.h"
#include "vmemctl.h"

#define SLOTS_A_CALL 256

/**
 * struct guest - all that info prints
 * @image: the image that it is, or NULL
 * @info: version and limits
 * @slots: the guest's memory
 * @nr_slots: how many pieces of it
 * @vcpus: @info.out_nr_vcpus of them
 * @cr3s: CR3 of each vCPU, or NULL
 */
struct guest {
	const struct image *image;
	struct vmem_info_args info;
	struct vmem_memslot *slots;
	size_t nr_slots;
	struct vmem_vcpu_args *vcpus;
	__u64 *cr3s;
};

static void *array(void *old, size_t nr, size_t size)
{
	void *new = reallocarray(old, nr ? nr : 1, size);

	if (!new)
		die("out of memory");
	return new;
}

static void get_info(struct target *target, struct guest *guest)
{
	guest->info.size = sizeof(guest->info);
	if (target_ask(target, VMEM_INFO, &guest->info))
		fail(STEP_INFO, NULL, "cannot get the limits of the module");
}

static void get_slots(struct target *target, struct guest *guest)
{
	struct vmem_memslots_args args = {
		.size = sizeof(args),
		.nr = SLOTS_A_CALL,
		.slot_size = sizeof(struct vmem_memslot),
	};

	do {
		guest->slots = array(guest->slots,
				     guest->nr_slots + SLOTS_A_CALL,
				     sizeof(*guest->slots));
		args.slots = (uintptr_t)(guest->slots + guest->nr_slots);
		if (target_ask(target, VMEM_MEMSLOTS, &args))
			fail(STEP_MEMSLOTS, NULL,
			     "cannot list the guest's memory");
		guest->nr_slots += args.out_nr;
		args.gpa = args.out_next_gpa;
	} while (args.out_nr == args.nr);
}

static void get_vcpus(struct target *target, struct guest *guest)
{
	unsigned int nr = guest->info.out_nr_vcpus;

	guest->vcpus = array(NULL, nr, sizeof(*guest->vcpus));
	for (unsigned int i = 0; i < nr; i++)
		regs_of_vcpu(target, i, &guest->vcpus[i]);
}

/* KVM and QEMU number vCPUs alike: in the order of their creation. */
static void get_cr3s(const char *path, struct guest *guest)
{
	unsigned int nr = guest->info.out_nr_vcpus;
	struct qmp *qmp = qmp_open(path);
	struct known_regs known;

	guest->cr3s = array(NULL, nr, sizeof(*guest->cr3s));
	for (unsigned int i = 0; i < nr; i++) {
		qmp_regs(qmp, i, &known);
		guest->cr3s[i] = known.regs.cr3;
	}
	qmp_close(qmp);
}

static void get_image_cr3s(struct guest *guest)
{
	unsigned int nr = guest->info.out_nr_vcpus;

	guest->cr3s = array(NULL, nr, sizeof(*guest->cr3s));
	for (unsigned int i = 0; i < nr; i++)
		guest->cr3s[i] = guest->vcpus[i].out_regs.cr3;
}

static void free_guest(struct guest *guest)
{
	free(guest->slots);
	free(guest->vcpus);
	free(guest->cr3s);
}

static const char *source_name(__u32 source)
{
	switch (source) {
	case VMEM_SOURCE_KVM:
		return "kvm";
	case VMEM_SOURCE_REGIONS:
		return "regions";
	default:
		return "none";
	}
}

static void print_slots(const struct guest *guest)
{
	char size[SIZE_TEXT_MAX];

	out("\n%4s  %-27s  %10s  %-16s  FLAGS\n", "SLOT", "GUEST-PHYSICAL",
	    "SIZE", guest->image ? "FILE OFFSET" : "HVA");
	for (size_t i = 0; i < guest->nr_slots; i++) {
		const struct vmem_memslot *slot = &guest->slots[i];
		bool readonly = slot->flags & VMEM_MEMSLOT_READONLY;

		out("%4u  %013llx-%013llx  %10s  %016llx  %s\n", slot->id,
		    slot->gpa, slot->gpa + slot->len - 1,
		    size_text(slot->len, size), slot->hva,
		    readonly ? "readonly" : "-");
	}
}

static void print_vcpus(const struct guest *guest)
{
	out("\n%4s  %4s  %8s  %8s  %4s  %10s  ", "VCPU", "ID", "CR0", "CR4",
	    "EFER", "MAXPHYADDR");
	if (guest->cr3s)
		out("%16s  ", "CR3");
	out("MODE\n");
	for (unsigned int i = 0; i < guest->info.out_nr_vcpus; i++) {
		const struct vmem_vcpu_args *vcpu = &guest->vcpus[i];
		const struct vmem_regs *regs = &vcpu->out_regs;

		out("%4u  %4u  %8llx  %8llx  %4llx  %10u  ", i, vcpu->out_id,
		    regs->cr0, regs->cr4, regs->efer, regs->maxphyaddr);
		if (guest->cr3s)
			out("%16llx  ", guest->cr3s[i]);
		out("%s\n", paging_text(regs_paging(regs)));
	}
}

static void print_image(const struct image *image)
{
	char size[SIZE_TEXT_MAX];

	out("image %s\n", image->path);
	out("format %s%s, %s\n", image->format,
	    image->nr_spaces ? ", snapshot" : "", size_text(image->size, size));
}

static void print_snapshot(const struct image *image)
{
	out("\n%5s  %16s  %16s  MODE\n", "SPACE", "ROOT", "IN THE GUEST");
	for (unsigned int i = 0; i < image->nr_spaces; i++)
		out("%5u  %16llx  %16llx  %s\n", i, image->spaces[i].root,
		    image->spaces[i].space,
		    paging_text(regs_paging(&image->regs)));
}

static void print_module(const struct vmem_info_args *info)
{
	out("vmem API %u, source %s\n", info->out_api_version,
	    source_name(info->out_source));
	out("limits: %u pinned pages a session, %llu table entries a call, %u regions\n",
	    info->out_max_pinned, info->out_max_entries, info->out_max_regions);
}

static void print_text(const struct guest *guest)
{
	if (guest->image)
		print_image(guest->image);
	else
		print_module(&guest->info);
	print_slots(guest);
	if (guest->info.out_nr_vcpus || !guest->image)
		print_vcpus(guest);
	if (guest->image && guest->image->nr_spaces)
		print_snapshot(guest->image);
}

static json_t *json_limits(const struct vmem_info_args *info)
{
	json_t *o = json_object();

	json_set(o, "max_pinned", json_integer(info->out_max_pinned));
	json_set(o, "max_regions", json_integer(info->out_max_regions));
	json_set(o, "max_entries", json_integer(info->out_max_entries));
	return o;
}

static json_t *json_slots(const struct guest *guest)
{
	json_t *slots = json_array();

	for (size_t i = 0; i < guest->nr_slots; i++) {
		const struct vmem_memslot *slot = &guest->slots[i];
		bool readonly = slot->flags & VMEM_MEMSLOT_READONLY;
		json_t *o = json_object();

		json_set(o, "id", json_integer(slot->id));
		json_set(o, "gpa", json_hex(slot->gpa));
		json_set(o, "len", json_integer(slot->len));
		json_set(o, guest->image ? "offset" : "hva",
			 json_hex(slot->hva));
		json_set(o, "readonly", json_boolean(readonly));
		json_add(slots, o);
	}
	return slots;
}

static json_t *json_vcpus(const struct guest *guest)
{
	json_t *vcpus = json_array();

	for (unsigned int i = 0; i < guest->info.out_nr_vcpus; i++) {
		const struct vmem_regs *regs = &guest->vcpus[i].out_regs;
		json_t *o = json_object();

		json_set(o, "id", json_integer(guest->vcpus[i].out_id));
		json_set(o, "mode", json_name(paging_name(regs_paging(regs))));
		json_set(o, "cr0", json_hex(regs->cr0));
		json_set(o, "cr4", json_hex(regs->cr4));
		json_set(o, "efer", json_hex(regs->efer));
		json_set(o, "maxphyaddr", json_integer(regs->maxphyaddr));
		if (guest->cr3s)
			json_set(o, "cr3", json_hex(guest->cr3s[i]));
		json_add(vcpus, o);
	}
	return vcpus;
}

static json_t *json_spaces(const struct image *image)
{
	json_t *spaces = json_array();

	for (unsigned int i = 0; i < image->nr_spaces; i++) {
		json_t *o = json_object();

		json_set(o, "root", json_hex(image->spaces[i].root));
		json_set(o, "space", json_hex(image->spaces[i].space));
		json_add(spaces, o);
	}
	return spaces;
}

/* A path need not be text that JSON can hold. */
static json_t *json_image(const struct image *image)
{
	json_t *file = json_string(image->path);
	json_t *o = json_object();

	json_set(o, "file", file ? file : json_null());
	json_set(o, "format", json_name(image->format));
	json_set(o, "size", json_count(image->size));
	json_set(o, "spaces", json_spaces(image));
	return o;
}

static void print_json(const struct guest *guest)
{
	const struct vmem_info_args *info = &guest->info;
	json_t *o = json_object();

	json_set(o, "api_version", json_integer(info->out_api_version));
	if (guest->image) {
		json_set(o, "source", json_name("image"));
		json_set(o, "image", json_image(guest->image));
	} else {
		json_set(o, "source", json_name(source_name(info->out_source)));
		json_set(o, "limits", json_limits(info));
	}
	json_set(o, "memslots", json_slots(guest));
	json_set(o, "vcpus", json_vcpus(guest));
	json_print(o);
}

static void run(const struct opts *opts, int nr_args, char **args)
{
	struct guest guest = {};
	struct target *target;

	if (nr_args)
		usage("info takes no argument, but got '%s'", args[0]);
	target = target_open(opts);
	guest.image = target->image;
	get_info(target, &guest);
	get_slots(target, &guest);
	get_vcpus(target, &guest);
	if (opts->qmp)
		get_cr3s(opts->qmp, &guest);
	if (guest.image)
		get_image_cr3s(&guest);

	if (opts->json)
		print_json(&guest);
	else
		print_text(&guest);
	free_guest(&guest);
	target_close(target);
}

const struct command info_command = {
	.name = "info",
	.args = "",
	.summary = "memory slots, vCPUs, paging modes, versions",
	.help = "Show the guest's memory slots, its vCPUs with their paging modes,\n"
		"and the version and limits of the vmem module. Of an image, show what\n"
		"memory it has, its vCPUs, and the spaces of a snapshot.\n"
		"\vOf a guest that runs, CR3 is shown with --qmp only: KVM's copy of\n"
		"it is out of date while a vCPU runs.",
	.run = run,
};
