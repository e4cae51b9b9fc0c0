// SPDX-License-Identifier: GPL-2.0-only
/*
 * vcpus.c - the registers of a vCPU, whatever it does at the moment
 *
 * A guest goes from root to root by a schedule, and notes each step before and after
 * it. An answer is right if it is a root of one of the steps that were under way
 * between the begin and the end of the call.
 */
#define _GNU_SOURCE
#include <assert.h>
#include <cpuid.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <linux/kvm.h>

#include "file.h"
#include "ktap.h"
#include "module.h"
#include "vcpu.h"
#include "vcpus_guest.h"
#include "world.h"

#define RAM_LEN MB(16)

/* What a call may take: none comes near it, so that no answer is for want of time. */
#define PATIENCE VMEM_MAX_VCPU_TIMEOUT_US

/**
 * struct schedule - what the guest notes, each in a cache line of its own
 * @begun: the step that it began last
 * @done: the step that it did last
 * @halt: not 0 if it is to halt
 */
struct schedule {
	__u64 begun;
	__u64 pad0[7];
	__u64 done;
	__u64 pad1[7];
	__u64 halt;
};

static_assert(offsetof(struct schedule, begun) == SCHEDULE_BEGUN, "begun");
static_assert(offsetof(struct schedule, done) == SCHEDULE_DONE, "done");
static_assert(offsetof(struct schedule, halt) == SCHEDULE_HALT, "halt");

/**
 * struct scene - a VM whose vCPU goes from root to root
 * @w: the VM
 * @t: the space, which all of its roots share
 * @irqchip: KVM has interrupt controllers for it
 * @code: where the guest's code is; its addresses are the guest-physical ones
 * @roots: the roots
 * @schedule: what the guest notes
 * @vcpu: the vCPU
 * @thread: runs it
 * @session: a session on the VM
 */
struct scene {
	struct world w;
	struct tables t;
	bool irqchip;
	__u64 code;
	__u64 *roots;
	struct schedule *schedule;
	struct vcpu vcpu;
	pthread_t thread;
	int session;
};

/* Takes @len bytes that are mapped at their own address. */
static __u64 identity(struct scene *s, __u64 len)
{
	__u64 gpa = ram_alloc(&s->w.ram, len);

	tables_map_all(&s->t, gpa, gpa, len, VMEM_LEVEL_PT);
	return gpa;
}

/* All of them lead to the same tables. */
static void fill_roots(const struct scene *s)
{
	const void *root = ram_ptr(&s->w.ram, s->t.root);
	int i;

	for (i = 0; i < NR_ROOTS; i++)
		memcpy(ram_ptr(&s->w.ram, s->roots[i]), root, PAGE);
}

/*
 * Where there is one processor, the guest runs for as long as the scheduler lets it while
 * somebody waits for it, and a round must take longer than that.
 */
static bool has_one_cpu(void)
{
	return sysconf(_SC_NPROCESSORS_ONLN) == 1;
}

/* With KVM's interrupt controllers HLT is KVM's to wait in, and else its VMM's. */
static void scene_init(struct scene *s, bool irqchip)
{
	const size_t len = (size_t)(guest_schedule_end - guest_schedule);
	struct kvm_regs kvm_regs = { .rflags = VCPU_RFLAGS };
	struct vmem_regs regs;
	int i;

	memset(s, 0, sizeof(*s));
	s->irqchip = irqchip;
	world_init(&s->w, RAM_LEN);
	if (irqchip)
		must(ioctl(s->w.vm_fd, KVM_CREATE_IRQCHIP, 0),
		     "KVM_CREATE_IRQCHIP");
	s->t = world_add_amd64(&s->w);
	s->code = identity(s, PAGE);
	kvm_regs.rip = s->code;
	kvm_regs.rbx = identity(s, PAGE);
	kvm_regs.rdx = has_one_cpu() ? 20000 : 0;
	kvm_regs.rsi = identity(s, NR_ROOTS * sizeof(*s->roots));
	memcpy(ram_ptr(&s->w.ram, s->code), guest_schedule, len);
	s->schedule = ram_ptr(&s->w.ram, kvm_regs.rbx);
	s->roots = ram_ptr(&s->w.ram, kvm_regs.rsi);
	for (i = 0; i < NR_ROOTS; i++)
		s->roots[i] = ram_alloc(&s->w.ram, PAGE);
	fill_roots(s);

	vcpu_init(&s->vcpu, s->w.kvm_fd, s->w.vm_fd, 0);
	regs = tables_regs(&s->t);
	regs.cr3 = s->roots[0];
	vcpu_set_mode(&s->vcpu, &regs);
	vcpu_set_regs(&s->vcpu, &kvm_regs);
	s->session = session_open();
	CHECK_EQ(session_attach_kvm(s->session, s->w.vm_fd), 0);
}

static void scene_free(struct scene *s)
{
	close(s->session);
	vcpu_free(&s->vcpu);
	world_free(&s->w);
}

static __u64 get(const __u64 *counter)
{
	return __atomic_load_n(counter, __ATOMIC_SEQ_CST);
}

static void set(__u64 *counter, __u64 value)
{
	__atomic_store_n(counter, value, __ATOMIC_SEQ_CST);
}

/* ---- A thread that runs the vCPU until it is told not to ---- */

static void on_signal(int signal)
{
	(void)signal;
}

static void *run_vcpu(void *arg)
{
	struct scene *s = arg;

	while (!s->vcpu.run->immediate_exit)
		if (ioctl(s->vcpu.fd, KVM_RUN, 0) && errno != EINTR)
			return (void *)(uintptr_t)errno;
	return NULL;
}

static void run(struct scene *s)
{
	const struct sigaction action = { .sa_handler = on_signal };

	must(sigaction(SIGUSR1, &action, NULL), "sigaction");
	s->vcpu.run->immediate_exit = 0;
	must(-pthread_create(&s->thread, NULL, run_vcpu, s), "pthread_create");
}

static void stop(struct scene *s)
{
	void *failed;

	s->vcpu.run->immediate_exit = 1;
	pthread_kill(s->thread, SIGUSR1);
	must(-pthread_join(s->thread, &failed), "pthread_join");
	CHECK_EQ((uintptr_t)failed, 0);
}

/* Waits until the guest has gone on for some steps. */
static void wait_for_steps(const struct scene *s)
{
	__u64 from = get(&s->schedule->done);

	while (get(&s->schedule->done) < from + 3)
		usleep(1000);
}

/* ---- Is an answer right? ---- */

static bool is_intel(void)
{
	unsigned int eax, ebx, ecx, edx;

	return __get_cpuid(0, &eax, &ebx, &ecx, &edx) &&
	       ebx == signature_INTEL_ebx;
}

static struct vmem_vcpu_args ask(const struct scene *s, __u32 timeout_us)
{
	struct vmem_vcpu_args args;

	CHECK_EQ(session_vcpu_within(s->session, 0, timeout_us, &args), 0);
	/* Where an Intel processor keeps them; no guest here changes them. */
	if (is_intel() && args.out_known != VMEM_KNOWN_ENTRY)
		args.out_state &= ~VMEM_VCPU_OLD_BITS;
	return args;
}

/* How many steps after @first the root's is; NR_ROOTS if it is nobody's. */
static __u64 steps_to(const struct scene *s, __u64 first, __u64 cr3)
{
	__u64 i;

	for (i = 0; i < NR_ROOTS; i++)
		if (s->roots[(first + i) % NR_ROOTS] == cr3)
			break;
	return i;
}

static bool in_code(const struct scene *s, __u64 rip)
{
	return rip - s->code <= (__u64)(guest_schedule_end - guest_schedule);
}

/*
 * As they were set, or as the schedule has it. An Intel processor keeps CR3 of what it
 * does not run; of AMD's, newer kernels do not read it where there is no APIC.
 */
static void check_still(const struct scene *s, __u32 known)
{
	const struct vmem_regs regs = tables_regs(&s->t);
	struct vmem_vcpu_args args = ask(s, PATIENCE);
	const __u64 done = get(&s->schedule->done);
	const __u64 begun = get(&s->schedule->begun);

	CHECK_EQ(args.out_known, known);
	CHECK_EQ(args.out_regs.cr0, regs.cr0);
	if ((is_intel() || !s->irqchip) &&
	    (args.out_state & ~VMEM_VCPU_NO_RIP) == VMEM_VCPU_NO_CR3) {
		CHECK_EQ(args.out_regs.cr3, 0);
		printf("# without CR3\n");
		return;
	}
	CHECK_EQ(args.out_state, 0);
	CHECK(steps_to(s, done, args.out_regs.cr3) <= begun - done);
	CHECK_EQ(args.out_regs.cr4, regs.cr4);
	CHECK_EQ(args.out_regs.efer, regs.efer);
	CHECK(in_code(s, args.out_rip));
}

/* ---- It does not run ---- */

static void has_never_run(void)
{
	struct scene s;

	scene_init(&s, true);
	check_still(&s, VMEM_KNOWN_EXIT);
	scene_free(&s);
}

static void has_left_to_its_vmm(void)
{
	struct scene s;
	int i;

	scene_init(&s, false);
	set(&s.schedule->halt, 1);
	for (i = 0; i < 3; i++) {
		CHECK_EQ(vcpu_run(&s.vcpu), KVM_EXIT_HLT);
		check_still(&s, VMEM_KNOWN_EXIT);
	}
	scene_free(&s);
}

static void is_stopped_by_its_vmm(void)
{
	struct scene s;

	scene_init(&s, true);
	run(&s);
	wait_for_steps(&s);
	stop(&s);
	check_still(&s, VMEM_KNOWN_EXIT);
	scene_free(&s);
}

/* Waits until the vCPU has been halted for a while. */
static void wait_for_halt(const struct scene *s)
{
	while (ask(s, 0).out_known != VMEM_KNOWN_HALTED)
		usleep(1000);
}

static void is_halted(void)
{
	struct scene s;

	scene_init(&s, true);
	run(&s);
	wait_for_steps(&s);
	set(&s.schedule->halt, 1);
	wait_for_halt(&s);
	check_still(&s, VMEM_KNOWN_HALTED);
	stop(&s);
	check_still(&s, VMEM_KNOWN_EXIT);
	scene_free(&s);
}

/* ---- It runs ---- */

/* Exits from the guest, as KVM counts them */
static long long nr_exits(const struct scene *s)
{
	char path[96];

	snprintf(path, sizeof(path), "/sys/kernel/debug/kvm/%d-%d/exits",
		 getpid(), s->w.vm_fd);
	return file_number(path);
}

/**
 * struct samples - what was sampled
 * @nr: how many samples could be wrong: there is a root that they may not be
 * @others: how many could not, for the call took as long as a round of the schedule
 * @roots: how many different roots
 * @seen: whether each root was
 */
struct samples {
	__u64 nr;
	__u64 others;
	__u64 roots;
	bool seen[NR_ROOTS];
};

static void sample(const struct scene *s, struct samples *samples)
{
	const __u64 first = get(&s->schedule->done);
	const struct vmem_vcpu_args args = ask(s, PATIENCE);
	const __u64 last = get(&s->schedule->begun);
	const __u64 steps = steps_to(s, first, args.out_regs.cr3);
	bool *seen = &samples->seen[(first + steps) % NR_ROOTS];

	/* The machine has so much other work: no answer, and none that is wrong. */
	if (args.out_known == VMEM_KNOWN_UNKNOWN)
		return;
	CHECK_EQ(args.out_known, VMEM_KNOWN_ENTRY);
	CHECK_EQ(args.out_state, 0);
	CHECK(in_code(s, args.out_rip));
	if (steps == NR_ROOTS || steps > last - first)
		ktap_fail("CR3 %#llx is of step %llu, not of %llu to %llu",
			  args.out_regs.cr3, first + steps, first, last);
	samples->nr += last - first < NR_ROOTS - 1;
	samples->others += last - first >= NR_ROOTS - 1;
	samples->roots += !*seen;
	*seen = true;
}

/* Samples until @nr of them could have been wrong. */
static void sample_all(const struct scene *s, __u64 nr)
{
	const long long before = nr_exits(s);
	struct samples samples = { .nr = 0 };
	const double start = seconds();
	double all;

	while (samples.nr < nr && samples.others < nr + 1000 && !ktap_reason[0])
		sample(s, &samples);
	CHECK(samples.nr);
	all = (double)(samples.nr + samples.others);
	printf("# %llu samples, %llu over a round; %llu of %d roots; %.2f exits, %.0f us each\n",
	       samples.nr, samples.others, samples.roots, NR_ROOTS,
	       (double)(nr_exits(s) - before) / all,
	       (seconds() - start) * 1e6 / all);
	CHECK(samples.roots > 1);
}

/* What the guest does in a second, by how many steps it does in one. */
static double steps_a_second(const struct scene *s,
			     void (*meanwhile)(const struct scene *s))
{
	const __u64 from = get(&s->schedule->done);
	const double start = seconds();

	meanwhile(s);
	return (double)(get(&s->schedule->done) - from) / (seconds() - start);
}

static void sleep_a_second(const struct scene *s)
{
	(void)s;
	sleep(1);
}

static void sample_many(const struct scene *s)
{
	sample_all(s, number_of("VMEM_SAMPLES", 5000));
}

static void runs(void)
{
	struct scene s;
	double alone, sampled;

	scene_init(&s, true);
	run(&s);
	wait_for_steps(&s);
	alone = steps_a_second(&s, sleep_a_second);
	sampled = steps_a_second(&s, sample_many);
	printf("# the guest goes %.2f times as fast while it is sampled\n",
	       sampled / alone);
	stop(&s);
	scene_free(&s);
}

/* Left alone, nothing of it is known. */
static void runs_and_is_left_alone(void)
{
	struct vmem_vcpu_args args;
	struct scene s;
	long long before;
	int i;

	scene_init(&s, true);
	run(&s);
	wait_for_steps(&s);
	before = nr_exits(&s);
	for (i = 0; i < 1000; i++) {
		args = ask(&s, 0);
		CHECK_EQ(args.out_known, VMEM_KNOWN_UNKNOWN);
		CHECK_EQ(args.out_state, VMEM_VCPU_NO_CR3 | VMEM_VCPU_NO_RIP);
		CHECK_EQ(args.out_regs.cr3, 0);
		CHECK_EQ(args.out_rip, 0);
	}
	printf("# %lld exits\n", nr_exits(&s) - before);
	stop(&s);
	scene_free(&s);
}

static void *change_cpus(void *arg)
{
	const struct scene *s = arg;
	const long nr = sysconf(_SC_NPROCESSORS_ONLN);
	cpu_set_t set;
	long cpu;

	for (cpu = 0; !s->vcpu.run->immediate_exit; cpu++) {
		CPU_ZERO(&set);
		CPU_SET((size_t)(cpu % nr), &set);
		must(-pthread_setaffinity_np(s->thread, sizeof(set), &set),
		     "pthread_setaffinity_np");
		usleep(300);
	}
	return NULL;
}

static void runs_now_here_now_there(void)
{
	pthread_t changing;
	struct scene s;

	scene_init(&s, true);
	run(&s);
	must(-pthread_create(&changing, NULL, change_cpus, &s),
	     "pthread_create");
	wait_for_steps(&s);
	sample_all(&s, number_of("VMEM_SAMPLES", 5000) / 10);
	stop(&s);
	must(-pthread_join(changing, NULL), "pthread_join");
	scene_free(&s);
}

/* ---- It waits for memory that is never given ---- */

static struct vmem_vcpu_args ask_without_memory(bool irqchip, bool *skip)
{
	struct vmem_vcpu_args args = { .size = 0 };
	struct kvm_regs kvm_regs;
	struct guest_ram ram;
	struct scene s;
	int faults;

	ram = ram_new(GB(1), PAGE);
	faults = ram_own_faults(&ram);
	*skip = skip_without(faults >= 0, "userfaultfd");
	if (*skip) {
		ram_free(&ram);
		return args;
	}
	scene_init(&s, irqchip);
	world_add_slot(&s.w, 1, ram.gpa, ram.hva, ram.len);
	tables_map(&s.t, ram.gpa, ram.gpa, VMEM_LEVEL_PT, PTE_P | PTE_W);
	fill_roots(&s);
	kvm_regs = vcpu_get_regs(&s.vcpu);
	kvm_regs.rbx = ram.gpa;
	vcpu_set_regs(&s.vcpu, &kvm_regs);
	run(&s);
	usleep(100000);
	args = ask(&s, 100000);
	close(faults);
	stop(&s);
	if (args.out_known == VMEM_KNOWN_HALTED)
		CHECK_EQ(args.out_regs.cr3,
			 args.out_state & VMEM_VCPU_NO_CR3 ? 0 : s.roots[0]);
	scene_free(&s);
	ram_free(&ram);
	return args;
}

/* In KVM, which does not say what it is waiting for */
static void waits_in_a_fault(void)
{
	struct vmem_vcpu_args args;
	bool skip;

	args = ask_without_memory(false, &skip);
	if (skip)
		return;
	CHECK_EQ(args.out_known, VMEM_KNOWN_UNKNOWN);
	CHECK_EQ(args.out_state, VMEM_VCPU_NO_CR3 | VMEM_VCPU_NO_RIP);
	CHECK_EQ(args.out_regs.cr3, 0);
}

/* With KVM's interrupt controllers, it waits as if it were halted. */
static void waits_for_an_asynchronous_fault(void)
{
	struct vmem_vcpu_args args;
	bool skip;

	args = ask_without_memory(true, &skip);
	if (skip)
		return;
	CHECK_EQ(args.out_known, VMEM_KNOWN_HALTED);
	if (is_intel())
		args.out_state &= ~(VMEM_VCPU_NO_CR3 | VMEM_VCPU_NO_RIP);
	CHECK_EQ(args.out_state, 0);
}

/* ---- It is somewhere else ---- */

/* Where it goes at a system management interrupt (Intel SDM vol. 3, 32.4). */
#define SMBASE 0x30000ULL
#define SMM_ENTRY 0x8000

/* Memory slot 0 of the address space that KVM has for it */
#define SMM_SLOT BIT_ULL(16)

/* jmp to itself, and rsm */
static const __u8 smm_stays[] = { 0xeb, 0xfe };
static const __u8 smm_leaves[] = { 0x0f, 0xaa };

static void check_smm(const struct scene *s, __u32 known)
{
	const struct vmem_vcpu_args args = ask(s, PATIENCE);

	CHECK_EQ(args.out_known, known);
	CHECK_EQ(args.out_state, VMEM_VCPU_SMM);
	CHECK_EQ(args.out_regs.cr0 & (CR0_PE | CR0_PG), 0);
	CHECK_EQ(args.out_rip, SMM_ENTRY);
}

/* Where Bochs emulates VMX, a guest that has no interrupts is never stopped. */
static bool is_bochs(void)
{
	return is_intel() && has_one_cpu();
}

static void is_in_system_management_mode(void)
{
	struct samples samples = { .nr = 0 };
	struct guest_ram ram;
	struct scene s;
	int i;

	if (skip_without(!is_bochs(), "interrupts of the host in it"))
		return;
	scene_init(&s, true);
	if (!skip_without(ioctl(s.w.kvm_fd, KVM_CHECK_EXTENSION,
				KVM_CAP_X86_SMM) > 0,
			  "system management mode")) {
		ram = ram_new(SMBASE, KB(64));
		world_add_slot(&s.w, SMM_SLOT, ram.gpa, ram.hva, ram.len);
		memcpy(ram.hva + SMM_ENTRY, smm_stays, sizeof(smm_stays));
		must(ioctl(s.vcpu.fd, KVM_SMI, 0), "KVM_SMI");
		run(&s);
		while (ask(&s, PATIENCE).out_state != VMEM_VCPU_SMM)
			usleep(1000);
		for (i = 0; i < 100; i++)
			check_smm(&s, VMEM_KNOWN_ENTRY);
		stop(&s);
		check_smm(&s, VMEM_KNOWN_EXIT);
		memcpy(ram.hva + SMM_ENTRY, smm_leaves, sizeof(smm_leaves));
		run(&s);
		wait_for_steps(&s);
		for (i = 0; i < 100; i++)
			sample(&s, &samples);
		stop(&s);
		ram_free(&ram);
	}
	scene_free(&s);
}

/*
 * The control block of a nested guest, as far as KVM looks at it (AMD APM vol. 2,
 * appendix B): an intercept of VMRUN, an ASID, and the registers to come back to.
 */
#define VMCB_VMRUN 0x10
#define VMCB_ASID 0x58
#define VMCB_EFER 0x4d0
#define VMCB_CR4 0x548
#define VMCB_CR3 0x550
#define VMCB_CR0 0x558
#define VMCB_RFLAGS 0x570

#define EFER_SVME BIT_ULL(12)

static void put(void *at, __u64 value)
{
	memcpy(at, &value, sizeof(value));
}

/* From here on what the vCPU runs is a guest of the guest's. */
static bool enter_nested_guest(struct scene *s)
{
	static struct {
		struct kvm_nested_state state;
		__u8 vmcb[KVM_STATE_NESTED_SVM_VMCB_SIZE];
	} nested;
	struct vmem_regs regs = tables_regs(&s->t);

	regs.cr3 = s->roots[0];
	regs.efer |= EFER_SVME;
	vcpu_set_mode(&s->vcpu, &regs);
	memset(&nested, 0, sizeof(nested));
	nested.state.flags = KVM_STATE_NESTED_GUEST_MODE |
			     KVM_STATE_NESTED_GIF_SET;
	nested.state.format = KVM_STATE_NESTED_FORMAT_SVM;
	nested.state.size = sizeof(nested);
	nested.state.hdr.svm.vmcb_pa = ram_alloc(&s->w.ram, PAGE);
	nested.vmcb[VMCB_VMRUN] = 1;
	nested.vmcb[VMCB_ASID] = 1;
	put(&nested.vmcb[VMCB_EFER], regs.efer);
	put(&nested.vmcb[VMCB_CR4], regs.cr4);
	put(&nested.vmcb[VMCB_CR3], s->t.root);
	put(&nested.vmcb[VMCB_CR0], regs.cr0);
	put(&nested.vmcb[VMCB_RFLAGS], VCPU_RFLAGS);
	return !ioctl(s->vcpu.fd, KVM_SET_NESTED_STATE, &nested);
}

static void is_in_nested_guest(void)
{
	struct vmem_vcpu_args args;
	struct scene s;
	int i;

	scene_init(&s, true);
	if (skip_without(!is_intel() && ioctl(s.w.kvm_fd, KVM_CHECK_EXTENSION,
					      KVM_CAP_NESTED_STATE) > 0,
			 "nested guests on AMD"))
		goto out_free;
	if (!CHECK(enter_nested_guest(&s)))
		goto out_free;
	args = ask(&s, PATIENCE);
	CHECK_EQ(args.out_known, VMEM_KNOWN_EXIT);
	CHECK_EQ(args.out_state, VMEM_VCPU_NESTED);
	CHECK_EQ(args.out_regs.cr3, s.roots[0]);
	run(&s);
	wait_for_steps(&s);
	for (i = 0; i < 100; i++) {
		args = ask(&s, PATIENCE);
		CHECK_EQ(args.out_known, VMEM_KNOWN_ENTRY);
		CHECK_EQ(args.out_state, VMEM_VCPU_NESTED);
		CHECK(steps_to(&s, 0, args.out_regs.cr3) < NR_ROOTS);
	}
	stop(&s);

out_free:
	scene_free(&s);
}

/* ---- vCPUs that come, callers that go ---- */

static void comes_meanwhile(void)
{
	struct vmem_vcpu_args args;
	struct vcpu others[8];
	struct scene s;
	__u32 i;

	scene_init(&s, true);
	run(&s);
	for (i = 0; i < ARRAY_SIZE(others); i++) {
		CHECK_EQ(session_vcpu_within(s.session, i + 1, PATIENCE, &args),
			 -EINVAL);
		vcpu_init(&others[i], s.w.kvm_fd, s.w.vm_fd, i + 1);
		CHECK_EQ(session_vcpu_within(s.session, i + 1, PATIENCE, &args),
			 0);
		CHECK_EQ(args.out_id, i + 1);
		CHECK_EQ(args.out_known, VMEM_KNOWN_EXIT);
	}
	stop(&s);
	for (i = 0; i < ARRAY_SIZE(others); i++)
		vcpu_free(&others[i]);
	/* KVM keeps a vCPU as long as its VM. */
	CHECK_EQ(session_vcpu_within(s.session, 1, PATIENCE, &args), 0);
	scene_free(&s);
}

/* More than one entry answers */
#define NR_CALLERS 64

static void ask_for_ever(const struct scene *s)
{
	struct vmem_vcpu_args args;
	int session = session_open();

	setpriority(PRIO_PROCESS, 0, 0);
	/* Where the test dies, the next one is not to run beside 64 callers. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (session_attach_kvm(session, s->w.vm_fd))
		_exit(1);
	for (;;)
		if (session_vcpu_within(session, 0, PATIENCE, &args))
			_exit(1);
}

/* Nothing is left behind: a probe in a module that is gone would be an oops. */
static void callers_are_killed(void)
{
	struct samples samples = { .nr = 0 };
	pid_t callers[NR_CALLERS];
	int i, round, status;
	struct scene s;

	/* They are many, and not to keep us and the guest from running. */
	must(setpriority(PRIO_PROCESS, 0, -15), "setpriority");
	scene_init(&s, true);
	run(&s);
	for (i = 0; i < NR_CALLERS; i++) {
		callers[i] = (pid_t)must(fork(), "fork");
		if (!callers[i])
			ask_for_ever(&s);
	}
	for (round = 0; round < 10; round++)
		sample(&s, &samples);
	printf("# %llu of %d were answered meanwhile\n",
	       samples.nr + samples.others, round);
	for (i = 0; i < NR_CALLERS; i++) {
		must(kill(callers[i], SIGKILL), "kill");
		if (i % 20 == 0)
			sample(&s, &samples);
	}
	for (i = 0; i < NR_CALLERS; i++) {
		must(waitpid(callers[i], &status, 0), "waitpid");
		CHECK_EQ(status, SIGKILL);
	}
	must(setpriority(PRIO_PROCESS, 0, 0), "setpriority");
	close(s.session);
	CHECK_EQ(module_remove(), 0);
	wait_for_steps(&s);
	CHECK_EQ(module_insert(), 0);
	s.session = session_open();
	CHECK_EQ(session_attach_kvm(s.session, s.w.vm_fd), 0);
	sample_all(&s, 10);
	stop(&s);
	scene_free(&s);
}

int main(void)
{
	static const struct ktap_case cases[] = {
		{ "has_never_run", has_never_run },
		{ "has_left_to_its_vmm", has_left_to_its_vmm },
		{ "is_stopped_by_its_vmm", is_stopped_by_its_vmm },
		{ "is_halted", is_halted },
		{ "runs", runs },
		{ "runs_and_is_left_alone", runs_and_is_left_alone },
		{ "runs_now_here_now_there", runs_now_here_now_there },
		{ "waits_in_a_fault", waits_in_a_fault },
		{ "waits_for_an_asynchronous_fault",
		  waits_for_an_asynchronous_fault },
		{ "is_in_system_management_mode",
		  is_in_system_management_mode },
		{ "is_in_nested_guest", is_in_nested_guest },
		{ "comes_meanwhile", comes_meanwhile },
		{ "callers_are_killed", callers_are_killed },
	};

	return ktap_main(cases, ARRAY_SIZE(cases));
}
