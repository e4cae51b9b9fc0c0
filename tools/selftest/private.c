// SPDX-License-Identifier: GPL-2.0-only
/*
 * private.c - memory and registers that a guest keeps from the host are an answer with
 * a reason
 *
 * The lab's processor has neither SEV nor TDX, so tests/vmem_disguise.ko has KVM take an
 * ordinary VM for one that has. Then pages are made private by KVM's own ioctl.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <linux/kvm.h>

#include "commands.h"
#include "file.h"
#include "folder.h"
#include "kernel/disguise.h"
#include "ktap.h"
#include "module.h"
#include "world.h"

/* Types of VMs, of 6.10 and later. */
#define TYPE_DEFAULT 0
#define TYPE_SEV 2
#define TYPE_SEV_ES 3

/* Where AMD's processors have it, above the 36 bits of a vCPU without CPUID. */
#define ENCRYPTION_BIT 47

/* What the headers of 6.1 do not have. */
#ifndef KVM_MEMORY_ATTRIBUTE_PRIVATE
#define KVM_MEMORY_ATTRIBUTE_PRIVATE BIT_ULL(3)
#define KVM_SET_MEMORY_ATTRIBUTES \
	_IOW(KVMIO, 0xd2, struct kvm_memory_attributes)
struct kvm_memory_attributes {
	__u64 address;
	__u64 size;
	__u64 attributes;
	__u64 flags;
};

#define KVM_CREATE_GUEST_MEMFD _IOWR(KVMIO, 0xd4, struct kvm_create_guest_memfd)
struct kvm_create_guest_memfd {
	__u64 size;
	__u64 flags;
	__u64 reserved[6];
};

#define KVM_MEM_GUEST_MEMFD BIT_ULL(2)
#define KVM_SET_USER_MEMORY_REGION2 \
	_IOW(KVMIO, 0x49, struct kvm_userspace_memory_region2)
struct kvm_userspace_memory_region2 {
	__u32 slot;
	__u32 flags;
	__u64 guest_phys_addr;
	__u64 memory_size;
	__u64 userspace_addr;
	__u64 guest_memfd_offset;
	__u32 guest_memfd;
	__u32 pad1;
	__u64 pad2[14];
};
#endif

/* Leads to the page at DATA_VA, by tables of its own. */
#define DATA_VA GB(5)
#define DATA 0x11

/**
 * struct subject - a VM in disguise, and a session that was attached to it then
 * @g: the VM
 * @data: a page of its memory, all DATA, which DATA_VA leads to
 * @session: the session
 */
struct subject {
	struct guest g;
	__u64 data;
	int session;
};

static int try_disguise(const struct guest *g, enum disguise_what what,
			__u64 value)
{
	const struct disguise d = {
		.vm_fd = g->vm_fd,
		.what = what,
		.value = value,
	};
	int fd, ret;

	module_insert_test("vmem_disguise");
	fd = (int)must(open("/dev/vmem-disguise", O_WRONLY | O_CLOEXEC),
		       "/dev/vmem-disguise");
	ret = write(fd, &d, sizeof(d)) < 0 ? -errno : 0;
	close(fd);
	return ret;
}

/* The same; false, and the case is skipped, if this kernel has no such VMs. */
static bool disguised(const struct guest *g, enum disguise_what what,
		      __u64 value)
{
	int ret = try_disguise(g, what, value);

	if (skip_without(ret != -EOPNOTSUPP,
			 what == DISGUISE_PRIVATE ?
				 "VMs with private memory (6.10 has)" :
				 "types of VMs (6.10 has)"))
		return false;
	return CHECK_EQ(ret, 0);
}

static __u32 protection(int session)
{
	struct vmem_info_args info;

	CHECK_EQ(session_info(session, &info), 0);
	return info.out_protection;
}

/* With a VM that looks so, and after it as it is. */
static void with_subject(enum disguise_what what, __u64 value, __u64 undo,
			 void (*test)(struct subject *s))
{
	struct subject s;

	guest_init(&s.g);
	s.data = ram_alloc(&s.g.ram, PAGE);
	memset(ram_ptr(&s.g.ram, s.data), DATA, PAGE);
	tables_map(&s.g.tables, DATA_VA, s.data, VMEM_LEVEL_PT, PTE_PWU);
	if (disguised(&s.g, what, value)) {
		s.session = open_on_kvm(&s.g);
		test(&s);
		close(s.session);
		CHECK_EQ(try_disguise(&s.g, what, undo), 0);
	}
	guest_free(&s.g);
}

static void with_private(void (*test)(struct subject *s))
{
	with_subject(DISGUISE_PRIVATE, true, false, test);
}

static void set_attributes(const struct guest *g, __u64 gpa, __u64 len,
			   __u64 attributes)
{
	const struct kvm_memory_attributes args = {
		.address = gpa,
		.size = len,
		.attributes = attributes,
	};

	must(ioctl(g->vm_fd, KVM_SET_MEMORY_ATTRIBUTES, &args),
	     "KVM_SET_MEMORY_ATTRIBUTES");
}

static void make_private(const struct guest *g, __u64 gpa)
{
	set_attributes(g, gpa, PAGE, KVM_MEMORY_ATTRIBUTE_PRIVATE);
}

static void make_shared(const struct guest *g, __u64 gpa)
{
	set_attributes(g, gpa, PAGE, 0);
}

/* Checks that @len bytes from @gpa read until @read, and what ends them. */
static void expect_phys(int session, const char *what, __u64 gpa, __u64 len,
			__u64 read, enum vmem_status status)
{
	struct vmem_read_phys_args end;
	__u8 buf[4 * PAGE];

	CHECK_EQ_AT(what, session_read_phys(session, gpa, NULL, len, &end), 0);
	CHECK_EQ_AT(what, end.out_len, read);
	CHECK_EQ_AT(what, end.out_status, status);
	memset(buf, POISON, sizeof(buf));
	CHECK_EQ_AT(what, session_read_phys(session, gpa, buf, len, &end), 0);
	CHECK_EQ_AT(what, end.out_len, read);
	CHECK_EQ_AT(what, end.out_status, status);
	for (__u64 i = 0; i < len; i++)
		if (buf[i] != (i < read ? DATA : POISON)) {
			CHECK_EQ_AT(what, buf[i], i < read ? DATA : POISON);
			break;
		}
}

/* Checks what becomes of DATA_VA, and of a read there. */
static void expect(const struct subject *s, const char *what,
		   enum vmem_status translated, enum vmem_status read,
		   int level)
{
	struct vmem_translation tr;
	struct vmem_read_args end;
	__u8 byte;

	CHECK_EQ_AT(what,
		    session_translate_one(s->session, &s->g.regs, DATA_VA, &tr),
		    0);
	CHECK_EQ_AT(what, tr.out_status, translated);
	if (translated != VMEM_MAPPED)
		CHECK_EQ_AT(what, tr.out_level, level);
	CHECK_EQ_AT(what,
		    session_read(s->session, &s->g.regs, DATA_VA, &byte, 1,
				 &end),
		    0);
	CHECK_EQ_AT(what, end.out_len, read == VMEM_MAPPED);
	CHECK_EQ_AT(what, end.out_status, read);
	CHECK_EQ_AT(what, end.out_level, read == VMEM_MAPPED ? 0 : level);
	if (read == VMEM_MAPPED)
		CHECK_EQ_AT(what, byte, DATA);
}

static void expect_readable(const struct subject *s, const char *what)
{
	expect(s, what, VMEM_MAPPED, VMEM_MAPPED, 0);
	expect_phys(s->session, what, s->data, PAGE, PAGE, VMEM_MAPPED);
}

/* No call by virtual address gets at a table: it gets @err, or an answer so. */
static void expect_no_root(const struct subject *s)
{
	const struct vmem_regs *regs = &s->g.regs;
	struct vmem_mapping row;
	struct session_maps maps = { .rows = &row, .room = 1, .per_call = 1 };
	struct session_records records = { .per_call = 10 };
	struct vmem_translation tr;
	struct vmem_read_args end;
	__u64 va = DATA_VA;
	__u8 byte;

	CHECK_EQ(session_translate_one(s->session, regs, va, &tr), -EACCES);
	CHECK_EQ(session_map_range(s->session, regs, 0, ~0ULL, &maps), -EACCES);
	CHECK_EQ(session_read(s->session, regs, va, &byte, 1, &end), -EACCES);

	set_spaces(s->session, &s->g);
	CHECK_EQ(session_walk_spaces(s->session, &records), 0);
	if (CHECK_EQ(records.nr, 2)) {
		CHECK_EQ(records.rows[1].type, VMEM_ANOMALY);
		CHECK_EQ(records.rows[1].anomaly.status, VMEM_WITHHELD);
	}
	free(records.rows);
	CHECK_EQ(session_translate_in(s->session, 0, &va, 1, &tr), 0);
	CHECK_EQ(tr.out_status, VMEM_WITHHELD);
}

/* ---- Private memory ---- */

static void look_at_pages(struct subject *s)
{
	__u64 gpa = ram_alloc(&s->g.ram, 3 * PAGE);

	CHECK_EQ(protection(s->session), VMEM_PROTECTION_PRIVATE);
	memset(ram_ptr(&s->g.ram, gpa), DATA, 3 * PAGE);
	expect_phys(s->session, "shared", gpa, 3 * PAGE, 3 * PAGE, VMEM_MAPPED);
	make_private(&s->g, gpa + PAGE);
	expect_phys(s->session, "up to it", gpa, 3 * PAGE, PAGE, VMEM_WITHHELD);
	expect_phys(s->session, "it", gpa + PAGE, 2 * PAGE, 0, VMEM_WITHHELD);
	expect_phys(s->session, "behind it", gpa + 2 * PAGE, PAGE, PAGE,
		    VMEM_MAPPED);
	make_shared(&s->g, gpa + PAGE);
	expect_phys(s->session, "again", gpa, 3 * PAGE, 3 * PAGE, VMEM_MAPPED);

	expect_readable(s, "data");
	make_private(&s->g, s->data);
	expect(s, "data", VMEM_MAPPED, VMEM_WITHHELD, VMEM_LEVEL_PT);
	make_shared(&s->g, s->data);
	expect_readable(s, "data again");
}

static void pages(void)
{
	with_private(look_at_pages);
}

static void look_at_tables(struct subject *s)
{
	struct vmem_mapping rows[64];
	struct session_maps maps = { .rows = rows, .room = 64, .per_call = 64 };
	char what[32];
	int level;

	for (level = VMEM_LEVEL_PT; level < s->g.tables.top; level++) {
		__u64 table = world_table(&s->g.tables, DATA_VA, level);

		snprintf(what, sizeof(what), "table of level %d", level);
		make_private(&s->g, table);
		expect(s, what, VMEM_WITHHELD, VMEM_WITHHELD, level);
		CHECK_EQ_AT(what,
			    session_map_range(s->session, &s->g.regs, DATA_VA,
					      DATA_VA + PAGE - 1, &maps),
			    0);
		CHECK_EQ_AT(what, maps.nr, 0);
		CHECK_EQ_AT(what, maps.anomalies, 1);
		make_shared(&s->g, table);
		expect_readable(s, what);
	}
	make_private(&s->g, s->g.tables.root);
	expect_no_root(s);
}

static void tables(void)
{
	with_private(look_at_tables);
}

/* All guest-physical addresses can be private, and there need not be memory. */
static void look_at_no_slot(struct subject *s)
{
	const __u64 gpa = RAM_GPA + RAM_LEN;

	make_private(&s->g, gpa);
	expect_phys(s->session, "hole", gpa, PAGE, 0, VMEM_UNBACKED);
}

static void no_slot(void)
{
	with_private(look_at_no_slot);
}

/* A hint would outlive it that its page becomes private. */
static void count_hints(struct subject *s)
{
	struct folder folder = newest_folder();
	struct counters before, after;

	expect_readable(s, "first");
	before = read_counters(&folder);
	expect_readable(s, "second");
	after = read_counters(&folder);
	CHECK_EQ(after.hints, 0);
	CHECK(before.looked_up);
	CHECK_EQ(after.looked_up, 2 * before.looked_up);
}

static void no_hints(void)
{
	with_private(count_hints);
}

#define MEMFD_SLOT 7
#define MEMFD_GPA GB(1)

/* As VMMs have it: the page that is private is in no mapping. */
static void look_at_guest_memfd(struct subject *s)
{
	struct kvm_create_guest_memfd create = { .size = PAGE };
	struct kvm_userspace_memory_region2 slot = {
		.slot = MEMFD_SLOT,
		.flags = KVM_MEM_GUEST_MEMFD,
		.guest_phys_addr = MEMFD_GPA,
		.memory_size = PAGE,
	};
	struct guest_ram ram = ram_new(MEMFD_GPA, PAGE);
	int fd = (int)must(ioctl(s->g.vm_fd, KVM_CREATE_GUEST_MEMFD, &create),
			   "KVM_CREATE_GUEST_MEMFD");

	slot.userspace_addr = (uintptr_t)ram.hva;
	slot.guest_memfd = fd;
	must(ioctl(s->g.vm_fd, KVM_SET_USER_MEMORY_REGION2, &slot),
	     "KVM_SET_USER_MEMORY_REGION2");
	memset(ram.hva, DATA, PAGE);
	expect_phys(s->session, "shared", MEMFD_GPA, PAGE, PAGE, VMEM_MAPPED);
	make_private(&s->g, MEMFD_GPA);
	expect_phys(s->session, "private", MEMFD_GPA, PAGE, 0, VMEM_WITHHELD);
	must(madvise(ram.hva, PAGE, MADV_DONTNEED), "MADV_DONTNEED");
	expect_phys(s->session, "punched", MEMFD_GPA, PAGE, 0, VMEM_WITHHELD);

	slot.memory_size = 0;
	must(ioctl(s->g.vm_fd, KVM_SET_USER_MEMORY_REGION2, &slot),
	     "KVM_SET_USER_MEMORY_REGION2");
	expect_phys(s->session, "no slot", MEMFD_GPA, PAGE, 0, VMEM_UNBACKED);
	close(fd);
	ram_free(&ram);
}

static void guest_memfd(void)
{
	with_private(look_at_guest_memfd);
}

/**
 * struct restless - a VMM that converts a page again and again
 * @s: the VM
 * @asked: how often the page was asked for
 * @stop: it is to end
 */
struct restless {
	struct subject *s;
	__u64 asked;
	bool stop;
};

/* Another page in its place. */
static void put_page(const struct subject *s, __u8 byte)
{
	void *hva = ram_ptr(&s->g.ram, s->data);

	must(mmap(hva, PAGE, PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
		  0) == MAP_FAILED ?
		     -1 :
		     0,
	     "mmap of a page");
	memset(hva, byte, PAGE);
}

/*
 * What is mapped while the page is private is no memory of the guest's. It stays shared
 * until it has been asked for.
 */
static void *convert(void *arg)
{
	struct restless *r = arg;
	const struct subject *s = r->s;
	__u64 asked;

	while (!__atomic_load_n(&r->stop, __ATOMIC_RELAXED)) {
		make_private(&s->g, s->data);
		put_page(s, ~DATA);
		put_page(s, DATA);
		make_shared(&s->g, s->data);
		asked = __atomic_load_n(&r->asked, __ATOMIC_RELAXED);
		while (asked == __atomic_load_n(&r->asked, __ATOMIC_RELAXED) &&
		       !__atomic_load_n(&r->stop, __ATOMIC_RELAXED))
			sched_yield();
	}
	return NULL;
}

static void look_while_it_converts(struct subject *s)
{
	const __u64 enough = number_of("VMEM_STATES", 10000);
	struct restless r = { .s = s };
	struct vmem_read_phys_args end;
	__u64 nr_read = 0, nr_withheld = 0, nr_wrong = 0;
	pthread_t vmm;
	__u8 byte;

	must(-pthread_create(&vmm, NULL, convert, &r), "pthread_create");
	while ((nr_read < enough || nr_withheld < enough) && !nr_wrong) {
		byte = POISON;
		if (!CHECK_EQ(session_read_phys(s->session, s->data, &byte, 1,
						&end),
			      0))
			break;
		if (end.out_status == VMEM_MAPPED && byte == DATA)
			nr_read++;
		else if (end.out_status == VMEM_WITHHELD && byte == POISON)
			nr_withheld++;
		else
			nr_wrong++;
		__atomic_add_fetch(&r.asked, 1, __ATOMIC_RELAXED);
	}
	__atomic_store_n(&r.stop, true, __ATOMIC_RELAXED);
	pthread_join(vmm, NULL);
	printf("# %llu read, %llu withheld\n", nr_read, nr_withheld);
	CHECK_EQ(nr_wrong, 0);
}

static void never_stale(void)
{
	with_private(look_while_it_converts);
}

/* ---- Encryption ---- */

/* Its tables are ciphertext. The rest may be, and only the guest knows. */
static void look_at_encrypted(struct subject *s)
{
	CHECK_EQ(protection(s->session), VMEM_PROTECTION_ENCRYPTED);
	expect_no_root(s);
	expect_phys(s->session, "as it is", s->data, PAGE, PAGE, VMEM_MAPPED);
}

static void type_of_sev(void)
{
	with_subject(DISGUISE_TYPE, TYPE_SEV, TYPE_DEFAULT, look_at_encrypted);
	with_subject(DISGUISE_TYPE, TYPE_SEV_ES, TYPE_DEFAULT,
		     look_at_encrypted);
}

static void look_at_encryption_bit(struct subject *s)
{
	struct vmem_vcpu_args vcpu;

	look_at_encrypted(s);
	CHECK_EQ(session_vcpu(s->session, 0, &vcpu), 0);
	CHECK_EQ(vcpu.out_regs.rules,
		 VMEM_RULES_ENCRYPTION_BIT(ENCRYPTION_BIT));
}

/* As KVM_SEV_INIT has it, which all kernels know. */
static void encryption_bit(void)
{
	with_subject(DISGUISE_ENCRYPTION_BIT, ENCRYPTION_BIT, ENCRYPTION_BIT,
		     look_at_encryption_bit);
}

static void expect_no_registers(struct subject *s)
{
	struct vmem_vcpu_args vcpu;
	int second = (int)must(ioctl(s->g.vm_fd, KVM_CREATE_VCPU, 1),
			       "KVM_CREATE_VCPU");

	CHECK_EQ(session_vcpu(s->session, 0, &vcpu), -EACCES);
	CHECK_EQ(session_vcpu(s->session, 1, &vcpu), 0);
	CHECK_EQ(vcpu.out_id, 1);
	CHECK_EQ(session_vcpu(s->session, 2, &vcpu), -EINVAL);
	close(second);
}

static void look_at_registers(struct subject *s)
{
	CHECK_EQ(protection(s->session),
		 VMEM_PROTECTION_ENCRYPTED | VMEM_PROTECTION_REGISTERS);
	expect_no_registers(s);
	expect_no_root(s);
}

static void registers(void)
{
	with_subject(DISGUISE_REGISTERS, true, false, look_at_registers);
}

/* What SEV-SNP and TDX share with the host is in the clear. */
static void look_at_both(struct subject *s)
{
	CHECK_EQ(try_disguise(&s->g, DISGUISE_REGISTERS, true), 0);
	CHECK_EQ(try_disguise(&s->g, DISGUISE_ENCRYPTION_BIT, ENCRYPTION_BIT),
		 0);
	CHECK_EQ(protection(s->session),
		 VMEM_PROTECTION_PRIVATE | VMEM_PROTECTION_REGISTERS);
	expect_no_registers(s);
	expect_readable(s, "shared");
	make_private(&s->g, s->data);
	expect_phys(s->session, "private", s->data, PAGE, 0, VMEM_WITHHELD);
	CHECK_EQ(try_disguise(&s->g, DISGUISE_REGISTERS, false), 0);
}

static void private_and_registers(void)
{
	with_private(look_at_both);
}

/* ---- Neither ---- */

static void neither(void)
{
	struct guest g;
	int on_kvm, on_regions;

	guest_init(&g);
	on_kvm = open_on_kvm(&g);
	on_regions = open_on_regions(&g);
	CHECK_EQ(protection(on_kvm), 0);
	CHECK_EQ(protection(on_regions), 0);
	close(on_kvm);
	close(on_regions);
	guest_free(&g);
}

/* ---- What vmemctl says ---- */

/* Runs vmemctl on this process, by the root table if that is given. */
static void expect_said(const char *command, __u64 cr3, const char *want)
{
	char root[32] = "", line[256], said[4096] = "";
	FILE *out;

	if (cr3)
		snprintf(root, sizeof(root), "--cr3 %#llx", cr3);
	snprintf(line, sizeof(line), "vmemctl -p %d %s %s 2>&1", getpid(), root,
		 command);
	out = popen(line, "r");
	must(out ? 0 : -1, "popen");
	said[fread(said, 1, sizeof(said) - 1, out)] = '\0';
	pclose(out);
	if (!strstr(said, want)) {
		ktap_fail("%s does not say: %s", command, want);
		printf("# it says: %s\n", said);
	}
}

static void ask_about_registers(struct subject *s)
{
	const __u64 cr3 = s->g.regs.cr3;

	expect_said("info", 0, "page table can be read");
	expect_said("info", 0, "0  withheld by the guest");
	expect_said("--json info", 0,
		    "\"protection\":[\"encrypted\",\"registers\"]");
	expect_said("--json info", 0, "\"vcpu\":0,\"withheld\":true,");
	expect_said("vtop 0x140000000", cr3,
		    "the registers of vCPU 0: the guest");
	expect_said("--arch amd64 vtop 0x140000000", cr3,
		    "the guest keeps its page tables from the host");
	expect_said("--arch amd64 snapshot -o /tmp/private.elf", cr3,
		    "the guest keeps its page tables from the host");
}

static void ask_about_private(struct subject *s)
{
	const __u64 cr3 = s->g.regs.cr3;
	__u64 pt = world_table(&s->g.tables, DATA_VA, VMEM_LEVEL_PT);
	char command[64];

	expect_said("--json info", 0, "\"protection\":[\"private\"]");
	snprintf(command, sizeof(command), "read --phys %#llx 4096", pt);
	make_private(&s->g, pt);
	expect_said(command, 0, "withheld");
	expect_said("--arch amd64 vtop 0x140000000", cr3, "withheld");
	expect_said("--arch amd64 maps", cr3, "1 entry leads nowhere");
	expect_said("--arch amd64 spaces", cr3, "withheld");
	make_private(&s->g, s->g.tables.root);
	expect_said("--arch amd64 vtop 0x140000000", cr3,
		    "the guest keeps its page tables from the host");
}

static void vmemctl_says(void)
{
	with_subject(DISGUISE_REGISTERS, true, false, ask_about_registers);
}

static void vmemctl_says_private(void)
{
	with_private(ask_about_private);
}

static const struct ktap_case cases[] = {
	{ "neither", neither },
	{ "encryption_bit", encryption_bit },
	{ "registers", registers },
	{ "vmemctl_says", vmemctl_says },
	{ "type_of_sev", type_of_sev },
	{ "pages", pages },
	{ "tables", tables },
	{ "no_slot", no_slot },
	{ "no_hints", no_hints },
	{ "guest_memfd", guest_memfd },
	{ "private_and_registers", private_and_registers },
	{ "vmemctl_says_private", vmemctl_says_private },
	{ "never_stale", never_stale },
};

int main(void)
{
	return ktap_main(cases, ARRAY_SIZE(cases));
}
