// SPDX-License-Identifier: GPL-2.0-only
/*
 * torn.c - a guest changes its tables while it is asked where they lead
 *
 * A new sub-tree is linked by one entry, and what must never be seen is then
 * written into the tables that it replaces. Who reads an entry before that and
 * another one behind it is on a path that never was: to pages that were never
 * mapped, or with rights that were never given.
 *
 * All that the guest does is in a list of steps. What there is to see after each
 * of them is found out beforehand, by the most naive walk. An answer is right if
 * it is one of those that were true between the begin and the end of the call. No
 * entry has the same value twice in one round of the list: to read a path twice is
 * no use where all of it went away and came back in between.
 */
#define _GNU_SOURCE
#include <assert.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "file.h"
#include "ktap.h"
#include "torn_guest.h"
#include "vcpu.h"
#include "world.h"

/* ---- What the guest does ---- */

/* How often the addresses are led elsewhere in one round of the list. */
#define NR_CHANGES 512

/* There are two addresses, side by side in the same tables. */
#define NR_VAS 2
#define AMD64_VA (GB(512) * 3 + GB(7) + MB(2) * 9 + PAGE * 5)
#define LA57_VA (BIT_ULL(48) * 11 + AMD64_VA)
#define I686_VA (MB(4) * 9 + PAGE * 5)
#define PAE_VA (GB(2) + MB(2) * 9 + PAGE * 5)

#define RAM_LEN MB(19)

/* The pages that they are led to; where each of them begins, its tag is. */
#define DATA_GPA MB(12)
#define NR_DATA 1024
#define TAG(gpa) (0x7461676700000000ULL + (gpa))

/* Where there is no memory, and nothing that is linked leads. */
#define JUNK_GPA GB(8)

#define CODE_VA 0x400000ULL
#define WINDOW_VA 0xffff800000000000ULL

/**
 * struct step - one store by the guest
 * @gpa: where
 * @value: what
 * @spins: how long to do nothing afterwards
 * @touch: an address to look at after it, or 0
 * @tag: what is there
 */
struct step {
	__u64 gpa;
	__u64 value;
	__u64 spins;
	__u64 touch;
	__u64 tag;
};

static_assert(offsetof(struct step, gpa) == STEP_GPA, "gpa");
static_assert(offsetof(struct step, value) == STEP_VALUE, "value");
static_assert(offsetof(struct step, spins) == STEP_SPINS, "spins");
static_assert(offsetof(struct step, touch) == STEP_TOUCH, "touch");
static_assert(offsetof(struct step, tag) == STEP_TAG, "tag");
static_assert(sizeof(struct step) == STEP_SIZE, "size");

/**
 * struct control - how far the guest is; each in a cache line of its own
 * @begun: steps begun so far
 * @done: steps done so far
 * @stop: not 0 if it is to stop
 */
struct control {
	__u64 begun;
	__u64 pad0[7];
	__u64 done;
	__u64 pad1[7];
	__u64 stop;
};

static_assert(offsetof(struct control, begun) == CONTROL_BEGUN, "begun");
static_assert(offsetof(struct control, done) == CONTROL_DONE, "done");
static_assert(offsetof(struct control, stop) == CONTROL_STOP, "stop");

/**
 * struct story - what there is to see at one address, in a round of the list
 * @states: all that there is, one after the other; no two of them are the same
 *	but for bits that the processor sets
 * @nr: how many they are
 * @at: the state that it is in when so many steps of the round are done
 */
struct story {
	struct vmem_translation *states;
	__u32 nr;
	__u32 *at;
};

/**
 * struct scene - a guest that changes its tables
 * @restless: no state of it lasts
 * @w: the VM
 * @t: its space
 * @regs: the registers of that space
 * @va: the addresses
 * @format: what kind of tables it has
 * @live: the tables that are linked, by level
 * @pool: those that there are besides, by level: one for each change
 * @steps: the list, in the guest's memory
 * @nr_steps: how many they are
 * @control: likewise in its memory
 * @stories: of each address
 * @vcpu: what does it, if that is not a thread
 * @thread: the thread, or the one that runs the vCPU
 * @session: the session that is asked
 * @attach: attaches it
 */
struct scene {
	bool restless;
	struct world w;
	struct tables t;
	struct vmem_regs regs;
	__u64 va[NR_VAS];
	int format;
	__u64 live[VMEM_LEVEL_PML5 + 1];
	__u64 pool[VMEM_LEVEL_PML5];
	struct step *steps;
	__u32 nr_steps;
	struct control *control;
	struct story stories[NR_VAS];
	struct vcpu vcpu;
	pthread_t thread;
	int session;
	void (*attach)(struct scene *s);
};

static bool is_2level(const struct scene *s)
{
	return s->format == FORMAT_I686;
}

/* The same in every run: Steele and others' splitmix. */
static __u64 hash(__u64 n)
{
	n = (n + 1) * 0x9e3779b97f4a7c15;
	n = (n ^ n >> 30) * 0xbf58476d1ce4e5b9;
	n = (n ^ n >> 27) * 0x94d049bb133111eb;
	return n ^ n >> 31;
}

/* How long a state lasts: now longer than a translation takes, now not as long. */
static __u64 some_spins(const struct scene *s)
{
	return s->restless ? 0 : 1ULL << hash(s->nr_steps) % 14;
}

static void put(struct scene *s, __u64 table, int level, __u64 va, __u64 value,
		__u64 spins)
{
	s->steps[s->nr_steps++] = (struct step){
		.gpa = tables_entry(&s->t, table, va, level),
		.value = value,
		.spins = spins,
	};
}

/* Rights that differ, and bits that are the software's to tell states apart. */
static __u64 flags(const struct scene *s, __u64 n, int level)
{
	__u64 bits = hash(n << 3 | (__u64)level);
	__u64 raw = PTE_P | (bits & 1 ? PTE_W : 0) | (bits & 2 ? PTE_U : 0);

	if (!tables_are_long(&s->t))
		return (raw & tables_open(&s->t, level)) | n % 8 << 9;
	return raw | n << 52 | (bits & 4 ? PTE_NX : 0);
}

/* Not present, which leaves all other bits to software. */
static __u64 hole(__u64 n)
{
	return n << 12;
}

static __u64 junk(const struct scene *s, __u64 n, int level)
{
	__u64 raw = (JUNK_GPA >> (is_2level(s) ? 2 : 0)) + n * PAGE * 2;

	switch (hash(n << 3 | (__u64)level) >> 32 & 3) {
	case 0:
		return hole(n) | BIT_ULL(11);
	case 1:
		return is_2level(s) ? raw | PTE_P : raw | PTE_P | BIT_ULL(51);
	default:
		return raw | flags(s, n, level);
	}
}

/* Each change has tables of its own: none is linked twice in a round. */
static __u64 new_table(const struct scene *s, __u64 n, int level)
{
	return s->pool[level] + n * PAGE;
}

static void write_leaves(struct scene *s, __u64 n, __u64 pt, bool linked)
{
	__u64 i;

	for (i = 0; i < NR_VAS; i++)
		put(s, pt, VMEM_LEVEL_PT, s->va[i],
		    (DATA_GPA + (NR_VAS * n + i) * PAGE) |
			    flags(s, n, VMEM_LEVEL_PT),
		    linked ? some_spins(s) : 0);
}

static void write_new_tables(struct scene *s, __u64 n, int depth)
{
	int level;

	write_leaves(s, n, new_table(s, n, VMEM_LEVEL_PT), false);
	for (level = VMEM_LEVEL_PD; level <= depth; level++)
		put(s, new_table(s, n, level), level, s->va[0],
		    new_table(s, n, level - 1) | flags(s, n, level), 0);
}

/* Who is on the way through what was linked until now finds what never was. */
static void write_junk(struct scene *s, __u64 n, int level)
{
	__u64 i;

	for (i = 0; i < NR_VAS; i++)
		put(s, s->live[level], level, s->va[i],
		    junk(s, 2 * n + i, level), 0);
}

static void link_new_tables(struct scene *s, __u64 n, int depth)
{
	int level;

	put(s, s->live[depth + 1], depth + 1, s->va[0],
	    new_table(s, n, depth) | flags(s, n, depth + 1), 0);
	for (level = VMEM_LEVEL_PT; level <= depth; level++) {
		write_junk(s, n, level);
		s->live[level] = new_table(s, n, level);
	}
	/* That lasts as long as the last of these steps. */
	s->steps[s->nr_steps - 1].spins = some_spins(s);
}

/*
 * The n-th change is of the leaves themselves, or of one, two or three tables
 * above them. Now and then there is nothing for a while, or a large page.
 */
static void change(struct scene *s, __u64 n)
{
	int depth = (int)(n % (__u64)s->t.top);

	if (n % 8 == 5)
		put(s, s->live[depth + 1], depth + 1, s->va[0], hole(n),
		    some_spins(s));
	if (depth) {
		write_new_tables(s, n, depth);
		link_new_tables(s, n, depth);
	} else {
		write_leaves(s, n, s->live[VMEM_LEVEL_PT], true);
	}
	if (n % 16 == 6)
		put(s, s->live[VMEM_LEVEL_PD], VMEM_LEVEL_PD, s->va[0],
		    DATA_GPA | PTE_PS | flags(s, n, VMEM_LEVEL_PD),
		    some_spins(s));
}

/* ---- What there is to see ---- */

static __u64 *tag_of_page(struct scene *s, __u64 gpa)
{
	return ram_ptr(&s->w.ram, gpa & ~(PAGE - 1));
}

static void perform(const struct scene *s, const struct step *step)
{
	void *entry = ram_ptr(&s->w.ram, step->gpa);

	if (is_2level(s))
		__atomic_store_n((__u32 *)entry, (__u32)step->value,
				 __ATOMIC_SEQ_CST);
	else
		__atomic_store_n((__u64 *)entry, step->value, __ATOMIC_SEQ_CST);
}

/* Accessed and Dirty are the processor's to set, at any time. */
static bool same_path(const struct vmem_translation *a,
		      const struct vmem_translation *b)
{
	const __u64 ours = ~(PTE_A | PTE_D);
	__u32 i;

	for (i = 0; i < b->out_nr_trace; i++)
		if (a->out_trace[i].entry_gpa != b->out_trace[i].entry_gpa ||
		    (a->out_trace[i].raw ^ b->out_trace[i].raw) & ours)
			return false;
	for (; i < VMEM_MAX_LEVELS; i++)
		if (a->out_trace[i].entry_gpa || a->out_trace[i].raw)
			return false;
	return !a->out_owner_space && !a->out_owner_va && !a->out_referenced &&
	       !a->out_owner_root;
}

static bool same_in_brief(const struct vmem_translation *a,
			  const struct vmem_translation *b)
{
	return !memcmp(a, b, VMEM_TRANSLATION_BRIEF);
}

/* Notes what there is to see when @done steps of the round are done. */
static void note(struct scene *s, struct story *story, __u64 va, __u32 done)
{
	struct vmem_translation now = tables_walk(&s->t, va);
	struct vmem_translation *last = &story->states[story->nr - 1];

	if (!story->nr || !same_in_brief(&now, last) || !same_path(&now, last))
		story->states[story->nr++] = now;
	story->at[done] = story->nr - 1;
}

static void look_at_it(struct scene *s, struct step *step)
{
	struct vmem_translation now = tables_walk(&s->t, s->va[0]);

	if (now.out_status != VMEM_MAPPED)
		return;
	step->touch = s->va[0];
	step->tag = *tag_of_page(s, now.out_gpa);
}

/* Where a round ends, the next one begins: so the first is for its end alone. */
static void find_out_what_there_is(struct scene *s)
{
	struct step *step;
	__u32 done;
	int i;

	for (i = 0; i < NR_VAS; i++) {
		s->stories[i].states =
			calloc(s->nr_steps, sizeof(struct vmem_translation));
		s->stories[i].at = calloc(s->nr_steps, sizeof(__u32));
		must(s->stories[i].states && s->stories[i].at ? 0 : -1,
		     "calloc");
	}
	for (done = 0; done < s->nr_steps; done++)
		perform(s, &s->steps[done]);
	for (done = 0; done < s->nr_steps; done++) {
		for (i = 0; i < NR_VAS; i++)
			note(s, &s->stories[i], s->va[i], done);
		step = &s->steps[done];
		perform(s, step);
		look_at_it(s, step);
	}
}

/* ---- The guest ---- */

static void make_tables(struct scene *s)
{
	static const __u64 vas[NR_FORMATS] = {
		[FORMAT_I686] = I686_VA,
		[FORMAT_PAE] = PAE_VA,
		[FORMAT_AMD64] = AMD64_VA,
		[FORMAT_LA57] = LA57_VA,
	};
	int level;

	s->t = world_add(&s->w, &formats[s->format]);
	s->regs = tables_regs(&s->t);
	s->va[0] = vas[s->format];
	s->va[1] = s->va[0] + PAGE;
	s->live[s->t.top] = s->t.root;
	for (level = s->t.top - 1; level >= VMEM_LEVEL_PT; level--) {
		s->live[level] = ram_alloc(&s->w.ram, PAGE);
		s->pool[level] = ram_alloc(&s->w.ram, NR_CHANGES * PAGE);
		tables_set(&s->t, s->va[0], level + 1,
			   s->live[level] | tables_open(&s->t, level + 1));
	}
}

static void scene_init(struct scene *s, int format, bool restless)
{
	__u64 gpa, n;

	memset(s, 0, sizeof(*s));
	s->format = format;
	s->restless = restless;
	world_init(&s->w, RAM_LEN);
	make_tables(s);
	s->control = ram_ptr(&s->w.ram, ram_alloc(&s->w.ram, PAGE));
	s->steps = ram_ptr(&s->w.ram, DATA_GPA + NR_DATA * PAGE);
	for (gpa = DATA_GPA; gpa < DATA_GPA + NR_DATA * PAGE; gpa += PAGE)
		*tag_of_page(s, gpa) = TAG(gpa);
	for (n = 0; n < NR_CHANGES; n++)
		change(s, n);
	find_out_what_there_is(s);
	s->session = session_open();
}

static void scene_free(struct scene *s)
{
	int i;

	close(s->session);
	for (i = 0; i < NR_VAS; i++) {
		free(s->stories[i].states);
		free(s->stories[i].at);
	}
	world_free(&s->w);
}

static void spin(__u64 n)
{
	while (n--)
		__asm__ volatile("" ::: "memory");
}

/* What torn_guest.S does, in the VMM. */
static void *write_tables(void *arg)
{
	struct scene *s = arg;
	struct control *c = s->control;
	__u32 i;

	for (i = 0; !__atomic_load_n(&c->stop, __ATOMIC_RELAXED);
	     i = (i + 1) % s->nr_steps) {
		__atomic_store_n(&c->begun, c->begun + 1, __ATOMIC_SEQ_CST);
		perform(s, &s->steps[i]);
		__atomic_store_n(&c->done, c->done + 1, __ATOMIC_SEQ_CST);
		spin(s->steps[i].spins);
	}
	return NULL;
}

static void *run_guest(void *arg)
{
	struct scene *s = arg;

	return (void *)(uintptr_t)vcpu_run(&s->vcpu);
}

/* In the middle of the space that it changes. */
static void load_guest(struct scene *s)
{
	struct guest_ram *ram = &s->w.ram;
	__u64 code = ram_alloc(ram, PAGE), gpa;
	const struct kvm_regs regs = {
		.rip = CODE_VA,
		.rflags = VCPU_RFLAGS,
		.rbx = WINDOW_VA + ((__u8 *)s->steps - ram->hva) + ram->gpa,
		.rdx = s->nr_steps,
		.rbp = WINDOW_VA,
		.r8 = WINDOW_VA + ((__u8 *)s->control - ram->hva) + ram->gpa,
	};

	memcpy(ram_ptr(ram, code), guest_torn,
	       (size_t)(guest_torn_end - guest_torn));
	tables_map(&s->t, CODE_VA, code, VMEM_LEVEL_PT, PTE_P);
	for (gpa = 0; gpa < ram->gpa + ram->len; gpa += MB(2))
		tables_map(&s->t, WINDOW_VA + gpa, gpa, VMEM_LEVEL_PD,
			   PTE_P | PTE_W);
	vcpu_init(&s->vcpu, s->w.kvm_fd, s->w.vm_fd, 0);
	vcpu_set_mode(&s->vcpu, &s->regs);
	vcpu_set_regs(&s->vcpu, &regs);
}

/**
 * struct actor - who changes the tables
 * @format: what kind of tables
 * @restless: without rest
 * @attach: attaches a session
 * @prepare: what is done before @run, or NULL
 * @run: changes the tables until it is told to stop
 * @finish: checks that it stopped because it was told to; gets what @run returned
 */
struct actor {
	int format;
	bool restless;
	void (*attach)(struct scene *s);
	void (*prepare)(struct scene *s);
	void *(*run)(void *scene);
	void (*finish)(struct scene *s, void *ret);
};

static void attach_kvm(struct scene *s)
{
	CHECK_EQ(session_attach_kvm(s->session, s->w.vm_fd), 0);
}

static void finish_vcpu(struct scene *s, void *ret)
{
	struct kvm_regs regs = vcpu_get_regs(&s->vcpu);

	CHECK_EQ((uintptr_t)ret, KVM_EXIT_HLT);
	CHECK_EQ(regs.rax, TOLD_TO_STOP);
	vcpu_free(&s->vcpu);
}

static void attach_regions(struct scene *s)
{
	const struct vmem_region region = {
		.gpa = s->w.ram.gpa,
		.len = s->w.ram.len,
		.hva = (uintptr_t)s->w.ram.hva,
	};

	CHECK_EQ(session_attach_regions(s->session, &region, 1), 0);
}

static void finish_thread(struct scene *s, void *ret)
{
	(void)s;
	CHECK(!ret);
}

static const struct actor guest = {
	.format = FORMAT_AMD64,
	.attach = attach_kvm,
	.prepare = load_guest,
	.run = run_guest,
	.finish = finish_vcpu,
};

static const struct actor la57_guest = {
	.format = FORMAT_LA57,
	.attach = attach_kvm,
	.prepare = load_guest,
	.run = run_guest,
	.finish = finish_vcpu,
};

static const struct actor restless_guest = {
	.format = FORMAT_AMD64,
	.restless = true,
	.attach = attach_kvm,
	.prepare = load_guest,
	.run = run_guest,
	.finish = finish_vcpu,
};

static const struct actor amd64_thread = {
	.format = FORMAT_AMD64,
	.attach = attach_regions,
	.run = write_tables,
	.finish = finish_thread,
};

static const struct actor la57_thread = {
	.format = FORMAT_LA57,
	.attach = attach_regions,
	.run = write_tables,
	.finish = finish_thread,
};

static const struct actor pae_thread = {
	.format = FORMAT_PAE,
	.attach = attach_regions,
	.run = write_tables,
	.finish = finish_thread,
};

static const struct actor i686_thread = {
	.format = FORMAT_I686,
	.attach = attach_regions,
	.run = write_tables,
	.finish = finish_thread,
};

/* ---- Answers ---- */

/* What an answer was, of those that were asked for. */
enum verdict {
	RIGHT,
	TORN,
	ROUND, /* Who asked was not run for so long that all entries came back. */
	LATE, /* There was such a state, but not during the call. */
	MIXTURE, /* There never was. */
	NR_VERDICTS,
};

/**
 * struct question - one way to ask
 * @name: for people
 * @nr_at_once: how many answers one call gives, at first; even if there are several
 * @ask: makes one call; returns 0 or -errno
 * @matches: is an answer that state?
 */
struct question {
	const char *name;
	__u32 nr_at_once;
	int (*ask)(struct scene *s, const struct question *q,
		   struct vmem_translation *answers);
	bool (*matches)(const struct vmem_translation *answer,
			const struct vmem_translation *state);
};

#define MAX_AT_ONCE 500

static __u64 steps_begun(const struct scene *s)
{
	return __atomic_load_n(&s->control->begun, __ATOMIC_SEQ_CST);
}

static __u64 steps_done(const struct scene *s)
{
	return __atomic_load_n(&s->control->done, __ATOMIC_SEQ_CST);
}

static bool is_one_of(const struct question *q, const struct story *story,
		      __u32 first, __u32 last,
		      const struct vmem_translation *answer)
{
	__u32 i;

	for (i = first; !q->matches(answer, &story->states[i]);
	     i = (i + 1) % story->nr)
		if (i == last)
			return false;
	return true;
}

static enum verdict judge(const struct scene *s, const struct question *q,
			  const struct story *story, __u64 done, __u64 begun,
			  const struct vmem_translation *answer)
{
	__u32 first = story->at[done % s->nr_steps];
	__u32 last = story->at[begun % s->nr_steps];
	__u32 before = first ? first - 1 : story->nr - 1;

	if (answer->out_status == VMEM_TORN)
		return TORN;
	if (begun - done >= s->nr_steps)
		return ROUND;
	if (begun - done < s->nr_steps / 2 &&
	    is_one_of(q, story, first, last, answer))
		return RIGHT;
	if (!is_one_of(q, story, first, before, answer))
		return MIXTURE;
	return begun - done < s->nr_steps / 2 ? LATE : RIGHT;
}

static void print_translation(const char *what,
			      const struct vmem_translation *tr)
{
	__u32 i;

	printf("# %s: status %u level %u gpa %#llx size %llu perms %u\n", what,
	       tr->out_status, tr->out_level, tr->out_gpa, tr->out_page_size,
	       tr->out_perms);
	for (i = 0; i < VMEM_MAX_LEVELS && tr->out_trace[i].entry_gpa; i++)
		printf("#   %#llx: %#llx\n", tr->out_trace[i].entry_gpa,
		       tr->out_trace[i].raw);
}

/* Asks once and counts what the answers were. */
static bool ask_once(struct scene *s, const struct question *q, long *nr)
{
	static struct vmem_translation answers[MAX_AT_ONCE];
	__u64 done = steps_done(s), begun;
	enum verdict verdict;
	__u32 i;

	memset(answers, 0, sizeof(answers));
	if (!CHECK_EQ_AT(q->name, q->ask(s, q, answers), 0))
		return false;
	begun = steps_begun(s);
	for (i = 0; i < q->nr_at_once; i++) {
		verdict = judge(s, q, &s->stories[i % NR_VAS], done, begun,
				&answers[i]);
		if (verdict >= LATE && !nr[LATE] && !nr[MIXTURE]) {
			print_translation(verdict == LATE ? "late" : "mixture",
					  &answers[i]);
			printf("# in %llu of %u steps\n", begun - done,
			       s->nr_steps);
		}
		nr[verdict]++;
	}
	return true;
}

/* A call that outlasts a round cannot be judged: ask less at once. */
static bool is_too_slow(struct question *q, long nr_round)
{
	if (!nr_round || q->nr_at_once < 4)
		return false;
	q->nr_at_once = q->nr_at_once / 4 * 2;
	return true;
}

/* How many times as many it may take until one is right: the guest may be fast. */
#define PATIENCE 100

/*
 * So many answers, and more until the guest has done all that is in its list and one
 * of the answers is right.
 */
static void ask_many_times(struct scene *s, const struct question *how,
			   __u64 nr_answers)
{
	__u64 nr_done = 0, moved = 0, start = steps_done(s);
	long nr[NR_VERDICTS] = { 0 };
	struct question q = *how;
	long before;

	while (nr_done < nr_answers || moved < s->nr_steps ||
	       (!nr[RIGHT] && nr_done < nr_answers * PATIENCE)) {
		before = nr[ROUND];
		if (!ask_once(s, &q, nr))
			return;
		moved = steps_done(s) - start;
		if (!is_too_slow(&q, nr[ROUND] - before))
			nr_done += q.nr_at_once;
	}
	printf("# %s, %u a call: %llu answers in %llu steps: %ld right, %ld torn (%.2f %%)",
	       q.name, q.nr_at_once, nr_done, moved, nr[RIGHT], nr[TORN],
	       100.0 * (double)nr[TORN] / (double)nr_done);
	printf(", %ld in a whole round, %ld late, %ld mixtures\n", nr[ROUND],
	       nr[LATE], nr[MIXTURE]);
	CHECK_EQ_AT(q.name, nr[LATE], 0);
	CHECK_EQ_AT(q.name, nr[MIXTURE], 0);
	CHECK(nr[RIGHT] > 0);
}

static void with(const struct actor *actor, const struct question *q,
		 __u64 nr_answers)
{
	long long lost = pages_lost_before();
	struct scene *s = malloc(sizeof(*s));
	void *ret = NULL;

	must(s ? 0 : -1, "malloc");
	scene_init(s, actor->format, actor->restless);
	s->attach = actor->attach;
	s->attach(s);
	if (actor->prepare)
		actor->prepare(s);
	must(pthread_create(&s->thread, NULL, actor->run, s) ? -1 : 0,
	     "pthread_create");
	while (steps_done(s) < s->nr_steps)
		usleep(1000);
	ask_many_times(s, q, nr_answers);
	__atomic_store_n(&s->control->stop, 1, __ATOMIC_SEQ_CST);
	pthread_join(s->thread, &ret);
	actor->finish(s, ret);
	scene_free(s);
	free(s);
	CHECK_EQ(pages_lost(), lost);
}

/* ---- Questions ---- */

static int translate(struct scene *s, const struct question *q, void *results,
		     __u32 result_size)
{
	__u64 vas[MAX_AT_ONCE];
	struct vmem_translate_args args = {
		.size = sizeof(args),
		.nr = q->nr_at_once,
		.result_size = result_size,
		.vas = (uintptr_t)vas,
		.results = (uintptr_t)results,
		.regs = s->regs,
	};
	__u32 i;
	int ret;

	for (i = 0; i < q->nr_at_once; i++)
		vas[i] = s->va[i % NR_VAS];
	memset(results, POISON, (size_t)q->nr_at_once * result_size);
	ret = session_call(s->session, VMEM_TRANSLATE, &args);
	if (!ret)
		CHECK_EQ(args.out_nr, q->nr_at_once);
	return ret;
}

static int ask_with_paths(struct scene *s, const struct question *q,
			  struct vmem_translation *answers)
{
	return translate(s, q, answers, sizeof(*answers));
}

static bool is_with_path(const struct vmem_translation *answer,
			 const struct vmem_translation *state)
{
	return same_in_brief(answer, state) && same_path(answer, state);
}

static int ask_in_brief(struct scene *s, const struct question *q,
			struct vmem_translation *answers)
{
	static __u8 brief[MAX_AT_ONCE][VMEM_TRANSLATION_BRIEF];
	int ret = translate(s, q, brief, VMEM_TRANSLATION_BRIEF);
	__u32 i;

	for (i = 0; i < q->nr_at_once; i++)
		memcpy(&answers[i], brief[i], VMEM_TRANSLATION_BRIEF);
	return ret;
}

static const struct question translations[] = {
	{ .name = "one by one, with paths",
	  .nr_at_once = 1,
	  .ask = ask_with_paths,
	  .matches = is_with_path },
	{ .name = "one by one",
	  .nr_at_once = 1,
	  .ask = ask_in_brief,
	  .matches = same_in_brief },
	{ .name = "few at once, with paths",
	  .nr_at_once = 10,
	  .ask = ask_with_paths,
	  .matches = is_with_path },
	{ .name = "batches, with paths",
	  .nr_at_once = MAX_AT_ONCE,
	  .ask = ask_with_paths,
	  .matches = is_with_path },
	{ .name = "batches",
	  .nr_at_once = MAX_AT_ONCE,
	  .ask = ask_in_brief,
	  .matches = same_in_brief },
};

/* The tag says where it was read. */
static int ask_to_read(struct scene *s, const struct question *q,
		       struct vmem_translation *answers)
{
	struct vmem_read_args end;
	__u64 tag;
	int ret;

	(void)q;
	ret = session_read(s->session, &s->regs, s->va[0], &tag, sizeof(tag),
			   &end);
	answers[0].out_status = end.out_status;
	answers[0].out_level = end.out_level;
	if (end.out_len == sizeof(tag))
		answers[0].out_gpa = tag - TAG(0);
	return ret;
}

static bool is_read(const struct vmem_translation *answer,
		    const struct vmem_translation *state)
{
	if (answer->out_status != state->out_status)
		return false;
	if (state->out_status != VMEM_MAPPED)
		return answer->out_level == state->out_level;
	return answer->out_gpa == (state->out_gpa & ~(PAGE - 1));
}

static const struct question reads = {
	.name = "reads",
	.nr_at_once = 1,
	.ask = ask_to_read,
	.matches = is_read,
};

static void take_mapping(struct vmem_translation *answer,
			 const struct vmem_mapping *mapping)
{
	answer->out_status = VMEM_MAPPED;
	answer->out_gpa = mapping->gpa;
	answer->out_page_size = mapping->page_size;
	answer->out_perms = mapping->perms;
}

/* Of one byte. If a table was replaced meanwhile, that says nothing. */
static int ask_for_range(struct scene *s, const struct question *q,
			 struct vmem_translation *answers)
{
	struct vmem_mapping rows[2];
	struct session_maps maps = { .rows = rows, .room = 2, .per_call = 2 };
	int ret;

	(void)q;
	ret = session_map_range(s->session, &s->regs, s->va[0], s->va[0],
				&maps);
	answers[0].out_status = VMEM_NOT_PRESENT;
	if (maps.anomalies)
		answers[0].out_status = VMEM_UNBACKED;
	if (maps.torn)
		answers[0].out_status = VMEM_TORN;
	else if (maps.nr)
		take_mapping(&answers[0], &rows[0]);
	return ret;
}

static bool is_mapping(const struct vmem_translation *answer,
		       const struct vmem_translation *state)
{
	return answer->out_status == state->out_status &&
	       answer->out_gpa == state->out_gpa &&
	       answer->out_page_size == state->out_page_size &&
	       answer->out_perms == state->out_perms;
}

static const struct question ranges = {
	.name = "ranges",
	.nr_at_once = 1,
	.ask = ask_for_range,
	.matches = is_mapping,
};

static void open_again(struct scene *s)
{
	close(s->session);
	s->session = session_open();
	s->attach(s);
	CHECK_EQ(session_set_spaces(s->session, &s->w.spaces), 0);
}

/* Likewise of one byte. */
static int ask_for_space(struct scene *s, const struct question *q,
			 struct vmem_translation *answers)
{
	struct session_records records = { .per_call = 8 };
	const struct vmem_record *last;
	int ret;

	(void)q;
	s->w.spaces.va = s->va[0];
	s->w.spaces.last_va = s->va[0];
	open_again(s);
	ret = session_walk_spaces(s->session, &records);
	last = &records.rows[records.nr - 1];
	answers[0].out_status = VMEM_NOT_PRESENT;
	if (!ret && last->type == VMEM_ANOMALY)
		answers[0].out_status = last->anomaly.status;
	if (!ret && last->type == VMEM_THIS_SPACE)
		take_mapping(&answers[0], &last->mapping);
	free(records.rows);
	return ret;
}

static const struct question spaces = {
	.name = "walks over spaces",
	.nr_at_once = 1,
	.ask = ask_for_space,
	.matches = is_mapping,
};

/* ---- Cases ---- */

/* Translations while the guest runs. There are fewer of everything else. */
static __u64 nr_translations;

/* All but the first case do with a part, which is not to be too small a one. */
static __u64 part(__u64 of)
{
	const __u64 some = nr_translations / of / 4;
	const __u64 few =
		(nr_translations < 10000 ? nr_translations : 10000) / of;

	return some > few ? some : few;
}

static void translate_all_ways(const struct actor *actor, __u64 nr_answers)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(translations); i++)
		with(actor, &translations[i],
		     nr_answers / ARRAY_SIZE(translations));
}

static void translate_guest(void)
{
	translate_all_ways(&guest, nr_translations);
}

static void translate_restless_guest(void)
{
	translate_all_ways(&restless_guest, part(4));
}

static void translate_amd64(void)
{
	translate_all_ways(&amd64_thread, part(4));
}

static void translate_i686(void)
{
	translate_all_ways(&i686_thread, part(4));
}

static void translate_pae(void)
{
	translate_all_ways(&pae_thread, part(4));
}

static void translate_la57(void)
{
	translate_all_ways(&la57_thread, part(4));
}

static void translate_la57_guest(void)
{
	if (!skip_without(vcpu_can_la57(), "5-level paging for its guests"))
		translate_all_ways(&la57_guest, part(4));
}

static void ask_all_actors(const struct question *q, __u64 nr_answers)
{
	with(&guest, q, nr_answers);
	with(&amd64_thread, q, nr_answers);
	with(&i686_thread, q, nr_answers);
	with(&pae_thread, q, nr_answers);
	with(&la57_thread, q, nr_answers);
}

static void read_meanwhile(void)
{
	ask_all_actors(&reads, part(20));
}

static void map_meanwhile(void)
{
	ask_all_actors(&ranges, part(20));
}

static void walk_meanwhile(void)
{
	ask_all_actors(&spaces, part(200));
}

static const struct ktap_case cases[] = {
	{ "translate_guest", translate_guest },
	{ "translate_restless_guest", translate_restless_guest },
	{ "translate_amd64", translate_amd64 },
	{ "translate_i686", translate_i686 },
	{ "translate_pae", translate_pae },
	{ "translate_la57", translate_la57 },
	{ "translate_la57_guest", translate_la57_guest },
	{ "read_meanwhile", read_meanwhile },
	{ "map_meanwhile", map_meanwhile },
	{ "walk_meanwhile", walk_meanwhile },
};

int main(void)
{
	nr_translations = number_of("VMEM_TRANSLATIONS", 100000);
	return ktap_main(cases, ARRAY_SIZE(cases));
}
