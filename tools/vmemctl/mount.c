// SPDX-License-Identifier: GPL-2.0-only
/*
 * vmemctl mount: a guest as files
 *
 * The server process answers readers, and is confined to that. The watcher process keeps its
 * rights and never reads the guest. It unmounts on a signal, and when the VMM or the server
 * ends.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "mount.h"

/* Threads that answer readers, the first one among them */
#define WORKERS 4

/* Each worker has a handle of the guest, and so have the threads for what takes long. */
#define HANDLES (WORKERS + 2)

/* How long a worker waits for memory before it tries again */
#define NO_MEMORY_US 10000

/* After the VMM ends, readers of open files get ESRCH for this long. */
#define FAREWELL_MS 10000

/*
 * As an archive, libfuse would bring in what CUSE needs, which is all of it and dlopen().
 * Nobody asks for CUSE.
 */
#pragma weak cuse_lowlevel_init
void cuse_lowlevel_init(fuse_req_t req, fuse_ino_t ino, const void *arg);

void cuse_lowlevel_init(fuse_req_t req, fuse_ino_t ino, const void *arg)
{
	(void)ino;
	(void)arg;
	fuse_reply_err(req, EOPNOTSUPP);
}

/* Where it is mounted */

static noreturn void refuse(const char *path, const char *why)
{
	die("cannot mount at %s: %s", path, why);
}

static void check_folder(const char *path)
{
	struct dirent *entry;
	DIR *dir = opendir(path);

	if (!dir && errno == ENOTCONN)
		refuse(path, "what was mounted there has died: umount it");
	if (!dir && errno == ENOTDIR)
		refuse(path, "not a directory: give one that is empty");
	if (!dir && errno == ENOENT)
		refuse(path, "there is no such directory: make it");
	if (!dir)
		refuse(path, strerror(errno));
	while ((entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			refuse(path, "it is not empty: give another directory");
	closedir(dir);
}

/* Users other than root mount through fusermount3. */
static bool has_fusermount(void)
{
	const char *path = getenv("PATH") ?: "";
	char name[PATH_MAX];

	if (!access("/usr/bin/fusermount3", X_OK))
		return true;
	for (; *path; path += strspn(path, ":")) {
		int len = strcspn(path, ":");

		snprintf(name, sizeof(name), "%.*s/fusermount3", len, path);
		if (!access(name, X_OK))
			return true;
		path += len;
	}
	return false;
}

static void check_fuse(const char *path)
{
	if (access("/dev/fuse", F_OK))
		refuse(path, "no /dev/fuse: load the module fuse");
	if (geteuid() && !has_fusermount())
		refuse(path, "no fusermount3: install fuse3, or be root");
}

/* The last message of libfuse */
static char said[256];

static void hear(enum fuse_log_level level, const char *fmt, va_list ap)
{
	(void)level;
	vsnprintf(said, sizeof(said), fmt, ap);
	said[strcspn(said, "\n")] = '\0';
}

#define OPTIONS "-oro,nosuid,nodev,noexec,fsname=vmem,subtype=vmemctl"

static struct fuse_session *mount_at(const char *path, struct mount *mount)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	struct fuse_session *session = NULL;
	char options[128];

	snprintf(options, sizeof(options), OPTIONS ",max_read=%u", MAX_READ);
	fuse_set_log_func(hear);
	if (!fuse_opt_add_arg(&args, "vmemctl") &&
	    !fuse_opt_add_arg(&args, options))
		session = fuse_session_new(&args, &mount_ops, sizeof(mount_ops),
					   mount);
	if (!session || fuse_session_mount(session, path))
		refuse(path, said);
	fuse_opt_free_args(&args);
	return session;
}

/* The process that answers */

struct worker {
	struct fuse_session *session;
	struct libvmem *vm;
};

/* Ends when the mount is gone and all files are closed, or by the other process. */
static void *work(void *arg)
{
	const struct worker *worker = arg;
	struct fuse_buf buf = {};
	int len;

	mount_vm = worker->vm;
	for (;;) {
		len = fuse_session_receive_buf(worker->session, &buf);
		if (len == -EINTR)
			continue;
		if (len == -ENOMEM) {
			usleep(NO_MEMORY_US);
			continue;
		}
		if (len <= 0)
			break;
		fuse_session_process_buf(worker->session, &buf);
	}
	free(buf.mem);
	return NULL;
}

static void begin_thread(void *(*serve)(void *arg), void *arg)
{
	pthread_t thread;
	int err = pthread_create(&thread, NULL, serve, arg);

	if (err)
		die("cannot begin a thread: %s", strerror(err));
}

static int show_progress(__u64 done, __u64 all, void *priv)
{
	(void)priv;
	if (all)
		progress("vmemctl: looking for VMCOREINFO: %llu of %llu MiB",
			 done >> 20, all >> 20);
	return 0;
}

/* Of raw memory, it may be that all but CR3 is given: roots are guessed then. */
static int find_mode(const struct mount *mount, struct libvmem *vm,
		     struct vmem_regs *regs, struct libvmem_error *error)
{
	struct libvmem_source source = mount->source;
	const __u64 any = 0;
	int ret = libvmem_find_regs(vm, &source, regs, error);

	if (ret != -LIBVMEM_NO_REGISTERS)
		return ret;
	source.cr3s = &any;
	source.nr_cr3s = 1;
	return libvmem_find_regs(vm, &source, regs, NULL);
}

/* The kernel's registers from VMCOREINFO lead to all other spaces. */
static void take_kernel(struct mount *mount)
{
	mount->regs = mount->layout.regs;
	mount->source.given.regs = mount->regs;
	mount->source.given.have = LIBVMEM_ALL_REGS;
}

/* Without registers, spaces/ stays empty and the other files work. */
static void find_regs(struct mount *mount, struct libvmem *vm)
{
	struct libvmem_error error;
	int ret = find_mode(mount, vm, &mount->regs, &error);

	if (ret == -LIBVMEM_NO_PROCESS)
		fail(&error);
	if (ret)
		mount->regs = (struct vmem_regs){};
	if (ret && mount->layout.regs.cr0)
		take_kernel(mount);
	else if (ret)
		warn("warning: no spaces: %s: %s", error.message, error.advice);
}

static void open_core(struct mount *mount, struct libvmem *vm)
{
	const struct libvmem_core_args args = {
		.source = &mount->source,
		.step = show_progress,
	};
	struct libvmem_error error;
	int ret = libvmem_core_open(&mount->core, vm, &args, &error);

	progress_end();
	check(ret, &error);
	libvmem_core_layout(mount->core, &mount->layout);
	if (!mount->layout.vmcoreinfo)
		warn("warning: no VMCOREINFO in the guest: drgn will not open vmcore");
	find_regs(mount, vm);
}

static void show_folder(const char *path, bool json)
{
	if (json) {
		json_begin("mount");
		json_put_text("folder", path);
		json_end();
	} else {
		out("mounted at %s\n", path);
	}
}

static noreturn void serve(struct mount *mount, struct fuse_session *session,
			   struct libvmem **vms, const char *path, bool json)
{
	struct worker workers[WORKERS];

	confine(CONFINED_SERVER);
	open_core(mount, vms[0]);
	mount->spaces = (struct spaces){
		.vm = vms[WORKERS],
		.source = &mount->source,
		.waiters = NO_WAITERS,
	};
	mount->texts = (struct texts){
		.vm = vms[WORKERS + 1],
		.waiters = NO_WAITERS,
	};
	begin_thread(spaces_serve, &mount->spaces);
	begin_thread(maps_serve, &mount->texts);
	for (int i = 0; i < WORKERS; i++)
		workers[i] = (struct worker){ session, vms[i] };
	for (int i = 1; i < WORKERS; i++)
		begin_thread(work, &workers[i]);
	show_folder(path, json);
	out_flush();
	work(&workers[0]);
	exit(0);
}

/* The process that unmounts */

/* Or a negative errno */
static int open_pidfd(pid_t pid)
{
	int fd = syscall(SYS_pidfd_open, pid, 0);

	return fd < 0 ? -errno : fd;
}

static int open_signalfd(void)
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGHUP);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	return signalfd(-1, &signals, SFD_CLOEXEC);
}

/* Whether the process ends within @ms. */
static bool has_ended(int pidfd, int ms)
{
	struct pollfd pollfd = { .fd = pidfd, .events = POLLIN };

	return poll(&pollfd, 1, ms) > 0;
}

static int reap(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			die("cannot wait for process %d: %m", pid);
	return status;
}

/*
 * Nobody finds the files any more, but who has one open can ask on. When the VMM has
 * ended, the answer is that.
 */
static noreturn void end(struct fuse_session *session, pid_t pid, int server,
			 bool vmm_ended)
{
	bool by_us = !has_ended(server, 0);
	int status;

	fuse_session_unmount(session);
	fuse_session_destroy(session);
	if (by_us && !has_ended(server, vmm_ended ? FAREWELL_MS : 0))
		kill(pid, SIGKILL);
	status = reap(pid);
	if (WIFEXITED(status))
		exit(WEXITSTATUS(status));
	if (!by_us)
		die("what answers has ended by signal %d", WTERMSIG(status));
	exit(0);
}

static noreturn void watch(struct fuse_session *session, pid_t pid, int vmm,
			   int signals)
{
	const int server = open_pidfd(pid);
	struct pollfd fds[] = {
		{ .fd = server, .events = POLLIN },
		{ .fd = vmm, .events = POLLIN },
		{ .fd = signals, .events = POLLIN },
	};

	if (server < 0) {
		warn("cannot follow process %d: %s", pid, strerror(-server));
		kill(pid, SIGKILL);
		fuse_session_unmount(session);
		exit(EXIT_FAILED);
	}
	while (poll(fds, ARRAY_SIZE(fds), -1) < 0)
		if (errno != EINTR)
			break;
	end(session, pid, fds[0].fd, fds[1].revents);
}

static void run(struct opts *opts, int nr_args, char **args)
{
	static struct mount mount;
	const pid_t parent = getpid();
	struct libvmem *vms[HANDLES];
	struct fuse_session *session;
	int vmm = -1, signals;
	pid_t pid;

	if (nr_args != 1)
		usage("mount takes one argument: vmemctl ... mount DIR");
	check_folder(args[0]);
	check_fuse(args[0]);
	/* First of all: from here on its end is seen, and not another's with its PID. */
	if (opts->pid)
		vmm = open_pidfd(opts->pid);
	guest_attach(opts, vms, HANDLES);
	if (opts->pid && vmm < 0)
		die("cannot follow process %d: %s", opts->pid, strerror(-vmm));
	signals = open_signalfd();
	if (signals < 0)
		die("cannot receive signals: %m");
	mount.source = opts->source;
	mount.uid = getuid();
	mount.gid = getgid();
	clock_gettime(CLOCK_REALTIME, &mount.since);

	session = mount_at(args[0], &mount);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			exit(EXIT_FAILED);
		serve(&mount, session, vms, args[0], opts->json);
	}
	if (pid < 0) {
		fuse_session_unmount(session);
		die("cannot begin a process: %m");
	}
	for (int i = 0; i < HANDLES; i++)
		libvmem_close(vms[i]);
	watch(session, pid, vmm, signals);
}

const struct command mount_command = {
	.name = "mount",
	.args = "DIR",
	.summary = "the guest as files, for debuggers",
	.help = "Mount the guest at DIR, an empty directory, as files to read, until a signal\n"
		"or the end of the guest: vmcore, an ELF core with each vCPU's registers and\n"
		"the kernel's VMCOREINFO, for crash, drgn and gdb; memory, by guest-physical\n"
		"address; spaces/ROOT/maps and spaces/ROOT/mem, by virtual address.\n"
		"\vThe guest runs on, and what is read is what its memory holds then. It takes\n"
		"FUSE: the kernel's module fuse and, if you are not root, the package fuse3.",
	.takes = TAKES_ROOT | TAKES_JSON,
	.alone = true,
	.run = run,
};
