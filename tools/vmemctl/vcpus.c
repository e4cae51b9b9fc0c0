// SPDX-License-Identifier: GPL-2.0-only
/*
 * vmemctl vcpus: where each vCPU is at the moment, or has been in a while
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "vmemctl.h"

/* How often one is sampled */
#define BETWEEN_SAMPLES_US 1000

static const char *const known_names[] = {
	[VMEM_KNOWN_UNKNOWN] = "unknown",
	[VMEM_KNOWN_ENTRY] = "entry",
	[VMEM_KNOWN_EXIT] = "exit",
	[VMEM_KNOWN_HALTED] = "halted",
};

static const char *known_name(__u32 known)
{
	return known < ARRAY_SIZE(known_names) ? known_names[known] : "unknown";
}

static const char *state_text(__u32 state)
{
	if (state & VMEM_VCPU_SMM)
		return ", in system management mode";
	return state & VMEM_VCPU_NESTED ? ", in a guest of the guest" : "";
}

static unsigned int nr_vcpus(struct libvmem *vm)
{
	struct libvmem_error error;
	struct vmem_info_args info;

	check(libvmem_info(vm, &info, &error), &error);
	return info.out_nr_vcpus;
}

/* Returns whether the vCPU tells its registers; only encrypted ones are none. */
static bool look(struct libvmem *vm, unsigned int index,
		 struct vmem_vcpu_args *vcpu)
{
	struct libvmem_error error;
	int ret = libvmem_vcpu(vm, index, PATIENCE_US, vcpu, &error);

	if (ret == -LIBVMEM_UNREADABLE)
		return false;
	check(ret, &error);
	return true;
}

/* Returns whether it pages, by a root that is the guest's own. */
static bool has_own_root(const struct vmem_vcpu_args *vcpu)
{
	return libvmem_has_own_root(vcpu) &&
	       libvmem_top_level(&vcpu->out_regs) != VMEM_LEVEL_NONE;
}

/* ---- Now ---- */

static int take_perms(__u64 va, const struct vmem_translation *answer,
		      void *priv)
{
	__u32 *perms = priv;

	(void)va;
	if (answer->out_status == VMEM_MAPPED)
		*perms = answer->out_perms;
	return 0;
}

/*
 * KVM does not tell the privilege level. User mode cannot fetch from a page of the
 * supervisor's, and no kernel of today fetches from one of user mode's (SMEP).
 */
static const char *privilege(struct libvmem *vm,
			     const struct vmem_vcpu_args *vcpu)
{
	__u32 perms = 0;

	if (vcpu->out_state & VMEM_VCPU_NO_RIP || !libvmem_has_own_root(vcpu) ||
	    libvmem_translate(vm, &vcpu->out_regs, &vcpu->out_rip, 1,
			      take_perms, &perms, NULL) ||
	    !(perms & VMEM_EXECUTABLE))
		return NULL;
	return perms & VMEM_USER ? "user" : "kernel";
}

static void print_vcpu(struct libvmem *vm, unsigned int index,
		       const struct vmem_vcpu_args *vcpu)
{
	const struct vmem_regs *regs = &vcpu->out_regs;

	out("%4u  %4u  %-7s  ", index, vcpu->out_id,
	    known_name(vcpu->out_known));
	if (vcpu->out_state & VMEM_VCPU_NO_CR3)
		out("%16s  ", "-");
	else
		out("%16llx  ", regs->cr3);
	if (vcpu->out_state & VMEM_VCPU_NO_RIP)
		out("%16s  ", "-");
	else
		out("%16llx  ", vcpu->out_rip);
	out("%-6s  %s%s\n", privilege(vm, vcpu) ?: "-",
	    libvmem_mode_text(libvmem_mode(regs)), state_text(vcpu->out_state));
}

/* Its registers are null where the guest withholds them. */
static void put_vcpu(struct libvmem *vm, unsigned int index,
		     const struct vmem_vcpu_args *vcpu, bool told)
{
	const struct vmem_regs *regs = &vcpu->out_regs;
	__u32 state = vcpu->out_state;

	json_open_row(NULL, "vcpu");
	json_put_count("vcpu", index);
	json_put_bool("withheld", !told);
	json_put_count_if("id", told, vcpu->out_id);
	json_put_name("known", told ? known_name(vcpu->out_known) : NULL);
	json_put_hex_if("cr3", told && !(state & VMEM_VCPU_NO_CR3), regs->cr3);
	json_put_hex_if("root", told && has_own_root(vcpu), libvmem_root(regs));
	json_put_hex_if("rip", told && !(state & VMEM_VCPU_NO_RIP),
			vcpu->out_rip);
	json_put_name("privilege", told ? privilege(vm, vcpu) : NULL);
	json_put_name("mode",
		      told ? libvmem_mode_name(libvmem_mode(regs)) : NULL);
	json_put_bool_if("smm", told, state & VMEM_VCPU_SMM);
	json_put_bool_if("nested", told, state & VMEM_VCPU_NESTED);
	json_close();
}

static void show_vcpu(struct libvmem *vm, unsigned int index, bool json)
{
	struct vmem_vcpu_args vcpu = {};
	bool told = look(vm, index, &vcpu);

	if (json)
		put_vcpu(vm, index, &vcpu, told);
	else if (told)
		print_vcpu(vm, index, &vcpu);
	else
		out("%4u  withheld by the guest\n", index);
}

static void show_now(struct libvmem *vm, bool json)
{
	unsigned int nr = nr_vcpus(vm);

	if (!nr)
		die("there is no vCPU: raw memory has none, nor has a VM before its first");
	if (json) {
		json_begin("vcpus");
		json_open_list("vcpus");
	} else {
		out("%4s  %4s  %-7s  %16s  %16s  %-6s  MODE\n", "VCPU", "ID",
		    "KNOWN", "CR3", "RIP", "CODE");
	}
	for (unsigned int i = 0; i < nr; i++)
		show_vcpu(vm, i, json);
	if (json) {
		json_close();
		json_end();
	}
}

/* ---- In a while ---- */

/**
 * struct sampled - a root that a vCPU was seen with
 * @vcpu: index of the vCPU
 * @has_root: there was one that is the guest's own
 * @root: guest-physical address of its root table
 * @nr: how often it was seen
 * @halted: how often of these the vCPU was halted
 */
struct sampled {
	unsigned int vcpu;
	bool has_root;
	__u64 root;
	__u64 nr;
	__u64 halted;
};

/**
 * struct samples - all that was seen
 * @rows: the roots
 * @nr: length of @rows
 */
struct samples {
	struct sampled *rows;
	size_t nr;
};

static struct sampled *row_of(struct samples *samples, unsigned int vcpu,
			      bool has_root, __u64 root)
{
	size_t i;

	for (i = 0; i < samples->nr; i++) {
		struct sampled *row = &samples->rows[i];

		if (row->vcpu == vcpu && row->has_root == has_root &&
		    row->root == root)
			return row;
	}
	samples->rows = reallocarray(samples->rows, ++samples->nr,
				     sizeof(*samples->rows));
	if (!samples->rows)
		die("out of memory");
	samples->rows[i] = (struct sampled){ vcpu, has_root, root, 0, 0 };
	return &samples->rows[i];
}

static void sample(struct libvmem *vm, unsigned int index,
		   struct samples *samples)
{
	struct vmem_vcpu_args vcpu;
	struct sampled *row;
	bool has_root;

	if (!look(vm, index, &vcpu))
		return;
	has_root = has_own_root(&vcpu);
	row = row_of(samples, index, has_root,
		     has_root ? libvmem_root(&vcpu.out_regs) : 0);
	row->nr++;
	row->halted += vcpu.out_known == VMEM_KNOWN_HALTED;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static int by_vcpu_and_number(const void *a, const void *b)
{
	const struct sampled *x = a, *y = b;

	if (x->vcpu != y->vcpu)
		return x->vcpu < y->vcpu ? -1 : 1;
	return x->nr > y->nr ? -1 : x->nr < y->nr;
}

static void put_sampled(const struct sampled *row)
{
	json_open_row(NULL, "sampled-root");
	json_put_count("vcpu", row->vcpu);
	json_put_hex_if("root", row->has_root, row->root);
	json_put_count("samples", row->nr);
	json_put_count("halted", row->halted);
	json_close();
}

static void put_samples(const struct samples *samples)
{
	json_begin("vcpus");
	json_open_list("sampled");
	for (size_t i = 0; i < samples->nr; i++)
		put_sampled(&samples->rows[i]);
	json_close();
	json_end();
}

static void print_samples(const struct samples *samples)
{
	out("%4s  %16s  %8s  %8s\n", "VCPU", "ROOT", "SAMPLES", "HALTED");
	for (size_t i = 0; i < samples->nr; i++) {
		const struct sampled *row = &samples->rows[i];

		out("%4u  ", row->vcpu);
		if (row->has_root)
			out("%16llx", row->root);
		else
			out("%16s", "-");
		out("  %8llu  %8llu\n", row->nr, row->halted);
	}
}

static void watch(struct libvmem *vm, const struct opts *opts)
{
	const double end = now() + opts->watch;
	struct samples samples = {};

	do {
		/* One that is plugged in meanwhile is a vCPU as well. */
		unsigned int nr = nr_vcpus(vm);

		for (unsigned int i = 0; i < nr; i++)
			sample(vm, i, &samples);
		usleep(BETWEEN_SAMPLES_US);
		progress("vmemctl: %.0f s left, %zu root%s", end - now(),
			 samples.nr, plural(samples.nr, "", "s"));
	} while (now() < end);
	progress_end();
	if (samples.nr)
		qsort(samples.rows, samples.nr, sizeof(*samples.rows),
		      by_vcpu_and_number);
	if (opts->json)
		put_samples(&samples);
	else
		print_samples(&samples);
	free(samples.rows);
}

static void run(struct opts *opts, int nr_args, char **args)
{
	struct libvmem *vm;

	if (nr_args)
		usage("vcpus takes no argument, but got '%s'", args[0]);
	if (opts->image && opts->watch)
		usage("--watch: an image is of a guest that is still");
	vm = guest_open(opts);
	if (opts->watch)
		watch(vm, opts);
	else
		show_now(vm, opts->json);
	guest_close(vm, opts);
}

const struct command vcpus_command = {
	.name = "vcpus",
	.args = "",
	.summary = "where each vCPU is: CR3, RIP",
	.help = "Show CR3 and RIP of each vCPU, as KVM or an image has them. The guest is\n"
		"not stopped, and QEMU is not asked. With --watch, sample them for some\n"
		"time, and show the roots that were seen.\n"
		"\vKNOWN says how: \"entry\", it runs, and entered the guest with them\n"
		"just now; \"exit\", its VMM does not run it; \"halted\", it waits for an\n"
		"interrupt; \"unknown\", KVM did not get to enter the guest in time.\n"
		"CODE is whose page RIP is in.",
	.takes = TAKES_WATCH | TAKES_JSON,
	.run = run,
};
