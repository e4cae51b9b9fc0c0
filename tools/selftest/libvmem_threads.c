// SPDX-License-Identifier: GPL-2.0-only
/*
 * libvmem_threads.c - several threads, each with a guest of its own: libvmem.py
 * runs it under the thread sanitizer
 *
 * usage: libvmem_threads IMAGE VA GPA
 */
#include <libvmem.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define NR_THREADS 4
#define TIMES 50
#define ADDRESSES 40

static const char *path;
static __u64 va, gpa;

static int check(__u64 asked, const struct vmem_translation *answer, void *priv)
{
	(void)priv;
	return asked != va || answer->out_gpa != gpa;
}

static int take_record(const struct vmem_record *record, void *priv)
{
	unsigned int *nr = priv;

	*nr += record->type == VMEM_SPACE;
	return 0;
}

/* Each failure has a number of its own. */
static int ask_once(struct libvmem *vm, struct libvmem_roots *roots)
{
	const struct libvmem_source source = {};
	const struct libvmem_scope scope = { .last_va = ~0ull };
	struct libvmem_error error;
	unsigned int nr = 0;
	__u64 vas[ADDRESSES];

	for (int i = 0; i < ADDRESSES; i++)
		vas[i] = va;
	if (libvmem_find_roots(vm, &source, true, roots, &error))
		return 1;
	if (libvmem_translate(vm, &roots->regs, vas, ADDRESSES, check, NULL,
			      &error))
		return 2;
	if (libvmem_walk_spaces(vm, roots, &scope, take_record, &nr, NULL,
				&error))
		return 3;
	return nr == roots->nr ? 0 : 4;
}

static void *ask_often(void *failed)
{
	struct libvmem_roots *roots = malloc(sizeof(*roots));

	for (int i = 0; roots && i < TIMES && !*(int *)failed; i++) {
		struct libvmem *vm;

		if (libvmem_open_image(&vm, path, NULL))
			*(int *)failed = 5;
		else
			*(int *)failed = ask_once(vm, roots);
		libvmem_close(vm);
	}
	free(roots);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[NR_THREADS];
	int failed[NR_THREADS] = {};
	int status = 0;

	if (argc != 4)
		return 2;
	path = argv[1];
	va = strtoull(argv[2], NULL, 16);
	gpa = strtoull(argv[3], NULL, 16);
	for (int i = 0; i < NR_THREADS; i++)
		if (pthread_create(&threads[i], NULL, ask_often, &failed[i]))
			return 2;
	for (int i = 0; i < NR_THREADS; i++) {
		pthread_join(threads[i], NULL);
		status |= failed[i] != 0;
		printf("thread %d: %d\n", i, failed[i]);
	}
	return status;
}
