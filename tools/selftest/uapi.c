// SPDX-License-Identifier: GPL-2.0-only
/*
 * uapi.c - the rules that <linux/vmem.h> gives for every command
 *
 * A table describes each command by where its struct has what: one case tests
 * one rule, over all commands that the rule is about.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <linux/kvm.h>

#include "commands.h"
#include "ktap.h"

/* ---- The struct and its size ---- */

/* A call of @size, in which one byte is not what it is to be. */
static void size_refused(const struct command *c, struct call *call, __u32 size,
			 __u32 at, __u8 byte, int want)
{
	struct call before;
	__u8 was = call->args.bytes[at];

	call->args.bytes[at] = byte;
	call->args.size = size;
	before = *call;
	CHECK_EQ_AT(c->name, call_make(call, c), want);
	check_untouched(c->name, call, &before);
	call->args.bytes[at] = was;
}

/* All by one session, which is as good as new behind them. */
static void sizes_refused(const struct command *c, const struct guest *g)
{
	static const __u32 huge[] = { PAGE + 1, MAX_ARGS, 0x7fffffff, ~0u };
	struct call call;
	__u32 size;
	size_t i;

	call_init(&call, c, g);
	for (size = 0; size < (c->min_size ?: c->size); size++)
		size_refused(c, &call, size, MAX_ARGS - 1, 0, -EINVAL);
	for (i = 0; i < ARRAY_SIZE(huge); i++)
		size_refused(c, &call, huge[i], MAX_ARGS - 1, 0, -E2BIG);
	/* Not zero: the last byte, or the first behind the struct. */
	for (size = c->size + 1; size <= PAGE; size++) {
		size_refused(c, &call, size, size - 1, 1, -E2BIG);
		size_refused(c, &call, size, c->size, 0x80, -E2BIG);
		if (size > c->size + 16 && size < PAGE - 16)
			size += 64;
	}
	call.args.size = c->size;
	CHECK_EQ_AT(c->name, call_end(&call, c), 0);
}

static void size_is_refused(void)
{
	const struct command *c;
	struct guest g;

	guest_init(&g);
	for (c = commands; c < ways_end; c++)
		sizes_refused(c, &g);
	guest_free(&g);
}

/* Nothing is written behind what the caller has, nor behind what it is. */
static void size_taken(const struct command *c, const struct guest *g,
		       __u32 size)
{
	struct call call, before;

	call_init(&call, c, g);
	call.args.size = size;
	memset(call.args.bytes + (size < c->size ? size : c->size), 0,
	       MAX_ARGS - c->size);
	if (size <= c->size)
		memset(call.args.bytes + size, 0xff, PAGE - size);
	before = call;
	CHECK_EQ_AT(c->name, call_end(&call, c), 0);
	CHECK_EQ_AT(c->name, bytes_changed(c, &call, &before), 0);
	CHECK_EQ_AT(c->name,
		    memcmp(call.args.bytes + size, before.args.bytes + size,
			   MAX_ARGS - size),
		    0);
}

static void size_is_taken(void)
{
	const struct command *c;
	struct guest g;
	__u32 size;

	guest_init(&g);
	for (c = commands; c < ways_end; c++) {
		for (size = c->min_size ?: c->size; size <= c->size + 16;
		     size++)
			size_taken(c, &g, size);
		size_taken(c, &g, PAGE - 1);
		size_taken(c, &g, PAGE);
	}
	guest_free(&g);
}

/* ---- Answers ---- */

/*
 * Leaves @byte on the kernel's stack, where a call has its copy of its struct,
 * and whatever else is there.
 */
static void stain_stack(int session, __u8 byte)
{
	const struct command *c;
	struct call call;

	for (c = commands; c < commands_end; c++) {
		memset(&call, byte, sizeof(call));
		call.args.size = c->size;
		CHECK_EQ_AT(c->name,
			    session_call(session, c->cmd, call.args.bytes),
			    -EOPNOTSUPP);
	}
}

/* A call whose outputs are @byte before it, and so is what it might leak. */
static void call_over(struct call *call, const struct command *c,
		      const struct guest *g, __u8 byte)
{
	struct call before;
	__u64 done;

	call_poison(call, c, g, byte);
	call->session = open_for(c, g);
	before = *call;
	stain_stack(call->session, byte);
	CHECK_EQ_AT(c->name, call_end(call, c), 0);
	CHECK_EQ_AT(c->name, bytes_changed(c, call, &before), 0);
	done = c->out_nr == NONE ? 0 : out_nr(c, call) * c->element_size;
	CHECK_EQ_AT(c->name,
		    memcmp(call->array + done, before.array + done,
			   sizeof(call->array) - done),
		    0);
}

/* Whatever was there before, the answer is the same: so all of it was written. */
static void outputs_are_written(void)
{
	const struct command *c;
	struct call one, other;
	const struct part *out;
	struct guest g;
	__u64 done;

	guest_init(&g);
	for (c = commands; c < ways_end; c++) {
		call_over(&one, c, &g, POISON);
		call_over(&other, c, &g, (__u8)~POISON);
		for (out = c->outs; out->at != NONE; out++)
			CHECK_EQ_AT(c->name,
				    memcmp(one.args.bytes + out->at,
					   other.args.bytes + out->at,
					   out->end - out->at),
				    0);
		if (c->out_nr == NONE)
			continue;
		done = out_nr(c, &one) * c->element_size;
		CHECK_EQ_AT(c->name, done > 0, true);
		CHECK_EQ_AT(c->name, memcmp(one.array, other.array, done), 0);
	}
	guest_free(&g);
}

/* There are as many commands as the table has, and all others are refused. */
static void unknown_command(void)
{
	static const unsigned long others[] = {
		_IO(VMEM_IOC_TYPE ^ 1, 0x00),
		_IOWR(VMEM_IOC_TYPE, 0x00, struct vmem_info_args),
		_IOR(VMEM_IOC_TYPE, 0x00, struct vmem_info_args),
		_IOC(_IOC_NONE, VMEM_IOC_TYPE, 0x00, 8),
	};
	__u32 nr, size = 0;
	int session = session_open();
	size_t i;

	for (nr = 0; nr <= 0xff; nr++)
		CHECK_EQ(session_call(session, _IO(VMEM_IOC_TYPE, nr), &size),
			 commands + nr < commands_end ? -EINVAL : -ENOTTY);
	for (i = 0; i < ARRAY_SIZE(others); i++)
		CHECK_EQ(session_call(session, others[i], &size), -ENOTTY);
	close(session);
}

/* ---- Arrays ---- */

/* Asks for @size bytes of each element, which are as if all had been asked for. */
static void element_shortened_to(const struct command *c, const struct guest *g,
				 __u32 size)
{
	struct call exact, brief;
	__u32 i, nr;

	call_init(&exact, c, g);
	CHECK_EQ_AT(c->name, call_end(&exact, c), 0);
	call_init(&brief, c, g);
	*u32_at(&brief, c->element) = size;
	CHECK_EQ_AT(c->name, call_end(&brief, c), 0);
	nr = *u32_at(&brief, c->out_nr);
	CHECK_EQ_AT(c->name, nr, *u32_at(&exact, c->out_nr));
	for (i = 0; i < nr && i < NR_ELEMENTS; i++)
		CHECK_EQ_AT(c->name,
			    memcmp(brief.array + i * size,
				   exact.array + i * c->element_size, size),
			    0);
	CHECK_EQ_AT(c->name, brief.array[nr * size], POISON);
}

static void element_shortened(void)
{
	const struct command *c;
	struct guest g;
	__u32 size;

	guest_init(&g);
	for (c = commands; c < commands_end; c++)
		for (size = c->element_min; size && size < c->element_size;
		     size++)
			element_shortened_to(c, &g, size);
	guest_free(&g);
}

#define GROWTH 16

/* Asks twice and compares: in elements of today's size, and in grown ones. */
static void element_grown_by(const struct command *c, const struct guest *g)
{
	const __u32 grown_size = c->element_size + GROWTH;
	static const __u8 zeroes[GROWTH];
	struct call exact, grown;
	__u8 *element;
	__u32 i, nr;

	call_init(&exact, c, g);
	CHECK_EQ_AT(c->name, call_end(&exact, c), 0);
	call_init(&grown, c, g);
	*u32_at(&grown, c->element) = grown_size;
	CHECK_EQ_AT(c->name, call_end(&grown, c), 0);
	nr = *u32_at(&grown, c->out_nr);
	CHECK_EQ_AT(c->name, nr, *u32_at(&exact, c->out_nr));
	for (i = 0; i < nr && i < NR_ELEMENTS; i++) {
		element = grown.array + i * grown_size;
		CHECK_EQ_AT(c->name,
			    memcmp(element, exact.array + i * c->element_size,
				   c->element_size),
			    0);
		CHECK_EQ_AT(c->name,
			    memcmp(element + c->element_size, zeroes, GROWTH),
			    0);
	}
	CHECK_EQ_AT(c->name, grown.array[nr * grown_size], POISON);
}

static void element_grown(void)
{
	const struct command *c;
	struct guest g;

	guest_init(&g);
	for (c = commands; c < commands_end; c++)
		if (c->element != NONE && c->out_nr != NONE)
			element_grown_by(c, &g);
	guest_free(&g);
}

static void region_grown(void)
{
	const struct command *c = command(VMEM_ATTACH_REGIONS);
	struct call call;
	struct guest g;

	guest_init(&g);
	call_init(&call, c, &g);
	call.args.attach_regions.region_size += GROWTH;
	CHECK_EQ(call_end(&call, c), 0);

	call_init(&call, c, &g);
	call.args.attach_regions.region_size += GROWTH;
	call.array[c->element_size + GROWTH - 1] = 1;
	CHECK_EQ(call_end(&call, c), -E2BIG);
	guest_free(&g);
}

/* ---- Sessions ---- */

static void not_connected(void)
{
	const struct command *c;
	struct call call;
	struct guest g;

	guest_init(&g);
	for (c = commands; c < commands_end; c++) {
		if (c->attaches)
			continue;
		call_init(&call, c, &g);
		close(call.session);
		call.session = session_open();
		CHECK_EQ_AT(c->name, call_end(&call, c),
			    c->cmd == VMEM_INFO ? 0 : -ENOTCONN);
	}
	guest_free(&g);
}

static void attached_twice(void)
{
	struct guest g;
	int session;

	guest_init(&g);
	session = open_on_kvm(&g);
	CHECK_EQ(session_attach_kvm(session, g.vm_fd), -EISCONN);
	CHECK_EQ(session_attach_regions(session, &g.region, 1), -EISCONN);
	close(session);
	session = open_on_regions(&g);
	CHECK_EQ(session_attach_kvm(session, g.vm_fd), -EISCONN);
	CHECK_EQ(session_attach_regions(session, &g.region, 1), -EISCONN);
	close(session);
	guest_free(&g);
}

/* An attach that was refused leaves the session as it was. */
static void attached_after_a_refusal(void)
{
	struct vmem_region bad = { .len = PAGE, .hva = 1 };
	struct vmem_info_args info;
	struct guest g;
	int session;

	guest_init(&g);
	session = session_open();
	CHECK_EQ(session_attach_kvm(session, -1), -EBADF);
	CHECK_EQ(session_attach_regions(session, &bad, 1), -EINVAL);
	CHECK_EQ(session_info(session, &info), 0);
	CHECK_EQ(info.out_source, VMEM_SOURCE_NONE);
	CHECK_EQ(session_attach_regions(session, &g.region, 1), 0);
	close(session);
	guest_free(&g);
}

static void info_of_each_source(void)
{
	struct vmem_info_args info;
	struct vmem_vcpu_args vcpu;
	struct guest g;
	int session;

	guest_init(&g);
	session = session_open();
	CHECK_EQ(session_info(session, &info), 0);
	CHECK_EQ(info.out_api_version, VMEM_API_VERSION);
	CHECK_EQ(info.out_source, VMEM_SOURCE_NONE);
	CHECK_EQ(info.out_nr_vcpus, 0);
	CHECK(info.out_max_regions);
	CHECK(info.out_max_entries);
	printf("# limits: %u regions, %llu entries\n", info.out_max_regions,
	       info.out_max_entries);
	close(session);

	session = open_on_kvm(&g);
	CHECK_EQ(session_info(session, &info), 0);
	CHECK_EQ(info.out_source, VMEM_SOURCE_KVM);
	CHECK_EQ(info.out_nr_vcpus, 1);
	close(session);

	session = open_on_regions(&g);
	CHECK_EQ(session_info(session, &info), 0);
	CHECK_EQ(info.out_source, VMEM_SOURCE_REGIONS);
	CHECK_EQ(info.out_nr_vcpus, 0);
	CHECK_EQ(session_vcpu(session, 0, &vcpu), -EINVAL);
	close(session);
	guest_free(&g);
}

static void check_not_a_vm(const char *what, int fd)
{
	int session = session_open();

	CHECK_EQ_AT(what, session_attach_kvm(session, fd), -EBADF);
	close(session);
}

static void descriptor_is_not_a_vm(void)
{
	struct guest g;
	int fd, session;

	guest_init(&g);
	check_not_a_vm("-1", -1);
	check_not_a_vm("INT_MIN", INT_MIN);
	check_not_a_vm("a vCPU", g.vcpu_fd);
	check_not_a_vm("/dev/kvm", g.kvm_fd);
	fd = (int)must(open("/proc/self/exe", O_RDONLY), "open");
	check_not_a_vm("a file", fd);
	close(fd);
	check_not_a_vm("a closed one", fd);
	fd = (int)must(eventfd(0, 0), "eventfd");
	check_not_a_vm("an eventfd", fd);
	close(fd);
	fd = (int)must(open("/dev", O_PATH), "open");
	check_not_a_vm("a path", fd);
	close(fd);

	/* Named as a VM's is. */
	fd = (int)must(syscall(SYS_memfd_create, "kvm-vm", 0), "memfd_create");
	check_not_a_vm("a memfd called kvm-vm", fd);
	close(fd);
	session = session_open();
	check_not_a_vm("a session", session);
	close(session);
	guest_free(&g);
}

/* ---- Threads ---- */

#define NR_THREADS 4

/**
 * struct crowd - threads with one session between them
 * @g: the guest
 * @session: the session
 * @start: opens when all are there
 * @nr_attached: attaches that were not refused
 * @nr_wrong: answers that were wrong
 */
struct crowd {
	struct guest g;
	int session;
	pthread_barrier_t start;
	int nr_attached;
	int nr_wrong;
};

static void count(int *counter, bool if_so)
{
	__atomic_fetch_add(counter, if_so, __ATOMIC_RELAXED);
}

static void *attach_at_once(void *arg)
{
	struct crowd *crowd = arg;
	int ret;

	pthread_barrier_wait(&crowd->start);
	ret = session_attach_regions(crowd->session, &crowd->g.region, 1);
	count(&crowd->nr_attached, !ret);
	count(&crowd->nr_wrong, ret && ret != -EISCONN);
	return NULL;
}

static void *ask_at_once(void *arg)
{
	struct crowd *crowd = arg;
	struct vmem_translation result;
	int i, ret;

	pthread_barrier_wait(&crowd->start);
	for (i = 0; i < 500; i++) {
		ret = session_translate_one(crowd->session, &crowd->g.regs, 0,
					    &result);
		count(&crowd->nr_wrong, ret || result.out_gpa != RAM_GPA);
	}
	return NULL;
}

static void crowd_runs(struct crowd *crowd, void *(*fn)(void *crowd))
{
	pthread_t threads[NR_THREADS];
	int i;

	errno = EAGAIN;
	for (i = 0; i < NR_THREADS; i++)
		must(pthread_create(&threads[i], NULL, fn, crowd) ? -1 : 0,
		     "pthread_create");
	for (i = 0; i < NR_THREADS; i++)
		pthread_join(threads[i], NULL);
}

static void threads_share_a_session(void)
{
	struct crowd crowd = { .nr_attached = 0 };
	int i;

	guest_init(&crowd.g);
	pthread_barrier_init(&crowd.start, NULL, NR_THREADS);
	for (i = 1; i <= 50; i++) {
		crowd.session = session_open();
		crowd_runs(&crowd, attach_at_once);
		CHECK_EQ(crowd.nr_attached, i);
		if (i < 50)
			close(crowd.session);
	}
	crowd_runs(&crowd, ask_at_once);
	CHECK_EQ(crowd.nr_wrong, 0);
	close(crowd.session);
	pthread_barrier_destroy(&crowd.start);
	guest_free(&crowd.g);
}

/* ---- Region tables ---- */

static void regions_overlap(void)
{
	struct vmem_region regions[3];
	struct vmem_memslot slots[4];
	struct guest g;
	int session;
	__u32 nr;

	guest_init(&g);
	regions[0] = (struct vmem_region){ MB(2), MB(1), g.region.hva };
	regions[1] = (struct vmem_region){ MB(5), MB(1), g.region.hva };
	regions[2] = (struct vmem_region){ 0, MB(2) + PAGE, g.region.hva };
	session = session_open();
	CHECK_EQ(session_attach_regions(session, regions, 3), -EINVAL);
	regions[2] = (struct vmem_region){ MB(5), MB(1), g.region.hva + MB(1) };
	CHECK_EQ(session_attach_regions(session, regions, 3), -EINVAL);

	/* Side by side they do not overlap, and they come back in order. */
	regions[2] = (struct vmem_region){ 0, MB(2), g.region.hva };
	CHECK_EQ(session_attach_regions(session, regions, 3), 0);
	CHECK_EQ(session_memslots(session, slots, 4, 4, &nr), 0);
	if (CHECK_EQ(nr, 3)) {
		CHECK_EQ(slots[0].gpa, 0);
		CHECK_EQ(slots[0].len, MB(2));
		CHECK_EQ(slots[0].flags, 0);
		CHECK_EQ(slots[0].id, 0);
		CHECK_EQ(slots[1].gpa, MB(2));
		CHECK_EQ(slots[1].id, 1);
		CHECK_EQ(slots[2].gpa, MB(5));
		CHECK_EQ(slots[2].id, 2);
		CHECK_EQ(slots[2].hva, g.region.hva);
	}
	close(session);
	guest_free(&g);
}

static void regions_of_max_nr(void)
{
	struct vmem_region *regions;
	struct vmem_info_args info;
	struct guest_ram ram;
	int session;
	__u32 i;

	session = session_open();
	CHECK_EQ(session_info(session, &info), 0);
	if (!CHECK(info.out_max_regions < 1u << 20))
		goto out_close;
	ram = ram_new(0, (info.out_max_regions + 1) * PAGE);
	regions = calloc(info.out_max_regions + 1, sizeof(*regions));
	must(regions ? 0 : -1, "calloc");
	for (i = 0; i <= info.out_max_regions; i++) {
		regions[i].gpa = i * PAGE;
		regions[i].len = PAGE;
		regions[i].hva = (uintptr_t)ram.hva + i * PAGE;
	}
	CHECK_EQ(session_attach_regions(session, regions,
					info.out_max_regions + 1),
		 -EINVAL);
	CHECK_EQ(session_attach_regions(session, regions, ~0u), -EINVAL);
	CHECK_EQ(session_attach_regions(session, regions, info.out_max_regions),
		 0);
	free(regions);
	ram_free(&ram);
out_close:
	close(session);
}

/* ---- Address spaces and addresses ---- */

/* Asks every command that takes registers, of both kinds of session. */
static void check_regs(const struct guest *g, const char *what,
		       const struct vmem_regs *regs, int want)
{
	const struct command *c;
	struct call call;
	int i, ret;

	for (c = commands; c < commands_end; c++) {
		for (i = 0; c->regs != NONE && i < 2; i++) {
			call.session = i ? open_on_kvm(g) : open_on_regions(g);
			call_fill(&call, c, g);
			memcpy(call.args.bytes + c->regs, regs, sizeof(*regs));
			if (c->cmd == VMEM_SET_SPACES) {
				call.args.set_spaces.regs.cr3 = 0;
				call.cr3 = regs->cr3;
			}
			ret = call_end(&call, c);
			/* Set without a look: the walk tells. */
			if (c->cmd == VMEM_SET_SPACES && want == -ENXIO)
				CHECK_EQ_AT(what, ret, 0);
			else
				CHECK_EQ_AT(what, ret, want);
		}
	}
}

static void root_is_outside(void)
{
	static const __u64 roots[] = {
		0, RAM_GPA - PAGE, RAM_GPA + RAM_LEN, GB(512), GB(1023),
	};
	struct vmem_regs regs;
	struct guest g;
	size_t i;

	guest_init(&g);
	regs = g.regs;
	for (i = 0; i < ARRAY_SIZE(roots); i++) {
		regs.cr3 = roots[i];
		check_regs(&g, "CR3", &regs, -ENXIO);
	}
	guest_free(&g);
}

/* The same with nowhere to write answers to: there are none. */
static void root_is_outside_and_results_too(void)
{
	static const __u64 vas[2];
	struct vmem_translate_args args = {
		.size = sizeof(args),
		.result_size = sizeof(struct vmem_translation),
		.vas = (uintptr_t)vas,
		.results = 1ULL << 63,
	};
	struct guest g;
	int session;

	guest_init(&g);
	session = open_on_kvm(&g);
	args.regs = g.regs;
	args.regs.cr3 = GB(512);
	for (args.nr = 1; args.nr <= 2; args.nr++)
		CHECK_EQ(session_call(session, VMEM_TRANSLATE, &args), -ENXIO);
	close(session);
	guest_free(&g);
}

/*
 * One page, and then more empty tables than a call reads entries; the row goes where
 * the caller has no page yet.
 */
static void row_before_a_desert(void)
{
	struct vmem_mapping *rows = mmap(NULL, MB(1), PROT_READ | PROT_WRITE,
					 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct vmem_map_range_args args = {
		.size = sizeof(args),
		.nr = 1000,
		.mapping_size = sizeof(*rows),
		.mappings = (uintptr_t)rows,
		.last_va = GB(512) - 1,
	};
	__u64 empty, i, pd;
	struct guest g;
	int session;

	must(rows == MAP_FAILED ? -1 : 0, "mmap");
	guest_init(&g);
	for (i = 1; i < NR_MAPPED; i++)
		tables_set(&g.tables, i * 2 * PAGE, VMEM_LEVEL_PT, 0);
	empty = ram_alloc(&g.ram, PAGE);
	for (i = 0; i < 512; i++)
		tables_set(&g.tables, GB(1) + i * MB(2), VMEM_LEVEL_PD,
			   empty | PTE_PWU);
	pd = tables_walk(&g.tables, GB(1)).out_trace[2].entry_gpa & ~(PAGE - 1);
	for (i = 2; i < 512; i++)
		tables_set(&g.tables, i << 30, VMEM_LEVEL_PDPT, pd | PTE_PWU);
	session = open_on_kvm(&g);
	args.regs = g.regs;
	CHECK_EQ(session_call(session, VMEM_MAP_RANGE, &args), 0);
	CHECK_EQ(args.out_nr, 1);
	CHECK(args.out_next_va > 0);
	close(session);
	guest_free(&g);
	munmap(rows, MB(1));
}

static int map_range(const struct guest *g, __u64 va, __u64 last_va)
{
	const struct command *c = command(VMEM_MAP_RANGE);
	struct call call;

	call_init(&call, c, g);
	call.args.map_range.va = va;
	call.args.map_range.last_va = last_va;
	return call_end(&call, c);
}

static int read_at(const struct guest *g, __u64 va, __u64 len)
{
	const struct command *c = command(VMEM_READ);
	struct call call;

	call_init(&call, c, g);
	call.args.read.va = va;
	call.args.read.len = len;
	return call_end(&call, c);
}

static void range_wraps(void)
{
	struct guest g;

	guest_init(&g);
	CHECK_EQ(map_range(&g, 1, 0), -EOVERFLOW);
	CHECK_EQ(map_range(&g, ~0ULL, 0), -EOVERFLOW);
	CHECK_EQ(map_range(&g, ~0ULL, ~0ULL), 0);
	CHECK_EQ(map_range(&g, 0, 0), 0);
	CHECK_EQ(read_at(&g, ~0ULL, 2), -EOVERFLOW);
	CHECK_EQ(read_at(&g, PAGE, ~0ULL), -EOVERFLOW);
	CHECK_EQ(read_at(&g, ~0ULL, 1), 0);
	guest_free(&g);
}

/* ---- Spaces ---- */

struct spans {
	const char *what;
	struct vmem_span spans[3];
	__u32 nr;
	int want;
};

static const struct spans spans[] = {
	{ "one", { { PAGE, 2 * PAGE - 1 } }, 1, 0 },
	{ "one byte", { { 5, 5 } }, 1, 0 },
	{ "all", { { 0, ~0ULL } }, 1, 0 },
	{ "side by side", { { 0, 4 }, { 5, 9 }, { 10, ~0ULL } }, 3, 0 },
	{ "backwards", { { 5, 4 } }, 1, -EINVAL },
	{ "the last backwards", { { 0, 4 }, { 9, 8 } }, 2, -EINVAL },
	{ "out of order", { { 10, 19 }, { 0, 4 } }, 2, -EINVAL },
	{ "overlapping", { { 0, 10 }, { 10, 20 } }, 2, -EINVAL },
	{ "the same twice", { { 0, 10 }, { 0, 10 } }, 2, -EINVAL },
	{ "one in another", { { 0, 10 }, { 20, 30 }, { 25, 26 } }, 3, -EINVAL },
	{ "behind all", { { 0, ~0ULL }, { 0, 4 } }, 2, -EINVAL },
};

static void spaces_excluded(void)
{
	const struct command *c = command(VMEM_SET_SPACES);
	struct call call;
	struct guest g;
	size_t i;

	guest_init(&g);
	for (i = 0; i < ARRAY_SIZE(spans); i++) {
		call_init(&call, c, &g);
		call.args.set_spaces.nr_excluded = spans[i].nr;
		call.args.set_spaces.excluded = (uintptr_t)spans[i].spans;
		CHECK_EQ_AT(spans[i].what, call_end(&call, c), spans[i].want);
	}

	/* Where there are none, nothing is read. */
	call_init(&call, c, &g);
	call.args.set_spaces.nr_excluded = 0;
	call.args.set_spaces.excluded = ~7ULL;
	CHECK_EQ(call_end(&call, c), 0);
	guest_free(&g);
}

static int set_nr(const struct guest *g, const __u64 *cr3, __u32 nr_cr3,
		  const struct vmem_span *excluded, __u32 nr_excluded)
{
	const struct session_spaces spaces = {
		.regs = g->regs,
		.cr3 = cr3,
		.nr_cr3 = nr_cr3,
		.excluded = excluded,
		.nr_excluded = nr_excluded,
		.last_va = ~0ULL,
	};
	int session = open_on_kvm(g);
	int ret = session_set_spaces(session, &spaces);

	close(session);
	return ret;
}

static void spaces_of_max_nr(void)
{
	struct vmem_span excluded[VMEM_MAX_EXCLUDED + 1];
	__u64 cr3[VMEM_MAX_ROOTS + 1];
	struct guest g;
	__u64 i;

	guest_init(&g);
	for (i = 0; i < ARRAY_SIZE(cr3); i++)
		cr3[i] = i * PAGE;
	for (i = 0; i < ARRAY_SIZE(excluded); i++)
		excluded[i] = (struct vmem_span){ i * PAGE, i * PAGE };
	CHECK_EQ(set_nr(&g, cr3, 0, NULL, 0), -EINVAL);
	CHECK_EQ(set_nr(&g, cr3, 1, NULL, 0), 0);
	CHECK_EQ(set_nr(&g, cr3, VMEM_MAX_ROOTS, NULL, 0), 0);
	CHECK_EQ(set_nr(&g, cr3, VMEM_MAX_ROOTS + 1, NULL, 0), -EINVAL);
	CHECK_EQ(set_nr(&g, cr3, ~0u, NULL, 0), -EINVAL);
	CHECK_EQ(set_nr(&g, cr3, 1, excluded, VMEM_MAX_EXCLUDED), 0);
	CHECK_EQ(set_nr(&g, cr3, 1, excluded, VMEM_MAX_EXCLUDED + 1), -EINVAL);
	CHECK_EQ(set_nr(&g, cr3, 1, excluded, ~0u), -EINVAL);
	guest_free(&g);
}

/* A fresh page, and none behind it. */
static __u8 *page_before_a_hole(void)
{
	__u8 *p;

	p = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(p == MAP_FAILED ? -1 : 0, "mmap");
	must(mprotect(p + PAGE, PAGE, PROT_NONE), "mprotect");
	return p;
}

static void free_page_before_a_hole(__u8 *p)
{
	munmap(p, 2 * PAGE);
}

/* The last of the roots cannot be read: none of them was set. */
static void spaces_set_in_part(void)
{
	__u8 *p = page_before_a_hole();
	const __u64 *cr3 = (__u64 *)(p + PAGE) - 3;
	const struct vmem_span *excluded = (struct vmem_span *)(p + PAGE) - 1;
	struct session_records records = { .per_call = 1 };
	struct session_spaces spaces;
	struct guest g;
	int session;

	guest_init(&g);
	spaces = (struct session_spaces){
		.regs = g.regs,
		.cr3 = cr3,
		.nr_cr3 = 4,
		.last_va = ~0ULL,
	};
	session = open_on_kvm(&g);
	CHECK_EQ(session_set_spaces(session, &spaces), -EFAULT);
	spaces.nr_cr3 = 3;
	spaces.excluded = excluded;
	spaces.nr_excluded = 2;
	CHECK_EQ(session_set_spaces(session, &spaces), -EFAULT);
	CHECK_EQ(session_walk_spaces(session, &records), -ENODATA);
	spaces.nr_excluded = 1;
	CHECK_EQ(session_set_spaces(session, &spaces), 0);
	close(session);
	free(records.rows);
	guest_free(&g);
	free_page_before_a_hole(p);
}

static void spaces_range(void)
{
	static const struct {
		__u64 va, last_va;
		int want;
	} ranges[] = {
		{ 1, 0, -EOVERFLOW }, { ~0ULL, 0, -EOVERFLOW }, { 0, 0, 0 },
		{ ~0ULL, ~0ULL, 0 },  { 0, ~0ULL, 0 },
	};
	const struct command *c = command(VMEM_SET_SPACES);
	struct call call;
	struct guest g;
	size_t i;

	guest_init(&g);
	for (i = 0; i < ARRAY_SIZE(ranges); i++) {
		call_init(&call, c, &g);
		call.args.set_spaces.va = ranges[i].va;
		call.args.set_spaces.last_va = ranges[i].last_va;
		CHECK_EQ(call_end(&call, c), ranges[i].want);
	}
	call_init(&call, c, &g);
	call.args.set_spaces.regs.cr3 = g.regs.cr3;
	CHECK_EQ(call_end(&call, c), -EINVAL);
	call_init(&call, c, &g);
	call.args.set_spaces.regs.cr3 = 1;
	CHECK_EQ(call_end(&call, c), -EINVAL);
	guest_free(&g);
}

static void spaces_set_twice(void)
{
	const struct command *c = command(VMEM_SET_SPACES);
	struct call call;
	struct guest g;

	guest_init(&g);
	call_init(&call, c, &g);
	CHECK_EQ(session_call(call.session, c->cmd, call.args.bytes), 0);
	CHECK_EQ(session_call(call.session, c->cmd, call.args.bytes), -EISCONN);
	CHECK_EQ(call_end(&call, c), -EISCONN);
	guest_free(&g);
}

static void spaces_not_set(void)
{
	struct session_records records = { .per_call = 1 };
	struct vmem_translation result;
	__u64 va = 0;
	struct guest g;
	int session;

	guest_init(&g);
	session = open_on_kvm(&g);
	CHECK_EQ(session_walk_spaces(session, &records), -ENODATA);
	CHECK_EQ(session_translate_in(session, 0, &va, 1, &result), -ENODATA);
	CHECK_EQ(session_translate_in(session, 9, &va, 1, &result), -ENODATA);
	close(session);
	free(records.rows);
	guest_free(&g);
}

/* VMEM_TRANSLATE by @flags, on a session whose one space was walked. */
static int translate_by(const struct guest *g, __u32 flags, __u32 root,
			const struct vmem_regs *regs)
{
	const struct command *c = command(VMEM_TRANSLATE);
	struct session_records records = { .per_call = 100 };
	struct call call;

	call_init(&call, c, g);
	set_spaces(call.session, g);
	CHECK_EQ(session_walk_spaces(call.session, &records), 0);
	free(records.rows);
	call.args.translate.flags = flags;
	call.args.translate.root = root;
	call.args.translate.regs = *regs;
	return call_end(&call, c);
}

static void spaces_translate_args(void)
{
	const __u32 by_space = VMEM_TRANSLATE_SPACES;
	const struct vmem_regs none = { .cr0 = 0 };
	struct vmem_regs regs;
	struct guest g;
	size_t i;

	guest_init(&g);
	CHECK_EQ(translate_by(&g, 0, 0, &g.regs), 0);
	CHECK_EQ(translate_by(&g, 0, 1, &g.regs), -EINVAL);
	CHECK_EQ(translate_by(&g, 0, ~0u, &g.regs), -EINVAL);
	CHECK_EQ(translate_by(&g, 0, 0, &none), -EINVAL);
	CHECK_EQ(translate_by(&g, by_space, 0, &none), 0);
	CHECK_EQ(translate_by(&g, by_space, 1, &none), -EINVAL);
	CHECK_EQ(translate_by(&g, by_space, ~0u, &none), -EINVAL);
	CHECK_EQ(translate_by(&g, by_space, 0, &g.regs), -EINVAL);
	CHECK_EQ(translate_by(&g, by_space | 2, 0, &none), -EOPNOTSUPP);

	/* Not one byte of them. */
	for (i = 0; i < sizeof(regs); i++) {
		memset(&regs, 0, sizeof(regs));
		((__u8 *)&regs)[i] = 0x80;
		CHECK_EQ(translate_by(&g, by_space, 0, &regs), -EINVAL);
	}
	guest_free(&g);
}

static void child_and_the_parents_spaces(void *arg)
{
	const int *session = arg;
	struct session_records records = { .per_call = 1 };

	CHECK_EQ(session_walk_spaces(*session, &records), -EPERM);
}

static void child_sets_the_parents_spaces(void *arg)
{
	const struct guest *g = arg;
	const struct session_spaces spaces = {
		.regs = g->regs,
		.cr3 = &g->regs.cr3,
		.nr_cr3 = 1,
		.last_va = ~0ULL,
	};

	CHECK_EQ(session_set_spaces(g->session, &spaces), -EPERM);
}

static void spaces_of_the_parents_regions(void)
{
	struct guest g;

	guest_init(&g);
	g.session = open_on_regions(&g);
	ktap_wait(ktap_fork(child_sets_the_parents_spaces, &g));
	set_spaces(g.session, &g);
	ktap_wait(ktap_fork(child_and_the_parents_spaces, &g.session));
	close(g.session);
	guest_free(&g);
}

/* ---- Who may ask ---- */

/* Nothing is locked, so who may lock nothing can ask. */
static void nobody_asks_with_no_memlock(void *arg)
{
	static const struct rlimit none;
	struct guest *g = arg;
	struct vmem_translation result;
	int session = open_on_regions(g);

	must(setrlimit(RLIMIT_MEMLOCK, &none), "setrlimit");
	become_nobody();
	CHECK_EQ(session_translate_one(session, &g->regs, 0, &result), 0);
	CHECK_EQ(result.out_status, VMEM_MAPPED);
	close(session);
}

static void no_memory_is_locked(void)
{
	struct guest g;

	guest_init(&g);
	ktap_wait(ktap_fork(nobody_asks_with_no_memlock, &g));
	guest_free(&g);
}

static void child_and_the_parents_vm(void *arg)
{
	struct guest *g = arg;
	struct vmem_translation result;
	int session = session_open();
	int spare = session_open();

	/* Still root here, and so still allowed to. */
	CHECK_EQ(session_attach_kvm(session, g->vm_fd), 0);
	CHECK_EQ(session_translate_one(session, &g->regs, 0, &result), 0);
	close(session);
	become_nobody();
	CHECK_EQ(session_attach_kvm(spare, g->vm_fd), -EPERM);
	close(spare);
}

static void vm_of_somebody_else(void)
{
	struct guest g;

	guest_init(&g);
	ktap_wait(ktap_fork(child_and_the_parents_vm, &g));
	guest_free(&g);
}

static void nobody_and_its_own_vm(void *arg)
{
	struct vmem_translation result;
	struct guest g;
	int session;

	(void)arg;
	guest_init(&g);
	session = session_open();
	become_nobody();
	CHECK_EQ(session_attach_kvm(session, g.vm_fd), 0);
	CHECK_EQ(session_translate_one(session, &g.regs, 0, &result), 0);
	CHECK_EQ(result.out_status, VMEM_MAPPED);
	close(session);
}

static void vm_of_ones_own(void)
{
	ktap_wait(ktap_fork(nobody_and_its_own_vm, NULL));
}

/* ---- When the process is gone ---- */

struct gone {
	int tell[2];
	int leave[2];
};

static void make_vm_and_go(void *arg)
{
	struct gone *pipes = arg;
	struct guest g;
	char c;

	close(pipes->leave[1]);
	guest_init(&g);
	must(write(pipes->tell[1], &g, sizeof(g)), "write");
	must(read(pipes->leave[0], &c, 1), "read");
}

static void check_gone(int session, const struct vmem_regs *regs)
{
	struct vmem_translation result;
	struct vmem_mapping row;
	struct session_maps maps = { .rows = &row, .room = 1, .per_call = 1 };
	struct vmem_read_args end;
	char byte;

	CHECK_EQ(session_translate_one(session, regs, 0, &result), -ESRCH);
	CHECK_EQ(session_map_range(session, regs, 0, ~0ULL, &maps), -ESRCH);
	CHECK_EQ(session_read(session, regs, 0, &byte, 1, &end), -ESRCH);
}

static void vm_of_a_process_gone(void)
{
	int before = session_open(), after = session_open();
	struct gone pipes;
	struct guest g;
	pid_t child;
	int vm_fd;

	must(pipe(pipes.tell), "pipe");
	must(pipe(pipes.leave), "pipe");
	child = ktap_fork(make_vm_and_go, &pipes);
	close(pipes.leave[0]);
	errno = EPIPE;
	must(read(pipes.tell[0], &g, sizeof(g)) == sizeof(g) ? 0 : -1,
	     "the child's VM");
	vm_fd = fd_of_process(child, g.vm_fd);
	CHECK_EQ(session_attach_kvm(before, vm_fd), 0);
	close(pipes.leave[1]);
	ktap_wait(child);

	check_gone(before, &g.regs);
	CHECK_EQ(session_attach_kvm(after, vm_fd), -ESRCH);
	close(before);
	close(after);
	close(vm_fd);
	close(pipes.tell[0]);
	close(pipes.tell[1]);
}

static long long lost_at_start;

static void no_pages_lost(void)
{
	CHECK_EQ(pages_lost(), lost_at_start);
}

static const struct ktap_case cases[] = {
	{ "size_is_refused", size_is_refused },
	{ "size_is_taken", size_is_taken },
	{ "outputs_are_written", outputs_are_written },
	{ "unknown_command", unknown_command },
	{ "element_shortened", element_shortened },
	{ "element_grown", element_grown },
	{ "region_grown", region_grown },
	{ "not_connected", not_connected },
	{ "attached_twice", attached_twice },
	{ "attached_after_a_refusal", attached_after_a_refusal },
	{ "info_of_each_source", info_of_each_source },
	{ "descriptor_is_not_a_vm", descriptor_is_not_a_vm },
	{ "threads_share_a_session", threads_share_a_session },
	{ "regions_overlap", regions_overlap },
	{ "regions_of_max_nr", regions_of_max_nr },
	{ "root_is_outside", root_is_outside },
	{ "root_is_outside_and_results_too", root_is_outside_and_results_too },
	{ "row_before_a_desert", row_before_a_desert },
	{ "range_wraps", range_wraps },
	{ "spaces_excluded", spaces_excluded },
	{ "spaces_of_max_nr", spaces_of_max_nr },
	{ "spaces_set_in_part", spaces_set_in_part },
	{ "spaces_range", spaces_range },
	{ "spaces_set_twice", spaces_set_twice },
	{ "spaces_not_set", spaces_not_set },
	{ "spaces_translate_args", spaces_translate_args },
	{ "spaces_of_the_parents_regions", spaces_of_the_parents_regions },
	{ "no_memory_is_locked", no_memory_is_locked },
	{ "vm_of_somebody_else", vm_of_somebody_else },
	{ "vm_of_ones_own", vm_of_ones_own },
	{ "vm_of_a_process_gone", vm_of_a_process_gone },
	{ "no_pages_lost", no_pages_lost },
};

int main(void)
{
	lost_at_start = pages_lost_before();
	return ktap_main(cases, ARRAY_SIZE(cases));
}
