// SPDX-License-Identifier: GPL-2.0-only
/*
 * commands.c - the commands of /dev/vmem as a table, and a guest to ask about
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <linux/kvm.h>

#include "commands.h"
#include "ktap.h"

/* ---- A guest to ask about ---- */

static void add_slot(int vm_fd, const struct guest_ram *ram)
{
	struct kvm_userspace_memory_region slot = {
		.guest_phys_addr = ram->gpa,
		.memory_size = ram->len,
		.userspace_addr = (uintptr_t)ram->hva,
	};

	must(ioctl(vm_fd, KVM_SET_USER_MEMORY_REGION, &slot),
	     "KVM_SET_USER_MEMORY_REGION");
}

void guest_init(struct guest *g)
{
	__u64 i;

	g->ram = ram_new(RAM_GPA, RAM_LEN);
	g->tables = tables_new_amd64(&g->ram);
	g->regs = tables_regs(&g->tables);
	for (i = 0; i < NR_MAPPED; i++)
		tables_map(&g->tables, i * 2 * PAGE, RAM_GPA, VMEM_LEVEL_PT,
			   PTE_PWU);
	g->region.gpa = g->ram.gpa;
	g->region.len = g->ram.len;
	g->region.hva = (uintptr_t)g->ram.hva;
	g->kvm_fd = (int)must(open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
	g->vm_fd =
		(int)must(ioctl(g->kvm_fd, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
	add_slot(g->vm_fd, &g->ram);
	g->vcpu_fd = (int)must(ioctl(g->vm_fd, KVM_CREATE_VCPU, 0),
			       "KVM_CREATE_VCPU");
}

void guest_free(struct guest *g)
{
	close(g->vcpu_fd);
	close(g->vm_fd);
	close(g->kvm_fd);
	ram_free(&g->ram);
}

int open_on_kvm(const struct guest *g)
{
	int session = session_open();

	CHECK_EQ(session_attach_kvm(session, g->vm_fd), 0);
	return session;
}

int open_on_regions(const struct guest *g)
{
	int session = session_open();

	CHECK_EQ(session_attach_regions(session, &g->region, 1), 0);
	return session;
}

void set_spaces(int session, const struct guest *g)
{
	const struct session_spaces spaces = {
		.regs = g->regs,
		.cr3 = &g->regs.cr3,
		.nr_cr3 = 1,
		.last_va = ~0ULL,
	};

	CHECK_EQ(session_set_spaces(session, &spaces), 0);
}

/* ---- What comes before a command ---- */

static void prepare_spaces(int session, const struct guest *g)
{
	set_spaces(session, g);
}

static void prepare_walk(int session, const struct guest *g)
{
	struct session_records records = { .per_call = 100 };

	set_spaces(session, g);
	CHECK_EQ(session_walk_spaces(session, &records), 0);
	free(records.rows);
}

/* ---- What the caller gives ---- */

static __u64 pointer(const void *p)
{
	return (uintptr_t)p;
}

static void fill_info(struct call *call, const struct guest *g)
{
	(void)call;
	(void)g;
}

static void fill_attach_kvm(struct call *call, const struct guest *g)
{
	call->args.attach_kvm.vm_fd = g->vm_fd;
	call->args.attach_kvm.__reserved = 0;
}

static void fill_attach_regions(struct call *call, const struct guest *g)
{
	memset(call->array, 0, sizeof(call->array));
	memcpy(call->array, &g->region, sizeof(g->region));
	call->args.attach_regions.nr = 1;
	call->args.attach_regions.region_size = sizeof(struct vmem_region);
	call->args.attach_regions.regions = pointer(call->array);
}

static void fill_memslots(struct call *call, const struct guest *g)
{
	(void)g;
	call->args.memslots.nr = NR_ELEMENTS;
	call->args.memslots.slot_size = sizeof(struct vmem_memslot);
	call->args.memslots.slots = pointer(call->array);
	call->args.memslots.gpa = 0;
}

static void fill_vcpu(struct call *call, const struct guest *g)
{
	(void)g;
	call->args.vcpu.index = 0;
	call->args.vcpu.timeout_us = 0;
	call->args.vcpu.__reserved = 0;
}

static void fill_translate(struct call *call, const struct guest *g)
{
	__u64 i;

	for (i = 0; i < NR_MANY; i++)
		call->vas[i] = i * PAGE;
	call->args.translate.nr = NR_ELEMENTS;
	call->args.translate.result_size = sizeof(struct vmem_translation);
	call->args.translate.vas = pointer(call->vas);
	call->args.translate.results = pointer(call->array);
	call->args.translate.regs = g->regs;
	call->args.translate.root = 0;
}

static void fill_translate_brief(struct call *call, const struct guest *g)
{
	fill_translate(call, g);
	call->args.translate.result_size = VMEM_TRANSLATION_BRIEF;
}

static void fill_translate_many(struct call *call, const struct guest *g)
{
	fill_translate(call, g);
	call->args.translate.nr = NR_MANY;
}

static void fill_translate_space(struct call *call, const struct guest *g)
{
	fill_translate(call, g);
	call->args.translate.flags = VMEM_TRANSLATE_SPACES;
	memset(&call->args.translate.regs, 0, sizeof(struct vmem_regs));
}

static void fill_map_range(struct call *call, const struct guest *g)
{
	call->args.map_range.nr = NR_ELEMENTS;
	call->args.map_range.mapping_size = sizeof(struct vmem_mapping);
	call->args.map_range.mappings = pointer(call->array);
	call->args.map_range.regs = g->regs;
	call->args.map_range.va = 0;
	call->args.map_range.last_va = ~0ULL;
}

/* As it was before there were attributes. */
#define MAPPING_FIRST offsetof(struct vmem_mapping, attributes)

static void fill_map_range_first(struct call *call, const struct guest *g)
{
	fill_map_range(call, g);
	call->args.map_range.mapping_size = MAPPING_FIRST;
}

static void fill_map_range_attributes(struct call *call, const struct guest *g)
{
	fill_map_range(call, g);
	call->args.map_range.flags = VMEM_MAP_ATTRIBUTES;
}

static void fill_read(struct call *call, const struct guest *g)
{
	call->args.read.regs = g->regs;
	call->args.read.va = 0;
	call->args.read.len = READ_LEN;
	call->args.read.buf = pointer(call->array);
}

/* The root that the other commands have in CR3 is in a list here. */
static void fill_set_spaces(struct call *call, const struct guest *g)
{
	call->cr3 = g->regs.cr3;
	call->excluded = (struct vmem_span){ GB(1), GB(1) };
	call->args.set_spaces.regs = g->regs;
	call->args.set_spaces.regs.cr3 = 0;
	call->args.set_spaces.nr_cr3 = 1;
	call->args.set_spaces.nr_excluded = 1;
	call->args.set_spaces.cr3 = pointer(&call->cr3);
	call->args.set_spaces.excluded = pointer(&call->excluded);
	call->args.set_spaces.va = 0;
	call->args.set_spaces.last_va = ~0ULL;
}

static void fill_walk_spaces(struct call *call, const struct guest *g)
{
	(void)g;
	call->args.walk_spaces.nr = NR_ELEMENTS;
	call->args.walk_spaces.record_size = sizeof(struct vmem_record);
	call->args.walk_spaces.records = pointer(call->array);
}

static void fill_read_phys(struct call *call, const struct guest *g)
{
	call->args.read_phys.gpa = g->ram.gpa;
	call->args.read_phys.len = READ_LEN;
	call->args.read_phys.buf = pointer(call->array);
	call->args.read_phys.__reserved = 0;
}

/* ---- The table ---- */

#define ARGS(type) struct vmem_##type##_args
#define AT(type, member) ((int)offsetof(ARGS(type), member))

/* What is from the member @first up to the member @next, or to the end. */
#define PART(type, first, next)                 \
	{                                       \
		AT(type, first), AT(type, next) \
	}
#define TAIL(type, first)                           \
	{                                           \
		AT(type, first), sizeof(ARGS(type)) \
	}

#define READS(type, member, len)               \
	{                                      \
		AT(type, member), (len), false \
	}
#define WRITES(type, member, len)             \
	{                                     \
		AT(type, member), (len), true \
	}

#define COMMAND(nr, type) .cmd = (nr), .size = sizeof(ARGS(type))

/* A guest's registers, and in them what its processor's rules are. */
#define RULES                                                        \
	(VMEM_RULES_AMD | VMEM_RULES_NO_1G | VMEM_RULES_SHARED_BIT | \
	 VMEM_RULES_ENCRYPTION_BIT(63))
#define REGS(type) \
	.regs = AT(type, regs), .reserved = AT(type, regs.rules), .known = RULES

#define TRANSLATE                                         \
	REGS(translate), .flags = VMEM_TRANSLATE_SPACES,  \
			 .nr = AT(translate, nr),         \
			 .array = AT(translate, results), \
			 .out_nr = AT(translate, out_nr), \
			 .outs = { PART(translate, out_nr, root) }

#define TRANSLATE_BUFFERS                                                  \
	{                                                                  \
		WRITES(translate, results,                                 \
		       NR_ELEMENTS * sizeof(struct vmem_translation)),     \
			READS(translate, vas, NR_ELEMENTS * sizeof(__u64)) \
	}

#define MAP_RANGE                                          \
	REGS(map_range), .flags = VMEM_MAP_ATTRIBUTES,     \
			 .nr = AT(map_range, nr),          \
			 .array = AT(map_range, mappings), \
			 .out_nr = AT(map_range, out_nr),  \
			 .outs = { TAIL(map_range, out_nr) }

#define NR_COMMANDS 11

const struct command commands[] = {
	[_IOC_NR(VMEM_INFO)] = {
		.name = "VMEM_INFO",
		COMMAND(VMEM_INFO, info),
		.min_size = AT(info, out_protection),
		.fill = fill_info,
		.outs = { TAIL(info, out_api_version) },
	},
	[_IOC_NR(VMEM_ATTACH_KVM)] = {
		.name = "VMEM_ATTACH_KVM",
		COMMAND(VMEM_ATTACH_KVM, attach_kvm),
		.attaches = true,
		.fill = fill_attach_kvm,
		.reserved = AT(attach_kvm, __reserved),
	},
	[_IOC_NR(VMEM_ATTACH_REGIONS)] = {
		.name = "VMEM_ATTACH_REGIONS",
		COMMAND(VMEM_ATTACH_REGIONS, attach_regions),
		.attaches = true,
		.fill = fill_attach_regions,
		.buffers = { READS(attach_regions, regions,
				   sizeof(struct vmem_region)) },
		.nr = AT(attach_regions, nr),
		.element = AT(attach_regions, region_size),
		.element_size = sizeof(struct vmem_region),
		.array = AT(attach_regions, regions),
	},
	[_IOC_NR(VMEM_MEMSLOTS)] = {
		.name = "VMEM_MEMSLOTS",
		COMMAND(VMEM_MEMSLOTS, memslots),
		.fill = fill_memslots,
		.outs = { TAIL(memslots, out_nr) },
		.buffers = { WRITES(memslots, slots,
				    sizeof(struct vmem_memslot)) },
		.nr = AT(memslots, nr),
		.element = AT(memslots, slot_size),
		.element_size = sizeof(struct vmem_memslot),
		.array = AT(memslots, slots),
		.out_nr = AT(memslots, out_nr),
	},
	[_IOC_NR(VMEM_VCPU)] = {
		.name = "VMEM_VCPU",
		COMMAND(VMEM_VCPU, vcpu),
		.min_size = AT(vcpu, out_pat),
		.fill = fill_vcpu,
		.outs = { PART(vcpu, out_id, timeout_us),
			  PART(vcpu, out_known, __reserved) },
		.reserved = AT(vcpu, __reserved),
	},
	[_IOC_NR(VMEM_TRANSLATE)] = {
		.name = "VMEM_TRANSLATE",
		COMMAND(VMEM_TRANSLATE, translate),
		TRANSLATE,
		.fill = fill_translate,
		.buffers = TRANSLATE_BUFFERS,
		.element = AT(translate, result_size),
		.element_size = sizeof(struct vmem_translation),
		.element_min = VMEM_TRANSLATION_BRIEF,
	},
	[_IOC_NR(VMEM_MAP_RANGE)] = {
		.name = "VMEM_MAP_RANGE",
		COMMAND(VMEM_MAP_RANGE, map_range),
		MAP_RANGE,
		.min_size = AT(map_range, out_torn),
		.fill = fill_map_range,
		.buffers = { WRITES(map_range, mappings,
				    NR_ELEMENTS * sizeof(struct vmem_mapping)) },
		.element = AT(map_range, mapping_size),
		.element_size = sizeof(struct vmem_mapping),
		.element_min = MAPPING_FIRST,
	},
	[_IOC_NR(VMEM_READ)] = {
		.name = "VMEM_READ",
		COMMAND(VMEM_READ, read),
		.fill = fill_read,
		.outs = { TAIL(read, out_len) },
		.buffers = { WRITES(read, buf, READ_LEN) },
		REGS(read),
		.element_size = 1,
		.array = AT(read, buf),
		.out_nr = AT(read, out_len),
	},
	[_IOC_NR(VMEM_SET_SPACES)] = {
		.name = "VMEM_SET_SPACES",
		COMMAND(VMEM_SET_SPACES, set_spaces),
		.fill = fill_set_spaces,
		.buffers = { READS(set_spaces, cr3, sizeof(__u64)),
			     READS(set_spaces, excluded,
				   sizeof(struct vmem_span)) },
		REGS(set_spaces),
		.nr = AT(set_spaces, nr_cr3),
		.array = AT(set_spaces, cr3),
	},
	[_IOC_NR(VMEM_WALK_SPACES)] = {
		.name = "VMEM_WALK_SPACES",
		COMMAND(VMEM_WALK_SPACES, walk_spaces),
		.prepare = prepare_spaces,
		.fill = fill_walk_spaces,
		.outs = { TAIL(walk_spaces, out_nr) },
		.buffers = { WRITES(walk_spaces, records,
				    NR_ELEMENTS * sizeof(struct vmem_record)) },
		.nr = AT(walk_spaces, nr),
		.element = AT(walk_spaces, record_size),
		.element_size = sizeof(struct vmem_record),
		.array = AT(walk_spaces, records),
		.out_nr = AT(walk_spaces, out_nr),
	},
	[_IOC_NR(VMEM_READ_PHYS)] = {
		.name = "VMEM_READ_PHYS",
		COMMAND(VMEM_READ_PHYS, read_phys),
		.fill = fill_read_phys,
		.outs = { PART(read_phys, out_len, __reserved) },
		.buffers = { WRITES(read_phys, buf, READ_LEN) },
		.reserved = AT(read_phys, __reserved),
		.element_size = 1,
		.array = AT(read_phys, buf),
		.out_nr = AT(read_phys, out_len),
	},
	{
		COMMAND(VMEM_TRANSLATE, translate),
		TRANSLATE,
		.name = "VMEM_TRANSLATE, brief",
		.fill = fill_translate_brief,
		.buffers = { WRITES(translate, results,
				    NR_ELEMENTS * VMEM_TRANSLATION_BRIEF),
			     READS(translate, vas, NR_ELEMENTS * sizeof(__u64)) },
		.element_size = VMEM_TRANSLATION_BRIEF,
	},
	{
		COMMAND(VMEM_TRANSLATE, translate),
		TRANSLATE,
		.name = "VMEM_TRANSLATE of many",
		.fill = fill_translate_many,
		.buffers = { WRITES(translate, results,
				    NR_MANY * sizeof(struct vmem_translation)),
			     READS(translate, vas, NR_MANY * sizeof(__u64)) },
		.element_size = sizeof(struct vmem_translation),
	},
	{
		COMMAND(VMEM_TRANSLATE, translate),
		TRANSLATE,
		.name = "VMEM_TRANSLATE in spaces",
		.prepare = prepare_walk,
		.fill = fill_translate_space,
		.buffers = TRANSLATE_BUFFERS,
		.element_size = sizeof(struct vmem_translation),
	},
	{
		COMMAND(VMEM_MAP_RANGE, map_range),
		MAP_RANGE,
		.name = "VMEM_MAP_RANGE, the first version's rows",
		.min_size = AT(map_range, out_torn),
		.fill = fill_map_range_first,
		.buffers = { WRITES(map_range, mappings,
				    NR_ELEMENTS * MAPPING_FIRST) },
		.element_size = MAPPING_FIRST,
	},
	{
		COMMAND(VMEM_MAP_RANGE, map_range),
		MAP_RANGE,
		.name = "VMEM_MAP_RANGE with attributes",
		.min_size = AT(map_range, out_torn),
		.fill = fill_map_range_attributes,
		.buffers = { WRITES(map_range, mappings,
				    NR_ELEMENTS * sizeof(struct vmem_mapping)) },
		.element_size = sizeof(struct vmem_mapping),
	},
};

const struct command *const commands_end = commands + NR_COMMANDS;
const struct command *const ways_end = commands + ARRAY_SIZE(commands);

const struct command *command(unsigned long cmd)
{
	return &commands[_IOC_NR(cmd)];
}

/* ---- Calls ---- */

bool is_read(const struct command *c)
{
	return c->cmd == VMEM_READ || c->cmd == VMEM_READ_PHYS;
}

__u32 *u32_at(struct call *call, int offset)
{
	return (__u32 *)(call->args.bytes + offset);
}

__u64 *u64_at(struct call *call, int offset)
{
	return (__u64 *)(call->args.bytes + offset);
}

__u64 out_nr(const struct command *c, const struct call *call)
{
	__u64 nr = 0;

	if (c->out_nr != NONE)
		memcpy(&nr, call->args.bytes + c->out_nr,
		       is_read(c) ? sizeof(__u64) : sizeof(__u32));
	return nr;
}

void call_poison(struct call *call, const struct command *c,
		 const struct guest *g, __u8 poison)
{
	memset(&call->args, 0, sizeof(call->args));
	memset(call->array, poison, sizeof(call->array));
	memset(call->args.bytes, poison, c->size);
	call->args.size = c->size;
	call->args.info.flags = 0;
	c->fill(call, g);
}

void call_fill(struct call *call, const struct command *c,
	       const struct guest *g)
{
	call_poison(call, c, g, POISON);
}

int open_for(const struct command *c, const struct guest *g)
{
	int session = c->attaches ? session_open() : open_on_kvm(g);

	if (c->prepare)
		c->prepare(session, g);
	return session;
}

void call_init(struct call *call, const struct command *c,
	       const struct guest *g)
{
	call->session = open_for(c, g);
	call_fill(call, c, g);
}

int call_make(struct call *call, const struct command *c)
{
	return session_call(call->session, c->cmd, call->args.bytes);
}

int call_end(struct call *call, const struct command *c)
{
	int ret = call_make(call, c);

	close(call->session);
	return ret;
}

static bool is_out(const struct command *c, int offset)
{
	const struct part *part;

	for (part = c->outs; part->at != NONE; part++)
		if (offset >= part->at && offset < part->end)
			return true;
	return false;
}

__u32 bytes_changed(const struct command *c, const struct call *call,
		    const struct call *before)
{
	__u32 nr = 0;
	int i;

	for (i = 0; i < (int)sizeof(call->args); i++)
		if (call->args.bytes[i] != before->args.bytes[i])
			nr += !is_out(c, i);
	return nr;
}

void check_untouched(const char *what, const struct call *call,
		     const struct call *before)
{
	CHECK_EQ_AT(what,
		    memcmp(&call->args, &before->args, sizeof(call->args)), 0);
	CHECK_EQ_AT(what,
		    memcmp(call->array, before->array, sizeof(call->array)), 0);
}
