// SPDX-License-Identifier: GPL-2.0-only
/*
 * events.c - what happens to a VMM, and to who asks about its guest, while they
 * ask, at random moments
 *
 * Afterwards nothing is left: no page pinned, no session, no VM, no memory of a
 * process that is gone, nothing charged to the user, nobody who does not die,
 * and nothing that keeps the module from being unloaded.
 *
 * VMEM_SEED repeats what is random here, as far as the scheduler does; VMEM_TIMES
 * is how often each kind of thing is to happen, for longer runs.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>

#include "caller.h"
#include "file.h"
#include "folder.h"
#include "module.h"
#include "random.h"

/* How often, if nobody says. What it takes is mostly to start and end processes. */
#define TIMES_EVENTS 75
#define TIMES_DEATHS 5
#define PER_BATCH 25

/* Far more than anybody takes to die, even where the machine is emulated. */
#define SECONDS_TO_DIE 60

static __u64 seed;
static int times;

static int times_or(int nr)
{
	return times ? times : nr;
}

/* ---- Nothing is left ---- */

/* A guest of our own. */
static struct world probe;
static long long lost_at_start;
static int folders_at_start;

/* Asks about a guest that nothing happens to. */
static int ask_probe(void)
{
	struct vmem_translation result;
	int ret, session = session_open();

	ret = session_attach_kvm(session, probe.vm_fd);
	if (!ret)
		ret = session_translate_one(session, &probe.spaces.regs, 0,
					    &result);
	close(session);
	return ret;
}

static void check_nothing_left(const char *what)
{
	CHECK_EQ_AT(what, pages_lost(), lost_at_start);
	CHECK_EQ_AT(what, count_folders(), folders_at_start);
	CHECK_EQ_AT(what, count_ownerless_vms(), 0);
	CHECK_EQ_AT(what, ask_probe(), 0);
}

/* Only who has no memory any more has let go of a file that it had mapped. */
static void check_unmapped(const char *what, int pin_file)
{
	CHECK_EQ_AT(what, fcntl(pin_file, F_ADD_SEALS, F_SEAL_WRITE), 0);
}

static void check_module_goes(const char *what)
{
	CHECK_EQ_AT(what, module_remove(), 0);
	CHECK_EQ_AT(what, module_insert(), 0);
}

/* ---- Processes ---- */

static void print_file(const char *path)
{
	char text[4096];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len = read(fd, text, sizeof(text) - 1);

	close(fd);
	if (len <= 0)
		return;
	text[len] = '\0';
	printf("# %s:\n%s\n", path, text);
}

static void print_stacks(pid_t pid)
{
	struct dirent *entry;
	char path[400];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%s/stat", pid,
			 entry->d_name);
		print_file(path);
		snprintf(path, sizeof(path), "/proc/%d/task/%s/stack", pid,
			 entry->d_name);
		print_file(path);
	}
	if (dir)
		closedir(dir);
}

/* Gone soon, or the test is over: what is stuck holds what the next one needs. */
static int reap(pid_t pid)
{
	struct pollfd end = {
		.fd = (int)must(syscall(SYS_pidfd_open, pid, 0), "pidfd_open"),
		.events = POLLIN,
	};
	int status;

	if (poll(&end, 1, SECONDS_TO_DIE * 1000) != 1) {
		print_stacks(pid);
		printf("Bail out! process %d does not die\n", pid);
		exit(1);
	}
	close(end.fd);
	must(waitpid(pid, &status, 0), "waitpid");
	return status;
}

/* What VMMs have left: their children are ours. */
static void reap_orphans(void)
{
	double end = seconds() + SECONDS_TO_DIE;
	pid_t gone;

	do {
		gone = waitpid(-1, NULL, WNOHANG);
		if (gone < 0)
			return;
		if (!gone)
			usleep(200);
	} while (seconds() < end);
	printf("Bail out! a child of a VMM does not die\n");
	exit(1);
}

/* We come first, or those who ask all the time would keep us from ending it. */
static pid_t begin_process(void)
{
	pid_t pid = (pid_t)must(fork(), "fork");

	if (!pid) {
		setpriority(PRIO_PROCESS, 0, 0);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		ktap_reason[0] = '\0';
	}
	return pid;
}

static int receive_fd(int socket)
{
	char byte, control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	int fd;

	must(recvmsg(socket, &msg, MSG_CMSG_CLOEXEC), "recvmsg");
	errno = EPIPE;
	must(CMSG_FIRSTHDR(&msg) ? 0 : -1, "the VMM");
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
	return fd;
}

/* ---- The stage ---- */

#define NR_CALLERS 2

/**
 * struct play - a VMM and those who ask
 * @s: what they all see
 * @vmm: the VMM
 * @callers: the processes that ask from outside
 * @nr_callers: how many they are
 */
struct play {
	struct stage *s;
	pid_t vmm;
	pid_t callers[NR_CALLERS];
	int nr_callers;
};

/* Each has a VMM's descriptor by one of the two ways that there are. */
struct outsider {
	struct stage *s;
	int vm_fd;
	__u64 random;
};

static void *ask_from_outside(void *arg)
{
	struct outsider *o = arg;

	caller_run(o->s, o->vm_fd, o->random);
	return NULL;
}

static pid_t begin_caller(struct stage *s, int passed_fd)
{
	static const thread_fn fns[] = { ask_from_outside };
	static struct outsider o;
	pid_t pid = begin_process();

	if (pid)
		return pid;
	o.s = s;
	o.random = s->seed + 3 + (passed_fd >= 0);
	o.vm_fd = passed_fd >= 0 ? passed_fd :
				   fd_of_process(s->pid, s->w.vm_fd);
	be_process(fns, 1, &o);
	return 0;
}

static const char *path_of_vmemctl(void)
{
	static char path[4096];
	ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 10);

	must(len, "/proc/self/exe");
	path[len] = '\0';
	strcpy(strrchr(path, '/'), "/vmemctl");
	return path;
}

/* The program, with a command that leads to what never comes, or takes a while. */
static pid_t begin_vmemctl(struct stage *s, __u64 *random)
{
	static const char *const commands[] = { "maps", "spaces", "aliases",
						"vtop" };
	const char *command = commands[random_next(random) % 4];
	char vmm[16], cr3[64], late[32];
	int null;
	pid_t pid = begin_process();

	if (pid)
		return pid;
	null = (int)must(open("/dev/null", O_RDWR), "/dev/null");
	dup2(null, 1);
	dup2(null, 2);
	snprintf(vmm, sizeof(vmm), "%d", s->pid);
	snprintf(late, sizeof(late), "%llx", LATE_VA);
	snprintf(cr3, sizeof(cr3), "%llx", s->late ? s->regs.cr3 : s->wide.cr3);
	execl(path_of_vmemctl(), "vmemctl", "-p", vmm, "--arch=amd64", "--cr3",
	      cr3, command, strcmp(command, "vtop") ? NULL : late, NULL);
	_exit(1);
}

static struct stage *new_stage(bool late, __u64 random)
{
	struct stage *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	must(s == MAP_FAILED ? -1 : 0, "mmap");
	s->late = late;
	s->seed = random;
	s->pin_file =
		(int)must(memfd_create("pin", MFD_CLOEXEC | MFD_ALLOW_SEALING),
			  "memfd_create");
	must(ftruncate(s->pin_file, PAGE), "ftruncate");
	return s;
}

static void wait_for(const char *what, const int *value, int n)
{
	double end = seconds() + SECONDS_TO_DIE;

	while (load(value) < n && seconds() < end)
		usleep(200);
	errno = ETIMEDOUT;
	must(load(value) < n ? -1 : 0, what);
}

static void begin_vmm(struct play *p, int *passed_fd)
{
	int sockets[2];

	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets),
	     "socketpair");
	p->vmm = begin_process();
	if (!p->vmm) {
		/* vmemctl looks for a process with one VM. */
		close(probe.vm_fd);
		be_vmm(p->s, sockets[1]);
	}
	close(sockets[1]);
	*passed_fd = receive_fd(sockets[0]);
	close(sockets[0]);
}

/* Returns when all are there, and ask. */
static void play_begin(struct play *p, bool late, int per_batch, __u64 *random)
{
	int passed_fd;

	alarm(KTAP_SECONDS_PER_CASE);
	p->s = new_stage(late, random_next(random));
	p->s->per_batch = per_batch;
	begin_vmm(p, &passed_fd);
	p->callers[0] = begin_caller(p->s, -1);
	p->callers[1] = begin_caller(p->s, passed_fd);
	p->nr_callers = NR_CALLERS;
	close(passed_fd);
	/* The VMM's three threads among them. */
	wait_for("all to be ready", &p->s->nr_ready, 3 + p->nr_callers);
	store(&p->s->go, 1);
}

/* Ends who is still there, in an orderly way if there is one. */
static void play_end(struct play *p, const char *what)
{
	int i;

	store(&p->s->stop, 1);
	store(&p->s->dying, 1);
	for (i = 0; i < p->nr_callers; i++) {
		if (p->s->late)
			kill(p->callers[i], SIGKILL);
		reap(p->callers[i]);
	}
	if (p->s->late && p->vmm)
		kill(p->vmm, SIGKILL);
	if (p->vmm)
		reap(p->vmm);
	reap_orphans();
	CHECK_EQ_AT(what, p->s->wrong, 0);
	check_unmapped(what, p->s->pin_file);
	check_nothing_left(what);
	close(p->s->pin_file);
}

static void play_free(struct play *p)
{
	munmap(p->s, sizeof(*p->s));
}

static const char *const status_names[NR_STATUS] = {
	"mapped", "not-present", "reserved",	"non-canonical", "unbacked",
	"torn",	  "ancestor",	 "cross-level", "unreadable",
};

/* Counts, over the plays of a case. */
static int answers[NR_STATUS], errors[NR_ERRNO];

static void count_answers(const struct stage *s)
{
	int i;

	for (i = 0; i < NR_STATUS; i++)
		answers[i] += s->answers[i];
	for (i = 0; i < NR_ERRNO; i++)
		errors[i] += s->errors[i];
}

static void print_answers(void)
{
	int i;

	printf("# answers:");
	for (i = 0; i < NR_STATUS; i++)
		if (answers[i])
			printf(" %d %s", answers[i], status_names[i]);
	for (i = 0; i < NR_ERRNO; i++)
		if (errors[i])
			printf(", %d %s", errors[i], strerrorname_np(i));
	printf("\n");
	memset(answers, 0, sizeof(answers));
	memset(errors, 0, sizeof(errors));
}

/* ---- What happens to the VMM's memory ---- */

/* The sessions are closed after each batch, and begun anew. */
static void one_batch(struct play *p, int nr)
{
	struct stage *s = p->s;

	alarm(KTAP_SECONDS_PER_CASE);
	store(&s->batches, nr);
	wait_for("events to happen", &s->batches_done, nr);
	store(&s->pause, 1);
	wait_for("callers to pause", &s->nr_paused, 2 + NR_CALLERS);
	CHECK_EQ(s->wrong, 0);
	CHECK_EQ(pages_lost(), lost_at_start);
	CHECK_EQ(count_folders(), folders_at_start);
	store(&s->pause, 0);
}

static void memory_events(void)
{
	int i, nr = times_or(TIMES_EVENTS);
	int nr_batches = nr / PER_BATCH + 1;
	__u64 random = seed;
	struct play p;

	play_begin(&p, false, nr / nr_batches + 1, &random);
	for (i = 1; i <= nr_batches; i++)
		one_batch(&p, i);
	play_end(&p, "at the end");
	for (i = 0; i < NR_EVENTS; i++)
		printf("# %d times: %s%s\n", p.s->happened[i], event_names[i],
		       p.s->has[i] ? "" : " (the machine has none)");
	count_answers(p.s);
	print_answers();
	play_free(&p);
	check_module_goes("after the events");
}

/* ---- What happens to the processes ---- */

#define EXIT SIGUSR1
#define EXEC SIGUSR2

#define VMEMCTL BIT_ULL(0)
#define LATE BIT_ULL(1)

/**
 * struct death - an end of the VMM, of those who ask, or of both
 * @what: its name
 * @vmm: the signal that the VMM gets, 0 for none
 * @caller: that the callers get
 * @how: VMEMCTL: vmemctl is the caller; LATE: they all wait for a table that
 *	never comes
 */
struct death {
	const char *what;
	int vmm;
	int caller;
	__u64 how;
};

/* Instead of those who asked so far. */
static void vmemctl_takes_over(struct play *p, __u64 *random)
{
	int i, waiting = load(&p->s->nr_waiting);

	for (i = 0; i < p->nr_callers; i++) {
		kill(p->callers[i], SIGKILL);
		reap(p->callers[i]);
	}
	p->callers[0] = begin_vmemctl(p->s, random);
	p->nr_callers = 1;
	if (p->s->late)
		wait_for("vmemctl to wait", &p->s->nr_waiting, waiting + 1);
	else
		usleep(random_next(random) % 150000);
}

static void await_moment(struct play *p, const struct death *d, __u64 *random)
{
	if (d->how & LATE)
		wait_for("all to wait", &p->s->nr_waiting, 2 + NR_CALLERS);
	if (d->how & VMEMCTL)
		vmemctl_takes_over(p, random);
	usleep(random_next(random) % 8000);
}

/* Of the callers of a case, how many were done before they were to die. */
static int nr_early;

/* vmemctl can be faster than the signal; then it has done what it was to do. */
static void judge_end(const struct death *d, int status)
{
	if (WIFEXITED(status) && d->caller == SIGKILL) {
		nr_early++;
		CHECK((d->how & VMEMCTL) && !(d->how & LATE));
		CHECK(d->vmm || !WEXITSTATUS(status));
	}
}

static void deliver(struct play *p, const struct death *d)
{
	int i;

	store(&p->s->dying, d->vmm != 0);
	for (i = 0; d->caller && i < p->nr_callers; i++)
		kill(p->callers[i], d->caller);
	if (d->vmm)
		kill(p->vmm, d->vmm);
	for (i = 0; d->caller && i < p->nr_callers; i++)
		judge_end(d, reap(p->callers[i]));
	if (d->caller)
		p->nr_callers = 0;
	if (d->vmm) {
		reap(p->vmm);
		p->vmm = 0;
	}
}

/*
 * @hold: we have the descriptor too that the VMM is asked by for pages, so that
 * those who wait are not released when the VMM is gone.
 */
static void die_once(const struct death *d, bool hold, __u64 *random)
{
	struct play p;
	int uffd = -1;

	play_begin(&p, d->how & LATE, INT_MAX, random);
	if (hold)
		uffd = fd_of_process(p.vmm, p.s->uffd);
	store(&p.s->batches, 1);
	await_moment(&p, d, random);
	if (d->how & LATE)
		CHECK_EQ_AT(d->what, module_remove(), -EAGAIN);
	deliver(&p, d);
	/* Who asked for a page that nobody can provide any more gets an answer. */
	if ((d->how & LATE) && d->vmm && !hold)
		wait_for("callers to get an answer", &p.s->nr_back,
			 d->how & VMEMCTL ? 0 : p.nr_callers);
	/* Who is left goes on, for a while. */
	usleep(random_next(random) % 4000);
	play_end(&p, d->what);
	if (hold)
		close(uffd);
	count_answers(p.s);
	play_free(&p);
}

static void die(const struct death *d)
{
	__u64 random = seed + (uintptr_t)d->what[0] + (__u64)d->vmm * 7 +
		       (__u64)d->caller;
	int i, nr = times_or(TIMES_DEATHS);
	double start = seconds();

	for (i = 0; i < nr && !ktap_reason[0]; i++)
		die_once(d, (d->how & LATE) && i % 2, &random);
	printf("# %d times: %s, %.1f s\n", i, d->what, seconds() - start);
	if (d->how & VMEMCTL)
		printf("# %d times vmemctl was done already\n", nr_early);
	nr_early = 0;
	print_answers();
	check_module_goes(d->what);
}

#define DEATH(name, vmm_signal, caller_signal, how)                          \
	static void name(void)                                               \
	{                                                                    \
		die(&(const struct death){ #name, vmm_signal, caller_signal, \
					   how });                           \
	}

DEATH(vmm_exits, EXIT, 0, 0)
DEATH(vmm_execs, EXEC, 0, 0)
DEATH(vmm_killed, SIGKILL, 0, 0)
DEATH(caller_exits, 0, EXIT, 0)
DEATH(caller_execs, 0, EXEC, 0)
DEATH(caller_killed, 0, SIGKILL, 0)
DEATH(both_killed, SIGKILL, SIGKILL, 0)
DEATH(vmemctl_killed, 0, SIGKILL, VMEMCTL)
DEATH(vmemctl_and_vmm_killed, SIGKILL, SIGKILL, VMEMCTL)
DEATH(never_served_vmm_exits, EXIT, 0, LATE)
DEATH(never_served_vmm_execs, EXEC, 0, LATE)
DEATH(never_served_vmm_killed, SIGKILL, 0, LATE)
DEATH(never_served_caller_exits, 0, EXIT, LATE)
DEATH(never_served_caller_killed, 0, SIGKILL, LATE)
DEATH(never_served_both_killed, SIGKILL, SIGKILL, LATE)
DEATH(never_served_vmemctl_killed, 0, SIGKILL, VMEMCTL | LATE)

/* ---- The module ---- */

static void module_is_held(void)
{
	struct folder folder;
	int session, file;

	session = session_open();
	CHECK_EQ(module_remove(), -EAGAIN);
	CHECK_EQ(session_attach_kvm(session, probe.vm_fd), 0);
	CHECK_EQ(module_remove(), -EAGAIN);
	folder = newest_folder();
	file = open_in(&folder, "spaces");
	close(session);
	CHECK_EQ(module_remove(), -EAGAIN);
	close(file);
	check_module_goes("all is closed");
}

/**
 * struct coming - a module that comes and goes while it is opened
 * @stop: enough
 * @opened: how often it was there
 * @missing: how often it was not
 * @wrong: what was wrong is counted here
 */
struct coming {
	int stop;
	int opened;
	int missing;
	int wrong;
};

static bool is_missing(int error)
{
	return error == -ENOENT || error == -ENODEV || error == -ENXIO;
}

/* Another process's VM, which we may look at. */
static void open_all_the_time(struct coming *coming, __u64 random)
{
	struct vmem_translation result;
	int session, ret;

	while (!load(&coming->stop)) {
		usleep(random_next(&random) % 2000);
		session = session_try_open();
		if (session < 0) {
			add(&coming->missing, 1);
			if (!is_missing(session))
				stage_wrong(coming, "open: %d", session);
			continue;
		}
		add(&coming->opened, 1);
		ret = session_attach_kvm(session, probe.vm_fd);
		if (!ret)
			ret = session_translate_one(session, &probe.spaces.regs,
						    0, &result);
		if (ret || result.out_gpa != FIXED_GPA)
			stage_wrong(coming, "%d, or not where it is", ret);
		close(session);
	}
	_exit(0);
}

/* Until it has happened often enough that it could go. */
static void go_and_come(struct coming *coming, int nr)
{
	__u64 random = seed;
	int ret, gone = 0, held = 0;

	while (gone < nr && !load(&coming->wrong)) {
		alarm(KTAP_SECONDS_PER_CASE);
		random_pause(&random);
		ret = module_remove();
		if (ret) {
			held++;
			if (!CHECK_EQ(ret, -EAGAIN))
				break;
			continue;
		}
		gone++;
		random_pause(&random);
		if (!CHECK_EQ(module_insert(), 0))
			break;
	}
	printf("# went %d times, was held %d times, opened %d times, missing %d times\n",
	       gone, held, load(&coming->opened), load(&coming->missing));
}

static void module_comes_and_goes(void)
{
	struct coming *coming = mmap(NULL, sizeof(*coming),
				     PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t children[2];
	size_t i;

	must(coming == MAP_FAILED ? -1 : 0, "mmap");
	for (i = 0; i < ARRAY_SIZE(children); i++) {
		children[i] = begin_process();
		if (!children[i])
			open_all_the_time(coming, seed + i);
	}
	go_and_come(coming, times_or(TIMES_EVENTS));
	store(&coming->stop, 1);
	for (i = 0; i < ARRAY_SIZE(children); i++)
		reap(children[i]);
	CHECK_EQ(load(&coming->wrong), 0);
	munmap(coming, sizeof(*coming));
	check_nothing_left("the module is there");
}

/* ---- Over all of it ---- */

/*
 * What each VMM or each of thousands of sessions would leave a little of: the
 * mm_struct of every process whose memory somebody still holds, and all that the
 * kernel has allocated in small pieces and cannot do without.
 */
#define TOLERATED_MMS 10
#define TOLERATED_KB 8192

static long mms_at_start, kb_at_start;

static long count_mms(void)
{
	long used = 0;
	char line[256];
	FILE *file;

	/* It counts as used what is at hand to be used: not after this. */
	shrink_slabs();
	file = fopen("/proc/slabinfo", "r");
	must(file ? 0 : -1, "/proc/slabinfo");
	while (fgets(line, sizeof(line), file))
		sscanf(line, "mm_struct %ld", &used);
	fclose(file);
	return used;
}

static void remember_memory(void)
{
	mms_at_start = count_mms();
	kb_at_start = kilobytes("SUnreclaim");
}

static void memory_is_given_back(void)
{
	long mms = count_mms(), kb = kilobytes("SUnreclaim");

	printf("# mm_structs: %ld before, %ld after, tolerance %d\n",
	       mms_at_start, mms, TOLERATED_MMS);
	printf("# SUnreclaim: %ld kB before, %ld kB after, tolerance %d\n",
	       kb_at_start, kb, TOLERATED_KB);
	CHECK(mms - mms_at_start < TOLERATED_MMS);
	CHECK(kb - kb_at_start < TOLERATED_KB);
	check_nothing_left("at the end");
}

static const struct ktap_case cases[] = {
	{ "module_is_held", module_is_held },
	{ "vmm_killed", vmm_killed },
	{ "remember_memory", remember_memory },
	{ "memory_events", memory_events },
	{ "vmm_exits", vmm_exits },
	{ "vmm_execs", vmm_execs },
	{ "caller_exits", caller_exits },
	{ "caller_execs", caller_execs },
	{ "caller_killed", caller_killed },
	{ "both_killed", both_killed },
	{ "vmemctl_killed", vmemctl_killed },
	{ "vmemctl_and_vmm_killed", vmemctl_and_vmm_killed },
	{ "never_served_vmm_exits", never_served_vmm_exits },
	{ "never_served_vmm_execs", never_served_vmm_execs },
	{ "never_served_vmm_killed", never_served_vmm_killed },
	{ "never_served_caller_exits", never_served_caller_exits },
	{ "never_served_caller_killed", never_served_caller_killed },
	{ "never_served_both_killed", never_served_both_killed },
	{ "never_served_vmemctl_killed", never_served_vmemctl_killed },
	{ "module_comes_and_goes", module_comes_and_goes },
	{ "memory_is_given_back", memory_is_given_back },
};

static void make_probe(void)
{
	struct tables t;

	world_init(&probe, MB(1));
	t = world_add_amd64(&probe);
	tables_map(&t, 0, FIXED_GPA, VMEM_LEVEL_PT, PTE_PWU);
}

int main(void)
{
	int ret;

	seed = number_of("VMEM_SEED", 0);
	if (!seed)
		seed = (__u64)time(NULL);
	times = (int)number_of("VMEM_TIMES", 0);
	printf("# VMEM_SEED=%llu\n", seed);
	must(setpriority(PRIO_PROCESS, 0, FIRST), "setpriority");
	must(prctl(PR_SET_CHILD_SUBREAPER, 1), "PR_SET_CHILD_SUBREAPER");
	set_huge_pages("16");
	make_probe();
	lost_at_start = pages_lost_before();
	folders_at_start = count_folders();
	ret = ktap_main(cases, ARRAY_SIZE(cases));
	set_huge_pages("0");
	return ret;
}
