// SPDX-License-Identifier: GPL-2.0-only
/*
 * QEMU's registers of a vCPU, and whether any of them runs, asked for over QMP.
 * The server is not trusted: its answers have a time limit and a size limit, and
 * each number is checked.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "qmp.h"

/*
 * Limits of one answer, with the events before it. All answers together may take
 * TALK_MS, not counting QUICK_MS of each.
 */
#define ANSWER_SECONDS 5
#define ANSWER_BYTES 0x100000u
#define TALK_MS 20000
#define QUICK_MS 10

/**
 * struct libvmem_qmp - a connection to QEMU
 * @path: of the socket, a copy
 * @fd: the socket
 * @resumed: QEMU has told that the guest ran on
 * @err: errno of the last read that failed
 * @ended: QEMU has closed the connection
 * @lost: an answer is missing, so the next one received may be to an older command
 * @begun: start of the wait for the answer, in ms of CLOCK_MONOTONIC
 * @deadline: end of that wait
 * @patience: ms left of TALK_MS
 * @left: bytes that it may still have
 * @vcpus: the vCPUs, in QEMU's order
 * @nr_vcpus: elements of @vcpus
 * @at: next byte of @buf that was not given to jansson yet
 * @end: end of what @buf holds
 * @buf: what was read ahead: jansson takes one message at a time from it
 */
struct libvmem_qmp {
	char *path;
	int fd;
	bool resumed;
	int err;
	bool ended;
	bool lost;
	long long begun;
	long long deadline;
	long long patience;
	size_t left;
	struct libvmem_qmp_vcpu *vcpus;
	unsigned int nr_vcpus;
	size_t at;
	size_t end;
	char buf[4096];
};

static long long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ll + now.tv_nsec / 1000000;
}

static void begin_answer(struct libvmem_qmp *qmp)
{
	long long most = qmp->patience + QUICK_MS;

	if (most > ANSWER_SECONDS * 1000)
		most = ANSWER_SECONDS * 1000;
	qmp->begun = now_ms();
	qmp->deadline = qmp->begun + most;
	qmp->left = ANSWER_BYTES;
}

static void end_answer(struct libvmem_qmp *qmp)
{
	long long took = now_ms() - qmp->begun - QUICK_MS;

	if (took > 0)
		qmp->patience -= took < qmp->patience ? took : qmp->patience;
}

/* While another client is served, QEMU neither accepts nor answers. */
static int set_timeout(const struct libvmem_qmp *qmp)
{
	const struct timeval tv = { .tv_sec = ANSWER_SECONDS };

	return setsockopt(qmp->fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
}

static int connect_socket(struct libvmem_qmp *qmp, struct libvmem_error *error)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int ret;

	if (strlen(qmp->path) >= sizeof(addr.sun_path))
		return error_set(error, LIBVMEM_QMP, STEP_QMP_CONNECT, 0,
				 "the path is too long for a socket",
				 "cannot connect to %s", qmp->path);
	strcpy(addr.sun_path, qmp->path);
	qmp->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (qmp->fd < 0)
		return error_of(error, STEP_QMP_CONNECT, errno, 0, NULL,
				"cannot open a socket");
	if (set_timeout(qmp))
		return error_of(error, STEP_QMP_CONNECT, errno, 0, NULL,
				"cannot set a timeout on %s", qmp->path);
	do {
		ret = connect(qmp->fd, (struct sockaddr *)&addr, sizeof(addr));
	} while (ret && errno == EINTR);
	if (ret)
		return error_of(error, STEP_QMP_CONNECT, errno, 0, NULL,
				"cannot connect to %s", qmp->path);
	return 0;
}

/*
 * Wait until there is something to read. What is there by then is in time, though
 * the process may have been stopped meanwhile.
 */
static int wait_for_bytes(const struct libvmem_qmp *qmp)
{
	struct pollfd fd = { .fd = qmp->fd, .events = POLLIN };
	long long left;
	int ret;

	do {
		left = qmp->deadline - now_ms();
		ret = poll(&fd, 1, left > 0 ? (int)left : 0);
	} while (ret < 0 && errno == EINTR);
	if (ret < 0)
		return errno;
	return ret ? 0 : EAGAIN;
}

static void read_ahead(struct libvmem_qmp *qmp)
{
	ssize_t got = 0;

	qmp->at = 0;
	qmp->end = 0;
	qmp->err = wait_for_bytes(qmp);
	if (!qmp->err)
		got = recv(qmp->fd, qmp->buf, sizeof(qmp->buf), MSG_DONTWAIT);
	if (got < 0)
		qmp->err = errno;
	else
		qmp->end = got;
	qmp->ended = !qmp->err && !got;
}

/* For jansson: one byte at a time, as it must not take more than a message. */
static size_t give_byte(void *buffer, size_t len, void *data)
{
	struct libvmem_qmp *qmp = data;

	if (!len)
		return 0;
	if (!qmp->left) {
		qmp->err = EMSGSIZE;
		return (size_t)-1;
	}
	if (qmp->at == qmp->end)
		read_ahead(qmp);
	if (qmp->at == qmp->end)
		return qmp->ended ? 0 : (size_t)-1;
	qmp->left--;
	*(char *)buffer = qmp->buf[qmp->at++];
	return 1;
}

static int receive(struct libvmem_qmp *qmp, json_t **message,
		   struct libvmem_error *error)
{
	qmp->err = 0;
	*message = json_load_callback(give_byte, qmp, JSON_DISABLE_EOF_CHECK,
				      NULL);
	if (*message)
		return 0;
	if (qmp->err == EMSGSIZE)
		return error_set(error, LIBVMEM_QMP, STEP_QMP_TALK, 0,
				 "is it QEMU's?",
				 "%s answers with more than %u bytes",
				 qmp->path, ANSWER_BYTES);
	if (qmp->err)
		return error_of(error, STEP_QMP_TALK, qmp->err, 0, NULL,
				"cannot read from %s", qmp->path);
	if (qmp->ended)
		return error_set(error, LIBVMEM_QMP, STEP_QMP_TALK, 0,
				 "is that QEMU still running?",
				 "%s closed the connection", qmp->path);
	return error_set(error, LIBVMEM_QMP, STEP_QMP_TALK, 0,
			 "give the socket of QEMU's -qmp, not of its -monitor",
			 "%s does not speak QMP", qmp->path);
}

/* The answer to what was sent last; QEMU puts events in between. */
static int receive_answer(struct libvmem_qmp *qmp, json_t **message,
			  struct libvmem_error *error)
{
	json_t *event;
	int ret = receive(qmp, message, error);

	while (!ret && (event = json_object_get(*message, "event"))) {
		if (json_is_string(event) &&
		    !strcmp(json_string_value(event), "RESUME"))
			qmp->resumed = true;
		json_decref(*message);
		ret = receive(qmp, message, error);
	}
	qmp->lost = ret;
	return ret;
}

/* Takes over @command, which is NULL where there was no memory for it. */
static int send_command(struct libvmem_qmp *qmp, json_t *command,
			struct libvmem_error *error)
{
	char *text = command ? json_dumps(command, JSON_COMPACT) : NULL;
	ssize_t len, sent;

	json_decref(command);
	if (qmp->lost) {
		free(text);
		return error_set(error, LIBVMEM_QMP, STEP_QMP_TALK, 0,
				 "connect once more",
				 "%s owes the answer to an earlier question",
				 qmp->path);
	}
	if (!text)
		return error_memory(error, NULL);
	len = strlen(text);
	/* So short a text fits into the socket's buffer at once. */
	do {
		sent = send(qmp->fd, text, len, MSG_NOSIGNAL);
	} while (sent < 0 && errno == EINTR);
	free(text);
	if (sent == len)
		return 0;
	return error_of(error, STEP_QMP_TALK, sent < 0 ? errno : EAGAIN, 0,
			NULL, "cannot write to %s", qmp->path);
}

static int refused(const struct libvmem_qmp *qmp, json_t *answer,
		   const char *what, struct libvmem_error *error)
{
	const char *desc = "no reason given";

	json_unpack(answer, "{s:{s:s}}", "error", "desc", &desc);
	return error_set(error, LIBVMEM_QMP, STEP_QMP_TALK, 0, desc,
			 "QEMU at %s refuses %s", qmp->path, what);
}

/* Run a command, which is taken over; @what it is for goes into the message. */
static int execute(struct libvmem_qmp *qmp, json_t *command, const char *what,
		   json_t **result, struct libvmem_error *error)
{
	json_t *answer;
	int ret = send_command(qmp, command, error);

	begin_answer(qmp);
	if (!ret)
		ret = receive_answer(qmp, &answer, error);
	end_answer(qmp);
	if (ret)
		return ret;
	*result = json_incref(json_object_get(answer, "return"));
	if (!*result)
		ret = refused(qmp, answer, what, error);
	json_decref(answer);
	return ret;
}

static int greet(struct libvmem_qmp *qmp, struct libvmem_error *error)
{
	json_t *greeting, *result;
	bool is_qmp;
	int ret;

	begin_answer(qmp);
	ret = receive(qmp, &greeting, error);
	if (ret)
		return ret;
	is_qmp = json_object_get(greeting, "QMP");
	json_decref(greeting);
	if (!is_qmp)
		return error_set(error, LIBVMEM_QMP, STEP_QMP_CONNECT, 0,
				 "give the socket of QEMU's -qmp",
				 "%s does not speak QMP", qmp->path);
	ret = execute(qmp, json_pack("{s:s}", "execute", "qmp_capabilities"),
		      "the connection", &result, error);
	if (!ret)
		json_decref(result);
	return ret;
}

/* A thread's ID as the process itself knows it, in a container or not; or -1. */
static long long own_tid(int task_fd, const char *name)
{
	long long tid = -1;
	char path[64], line[512];
	FILE *status;
	int fd;

	snprintf(path, sizeof(path), "%s/status", name);
	fd = openat(task_fd, path, O_RDONLY | O_CLOEXEC);
	status = fd < 0 ? NULL : fdopen(fd, "r");
	if (!status) {
		if (fd >= 0)
			close(fd);
		return -1;
	}
	while (tid < 0 && fgets(line, sizeof(line), status)) {
		const char *last = strrchr(line, '\t');

		if (last && !strncmp(line, "NSpid:", 6))
			tid = atoll(last);
	}
	fclose(status);
	return tid;
}

/**
 * struct threads - threads of a process, by the IDs that it knows them by
 * @tids: the IDs
 * @nr: elements of @tids
 */
struct threads {
	long long *tids;
	size_t nr;
};

static int list_threads(pid_t pid, struct threads *threads,
			struct libvmem_error *error)
{
	struct dirent *entry;
	long long *more;
	char path[32];
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	tasks = opendir(path);
	if (!tasks)
		return error_of(error, STEP_SCAN, errno, 0, NULL,
				"cannot list the threads of process %d", pid);
	while ((entry = readdir(tasks))) {
		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		more = reallocarray(threads->tids, threads->nr + 1,
				    sizeof(*more));
		if (!more)
			break;
		threads->tids = more;
		more[threads->nr++] = own_tid(dirfd(tasks), entry->d_name);
	}
	closedir(tasks);
	return entry ? error_memory(error, NULL) : 0;
}

static bool has_thread(const struct threads *threads, long long tid)
{
	for (size_t i = 0; i < threads->nr; i++)
		if (threads->tids[i] == tid && tid > 0)
			return true;
	return false;
}

/*
 * KVM identifies a vCPU by its APIC ID. A QEMU that refuses to tell it numbers vCPUs
 * as KVM does. All vCPUs share the time and the bytes of the list's answer.
 */
static int ask_apic_id(struct libvmem_qmp *qmp, const char *path,
		       struct libvmem_qmp_vcpu *vcpu,
		       struct libvmem_error *error)
{
	json_t *command = json_pack("{s:s,s:{s:s,s:s}}", "execute", "qom-get",
				    "arguments", "path", path, "property",
				    "apic-id");
	json_t *answer;
	json_int_t id;
	int ret = send_command(qmp, command, error);

	if (!ret)
		ret = receive_answer(qmp, &answer, error);
	if (ret)
		return ret;
	vcpu->apic_id = vcpu->index;
	if (!json_unpack(answer, "{s:I}", "return", &id) && id >= 0 &&
	    id <= UINT_MAX)
		vcpu->apic_id = (__u32)id;
	json_decref(answer);
	return 0;
}

static int take_vcpu(struct libvmem_qmp *qmp, json_t *vcpu, pid_t pid,
		     const struct threads *threads, struct libvmem_error *error)
{
	struct libvmem_qmp_vcpu *new = &qmp->vcpus[qmp->nr_vcpus];
	json_int_t index, tid;
	const char *path;

	if (json_unpack(vcpu, "{s:I,s:I,s:s}", "cpu-index", &index, "thread-id",
			&tid, "qom-path", &path) ||
	    index < 0 || index > INT_MAX)
		return error_set(error, LIBVMEM_QMP, STEP_QMP_TALK, 0,
				 "is it QEMU's, 2.12 or later?",
				 "%s does not list its vCPUs", qmp->path);
	if (pid && !has_thread(threads, tid))
		return error_set(
			error, LIBVMEM_QMP, STEP_QMP_CONNECT, 0,
			"give the socket of the QEMU that --pid names",
			"%s is not process %d's: vCPU %lld is not its thread",
			qmp->path, pid, (long long)index);
	new->index = (unsigned int)index;
	for (unsigned int i = 0; i < qmp->nr_vcpus; i++)
		if (qmp->vcpus[i].index == new->index)
			return error_set(error, LIBVMEM_QMP, STEP_QMP_TALK, 0,
					 "is it QEMU's?",
					 "%s lists vCPU %u twice", qmp->path,
					 new->index);
	qmp->nr_vcpus++;
	return ask_apic_id(qmp, path, new, error);
}

static int take_vcpus(struct libvmem_qmp *qmp, pid_t pid,
		      struct libvmem_error *error)
{
	struct threads threads = {};
	json_t *list;
	size_t i, nr;
	int ret;

	ret = execute(qmp, json_pack("{s:s}", "execute", "query-cpus-fast"),
		      "a list of its vCPUs", &list, error);
	if (ret)
		return ret;
	nr = json_array_size(list);
	if (nr > VMEM_MAX_ROOTS)
		nr = VMEM_MAX_ROOTS;
	qmp->vcpus = calloc(nr + 1, sizeof(*qmp->vcpus));
	if (!qmp->vcpus)
		ret = error_memory(error, NULL);
	if (!ret && pid)
		ret = list_threads(pid, &threads, error);
	for (i = 0; i < nr && !ret; i++)
		ret = take_vcpu(qmp, json_array_get(list, i), pid, &threads,
				error);
	free(threads.tids);
	json_decref(list);
	if (!ret && !nr)
		ret = error_set(error, LIBVMEM_QMP, STEP_QMP_TALK, 0,
				"is it QEMU's, 2.12 or later?",
				"%s lists no vCPU", qmp->path);
	return ret;
}

unsigned int libvmem_qmp_vcpus(const struct libvmem_qmp *qmp,
			       const struct libvmem_qmp_vcpu **vcpus)
{
	*vcpus = qmp->vcpus;
	return qmp->nr_vcpus;
}

int libvmem_qmp_open(struct libvmem_qmp **qmp, const char *path, pid_t pid,
		     struct libvmem_error *error)
{
	struct libvmem_qmp *new = calloc(1, sizeof(*new));
	int ret;

	*qmp = NULL;
	if (!new)
		return error_memory(error, NULL);
	new->fd = -1;
	new->patience = TALK_MS;
	new->path = strdup(path);
	ret = new->path ? 0 : error_memory(error, NULL);
	if (!ret)
		ret = connect_socket(new, error);
	if (!ret)
		ret = greet(new, error);
	if (!ret)
		ret = take_vcpus(new, pid, error);
	if (ret)
		libvmem_qmp_close(new);
	else
		*qmp = new;
	return ret;
}

void libvmem_qmp_close(struct libvmem_qmp *qmp)
{
	if (!qmp)
		return;
	if (qmp->fd >= 0)
		close(qmp->fd);
	free(qmp->vcpus);
	free(qmp->path);
	free(qmp);
}

/* In `info registers' a register is a word "NAME=hex digits", or "NAME =". */
static const char *find_value(const char *text, const char *name)
{
	size_t len = strlen(name);

	for (; *text; text += strcspn(text, " \r\n")) {
		const char *end;

		text += strspn(text, " \r\n");
		if (strncmp(text, name, len))
			continue;
		end = text + len + strspn(text + len, " ");
		if (*end == '=')
			return end + 1;
	}
	return NULL;
}

/*
 * Parse the next word as a number of up to @bits: hexadecimal digits alone. Returns
 * the text behind it, or NULL.
 */
static const char *take_hex(const char *text, unsigned int bits, __u64 *value)
{
	size_t len;

	if (!text)
		return NULL;
	text += strspn(text, " ");
	len = strspn(text, "0123456789abcdefABCDEF");
	if (!len || len > bits / 4 || !strchr(" \r\n", text[len]))
		return NULL;
	*value = strtoull(text, NULL, 16);
	return text + len;
}

static bool find_reg(const char *text, const char *name, __u64 *value)
{
	return take_hex(find_value(text, name), 64, value);
}

static void parse_regs(const char *text, struct libvmem_regs *out)
{
	*out = (struct libvmem_regs){};
	if (find_reg(text, "CR0", &out->regs.cr0))
		out->have |= LIBVMEM_CR0;
	if (find_reg(text, "CR3", &out->regs.cr3))
		out->have |= LIBVMEM_CR3;
	if (find_reg(text, "CR4", &out->regs.cr4))
		out->have |= LIBVMEM_CR4;
	if (find_reg(text, "EFER", &out->regs.efer))
		out->have |= LIBVMEM_EFER;
}

static int info_registers(struct libvmem_qmp *qmp, unsigned int vcpu,
			  json_t **text, struct libvmem_error *error)
{
	json_t *command;
	char what[48];
	int ret;

	snprintf(what, sizeof(what), "the registers of vCPU %u", vcpu);
	command = json_pack("{s:s,s:{s:s,s:I}}", "execute",
			    "human-monitor-command", "arguments",
			    "command-line", "info registers", "cpu-index",
			    (json_int_t)vcpu);
	ret = execute(qmp, command, what, text, error);
	if (ret || json_is_string(*text))
		return ret;
	json_decref(*text);
	return error_set(
		error, LIBVMEM_QMP, STEP_QMP_TALK, 0, NULL,
		"QEMU at %s does not answer with the registers of vCPU %u as text",
		qmp->path, vcpu);
}

static int refuse_missing(const struct libvmem_qmp *qmp, const char *name,
			  unsigned int vcpu, struct libvmem_error *error)
{
	return error_set(error, LIBVMEM_QMP, STEP_QMP_TALK, 0,
			 "is its guest an x86 one?",
			 "QEMU at %s names no %s of vCPU %u", qmp->path, name,
			 vcpu);
}

int libvmem_qmp_regs(struct libvmem_qmp *qmp, unsigned int vcpu,
		     struct libvmem_regs *regs, struct libvmem_error *error)
{
	json_t *text;
	int ret = info_registers(qmp, vcpu, &text, error);

	if (ret)
		return ret;
	parse_regs(json_string_value(text), regs);
	json_decref(text);
	if (regs->have & LIBVMEM_CR3)
		return 0;
	return refuse_missing(qmp, "CR3", vcpu, error);
}

#define CPU(member) offsetof(struct core_cpu, member)

/* Names outside of 64-bit code, and in it. */
static const struct {
	const char *name;
	const char *name64;
	size_t offset;
} cpu_regs[] = {
	{ "EAX", "RAX", CPU(rax) },   { "EBX", "RBX", CPU(rbx) },
	{ "ECX", "RCX", CPU(rcx) },   { "EDX", "RDX", CPU(rdx) },
	{ "ESI", "RSI", CPU(rsi) },   { "EDI", "RDI", CPU(rdi) },
	{ "ESP", "RSP", CPU(rsp) },   { "EBP", "RBP", CPU(rbp) },
	{ NULL, "R8", CPU(r8) },      { NULL, "R9", CPU(r9) },
	{ NULL, "R10", CPU(r10) },    { NULL, "R11", CPU(r11) },
	{ NULL, "R12", CPU(r12) },    { NULL, "R13", CPU(r13) },
	{ NULL, "R14", CPU(r14) },    { NULL, "R15", CPU(r15) },
	{ "EIP", "RIP", CPU(rip) },   { "EFL", "RFL", CPU(rflags) },
	{ "CR0", "CR0", CPU(cr[0]) }, { "CR2", "CR2", CPU(cr[2]) },
	{ "CR3", "CR3", CPU(cr[3]) }, { "CR4", "CR4", CPU(cr[4]) },
};

static const struct {
	const char *name;
	size_t offset;
} cpu_segments[] = {
	{ "CS", CPU(cs) },   { "DS", CPU(ds) }, { "ES", CPU(es) },
	{ "FS", CPU(fs) },   { "GS", CPU(gs) }, { "SS", CPU(ss) },
	{ "LDT", CPU(ldt) }, { "TR", CPU(tr) },
};

static const struct {
	const char *name;
	size_t offset;
} cpu_tables[] = {
	{ "GDT", CPU(gdt) },
	{ "IDT", CPU(idt) },
};

/* "selector base limit flags" */
static bool find_segment(const char *text, const char *name,
			 struct core_segment *out)
{
	const char *at = find_value(text, name);
	__u64 selector, base, limit, flags;

	at = take_hex(at, 16, &selector);
	at = take_hex(at, 64, &base);
	at = take_hex(at, 32, &limit);
	if (!take_hex(at, 32, &flags))
		return false;
	*out = (struct core_segment){
		.selector = selector,
		.limit = limit,
		.flags = flags,
		.base = base,
	};
	return true;
}

/* "base limit" */
static bool find_table(const char *text, const char *name,
		       struct core_segment *out)
{
	const char *at = find_value(text, name);
	__u64 base, limit;

	at = take_hex(at, 64, &base);
	if (!take_hex(at, 32, &limit))
		return false;
	out->base = base;
	out->limit = limit;
	return true;
}

/* Returns the name of what is missing, or NULL. */
static const char *parse_cpu(const char *text, struct core_cpu *cpu)
{
	for (size_t i = 0; i < ARRAY_SIZE(cpu_regs); i++) {
		__u64 *reg = (void *)cpu + cpu_regs[i].offset;

		if (!find_reg(text, cpu_regs[i].name64, reg) &&
		    cpu_regs[i].name && !find_reg(text, cpu_regs[i].name, reg))
			return cpu_regs[i].name;
	}
	for (size_t i = 0; i < ARRAY_SIZE(cpu_segments); i++) {
		if (!find_segment(text, cpu_segments[i].name,
				  (void *)cpu + cpu_segments[i].offset))
			return cpu_segments[i].name;
	}
	for (size_t i = 0; i < ARRAY_SIZE(cpu_tables); i++) {
		if (!find_table(text, cpu_tables[i].name,
				(void *)cpu + cpu_tables[i].offset))
			return cpu_tables[i].name;
	}
	return NULL;
}

int qmp_cpu(struct libvmem_qmp *qmp, unsigned int vcpu, struct core_cpu *cpu,
	    struct libvmem_error *error)
{
	const char *missing;
	json_t *text;
	int ret = info_registers(qmp, vcpu, &text, error);

	if (ret)
		return ret;
	*cpu = (struct core_cpu){
		.version = CORE_CPU_VERSION,
		.size = sizeof(*cpu),
	};
	missing = parse_cpu(json_string_value(text), cpu);
	json_decref(text);
	return missing ? refuse_missing(qmp, missing, vcpu, error) : 0;
}

int libvmem_qmp_check_stopped(struct libvmem_qmp *qmp,
			      struct libvmem_error *error)
{
	int ret, running = 1;
	json_t *status;

	ret = execute(qmp, json_pack("{s:s}", "execute", "query-status"),
		      "to tell whether the guest runs", &status, error);
	if (ret)
		return ret;
	json_unpack(status, "{s:b}", "running", &running);
	json_decref(status);
	if (qmp->resumed)
		return error_set(error, LIBVMEM_GUEST_RUNS, STEP_QMP_TALK, 0,
				 "let it stand still, and try again",
				 "the guest at %s ran meanwhile", qmp->path);
	if (running)
		return error_set(error, LIBVMEM_GUEST_RUNS, STEP_QMP_TALK, 0,
				 STOP_FIRST, "the guest at %s runs", qmp->path);
	return 0;
}
