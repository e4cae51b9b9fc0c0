// SPDX-License-Identifier: GPL-2.0-only
/*
 * vmemctl info: a guest's memory and vCPUs, and the module's limits
 */
#include <stdlib.h>
#include <string.h>

#include "vmemctl.h"

/**
 * struct guest - all that info prints except memory slots, which are streamed
 * @vm: the guest
 * @image: the image that it is, or NULL
 * @has_files: the image is in several files
 * @is_packed: memory has no place of its own in the image's file
 * @info: version and limits
 * @vcpus: @info.out_nr_vcpus of them; @size is 0 where the registers are withheld
 */
struct guest {
	struct libvmem *vm;
	const struct libvmem_image *image;
	bool has_files;
	bool is_packed;
	struct vmem_info_args info;
	struct vmem_vcpu_args *vcpus;
};

static void *array(size_t nr, size_t size)
{
	void *new = calloc(nr ? nr : 1, size);

	if (!new)
		die("out of memory");
	return new;
}

static void get_vcpus(struct libvmem *vm, struct guest *guest)
{
	unsigned int nr = guest->info.out_nr_vcpus;
	struct libvmem_error error;

	guest->vcpus = array(nr, sizeof(*guest->vcpus));
	for (unsigned int i = 0; i < nr; i++) {
		int ret = libvmem_vcpu(vm, i, PATIENCE_US, &guest->vcpus[i],
				       &error);

		if (ret == -LIBVMEM_UNREADABLE)
			guest->vcpus[i].size = 0;
		else
			check(ret, &error);
	}
}

/* KVM keeps the vCPUs that were plugged out, and QEMU knows them no more. */
static void get_cr3s(struct libvmem_qmp *qmp, struct guest *guest)
{
	const struct libvmem_qmp_vcpu *vcpus;
	unsigned int nr = libvmem_qmp_vcpus(qmp, &vcpus);
	struct libvmem_error error;
	struct libvmem_regs known;

	for (unsigned int i = 0; i < nr; i++) {
		check(libvmem_qmp_regs(qmp, vcpus[i].index, &known, &error),
		      &error);
		for (unsigned int j = 0; j < guest->info.out_nr_vcpus; j++) {
			if (guest->vcpus[j].out_id != vcpus[i].apic_id)
				continue;
			guest->vcpus[j].out_regs.cr3 = known.regs.cr3;
			guest->vcpus[j].out_state &= ~VMEM_VCPU_NO_CR3;
		}
	}
}

static bool has_files(const struct opts *opts)
{
	for (unsigned int i = 0; i < opts->nr_regions; i++)
		if (opts->regions[i].path)
			return true;
	return false;
}

static void get_guest(struct libvmem *vm, struct libvmem_qmp *qmp,
		      struct guest *guest)
{
	struct libvmem_error error;

	guest->vm = vm;
	guest->image = libvmem_image(vm);
	guest->is_packed = guest->image &&
			   !strcmp(guest->image->format, "kdump");
	check(libvmem_info(vm, &guest->info, &error), &error);
	get_vcpus(vm, guest);
	if (qmp)
		get_cr3s(qmp, guest);
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

/* ", AMD, C-bit 51", and nothing where all rules are the usual ones */
static void print_rules(__u32 rules)
{
	unsigned int bit = rules >> 8;

	if (rules & VMEM_RULES_AMD)
		out(", AMD");
	if (rules & VMEM_RULES_NO_1G)
		out(", no 1 GiB pages");
	if (bit)
		out(", %s %u",
		    rules & VMEM_RULES_SHARED_BIT ? "shared bit" : "C-bit",
		    bit);
}

static void put_rules(bool has, __u32 rules)
{
	bool shared = rules & VMEM_RULES_SHARED_BIT;
	unsigned int bit = rules >> 8;

	if (!has) {
		json_put_null("rules");
		return;
	}
	json_open_object("rules");
	json_put_bool("amd", rules & VMEM_RULES_AMD);
	json_put_bool("no_1g", rules & VMEM_RULES_NO_1G);
	json_put_count_if("c_bit", bit && !shared, bit);
	json_put_count_if("shared_bit", bit && shared, bit);
	json_close();
}

static const struct {
	__u32 flag;
	const char *name;
	const char *text;
} protections[] = {
	{ VMEM_PROTECTION_PRIVATE, "private",
	  "pages may be private to the guest: they cannot be read" },
	{ VMEM_PROTECTION_ENCRYPTED, "encrypted",
	  "memory is encrypted: no page table can be read" },
	{ VMEM_PROTECTION_REGISTERS, "registers",
	  "registers are encrypted: they cannot be read" },
};

static const char *mode_text(const struct vmem_regs *regs)
{
	return libvmem_mode_text(libvmem_mode(regs));
}

static int print_slot(const struct vmem_memslot *slot, void *priv)
{
	bool readonly = slot->flags & VMEM_MEMSLOT_READONLY;
	const struct guest *guest = priv;
	char size[SIZE_TEXT_MAX];

	out("%4u  %013llx-%013llx  %10s  ", slot->id, slot->gpa,
	    slot->gpa + slot->len - 1, size_text(slot->len, size));
	if (guest->is_packed)
		out("%-16s", "packed");
	else
		out("%016llx", slot->hva);
	out("  %s", readonly ? "readonly" : "-");
	if (guest->has_files)
		out("      %s", libvmem_image_file(guest->vm, slot->id));
	out("\n");
	return out_ended();
}

static void print_slots(struct libvmem *vm, struct guest *guest)
{
	struct libvmem_error error;

	out("\n%4s  %-27s  %10s  %-16s  FLAGS%s\n", "SLOT", "GUEST-PHYSICAL",
	    "SIZE", guest->image ? "FILE OFFSET" : "HVA",
	    guest->has_files ? "  FILE" : "");
	check(libvmem_memslots(vm, print_slot, guest, &error), &error);
}

static void print_vcpus(const struct guest *guest)
{
	out("\n%4s  %4s  %8s  %8s  %4s  %10s  %16s  ", "VCPU", "ID", "CR0",
	    "CR4", "EFER", "MAXPHYADDR", "CR3");
	if (!guest->image)
		out("%16s  ", "PAT");
	out("MODE\n");
	for (unsigned int i = 0; i < guest->info.out_nr_vcpus; i++) {
		const struct vmem_vcpu_args *vcpu = &guest->vcpus[i];
		const struct vmem_regs *regs = &vcpu->out_regs;

		if (!vcpu->size) {
			out("%4u  withheld by the guest\n", i);
			continue;
		}
		out("%4u  %4u  %8llx  %8llx  %4llx  %10u  ", i, vcpu->out_id,
		    regs->cr0, regs->cr4, regs->efer, regs->maxphyaddr);
		if (vcpu->out_state & VMEM_VCPU_NO_CR3)
			out("%16s  ", "-");
		else
			out("%16llx  ", regs->cr3);
		if (!guest->image && vcpu->out_pat)
			out("%016llx  ", vcpu->out_pat);
		else if (!guest->image)
			out("%16s  ", "-");
		out("%s", mode_text(regs));
		print_rules(regs->rules);
		out("\n");
	}
}

static void print_image(const struct libvmem_image *image)
{
	char size[SIZE_TEXT_MAX];

	out("image %s\n", image->path);
	out("format %s%s, %s\n", image->format,
	    image->nr_spaces ? ", snapshot" : "", size_text(image->size, size));
}

static void print_snapshot(const struct libvmem_image *image)
{
	out("\n%5s  %16s  %16s  MODE\n", "SPACE", "ROOT", "IN THE GUEST");
	for (unsigned int i = 0; i < image->nr_spaces; i++) {
		out("%5u  %16llx  %16llx  %s", i, image->spaces[i].root,
		    image->spaces[i].space, mode_text(&image->regs));
		print_rules(image->regs.rules);
		out("\n");
	}
}

static void print_module(const struct vmem_info_args *info)
{
	out("vmem API %u, source %s\n", info->out_api_version,
	    source_name(info->out_source));
	out("limits: %llu table entries a call, %u regions\n",
	    info->out_max_entries, info->out_max_regions);
	for (size_t i = 0; i < ARRAY_SIZE(protections); i++)
		if (info->out_protection & protections[i].flag)
			out("protection: %s\n", protections[i].text);
}

static void print_text(struct libvmem *vm, struct guest *guest)
{
	if (guest->image)
		print_image(guest->image);
	else
		print_module(&guest->info);
	print_slots(vm, guest);
	if (guest->info.out_nr_vcpus || !guest->image)
		print_vcpus(guest);
	if (guest->image && guest->image->nr_spaces)
		print_snapshot(guest->image);
}

static void put_limits(const struct vmem_info_args *info)
{
	json_open_object("limits");
	json_put_count("max_regions", info->out_max_regions);
	json_put_count("max_entries", info->out_max_entries);
	json_close();
	json_open_list("protection");
	for (size_t i = 0; i < ARRAY_SIZE(protections); i++)
		if (info->out_protection & protections[i].flag)
			json_put_name(NULL, protections[i].name);
	json_close();
}

static int put_slot(const struct vmem_memslot *slot, void *priv)
{
	const struct guest *guest = priv;

	json_open_row(NULL, "memslot");
	json_put_count("id", slot->id);
	json_put_hex("gpa", slot->gpa);
	json_put_count("len", slot->len);
	json_put_hex_if(guest->image ? "offset" : "hva", !guest->is_packed,
			slot->hva);
	if (guest->image)
		json_put_text("file", libvmem_image_file(guest->vm, slot->id));
	json_put_bool("readonly", slot->flags & VMEM_MEMSLOT_READONLY);
	json_close();
	return out_ended();
}

/* Its registers are null where the guest withholds them. */
static void put_vcpu(const struct guest *guest, unsigned int index)
{
	const struct vmem_vcpu_args *vcpu = &guest->vcpus[index];
	const struct vmem_regs *regs = &vcpu->out_regs;
	bool told = vcpu->size;

	json_open_row(NULL, "vcpu");
	json_put_count("vcpu", index);
	json_put_bool("withheld", !told);
	json_put_count_if("id", told, vcpu->out_id);
	json_put_name("mode",
		      told ? libvmem_mode_name(libvmem_mode(regs)) : NULL);
	json_put_hex_if("cr0", told, regs->cr0);
	json_put_hex_if("cr4", told, regs->cr4);
	json_put_hex_if("efer", told, regs->efer);
	json_put_count_if("maxphyaddr", told, regs->maxphyaddr);
	json_put_hex_if("cr3", told && !(vcpu->out_state & VMEM_VCPU_NO_CR3),
			regs->cr3);
	json_put_hex_if("pat", told && !guest->image && vcpu->out_pat,
			vcpu->out_pat);
	put_rules(told && !guest->image, regs->rules);
	json_close();
}

static void put_spaces(const struct libvmem_image *image)
{
	json_open_list("spaces");
	for (unsigned int i = 0; i < image->nr_spaces; i++) {
		json_open_row(NULL, "space");
		json_put_count("space", i);
		json_put_hex("root", image->spaces[i].root);
		json_put_hex("old_root", image->spaces[i].space);
		json_close();
	}
	json_close();
}

static void put_image(const struct libvmem_image *image)
{
	json_open_object("image");
	json_put_text("file", image->path);
	json_put_name("format", image->format);
	json_put_count("file_bytes", image->size);
	put_rules(image->nr_spaces, image->regs.rules);
	json_close();
	put_spaces(image);
}

static void print_json(struct libvmem *vm, struct guest *guest)
{
	const struct vmem_info_args *info = &guest->info;
	struct libvmem_error error;

	json_begin("info");
	json_put_count("api_version", info->out_api_version);
	json_put_name("source",
		      guest->image ? "image" : source_name(info->out_source));
	if (guest->image)
		put_image(guest->image);
	else
		put_limits(info);
	json_open_list("vcpus");
	for (unsigned int i = 0; i < info->out_nr_vcpus; i++)
		put_vcpu(guest, i);
	json_close();
	json_open_list("memslots");
	check(libvmem_memslots(vm, put_slot, guest, &error), &error);
	json_close();
	json_end();
}

static void run(struct opts *opts, int nr_args, char **args)
{
	struct guest guest = { .has_files = has_files(opts) };
	struct libvmem *vm;

	if (nr_args)
		usage("info takes no argument, but got '%s'", args[0]);
	vm = guest_open(opts);
	get_guest(vm, opts->source.qmp, &guest);
	if (opts->json)
		print_json(vm, &guest);
	else
		print_text(vm, &guest);
	free(guest.vcpus);
	guest_close(vm, opts);
}

const struct command info_command = {
	.name = "info",
	.args = "",
	.summary = "memory slots, vCPUs, paging modes, versions",
	.help = "Show the guest's memory slots, its vCPUs with their paging modes,\n"
		"and the version and limits of the vmem module. Of an image, show what\n"
		"memory it has, its vCPUs, and the spaces of a snapshot.\n"
		"\vCR3 of a guest that runs is that of a moment ago: see vmemctl vcpus.",
	.takes = TAKES_QMP | TAKES_JSON,
	.run = run,
};
