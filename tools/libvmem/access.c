// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a processor would do with an access: the core's judgement, and what it rests on
 */
#include <vmem/access.h>

#include "vm.h"

_Static_assert((int)LIBVMEM_ACCESS_FETCH == VMEM_ACCESS_FETCH, "the core's");
_Static_assert((int)LIBVMEM_REASON_KEY == VMEM_REASON_KEY, "the core's");

/**
 * struct state - what an access is judged by, besides the path
 * @regs: the registers
 * @access: the access
 */
struct state {
	struct vmem_regs regs;
	struct vmem_access access;
};

static struct vmem_access access_of(const struct libvmem_access *access)
{
	return (struct vmem_access){
		.kind = (enum vmem_access_kind)access->kind,
		.user = access->user,
		.rflags = access->rflags,
		.pkru = access->pkru,
		.pkrs = access->pkrs,
	};
}

static const enum vmem_status statuses[] = {
	[VMEM_ENTRY_EMPTY] = VMEM_NOT_PRESENT,
	[VMEM_ENTRY_LEAF] = VMEM_MAPPED,
	[VMEM_ENTRY_RESERVED] = VMEM_RESERVED,
};

/*
 * Let the path of @t end where it does in @mode. What is behind an entry that was
 * reserved until now has not been read.
 */
static void follow(const struct vmem_mode *mode, struct vmem_translation *t)
{
	struct vmem_entry entry;

	for (__u32 i = 0; i < t->out_nr_trace; i++) {
		entry = vmem_decode(mode, mode->top - i, t->out_trace[i].raw);
		if (entry.kind == VMEM_ENTRY_TABLE)
			continue;
		t->out_nr_trace = i + 1;
		t->out_status = statuses[entry.kind];
		return;
	}
	if (t->out_status == VMEM_RESERVED)
		t->out_status = VMEM_UNBACKED;
}

/* A negative errno if the registers choose no mode. */
static int judge(const struct state *state, struct vmem_translation t,
		 struct vmem_verdict *verdict)
{
	struct vmem_root root;
	int ret = vmem_root_init(&root, &state->regs);

	if (ret)
		return ret;
	follow(&root.mode, &t);
	vmem_access(&state->regs, &root.mode, &state->access, &t, verdict);
	return 0;
}

static bool differs(const struct state *state,
		    const struct vmem_translation *answer,
		    const struct vmem_verdict *from)
{
	struct vmem_verdict verdict;

	return !judge(state, *answer, &verdict) &&
	       (verdict.reason != from->reason ||
		verdict.error_code != from->error_code);
}

/* Each thing the other way round */
static const struct {
	unsigned int what;
	__u64 cr0, cr4, rflags;
	__u32 rules;
} turns[] = {
	{ .what = LIBVMEM_CR0, .cr0 = GUEST_CR0_WP },
	{ .what = LIBVMEM_CR4, .cr4 = GUEST_CR4_SMEP },
	{ .what = LIBVMEM_CR4, .cr4 = GUEST_CR4_SMAP },
	{ .what = LIBVMEM_CR4, .cr4 = GUEST_CR4_PKE },
	{ .what = LIBVMEM_CR4, .cr4 = GUEST_CR4_PKS },
	{ .what = LIBVMEM_VENDOR, .rules = VMEM_RULES_AMD },
	{ .what = LIBVMEM_RFLAGS, .rflags = GUEST_RFLAGS_AC },
};

/* Keys that forbid nothing, or everything */
static const __u32 rights[] = { 0, ~0u };

static unsigned int rests_on(const struct state *state,
			     const struct vmem_translation *answer,
			     const struct vmem_verdict *verdict)
{
	unsigned int set = 0;
	struct state other;

	for (size_t i = 0; i < ARRAY_SIZE(turns); i++) {
		other = *state;
		other.regs.cr0 ^= turns[i].cr0;
		other.regs.cr4 ^= turns[i].cr4;
		other.regs.rules ^= turns[i].rules;
		other.access.rflags ^= turns[i].rflags;
		if (differs(&other, answer, verdict))
			set |= turns[i].what;
	}
	for (size_t i = 0; i < ARRAY_SIZE(rights); i++) {
		other = *state;
		other.access.pkru = rights[i];
		if (differs(&other, answer, verdict))
			set |= LIBVMEM_PKRU;
		other = *state;
		other.access.pkrs = rights[i];
		if (differs(&other, answer, verdict))
			set |= LIBVMEM_PKRS;
	}
	return set;
}

/* The core relies on a path: no longer than the mode's, and not empty if it ends. */
static bool is_answer(const struct vmem_mode *mode,
		      const struct vmem_translation *answer)
{
	bool ends = answer->out_status == VMEM_MAPPED ||
		    answer->out_status == VMEM_NOT_PRESENT ||
		    answer->out_status == VMEM_RESERVED;

	return answer->out_nr_trace <= (__u32)mode->top &&
	       (answer->out_nr_trace || !ends);
}

int libvmem_access(const struct vmem_regs *regs,
		   const struct libvmem_access *access,
		   const struct vmem_translation *answer,
		   struct libvmem_verdict *verdict, struct libvmem_error *error)
{
	const struct state state = { *regs, access_of(access) };
	struct vmem_verdict found;
	struct vmem_root root;
	int ret = vmem_root_init(&root, regs);

	if (ret)
		return error_of(error, STEP_ARGUMENT, -ret, 0, regs,
				"cannot judge an access with CR3 %#llx",
				regs->cr3);
	if (!is_answer(&root.mode, answer))
		return error_set(error, LIBVMEM_BAD_ARGUMENT, STEP_ARGUMENT, 0,
				 NULL, "the answer is none to these registers");
	vmem_access(regs, &root.mode, &state.access, answer, &found);
	*verdict = (struct libvmem_verdict){
		.reason = (enum libvmem_reason)found.reason,
		.vector = found.vector,
		.error_code = found.error_code,
		.decides = found.decides,
		.rests_on = rests_on(&state, answer, &found),
	};
	return 0;
}
