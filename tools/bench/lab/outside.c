// SPDX-License-Identifier: GPL-2.0-only
/*
 * outside.c - what vmem costs a process that only looks in
 *
 * Against what there is to look in with: `walk` times vmem beside a walk by
 * process_vm_readv(2), the others beside QEMU's monitor. The VMM is any process
 * with a VM; the guest in it has to stand still.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <sys/uio.h>

#include "../../selftest/ktap.h"
#include "../../selftest/session.h"
#include "addresses.h"
#include "monitor.h"
#include "options.h"
#include "series.h"

#define BATCH_PASSES 8
#define MAX_SLOTS 64

/**
 * struct bench - all that the ways to be timed need
 * @pid: the VMM
 * @slots: the guest's memory, and where the VMM has it mapped
 * @nr_slots: how many they are
 * @addresses: what is asked
 * @monitor: QEMU's, if it is QEMU
 * @command: arguments of a process to be timed
 */
struct bench {
	pid_t pid;
	struct vmem_memslot slots[MAX_SLOTS];
	__u32 nr_slots;
	struct addresses addresses;
	struct monitor monitor;
	char *const *command;
};

static double run_vmem(void *arg)
{
	struct bench *b = arg;

	return vmem_translate_all(&b->addresses, BATCH_PASSES);
}

/* ---- A walk by process_vm_readv ---- */

#define ADDRESS_BITS 0x000ffffffffff000ULL
#define PRESENT 0x1
#define LARGE 0x80

/* PML4, PDPT, PD, PT */
static const int shifts[] = { 39, 30, 21, 12 };

#define NR_LEVELS ((int)ARRAY_SIZE(shifts))

static void *slot_ptr(const struct bench *b, __u64 gpa)
{
	const struct vmem_memslot *slot = b->slots;
	__u32 i;

	for (i = 0; i < b->nr_slots; i++, slot++)
		if (gpa >= slot->gpa && gpa - slot->gpa < slot->len)
			return (void *)(uintptr_t)(slot->hva + gpa - slot->gpa);
	return NULL;
}

/* The entry's place in the VMM's memory. */
static void *entry_ptr(const struct bench *b, __u64 table, __u64 va, int level)
{
	return slot_ptr(b, table + 8 * (va >> shifts[level] & 511));
}

static bool is_page(__u64 entry, int level)
{
	return level == NR_LEVELS - 1 || (level && (entry & LARGE));
}

static __u64 page_gpa(__u64 entry, __u64 va, int level)
{
	__u64 mask = (1ULL << shifts[level]) - 1;

	return (entry & ADDRESS_BITS & ~mask) | (va & mask);
}

static __u64 read_entry(const struct bench *b, void *from)
{
	__u64 entry = 0;
	struct iovec local = { &entry, sizeof(entry) };
	struct iovec remote = { from, sizeof(entry) };

	must(process_vm_readv(b->pid, &local, 1, &remote, 1, 0),
	     "process_vm_readv");
	return entry;
}

/* ~0 where nothing is mapped. */
static __u64 walk(const struct bench *b, __u64 va)
{
	__u64 entry = b->addresses.regs.cr3;
	int level;

	for (level = 0; level < NR_LEVELS; level++) {
		entry = read_entry(b, entry_ptr(b, entry & ADDRESS_BITS, va,
						level));
		if (!(entry & PRESENT))
			break;
		if (is_page(entry, level))
			return page_gpa(entry, va, level);
	}
	return ~0ULL;
}

static double run_walk(void *arg)
{
	const struct bench *b = arg;
	double start = now();
	int i;

	for (i = 0; i < NR_ADDRESSES; i++)
		walk(b, b->addresses.vas[i]);
	return (now() - start) / NR_ADDRESSES;
}

/* ---- The same with as many reads in a call as it takes ---- */

#define READS_PER_CALL 1024

/**
 * struct pending - addresses whose next entries are read together
 * @index: their indexes
 * @local: where the entries go
 * @remote: where they are
 * @nr: how many
 */
struct pending {
	int index[READS_PER_CALL];
	struct iovec local[READS_PER_CALL];
	struct iovec remote[READS_PER_CALL];
	int nr;
};

static void pending_read(const struct bench *b, struct pending *p)
{
	const size_t len = (size_t)p->nr * sizeof(__u64);

	errno = EFAULT;
	must(!p->nr || process_vm_readv(b->pid, p->local, (unsigned long)p->nr,
					p->remote, (unsigned long)p->nr,
					0) == (ssize_t)len ?
		     0 :
		     -1,
	     "process_vm_readv");
}

/* One level down for each of @nr addresses from @first on, if it is not done. */
static void read_level(const struct bench *b, int first, int nr, int level,
		       __u64 *entries, __u64 *gpas)
{
	struct pending p = { .nr = 0 };
	int i;

	for (i = first; i < first + nr; i++) {
		if (gpas[i] != ~0ULL)
			continue;
		p.local[p.nr] = (struct iovec){ &entries[i], 8 };
		p.remote[p.nr] = (struct iovec){
			entry_ptr(b, entries[i] & ADDRESS_BITS,
				  b->addresses.vas[i], level),
			8,
		};
		p.index[p.nr++] = i;
	}
	pending_read(b, &p);
	while (p.nr--) {
		i = p.index[p.nr];
		if (is_page(entries[i], level))
			gpas[i] = page_gpa(entries[i], b->addresses.vas[i],
					   level);
	}
}

/* Addresses that are not mapped are none of the list's. */
static void walk_together(const struct bench *b, __u64 *gpas)
{
	static __u64 entries[NR_ADDRESSES];
	int first, level, i;

	for (i = 0; i < NR_ADDRESSES; i++) {
		entries[i] = b->addresses.regs.cr3;
		gpas[i] = ~0ULL;
	}
	for (first = 0; first < NR_ADDRESSES; first += READS_PER_CALL)
		for (level = 0; level < NR_LEVELS; level++)
			read_level(b, first, READS_PER_CALL, level, entries,
				   gpas);
}

static double run_walk_together(void *arg)
{
	static __u64 gpas[NR_ADDRESSES];
	double start = now();

	walk_together(arg, gpas);
	return (now() - start) / NR_ADDRESSES;
}

static void check_walks(const struct bench *b)
{
	static __u64 gpas[NR_ADDRESSES];
	int i;

	walk_together(b, gpas);
	for (i = 0; i < NR_ADDRESSES; i++) {
		addresses_check_one(&b->addresses, "process_vm_readv", i,
				    walk(b, b->addresses.vas[i]));
		addresses_check_one(&b->addresses, "process_vm_readv", i,
				    gpas[i]);
	}
}

static void measure_walk(struct bench *b, const char *id, __u32 result_size)
{
	static const struct series series[] = {
		{ "vmem", run_vmem },
		{ "process_vm_readv, one entry a call", run_walk },
		{ "process_vm_readv, 1,024 entries a call", run_walk_together },
	};

	b->addresses.batch = NR_ADDRESSES;
	b->addresses.result_size = result_size;
	if (!vmem_translate_all(&b->addresses, 1))
		return;
	addresses_check(&b->addresses);
	addresses_note(&b->addresses, id);
	measure(id, series, ARRAY_SIZE(series), b);
}

static void command_walk(struct bench *b, char **argv)
{
	(void)argv;
	check_walks(b);
	measure_walk(b, "outside", sizeof(struct vmem_translation));
	measure_walk(b, "outside-short", SHORT_RESULT);
}

/* ---- Processes ---- */

/* Reads all that a process writes to its standard output; gives how much. */
static size_t output_of(char *const *argv)
{
	static char buf[1 << 16];
	posix_spawn_file_actions_t actions;
	size_t total = 0;
	ssize_t got;
	int fds[2], status;
	pid_t pid;

	must(pipe2(fds, O_CLOEXEC), "pipe2");
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
	errno = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
	must(errno ? -1 : 0, argv[0]);
	posix_spawn_file_actions_destroy(&actions);
	close(fds[1]);
	while ((got = must(read(fds[0], buf, sizeof(buf)), "read")))
		total += (size_t)got;
	close(fds[0]);
	must(waitpid(pid, &status, 0), "waitpid");
	errno = ECHILD;
	must(status ? -1 : 0, argv[0]);
	return total;
}

/* Milliseconds. */
static double time_process(char *const *argv)
{
	double start = now();

	output_of(argv);
	return (now() - start) / 1e6;
}

static double run_process(void *arg)
{
	return time_process(((const struct bench *)arg)->command);
}

/* What any process costs here. */
static double run_true(void *arg)
{
	char *const argv[] = { (char *)"/bin/true", NULL };

	(void)arg;
	return time_process(argv);
}

/* What it takes to start vmemctl and to have it say a line. */
static double run_version(void *arg)
{
	char *const argv[] = { ((const struct bench *)arg)->command[0],
			       (char *)"--version", NULL };

	return time_process(argv);
}

/* ---- QEMU's monitor ---- */

/* It takes thousands of times as long; as many as take it half a second. */
#define NR_MONITOR 256

static double run_gva2gpa(void *arg)
{
	struct bench *b = arg;
	double start = now();
	int i;

	for (i = 0; i < NR_MONITOR; i++)
		monitor_gva2gpa(&b->monitor, b->addresses.vas[i]);
	return (now() - start) / NR_MONITOR;
}

static double run_vtop(void *arg)
{
	return run_process(arg) * 1e6 / NR_ADDRESSES;
}

/* The command with all the addresses as its last arguments. */
static char *const *with_addresses(const struct bench *b, char **command)
{
	static char text[NR_ADDRESSES][24];
	static char *argv[NR_ADDRESSES + 64];
	int nr, i;

	for (nr = 0; command[nr]; nr++) {
		errno = E2BIG;
		must(nr < 63 ? 0 : -1, "arguments");
		argv[nr] = command[nr];
	}
	for (i = 0; i < NR_ADDRESSES; i++) {
		snprintf(text[i], sizeof(text[i]), "%#llx",
			 b->addresses.vas[i]);
		argv[nr + i] = text[i];
	}
	return argv;
}

static void command_gva2gpa(struct bench *b, char **argv)
{
	static const struct series series[] = {
		{ "vmem", run_vmem },
		{ "gva2gpa", run_gva2gpa },
		{ "vmemctl vtop, a process for all 4,096", run_vtop },
	};
	int i;

	monitor_open(&b->monitor, argv[0]);
	b->command = with_addresses(b, argv + 1);
	b->addresses.batch = NR_ADDRESSES;
	b->addresses.result_size = sizeof(struct vmem_translation);
	addresses_check(&b->addresses);
	for (i = 0; i < NR_MONITOR; i++)
		addresses_check_one(&b->addresses, "gva2gpa", i,
				    monitor_gva2gpa(&b->monitor,
						    b->addresses.vas[i]));
	addresses_note(&b->addresses, "gva2gpa");
	tell_note("gva2gpa", "the monitor is asked for the first %d",
		  NR_MONITOR);
	measure("gva2gpa", series, ARRAY_SIZE(series), b);
	monitor_close(&b->monitor);
}

static double run_info_tlb(void *arg)
{
	struct bench *b = arg;
	double start = now();

	monitor_ask(&b->monitor, "info tlb");
	return (now() - start) / 1e6;
}

static int count_lines(const char *text)
{
	int nr = 0;

	/* In JSON, which has no other way for it. */
	while ((text = strstr(text, "\\r\\n"))) {
		text++;
		nr++;
	}
	return nr;
}

/* argv: the socket, what to call it, and the process's arguments. */
static void command_info_tlb(struct bench *b, char **argv)
{
	static const struct series series[] = {
		{ "vmem", run_process },
		{ "info tlb", run_info_tlb },
		{ "vmemctl --version", run_version },
		{ "/bin/true", run_true },
	};
	const char *id = argv[1];

	errno = EINVAL;
	must(id && argv[2] ? 0 : -1, "an ID and a COMMAND");
	monitor_open(&b->monitor, argv[0]);
	b->command = argv + 2;
	monitor_ask(&b->monitor, "info tlb");
	tell_note(id, "info tlb says %d lines, vmemctl %zu bytes",
		  count_lines(b->monitor.reply), output_of(b->command));
	measure(id, series, ARRAY_SIZE(series), b);
	monitor_close(&b->monitor);
}

/* ---- The command line ---- */

static const struct {
	const char *name;
	void (*run)(struct bench *b, char **argv);
} commands[] = {
	{ "walk", command_walk },
	{ "gva2gpa", command_gva2gpa },
	{ "info-tlb", command_info_tlb },
};

static void explain(void)
{
	fputs("usage: bench-outside OPTIONS PID VM-FD walk\n"
	      "       bench-outside OPTIONS PID VM-FD monitor SOCKET COMMAND...\n" OPTIONS_HELP,
	      stderr);
	exit(2);
}

static void prepare(struct bench *b, const struct options *options, int vm_fd)
{
	int session = addresses_session(fd_of_process(b->pid, vm_fd));

	errno = -session_memslots(session, b->slots, MAX_SLOTS, 16,
				  &b->nr_slots);
	must(errno ? -1 : 0, "VMEM_MEMSLOTS");
	addresses_choose(&b->addresses, session, &options->regs, options->seed);
}

int main(int argc, char **argv)
{
	static struct options options;
	static struct bench b;
	size_t i;

	argv += options_parse(&options, argc, argv);
	if (!argv[0] || !argv[1] || !argv[2])
		explain();
	b.pid = atoi(argv[0]);
	for (i = 0; i < ARRAY_SIZE(commands); i++) {
		if (strcmp(argv[2], commands[i].name))
			continue;
		prepare(&b, &options, atoi(argv[1]));
		commands[i].run(&b, argv + 3);
		return 0;
	}
	explain();
}
