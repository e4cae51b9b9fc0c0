/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * monitor.h - QEMU's human monitor, asked by way of QMP
 *
 * With as little between us and QEMU as there can be: a line of JSON each way,
 * which is not parsed but searched.
 */
#ifndef VMEM_BENCH_MONITOR_H
#define VMEM_BENCH_MONITOR_H

#include <stddef.h>
#include <linux/types.h>

/**
 * struct monitor - a connection
 * @fd: the socket
 * @reply: QEMU's last line
 * @len: how long it is
 */
struct monitor {
	int fd;
	char *reply;
	size_t len;
};

/* QEMU serves one connection at a time. */
void monitor_open(struct monitor *monitor, const char *path);
void monitor_close(struct monitor *monitor);

/* Has the monitor run a command; what it says is in @monitor->reply. */
void monitor_ask(struct monitor *monitor, const char *command);

/* What gva2gpa says; ~0 where nothing is mapped. */
__u64 monitor_gva2gpa(struct monitor *monitor, __u64 va);

#endif /* VMEM_BENCH_MONITOR_H */
