// SPDX-License-Identifier: GPL-2.0-only
/*
 * modes.c - several paging modes in one VM, and a guest that changes its own
 *
 * Nothing says in what mode a table was made: the registers that come with a question
 * do. Each answer here is the right one for them, or a status that says why there is
 * none, whatever mode the tables are of.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <linux/kvm.h>

#include "ktap.h"
#include "modes_guest.h"
#include "vcpu.h"
#include "world.h"

#define RAM_LEN MB(8)

/* Which of the formats a vCPU of this machine can have: all but 5-level, at least. */
static int nr_formats(void)
{
	return vcpu_can_la57() ? NR_FORMATS : FORMAT_LA57;
}

/* ---- vCPUs in different modes ---- */

#define MODE_OFF NR_FORMATS

/* Each space maps this to a page of its own. */
#define VA MB(4)

static __u64 page_of(int format)
{
	return GB(1) + (__u64)format * 3 * PAGE;
}

/**
 * struct crew - a VM with a vCPU in each mode, and a space of each
 * @w: the VM
 * @spaces: the spaces
 * @vcpus: the vCPUs; the last one does not page
 * @session: a session on the VM
 */
struct crew {
	struct world w;
	struct tables spaces[NR_FORMATS];
	struct vcpu vcpus[NR_FORMATS + 1];
	int session;
};

static void crew_init(struct crew *crew)
{
	struct vmem_regs regs;
	int i;

	world_init(&crew->w, RAM_LEN);
	for (i = 0; i < NR_FORMATS; i++) {
		crew->spaces[i] = world_add(&crew->w, &formats[i]);
		tables_map(&crew->spaces[i], VA, page_of(i), VMEM_LEVEL_PT,
			   PTE_PWU);
	}
	for (i = 0; i <= NR_FORMATS; i++) {
		vcpu_init(&crew->vcpus[i], crew->w.kvm_fd, crew->w.vm_fd,
			  (__u32)i);
		if (i >= nr_formats())
			continue;
		regs = tables_regs(&crew->spaces[i]);
		vcpu_set_mode(&crew->vcpus[i], &regs);
	}
	crew->session = session_open();
	CHECK_EQ(session_attach_kvm(crew->session, crew->w.vm_fd), 0);
}

static void crew_free(struct crew *crew)
{
	int i;

	close(crew->session);
	for (i = 0; i <= NR_FORMATS; i++)
		vcpu_free(&crew->vcpus[i]);
	world_free(&crew->w);
}

/* What VMEM_VCPU says, with the CR3 of that space. */
static struct vmem_regs vcpu_regs(const struct crew *crew, int vcpu, int space)
{
	struct vmem_vcpu_args args;

	CHECK_EQ(session_vcpu(crew->session, (__u32)vcpu, &args), 0);
	args.out_regs.cr3 = crew->spaces[space].root;
	return args.out_regs;
}

static void vcpus_in_each_mode(void)
{
	struct vmem_translation tr;
	struct vmem_regs regs;
	struct crew crew;
	int i;

	crew_init(&crew);
	for (i = 0; i < nr_formats(); i++) {
		regs = vcpu_regs(&crew, i, i);
		CHECK_EQ_AT(formats[i].name,
			    session_translate_one(crew.session, &regs, VA, &tr),
			    0);
		CHECK_EQ_AT(formats[i].name, tr.out_status, VMEM_MAPPED);
		CHECK_EQ_AT(formats[i].name, tr.out_gpa, page_of(i));
		CHECK_EQ_AT(formats[i].name, tr.out_nr_trace,
			    crew.spaces[i].top);
	}
	for (i = 0; i < NR_FORMATS; i++) {
		regs = vcpu_regs(&crew, MODE_OFF, i);
		CHECK_EQ_AT("off",
			    session_translate_one(crew.session, &regs, VA, &tr),
			    -EINVAL);
	}
	crew_free(&crew);
}

/* ---- Tables of one mode, read by registers of another ---- */

#define BITS(last, first) ((~0ULL >> (63 - (last))) & (~0ULL << (first)))

static bool is_reserved_in_long_mode(int level, __u64 raw)
{
	if (level >= VMEM_LEVEL_PML4)
		return raw & PTE_PS;
	if (level == VMEM_LEVEL_PDPT && raw & PTE_PS)
		return raw & BITS(29, 13);
	return level == VMEM_LEVEL_PD && raw & PTE_PS && raw & BITS(20, 13);
}

static bool is_reserved_in_pae(int level, __u64 raw)
{
	if (raw & BITS(62, 52))
		return true;
	if (level == VMEM_LEVEL_PDPT)
		return raw & (BITS(2, 1) | BITS(8, 6) | PTE_NX);
	return level == VMEM_LEVEL_PD && raw & PTE_PS && raw & BITS(20, 13);
}

/* By MAXPHYADDR 40, and no rules. */
static bool is_reserved(const struct tables *t, int level, __u64 raw)
{
	if (!(raw & PTE_P))
		return false;
	if (t->top == VMEM_LEVEL_PD)
		return level == VMEM_LEVEL_PD && raw & PTE_PS &&
		       raw & BIT_ULL(21);
	if (raw & BITS(51, 40))
		return true;
	return tables_are_long(t) ? is_reserved_in_long_mode(level, raw) :
				    is_reserved_in_pae(level, raw);
}

/* The naive walk, but it ends where an entry is reserved. */
static struct vmem_translation walk(const struct tables *t, __u64 va)
{
	struct vmem_translation tr = tables_walk(t, va), end = { .out_gpa = 0 };
	__u32 i;

	for (i = 0; i < tr.out_nr_trace; i++) {
		int level = t->top - (int)i;

		end.out_trace[i] = tr.out_trace[i];
		if (!is_reserved(t, level, tr.out_trace[i].raw))
			continue;
		end.out_status = VMEM_RESERVED;
		end.out_level = (__u32)level;
		end.out_nr_trace = i + 1;
		return end;
	}
	return tr;
}

static void check_walked(const char *what, int session, const struct tables *t,
			 __u64 va)
{
	const struct vmem_regs regs = tables_regs(t);
	struct vmem_translation want = walk(t, va), got;

	CHECK_EQ_AT(what, session_translate_one(session, &regs, va, &got), 0);
	CHECK_EQ_AT(what, got.out_status, want.out_status);
	CHECK_EQ_AT(what, got.out_level, want.out_level);
	CHECK_EQ_AT(what, got.out_gpa, want.out_gpa);
	CHECK_EQ_AT(what, got.out_page_size, want.out_page_size);
	CHECK_EQ_AT(what, got.out_perms, want.out_perms);
	CHECK_EQ_AT(what, got.out_nr_trace, want.out_nr_trace);
	CHECK_EQ_AT(what,
		    memcmp(got.out_trace, want.out_trace,
			   sizeof(want.out_trace)),
		    0);
}

static void fill_spaces(struct crew *crew)
{
	struct tables *t;
	__u64 i;

	for (t = crew->spaces; t < crew->spaces + NR_FORMATS; t++) {
		world_scatter(t, MB(8), 20);
		for (i = 0; i < 20; i++)
			tables_map(t, i * PAGE, WORLD_GPA + i * PAGE,
				   VMEM_LEVEL_PT, i % 3 ? PTE_PWU : PTE_P);
		tables_map(t, GB(1), GB(2) + MB(8), VMEM_LEVEL_PD, PTE_PWU);
		if (tables_are_long(t))
			tables_map(t, GB(5), GB(3), VMEM_LEVEL_PDPT, PTE_P);
	}
}

/* Roots of every mode, by the registers of every mode. */
static void roots_of_another_mode(void)
{
	static const __u64 vas[] = {
		0,     PAGE,  MB(2),   MB(4), MB(8),	       GB(1),
		GB(2), GB(5), GB(512), -PAGE, BIT_ULL(47) - 1, BIT_ULL(47),
	};
	struct crew crew;
	char what[64];
	int by, of;
	size_t i;

	crew_init(&crew);
	fill_spaces(&crew);
	for (by = 0; by < NR_FORMATS; by++)
		for (of = 0; of < NR_FORMATS; of++) {
			struct tables t = crew.spaces[by];

			t.root = crew.spaces[of].root;
			snprintf(what, sizeof(what), "%s by %s",
				 formats[of].name, formats[by].name);
			for (i = 0; i < ARRAY_SIZE(vas); i++)
				check_walked(what, crew.session, &t, vas[i]);
		}
	crew_free(&crew);
}

/* The pages of the spaces that are of the registers' mode are found among others. */
static void check_own_pages(const struct session_records *records, int root)
{
	__u32 i, nr = 0;

	for (i = 0; i < records->nr; i++) {
		const struct vmem_record *r = &records->rows[i];

		nr += r->type == VMEM_THIS_SPACE && r->root == (__u32)root &&
		      r->mapping.va == VA && r->mapping.gpa == page_of(root);
	}
	CHECK_EQ_AT(formats[root].name, nr, 1);
}

/* One call, roots of every mode: all are read by the registers of the call. */
static void roots_of_every_mode_in_one_call(void)
{
	struct session_records records = { .per_call = 4096 };
	struct crew crew;
	int i;

	crew_init(&crew);
	for (i = 0; i < NR_FORMATS; i++) {
		crew.w.spaces.regs = tables_regs(&crew.spaces[i]);
		crew.w.spaces.regs.cr3 = 0;
		world_walk(&crew.w, &records);
		check_own_pages(&records, i);
		check_expansion(&crew.w, &records);
		printf("# by %s: %u records, %llu anomalies\n", formats[i].name,
		       records.nr, records.stats.anomalies);
	}
	free(records.rows);
	crew_free(&crew);
}

/* ---- A guest that changes its mode ---- */

/**
 * struct changing - a VM whose vCPU goes from mode to mode
 * @crew: the VM; its vCPU 0 is the one
 * @nr: how many modes it has
 * @data: its data
 * @counters: what it counts up in each mode
 * @ended: it runs no more
 * @seen: how often VMEM_VCPU said that it was in each; the last is none of them
 */
struct changing {
	struct crew crew;
	int nr;
	__u8 *data;
	__u32 *counters[NR_FORMATS];
	int ended;
	__u64 seen[NR_FORMATS + 1];
};

static void put_32(struct changing *c, __u64 at, __u64 value)
{
	const __u32 word = (__u32)value;

	memcpy(c->data + at, &word, sizeof(word));
}

static void put_mode(struct changing *c, int i)
{
	const struct vmem_regs regs = tables_regs(&c->crew.spaces[i]);
	const __u64 at = DATA_MODES + (__u64)i * MODE_SIZE;

	put_32(c, at + MODE_CR3, regs.cr3);
	put_32(c, at + MODE_CR4, regs.cr4);
	/* LMA is not for a guest to write. */
	put_32(c, at + MODE_EFER, regs.efer & ~EFER_LMA);
	put_32(c, at + MODE_LONG, tables_are_long(&c->crew.spaces[i]));
	put_32(c, at + MODE_PDPTES, i == FORMAT_PAE ? regs.cr3 : 0);
}

static void put_data(struct changing *c, __u64 code)
{
	static const __u64 gdt[] = {
		0,
		0x00cf9b000000ffff,
		0x00cf93000000ffff,
		0x00af9b000000ffff,
	};
	int i;

	memcpy(c->data + DATA_GDT, gdt, sizeof(gdt));
	put_32(c, DATA_NR, (__u64)c->nr);
	put_32(c, DATA_TO_64, code + (__u64)(guest_modes_64 - guest_modes));
	put_32(c, DATA_TO_64 + 4, SELECTOR_64);
	put_32(c, DATA_TO_32, code + (__u64)(guest_modes_32 - guest_modes));
	put_32(c, DATA_TO_32 + 4, SELECTOR_32);
	for (i = 0; i < c->nr; i++)
		put_mode(c, i);
}

/* In 2-level paging, where it begins. */
static void start(struct changing *c, __u64 code, __u64 data)
{
	const struct vmem_regs regs = tables_regs(&c->crew.spaces[0]);
	const struct vcpu *vcpu = &c->crew.vcpus[0];
	const struct kvm_regs kvm_regs = {
		.rip = code,
		.rflags = VCPU_RFLAGS,
		.rbx = data,
	};
	struct kvm_sregs sregs;

	vcpu_set_mode(vcpu, &regs);
	must(ioctl(vcpu->fd, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
	sregs.gdt.base = data + DATA_GDT;
	sregs.gdt.limit = 4 * 8 - 1;
	must(ioctl(vcpu->fd, KVM_SET_SREGS, &sregs), "KVM_SET_SREGS");
	vcpu_set_regs(vcpu, &kvm_regs);
}

static void changing_init(struct changing *c)
{
	struct guest_ram *ram = &c->crew.w.ram;
	__u64 code, data, page;
	int i;

	memset(c, 0, sizeof(*c));
	crew_init(&c->crew);
	c->nr = nr_formats();
	code = ram_alloc(ram, PAGE);
	data = ram_alloc(ram, PAGE);
	c->data = ram_ptr(ram, data);
	memcpy(ram_ptr(ram, code), guest_modes,
	       (size_t)(guest_modes_end - guest_modes));
	for (i = 0; i < c->nr; i++) {
		struct tables *t = &c->crew.spaces[i];

		page = ram_alloc(ram, PAGE);
		c->counters[i] = ram_ptr(ram, page);
		tables_map(t, COUNTER_VA, page, VMEM_LEVEL_PT, PTE_P | PTE_W);
		tables_map(t, code, code, VMEM_LEVEL_PT, PTE_P);
		tables_map(t, data, data, VMEM_LEVEL_PT, PTE_P | PTE_W);
	}
	put_data(c, code);
	start(c, code, data);
}

static void *run_guest(void *arg)
{
	struct changing *c = arg;
	__u32 reason = vcpu_run(&c->crew.vcpus[0]);

	__atomic_store_n(&c->ended, 1, __ATOMIC_SEQ_CST);
	return (void *)(uintptr_t)reason;
}

/* The mode that they are of; NR_FORMATS for none, or for a mixture of two. */
static int mode_of(const struct changing *c, const struct vmem_regs *regs)
{
	struct vmem_regs mode;
	int i;

	for (i = 0; i < c->nr; i++) {
		mode = tables_regs(&c->crew.spaces[i]);
		if (regs->cr0 == mode.cr0 && regs->cr4 == mode.cr4 &&
		    (regs->efer | EFER_LMA) == (mode.efer | EFER_LMA))
			return i;
	}
	return NR_FORMATS;
}

/* The registers of its mode, or of its way there. */
static void ask_by_the_vcpu(struct changing *c, int space)
{
	struct vmem_mapping rows[64];
	struct session_maps maps = { .rows = rows, .room = 64, .per_call = 64 };
	struct vmem_regs regs = vcpu_regs(&c->crew, 0, space);
	int mode = mode_of(c, &regs), ret;
	struct vmem_translation tr;

	c->seen[mode]++;
	ret = session_translate_one(c->crew.session, &regs, VA, &tr);
	if (mode == NR_FORMATS && ret == -EINVAL)
		return;
	CHECK_EQ(ret, 0);
	if (mode == space) {
		CHECK_EQ(tr.out_status, VMEM_MAPPED);
		CHECK_EQ(tr.out_gpa, page_of(space));
	}
	CHECK_EQ(session_map_range(c->crew.session, &regs, 0, GB(4) - 1, &maps),
		 0);
}

/* These tables are as they were, in whatever mode the vCPU is. */
static void ask_by_its_space(struct changing *c, int space)
{
	const struct vmem_regs regs = tables_regs(&c->crew.spaces[space]);
	struct vmem_translation tr;

	CHECK_EQ(session_translate_one(c->crew.session, &regs, VA, &tr), 0);
	CHECK_EQ(tr.out_status, VMEM_MAPPED);
	CHECK_EQ(tr.out_gpa, page_of(space));
	CHECK_EQ(session_translate_one(c->crew.session, &regs, COUNTER_VA, &tr),
		 0);
	CHECK_EQ(tr.out_status, VMEM_MAPPED);
	CHECK(ram_ptr(&c->crew.w.ram, tr.out_gpa) == c->counters[space]);
}

static bool seen_in_all(const struct changing *c)
{
	int i;

	if (__atomic_load_n(&c->ended, __ATOMIC_SEQ_CST))
		return true;
	for (i = 0; i < c->nr; i++)
		if (!c->seen[i])
			return false;
	return true;
}

static void guest_changes_its_mode(void)
{
	static struct changing c;
	void *reason = NULL;
	pthread_t thread;
	int i, rounds;

	changing_init(&c);
	errno = pthread_create(&thread, NULL, run_guest, &c);
	must(errno ? -1 : 0, "pthread_create");
	for (rounds = 0; !ktap_reason[0] && (rounds < 2000 || !seen_in_all(&c));
	     rounds++) {
		ask_by_the_vcpu(&c, rounds % c.nr);
		ask_by_its_space(&c, rounds % c.nr);
	}
	__atomic_store_n((__u32 *)(c.data + DATA_STOP), 1, __ATOMIC_SEQ_CST);
	pthread_join(thread, &reason);
	CHECK_EQ((uintptr_t)reason, KVM_EXIT_HLT);
	for (i = 0; i < c.nr; i++) {
		CHECK(c.seen[i]);
		printf("# %s: %u times, seen %llu times\n", formats[i].name,
		       *c.counters[i], c.seen[i]);
		CHECK(*c.counters[i]);
	}
	printf("# between two modes: seen %llu times\n", c.seen[NR_FORMATS]);
	crew_free(&c.crew);
}

static long long lost_at_start;

static void no_pages_lost(void)
{
	CHECK_EQ(pages_lost(), lost_at_start);
}

static const struct ktap_case cases[] = {
	{ "vcpus_in_each_mode", vcpus_in_each_mode },
	{ "roots_of_another_mode", roots_of_another_mode },
	{ "roots_of_every_mode_in_one_call", roots_of_every_mode_in_one_call },
	{ "guest_changes_its_mode", guest_changes_its_mode },
	{ "no_pages_lost", no_pages_lost },
};

int main(void)
{
	lost_at_start = pages_lost_before();
	return ktap_main(cases, ARRAY_SIZE(cases));
}
