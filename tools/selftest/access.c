// SPDX-License-Identifier: GPL-2.0-only
/*
 * access.c - who may ask about whose memory, and what those are told who may not
 *
 * The device is open to everybody here, so that what refuses is what comes after
 * it. Each refusal of vmemctl is compared word by word, and has to be in its man
 * page, too.
 *
 * The last case locks the kernel down, for good. Little can be tested after that, so
 * it has to be asked for: VMEM_LOCKDOWN=1.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <linux/capability.h>

#include "file.h"
#include "folder.h"
#include "ktap.h"
#include "world.h"

#define DEVICE "/dev/vmem"
#define MAN_PAGE "tools/vmemctl/vmemctl.8"

/* Reasons, and what to do, in vmemctl's words. */
#define NO_PTRACE \
	"it belongs to another process: run as root of the host, or with CAP_SYS_PTRACE"
#define NO_SEARCH                                                       \
	"it belongs to another user: run as root of the host, or with " \
	"CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH"
#define NO_DEVICE "permission denied: run as root, or get access to the device"
#define LOCKED_DOWN \
	"the kernel is locked down: boot without lockdown=confidentiality"

#define RAM_LEN MB(1)
#define VA GB(5)
#define MAGIC 0x61636365737321ULL

/* ---- A guest, and questions about it ---- */

/**
 * struct home - a VM with one page that is mapped at VA
 * @w: the VM
 * @regs: the registers of its space
 * @word: where we have what is at VA
 */
struct home {
	struct world w;
	struct vmem_regs regs;
	__u64 *word;
};

static void home_init(struct home *h)
{
	struct tables t;
	__u64 gpa;

	world_init(&h->w, RAM_LEN);
	t = world_add_amd64(&h->w);
	gpa = ram_alloc(&h->w.ram, PAGE);
	tables_map(&t, VA, gpa, VMEM_LEVEL_PT, PTE_PWU);
	h->regs = tables_regs(&t);
	h->word = ram_ptr(&h->w.ram, gpa);
	*h->word = MAGIC;
}

static struct vmem_region region_of(const struct home *h)
{
	return (struct vmem_region){
		.gpa = h->w.ram.gpa,
		.len = h->w.ram.len,
		.hva = (uintptr_t)h->w.ram.hva,
	};
}

static int attach_regions(int session, const struct home *h)
{
	const struct vmem_region region = region_of(h);

	return session_attach_regions(session, &region, 1);
}

/* Reads what is at VA. Returns 0 or -errno. */
static int read_word(int session, const struct vmem_regs *regs, __u64 *word)
{
	struct vmem_read_args end;

	return session_read(session, regs, VA, word, sizeof(*word), &end);
}

static struct session_spaces spaces_of(const struct vmem_regs *regs)
{
	return (struct session_spaces){
		.regs = *regs,
		.cr3 = &regs->cr3,
		.nr_cr3 = 1,
		.last_va = ~0ULL,
	};
}

/* All that can be asked is answered. */
static void check_answers(int session, const struct vmem_regs *regs, __u64 want)
{
	struct session_records records = { .per_call = 16 };
	const struct session_spaces spaces = spaces_of(regs);
	struct vmem_translation result;
	__u64 word = 0;

	CHECK_EQ(session_translate_one(session, regs, VA, &result), 0);
	CHECK_EQ(result.out_status, VMEM_MAPPED);
	CHECK_EQ(read_word(session, regs, &word), 0);
	CHECK_EQ(word, want);
	CHECK_EQ(session_set_spaces(session, &spaces), 0);
	CHECK_EQ(session_walk_spaces(session, &records), 0);
	CHECK_EQ(records.stats.leaves, 1);
	free(records.rows);
}

/* Every command is refused with @want, but for VMEM_INFO. */
static void check_refused(int session, const struct vmem_regs *regs, int want)
{
	struct session_records records = { .per_call = 16 };
	const struct session_spaces spaces = spaces_of(regs);
	struct vmem_read_phys_args end;
	struct vmem_translation result;
	struct vmem_mapping row;
	struct session_maps maps = { .rows = &row, .room = 1, .per_call = 1 };
	struct vmem_info_args info;
	struct vmem_vcpu_args vcpu;
	struct vmem_memslot slot;
	__u64 word;
	__u32 nr;

	CHECK_EQ(session_info(session, &info), 0);
	CHECK_EQ(session_memslots(session, &slot, 1, 1, &nr), want);
	CHECK_EQ(session_vcpu(session, 0, &vcpu), want);
	CHECK_EQ(session_translate_one(session, regs, VA, &result), want);
	CHECK_EQ(session_map_range(session, regs, 0, ~0ULL, &maps), want);
	CHECK_EQ(read_word(session, regs, &word), want);
	CHECK_EQ(session_set_spaces(session, &spaces), want);
	CHECK_EQ(session_walk_spaces(session, &records), want);
	CHECK_EQ(session_read_phys(session, regs->cr3, &word, 1, &end), want);
	free(records.rows);
}

/* ---- Users and their rights ---- */

static void set_capabilities(__u64 set)
{
	struct __user_cap_header_struct head = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[2];
	int i;

	for (i = 0; i < 2; i++) {
		data[i].effective = (__u32)(set >> 32 * i);
		data[i].permitted = data[i].effective;
		data[i].inheritable = data[i].effective;
	}
	must(syscall(SYS_capset, &head, data), "capset");
}

static void become_root(void)
{
}

static void become_root_without_ptrace(void)
{
	must(prctl(PR_CAPBSET_DROP, CAP_SYS_PTRACE, 0, 0, 0),
	     "PR_CAPBSET_DROP");
	set_capabilities(BIT_ULL(CAP_DAC_OVERRIDE) | BIT_ULL(CAP_IPC_LOCK) |
			 BIT_ULL(CAP_SYS_ADMIN));
}

/* Rights that outlive the change of user, and the start of a program. */
static void become_nobody_with(__u64 set)
{
	int cap;

	must(prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0), "PR_SET_KEEPCAPS");
	become_nobody();
	set_capabilities(set);
	for (cap = 0; cap < 64; cap++)
		if (set & BIT_ULL(cap))
			must(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0,
				   0),
			     "PR_CAP_AMBIENT");
}

static void become_nobody_with_ptrace(void)
{
	become_nobody_with(BIT_ULL(CAP_SYS_PTRACE));
}

static void become_nobody_with_search(void)
{
	become_nobody_with(BIT_ULL(CAP_DAC_READ_SEARCH));
}

static void become_nobody_with_both(void)
{
	become_nobody_with(BIT_ULL(CAP_SYS_PTRACE) |
			   BIT_ULL(CAP_DAC_READ_SEARCH));
}

/* All rights, which are none outside of it. */
static void become_root_of_a_namespace(void)
{
	must(unshare(CLONE_NEWUSER), "unshare");
}

static void become_nobody_with_ptrace_and_no_page(void)
{
	static const struct rlimit none;

	must(setrlimit(RLIMIT_MEMLOCK, &none), "setrlimit");
	become_nobody_with_ptrace();
}

/* ---- Another process with a VM ---- */

/**
 * struct stranger - a VMM, and what it has told of itself
 * @become: who it is to be
 * @pid: the process
 * @socket: our end of what connects us; it lives until that is closed
 * @its: its end
 * @regs: the registers of its guest
 * @vm_fd: its VM, passed to us
 */
struct stranger {
	void (*become)(void);
	pid_t pid;
	int socket;
	int its;
	struct vmem_regs regs;
	int vm_fd;
};

union fd_control {
	struct cmsghdr head;
	char room[CMSG_SPACE(sizeof(int))];
};

/* A message of the registers, with the VM's descriptor. */
static struct msghdr message(struct iovec *iov, union fd_control *control)
{
	return (struct msghdr){
		.msg_iov = iov,
		.msg_iovlen = 1,
		.msg_control = control->room,
		.msg_controllen = sizeof(control->room),
	};
}

static void send_guest(int socket, struct home *h)
{
	struct iovec iov = { &h->regs, sizeof(h->regs) };
	union fd_control control = {};
	struct msghdr msg = message(&iov, &control);

	control.head.cmsg_len = CMSG_LEN(sizeof(int));
	control.head.cmsg_level = SOL_SOCKET;
	control.head.cmsg_type = SCM_RIGHTS;
	memcpy(CMSG_DATA(&control.head), &h->w.vm_fd, sizeof(int));
	must(sendmsg(socket, &msg, 0), "sendmsg");
}

static void receive_guest(struct stranger *s)
{
	struct iovec iov = { &s->regs, sizeof(s->regs) };
	union fd_control control = {};
	struct msghdr msg = message(&iov, &control);

	errno = EPIPE;
	must(recvmsg(s->socket, &msg, MSG_CMSG_CLOEXEC) == sizeof(s->regs) ? 0 :
									     -1,
	     "the other VMM");
	memcpy(&s->vm_fd, CMSG_DATA(&control.head), sizeof(int));
}

static void be_a_stranger(void *arg)
{
	struct stranger *s = arg;
	struct home h;
	char c;

	close(s->socket);
	home_init(&h);
	s->become();
	/* Another user's process is looked into as if it had been started so. */
	must(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), "PR_SET_DUMPABLE");
	send_guest(s->its, &h);
	must(read(s->its, &c, 1), "read");
}

static void stranger_start(struct stranger *s, void (*become)(void))
{
	int ends[2];

	must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends),
	     "socketpair");
	s->become = become;
	s->socket = ends[0];
	s->its = ends[1];
	s->pid = ktap_fork(be_a_stranger, s);
	close(s->its);
	receive_guest(s);
}

static void stranger_stop(struct stranger *s)
{
	close(s->vm_fd);
	close(s->socket);
	ktap_wait(s->pid);
}

/* ---- What vmemctl says ---- */

/* Takes the @len bytes at @from away, and puts @sign in their place. */
static void put_sign(char *from, size_t len, char sign)
{
	memmove(from + 1, from + len, strlen(from + len) + 1);
	*from = sign;
}

/* What @text is to a reader, of the signs that messages are made of. */
static void unescape(char *text)
{
	for (; *text; text++) {
		if (!strncmp(text, "\\-", 2))
			put_sign(text, 2, '-');
		if (!strncmp(text, "\\(aq", 4))
			put_sign(text, 4, '\'');
		if (!strncmp(text, "\\(ga", 4))
			put_sign(text, 4, '`');
	}
}

static bool is_in_man_page(const char *words)
{
	static char text[65536];
	FILE *file;

	file = fopen(MAN_PAGE, "r");
	must(file ? 0 : -1, MAN_PAGE);
	text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
	fclose(file);
	unescape(text);
	return strstr(text, words);
}

/* Runs vmemctl as somebody. Returns its status; @said: what it said of it. */
static int run_vmemctl(void (*become)(void), char *const *argv, char *said,
		       size_t size)
{
	int ends[2], status = -1;
	ssize_t len, n;
	pid_t pid;

	must(pipe(ends), "pipe");
	pid = (pid_t)must(fork(), "fork");
	if (!pid) {
		dup2(ends[1], STDERR_FILENO);
		dup2(open("/dev/null", O_WRONLY), STDOUT_FILENO);
		close(ends[0]);
		close(ends[1]);
		become();
		execvp("vmemctl", argv);
		_exit(127);
	}
	close(ends[1]);
	for (len = 0; (n = read(ends[0], said + len, size - 1 - len)) > 0;)
		len += n;
	said[len] = '\0';
	close(ends[0]);
	must(waitpid(pid, &status, 0), "waitpid");
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

#define MAX_WORDS 16

/**
 * struct command - a command line
 * @pid: the process it is about
 * @words: what is behind that
 */
struct command {
	pid_t pid;
	const char *words[MAX_WORDS - 8];
};

static int run_command(void (*become)(void), const struct command *c,
		       char *said, size_t size)
{
	char pid[16];
	char *argv[MAX_WORDS] = { "vmemctl", "-p", pid };
	int i;

	snprintf(pid, sizeof(pid), "%d", c->pid);
	for (i = 0; c->words[i]; i++)
		argv[3 + i] = (char *)c->words[i];
	return run_vmemctl(become, argv, said, size);
}

static void check_works(void (*become)(void), const struct command *c)
{
	char said[512];

	CHECK_EQ(run_command(become, c, said, sizeof(said)), 0);
	if (*said)
		ktap_fail("it works, and says '%.150s'", said);
}

/* It says "vmemctl: @what: @why", which is in the man page. */
static void check_says(void (*become)(void), const struct command *c,
		       const char *what, const char *why)
{
	char want[512], said[512] = "";

	snprintf(want, sizeof(want), "vmemctl: %s: %s\n", what, why);
	CHECK_EQ(run_command(become, c, said, sizeof(said)), 1);
	printf("# %s%s", said, *said ? "" : "(nothing)\n");
	if (strcmp(said, want))
		ktap_fail("not '%.200s'", want);
	if (!is_in_man_page(why))
		ktap_fail("not in %s: '%.150s'", MAN_PAGE, why);
}

static struct command info_of(const struct stranger *s)
{
	return (struct command){
		.pid = s->pid,
		.words = { "info" },
	};
}

/* ---- Somebody else's VM ---- */

static void open_the_device_to_all(void)
{
	must(chmod(DEVICE, 0666), DEVICE);
}

static void close_the_device(void)
{
	must(chmod(DEVICE, 0600), DEVICE);
}

/**
 * struct visit - what a child asks for
 * @become: who it is to be
 * @stranger: whose VM it is given
 * @want: what it is told when it attaches
 */
struct visit {
	void (*become)(void);
	const struct stranger *stranger;
	int want;
};

/* What was refused leaves a session that can be attached to something else. */
static void try_to_attach(void *arg)
{
	const struct visit *v = arg;
	struct home own;
	int session;

	home_init(&own);
	v->become();
	session = session_open();
	CHECK_EQ(session_attach_kvm(session, v->stranger->vm_fd), v->want);
	if (v->want) {
		check_refused(session, &own.regs, -ENOTCONN);
		CHECK_EQ(attach_regions(session, &own), 0);
	}
	check_answers(session, v->want ? &own.regs : &v->stranger->regs, MAGIC);
	close(session);
}

static void visit(const struct stranger *s, void (*become)(void), int want)
{
	struct visit v = { become, s, want };

	ktap_wait(ktap_fork(try_to_attach, &v));
}

static void vm_of_somebody_else(void)
{
	struct stranger s;

	stranger_start(&s, become_root);
	visit(&s, become_nobody, -EPERM);
	visit(&s, become_root_without_ptrace, -EPERM);
	visit(&s, become_root_of_a_namespace, -EPERM);
	visit(&s, become_nobody_with_ptrace, 0);
	visit(&s, become_root, 0);
	stranger_stop(&s);
}

/* That it is the same user's makes no difference: it is another process. */
static void vm_of_the_same_user(void)
{
	struct stranger s;

	stranger_start(&s, become_nobody);
	visit(&s, become_nobody, -EPERM);
	visit(&s, become_nobody_with_ptrace, 0);
	stranger_stop(&s);
}

/* A namespace's root is root of nothing outside, be the VM made in it or not. */
static void vm_in_a_namespace(void)
{
	struct stranger s;

	stranger_start(&s, become_root_of_a_namespace);
	visit(&s, become_root_of_a_namespace, -EPERM);
	visit(&s, become_nobody, -EPERM);
	visit(&s, become_root, 0);
	stranger_stop(&s);
}

static void what_vmemctl_says_of_it(void)
{
	struct command c;
	struct stranger s;
	char what[96];

	stranger_start(&s, become_root);
	c = info_of(&s);
	snprintf(what, sizeof(what), "cannot look for the VM in /proc/%d/fd",
		 s.pid);
	check_says(become_nobody, &c, what, NO_SEARCH);
	check_says(become_nobody_with_ptrace, &c, what, NO_SEARCH);
	check_says(become_nobody_with_search, &c, what, NO_SEARCH);
	check_says(become_root_of_a_namespace, &c, what, NO_SEARCH);
	check_works(become_nobody_with_both, &c);
	check_works(become_root, &c);
	stranger_stop(&s);

	stranger_start(&s, become_nobody);
	c = info_of(&s);
	snprintf(what, sizeof(what), "cannot attach to the VM of process %d",
		 s.pid);
	check_says(become_nobody, &c, what, NO_PTRACE);
	close_the_device();
	check_says(become_nobody, &c, "cannot open " DEVICE, NO_DEVICE);
	open_the_device_to_all();
	stranger_stop(&s);
}

/* ---- A VM of one's own ---- */

static void nobody_asks_its_own(void *arg)
{
	struct home h;
	int session;

	(void)arg;
	home_init(&h);
	become_nobody();
	session = session_open();
	CHECK_EQ(session_attach_kvm(session, h.w.vm_fd), 0);
	check_answers(session, &h.regs, MAGIC);
	close(session);

	session = session_open();
	CHECK_EQ(attach_regions(session, &h), 0);
	check_answers(session, &h.regs, MAGIC);
	close(session);
}

static void vm_of_ones_own(void)
{
	ktap_wait(ktap_fork(nobody_asks_its_own, NULL));
}

/* Nothing is locked, so who may lock nothing can ask. */
static void no_memory_is_locked(void)
{
	struct stranger s;
	struct command c;
	char cr3[32];

	stranger_start(&s, become_nobody);
	snprintf(cr3, sizeof(cr3), "%llx", s.regs.cr3);
	c = (struct command){
		.pid = s.pid,
		.words = { "--arch", "amd64", "--cr3", cr3, "vtop",
			   "140000000" },
	};
	check_works(become_nobody_with_ptrace_and_no_page, &c);
	check_works(become_nobody_with_ptrace, &c);
	check_works(become_root, &c);
	stranger_stop(&s);
}

/* Who was let in may let others in. */
static void nobody_is_given_a_session(void *arg)
{
	const struct home *h = arg;
	__u64 word;

	become_nobody();
	CHECK_EQ(read_word(h->w.kvm_fd, &h->regs, &word), 0);
	CHECK_EQ(word, MAGIC);
}

static void session_is_passed_on(void)
{
	int session = session_open();
	struct stranger s;
	struct home h;

	stranger_start(&s, become_root);
	CHECK_EQ(session_attach_kvm(session, s.vm_fd), 0);
	h.regs = s.regs;
	h.w.kvm_fd = session;
	ktap_wait(ktap_fork(nobody_is_given_a_session, &h));
	close(session);
	stranger_stop(&s);
}

/* ---- Region tables ---- */

static int try_region(__u64 hva, __u64 len)
{
	const struct vmem_region region = { WORLD_GPA, len, hva };
	int session = session_open();
	int ret = session_attach_regions(session, &region, 1);

	close(session);
	return ret;
}

/* For root as for anybody else: no right gives these. */
static void addresses_of_the_kernel(void)
{
	/* Whether this processor has 5 levels: where user space ends. */
	const __u64 end =
		BIT_ULL(try_region(BIT_ULL(47), PAGE) ? 47 : 56) - PAGE;

	CHECK_EQ(try_region(end - PAGE, PAGE), 0);
	CHECK_EQ(try_region(end, PAGE), -EFAULT);
	CHECK_EQ(try_region(end - PAGE, 2 * PAGE), -EFAULT);
	CHECK_EQ(try_region(end - MB(1), GB(1)), -EFAULT);
	CHECK_EQ(try_region(end + PAGE, PAGE), -EFAULT);
	CHECK_EQ(try_region(BIT_ULL(62), PAGE), -EFAULT);
	CHECK_EQ(try_region(0xffff888000000000, PAGE), -EFAULT);
	CHECK_EQ(try_region(0xffffffff81000000, MB(2)), -EFAULT);
	CHECK_EQ(try_region(-PAGE, PAGE), -EFAULT);
	CHECK_EQ(try_region(-PAGE, 2 * PAGE), -EOVERFLOW);
}

/**
 * struct family - a region table, and a child
 * @home: the guest, which parent and child have at the same addresses
 * @session: attached by the parent
 * @of_child: to be attached by the child
 * @pipe: the child ends when it is closed
 */
struct family {
	struct home home;
	int session;
	int of_child;
	int pipe[2];
};

/* Has the same at the same addresses, and lets the parent ask. */
static void have_it_too(void *arg)
{
	const struct family *f = arg;
	char c;

	close(f->pipe[1]);
	must(read(f->pipe[0], &c, 1), "read");
	CHECK_EQ(*f->home.word, MAGIC);
}

/* What another process has at an address is nothing to us, who have not. */
static void addresses_of_others(void)
{
	struct family f = { .session = session_open() };
	pid_t child;
	__u64 word;

	must(pipe(f.pipe), "pipe");
	home_init(&f.home);
	child = ktap_fork(have_it_too, &f);
	CHECK_EQ(attach_regions(f.session, &f.home), 0);
	CHECK_EQ(read_word(f.session, &f.home.regs, &word), 0);
	world_free(&f.home.w);
	CHECK_EQ(read_word(f.session, &f.home.regs, &word), -ENXIO);
	close(f.pipe[0]);
	close(f.pipe[1]);
	ktap_wait(child);
	close(f.session);
}

static void be_a_child(void *arg)
{
	struct family *f = arg;

	*f->home.word = ~MAGIC;
	check_refused(f->session, &f->home.regs, -EPERM);
	CHECK_EQ(attach_regions(f->session, &f->home), -EISCONN);
	CHECK_EQ(attach_regions(f->of_child, &f->home), 0);
	check_answers(f->of_child, &f->home.regs, ~MAGIC);
}

static void regions_after_fork(void)
{
	struct family f = { .session = session_open(),
			    .of_child = session_open() };

	home_init(&f.home);
	CHECK_EQ(attach_regions(f.session, &f.home), 0);
	ktap_wait(ktap_fork(be_a_child, &f));
	check_answers(f.session, &f.home.regs, MAGIC);
	check_refused(f.of_child, &f.home.regs, -EPERM);
	close(f.session);
	close(f.of_child);
	world_free(&f.home.w);
}

/* Another program has the sessions of the one before, and nothing of its memory. */
#define AFTER_EXEC "--after-exec"

static void keep_over_exec(int fd)
{
	must(fcntl(fd, F_SETFD, 0), "F_SETFD");
}

static void start_another_program(void *arg)
{
	struct home h;
	int regions, kvm, spare;
	char fds[4][16];

	(void)arg;
	home_init(&h);
	regions = session_open();
	kvm = session_open();
	spare = session_open();
	CHECK_EQ(attach_regions(regions, &h), 0);
	CHECK_EQ(session_attach_kvm(kvm, h.w.vm_fd), 0);
	keep_over_exec(regions);
	keep_over_exec(kvm);
	keep_over_exec(spare);
	keep_over_exec(h.w.vm_fd);
	snprintf(fds[0], sizeof(fds[0]), "%d", regions);
	snprintf(fds[1], sizeof(fds[1]), "%d", kvm);
	snprintf(fds[2], sizeof(fds[2]), "%d", spare);
	snprintf(fds[3], sizeof(fds[3]), "%d", h.w.vm_fd);
	must(execl("/proc/self/exe", "access", AFTER_EXEC, fds[0], fds[1],
		   fds[2], fds[3], NULL),
	     "exec");
}

static int another_program(char **fds)
{
	int regions = atoi(fds[0]), kvm = atoi(fds[1]);
	int spare = atoi(fds[2]), vm_fd = atoi(fds[3]);
	struct home h;
	__u64 word;

	home_init(&h);
	check_refused(regions, &h.regs, -EPERM);
	CHECK_EQ(read_word(kvm, &h.regs, &word), -ESRCH);
	/* It is the VM of a program that is no more. */
	CHECK_EQ(session_attach_kvm(spare, vm_fd), -ESRCH);
	become_nobody();
	CHECK_EQ(session_attach_kvm(spare, vm_fd), -EPERM);
	CHECK_EQ(session_attach_kvm(spare, h.w.vm_fd), 0);
	check_answers(spare, &h.regs, MAGIC);
	return !!ktap_reason[0];
}

static void sessions_after_exec(void)
{
	ktap_wait(ktap_fork(start_another_program, NULL));
}

/* ---- The module ---- */

static int unload(void)
{
	return syscall(SYS_delete_module, "vmem", O_NONBLOCK) ? -errno : 0;
}

static void module_in_use(void)
{
	int session = session_open();
	struct home h;

	home_init(&h);
	CHECK_EQ(session_attach_kvm(session, h.w.vm_fd), 0);
	CHECK_EQ(unload(), -EWOULDBLOCK);
	check_answers(session, &h.regs, MAGIC);
	close(session);
	world_free(&h.w);
}

/* ---- Lockdown ---- */

#define SECURITYFS "/sys/kernel/security"

/* False where the kernel has none. */
static bool lock_down(const char *level)
{
	mount("securityfs", SECURITYFS, "securityfs", 0, NULL);
	return !file_put(SECURITYFS "/lockdown", level);
}

static void locked_down(void)
{
	int session = session_open();
	struct stranger s;
	struct command c;
	struct home h;

	ktap_skipped = !number_of("VMEM_LOCKDOWN", 0) ||
		       !lock_down("integrity");
	if (ktap_skipped) {
		printf("# no VMEM_LOCKDOWN=1, or no lockdown in this kernel\n");
		close(session);
		return;
	}
	stranger_start(&s, become_root);
	c = info_of(&s);
	check_works(become_root, &c);
	lock_down("confidentiality");
	CHECK_EQ(open(DEVICE, O_RDWR | O_CLOEXEC) < 0 ? -errno : 0, -EPERM);
	check_says(become_root, &c, "cannot open " DEVICE, LOCKED_DOWN);

	/* Who has it open goes on. */
	home_init(&h);
	CHECK_EQ(session_attach_kvm(session, h.w.vm_fd), 0);
	check_answers(session, &h.regs, MAGIC);
	close(session);
	world_free(&h.w);
	stranger_stop(&s);
}

static long long lost_at_start;

static void no_pages_lost(void)
{
	CHECK_EQ(pages_lost(), lost_at_start);
}

static const struct ktap_case cases[] = {
	{ "vm_of_somebody_else", vm_of_somebody_else },
	{ "vm_of_the_same_user", vm_of_the_same_user },
	{ "vm_in_a_namespace", vm_in_a_namespace },
	{ "what_vmemctl_says_of_it", what_vmemctl_says_of_it },
	{ "vm_of_ones_own", vm_of_ones_own },
	{ "no_memory_is_locked", no_memory_is_locked },
	{ "session_is_passed_on", session_is_passed_on },
	{ "addresses_of_the_kernel", addresses_of_the_kernel },
	{ "addresses_of_others", addresses_of_others },
	{ "regions_after_fork", regions_after_fork },
	{ "sessions_after_exec", sessions_after_exec },
	{ "module_in_use", module_in_use },
	{ "no_pages_lost", no_pages_lost },
	{ "locked_down", locked_down },
};

int main(int argc, char **argv)
{
	int ret;

	if (argc == 6 && !strcmp(argv[1], AFTER_EXEC))
		return another_program(argv + 2);
	lost_at_start = pages_lost_before();
	open_the_device_to_all();
	ret = ktap_main(cases, ARRAY_SIZE(cases));
	close_the_device();
	return ret;
}
