// SPDX-License-Identifier: GPL-2.0-only
/*
 * vmemctl info: a guest's memory and vCPUs, and the module's limits
 */
#include <stdlib.h>
#include <string.h>

#include "vmemctl.h"

/**
 * struct guest - all that info prints except memory slots, which are streamed
 * @image: the image that it is, or NULL
 * @info: version and limits
 * @vcpus: @info.out_nr_vcpus of them; @size is 0 where the registers are withheld
 * @has_slots: for JSON, the list of slots has an element
 */
struct guest {
	const struct libvmem_image *image;
	struct vmem_info_args info;
	struct vmem_vcpu_args *vcpus;
	bool has_slots;
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

static void get_guest(struct libvmem *vm, struct libvmem_qmp *qmp,
		      struct guest *guest)
{
	struct libvmem_error error;

	guest->image = libvmem_image(vm);
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

static json_t *json_rules(__u32 rules)
{
	bool shared = rules & VMEM_RULES_SHARED_BIT;
	unsigned int bit = rules >> 8;
	json_t *o = json_object();

	json_set(o, "amd", json_boolean(rules & VMEM_RULES_AMD));
	json_set(o, "no_1g", json_boolean(rules & VMEM_RULES_NO_1G));
	json_set(o, "c_bit", bit && !shared ? json_integer(bit) : json_null());
	json_set(o, "shared_bit",
		 bit && shared ? json_integer(bit) : json_null());
	return o;
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
	char size[SIZE_TEXT_MAX];

	(void)priv;
	out("%4u  %013llx-%013llx  %10s  %016llx  %s\n", slot->id, slot->gpa,
	    slot->gpa + slot->len - 1, size_text(slot->len, size), slot->hva,
	    readonly ? "readonly" : "-");
	return out_ended();
}

static void print_slots(struct libvmem *vm, const struct guest *guest)
{
	struct libvmem_error error;

	out("\n%4s  %-27s  %10s  %-16s  FLAGS\n", "SLOT", "GUEST-PHYSICAL",
	    "SIZE", guest->image ? "FILE OFFSET" : "HVA");
	check(libvmem_memslots(vm, print_slot, NULL, &error), &error);
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

static void print_text(struct libvmem *vm, const struct guest *guest)
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

static json_t *json_limits(const struct vmem_info_args *info)
{
	json_t *o = json_object();

	json_set(o, "max_regions", json_integer(info->out_max_regions));
	json_set(o, "max_entries", json_integer(info->out_max_entries));
	return o;
}

static json_t *json_protection(const struct vmem_info_args *info)
{
	json_t *names = json_array();

	for (size_t i = 0; i < ARRAY_SIZE(protections); i++)
		if (info->out_protection & protections[i].flag)
			json_add(names, json_name(protections[i].name));
	return names;
}

static int put_slot(const struct vmem_memslot *slot, void *priv)
{
	struct guest *guest = priv;
	bool readonly = slot->flags & VMEM_MEMSLOT_READONLY;
	json_t *o = json_object();

	json_set(o, "id", json_integer(slot->id));
	json_set(o, "gpa", json_hex(slot->gpa));
	json_set(o, "len", json_integer(slot->len));
	json_set(o, guest->image ? "offset" : "hva", json_hex(slot->hva));
	json_set(o, "readonly", json_boolean(readonly));
	json_put_next(&guest->has_slots, o);
	return out_ended();
}

static json_t *json_vcpus(const struct guest *guest)
{
	json_t *vcpus = json_array();

	for (unsigned int i = 0; i < guest->info.out_nr_vcpus; i++) {
		const struct vmem_vcpu_args *vcpu = &guest->vcpus[i];
		const struct vmem_regs *regs = &vcpu->out_regs;
		json_t *o;

		if (!vcpu->size) {
			json_add(vcpus, json_null());
			continue;
		}
		o = json_object();
		json_set(o, "id", json_integer(vcpu->out_id));
		json_set(o, "mode",
			 json_name(libvmem_mode_name(libvmem_mode(regs))));
		json_set(o, "cr0", json_hex(regs->cr0));
		json_set(o, "cr4", json_hex(regs->cr4));
		json_set(o, "efer", json_hex(regs->efer));
		json_set(o, "maxphyaddr", json_integer(regs->maxphyaddr));
		json_set(o, "cr3",
			 vcpu->out_state & VMEM_VCPU_NO_CR3 ?
				 json_null() :
				 json_hex(regs->cr3));
		if (!guest->image) {
			json_set(o, "pat",
				 vcpu->out_pat ? json_hex(vcpu->out_pat) :
						 json_null());
			json_set(o, "rules", json_rules(regs->rules));
		}
		json_add(vcpus, o);
	}
	return vcpus;
}

static json_t *json_spaces(const struct libvmem_image *image)
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

static json_t *json_image(const struct libvmem_image *image)
{
	json_t *o = json_object();

	json_set(o, "file", json_path(image->path));
	json_set(o, "format", json_name(image->format));
	json_set(o, "size", json_count(image->size));
	json_set(o, "spaces", json_spaces(image));
	if (image->nr_spaces)
		json_set(o, "rules", json_rules(image->regs.rules));
	return o;
}

/* Print a member: @name includes the punctuation before the value. */
static void put(const char *name, json_t *value)
{
	out("%s", name);
	json_put(value);
}

/* Streamed, since a guest may have many slots */
static void print_json(struct libvmem *vm, struct guest *guest)
{
	const struct vmem_info_args *info = &guest->info;
	struct libvmem_error error;
	int ret;

	put("{\"api_version\":", json_integer(info->out_api_version));
	if (guest->image) {
		put(",\"source\":", json_name("image"));
		put(",\"image\":", json_image(guest->image));
	} else {
		put(",\"source\":", json_name(source_name(info->out_source)));
		put(",\"limits\":", json_limits(info));
		put(",\"protection\":", json_protection(info));
	}
	put(",\"vcpus\":", json_vcpus(guest));
	out(",\"memslots\":[");
	ret = libvmem_memslots(vm, put_slot, guest, &error);
	out("]");
	if (ret < 0)
		put(",\"error\":", json_path(error.message));
	out("}\n");
	check(ret, &error);
}

static void run(struct opts *opts, int nr_args, char **args)
{
	struct guest guest = {};
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
	.run = run,
};
