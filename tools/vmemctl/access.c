// SPDX-License-Identifier: GPL-2.0-only
/*
 * vmemctl access: what a processor would do with accesses, and which entry decides
 */
#include <stdlib.h>
#include <string.h>

#include "vmemctl.h"

#define NR_KINDS 3
#define VECTOR_GP 13
#define VECTOR_PF 14

static const char *const kinds[NR_KINDS] = {
	[LIBVMEM_ACCESS_READ] = "read",
	[LIBVMEM_ACCESS_WRITE] = "write",
	[LIBVMEM_ACCESS_FETCH] = "fetch",
};

static const char *const reasons[] = {
	[LIBVMEM_REASON_NON_CANONICAL] = "non-canonical",
	[LIBVMEM_REASON_NOT_PRESENT] = "not-present",
	[LIBVMEM_REASON_RESERVED] = "reserved",
	[LIBVMEM_REASON_SUPERVISOR] = "supervisor",
	[LIBVMEM_REASON_READ_ONLY] = "read-only",
	[LIBVMEM_REASON_NO_EXECUTE] = "no-execute",
	[LIBVMEM_REASON_SMEP] = "smep",
	[LIBVMEM_REASON_SMAP] = "smap",
	[LIBVMEM_REASON_KEY] = "key",
};

/* Bits of an error code, from bit 0 on (Intel SDM vol. 3, 4.7) */
static const char *const error_bits[] = { "P", "W", "U", "RSVD", "I", "PK" };

/* What may not be known, and the option that tells it */
static const struct {
	unsigned int what;
	const char *name;
	const char *option;
} inputs[] = {
	{ LIBVMEM_CR0, "CR0", "--cr0" },
	{ LIBVMEM_CR4, "CR4", "--cr4" },
	{ LIBVMEM_VENDOR, "vendor", "--vendor" },
	{ LIBVMEM_RFLAGS, "RFLAGS", "--rflags" },
	{ LIBVMEM_PKRU, "PKRU", "--pkru" },
	{ LIBVMEM_PKRS, "PKRS", "--pkrs" },
};

/**
 * struct judged - one access to one address
 * @va: the address that is translated for it
 * @kind: what it does
 * @user: made by user mode
 * @answer: the translation of @va
 * @verdict: the verdict
 * @unknown: set of what is not known of that which the verdict rests on
 */
struct judged {
	__u64 va;
	enum libvmem_access_kind kind;
	bool user;
	const struct vmem_translation *answer;
	struct libvmem_verdict verdict;
	unsigned int unknown;
};

/**
 * struct asking - a command under way
 * @opts: the command line
 * @vm: the guest
 * @roots: the spaces
 * @index: index of the space
 * @unknown: set of what is not known, or is only what is usual
 * @missed: those of them that a verdict rests on
 */
struct asking {
	const struct opts *opts;
	struct libvmem *vm;
	const struct libvmem_roots *roots;
	unsigned int index;
	unsigned int unknown;
	unsigned int missed;
};

/* An Intel processor keeps CR0.WP and CR4.PGE of a vCPU that is out of the guest. */
static bool has_old_bits(struct libvmem *vm,
			 const struct libvmem_source *source)
{
	struct vmem_vcpu_args vcpu;

	return !libvmem_image(vm) &&
	       !libvmem_vcpu(vm, source->vcpu, PATIENCE_US, &vcpu, NULL) &&
	       vcpu.out_state & VMEM_VCPU_OLD_BITS;
}

/*
 * --arch says only what is usual. KVM tells the vendor, and so does a snapshot. Without
 * NXE the entries of a guest that uses it would be reserved, so nobody doubts EFER.
 */
static unsigned int find_unknown(const struct opts *opts, struct libvmem *vm)
{
	const struct libvmem_source *source = &opts->source;
	const struct libvmem_image *image = libvmem_image(vm);
	unsigned int known = source->given.have | opts->have_access;

	if (source->qmp || (!source->arch && !has_old_bits(vm, source)))
		known |= LIBVMEM_CR0 | LIBVMEM_CR4;
	if (!source->arch && (!image || image->nr_spaces))
		known |= LIBVMEM_VENDOR;
	return ~known;
}

/* "P W U"; @buf has room for all. */
static const char *bits_text(__u32 error_code, char *buf)
{
	buf[0] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(error_bits); i++) {
		if (!(error_code & 1u << i))
			continue;
		if (buf[0])
			strcat(buf, " ");
		strcat(buf, error_bits[i]);
	}
	return buf;
}

static const char *reason_name(const struct judged *j)
{
	if (j->verdict.reason == LIBVMEM_REASON_NONE)
		return NULL;
	if (j->verdict.reason == LIBVMEM_REASON_UNKNOWN)
		return status_name(j->answer->out_status);
	return reasons[j->verdict.reason];
}

static void print_decider(const struct asking *a, const struct judged *j)
{
	const struct vmem_regs *regs = &a->roots->regs;
	const struct vmem_trace *entry;
	int i = j->verdict.decides;

	if (i < 0)
		return;
	entry = &j->answer->out_trace[i];
	out(" %4s: %0*llx => %0*llx", level_name(libvmem_top_level(regs) - i),
	    gpa_digits(regs), entry->entry_gpa, raw_digits(regs), entry->raw);
}

static void print_unknown(unsigned int unknown)
{
	for (size_t i = 0; i < ARRAY_SIZE(inputs); i++)
		if (unknown & inputs[i].what)
			out(" [%s?]", inputs[i].name);
}

/* "#PF 0x07 P W U" */
static void print_exception(const struct libvmem_verdict *v)
{
	char bits[24];

	if (v->vector == VECTOR_PF)
		out("#PF 0x%02x %-10s", v->error_code,
		    bits_text(v->error_code, bits));
	else
		out("%-19s", v->vector == VECTOR_GP ? "#GP" :
			     v->reason == LIBVMEM_REASON_UNKNOWN ?
						      "unknown" :
						      "impossible");
}

static void print_judged(const struct asking *a, const struct judged *j)
{
	bool passes = j->verdict.reason == LIBVMEM_REASON_NONE;

	out("  %-10s %-5s  ", j->user ? "user" : "supervisor", kinds[j->kind]);
	if (passes) {
		out("passes");
	} else {
		print_exception(&j->verdict);
		out(" %-11s", reason_name(j));
		print_decider(a, j);
	}
	print_unknown(j->unknown);
	out("\n");
}

static void print_va(const struct asking *a, __u64 va,
		     const struct judged *first)
{
	const struct vmem_translation *t = first->answer;

	out("%-16s  PHYSICAL\n", "VIRTUAL");
	if (t->out_status == VMEM_MAPPED)
		out("%-16llx  %llx\n", va, t->out_gpa);
	else
		out("%-16llx  (not %s)\n", va,
		    t->out_status == VMEM_TORN ? "known" : "mapped");
	if (first->va != va)
		out("    LAM: %0*llx is translated\n",
		    va_digits(&a->roots->regs), first->va);
}

static void put_bits(__u32 error_code)
{
	json_open_list("error_bits");
	for (size_t i = 0; i < ARRAY_SIZE(error_bits); i++)
		if (error_code & 1u << i)
			json_put_name(NULL, error_bits[i]);
	json_close();
}

static void put_unknown(unsigned int unknown)
{
	json_open_list("unknown");
	for (size_t i = 0; i < ARRAY_SIZE(inputs); i++)
		if (unknown & inputs[i].what)
			json_put_name(NULL, inputs[i].name);
	json_close();
}

static void put_decider(const struct asking *a, const struct judged *j)
{
	const struct vmem_regs *regs = &a->roots->regs;
	int i = j->verdict.decides;

	if (i < 0)
		json_put_null("decides");
	else
		json_put_entry("decides", regs, libvmem_top_level(regs) - i,
			       &j->answer->out_trace[i]);
}

/* @passes is null where no processor has an answer. */
static void put_judged(const struct asking *a, __u64 va, const struct judged *j)
{
	const struct vmem_translation *t = j->answer;
	const struct libvmem_verdict *v = &j->verdict;
	bool passes = v->reason == LIBVMEM_REASON_NONE;
	bool has_code = v->vector == VECTOR_PF;

	json_open_row(NULL, "access");
	json_put_hex("va", va);
	json_put_hex_if("translated_va", j->va != va, j->va);
	json_put_name("access", kinds[j->kind]);
	json_put_bool("user_mode", j->user);
	json_put_hex_if("gpa", t->out_status == VMEM_MAPPED, t->out_gpa);
	json_put_bool_if("passes", passes || v->vector, passes);
	json_put_count_if("vector", v->vector, v->vector);
	json_put_count_if("error_code", has_code, v->error_code);
	put_bits(has_code ? v->error_code : 0);
	json_put_name("reason", reason_name(j));
	put_decider(a, j);
	put_unknown(j->unknown);
	json_close();
}

static void put(struct asking *a, __u64 va, const struct judged *judged, int nr)
{
	if (!a->opts->json)
		print_va(a, va, judged);
	for (int i = 0; i < nr; i++) {
		if (a->opts->json)
			put_judged(a, va, &judged[i]);
		else
			print_judged(a, &judged[i]);
	}
	if (!a->opts->json)
		out("\n");
}

/**
 * struct answers - an address translated
 * @vas: what is translated for accesses to data, and for fetches
 * @t: the answers
 * @nr: answers so far
 */
struct answers {
	__u64 vas[2];
	struct vmem_translation t[2];
	unsigned int nr;
};

static int keep(__u64 va, const struct vmem_translation *t, void *priv)
{
	struct answers *answers = priv;

	(void)va;
	answers->t[answers->nr++] = *t;
	return 0;
}

/* Two addresses only if they differ: all rows of one are of one moment. */
static int translate(struct asking *a, const struct vmem_regs *regs, __u64 va,
		     struct answers *answers, struct libvmem_error *error)
{
	answers->nr = 0;
	answers->vas[0] = libvmem_data_address(regs, va);
	answers->vas[1] = va;
	return libvmem_translate(a->vm, regs, answers->vas,
				 answers->vas[0] == answers->vas[1] ? 1 : 2,
				 keep, answers, error);
}

static int judge(struct asking *a, const struct vmem_regs *regs,
		 const struct answers *answers,
		 const struct libvmem_access *access, struct judged *j,
		 struct libvmem_error *error)
{
	unsigned int i =
		access->kind == LIBVMEM_ACCESS_FETCH ? answers->nr - 1 : 0;
	int ret;

	j->va = answers->vas[i];
	j->answer = &answers->t[i];
	j->kind = access->kind;
	j->user = access->user;
	ret = libvmem_access(regs, access, j->answer, &j->verdict, error);
	j->unknown = j->verdict.rests_on & a->unknown;
	a->missed |= j->unknown;
	return ret;
}

static void judge_va(struct asking *a, __u64 va)
{
	const struct vmem_regs regs = libvmem_regs_of_root(a->roots, a->index);
	struct libvmem_access access = a->opts->access;
	struct judged judged[2 * NR_KINDS] = {};
	struct libvmem_error error;
	struct answers answers;
	int nr = 0, ret;

	ret = translate(a, &regs, va, &answers, &error);
	for (int i = 0; !ret && i < 2 * NR_KINDS; i++) {
		access.user = i < NR_KINDS;
		access.kind = i % NR_KINDS;
		if (a->opts->kinds & 1u << access.kind &&
		    a->opts->users & 1u << access.user)
			ret = judge(a, &regs, &answers, &access, &judged[nr++],
				    &error);
	}
	check(ret, &error);
	put(a, va, judged, nr);
}

static void judge_space(struct asking *a, const __u64 *vas, int nr)
{
	if (a->opts->json) {
		json_open_space(a->index,
				libvmem_space_of_root(a->roots, a->index));
		json_open_list("rows");
	} else if (a->roots->nr > 1) {
		print_space(&a->roots->regs, a->index,
			    libvmem_space_of_root(a->roots, a->index));
		out("\n");
	}
	for (int i = 0; i < nr && !out_ended(); i++)
		judge_va(a, vas[i]);
	if (a->opts->json) {
		json_close();
		json_close();
	}
}

static void judge_all(struct opts *opts, const __u64 *vas, int nr)
{
	static struct libvmem_roots roots;
	struct asking a = { .opts = opts, .roots = &roots };

	a.vm = guest_open(opts);
	guest_roots(a.vm, opts, false, &roots);
	a.unknown = find_unknown(opts, a.vm);
	if (opts->json) {
		json_begin("access");
		json_open_list("spaces");
	}
	for (; a.index < roots.nr; a.index++)
		judge_space(&a, vas, nr);
	if (opts->json) {
		json_close();
		json_end();
	}
	for (size_t i = 0; i < ARRAY_SIZE(inputs); i++)
		if (a.missed & inputs[i].what)
			warn("warning: an answer rests on %s, which is not known: give %s",
			     inputs[i].name, inputs[i].option);
	guest_close(a.vm, opts);
}

static void run(struct opts *opts, int nr_args, char **args)
{
	struct addresses vas = parse_addresses("access", "VA", nr_args, args);

	if (opts->r)
		opts->kinds |= 1u << LIBVMEM_ACCESS_READ;
	if (!opts->kinds)
		opts->kinds = (1u << NR_KINDS) - 1;
	if (!opts->users)
		opts->users = 1u << true | 1u << false;
	judge_all(opts, vas.all, vas.nr);
	free(vas.all);
}

const struct command access_command = {
	.name = "access",
	.args = "VA...",
	.summary = "would an access fault, and which entry decides",
	.help = "Say what a processor would do with accesses to guest-virtual addresses.\n"
		"\vWithout options, all six: reads, writes and fetches by user and by\n"
		"supervisor mode. Each passes, or has its exception with the error code,\n"
		"the reason, and the entry that decides. That it faults is an answer too:\n"
		"the exit status is 0. What is not known (RFLAGS, PKRU, PKRS) is taken to\n"
		"be 0; where that matters, [RFLAGS?] marks the answer, and a warning says so.",
	.takes = TAKES_SPACES | TAKES_ACCESS,
	.run = run,
};
