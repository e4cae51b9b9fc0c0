// SPDX-License-Identifier: GPL-2.0-only
/*
 * QEMU's registers of a vCPU, asked for over QMP
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "vmemctl.h"

#define TIMEOUT_SECONDS 5

/**
 * struct qmp - a connection to QEMU
 * @path: of the socket
 * @fd: the socket
 * @in: the same, to read from: jansson takes one message at a time from it
 */
struct qmp {
	const char *path;
	int fd;
	FILE *in;
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

	while (json_object_get(message, "event")) {
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

/* In `info registers' a register is a word "NAME=hex digits". */
static bool find_reg(const char *text, const char *name, __u64 *value)
{
	size_t len = strlen(name);

	for (; *text; text += strcspn(text, " \r\n")) {
		text += strspn(text, " \r\n");
		if (!strncmp(text, name, len) && text[len] == '=') {
			*value = strtoull(text + len + 1, NULL, 16);
			return true;
		}
	}
	return false;
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

void qmp_regs(struct qmp *qmp, unsigned int vcpu, struct known_regs *out)
{
	json_t *command, *text;
	char what[48];

	snprintf(what, sizeof(what), "the registers of vCPU %u", vcpu);
	command = json_pack("{s:s,s:{s:s,s:I}}", "execute",
			    "human-monitor-command", "arguments",
			    "command-line", "info registers", "cpu-index",
			    (json_int_t)vcpu);
	text = execute(qmp, command, what);
	if (json_is_string(text))
		parse_regs(json_string_value(text), out);
	if (!json_is_string(text) || !(out->have & REG_CR3))
		die("QEMU at %s names no CR3 of vCPU %u: is its guest an x86 one?",
		    qmp->path, vcpu);
	json_decref(text);
}
