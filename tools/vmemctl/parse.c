// SPDX-License-Identifier: GPL-2.0-only
/*
 * Numbers on the command line
 */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmemctl.h"

/* The bits of an entry that some paging mode leaves to software. */
#define COW_BITS 0x07f0000000000e00ull

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

/* 64 bits with a ` in the middle, as WinDbg has them */
__u64 parse_hex(const char *what, const char *s)
{
	const char *low = strchr(s, '`');
	char joined[32];

	if (low && low > s && low - s < 16 && strlen(low + 1) == 8 &&
	    strspn(low + 1, "0123456789abcdefABCDEF") == 8) {
		snprintf(joined, sizeof(joined), "%.*s%s", (int)(low - s), s,
			 low + 1);
		s = joined;
	}
	return parse(what, s, 16, "hex, with 0x or without");
}

__u32 parse_hex32(const char *what, const char *s)
{
	__u64 value = parse_hex(what, s);

	if (value >> 32)
		usage("%s '%s' does not fit in 32 bits", what, s);
	return value;
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

void parse_vendor(struct libvmem_regs *given, const char *s)
{
	if (strcmp(s, "amd") && strcmp(s, "intel"))
		usage("--vendor '%s': give amd or intel", s);
	given->regs.rules &= ~VMEM_RULES_AMD;
	if (!strcmp(s, "amd"))
		given->regs.rules |= VMEM_RULES_AMD;
	given->have |= LIBVMEM_VENDOR;
}

void parse_encryption(struct libvmem_regs *given, const char *option,
		      const char *s, bool shared)
{
	__u64 bit = parse_count(option, s, 32, 51);

	if (given->have & LIBVMEM_ENCRYPTION)
		usage("%s: give one of --c-bit and --shared-bit, once", option);
	given->regs.rules |= VMEM_RULES_ENCRYPTION_BIT(bit) |
			     (shared ? VMEM_RULES_SHARED_BIT : 0);
	given->have |= LIBVMEM_ENCRYPTION;
}

void parse_cow(struct vmem_regs *regs, char *s)
{
	char *value = strchr(s, ':');

	if (!value)
		usage("--cow '%s': give MASK:VALUE, as in --cow e00:200", s);
	*value++ = '\0';
	regs->cow_mask = parse_hex("--cow MASK", s);
	regs->cow_value = parse_hex("--cow VALUE", value);
	if (regs->cow_mask & ~COW_BITS)
		usage("--cow %s: give bits of 11:9 and, in long mode, of 58:52",
		      s);
	if (!regs->cow_value || regs->cow_value & ~regs->cow_mask)
		usage("--cow %s:%s: give a VALUE that is not 0 and lies in MASK",
		      s, value);
}

void parse_range(const char *command, int nr_args, char **args,
		 struct libvmem_scope *scope)
{
	scope->va = 0;
	scope->last_va = ~0ull;
	if (nr_args != 0 && nr_args != 2)
		usage("%s takes no argument, or two: vmemctl ... %s [VA LAST_VA]",
		      command, command);
	if (nr_args) {
		scope->va = parse_hex("VA", args[0]);
		scope->last_va = parse_hex("LAST_VA", args[1]);
	}
	if (scope->va > scope->last_va)
		usage("LAST_VA %#llx is below VA %#llx: give the lower one first, and no length",
		      scope->last_va, scope->va);
}

static void add_address(struct addresses *addresses, const char *what,
			const char *s)
{
	__u64 *all = addresses->all;

	/* Room for twice as many, where their number is a power of two. */
	if (!(addresses->nr & (addresses->nr - 1)))
		all = reallocarray(all, 2 * addresses->nr + 1, sizeof(*all));
	if (!all || addresses->nr == INT_MAX / 2)
		die("out of memory for %d addresses: ask about fewer at once",
		    addresses->nr);
	all[addresses->nr++] = parse_hex(what, s);
	addresses->all = all;
}

static void add_from_stdin(struct addresses *addresses, const char *what)
{
	char word[64];

	while (scanf("%63s", word) == 1)
		add_address(addresses, what, word);
	if (ferror(stdin))
		die("cannot read addresses from standard input: %m");
}

struct addresses parse_addresses(const char *command, const char *what,
				 int nr_args, char **args)
{
	struct addresses addresses = {};

	if (!nr_args)
		usage("%s needs an address: vmemctl ... %s %s...", command,
		      command, what);
	for (int i = 0; i < nr_args; i++) {
		if (!strcmp(args[i], "-"))
			add_from_stdin(&addresses, what);
		else
			add_address(&addresses, what, args[i]);
	}
	if (!addresses.nr)
		usage("%s: there is no address on standard input", command);
	return addresses;
}

void check_whole_pages(const char *what, __u64 va, __u64 last_va)
{
	if (va & 0xfff)
		usage("%s: VA %#llx is inside a page: give a multiple of 1000",
		      what, va);
	if (~last_va & 0xfff)
		usage("%s: LAST_VA %#llx is inside a page: give an address that ends with fff",
		      what, last_va);
}

/* No gap lies between the end of @a and a @b above it. */
static bool touch(const struct vmem_span *a, const struct vmem_span *b)
{
	return !b->va || a->last_va >= b->va - 1;
}

/* The library wants them in order, and none overlapping another. */
static void insert_span(struct opts *opts, struct vmem_span span)
{
	struct vmem_span *spans = opts->excluded;
	unsigned int nr = opts->scope.nr_excluded;
	unsigned int first = 0, end;

	while (first < nr && !touch(&spans[first], &span))
		first++;
	/* Merge it with all that it touches. */
	for (end = first; end < nr && touch(&span, &spans[end]); end++) {
		if (spans[end].va < span.va)
			span.va = spans[end].va;
		if (spans[end].last_va > span.last_va)
			span.last_va = spans[end].last_va;
	}
	if (first == end && nr == VMEM_MAX_EXCLUDED)
		usage("too many ranges for --exclude: give at most %u",
		      VMEM_MAX_EXCLUDED);
	memmove(&spans[first + 1], &spans[end], (nr - end) * sizeof(*spans));
	spans[first] = span;
	opts->scope.nr_excluded = nr - (end - first) + 1;
}

/* Cuts the next part off, up to a colon. */
static char *next_part(char **rest)
{
	char *part = strsep(rest, ":");

	return part ? part : "";
}

void parse_region(struct opts *opts, char *s)
{
	struct libvmem_region *region = &opts->regions[opts->nr_regions++];
	char *gpa = next_part(&s), *len = next_part(&s);

	if (opts->nr_regions > MAX_REGIONS)
		usage("too many regions: give %u at most", MAX_REGIONS);
	if (!s)
		usage("--region %s: give GPA:LEN:OFFSET or GPA:LEN:OFFSET:FILE",
		      gpa);
	region->gpa = parse_hex("GPA of --region", gpa);
	region->len = len[0] ? parse_hex("LEN of --region", len) : 0;
	region->offset = parse_hex("OFFSET of --region", next_part(&s));
	region->path = s;
	if (len[0] && !region->len)
		usage("--region: LEN is 0: leave it out for all the rest");
	if (s && !s[0])
		usage("--region: FILE has no name: leave the colon out for the image itself");
	if (region->gpa % 4096 || region->len % 4096)
		usage("--region: give whole pages: GPA and LEN as multiples of 1000");
}

void parse_hole(struct opts *opts, const char *s)
{
	if (opts->hole)
		usage("--hole %s: a PC has one hole: give it once", s);
	opts->hole = parse_hex("--hole", s);
	if (!opts->hole || opts->hole >> 32 || opts->hole % 4096)
		usage("--hole %s: give where RAM ends below 4 GiB, as in --hole c0000000",
		      s);
}

void parse_excluded(struct opts *opts, char *s)
{
	char *last = strchr(s, '-');
	struct vmem_span span;

	if (!last)
		usage("--exclude '%s' is not a range: give VA-LAST_VA", s);
	*last++ = '\0';
	span.va = parse_hex("VA of --exclude", s);
	span.last_va = parse_hex("LAST_VA of --exclude", last);
	if (span.va > span.last_va)
		usage("--exclude: LAST_VA %#llx is below VA %#llx: give the lower one first",
		      span.last_va, span.va);
	insert_span(opts, span);
}
