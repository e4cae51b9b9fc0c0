// SPDX-License-Identifier: GPL-2.0-only
/*
 * QEMU's registers of a vCPU, and whether any of them runs, asked for over QMP
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "qmp.h"

#define TIMEOUT_SECONDS 5

/**
 * struct libvmem_qmp - a connection to QEMU
 * @path: of the socket, a copy
 * @fd: the socket
 * @resumed: QEMU has told that the guest ran on
 * @err: errno of the last read that failed
 * @ended: QEMU has closed the connection
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
	size_t at;
	size_t end;
	char buf[4096];
};

/* While another client is served, QEMU neither accepts nor answers. */
static int set_timeouts(const struct libvmem_qmp *qmp)
{
	const struct timeval tv = { .tv_sec = TIMEOUT_SECONDS };

	return setsockopt(qmp->fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) ||
	       setsockopt(qmp->fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
}

static int connect_socket(struct libvmem_qmp *qmp, struct libvmem_error *error)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	if (strlen(qmp->path) >= sizeof(addr.sun_path))
		return error_set(error, LIBVMEM_QMP, STEP_QMP_CONNECT, 0,
				 "the path is too long for a socket",
				 "cannot connect to %s", qmp->path);
	strcpy(addr.sun_path, qmp->path);
	qmp->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (qmp->fd < 0)
		return error_of(error, STEP_QMP_CONNECT, errno, 0, NULL,
				"cannot open a socket");
	if (set_timeouts(qmp))
		return error_of(error, STEP_QMP_CONNECT, errno, 0, NULL,
				"cannot set a timeout on %s", qmp->path);
	if (connect(qmp->fd, (struct sockaddr *)&addr, sizeof(addr)))
		return error_of(error, STEP_QMP_CONNECT, errno, 0, NULL,
				"cannot connect to %s", qmp->path);
	return 0;
}

/* For jansson: one byte at a time, as it must not take more than a message. */
static size_t give_byte(void *buffer, size_t len, void *data)
{
	struct libvmem_qmp *qmp = data;
	ssize_t got = 1;

	if (!len)
		return 0;
	if (qmp->at == qmp->end) {
		do {
			got = read(qmp->fd, qmp->buf, sizeof(qmp->buf));
		} while (got < 0 && errno == EINTR);
		qmp->at = 0;
		qmp->end = got > 0 ? got : 0;
	}
	qmp->err = got < 0 ? errno : 0;
	qmp->ended = !got;
	if (got <= 0)
		return got < 0 ? (size_t)-1 : 0;
	*(char *)buffer = qmp->buf[qmp->at++];
	return 1;
}

static int receive(struct libvmem_qmp *qmp, json_t **message,
		   struct libvmem_error *error)
{
	*message = json_load_callback(give_byte, qmp, JSON_DISABLE_EOF_CHECK,
				      NULL);
	if (*message)
		return 0;
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
	return ret;
}

/* Takes over @command, which is NULL where there was no memory for it. */
static int send_command(struct libvmem_qmp *qmp, json_t *command,
			struct libvmem_error *error)
{
	char *text = command ? json_dumps(command, JSON_COMPACT) : NULL;
	ssize_t len, sent;

	json_decref(command);
	if (!text)
		return error_memory(error, NULL);
	len = strlen(text);
	/* So short a text fits into the socket's buffer at once. */
	sent = send(qmp->fd, text, len, MSG_NOSIGNAL);
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

	if (!ret)
		ret = receive_answer(qmp, &answer, error);
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
	int ret = receive(qmp, &greeting, error);

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

int libvmem_qmp_open(struct libvmem_qmp **qmp, const char *path,
		     struct libvmem_error *error)
{
	struct libvmem_qmp *new = calloc(1, sizeof(*new));
	int ret;

	*qmp = NULL;
	if (!new)
		return error_memory(error, NULL);
	new->fd = -1;
	new->path = strdup(path);
	ret = new->path ? 0 : error_memory(error, NULL);
	if (!ret)
		ret = connect_socket(new, error);
	if (!ret)
		ret = greet(new, error);
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

static bool find_reg(const char *text, const char *name, __u64 *value)
{
	const char *digits = find_value(text, name);

	if (digits)
		*value = strtoull(digits, NULL, 16);
	return digits;
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
	unsigned long long base;

	if (!at || sscanf(at, "%x %llx %x %x", &out->selector, &base,
			  &out->limit, &out->flags) != 4)
		return false;
	out->base = base;
	return true;
}

/* "base limit" */
static bool find_table(const char *text, const char *name,
		       struct core_segment *out)
{
	const char *at = find_value(text, name);
	unsigned long long base;

	if (!at || sscanf(at, "%llx %x", &base, &out->limit) != 2)
		return false;
	out->base = base;
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
