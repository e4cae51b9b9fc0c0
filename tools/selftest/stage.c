// SPDX-License-Identifier: GPL-2.0-only
/*
 * stage.c - a VMM that things happen to while others ask about its guest
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "caller.h"
#include "random.h"
#include "stage.h"

const char *const event_names[NR_EVENTS] = {
	[BALLOON] = "balloon",
	[HUGE_BALLOON] = "balloon of a huge page",
	[HOLE] = "punched hole",
	[HUGE_HOLE] = "punched hole of a huge page",
	[TRUNCATE] = "truncate and regrow",
	[REMOVE_SLOT] = "slot removed and added",
	[MOVE_SLOT] = "slot moved and moved back",
	[MREMAP] = "mremap",
	[FORK_EXIT] = "fork, child exits",
	[FORK_EXEC] = "fork, child execs",
};

/**
 * struct piece - the memory that one table is in
 * @event: what happens to it
 * @len: its size in bytes
 * @fd: the file that it is in, if it is in one
 * @pt: where we have the table
 * @spare: other memory, for the slot to go to
 */
struct piece {
	enum event event;
	__u64 len;
	int fd;
	__u64 *pt;
	__u64 *spare;
};

/**
 * struct vmm - what is the VMM's alone
 * @s: what is not
 * @t: its guest's first space
 * @pieces: the memory of the tables
 * @late: the memory that never comes
 */
struct vmm {
	struct stage *s;
	struct tables t;
	struct piece pieces[NR_EVENTS];
	struct guest_ram late;
};

/* ---- Processes ---- */

void random_pause(__u64 *random)
{
	__u64 n = random_next(random);

	if (n % 4 == 0)
		sched_yield();
	else if (n % 4 == 1)
		usleep(n / 4 % 300);
}

static void exit_now(int signal)
{
	(void)signal;
	_exit(0);
}

static void exec_now(int signal)
{
	(void)signal;
	execl("/bin/true", "true", NULL);
	_exit(1);
}

static void mask_signals(int how)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	sigprocmask(how, &set, NULL);
}

/* The signals are the first thread's, so that the others are in their calls. */
void be_process(const thread_fn *fns, int nr, void *arg)
{
	pthread_t threads[4];
	int i;

	signal(SIGUSR1, exit_now);
	signal(SIGUSR2, exec_now);
	mask_signals(SIG_BLOCK);
	for (i = 0; i < nr; i++)
		must(pthread_create(&threads[i], NULL, fns[i], arg) ? -1 : 0,
		     "pthread_create");
	mask_signals(SIG_UNBLOCK);
	for (i = 0; i < nr; i++)
		pthread_join(threads[i], NULL);
	_exit(0);
}

/* ---- Memory ---- */

static void *map(void *hva, __u64 len, int flags, int fd)
{
	void *p = mmap(hva, len, PROT_READ | PROT_WRITE,
		       flags | (hva ? MAP_FIXED : 0), fd, 0);

	must(p == MAP_FAILED ? -1 : 0, "mmap of a piece of memory");
	return p;
}

static void *map_anonymous(void *hva, __u64 len)
{
	return map(hva, len, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

/* Its neighbours are ours: nothing else comes where it is moved away from. */
static void *map_between(__u64 len)
{
	return (char *)map_anonymous(NULL, 3 * len) + len;
}

static void *map_huge(void)
{
	char *p = map_anonymous(NULL, 2 * MB(2));

	p += -(uintptr_t)p & (MB(2) - 1);
	madvise(p, MB(2), MADV_HUGEPAGE);
	return p;
}

/* NULL where there are no such pages. */
static void *map_file(struct piece *p, unsigned int flags)
{
	void *hva;

	p->fd = memfd_create("guest", MFD_CLOEXEC | flags);
	if (p->fd < 0 || ftruncate(p->fd, (off_t)p->len))
		return NULL;
	hva = mmap(NULL, p->len, PROT_READ | PROT_WRITE, MAP_SHARED, p->fd, 0);
	return hva == MAP_FAILED ? NULL : hva;
}

/* The table's n-th state. The last entry is not present, and says so too. */
static void put(const struct piece *p, __u64 *pt, int n)
{
	pt[511] = (__u64)(__u8)n << 8;
	pt[1] = PIECE_GPA(p->event) | PTE_PWU;
	__atomic_store_n(pt, TARGET(p->event, (__u64)n) | PTE_PWU,
			 __ATOMIC_RELEASE);
}

/*
 * What was guest memory goes on as something else. A call that has found it
 * before may read that, and gets an answer that no state has; none that comes
 * later may.
 */
static void spoil(__u64 *pt)
{
	*pt = PTE_P | BIT_ULL(51);
}

/* ---- Events ---- */

static void balloon(struct vmm *v, struct piece *p, int n)
{
	(void)v;
	must(madvise(p->pt, p->len, MADV_DONTNEED), "MADV_DONTNEED");
	put(p, p->pt, n);
}

static void punch_hole(struct vmm *v, struct piece *p, int n)
{
	(void)v;
	must(fallocate(p->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
		       (off_t)p->len),
	     "fallocate");
	put(p, p->pt, n);
}

static void truncate_and_regrow(struct vmm *v, struct piece *p, int n)
{
	(void)v;
	must(ftruncate(p->fd, 0), "ftruncate");
	must(ftruncate(p->fd, (off_t)p->len), "ftruncate");
	put(p, p->pt, n);
}

static void set_slot(struct vmm *v, const struct piece *p, __u64 gpa, __u64 *pt,
		     __u64 len)
{
	world_add_slot(&v->s->w, 1 + (__u32)p->event, gpa, pt, len);
}

static void remove_slot(struct vmm *v, struct piece *p, int n)
{
	__u64 *old = p->pt;

	put(p, p->spare, n);
	set_slot(v, p, 0, NULL, 0);
	spoil(old);
	set_slot(v, p, PIECE_GPA(p->event), p->spare, p->len);
	p->pt = p->spare;
	p->spare = old;
}

static void move_slot(struct vmm *v, struct piece *p, int n)
{
	set_slot(v, p, AWAY_GPA, p->pt, p->len);
	put(p, p->pt, n);
	set_slot(v, p, PIECE_GPA(p->event), p->pt, p->len);
}

static void move_mapping(struct vmm *v, struct piece *p, int n)
{
	__u64 *away = map_anonymous(NULL, p->len);
	void *moved = mremap(p->pt, p->len, p->len,
			     MREMAP_MAYMOVE | MREMAP_FIXED, away);

	(void)v;
	must(moved == MAP_FAILED ? -1 : 0, "mremap");
	spoil(away);
	map_anonymous(p->pt, p->len);
	put(p, p->pt, n);
	munmap(away, p->len);
}

/* What is written is a copy then, as long as the child is there. */
static void write_after_fork(struct piece *p, int n, bool exec)
{
	pid_t child = (pid_t)must(fork(), "fork");

	if (!child) {
		if (exec)
			exec_now(0);
		_exit(0);
	}
	put(p, p->pt, n);
	must(waitpid(child, NULL, 0), "waitpid");
}

static void fork_exit(struct vmm *v, struct piece *p, int n)
{
	(void)v;
	write_after_fork(p, n, false);
}

static void fork_exec(struct vmm *v, struct piece *p, int n)
{
	(void)v;
	write_after_fork(p, n, true);
}

static void (*const events[NR_EVENTS])(struct vmm *v, struct piece *p,
				       int n) = {
	[BALLOON] = balloon,
	[HUGE_BALLOON] = balloon,
	[HOLE] = punch_hole,
	[HUGE_HOLE] = punch_hole,
	[TRUNCATE] = truncate_and_regrow,
	[REMOVE_SLOT] = remove_slot,
	[MOVE_SLOT] = move_slot,
	[MREMAP] = move_mapping,
	[FORK_EXIT] = fork_exit,
	[FORK_EXEC] = fork_exec,
};

static void happen(struct vmm *v, enum event event)
{
	struct stage *s = v->s;
	int n = s->done[event] + 1;

	store(&s->begun[event], n);
	events[event](v, &v->pieces[event], n);
	store(&s->done[event], n);
	add(&s->happened[event], 1);
}

/* One of those that are to happen yet; NR_EVENTS if none is. */
static enum event choose(const struct stage *s, const int *left, __u64 *random)
{
	int i, event = (int)(random_next(random) % NR_EVENTS);

	for (i = 0; i < NR_EVENTS; i++, event = (event + 1) % NR_EVENTS)
		if (s->has[event] && left[event])
			return (enum event)event;
	return NR_EVENTS;
}

static void do_batch(struct vmm *v, __u64 *random)
{
	struct stage *s = v->s;
	int i, left[NR_EVENTS];
	enum event event;

	for (i = 0; i < NR_EVENTS; i++)
		left[i] = s->per_batch;
	while (!load(&s->stop)) {
		event = choose(s, left, random);
		if (event == NR_EVENTS)
			return;
		happen(v, event);
		left[event] -= s->per_batch != INT_MAX;
		random_pause(random);
	}
}

static void *let_things_happen(void *arg)
{
	struct vmm *v = arg;
	__u64 random = v->s->seed;

	setpriority(PRIO_PROCESS, (id_t)gettid(), FIRST);
	add(&v->s->nr_ready, 1);
	while (!load(&v->s->stop)) {
		if (load(&v->s->batches) == v->s->batches_done) {
			usleep(1000);
			continue;
		}
		do_batch(v, &random);
		add(&v->s->batches_done, 1);
	}
	return NULL;
}

/* ---- The VMM ---- */

static void add_piece(struct vmm *v, enum event event)
{
	struct piece *p = &v->pieces[event];
	struct stage *s = v->s;
	__u64 gpa = PIECE_GPA(event);

	p->event = event;
	p->len = event == HUGE_BALLOON || event == HUGE_HOLE ? MB(2) : PAGE;
	if (event == HOLE || event == TRUNCATE)
		p->pt = map_file(p, 0);
	else if (event == HUGE_HOLE)
		p->pt = map_file(p, MFD_HUGETLB);
	else if (event == HUGE_BALLOON)
		p->pt = map_huge();
	else if (event == MREMAP)
		p->pt = map_between(p->len);
	else
		p->pt = map_anonymous(NULL, p->len);
	s->has[event] = p->pt;
	if (!p->pt)
		return;
	if (event == REMOVE_SLOT)
		p->spare = map_anonymous(NULL, p->len);
	put(p, p->pt, s->done[event]);
	tables_set(&v->t, PIECE_VA(event), VMEM_LEVEL_PD, gpa | PTE_PWU);
	set_slot(v, p, gpa, p->pt, p->len);
	/* Slots are KVM's: a region table has nothing there. */
	if (event != REMOVE_SLOT && event != MOVE_SLOT)
		s->regions[s->nr_regions++] =
			(struct vmem_region){ gpa, p->len, (uintptr_t)p->pt };
}

static void add_wide_space(struct vmm *v)
{
	struct tables t = tables_new_amd64(&v->s->w.ram);
	__u64 i;

	for (i = 0; i < 512; i++)
		tables_map(&t, i * PAGE, WIDE_TARGET(i), VMEM_LEVEL_PT,
			   PTE_PWU);
	for (i = 1; i < 512; i++)
		world_share(&t, i * MB(2), &t, 0, VMEM_LEVEL_PT, PTE_PWU);
	v->s->wide = tables_regs(&t);
}

static void add_spaces(struct vmm *v)
{
	struct world *w = &v->s->w;
	struct tables second;

	v->t = world_add_amd64(w);
	second = world_add_amd64(w);
	world_add_root(w, &v->t);
	tables_map(&v->t, FIXED_VA, FIXED_GPA, VMEM_LEVEL_PT, PTE_PWU);
	tables_set(&v->t, AWAY_VA, VMEM_LEVEL_PD, AWAY_GPA | PTE_PWU);
	tables_map(&second, FIXED_VA, FIXED_GPA, VMEM_LEVEL_PT, PTE_PWU);
	tables_map(&second, SECOND_VA, FIXED_GPA, VMEM_LEVEL_PT, PTE_PWU);
	world_share(&second, GB(1), &v->t, GB(1), VMEM_LEVEL_PD, PTE_PWU);
	w->restless = true;
	v->s->regs = tables_regs(&v->t);
	v->s->second = tables_regs(&second);
}

/* The last slot. Nobody but the kernel ever touches it. */
static void add_late_memory(struct vmm *v)
{
	v->late = ram_new(LATE_GPA, PAGE);
	v->s->uffd = ram_own_faults(&v->late);
	must(v->s->uffd, "userfaultfd");
	world_add_slot(&v->s->w, 1 + NR_EVENTS, LATE_GPA, v->late.hva, PAGE);
	v->s->regions[v->s->nr_regions++] =
		(struct vmem_region){ LATE_GPA, PAGE, (uintptr_t)v->late.hva };
	tables_set(&v->t, LATE_VA, VMEM_LEVEL_PD, LATE_GPA | PTE_PWU);
}

static void build(struct vmm *v)
{
	struct stage *s = v->s;
	int event;

	world_init(&s->w, MB(1));
	s->w.spaces.cr3 = s->w.cr3;
	s->nr_regions = 0;
	s->regions[s->nr_regions++] =
		(struct vmem_region){ s->w.ram.gpa, s->w.ram.len,
				      (uintptr_t)s->w.ram.hva };
	add_spaces(v);
	add_wide_space(v);
	for (event = 0; event < NR_EVENTS; event++)
		add_piece(v, (enum event)event);
	if (s->late)
		add_late_memory(v);
	map(NULL, PAGE, MAP_SHARED, s->pin_file);
}

/* The page never comes: all that is told is that somebody waits for it. */
static void *never_serve(void *arg)
{
	struct vmm *v = arg;
	struct uffd_msg msg;

	while (read(v->s->uffd, &msg, sizeof(msg)) == sizeof(msg))
		add(&v->s->nr_waiting, 1);
	return NULL;
}

static void *ask_by_regions(void *arg)
{
	struct vmm *v = arg;

	caller_run(v->s, -1, v->s->seed + 1);
	return NULL;
}

static void *ask_by_vm(void *arg)
{
	struct vmm *v = arg;

	caller_run(v->s, v->s->w.vm_fd, v->s->seed + 2);
	return NULL;
}

static void send_fd(int socket, int fd)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {
		.head = {
			.cmsg_len = CMSG_LEN(sizeof(int)),
			.cmsg_level = SOL_SOCKET,
			.cmsg_type = SCM_RIGHTS,
		},
	};
	struct iovec byte = { .iov_base = "", .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &byte,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};

	memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
	must(sendmsg(socket, &msg, 0), "sendmsg");
}

void be_vmm(struct stage *s, int socket)
{
	static const thread_fn fns[] = { let_things_happen, ask_by_regions,
					 ask_by_vm, never_serve };
	static struct vmm v;

	v.s = s;
	s->pid = getpid();
	build(&v);
	send_fd(socket, s->w.vm_fd);
	be_process(fns, s->late ? 4 : 3, &v);
}
