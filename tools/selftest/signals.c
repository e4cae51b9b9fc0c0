// SPDX-License-Identifier: GPL-2.0-only
/*
 * signals.c - a signal ends a long call early, with the part done; a killed caller
 * exits soon, whatever its call
 *
 * Each question is about so much that one call would take a while for it. An alarm
 * that comes every few milliseconds cuts it into many calls, which together say what
 * one says.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/time.h>

#include "ktap.h"
#include "world.h"

/* Pages that are rows of their own; and large pages, which lead to the same memory. */
#define NR_PAGES 400000
#define VA GB(1)
#define LARGE_VA GB(512)
#define NR_LARGE 128
#define DATA_GPA GB(8)
#define DATA_SLOT 1

/**
 * struct subject - a guest to ask a lot about
 * @w: the VM
 * @regs: the registers of its space
 * @loop: the same, of a space whose root table is all tables
 * @data: MB(2) of its memory
 */
struct subject {
	struct world w;
	struct vmem_regs regs;
	struct vmem_regs loop;
	__u8 *data;
};

static void subject_init(struct subject *s)
{
	struct tables t, loop;
	__u64 i;

	world_init(&s->w, MB(16));
	t = world_add_amd64(&s->w);
	s->regs = tables_regs(&t);
	world_scatter(&t, VA, NR_PAGES);
	s->data = mmap(NULL, MB(2), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(s->data == MAP_FAILED ? -1 : 0, "mmap");
	for (i = 0; i < MB(2); i++)
		s->data[i] = (__u8)(i * 2654435761U >> 24);
	world_add_slot(&s->w, DATA_SLOT, DATA_GPA, s->data, MB(2));
	for (i = 0; i < NR_LARGE; i++)
		tables_map(&t, LARGE_VA + i * MB(2), DATA_GPA, VMEM_LEVEL_PD,
			   PTE_PWU | PTE_PS);
	loop = tables_new_amd64(&s->w.ram);
	s->loop = tables_regs(&loop);
	for (i = 0; i < 512; i++)
		tables_set(&loop, i << 39, VMEM_LEVEL_PML4,
			   (s->loop.cr3 & ~(PAGE - 1)) | PTE_PWU);
}

static void subject_free(struct subject *s)
{
	world_free(&s->w);
	munmap(s->data, MB(2));
}

/**
 * struct asking - a question that is under way
 * @s: the guest
 * @session: a session that is attached to it
 * @done: how far it is: answers, or bytes
 * @va: the address to go on from, where that is not the same
 * @buf: where all answers go; room for NR_PAGES of any kind
 * @ended: the last call said that it is complete
 */
struct asking {
	const struct subject *s;
	int session;
	__u64 done;
	__u64 va;
	void *buf;
	bool ended;
};

static int ask_translate(struct asking *a)
{
	static __u64 vas[NR_PAGES];
	struct vmem_translate_args args = {
		.size = sizeof(args),
		.nr = NR_PAGES - (__u32)a->done,
		.result_size = sizeof(struct vmem_translation),
		.vas = (uintptr_t)(vas + a->done),
		.results = (uintptr_t)((struct vmem_translation *)a->buf +
				       a->done),
		.regs = a->s->regs,
	};
	__u64 i;
	int ret;

	/* From all over, so that no table is near. */
	for (i = a->done; i < NR_PAGES; i++)
		vas[i] = VA + i * 7919 % NR_PAGES * PAGE;
	ret = session_call(a->session, VMEM_TRANSLATE, &args);
	if (!ret)
		a->done += args.out_nr;
	a->ended = a->done == NR_PAGES;
	return ret;
}

static int ask_map_range(struct asking *a)
{
	struct vmem_map_range_args args = {
		.size = sizeof(args),
		.nr = NR_PAGES - (__u32)a->done,
		.mapping_size = sizeof(struct vmem_mapping),
		.mappings =
			(uintptr_t)((struct vmem_mapping *)a->buf + a->done),
		.regs = a->s->regs,
		.va = a->va ? a->va : VA,
		.last_va = VA + NR_PAGES * PAGE - 1,
	};
	int ret = session_call(a->session, VMEM_MAP_RANGE, &args);

	if (ret)
		return ret;
	a->done += args.out_nr;
	a->va = args.out_next_va;
	a->ended = !args.out_more || a->done == NR_PAGES;
	return 0;
}

static int ask_read(struct asking *a)
{
	struct vmem_read_args args = {
		.size = sizeof(args),
		.buf = (uintptr_t)a->buf + a->done % MB(2),
		.len = NR_LARGE * MB(2) - a->done,
		.regs = a->s->regs,
		.va = LARGE_VA + a->done,
	};
	int ret;

	/* Each large page has the same bytes, for which there is room once. */
	if (args.len > MB(2) - a->done % MB(2))
		args.len = MB(2) - a->done % MB(2);
	ret = session_call(a->session, VMEM_READ, &args);
	if (!ret)
		a->done += args.out_len;
	a->ended = a->done == NR_LARGE * MB(2);
	return ret;
}

static int ask_read_phys(struct asking *a)
{
	struct vmem_read_phys_args args = {
		.size = sizeof(args),
		.gpa = WORLD_GPA + a->done,
		.buf = (uintptr_t)a->buf + a->done,
		.len = MB(16) - a->done,
	};
	int ret = session_call(a->session, VMEM_READ_PHYS, &args);

	if (!ret)
		a->done += args.out_len;
	a->ended = a->done == MB(16);
	return ret;
}

static int ask_walk_spaces(struct asking *a)
{
	struct vmem_walk_spaces_args args = {
		.size = sizeof(args),
		.nr = NR_PAGES - (__u32)a->done,
		.record_size = sizeof(struct vmem_record),
		.records = (uintptr_t)((struct vmem_record *)a->buf + a->done),
	};
	int ret = session_call(a->session, VMEM_WALK_SPACES, &args);

	if (ret)
		return ret;
	a->done += args.out_nr;
	a->ended = !args.out_more || a->done == NR_PAGES;
	return 0;
}

/**
 * struct question - one that can take long
 * @name: its name
 * @ask: asks it, or what is left of it; 0 or -errno
 * @calls: calls that it takes if there is no signal
 * @bytes: how many bytes the answers have together
 */
struct question {
	const char *name;
	int (*ask)(struct asking *a);
	int calls;
	__u64 bytes;
};

static const struct question questions[] = {
	{ "VMEM_TRANSLATE", ask_translate, 1,
	  NR_PAGES * sizeof(struct vmem_translation) },
	{ "VMEM_MAP_RANGE", ask_map_range, 1,
	  NR_PAGES * sizeof(struct vmem_mapping) },
	{ "VMEM_READ", ask_read, NR_LARGE, MB(2) },
	{ "VMEM_READ_PHYS", ask_read_phys, 1, MB(16) },
	{ "VMEM_WALK_SPACES", ask_walk_spaces, 1,
	  NR_PAGES * sizeof(struct vmem_record) },
};

#define BUF_LEN (NR_PAGES * sizeof(struct vmem_translation))

static void *new_buf(void)
{
	void *buf = mmap(NULL, BUF_LEN, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	must(buf == MAP_FAILED ? -1 : 0, "mmap");
	return buf;
}

static int alarms;

static void count_alarm(int nr)
{
	(void)nr;
	alarms++;
}

static void set_alarms(int flags, int microseconds)
{
	const struct sigaction action = { .sa_handler = count_alarm,
					  .sa_flags = flags };
	const struct itimerval timer = {
		.it_interval.tv_usec = microseconds,
		.it_value.tv_usec = microseconds,
	};

	must(sigaction(SIGALRM, &action, NULL), "sigaction");
	must(setitimer(ITIMER_REAL, &timer, NULL), "setitimer");
}

/* Returns the calls that it took; -EINTR is none, as nothing was done. */
static int ask_all(const struct subject *s, const struct question *q, void *buf)
{
	struct asking a = { .s = s, .buf = buf };
	int ret, calls = 0;

	a.session = world_open(&s->w);
	do {
		ret = q->ask(&a);
		calls += !ret;
	} while ((!ret || ret == -EINTR) && !a.ended);
	CHECK_EQ_AT(q->name, ret, 0);
	close(a.session);
	return calls;
}

/* @flags: of the signal's action */
static void ask_with_alarms(int flags)
{
	void *whole = new_buf(), *buf = new_buf();
	const struct question *q;
	struct subject s;
	int calls, i;

	subject_init(&s);
	for (q = questions; q < questions + ARRAY_SIZE(questions); q++) {
		set_alarms(flags, 0);
		memset(whole, POISON, q->bytes);
		memset(buf, POISON, q->bytes);
		CHECK_EQ_AT(q->name, ask_all(&s, q, whole), q->calls);
		alarms = 0;
		/* Where others run, a short call may be over before the first. */
		for (i = 0, calls = 0; i < 1000 && calls <= q->calls; i++) {
			set_alarms(flags, 2000);
			calls = ask_all(&s, q, buf);
			set_alarms(flags, 0);
		}
		printf("# %s: %d calls, %d alarms\n", q->name, calls, alarms);
		CHECK_EQ_AT(q->name, calls > q->calls, true);
		CHECK_EQ_AT(q->name, memcmp(buf, whole, q->bytes), 0);
	}
	subject_free(&s);
	munmap(whole, BUF_LEN);
	munmap(buf, BUF_LEN);
	/* As ktap.c had it. */
	signal(SIGALRM, SIG_DFL);
	alarm(KTAP_SECONDS_PER_CASE);
}

static void alarms_that_restart(void)
{
	ask_with_alarms(SA_RESTART);
}

static void alarms_that_interrupt(void)
{
	ask_with_alarms(0);
}

/* ---- Killed ---- */

#define SECONDS_TO_DIE 5

static const struct question *asked;

/* Of a table that is all tables there is no end of rows. */
static void ask_for_ever(void *arg)
{
	struct subject loop = *(struct subject *)arg;
	void *buf = new_buf();
	unsigned int nr = 0;

	for (;;) {
		loop.regs = nr++ % 2 ? loop.loop :
				       ((struct subject *)arg)->regs;
		ask_all(&loop, asked, buf);
	}
}

static void kill_one(struct subject *s, unsigned int microseconds,
		     double *longest)
{
	pid_t child = ktap_fork(ask_for_ever, s);
	double start, took;
	int status;

	usleep(microseconds);
	start = seconds();
	must(kill(child, SIGKILL), "kill");
	must(waitpid(child, &status, 0), "waitpid");
	took = seconds() - start;
	CHECK_EQ_AT(asked->name, status, SIGKILL);
	if (took > *longest)
		*longest = took;
}

static void callers_killed(void)
{
	int i, nr = (int)number_of("VMEM_KILLS", 10);
	unsigned int seed = (unsigned int)number_of("VMEM_SEED", 1);
	double longest;
	struct subject s;

	subject_init(&s);
	for (asked = questions; asked < questions + ARRAY_SIZE(questions);
	     asked++) {
		longest = 0;
		for (i = 0; i < nr; i++) {
			alarm(KTAP_SECONDS_PER_CASE);
			kill_one(&s, (unsigned int)rand_r(&seed) % 50000,
				 &longest);
		}
		printf("# %s: killed %d times, gone after %.3f s at most\n",
		       asked->name, nr, longest);
		CHECK(longest < SECONDS_TO_DIE);
	}
	subject_free(&s);
}

static long long lost_at_start;

static void no_pages_lost(void)
{
	CHECK_EQ(pages_lost(), lost_at_start);
}

static const struct ktap_case cases[] = {
	{ "alarms_that_restart", alarms_that_restart },
	{ "alarms_that_interrupt", alarms_that_interrupt },
	{ "callers_killed", callers_killed },
	{ "no_pages_lost", no_pages_lost },
};

int main(void)
{
	lost_at_start = pages_lost_before();
	return ktap_main(cases, ARRAY_SIZE(cases));
}
