/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tracepoints: who attached to what, what each call did, and which hints were
 * dropped. They tell addresses and numbers, and nothing that is at an address.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM vmem

#if !defined(_TRACE_VMEM_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_VMEM_H

#include <linux/tracepoint.h>
#include <vmem/session.h>

/* Tools that read the ring buffer know numbers, and are told these. */
TRACE_DEFINE_ENUM(VMEM_SOURCE_KVM);
TRACE_DEFINE_ENUM(VMEM_SOURCE_REGIONS);
TRACE_DEFINE_ENUM(VMEM_DROP_MAPPING);
TRACE_DEFINE_ENUM(VMEM_DROP_SLOTS);

#define show_vmem_source(source)                             \
	__print_symbolic(source, { VMEM_SOURCE_KVM, "KVM" }, \
			 { VMEM_SOURCE_REGIONS, "REGIONS" })

#define show_vmem_cmd(cmd)                                     \
	__print_symbolic(cmd, { VMEM_TRANSLATE, "TRANSLATE" }, \
			 { VMEM_MAP_RANGE, "MAP_RANGE" },      \
			 { VMEM_READ, "READ" },                \
			 { VMEM_READ_PHYS, "READ_PHYS" },      \
			 { VMEM_WALK_SPACES, "WALK_SPACES" })

#define show_vmem_drop(why)                                     \
	__print_symbolic(why, { VMEM_DROP_MAPPING, "MAPPING" }, \
			 { VMEM_DROP_SLOTS, "SLOTS" })

/* The layout that these macros have in the kernel is none of clang-format's. */
/* clang-format off */

/*
 * An attempt to attach: @owner is the process whose memory it is, as far as that
 * was found out, else 0.
 */
TRACE_EVENT(vmem_attach,

	TP_PROTO(u32 session, enum vmem_source source, pid_t owner, int ret),

	TP_ARGS(session, source, owner, ret),

	TP_STRUCT__entry(
		__field(u32, session)
		__field(u32, source)
		__field(pid_t, owner)
		__field(int, ret)
	),

	TP_fast_assign(
		__entry->session = session;
		__entry->source = source;
		__entry->owner = owner;
		__entry->ret = ret;
	),

	TP_printk("session=%u source=%s owner=%d ret=%d", __entry->session,
		  show_vmem_source(__entry->source), __entry->owner,
		  __entry->ret)
);

/* A call that may have read guest memory; see struct vmem_walked. */
TRACE_EVENT(vmem_walk,

	TP_PROTO(u32 session, u32 cmd, const struct vmem_walked *walked,
		 int ret),

	TP_ARGS(session, cmd, walked, ret),

	TP_STRUCT__entry(
		__field(u32, session)
		__field(u32, cmd)
		__field(u32, roots)
		__field(u32, more)
		__field(u64, space)
		__field(u64, va)
		__field(u64, asked)
		__field(u64, given)
		__field(u64, tables)
		__field(u64, entries)
		__field(int, ret)
	),

	TP_fast_assign(
		__entry->session = session;
		__entry->cmd = cmd;
		__entry->roots = walked->roots;
		__entry->more = walked->more;
		__entry->space = walked->space;
		__entry->va = walked->va;
		__entry->asked = walked->asked;
		__entry->given = walked->given;
		__entry->tables = walked->tables;
		__entry->entries = walked->entries;
		__entry->ret = ret;
	),

	TP_printk("session=%u cmd=%s roots=%u space=%#llx va=%#llx asked=%llu given=%llu tables=%llu entries=%llu more=%u ret=%d",
		  __entry->session, show_vmem_cmd(__entry->cmd),
		  __entry->roots, __entry->space, __entry->va, __entry->asked,
		  __entry->given, __entry->tables, __entry->entries,
		  __entry->more, __entry->ret)
);

/*
 * Hints that a session dropped: @start and @end are addresses of their owner's. The
 * sum over a session is hints_dropped.
 */
TRACE_EVENT(vmem_drop,

	TP_PROTO(u32 session, enum vmem_drop why, unsigned long start,
		 unsigned long end, u32 hints),

	TP_ARGS(session, why, start, end, hints),

	TP_STRUCT__entry(
		__field(u32, session)
		__field(u32, why)
		__field(unsigned long, start)
		__field(unsigned long, end)
		__field(u32, hints)
	),

	TP_fast_assign(
		__entry->session = session;
		__entry->why = why;
		__entry->start = start;
		__entry->end = end;
		__entry->hints = hints;
	),

	TP_printk("session=%u why=%s start=%#lx end=%#lx hints=%u",
		  __entry->session, show_vmem_drop(__entry->why),
		  __entry->start, __entry->end, __entry->hints)
);

/* clang-format on */

#endif /* _TRACE_VMEM_H */

#include <trace/define_trace.h>
