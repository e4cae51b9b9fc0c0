// SPDX-License-Identifier: GPL-2.0-only
/*
 * Messages, and the exit status of an error
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "vmemctl.h"

/* Enough for a path in it */
#define TEXT_MAX 8192

/* Of a batch; 0 outside of one */
static unsigned long line;

void report_line(unsigned long nr)
{
	line = nr;
}

/* Flush stdout first: the answer so far belongs before the error. */
static void report(const char *text)
{
	fflush(stdout);
	progress_end();
	fputs("vmemctl: ", stderr);
	if (line)
		fprintf(stderr, "line %lu: ", line);
	fprintf(stderr, "%s\n", text);
}

void die(const char *fmt, ...)
{
	char text[TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	json_fail(text, NULL);
	report(text);
	exit(EXIT_FAILED);
}

void usage(const char *fmt, ...)
{
	char text[TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	json_fail(text, NULL);
	report(text);
	exit(EXIT_USAGE);
}

void warn(const char *fmt, ...)
{
	char text[TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	report(text);
}

void fail(const struct libvmem_error *error)
{
	json_fail(error->message, error->advice);
	if (error->advice[0])
		die("%s: %s", error->message, error->advice);
	die("%s", error->message);
}

void check(int ret, const struct libvmem_error *error)
{
	if (ret < 0)
		fail(error);
	if (ret > 0)
		out_flush();
}
