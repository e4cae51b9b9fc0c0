// SPDX-License-Identifier: GPL-2.0-only
/*
 * lab-flush.c - preloaded into the lab's QEMU, which forgets all code that it has
 * translated when it gets a SIGRTMAX.
 *
 * QEMU before 8.1 reads the code that it translates without a lock. If another
 * processor changes the code at that moment, the translation of what was there
 * before may stay. Linux patches itself by way of a breakpoint (INT3): so it is met
 * with a breakpoint that is not in memory any more, takes it for one that was just
 * removed, tries again, and that goes on for ever.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>

/* QEMU exports its functions for its modules. */
static void *flush_when_told(void *told)
{
	void *(*get_cpu)(int index) = dlsym(RTLD_DEFAULT, "qemu_get_cpu");
	void (*flush)(void *cpu) = dlsym(RTLD_DEFAULT, "tb_flush");
	int number;

	while (!sigwait(told, &number))
		if (get_cpu && flush && get_cpu(0))
			flush(get_cpu(0));
	return NULL;
}

/* Before there are other threads, so that none of them gets the signal. */
__attribute__((constructor)) static void start(void)
{
	static sigset_t told;
	pthread_t thread;

	sigemptyset(&told);
	sigaddset(&told, SIGRTMAX);
	pthread_sigmask(SIG_BLOCK, &told, NULL);
	pthread_create(&thread, NULL, flush_when_told, &told);
}
