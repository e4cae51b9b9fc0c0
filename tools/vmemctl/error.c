// SPDX-License-Identifier: GPL-2.0-only
/*
 * Messages, and the exit status of an error
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "vmemctl.h"

/* Flush stdout first: the answer so far belongs before the error. */
static void vreport(const char *fmt, va_list ap)
{
	fflush(stdout);
	progress_end();
	fputs("vmemctl: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
}

void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vreport(fmt, ap);
	va_end(ap);
	exit(EXIT_FAILED);
}

void usage(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vreport(fmt, ap);
	va_end(ap);
	exit(EXIT_USAGE);
}

void warn(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vreport(fmt, ap);
	va_end(ap);
}

void fail(const struct libvmem_error *error)
{
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
