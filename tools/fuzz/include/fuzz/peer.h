/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The system of what speaks QMP: its peer is the fuzzer, and has said all that it
 * says before it is asked. Memory is short where the fuzzer says so.
 */
#ifndef _FUZZ_PEER_H
#define _FUZZ_PEER_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

int peer_socket(void);
int peer_connect(int fd);

bool fuzz_no_memory(void);

#define socket(family, type, protocol) peer_socket()
#define connect(fd, addr, size) peer_connect(fd)
#define calloc(nr, size) (fuzz_no_memory() ? NULL : calloc(nr, size))
#define reallocarray(old, nr, size) \
	(fuzz_no_memory() ? NULL : reallocarray(old, nr, size))
#define strdup(text) (fuzz_no_memory() ? NULL : strdup(text))

#endif
