// SPDX-License-Identifier: GPL-2.0-only
/*
 * vmm.c - what vmem costs the process that owns the VM
 *
 * A VMM with a captured guest in it (see guest.h). `measure` times vmem beside
 * KVM_TRANSLATE, `running` the same while the vCPU runs, and `serve` tells its
 * pid and its VM's descriptor and waits, for bench-outside to look in.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "../../selftest/ktap.h"
#include "../../selftest/session.h"
#include "addresses.h"
#include "guest.h"
#include "options.h"
#include "series.h"

/* How often a list of addresses is gone through for one sample. */
#define BATCH_PASSES 8
#define SINGLE_PASSES 1

/**
 * struct bench - all that the ways to be timed need
 * @options: what the command line says
 * @guest: the guest
 * @addresses: what is asked
 */
struct bench {
	struct options options;
	struct guest guest;
	struct addresses addresses;
};

/* ---- Translating ---- */

static __u64 kvm_translate(const struct bench *b, __u64 va)
{
	struct kvm_translation translation = { .linear_address = va };

	must(ioctl(b->guest.vcpu_fd, KVM_TRANSLATE, &translation),
	     "KVM_TRANSLATE");
	return translation.valid ? translation.physical_address : ~0ULL;
}

static double run_kvm(void *arg)
{
	const struct bench *b = arg;
	double start = now();
	int i;

	for (i = 0; i < NR_ADDRESSES; i++)
		kvm_translate(b, b->addresses.vas[i]);
	return (now() - start) / NR_ADDRESSES;
}

/* The same address again and again: what the call itself costs. */
static double run_kvm_same(void *arg)
{
	const struct bench *b = arg;
	double start = now();
	int i;

	for (i = 0; i < NR_ADDRESSES; i++)
		kvm_translate(b, b->addresses.vas[0]);
	return (now() - start) / NR_ADDRESSES;
}

static double run_vmem(void *arg)
{
	struct bench *b = arg;

	return vmem_translate_all(&b->addresses, b->addresses.batch > 1 ?
							 BATCH_PASSES :
							 SINGLE_PASSES);
}

/* What it costs to enter the kernel and to come back, by either device. */
static double run_kvm_nothing(void *arg)
{
	const struct bench *b = arg;
	double start = now();
	int i;

	for (i = 0; i < NR_ADDRESSES; i++)
		ioctl(b->guest.kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_NR_VCPUS);
	return (now() - start) / NR_ADDRESSES;
}

static double run_vmem_nothing(void *arg)
{
	const struct bench *b = arg;
	struct vmem_info_args info = { .size = sizeof(info) };
	double start = now();
	int i;

	for (i = 0; i < NR_ADDRESSES; i++)
		ioctl(b->addresses.session, VMEM_INFO, &info);
	return (now() - start) / NR_ADDRESSES;
}

static void check_kvm(const struct bench *b)
{
	int i;

	for (i = 0; i < NR_ADDRESSES; i++)
		addresses_check_one(&b->addresses, "KVM_TRANSLATE", i,
				    kvm_translate(b, b->addresses.vas[i]));
}

static void ask(struct bench *b, __u32 batch, __u32 result_size)
{
	b->addresses.batch = batch;
	b->addresses.result_size = result_size;
}

static void measure_batch(struct bench *b, const char *id, __u32 batch,
			  __u32 result_size)
{
	static const struct series series[] = {
		{ "vmem", run_vmem },
		{ "KVM_TRANSLATE in a loop", run_kvm },
	};

	ask(b, batch, result_size);
	if (!vmem_translate_all(&b->addresses, 1)) {
		tell_note(id, "the module gives no results of %u bytes",
			  result_size);
		return;
	}
	addresses_check(&b->addresses);
	check_kvm(b);
	addresses_note(&b->addresses, id);
	measure(id, series, ARRAY_SIZE(series), b);
}

static void measure_calls(struct bench *b)
{
	static const struct series series[] = {
		{ "vmem", run_vmem_nothing },
		{ "KVM_CHECK_EXTENSION", run_kvm_nothing },
		{ "KVM_TRANSLATE of one address again and again",
		  run_kvm_same },
	};

	measure("call", series, ARRAY_SIZE(series), b);
}

static void measure_translate(struct bench *b)
{
	const __u32 all = sizeof(struct vmem_translation);

	measure_batch(b, "translate-4096", NR_ADDRESSES, all);
	measure_batch(b, "translate-4096-short", NR_ADDRESSES, SHORT_RESULT);
	measure_batch(b, "translate-64", 64, all);
	measure_batch(b, "translate-1", 1, all);
	measure_batch(b, "translate-1-short", 1, SHORT_RESULT);
}

/* ---- Many spaces ---- */

static int open_spaces(const struct bench *b, __u32 nr)
{
	const struct session_spaces spaces = {
		.regs = b->options.regs,
		.cr3 = b->options.cr3,
		.nr_cr3 = nr < b->options.nr_cr3 ? nr : b->options.nr_cr3,
		.last_va = ~0ULL,
	};
	int session = addresses_session(b->guest.vm_fd);

	errno = -session_set_spaces(session, &spaces);
	must(errno ? -1 : 0, "VMEM_SET_SPACES");
	return session;
}

#define RECORDS_PER_CALL 4096

static bool walk_once(int session, struct vmem_walk_spaces_args *args)
{
	static struct vmem_record records[RECORDS_PER_CALL];

	*args = (struct vmem_walk_spaces_args){
		.size = sizeof(*args),
		.nr = RECORDS_PER_CALL,
		.record_size = sizeof(records[0]),
		.records = (uintptr_t)records,
	};
	must(ioctl(session, VMEM_WALK_SPACES, args), "VMEM_WALK_SPACES");
	return args->out_more;
}

/* A session can walk its spaces once, so each walk is by a new one. */
static double run_walk_of(struct bench *b, __u32 nr,
			  struct vmem_walk_spaces_args *args)
{
	double start = now();
	int session = open_spaces(b, nr);

	while (walk_once(session, args))
		;
	close(session);
	return (now() - start) / 1e6;
}

static double run_walk(void *arg)
{
	struct vmem_walk_spaces_args args;

	return run_walk_of(arg, MAX_ROOTS, &args);
}

static double run_walk_one(void *arg)
{
	struct vmem_walk_spaces_args args;

	return run_walk_of(arg, 1, &args);
}

static void measure_walk(struct bench *b)
{
	static const struct series series[] = {
		{ "vmem", run_walk },
		{ "vmem, the first root alone", run_walk_one },
	};
	struct vmem_walk_spaces_args args;

	run_walk_of(b, MAX_ROOTS, &args);
	tell_note("walk-roots", "%u roots, %llu tables, %llu mappings",
		  b->options.nr_cr3, args.out_stats.tables,
		  args.out_stats.mappings);
	tell_note("walk-roots", "%llu leaves, %llu references",
		  args.out_stats.leaves, args.out_stats.references);
	measure("walk-roots", series, ARRAY_SIZE(series), b);
}

/* ---- Attaching ---- */

#define SMALL_LEN (512ULL << 20)
#define LARGE_LEN (64ULL << 30)
#define ATTACH_PASSES 256

/* Two VMs whose memory nobody has touched. */
struct attach {
	int small_fd;
	int large_fd;
};

static void *reserve(__u64 len)
{
	void *hva = mmap(NULL, len, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	must(hva == MAP_FAILED ? -1 : 0, "mmap");
	return hva;
}

/* Microseconds to open, attach and close. */
static double attach_to(int vm_fd)
{
	double start = now();
	int i;

	for (i = 0; i < ATTACH_PASSES; i++)
		close(addresses_session(vm_fd));
	return (now() - start) / 1e3 / ATTACH_PASSES;
}

static double run_attach_large(void *arg)
{
	return attach_to(((struct attach *)arg)->large_fd);
}

static double run_attach_small(void *arg)
{
	return attach_to(((struct attach *)arg)->small_fd);
}

static void measure_attach(struct bench *b)
{
	static const struct series series[] = {
		{ "vmem", run_attach_large },
		{ "vmem, 512 MB", run_attach_small },
	};
	struct attach attach = {
		.small_fd = vm_with_memory(b->guest.kvm_fd, reserve(SMALL_LEN),
					   SMALL_LEN),
		.large_fd = vm_with_memory(b->guest.kvm_fd, reserve(LARGE_LEN),
					   LARGE_LEN),
	};

	measure("attach", series, ARRAY_SIZE(series), &attach);
	close(attach.small_fd);
	close(attach.large_fd);
}

static void command_measure(struct bench *b)
{
	measure_calls(b);
	measure_translate(b);
	measure_walk(b);
	measure_attach(b);
}

/* ---- While the vCPU runs ---- */

/* How long KVM_TRANSLATE is given while the vCPU does not stop. */
#define PATIENCE 3

static void wake(int signal)
{
	(void)signal;
}

/* Runs until a signal comes. */
static void *vcpu_thread(void *arg)
{
	const struct bench *b = arg;
	int ret = ioctl(b->guest.vcpu_fd, KVM_RUN, 0);

	errno = ret ? errno : ECANCELED;
	must(errno == EINTR ? 0 : -1, "KVM_RUN");
	return NULL;
}

/**
 * struct waiter - a KVM_TRANSLATE that is under way
 * @b: where
 * @start: when it was called
 * @took: how long it took, in nanoseconds; 0 until it is done
 */
struct waiter {
	const struct bench *b;
	double start;
	double took;
};

static void *waiter_thread(void *arg)
{
	struct waiter *waiter = arg;

	waiter->start = now();
	kvm_translate(waiter->b, waiter->b->addresses.vas[0]);
	waiter->took = now() - waiter->start;
	return NULL;
}

/* A mapping of the kernel's with just these permissions and memory behind. */
static struct vmem_mapping find_mapping(const struct bench *b, __u32 perms)
{
	static struct vmem_mapping rows[1 << 17];
	struct session_maps maps = {
		.rows = rows,
		.room = ARRAY_SIZE(rows),
		.per_call = 4096,
	};
	__u32 i;

	errno = -session_map_range(b->addresses.session, &b->options.regs,
				   1ULL << 63, ~0ULL, &maps);
	must(errno ? -1 : 0, "VMEM_MAP_RANGE");
	for (i = 0; i < maps.nr; i++)
		if (rows[i].perms == perms && guest_ptr(&b->guest, rows[i].gpa))
			return rows[i];
	errno = ENOENT;
	must(-1, "a mapping of the kernel's");
	return rows[0];
}

/* The vCPU writes it. */
static __u64 count(const __u64 *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

/* The word that the running vCPU counts in. */
static const __u64 *start_vcpu(const struct bench *b, pthread_t *vcpu)
{
	struct vmem_mapping code = find_mapping(b, VMEM_EXECUTABLE);
	struct vmem_mapping data = find_mapping(b, VMEM_WRITABLE);
	__u64 *counter = guest_ptr(&b->guest, data.gpa);

	guest_prepare_loop(&b->guest, code.va, code.gpa, data.va);
	*counter = 0;
	errno = pthread_create(vcpu, NULL, vcpu_thread, (void *)b);
	must(errno ? -1 : 0, "pthread_create");
	while (!count(counter))
		usleep(1000);
	return counter;
}

/* Measures while it counts; KVM_TRANSLATE waits all the time. */
static void measure_running(struct bench *b, const char *id, __u32 batch,
			    const __u64 *counter)
{
	static const struct series series[] = { { "vmem", run_vmem } };
	__u64 before = count(counter);

	ask(b, batch, sizeof(struct vmem_translation));
	measure(id, series, ARRAY_SIZE(series), b);
	errno = ECANCELED;
	must(count(counter) > before ? 0 : -1, "the vCPU ran meanwhile");
	addresses_check(&b->addresses);
}

static void stop_vcpu(pthread_t vcpu)
{
	errno = pthread_kill(vcpu, SIGUSR1);
	must(errno ? -1 : 0, "pthread_kill");
	pthread_join(vcpu, NULL);
}

static void command_running(struct bench *b)
{
	static const char *const ids[] = { "running-4096", "running-1" };
	const struct sigaction action = { .sa_handler = wake };
	struct waiter waiter = { .b = b };
	pthread_t vcpu, waiting;
	const __u64 *counter;
	size_t i;

	must(sigaction(SIGUSR1, &action, NULL), "sigaction");
	counter = start_vcpu(b, &vcpu);
	errno = pthread_create(&waiting, NULL, waiter_thread, &waiter);
	must(errno ? -1 : 0, "pthread_create");
	sleep(PATIENCE);
	measure_running(b, ids[0], NR_ADDRESSES, counter);
	measure_running(b, ids[1], 1, counter);
	errno = EPROTO;
	must(waiter.took ? -1 : 0, "KVM_TRANSLATE waits for the vCPU");
	stop_vcpu(vcpu);
	pthread_join(waiting, NULL);
	for (i = 0; i < ARRAY_SIZE(ids); i++) {
		tell_sample(ids[i], "KVM_TRANSLATE", waiter.took);
		tell_blocked(ids[i], "KVM_TRANSLATE");
	}
}

/* ---- For others to look in ---- */

static void command_serve(struct bench *b)
{
	char c;

	printf("%d %d\n", getpid(), b->guest.vm_fd);
	fflush(stdout);
	while (read(STDIN_FILENO, &c, 1) > 0)
		;
}

/* ---- The command line ---- */

static const struct {
	const char *name;
	void (*run)(struct bench *b);
} commands[] = {
	{ "measure", command_measure },
	{ "running", command_running },
	{ "serve", command_serve },
};

static void explain(void)
{
	fputs("usage: bench-vmm OPTIONS IMAGE measure|running|serve\n" OPTIONS_HELP,
	      stderr);
	exit(2);
}

static void prepare(struct bench *b, const char *image)
{
	guest_load(&b->guest, image, &b->options.regs);
	addresses_choose(&b->addresses, addresses_session(b->guest.vm_fd),
			 &b->options.regs, b->options.seed);
}

int main(int argc, char **argv)
{
	static struct bench b;
	size_t i;

	argv += options_parse(&b.options, argc, argv);
	if (!argv[0] || !argv[1])
		explain();
	for (i = 0; i < ARRAY_SIZE(commands); i++) {
		if (strcmp(argv[1], commands[i].name))
			continue;
		prepare(&b, argv[0]);
		commands[i].run(&b);
		return 0;
	}
	explain();
}
