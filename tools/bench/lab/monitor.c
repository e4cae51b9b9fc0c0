// SPDX-License-Identifier: GPL-2.0-only
/*
 * monitor.c - QEMU's human monitor, asked by way of QMP
 */
#include <sys/socket.h>
#include <sys/un.h>

#include "../../selftest/ktap.h"
#include "monitor.h"

/* `info tlb` of a guest says some megabytes. */
#define MAX_REPLY (64u << 20)

static void send_line(struct monitor *monitor, const char *line)
{
	size_t len = strlen(line);

	errno = EIO;
	must(write(monitor->fd, line, len) == (ssize_t)len ? 0 : -1,
	     "writing to QEMU");
}

static void receive_line(struct monitor *monitor)
{
	ssize_t got;

	monitor->len = 0;
	do {
		got = must(read(monitor->fd, monitor->reply + monitor->len,
				MAX_REPLY - 1 - monitor->len),
			   "reading from QEMU");
		errno = EIO;
		must(got ? 0 : -1, "reading from QEMU");
		monitor->len += (size_t)got;
	} while (monitor->reply[monitor->len - 1] != '\n');
	monitor->reply[monitor->len] = '\0';
}

/* The guest stands still, so that QEMU has no events to tell. */
static void receive_answer(struct monitor *monitor)
{
	receive_line(monitor);
	errno = EPROTO;
	must(strncmp(monitor->reply, "{\"return\"", 9) ? -1 : 0,
	     monitor->reply);
}

void monitor_open(struct monitor *monitor, const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	errno = ENAMETOOLONG;
	must(strlen(path) < sizeof(address.sun_path) ? 0 : -1, path);
	memcpy(address.sun_path, path, strlen(path));
	monitor->reply = malloc(MAX_REPLY);
	must(monitor->reply ? 0 : -1, "malloc");
	monitor->fd = (int)must(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0),
				"socket");
	must(connect(monitor->fd, (void *)&address, sizeof(address)), path);
	receive_line(monitor);
	send_line(monitor, "{\"execute\": \"qmp_capabilities\"}\n");
	receive_answer(monitor);
}

void monitor_close(struct monitor *monitor)
{
	close(monitor->fd);
	free(monitor->reply);
}

void monitor_ask(struct monitor *monitor, const char *command)
{
	static const char format[] =
		"{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":\"%s\"}}\n";
	char line[256];

	snprintf(line, sizeof(line), format, command);
	send_line(monitor, line);
	receive_answer(monitor);
}

__u64 monitor_gva2gpa(struct monitor *monitor, __u64 va)
{
	char command[64];
	const char *gpa;

	snprintf(command, sizeof(command), "gva2gpa %#llx", va);
	monitor_ask(monitor, command);
	gpa = strstr(monitor->reply, "gpa: ");
	return gpa ? strtoull(gpa + strlen("gpa: "), NULL, 0) : ~0ULL;
}
