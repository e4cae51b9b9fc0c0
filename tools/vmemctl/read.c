// SPDX-License-Identifier: GPL-2.0-only
/*
 * vmemctl read: guest memory by virtual address
 */
#include <ctype.h>
#include <stdlib.h>

#include "vmemctl.h"

#define BYTES_A_LINE 16
#define BYTES_A_CHUNK 0x100000 /* whole lines */

/**
 * struct reading - how far the reading has come
 * @target: the guest
 * @regs: the address space
 * @va: address of the first byte not read yet
 * @left: bytes still to read from there
 * @status: VMEM_MAPPED, or why @va cannot be read
 * @level: where the path of @va ended, if it cannot be read
 */
struct reading {
	struct target *target;
	struct vmem_regs regs;
	__u64 va;
	__u64 left;
	__u32 status;
	__u32 level;
};

static bool is_over(const struct reading *r)
{
	return !r->left || r->status != VMEM_MAPPED;
}

static __u64 read_some(struct reading *r, unsigned char *buf, __u64 len)
{
	struct vmem_read_args args = {
		.size = sizeof(args),
		.regs = r->regs,
		.va = r->va,
		.len = len,
		.buf = (uintptr_t)buf,
	};

	if (target_ask(r->target, VMEM_READ, &args))
		fail(STEP_READ, &r->regs,
		     "cannot read %llu bytes at %#llx with CR3 %#llx", len,
		     r->va, r->regs.cr3);
	if (!args.out_len && args.out_status == VMEM_MAPPED)
		die("cannot read at %#llx: the module makes no progress",
		    r->va);
	r->va += args.out_len;
	r->left -= args.out_len;
	r->status = args.out_status;
	r->level = args.out_level;
	return args.out_len;
}

/* Fill a chunk as far as possible: only the last one ends inside a line. */
static size_t read_chunk(struct reading *r, unsigned char *buf)
{
	__u64 len = r->left < BYTES_A_CHUNK ? r->left : BYTES_A_CHUNK;
	size_t done = 0;

	while (done < len && !is_over(r))
		done += read_some(r, buf + done, len - done);
	return done;
}

static void print_line(const struct vmem_regs *regs, __u64 va,
		       const unsigned char *bytes, size_t len)
{
	out("%0*llx ", regs_va_digits(regs), va);
	for (size_t i = 0; i < BYTES_A_LINE; i++) {
		if (i % 8 == 0)
			out(" ");
		if (i < len)
			out("%02x ", bytes[i]);
		else
			out("   ");
	}
	out(" |");
	for (size_t i = 0; i < len; i++)
		out("%c", bytes[i] >= ' ' && bytes[i] <= '~' ? bytes[i] : '.');
	out("|\n");
}

static void print_hexdump(const struct vmem_regs *regs, __u64 va,
			  const unsigned char *bytes, size_t len)
{
	for (size_t i = 0; i < len; i += BYTES_A_LINE)
		print_line(regs, va + i, bytes + i,
			   len - i < BYTES_A_LINE ? len - i : BYTES_A_LINE);
}

static void print_as_read(struct reading *r, bool raw)
{
	static unsigned char buf[BYTES_A_CHUNK];

	while (!is_over(r)) {
		__u64 va = r->va;
		size_t len = read_chunk(r, buf);

		if (raw)
			out_bytes(buf, len);
		else
			print_hexdump(&r->regs, va, buf, len);
		out_flush();
	}
}

/* Append bytes to a text of @len hexadecimal digits. */
static char *append_hex(char *text, size_t *len, const unsigned char *bytes,
			size_t nr)
{
	static const char digits[] = "0123456789abcdef";

	text = realloc(text, *len + 2 * nr + 1);
	if (!text)
		die("out of memory for the JSON: ask for less at a time");
	for (size_t i = 0; i < nr; i++) {
		text[(*len)++] = digits[bytes[i] >> 4];
		text[(*len)++] = digits[bytes[i] & 15];
	}
	return text;
}

static json_t *read_hex(struct reading *r)
{
	static unsigned char buf[BYTES_A_CHUNK];
	char *text = NULL;
	size_t len = 0;
	json_t *data;

	while (!is_over(r)) {
		size_t nr = read_chunk(r, buf);

		text = append_hex(text, &len, buf, nr);
	}
	data = json_stringn(text, len);
	free(text);
	return data;
}

static void print_json(struct reading *r)
{
	const __u64 va = r->va;
	json_t *data = read_hex(r);
	bool ended = r->status != VMEM_MAPPED;
	json_t *o = json_object();

	json_set(o, "root", json_hex(regs_root(&r->regs)));
	json_set(o, "va", json_hex(va));
	json_set(o, "len", json_integer(r->va - va));
	json_set(o, "data", data);
	json_set(o, "status", json_name(status_name(r->status)));
	json_set(o, "level",
		 ended ? json_name(level_name(r->level)) : json_null());
	json_print(o);
}

/* Something could not be read: what there is has been printed before. */
static void fail_short(const struct reading *r)
{
	const char *level = level_name(r->level);

	out_flush();
	die("cannot read on at %#llx, %llu bytes short: %s%s%s; `vmemctl vtop' shows its path",
	    r->va, r->left, status_name(r->status), level ? " at " : "",
	    level ? level : "");
}

static void run(const struct opts *opts, int nr_args, char **args)
{
	struct reading r = { .status = VMEM_MAPPED };

	if (nr_args != 2)
		usage("read takes two arguments: vmemctl ... read VA LEN");
	r.va = parse_hex("VA", args[0]);
	r.left = parse_count("LEN", args[1], 1, ~0ull);
	if (r.va + r.left - 1 < r.va)
		usage("LEN %llu reaches behind the last address: give at most %llu",
		      r.left, 0 - r.va);
	r.target = target_open(opts);
	regs_resolve(opts, r.target, &r.regs);

	if (opts->json)
		print_json(&r);
	else
		print_as_read(&r, opts->raw);
	if (r.status != VMEM_MAPPED)
		fail_short(&r);
	target_close(r.target);
}

const struct command read_command = {
	.name = "read",
	.args = "VA LEN",
	.summary = "guest memory by virtual address",
	.help = "Read LEN bytes of guest memory at a virtual address and dump them.\n"
		"\vVA is hexadecimal, with 0x or without; LEN is decimal, or hexadecimal\n"
		"with 0x. If not all can be read, what can be is printed and the exit\n"
		"status is 1.",
	.needs_root = true,
	.can_raw = true,
	.run = run,
};
