// SPDX-License-Identifier: GPL-2.0-only
/*
 * QEMU's registers of a vCPU, and whether any of them runs, asked for over QMP
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core.h"
#include "vmemctl.h"

#define TIMEOUT_SECONDS 5

/**
 * struct qmp - a connection to QEMU
 * @path: of the socket
 * @fd: the socket
 * @in: the same, to read from: jansson takes one message at a time from it
 * @resumed: QEMU has told that the guest ran on
 */
struct qmp {
	const char *path;
	int fd;
	FILE *in;
	bool resumed;
};

/* While another client is served, QEMU neither accepts nor answers. */
static void set_timeouts(const struct qmp *qmp)
{
	const struct timeval tv = { .tv_sec = TIMEOUT_SECONDS };

	if (setsockopt(qmp->fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) ||
	    setsockopt(qmp->fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)))
		fail(STEP_QMP_CONNECT, NULL, "cannot set a timeout on %s",
		     qmp->path);
}

static void connect_socket(struct qmp *qmp)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	if (strlen(qmp->path) >= sizeof(addr.sun_path))
		die("cannot connect to %s: the path is too long for a socket",
		    qmp->path);
	strcpy(addr.sun_path, qmp->path);
	qmp->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (qmp->fd < 0)
		fail(STEP_QMP_CONNECT, NULL, "cannot open a socket");
	set_timeouts(qmp);
	if (connect(qmp->fd, (struct sockaddr *)&addr, sizeof(addr)))
		fail(STEP_QMP_CONNECT, NULL, "cannot connect to %s", qmp->path);
	qmp->in = fdopen(qmp->fd, "r");
	if (!qmp->in)
		fail(STEP_QMP_CONNECT, NULL, "cannot read from %s", qmp->path);
}

static json_t *receive(struct qmp *qmp)
{
	json_t *message;

	errno = 0;
	message = json_loadf(qmp->in, JSON_DISABLE_EOF_CHECK, NULL);
	if (message)
		return message;
	if (ferror(qmp->in))
		fail(STEP_QMP_TALK, NULL, "cannot read from %s", qmp->path);
	if (feof(qmp->in))
		die("%s closed the connection: is that QEMU still running?",
		    qmp->path);
	die("%s does not speak QMP: give the socket of QEMU's -qmp, not of its -monitor",
	    qmp->path);
}

/* The answer to what was sent last; QEMU puts events in between. */
static json_t *receive_answer(struct qmp *qmp)
{
	json_t *message = receive(qmp);
	json_t *event;

	while ((event = json_object_get(message, "event"))) {
		if (json_is_string(event) &&
		    !strcmp(json_string_value(event), "RESUME"))
			qmp->resumed = true;
		json_decref(message);
		message = receive(qmp);
	}
	return message;
}

static void send_command(struct qmp *qmp, json_t *command)
{
	char *text = command ? json_dumps(command, JSON_COMPACT) : NULL;
	size_t len;

	if (!text)
		die("out of memory");
	len = strlen(text);
	/* So short a text fits into the socket's buffer at once. */
	if (send(qmp->fd, text, len, MSG_NOSIGNAL) != (ssize_t)len)
		fail(STEP_QMP_TALK, NULL, "cannot write to %s", qmp->path);
	free(text);
	json_decref(command);
}

/* Run a command; @what it is for goes into the error message. */
static json_t *execute(struct qmp *qmp, json_t *command, const char *what)
{
	const char *desc = "no reason given";
	json_t *answer, *result;

	send_command(qmp, command);
	answer = receive_answer(qmp);
	result = json_incref(json_object_get(answer, "return"));
	if (!result) {
		json_unpack(answer, "{s:{s:s}}", "error", "desc", &desc);
		die("QEMU at %s refuses %s: %s", qmp->path, what, desc);
	}
	json_decref(answer);
	return result;
}

static void greet(struct qmp *qmp)
{
	json_t *greeting = receive(qmp);

	if (!json_object_get(greeting, "QMP"))
		die("%s does not speak QMP: give the socket of QEMU's -qmp",
		    qmp->path);
	json_decref(greeting);
	json_decref(execute(qmp,
			    json_pack("{s:s}", "execute", "qmp_capabilities"),
			    "the connection"));
}

struct qmp *qmp_open(const char *path)
{
	struct qmp *qmp = calloc(1, sizeof(*qmp));

	if (!qmp)
		die("out of memory");
	qmp->path = path;
	connect_socket(qmp);
	greet(qmp);
	return qmp;
}

void qmp_close(struct qmp *qmp)
{
	fclose(qmp->in);
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

static void parse_regs(const char *text, struct known_regs *out)
{
	*out = (struct known_regs){};
	if (find_reg(text, "CR0", &out->regs.cr0))
		out->have |= REG_CR0;
	if (find_reg(text, "CR3", &out->regs.cr3))
		out->have |= REG_CR3;
	if (find_reg(text, "CR4", &out->regs.cr4))
		out->have |= REG_CR4;
	if (find_reg(text, "EFER", &out->regs.efer))
		out->have |= REG_EFER;
}

static json_t *info_registers(struct qmp *qmp, unsigned int vcpu)
{
	json_t *command, *text;
	char what[48];

	snprintf(what, sizeof(what), "the registers of vCPU %u", vcpu);
	command = json_pack("{s:s,s:{s:s,s:I}}", "execute",
			    "human-monitor-command", "arguments",
			    "command-line", "info registers", "cpu-index",
			    (json_int_t)vcpu);
	text = execute(qmp, command, what);
	if (!json_is_string(text))
		die("QEMU at %s does not answer with the registers of vCPU %u as text",
		    qmp->path, vcpu);
	return text;
}

noreturn static void die_of_missing(const struct qmp *qmp, const char *name,
				    unsigned int vcpu)
{
	die("QEMU at %s names no %s of vCPU %u: is its guest an x86 one?",
	    qmp->path, name, vcpu);
}

void qmp_regs(struct qmp *qmp, unsigned int vcpu, struct known_regs *out)
{
	json_t *text = info_registers(qmp, vcpu);

	parse_regs(json_string_value(text), out);
	if (!(out->have & REG_CR3))
		die_of_missing(qmp, "CR3", vcpu);
	json_decref(text);
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

void qmp_cpu(struct qmp *qmp, unsigned int vcpu, struct core_cpu *cpu)
{
	json_t *text = info_registers(qmp, vcpu);
	const char *missing;

	*cpu = (struct core_cpu){
		.version = CORE_CPU_VERSION,
		.size = sizeof(*cpu),
	};
	missing = parse_cpu(json_string_value(text), cpu);
	if (missing)
		die_of_missing(qmp, missing, vcpu);
	json_decref(text);
}

void qmp_check_stopped(struct qmp *qmp)
{
	json_t *status = execute(qmp,
				 json_pack("{s:s}", "execute", "query-status"),
				 "to tell whether the guest runs");
	int running = 1;

	json_unpack(status, "{s:b}", "running", &running);
	json_decref(status);
	if (qmp->resumed)
		die("the guest at %s ran meanwhile: let it stand still, and try again",
		    qmp->path);
	if (running)
		die("the guest at %s runs: " STOP_FIRST, qmp->path);
}
