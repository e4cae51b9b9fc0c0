/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ktap.h - run a table of test cases and report them as KTAP
 *
 * A failed check is reported and remembered, and the case goes on, so that one
 * run shows all that is wrong. must() ends the program: it is for the failures
 * of the machine that the tests run on.
 */
#ifndef VMEM_SELFTEST_KTAP_H
#define VMEM_SELFTEST_KTAP_H

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

struct ktap_case {
	const char *name;
	void (*run)(void);
};

/* The first failed check of the running case; empty while there is none. */
extern char ktap_reason[256];

/* No case takes near as long, even where the whole machine is emulated. */
#define KTAP_SECONDS_PER_CASE 300

/* Set where the running case says that this machine cannot do it. */
extern bool ktap_skipped;

/* The newest one. */
extern char ktap_text[sizeof(ktap_reason)];

static inline void ktap_failed(const char *text)
{
	printf("# %s\n", text);
	if (!ktap_reason[0])
		snprintf(ktap_reason, sizeof(ktap_reason), "%s", text);
}

/* A macro, so that the compiler checks the format. */
#define ktap_fail(...)                                               \
	do {                                                         \
		snprintf(ktap_text, sizeof(ktap_text), __VA_ARGS__); \
		ktap_failed(ktap_text);                              \
	} while (0)

static inline bool ktap_check(bool ok, const char *file, int line,
			      const char *text)
{
	if (!ok)
		ktap_fail("%s:%d: not so: %s", file, line, text);
	return ok;
}

static inline bool ktap_check_eq(const char *file, int line, const char *what,
				 const char *text, long long got,
				 long long want)
{
	if (got != want)
		ktap_fail("%s:%d: %s%s is %lld (%#llx), not %lld (%#llx)", file,
			  line, what, text, got, got, want, want);
	return got == want;
}

/*
 * Each says whether it was so. Where the rest of a case cannot do without it:
 * if (!CHECK(...)) return;
 */
#define CHECK(cond) ktap_check(cond, __FILE__, __LINE__, #cond)

#define CHECK_EQ(got, want)                                           \
	ktap_check_eq(__FILE__, __LINE__, "", #got, (long long)(got), \
		      (long long)(want))

/* @what says which one of several it was, where a check stands in a loop. */
#define CHECK_EQ_AT(what, got, want)                                         \
	ktap_check_eq(__FILE__, __LINE__, what, ": " #got, (long long)(got), \
		      (long long)(want))

/* Hands back what a system call returned, or gives up on the whole program. */
static inline long must(long ret, const char *what)
{
	if (ret < 0) {
		printf("Bail out! %s: %s\n", what, strerror(errno));
		exit(1);
	}
	return ret;
}

/* Runs @fn in a child; its checks count as the parent's. Returns its pid. */
static inline pid_t ktap_fork(void (*fn)(void *arg), void *arg)
{
	pid_t pid = (pid_t)must(fork(), "fork");

	if (!pid) {
		ktap_reason[0] = '\0';
		alarm(KTAP_SECONDS_PER_CASE);
		fn(arg);
		_exit(!!ktap_reason[0]);
	}
	return pid;
}

static inline void ktap_wait(pid_t pid)
{
	int child_status = -1;

	must(waitpid(pid, &child_status, 0), "waitpid");
	CHECK_EQ(child_status, 0);
}

/* With VMEM_CASE only the cases with this in their names are run. */
static inline int ktap_main(const struct ktap_case *cases, size_t nr)
{
	const char *only = getenv("VMEM_CASE");
	int nr_failed = 0;
	size_t i;

	/* Whole lines, or a child would print the parent's a second time. */
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("KTAP version 1\n1..%zu\n", nr);
	for (i = 0; i < nr; i++) {
		ktap_reason[0] = '\0';
		ktap_skipped = only && !strstr(cases[i].name, only);
		alarm(KTAP_SECONDS_PER_CASE);
		if (!ktap_skipped)
			cases[i].run();
		if (ktap_reason[0])
			printf("not ok %zu %s # %s\n", i + 1, cases[i].name,
			       ktap_reason);
		else
			printf(ktap_skipped ? "ok %zu %s # SKIP\n" :
					      "ok %zu %s\n",
			       i + 1, cases[i].name);
		nr_failed += !!ktap_reason[0];
	}
	printf("# failed: %d of %zu\n", nr_failed, nr);
	return nr_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif /* VMEM_SELFTEST_KTAP_H */
