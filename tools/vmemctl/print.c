// SPDX-License-Identifier: GPL-2.0-only
/*
 * stdout, progress, and the forms of values
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmemctl.h"

/* The first write error: stdio itself remembers only that there was one. */
static int out_errno;

static void note_error(void)
{
	if (!out_errno)
		out_errno = errno ? errno : EIO;
}

/* Where this thread's output goes instead */
static __thread FILE *other;

void out_to(FILE *file)
{
	other = file;
}

static FILE *stream(void)
{
	return other ?: stdout;
}

void out(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (vfprintf(stream(), fmt, ap) < 0)
		note_error();
	va_end(ap);
}

/* The cursor is behind a line of progress. */
static bool progressing;

void progress(const char *fmt, ...)
{
	va_list ap;

	if (!isatty(STDERR_FILENO))
		return;
	progress_end();
	progressing = true;
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fflush(stderr);
}

void progress_end(void)
{
	/* Back to the beginning of the line, and clear it. */
	if (progressing)
		fputs("\r\033[K", stderr);
	progressing = false;
}

void out_bytes(const void *bytes, size_t len)
{
	if (fwrite_unlocked(bytes, 1, len, stream()) != len)
		note_error();
}

void out_char(char c)
{
	if (putc_unlocked(c, stream()) == EOF)
		note_error();
}

void out_text(const char *text)
{
	out_bytes(text, strlen(text));
}

void out_hex(__u64 value, int digits)
{
	char text[16];
	char *end = text + sizeof(text);
	char *at = end;

	for (; value || end - at < digits; value >>= 4)
		*--at = "0123456789abcdef"[value & 15];
	out_bytes(at, end - at);
}

int out_ended(void)
{
	return out_errno;
}

void out_flush(void)
{
	if (fflush(stdout) || ferror(stdout))
		note_error();
	if (out_errno == EPIPE)
		exit(EXIT_FAILED); /* no reader, no message */
	if (out_errno)
		die("cannot write to stdout: %s", strerror(out_errno));
}

const char *size_text(__u64 size, char *buf)
{
	static const char *const units[] = { "B",   "KiB", "MiB", "GiB",
					     "TiB", "PiB", "EiB" };
	double value = size;
	size_t unit = 0;

	for (; value >= 1024; unit++)
		value /= 1024;
	/* 1023.95 and up would round to 1024.0 of the unit below. */
	if (value >= 1023.95) {
		value = 1;
		unit++;
	}
	snprintf(buf, SIZE_TEXT_MAX,
		 value == (int)value ? "%.0f %s" : "%.1f %s", value,
		 units[unit]);
	return buf;
}

const char *status_name(__u32 status)
{
	static const char *const names[] = {
		[VMEM_MAPPED] = "mapped",
		[VMEM_NOT_PRESENT] = "not-present",
		[VMEM_RESERVED] = "reserved",
		[VMEM_NON_CANONICAL] = "non-canonical",
		[VMEM_UNBACKED] = "unbacked",
		[VMEM_TORN] = "torn",
		[VMEM_ANCESTOR] = "ancestor",
		[VMEM_CROSS_LEVEL] = "cross-level",
		[VMEM_UNREADABLE] = "unreadable",
		[VMEM_WITHHELD] = "withheld",
	};

	if (status >= ARRAY_SIZE(names))
		return "unknown";
	return names[status];
}

const char *level_name(__u32 level)
{
	static const char *const names[] = {
		[VMEM_LEVEL_PT] = "PT",	    [VMEM_LEVEL_PD] = "PD",
		[VMEM_LEVEL_PDPT] = "PDPT", [VMEM_LEVEL_PML4] = "PML4",
		[VMEM_LEVEL_PML5] = "PML5",
	};

	return level < ARRAY_SIZE(names) ? names[level] : NULL;
}

const char *table_name(__u32 table)
{
	static const char *const names[] = {
		[VMEM_TABLE_NONE] = "table",
		[VMEM_TABLE_I686_PT] = "PT",
		[VMEM_TABLE_AMD64_PT] = "PT",
		[VMEM_TABLE_AMD64_PD] = "PD",
		[VMEM_TABLE_AMD64_PDPT] = "PDPT",
		[VMEM_TABLE_AMD64_PML4] = "PML4",
		[VMEM_TABLE_PAE_PT] = "PT",
		[VMEM_TABLE_PAE_PD] = "PD",
	};

	return names[table < ARRAY_SIZE(names) ? table : VMEM_TABLE_NONE];
}
