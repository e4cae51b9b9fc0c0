// SPDX-License-Identifier: GPL-2.0-only
/*
 * sessions.c - many sessions on one VM at once
 *
 * Each session looks at spaces of its own, so that no two have the same answers.
 * What each is told alone, before the others come, it is told among them, and
 * the kernel's memory does not grow by it.
 *
 * VMEM_SECONDS is for how long they ask, VMEM_SEED repeats what each of them asks.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

#include "file.h"
#include "folder.h"
#include "ktap.h"
#include "random.h"
#include "world.h"

#define SECONDS 5

/* Sessions: of so many processes, each with so many threads. */
#define NR 200
#define PER_PROCESS 10
#define NR_PROCESSES (NR / PER_PROCESS)

/* Those of the last digit share tables, and those of this one are 32-bit. */
#define I686_DIGIT 9

/* Roots of each set of spaces. */
#define NR_ROOTS 3

/* Of each space: pages that lie apart, in memory that the guest has not. */
#define NR_APART 8
#define TARGET(i, j) (GB(1) + 2 * PAGE * (NR_APART * (i) + (j)))

/* Two pages to read, with a hole behind them; a table that is shared. */
#define DATA_VA MB(8)
#define DATA_LEN (3 * PAGE)
#define SHARED_VA MB(16)

#define MAX_ROWS 64
#define MAX_SLOTS 8

/* Addresses that are asked for: all kinds of pages, holes, and no address. */
#define NR_VAS 40

static __u64 va_of(int i)
{
	static const __u64 others[] = { DATA_VA,      DATA_VA + 2 * PAGE - 1,
					SHARED_VA,    SHARED_VA + 7 * PAGE + 5,
					GB(1),	      BIT_ULL(47),
					SHARED_VA - 1 };

	return i < 2 * NR_APART ? (__u64)i * PAGE + (__u64)i :
				  others[(size_t)i % ARRAY_SIZE(others)];
}

/**
 * struct answers - all that a session is told
 * @by_regs: VMEM_TRANSLATE of all addresses in the first space
 * @in_space: the same with owners, in each of the spaces
 * @rows: VMEM_MAP_RANGE of the first space
 * @nr_rows: how many they are
 * @bytes: VMEM_READ of the first space
 * @end: where it ended
 * @records: VMEM_WALK_SPACES
 * @table: VMEM_READ_PHYS of the root table, and what is behind it
 * @slots: VMEM_MEMSLOTS
 * @nr_slots: how many they are
 */
struct answers {
	struct vmem_translation by_regs[NR_VAS];
	struct vmem_translation in_space[NR_ROOTS][NR_VAS];
	struct vmem_mapping rows[MAX_ROWS];
	__u32 nr_rows;
	__u8 bytes[DATA_LEN];
	struct vmem_read_args end;
	struct session_records records;
	__u8 table[2 * PAGE];
	struct vmem_memslot slots[MAX_SLOTS];
	__u32 nr_slots;
};

/**
 * struct asker - who asks by one session
 * @i: which of the sets of spaces it is on
 * @spaces: the set
 * @cr3: its roots
 * @alone: what it was told when nobody else asked
 * @session: the session
 * @begun: its spaces are being walked
 * @walked: they are walked to the end
 * @stays: it is never closed, since others use it too
 * @fault: what went wrong; NULL for nothing
 */
struct asker {
	int i;
	struct session_spaces spaces;
	__u64 cr3[NR_ROOTS];
	struct answers alone;
	int session;
	bool begun;
	bool walked;
	bool stays;
	const char *fault;
};

static struct world world;
static struct tables spaces[NR];
static struct asker *askers;

/**
 * struct shared - what the processes and the test see
 * @go: all begin
 * @stop: all end their calls
 * @leave: all close their sessions
 * @asking: held for reading during each call, for writing while memory is sampled
 * @nr_ready: threads that wait to begin
 * @nr_done: that have ended their calls
 * @calls: by kind
 * @wrong: calls with other results than alone
 */
struct shared {
	int go;
	int stop;
	int leave;
	pthread_rwlock_t asking;
	int nr_ready;
	int nr_done;
	long calls[16];
	int wrong;
};

static struct shared *shared;

static int load(const int *value)
{
	return __atomic_load_n(value, __ATOMIC_SEQ_CST);
}

static void store(int *value, int n)
{
	__atomic_store_n(value, n, __ATOMIC_SEQ_CST);
}

static void add(int *value, int n)
{
	__atomic_add_fetch(value, n, __ATOMIC_SEQ_CST);
}

static __u64 seed;
static double duration;

/* ---- The world ---- */

static void add_data(struct tables *t, int i)
{
	__u64 gpa = ram_alloc(&world.ram, 2 * PAGE);
	__u32 *words = ram_ptr(&world.ram, gpa);
	__u32 n;

	for (n = 0; n < 2 * PAGE / sizeof(*words); n++)
		words[n] = n * 2654435761u + (__u32)i;
	tables_map(t, DATA_VA, gpa + PAGE, VMEM_LEVEL_PT, PTE_PWU);
	tables_map(t, DATA_VA + PAGE, gpa, VMEM_LEVEL_PT, PTE_P);
}

/* The first of those that share it has the table, the others refer to it. */
static void add_shared(struct tables *t, int i)
{
	int j, digit = i % PER_PROCESS;

	if (i != digit) {
		world_share(t, SHARED_VA, &spaces[digit], SHARED_VA,
			    VMEM_LEVEL_PT, PTE_P | PTE_U);
		return;
	}
	for (j = 0; j < NR_APART; j++)
		tables_map(t, SHARED_VA + (__u64)j * PAGE,
			   TARGET((__u64)(NR + i), (__u64)j), VMEM_LEVEL_PT,
			   PTE_PWU);
}

static void build_space(int i)
{
	struct tables *t = &spaces[i];
	int j;

	*t = i % PER_PROCESS == I686_DIGIT ? world_add_i686(&world) :
					     world_add_amd64(&world);
	for (j = 0; j < NR_APART; j++)
		tables_map(t, (__u64)j * PAGE, TARGET((__u64)i, (__u64)j),
			   VMEM_LEVEL_PT, PTE_PWU);
	add_data(t, i);
	add_shared(t, i);
}

static void build(void)
{
	int i;

	world_init(&world, MB(16));
	for (i = 0; i < NR; i++)
		build_space(i);
	askers = calloc(NR, sizeof(*askers));
	must(askers ? 0 : -1, "calloc");
	for (i = 0; i < NR; i++) {
		struct asker *a = &askers[i];

		a->i = i;
		a->cr3[0] = spaces[i].root;
		a->cr3[1] = spaces[(i + PER_PROCESS) % NR].root;
		a->cr3[2] = spaces[i % PER_PROCESS].root;
		a->spaces = (struct session_spaces){
			.regs = tables_regs(&spaces[i]),
			.cr3 = a->cr3,
			.nr_cr3 = NR_ROOTS,
			.last_va = ~0ULL,
		};
		a->stays = i % PER_PROCESS < 2;
	}
}

/* ---- Questions ---- */

static void open_asker(struct asker *a)
{
	a->session = session_open();
	a->begun = false;
	a->walked = false;
	must(-!!session_attach_kvm(a->session, world.vm_fd), "attach");
	must(-!!session_set_spaces(a->session, &a->spaces), "spaces");
}

static void get_vas(__u64 *vas)
{
	int i;

	for (i = 0; i < NR_VAS; i++)
		vas[i] = va_of(i);
}

static int ask_by_regs(struct asker *a, struct answers *now, __u64 *random)
{
	__u64 vas[NR_VAS];

	(void)random;
	get_vas(vas);
	return session_translate(a->session, &a->spaces.regs, vas, NR_VAS,
				 now->by_regs);
}

static int ask_range(struct asker *a, struct answers *now, __u64 *random)
{
	struct session_maps maps = {
		.rows = now->rows,
		.room = MAX_ROWS,
		.per_call = 1 + (__u32)random_next(random) % 20,
	};
	int ret =
		session_map_range(a->session, &a->spaces.regs, 0, ~0ULL, &maps);

	now->nr_rows = maps.nr;
	return ret;
}

static int ask_bytes(struct asker *a, struct answers *now, __u64 *random)
{
	(void)random;
	return session_read(a->session, &a->spaces.regs, DATA_VA, now->bytes,
			    DATA_LEN, &now->end);
}

static int ask_table(struct asker *a, struct answers *now, __u64 *random)
{
	struct vmem_read_phys_args end;
	int ret = session_read_phys(a->session, a->cr3[0], now->table,
				    sizeof(now->table), &end);

	(void)random;
	return ret ?: end.out_len == sizeof(now->table) ? 0 : -EPROTO;
}

static int ask_slots(struct asker *a, struct answers *now, __u64 *random)
{
	(void)random;
	return session_memslots(a->session, now->slots, MAX_SLOTS, 2,
				&now->nr_slots);
}

static int ask_info(struct asker *a, struct answers *now, __u64 *random)
{
	struct vmem_info_args info;
	int ret = session_info(a->session, &info);

	(void)now;
	(void)random;
	return ret ?: info.out_source == VMEM_SOURCE_KVM ? 0 : -EPROTO;
}

/* In pieces of any length. What a call that is refused has told is lost to us. */
static int walk(struct asker *a, struct answers *now, __u64 *random)
{
	struct session_records *records = &now->records;
	bool more = true;
	int ret;

	a->begun = true;
	records->nr = 0;
	while (more) {
		records->per_call = 1 + (__u32)random_next(random) % 20;
		ret = session_walk_once(a->session, records, &more);
		if (ret)
			return ret;
	}
	a->walked = true;
	return 0;
}

static int ask_in_space(struct asker *a, struct answers *now, __u64 *random)
{
	__u64 vas[NR_VAS];
	int root, ret = 0;

	(void)random;
	get_vas(vas);
	for (root = 0; !ret && root < NR_ROOTS; root++)
		ret = session_translate_in(a->session, (__u32)root, vas, NR_VAS,
					   now->in_space[root]);
	return ret;
}

/* ---- Answers ---- */

static bool same_by_regs(const struct answers *a, const struct answers *b)
{
	return !memcmp(a->by_regs, b->by_regs, sizeof(a->by_regs));
}

static bool same_range(const struct answers *a, const struct answers *b)
{
	return a->nr_rows == b->nr_rows &&
	       !memcmp(a->rows, b->rows, a->nr_rows * sizeof(a->rows[0]));
}

static bool same_bytes(const struct answers *a, const struct answers *b)
{
	return !memcmp(a->bytes, b->bytes, DATA_LEN) &&
	       a->end.out_len == b->end.out_len &&
	       a->end.out_status == b->end.out_status;
}

static bool same_slots(const struct answers *a, const struct answers *b)
{
	return a->nr_slots == b->nr_slots &&
	       !memcmp(a->slots, b->slots, a->nr_slots * sizeof(a->slots[0]));
}

static bool same_records(const struct answers *a, const struct answers *b)
{
	return a->records.nr == b->records.nr &&
	       !memcmp(a->records.rows, b->records.rows,
		       a->records.nr * sizeof(a->records.rows[0]));
}

static bool same_in_space(const struct answers *a, const struct answers *b)
{
	return !memcmp(a->in_space, b->in_space, sizeof(a->in_space));
}

static bool same_table(const struct answers *a, const struct answers *b)
{
	return !memcmp(a->table, b->table, sizeof(a->table));
}

static bool same_anyway(const struct answers *a, const struct answers *b)
{
	(void)a;
	(void)b;
	return true;
}

/**
 * struct question - one kind of call
 * @name: for people
 * @ask: makes it
 * @same: compares what it was told
 * @walk: it takes a session whose walk has not begun
 * @walked: it takes one whose spaces are
 */
struct question {
	const char *name;
	int (*ask)(struct asker *a, struct answers *now, __u64 *random);
	bool (*same)(const struct answers *a, const struct answers *b);
	bool walk, walked;
};

/* Those before the walk can be asked by several threads at once. */
static const struct question questions[] = {
	{ .name = "translate", .ask = ask_by_regs, .same = same_by_regs },
	{ .name = "map_range", .ask = ask_range, .same = same_range },
	{ .name = "read", .ask = ask_bytes, .same = same_bytes },
	{ .name = "read_phys", .ask = ask_table, .same = same_table },
	{ .name = "memslots", .ask = ask_slots, .same = same_slots },
	{ .name = "info", .ask = ask_info, .same = same_anyway },
	{ .name = "walk", .ask = walk, .same = same_records, .walk = true },
	{ .name = "translate in spaces",
	  .ask = ask_in_space,
	  .same = same_in_space,
	  .walked = true },
};

#define NR_FREE 6

static bool can_ask(const struct asker *a, const struct question *q)
{
	return !(q->walk && a->begun) && !(q->walked && !a->walked);
}

static bool count_answer(const struct asker *a, const struct question *q,
			 const struct answers *now, int ret)
{
	__atomic_add_fetch(&shared->calls[q - questions], 1, __ATOMIC_RELAXED);
	if (!ret && q->same(&a->alone, now))
		return true;
	printf("# session %d: %s: %s\n", a->i, q->name,
	       ret ? strerror(-ret) : "not the same as alone");
	add(&shared->wrong, 1);
	return false;
}

/* ---- Threads ---- */

/**
 * struct worker - a thread that asks
 * @askers: whose sessions it uses
 * @nr: how many they are; 1 has it to itself
 * @random: decides what it asks
 * @thread: the thread
 */
struct worker {
	struct asker *askers;
	int nr;
	__u64 random;
	pthread_t thread;
};

static void wait_until(const int *value, int n)
{
	while (load(value) < n)
		usleep(1000);
}

/* Ends at the first answer that is wrong. */
static void ask(struct asker *a, const struct question *q, struct answers *now,
		__u64 *random)
{
	if (!can_ask(a, q))
		return;
	if (!count_answer(a, q, now, q->ask(a, now, random)))
		store(&shared->stop, 1);
}

static void ask_all(struct asker *a, struct answers *now, __u64 *random)
{
	size_t q;

	for (q = 0; q < ARRAY_SIZE(questions); q++)
		ask(a, &questions[q], now, random);
}

static void ask_at_random(struct worker *w, struct answers *now)
{
	struct asker *a = &w->askers[random_next(&w->random) % (__u64)w->nr];
	const struct question *q =
		&questions[random_next(&w->random) %
			   (w->nr > 1 ? NR_FREE : ARRAY_SIZE(questions))];

	if (w->nr == 1 && !a->stays && random_next(&w->random) % 16 == 0) {
		close(a->session);
		open_asker(a);
	}
	ask(a, q, now, &w->random);
}

static void *work(void *arg)
{
	struct answers *now = calloc(1, sizeof(*now));
	struct worker *w = arg;

	must(now ? 0 : -1, "calloc");
	if (w->nr == 1)
		ask_all(w->askers, now, &w->random);
	add(&shared->nr_ready, 1);
	wait_until(&shared->go, 1);
	while (!load(&shared->stop)) {
		pthread_rwlock_rdlock(&shared->asking);
		ask_at_random(w, now);
		pthread_rwlock_unlock(&shared->asking);
	}
	free(now->records.rows);
	free(now);
	return NULL;
}

/* Of a process: one for each session, and two that use the first two as well. */
#define NR_WORKERS (PER_PROCESS + 2)

static void start_workers(struct worker *workers, int first)
{
	int i;

	for (i = 0; i < NR_WORKERS; i++) {
		workers[i] = (struct worker){
			.askers = &askers[first + i % PER_PROCESS],
			.nr = 1,
			.random = seed + (__u64)(first * 100 + i),
		};
		if (i >= PER_PROCESS) {
			workers[i].askers = &askers[first];
			workers[i].nr = 2;
		}
		must(pthread_create(&workers[i].thread, NULL, work,
				    &workers[i]) ?
			     -1 :
			     0,
		     "pthread_create");
	}
}

static void be_process(void *arg)
{
	int i, first = *(int *)arg;
	struct worker workers[NR_WORKERS];

	alarm(0);
	setpriority(PRIO_PROCESS, 0, 0);
	for (i = first; i < first + PER_PROCESS; i++)
		open_asker(&askers[i]);
	start_workers(workers, first);
	for (i = 0; i < NR_WORKERS; i++)
		pthread_join(workers[i].thread, NULL);
	add(&shared->nr_done, 1);
	wait_until(&shared->leave, 1);
}

/* ---- Memory ---- */

/* What the kernel has, in kB. */
struct sample {
	long slab;
	long percpu;
	long vmalloc;
};

#define NR_SAMPLES 10

/*
 * Nobody asks meanwhile. With KASAN, shrinking a slab waits for each task that frees
 * what KASAN had kept back: minutes, where hundreds of tasks share two processors.
 */
static struct sample take_sample(void)
{
	struct sample sample;

	pthread_rwlock_wrlock(&shared->asking);
	shrink_slabs();
	sample = (struct sample){ kilobytes("SUnreclaim"), kilobytes("Percpu"),
				  kilobytes("VmallocUsed") };
	pthread_rwlock_unlock(&shared->asking);
	return sample;
}

static struct sample largest(const struct sample *samples, int nr)
{
	struct sample max = samples[0];
	int i;

	for (i = 1; i < nr; i++) {
		if (samples[i].slab > max.slab)
			max.slab = samples[i].slab;
		if (samples[i].percpu > max.percpu)
			max.percpu = samples[i].percpu;
		if (samples[i].vmalloc > max.vmalloc)
			max.vmalloc = samples[i].vmalloc;
	}
	return max;
}

/*
 * The largest of the last tenth beside that of the first. Sessions come and go,
 * and know their tables or do not: what is allowed for is that all know them at
 * one moment, and none at another.
 */
#define TOLERATED_KB (NR * 64)

static void check_flat(const struct sample *samples, int nr)
{
	int tenth = nr / 10 ?: 1;
	struct sample first = largest(samples, tenth);
	struct sample last = largest(samples + nr - tenth, tenth);

	printf("# of %d samples, largest of the first tenth, of the last:\n",
	       nr);
	printf("# slab %ld, %ld kB; percpu %ld, %ld kB; vmalloc %ld, %ld kB\n",
	       first.slab, last.slab, first.percpu, last.percpu, first.vmalloc,
	       last.vmalloc);
	CHECK(last.slab - first.slab < TOLERATED_KB);
	CHECK(last.percpu - first.percpu < TOLERATED_KB);
	CHECK(last.vmalloc - first.vmalloc < TOLERATED_KB);
}

/* ---- All at once ---- */

static void learn_alone(void)
{
	__u64 random = seed;
	struct asker *a;
	size_t q;
	int i;

	for (i = 0; i < NR; i++) {
		a = &askers[i];
		open_asker(a);
		for (q = 0; q < ARRAY_SIZE(questions); q++)
			CHECK_EQ_AT(questions[q].name,
				    questions[q].ask(a, &a->alone, &random), 0);
		CHECK_EQ(a->alone.by_regs[1].out_gpa,
			 TARGET((__u64)i, 1ULL) + 1);
		close(a->session);
	}
}

static int watch(struct sample *samples)
{
	int nr = 0;

	while (nr < NR_SAMPLES && !load(&shared->stop)) {
		alarm(KTAP_SECONDS_PER_CASE +
		      (unsigned int)(duration / NR_SAMPLES));
		usleep((unsigned int)(duration * 1e6 / NR_SAMPLES));
		samples[nr++] = take_sample();
	}
	return nr;
}

static void print_calls(void)
{
	long all = 0;
	size_t q;

	for (q = 0; q < ARRAY_SIZE(questions); q++) {
		printf("# %ld calls of %s\n", shared->calls[q],
		       questions[q].name);
		CHECK(shared->calls[q]);
		all += shared->calls[q];
	}
	printf("# %ld calls, %d wrong\n", all, shared->wrong);
}

/* Shared by all processes; a writer that waits goes before new readers. */
static void asking_init(void)
{
	const int kind = PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP;
	pthread_rwlockattr_t attr;

	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_rwlockattr_setkind_np(&attr, kind);
	must(pthread_rwlock_init(&shared->asking, &attr) ? -1 : 0,
	     "pthread_rwlock_init");
}

static void ask_all_at_once(void (*begin)(void *first))
{
	static struct sample samples[NR_SAMPLES];
	long long lost = pages_lost_before();
	int i, nr, firsts[NR_PROCESSES];
	pid_t children[NR_PROCESSES];

	memset(shared, 0, sizeof(*shared));
	asking_init();
	for (i = 0; i < NR_PROCESSES; i++) {
		firsts[i] = i * PER_PROCESS;
		children[i] = ktap_fork(begin, &firsts[i]);
	}
	wait_until(&shared->nr_ready, NR_PROCESSES * NR_WORKERS);
	CHECK_EQ(count_folders(), NR);
	store(&shared->go, 1);
	nr = watch(samples);
	store(&shared->stop, 1);
	wait_until(&shared->nr_done, NR_PROCESSES);
	store(&shared->leave, 1);
	for (i = 0; i < NR_PROCESSES; i++)
		ktap_wait(children[i]);
	print_calls();
	CHECK_EQ(shared->wrong, 0);
	if (CHECK(nr))
		check_flat(samples, nr);
	CHECK_EQ(pages_lost(), lost);
	CHECK_EQ(count_folders(), 0);
}

static void as_alone(void)
{
	ask_all_at_once(be_process);
}

static const struct ktap_case cases[] = {
	{ "alone", learn_alone },
	{ "as_alone", as_alone },
};

int main(void)
{
	const char *given = getenv("VMEM_SECONDS");

	duration = given ? atof(given) : SECONDS;
	given = getenv("VMEM_SEED");
	seed = given ? strtoull(given, NULL, 0) : (__u64)time(NULL);
	printf("# VMEM_SEED=%llu\n", seed);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(shared == MAP_FAILED ? -1 : 0, "mmap");
	/* The others are many, and we are to see what they do. */
	must(setpriority(PRIO_PROCESS, 0, -15), "setpriority");
	build();
	return ktap_main(cases, ARRAY_SIZE(cases));
}
