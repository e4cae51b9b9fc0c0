// SPDX-License-Identifier: GPL-2.0-only
/*
 * vmemctl: the command line and the table of commands
 */
#include <argp.h>
#include <assert.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmemctl.h"

static const struct command *const commands[] = {
	&info_command,	  &vcpus_command, &roots_command,    &vtop_command,
	&access_command,  &maps_command,  &spaces_command,   &aliases_command,
	&who_command,	  &read_command,  &snapshot_command, &graph_command,
	&debugfs_command, &mount_command, &batch_command,
};

/* Options that have a long name only. */
enum {
	OPT_CR0 = 0x100,
	OPT_CR3,
	OPT_CR4,
	OPT_EFER,
	OPT_MAXPHYADDR,
	OPT_ARCH,
	OPT_COW,
	OPT_QMP,
	OPT_VCPU,
	OPT_VM_FD,
	OPT_EXCLUDE,
	OPT_IMAGE,
	OPT_REGION,
	OPT_HOLE,
	OPT_BASE,
	OPT_STRICT,
	OPT_VIRTUAL,
	OPT_WATCH,
	OPT_ALL,
	OPT_FETCH,
	OPT_PHYS,
	OPT_VENDOR,
	OPT_NO_1G,
	OPT_C_BIT,
	OPT_SHARED_BIT,
	OPT_PAT,
	OPT_ATTRIBUTES,
	OPT_RAW,
	OPT_USER,
	OPT_SUPERVISOR,
	OPT_RFLAGS,
	OPT_PKRU,
	OPT_PKRS,
};

static const struct argp_option options[] = {
	{ .doc = "Which guest:", .group = 1 },
	{ "pid", 'p', "PID", 0, "Process that holds the KVM VM", 1 },
	{ "vm-fd", OPT_VM_FD, "FD", 0,
	  "Its descriptor of the VM, if it holds more than one VM", 1 },
	{ "image", OPT_IMAGE, "FILE", 0,
	  "Ask no process but a file: an ELF core, a kdump, a snapshot, LiME or raw memory",
	  1 },
	{ "region", OPT_REGION, "GPA:LEN:OFFSET[:FILE]", 0,
	  "LEN bytes at OFFSET of the image, or of FILE, are at GPA; can be repeated",
	  1 },
	{ "hole", OPT_HOLE, "GPA", 0,
	  "The image is a PC's RAM: up to GPA, and the rest from 4 GiB on", 1 },

	{ .doc = "Which address spaces (registers in hex, 0x is optional):",
	  .group = 2 },
	{ "qmp", OPT_QMP, "SOCKET", 0,
	  "Ask QEMU for the registers, over its QMP socket; default: ask KVM",
	  2 },
	{ "vcpu", OPT_VCPU, "N", 0, "Of this vCPU (default: 0)", 2 },
	{ "cr3", OPT_CR3, "X[,X...]", 0,
	  "CR3: where the tables are; again, or with commas, for more spaces",
	  2 },
	{ "all", OPT_ALL, NULL, 0,
	  "The spaces of all processes, found in the guest's memory: see vmemctl roots",
	  2 },
	{ "fetch", OPT_FETCH, NULL, 0,
	  "roots, --all: search memory that is swapped out or in a file, too: fetch it",
	  2 },
	{ "cr0", OPT_CR0, "X", 0, "CR0", 2 },
	{ "cr4", OPT_CR4, "X", 0, "CR4", 2 },
	{ "efer", OPT_EFER, "X", 0, "The EFER MSR", 2 },
	{ "maxphyaddr", OPT_MAXPHYADDR, "BITS", 0,
	  "Width of a guest-physical address, 32 to 52", 2 },
	{ "arch", OPT_ARCH, "ARCH", 0,
	  "Take all but CR3 as amd64, amd64-la57, i686 or i686-pae has them; default: ask the vCPU",
	  2 },

	{ "vendor", OPT_VENDOR, "VENDOR", 0,
	  "intel or amd, which reserves bit 8 of PML4Es; default: ask the vCPU",
	  2 },
	{ "no-1g", OPT_NO_1G, NULL, 0,
	  "There are no pages of 1 GiB: PS is reserved in PDPTEs", 2 },
	{ "c-bit", OPT_C_BIT, "BIT", 0,
	  "This bit of an entry, 32 to 51, is no address: it says that the page is encrypted (SEV)",
	  2 },
	{ "shared-bit", OPT_SHARED_BIT, "BIT", 0,
	  "Likewise, that it is not (TDX)", 2 },
	{ "pat", OPT_PAT, "X", 0,
	  "vtop, maps --attributes: the PAT register, for memory types; default: ask the vCPU",
	  2 },

	{ "cow", OPT_COW, "MASK:VALUE", 0,
	  "Bits of an entry by which the guest marks pages copy-on-write", 2 },

	{ "exclude", OPT_EXCLUDE, "VA-LAST_VA", 0,
	  "spaces, aliases, who, debugfs, snapshot, graph: leave these addresses out; can be repeated",
	  2 },

	{ .doc = "Output:", .group = 3 },
	{ "json", 'j', NULL, 0, "Print JSON", 3 },
	{ "attributes", OPT_ATTRIBUTES, NULL, 0,
	  "maps: show Accessed, Dirty, Global, memory type, key, encryption",
	  3 },
	{ "raw", OPT_RAW, NULL, 0, "read: print the bytes as they are, as -r",
	  3 },
	{ "phys", OPT_PHYS, NULL, 0,
	  "read: the address is a guest-physical one", 3 },
	{ "output", 'o', "FILE", 0, "snapshot, graph: the file to write", 3 },
	{ "base", OPT_BASE, "GPA", 0,
	  "snapshot: where its memory begins (default: 100000)", 3 },
	{ "strict", OPT_STRICT, NULL, 0,
	  "snapshot: fail if a page or a table is unreadable", 3 },

	{ "virtual", OPT_VIRTUAL, NULL, 0,
	  "snapshot: one space by its virtual addresses, for a debugger", 3 },
	{ "watch", OPT_WATCH, "SECONDS", 0,
	  "vcpus: sample for so long, and show the roots that were seen", 3 },

	{ .doc = "Accesses (default: all), and what they are judged by:",
	  .group = 4 },
	{ NULL, 'r', NULL, 0, "Reads (with read: --raw)", 4 },
	{ NULL, 'w', NULL, 0, "Writes", 4 },
	{ NULL, 'x', NULL, 0, "Fetches of instructions", 4 },
	{ "user", OPT_USER, NULL, 0, "By user mode", 4 },
	{ "supervisor", OPT_SUPERVISOR, NULL, 0, "By supervisor mode", 4 },
	{ "rflags", OPT_RFLAGS, "X", 0, "RFLAGS: AC lifts SMAP", 4 },
	{ "pkru", OPT_PKRU, "X", 0, "PKRU: rights of user pages' keys", 4 },
	{ "pkrs", OPT_PKRS, "X", 0, "PKRS: rights of supervisor pages' keys",
	  4 },

	{ "help", 'h', NULL, 0, "Show this help, or that of a command", 5 },
	{ "version", 'V', NULL, 0, "Show the version", 5 },
	{},
};

static void set_reg(struct libvmem_source *source, unsigned int reg,
		    __u64 *member, const char *name, const char *arg)
{
	*member = parse_hex(name, arg);
	source->given.have |= reg;
}

static void add_cr3s(struct opts *opts, char *list)
{
	struct libvmem_source *source = &opts->source;
	const char *arg;

	/* In a line of a batch they replace those of the batch. */
	if (!opts->has_cr3s)
		source->nr_cr3s = 0;
	opts->has_cr3s = true;
	while ((arg = strsep(&list, ","))) {
		if (source->nr_cr3s == VMEM_MAX_ROOTS)
			usage("too many roots: give at most %u with --cr3",
			      VMEM_MAX_ROOTS);
		set_reg(source, LIBVMEM_CR3, &opts->cr3s[source->nr_cr3s++],
			"--cr3", arg);
	}
	source->given.regs.cr3 = opts->cr3s[0];
}

static error_t parse_rules(int key, char *arg, struct libvmem_regs *given)
{
	switch (key) {
	case OPT_VENDOR:
		parse_vendor(given, arg);
		return 0;
	case OPT_NO_1G:
		given->regs.rules |= VMEM_RULES_NO_1G;
		given->have |= LIBVMEM_NO_1G;
		return 0;
	case OPT_C_BIT:
		parse_encryption(given, "--c-bit", arg, false);
		return 0;
	case OPT_SHARED_BIT:
		parse_encryption(given, "--shared-bit", arg, true);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static error_t parse_root(int key, char *arg, struct opts *opts)
{
	struct libvmem_source *source = &opts->source;
	struct vmem_regs *regs = &source->given.regs;

	switch (key) {
	case OPT_CR3:
		add_cr3s(opts, arg);
		return 0;
	case OPT_CR0:
		set_reg(source, LIBVMEM_CR0, &regs->cr0, "--cr0", arg);
		return 0;
	case OPT_CR4:
		set_reg(source, LIBVMEM_CR4, &regs->cr4, "--cr4", arg);
		return 0;
	case OPT_EFER:
		set_reg(source, LIBVMEM_EFER, &regs->efer, "--efer", arg);
		return 0;
	case OPT_MAXPHYADDR:
		regs->maxphyaddr = parse_count("--maxphyaddr", arg, 32, 52);
		source->given.have |= LIBVMEM_MAXPHYADDR;
		return 0;
	case OPT_ARCH:
		source->arch = libvmem_arch_regs(arg);
		if (!source->arch)
			usage("--arch '%s': give amd64, amd64-la57, i686 or i686-pae",
			      arg);
		return 0;
	case OPT_COW:
		parse_cow(regs, arg);
		return 0;
	case OPT_QMP:
		opts->qmp = arg;
		return 0;
	case OPT_EXCLUDE:
		parse_excluded(opts, arg);
		return 0;
	case OPT_VCPU:
		source->vcpu = parse_count("--vcpu", arg, 0, INT_MAX);
		return 0;
	case OPT_PAT:
		opts->pat = parse_hex("--pat", arg);
		opts->has_pat = true;
		return 0;
	default:
		return parse_rules(key, arg, &source->given);
	}
}

static error_t parse_access(int key, char *arg, struct opts *opts)
{
	switch (key) {
	case 'w':
		opts->kinds |= 1u << LIBVMEM_ACCESS_WRITE;
		return 0;
	case 'x':
		opts->kinds |= 1u << LIBVMEM_ACCESS_FETCH;
		return 0;
	case OPT_USER:
		opts->users |= 1u << true;
		return 0;
	case OPT_SUPERVISOR:
		opts->users |= 1u << false;
		return 0;
	case OPT_RFLAGS:
		opts->access.rflags = parse_hex("--rflags", arg);
		opts->have_access |= LIBVMEM_RFLAGS;
		return 0;
	case OPT_PKRU:
		opts->access.pkru = parse_hex32("--pkru", arg);
		opts->have_access |= LIBVMEM_PKRU;
		return 0;
	case OPT_PKRS:
		opts->access.pkrs = parse_hex32("--pkrs", arg);
		opts->have_access |= LIBVMEM_PKRS;
		return 0;
	default:
		return parse_root(key, arg, opts);
	}
}

/* Options that a line of a batch must not have */
static void check_line(int key)
{
	switch (key) {
	case 'p':
	case OPT_VM_FD:
	case OPT_IMAGE:
	case OPT_REGION:
	case OPT_HOLE:
	case OPT_QMP:
		usage("which guest is not for a line: give it before `batch'");
	case 'h':
	case 'V':
		usage("help and version are not for a line: ask without a batch");
	}
}

/* The sets of options that an option is in */
static unsigned int sets_of(int key)
{
	switch (key) {
	case 'p':
	case 'h':
	case 'V':
	case OPT_VM_FD:
	case OPT_IMAGE:
	case OPT_REGION:
	case OPT_HOLE:
		return ~0u;
	case OPT_QMP:
		return TAKES_QMP;
	case OPT_PAT:
		return TAKES_PAT;
	case OPT_ALL:
		return TAKES_ALL;
	case OPT_FETCH:
		return TAKES_ALL | TAKES_FETCH;
	case OPT_EXCLUDE:
		return TAKES_EXCLUDE;
	case 'j':
		return TAKES_JSON;
	case OPT_ATTRIBUTES:
		return TAKES_ATTRIBUTES;
	case 'r':
		return TAKES_BYTES | TAKES_ACCESS;
	case OPT_RAW:
	case OPT_PHYS:
		return TAKES_BYTES;
	case 'w':
	case 'x':
	case OPT_USER:
	case OPT_SUPERVISOR:
	case OPT_RFLAGS:
	case OPT_PKRU:
	case OPT_PKRS:
		return TAKES_ACCESS;
	case 'o':
		return TAKES_OUTPUT;
	case OPT_BASE:
	case OPT_STRICT:
	case OPT_VIRTUAL:
		return TAKES_SNAPSHOT;
	case OPT_WATCH:
		return TAKES_WATCH;
	default:
		return TAKES_ROOT;
	}
}

static void note_given(struct opts *opts, int key)
{
	static_assert(ARRAY_SIZE(options) <= 64, "a bit for each");
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		if (key && options[i].key == key)
			opts->given |= 1ull << i;
}

/* An option that would have no effect is a mistake. @where: where it has none */
static void check_given(const struct opts *opts, const struct command *command,
			unsigned int takes, const char *where)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		const struct argp_option *option = &options[i];
		char letter[] = { option->key, '\0' };

		if (opts->given & 1ull << i && !(sets_of(option->key) & takes))
			usage("%s: -%s%s has no effect %s: `vmemctl help %s' lists what has",
			      command->name, option->name ? "-" : "",
			      option->name ?: letter, where, command->name);
	}
}

/* Only what the command line itself has: a batch's options are for any command. */
static void check_options(const struct opts *opts,
			  const struct command *command)
{
	check_given(opts, command, command->takes, "here");
	if (command == &read_command && opts->phys)
		check_given(opts, command, ~(TAKES_ROOT | TAKES_QMP),
			    "with --phys");
	if (command == &maps_command && !opts->attributes)
		check_given(opts, command, ~TAKES_PAT, "without --attributes");
	/* who looks for all roots unless some are given. */
	if (!opts->all && (!(command->takes & TAKES_FETCH) ||
			   (command == &who_command && opts->source.nr_cr3s)))
		check_given(opts, command, ~(TAKES_ALL | TAKES_FETCH),
			    "without --all");
}

static error_t parse_opt(int key, char *arg, struct argp_state *state)
{
	struct opts *opts = state->input;

	if (opts->batch)
		check_line(key);
	note_given(opts, key);
	switch (key) {
	case 'p':
		opts->pid = parse_count("--pid", arg, 1, INT_MAX);
		return 0;
	case OPT_IMAGE:
		opts->image = arg;
		return 0;
	case OPT_REGION:
		parse_region(opts, arg);
		return 0;
	case OPT_HOLE:
		parse_hole(opts, arg);
		return 0;
	case OPT_VM_FD:
		opts->vm_fd = parse_count("--vm-fd", arg, 0, INT_MAX);
		return 0;
	case 'j':
		opts->json = true;
		return 0;
	case OPT_ATTRIBUTES:
		opts->attributes = true;
		return 0;
	case 'r':
		opts->r = true;
		return 0;
	case OPT_RAW:
		opts->raw = true;
		return 0;
	case OPT_PHYS:
		opts->phys = true;
		return 0;
	case 'o':
		opts->output = arg;
		return 0;
	case OPT_BASE:
		opts->base = parse_hex("--base", arg);
		opts->has_base = true;
		return 0;
	case OPT_STRICT:
		opts->strict = true;
		return 0;
	case OPT_VIRTUAL:
		opts->by_va = true;
		return 0;
	case OPT_ALL:
		opts->all = true;
		return 0;
	case OPT_FETCH:
		opts->fetch = true;
		return 0;
	case OPT_WATCH:
		opts->watch = parse_count("--watch", arg, 1, 86400);
		return 0;
	case 'h':
		opts->help = true;
		return 0;
	case 'V':
		opts->version = true;
		return 0;
	case ARGP_KEY_INIT:
		/* getopt says what is wrong: argp would only add a hint. */
		state->err_stream = NULL;
		return 0;
	case ARGP_KEY_ARGS:
		opts->args = state->argv + state->next;
		opts->nr_args = state->argc - state->next;
		return 0;
	default:
		return parse_access(key, arg, opts);
	}
}

/* Behind the options, the overall help lists the commands. */
static char *list_commands(int key, const char *text, void *input)
{
	char *list;
	size_t len;
	FILE *f;

	(void)input;
	if (key != ARGP_KEY_HELP_POST_DOC)
		return (char *)text;
	f = open_memstream(&list, &len);
	if (!f)
		return NULL;
	fputs("Commands:\n", f);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(f, "  %-8s %-20s %s\n", commands[i]->name,
			commands[i]->args, commands[i]->summary);
	fputs("\n`vmemctl COMMAND --help' tells more, vmemctl(8) all.", f);
	return fclose(f) ? NULL : list;
}

static const struct argp overall_argp = {
	.options = options,
	.parser = parse_opt,
	.args_doc = "COMMAND [ARGS]",
	.doc = "Ask about the page tables of a running KVM guest, or of an image.\v",
	.help_filter = list_commands,
};

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (!strcmp(commands[i]->name, name))
			return commands[i];
	}
	if (strpbrk(name, "./"))
		usage("no command '%s': give a file as --image %s", name, name);
	usage("no command '%s'; `vmemctl --help' lists them", name);
}

/* A heading stays if there is an option below it. */
static bool is_shown(const struct argp_option *option, unsigned int takes)
{
	if (option->key)
		return sets_of(option->key) & takes;
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		if (options[i].key && options[i].group == option->group &&
		    sets_of(options[i].key) & takes)
			return true;
	return false;
}

static void show_help(const struct command *command)
{
	struct argp_option shown[ARRAY_SIZE(options)] = {};
	struct argp argp = overall_argp;
	char name[32] = "vmemctl";
	size_t nr = 0;

	if (command) {
		for (size_t i = 0; i < ARRAY_SIZE(options); i++)
			if (is_shown(&options[i], command->takes))
				shown[nr++] = options[i];
		argp.options = shown;
		snprintf(name, sizeof(name), "vmemctl %s", command->name);
		argp.args_doc = command->args[0] ? command->args : NULL;
		argp.doc = command->help;
		argp.help_filter = NULL;
	}
	argp_help(&argp, stdout, ARGP_HELP_STD_HELP, name);
}

static void check_target(const struct opts *opts)
{
	if (opts->image && (opts->pid || opts->vm_fd >= 0 || opts->qmp))
		usage("--image excludes --pid, --vm-fd and --qmp: its guest does not run");
	if (opts->nr_regions && opts->hole)
		usage("--region and --hole exclude each other");
	if ((opts->nr_regions || opts->hole) && !opts->image)
		usage("--region and --hole say where memory is in a file: give --image FILE");
	if (!opts->pid && !opts->image)
		usage("which guest? give --pid PID of the process that runs it, or --image FILE");
}

static void run(const struct command *command, struct opts *opts)
{
	if (opts->batch && command->alone)
		usage("%s is not for a line of a batch: ask it alone",
		      command->name);
	check_options(opts, command);
	if (opts->source.nr_cr3s > 1 && command->one_root)
		usage("%s takes one address space: give one --cr3",
		      command->name);
	check_target(opts);
	command->run(opts, opts->nr_args - 1, opts->args + 1);
}

int command_line(int argc, char **argv, struct opts *opts)
{
	const struct command *command = NULL;

	if (argp_parse(&overall_argp, argc, argv, ARGP_NO_HELP, NULL, opts)) {
		json_fail("the options make no sense", NULL);
		out_flush();
		return EXIT_USAGE;
	}

	/* `vmemctl help' is --help, and `vmemctl help COMMAND' that of the command. */
	if (opts->nr_args && !opts->batch && !strcmp(opts->args[0], "help")) {
		opts->help = true;
		opts->args++;
		opts->nr_args--;
	}
	if (opts->nr_args)
		command = find_command(opts->args[0]);
	if (opts->help)
		show_help(command);
	else if (opts->version)
		out("vmemctl %s, vmem API %d\n", libvmem_version(),
		    VMEM_API_VERSION);
	else if (command)
		run(command, opts);
	else
		usage("no command given; `vmemctl --help' lists them");

	out_flush();
	return 0;
}

/*
 * If we were started with stdout closed, the device would get its number, and we
 * would print into the device. Reserve the number, so that printing fails.
 */
static void reserve_std_fds(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDONLY);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	close(fd);
}

int main(int argc, char **argv)
{
	static struct opts opts = {
		.vm_fd = -1,
		.source = { .cr3s = opts.cr3s },
		.scope = { .excluded = opts.excluded },
	};

	reserve_std_fds();
	/* If the reader leaves, writing fails: see out_flush(). */
	signal(SIGPIPE, SIG_IGN);

	argv[0] = "vmemctl"; /* getopt begins its messages with it */
	return command_line(argc, argv, &opts);
}
