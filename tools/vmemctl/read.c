// SPDX-License-Identifier: GPL-2.0-only
/*
 * vmemctl read: guest memory by virtual or by guest-physical address
 */
#include "vmemctl.h"

#define BYTES_A_LINE 16
#define BYTES_A_CHUNK 0x100000 /* whole lines */

/* Hexadecimal digits of the widest guest-physical address. */
#define GPA_DIGITS 13

/**
 * struct reading - how far the reading has come
 * @vm: the guest
 * @opts: the command line
 * @regs: the address space; zero with --phys
 * @given: the address as it was given
 * @at: address of the first byte not read yet
 * @left: bytes still to read from there
 * @got: the answer to the last question
 */
struct reading {
	struct libvmem *vm;
	const struct opts *opts;
	struct vmem_regs regs;
	__u64 given;
	__u64 at;
	__u64 left;
	struct libvmem_read got;
};

static bool is_over(const struct reading *r)
{
	return !r->left || r->got.status != VMEM_MAPPED;
}

static int ask(struct reading *r, void *buf, size_t len,
	       struct libvmem_error *error)
{
	if (r->opts->phys)
		return libvmem_read_phys(r->vm, r->at, buf, len, &r->got,
					 error);
	return libvmem_read(r->vm, &r->regs, r->at, buf, len, &r->got, error);
}

static void read_chunk(struct reading *r, unsigned char *buf)
{
	size_t len = r->left < BYTES_A_CHUNK ? r->left : BYTES_A_CHUNK;
	struct libvmem_error error;

	check(ask(r, buf, len, &error), &error);
	r->at += r->got.len;
	r->left -= r->got.len;
}

static void print_line(int digits, __u64 at, const unsigned char *bytes,
		       size_t len)
{
	out("%0*llx ", digits, at);
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

static void print_hexdump(const struct reading *r, __u64 at,
			  const unsigned char *bytes, size_t len)
{
	int digits = r->opts->phys ? GPA_DIGITS : va_digits(&r->regs);

	for (size_t i = 0; i < len; i += BYTES_A_LINE)
		print_line(digits, at + i, bytes + i,
			   len - i < BYTES_A_LINE ? len - i : BYTES_A_LINE);
}

static void read_text(struct reading *r)
{
	static unsigned char buf[BYTES_A_CHUNK];

	do {
		__u64 at = r->at;

		read_chunk(r, buf);
		if (r->opts->raw)
			out_bytes(buf, r->got.len);
		else
			print_hexdump(r, at, buf, r->got.len);
		out_flush();
	} while (!is_over(r));
}

static void begin_space(const struct reading *r)
{
	json_open_list("spaces");
	json_open_space(0, libvmem_root(&r->regs));
}

static void end_space(void)
{
	json_close();
	json_close();
}

static void begin_json(const struct reading *r)
{
	bool phys = r->opts->phys;

	json_begin("read");
	if (!phys)
		begin_space(r);
	json_open_list("rows");
	json_open_row(NULL, "memory");
	json_put_hex(phys ? "gpa" : "va", r->given);
	if (!phys)
		json_put_hex_if("translated_va", r->at != r->given, r->at);
	json_open_bytes("data");
}

static void end_json(const struct reading *r, __u64 len)
{
	json_close();
	json_put_count("len", len);
	json_put_name("status", status_name(r->got.status));
	json_put_name("level", level_name(r->got.level));
	json_close();
	json_close();
	if (!r->opts->phys)
		end_space();
	/* If it came out short, an error ends it. */
	if (r->got.status == VMEM_MAPPED)
		json_end();
}

/* Read first: if that fails, stdout stays empty. */
static void read_json(struct reading *r)
{
	static unsigned char buf[BYTES_A_CHUNK];
	const struct reading start = *r;

	read_chunk(r, buf);
	begin_json(&start);
	json_put_bytes(buf, r->got.len);
	while (!is_over(r)) {
		read_chunk(r, buf);
		json_put_bytes(buf, r->got.len);
		out_flush();
	}
	end_json(r, start.left - r->left);
}

/* The tables map it, but where they do there is no memory. */
static int fail_unbacked(__u64 va, const struct vmem_translation *answer,
			 void *priv)
{
	const struct reading *r = priv;

	if (answer->out_status != VMEM_MAPPED)
		return 0;
	die("cannot read on at %#llx, %llu byte%s short: mapped to %#llx, that is no memory",
	    va, r->left, plural(r->left, "", "s"), answer->out_gpa);
}

/* Something could not be read. The bytes before it have been printed. */
static void fail_short(struct reading *r)
{
	const char *level = level_name(r->got.level);

	out_flush();
	if (!r->opts->phys && r->got.status == VMEM_UNBACKED)
		libvmem_translate(r->vm, &r->regs, &r->at, 1, fail_unbacked, r,
				  NULL);
	die("cannot read on at %#llx, %llu byte%s short: %s%s%s; %s", r->at,
	    r->left, plural(r->left, "", "s"), status_name(r->got.status),
	    level ? " at " : "", level ? level : "",
	    r->opts->phys ? "`vmemctl info' lists the guest's memory" :
			    "`vmemctl vtop' shows its path");
}

static void run(struct opts *opts, int nr_args, char **args)
{
	struct reading r = { .opts = opts };

	if (nr_args != 2)
		usage("read takes two arguments: vmemctl ... read %s LEN",
		      opts->phys ? "--phys GPA" : "VA");
	opts->raw |= opts->r;
	if (opts->raw && opts->json)
		usage("--raw and --json exclude each other");
	r.given = parse_hex(opts->phys ? "GPA" : "VA", args[0]);
	r.at = r.given;
	r.left = parse_count("LEN", args[1], 1, ~0ull);
	if (r.at + r.left - 1 < r.at)
		usage("LEN %llu reaches behind the last address: give at most %llu",
		      r.left, 0 - r.at);
	r.vm = guest_open(opts);
	if (!opts->phys) {
		guest_regs(r.vm, opts, &r.regs);
		r.at = libvmem_data_address(&r.regs, r.at);
	}

	if (opts->json)
		read_json(&r);
	else
		read_text(&r);
	if (r.got.status != VMEM_MAPPED)
		fail_short(&r);
	guest_close(r.vm, opts);
}

const struct command read_command = {
	.name = "read",
	.args = "[--phys] ADDRESS LEN",
	.summary = "guest memory by virtual or physical address",
	.help = "Read LEN bytes of guest memory at a virtual address or, with --phys, at a\n"
		"guest-physical one, and dump them.\n"
		"\vADDRESS is hexadecimal, with 0x or without; LEN is decimal, or\n"
		"hexadecimal with 0x. If not all can be read, what can be is printed and\n"
		"the exit status is 1. --phys takes no CR3 and no other register.",
	.one_root = true,
	.takes = TAKES_SPACE | TAKES_BYTES,
	.run = run,
};
