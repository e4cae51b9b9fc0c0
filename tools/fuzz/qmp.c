// SPDX-License-Identifier: GPL-2.0-only
/*
 * Target: QMP. Any bytes as all that a server says. They are refused with an error
 * that has a message, or they have vCPUs and registers. Now and then an allocation
 * fails. In any case nothing is left behind.
 */
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fuzz/fuzz.h>

#include "qmp.h"

/* Both ends of the connection; the first is the library's. */
static int ends[2];

int peer_socket(void)
{
	return ends[0];
}

int peer_connect(int fd)
{
	return fd == ends[0] ? 0 : -1;
}

static void peer_says(const u8 *data, size_t size)
{
	REQUIRE(!socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
	REQUIRE(send(ends[1], data, size, MSG_DONTWAIT) == (ssize_t)size);
	REQUIRE(!shutdown(ends[1], SHUT_WR));
}

static void check_error(int ret, const struct libvmem_error *error)
{
	const char *c;

	if (!ret)
		return;
	REQUIRE(error->code == -ret && error->message[0]);
	for (c = error->message; *c; c++)
		REQUIRE((u8)*c >= ' ' && *c != 0x7f);
	for (c = error->advice; *c; c++)
		REQUIRE((u8)*c >= ' ' && *c != 0x7f);
}

static void ask_all(struct libvmem_qmp *qmp)
{
	const struct libvmem_qmp_vcpu *vcpus;
	unsigned int i, nr = libvmem_qmp_vcpus(qmp, &vcpus);
	struct libvmem_error error;
	struct libvmem_regs regs;
	struct core_cpu cpu;
	int ret;

	REQUIRE(nr && nr <= VMEM_MAX_ROOTS);
	for (i = 0; i < nr && i < 4; i++) {
		ret = libvmem_qmp_regs(qmp, vcpus[i].index, &regs, &error);
		check_error(ret, &error);
		REQUIRE(ret || regs.have & LIBVMEM_CR3);
		ret = qmp_cpu(qmp, vcpus[i].index, &cpu, &error);
		check_error(ret, &error);
	}
	check_error(libvmem_qmp_check_stopped(qmp, &error), &error);
}

void fuzz_init(void)
{
}

void fuzz_one(const u8 *data, size_t size)
{
	struct input in = { data, data, data + size };
	u32 fails = choose(&in, 3) ? 0 : 1 + choose(&in, 8);
	struct libvmem_error error;
	struct libvmem_qmp *qmp;
	int ret;

	peer_says(data, size);
	fuzz_fail_alloc(fails);
	ret = libvmem_qmp_open(&qmp, "/qmp", choose(&in, 2) ? getpid() : 0,
			       &error);
	check_error(ret, &error);
	REQUIRE(!ret == !!qmp);
	if (qmp)
		ask_all(qmp);
	fuzz_fail_alloc(0);
	libvmem_qmp_close(qmp);
	/* The library has closed its end, or never had it. */
	REQUIRE(ret || recv(ends[1], &in, 1, MSG_DONTWAIT | MSG_PEEK) >= 0);
	if (ret && fcntl(ends[0], F_GETFD) >= 0)
		close(ends[0]);
	close(ends[1]);
}
