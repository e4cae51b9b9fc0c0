// SPDX-License-Identifier: GPL-2.0-only
/*
 * Numbers on the command line
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmemctl.h"

static bool has_0x(const char *s)
{
	return s[0] == '0' && (s[1] == 'x' || s[1] == 'X');
}

/* strtoull() would also take blanks, signs and a part of the text. */
static __u64 parse(const char *what, const char *s, int base, const char *want)
{
	unsigned long long value;
	char *end;

	if (!isxdigit((unsigned char)s[0]))
		usage("%s '%s' is not a number: give %s", what, s, want);
	errno = 0;
	value = strtoull(s, &end, base);
	if (end == s || *end)
		usage("%s '%s' is not a number: give %s", what, s, want);
	if (errno)
		usage("%s '%s' does not fit in 64 bits", what, s);
	return value;
}

__u64 parse_hex(const char *what, const char *s)
{
	return parse(what, s, 16, "hex, with 0x or without");
}

__u64 parse_count(const char *what, const char *s, __u64 min, __u64 max)
{
	__u64 value =
		parse(what, s, has_0x(s) ? 16 : 10, "decimal, or hex with 0x");

	if (value < min || value > max)
		usage("%s %s is out of range: give %llu to %llu", what, s, min,
		      max);
	return value;
}
