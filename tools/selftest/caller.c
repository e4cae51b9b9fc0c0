// SPDX-License-Identifier: GPL-2.0-only
/*
 * caller.c - who asks about the guest of a stage, all the time
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>

#include "caller.h"
#include "folder.h"
#include "random.h"

/**
 * struct caller - one who asks
 * @s: the stage
 * @vm_fd: the VM; -1 if the session is attached to the region table
 * @session: the session
 * @random: decides what is asked next
 * @done: the states that were reached when the call began
 */
struct caller {
	struct stage *s;
	int vm_fd;
	int session;
	__u64 random;
	int done[NR_EVENTS];
};

/* ---- What may be answered ---- */

#define OR_TORN BIT_ULL(VMEM_TORN)
#define OR_EMPTY (BIT_ULL(VMEM_NOT_PRESENT) | OR_TORN)
#define OR_GONE (BIT_ULL(VMEM_UNBACKED) | OR_TORN)
#define OR_UNREADABLE (BIT_ULL(VMEM_UNREADABLE) | OR_TORN)

/* A call reads on in what was guest memory when it found it: see spoil(). */
#define OR_SPOILT BIT_ULL(VMEM_RESERVED)

/* What else a table may be found to be on its way from a state to the next. */
static const __u64 between[NR_EVENTS] = {
	[BALLOON] = OR_EMPTY,
	[HUGE_BALLOON] = OR_EMPTY,
	[HOLE] = OR_EMPTY,
	[HUGE_HOLE] = OR_EMPTY,
	[TRUNCATE] = OR_EMPTY | OR_UNREADABLE,
	[REMOVE_SLOT] = OR_GONE | OR_SPOILT,
	[MOVE_SLOT] = OR_GONE,
	[MREMAP] = OR_EMPTY | OR_UNREADABLE | OR_SPOILT,
	[FORK_EXIT] = OR_TORN,
	[FORK_EXEC] = OR_TORN,
};

/* A call begins: what is answered from now on is judged from here. */
static void begin(struct caller *c)
{
	int i;

	for (i = 0; i < NR_EVENTS; i++)
		c->done[i] = load(&c->s->done[i]);
}

static bool in_any_state(const struct caller *c, int event, __u64 gpa)
{
	__u64 n = (gpa - TARGET(event, 0)) / PAGE;

	return !(gpa % PAGE) && n >= (__u64)c->done[event] &&
	       n <= (__u64)load(&c->s->begun[event]);
}

static bool was_on_its_way(const struct caller *c, int event)
{
	return load(&c->s->begun[event]) > c->done[event];
}

static bool is_known(const struct caller *c, int event)
{
	return c->vm_fd >= 0 || (event != REMOVE_SLOT && event != MOVE_SLOT);
}

static bool is_right(const struct caller *c, int event, __u64 status, __u64 gpa)
{
	/* What the memory of a VMM that is gone says is no state of its own. */
	if (status != VMEM_MAPPED && load(&c->s->dying))
		return true;
	if (!c->s->has[event])
		return status == VMEM_NOT_PRESENT;
	if (!is_known(c, event))
		return status == VMEM_UNBACKED;
	if (status == VMEM_MAPPED)
		return in_any_state(c, event, gpa);
	return was_on_its_way(c, event) && BIT_ULL(status) & between[event];
}

/* Rows do not tell why there is none. */
static bool may_be_missing(const struct caller *c, int event)
{
	return load(&c->s->dying) || !c->s->has[event] || !is_known(c, event) ||
	       (was_on_its_way(c, event) && between[event] & ~OR_TORN);
}

/* Where the table is that moves while it is on its way. */
static bool is_right_away(const struct caller *c, __u64 status, __u64 gpa)
{
	if (status != VMEM_MAPPED)
		return status == VMEM_UNBACKED || status == VMEM_TORN ||
		       load(&c->s->dying);
	return was_on_its_way(c, MOVE_SLOT) && in_any_state(c, MOVE_SLOT, gpa);
}

/* Each errno is counted. Those that every call may end with are fine. */
static bool was_answered(struct caller *c, int ret, int or_else)
{
	if (ret > -NR_ERRNO && ret < 0)
		add(&c->s->errors[-ret], 1);
	if (ret && ret != -ENOMEM && ret != or_else &&
	    !(ret == -ESRCH && load(&c->s->dying)))
		stage_wrong(c->s, "a call ends with %d (%s)", ret,
			    strerror(-ret));
	return !ret;
}

/* ---- One address after the other ---- */

static void judge_translation(struct caller *c, __u64 va,
			      const struct vmem_translation *tr)
{
	__u64 status = tr->out_status, event = (va - PIECE_VA(0)) / MB(2);
	bool right;

	if (va == FIXED_VA)
		right = (!status && tr->out_gpa == FIXED_GPA) ||
			load(&c->s->dying);
	else if (va == AWAY_VA)
		right = is_right_away(c, status, tr->out_gpa);
	else
		right = is_right(c, (int)event, status, tr->out_gpa);
	add(&c->s->answers[status % NR_STATUS], 1);
	if (!right)
		stage_wrong(c->s, "%#llx: status %llu, %#llx", va, status,
			    tr->out_gpa);
}

#define MAX_ASKED 200

static __u64 any_va(struct caller *c)
{
	__u64 i = random_next(&c->random) % (NR_EVENTS + 2);

	return i == NR_EVENTS ? FIXED_VA :
	       i > NR_EVENTS  ? AWAY_VA :
				PIECE_VA(i);
}

static void ask_addresses(struct caller *c)
{
	struct vmem_translation results[MAX_ASKED];
	const struct vmem_regs *regs =
		random_next(&c->random) % 2 ? &c->s->regs : &c->s->second;
	__u32 i, nr = 1 + (__u32)random_next(&c->random) % MAX_ASKED;
	__u64 vas[MAX_ASKED];
	int ret;

	for (i = 0; i < nr; i++)
		vas[i] = any_va(c);
	begin(c);
	ret = session_translate(c->session, regs, vas, nr, results);
	for (i = 0; was_answered(c, ret, 0) && i < nr; i++)
		judge_translation(c, vas[i], &results[i]);
}

/* ---- Bytes ---- */

/* Zero is what is in a table that was given back. */
static bool mark_is_right(const struct caller *c, int event, __u8 mark)
{
	int begun = load(&c->s->begun[event]);

	if (was_on_its_way(c, event) && !mark)
		return true;
	return (__u8)(mark - c->done[event]) <= begun - c->done[event];
}

static void judge_page(struct caller *c, int event, const __u8 *page, __u64 len,
		       __u32 status)
{
	if (len == PAGE) {
		if (!mark_is_right(c, event, page[511 * 8 + 1]))
			stage_wrong(c->s, "%s: %u is read", event_names[event],
				    page[511 * 8 + 1]);
		return;
	}
	if (!is_right(c, event, status, 0))
		stage_wrong(c->s, "%s: %llu bytes are read, status %u",
			    event_names[event], len, status);
}

static void read_table(struct caller *c)
{
	int event = (int)(random_next(&c->random) % NR_EVENTS);
	struct vmem_read_args end;
	__u8 page[PAGE];
	int ret;

	begin(c);
	ret = session_read(c->session, &c->s->regs, DATA_VA(event), page, PAGE,
			   &end);
	if (!was_answered(c, ret, 0))
		return;
	judge_page(c, event, page, end.out_len, end.out_status);
}

static void read_phys(struct caller *c)
{
	int event = (int)(random_next(&c->random) % NR_EVENTS);
	struct vmem_read_phys_args end;
	__u8 page[PAGE];
	int ret;

	begin(c);
	ret = session_read_phys(c->session, PIECE_GPA(event), page, PAGE, &end);
	if (!was_answered(c, ret, 0))
		return;
	/* A kind without a table has no memory at all. */
	if (c->s->has[event])
		judge_page(c, event, page, end.out_len, end.out_status);
	else if (end.out_status != VMEM_UNBACKED && !load(&c->s->dying))
		stage_wrong(c->s, "%s: no memory, and status %u",
			    event_names[event], end.out_status);
}

/* ---- Rows ---- */

/* Returns the table that the row is of, or -1. */
static int judge_row(const struct caller *c, const struct vmem_mapping *row)
{
	__u64 event = (row->va - PIECE_VA(0)) / MB(2);
	bool right;

	if (row->va == FIXED_VA || row->va == SECOND_VA)
		right = row->gpa == FIXED_GPA;
	else if (row->va == AWAY_VA)
		right = is_right_away(c, VMEM_MAPPED, row->gpa);
	else if (row->va == AWAY_VA + PAGE)
		right = row->gpa == PIECE_GPA(MOVE_SLOT);
	else if (event < NR_EVENTS && row->va == DATA_VA(event))
		right = row->gpa == PIECE_GPA(event);
	else
		right = event < NR_EVENTS && row->va == PIECE_VA(event) &&
			is_right(c, (int)event, VMEM_MAPPED, row->gpa);
	if (!right || row->last_va - row->va != PAGE - 1)
		stage_wrong(c->s, "row %#llx-%#llx %#llx", row->va,
			    row->last_va, row->gpa);
	return event < NR_EVENTS && row->va == PIECE_VA(event) ? (int)event :
								 -1;
}

static void judge_missing(const struct caller *c, const bool *seen)
{
	int i;

	for (i = 0; i < NR_EVENTS; i++)
		if (!seen[i] && !may_be_missing(c, i))
			stage_wrong(c->s, "%s: no row", event_names[i]);
}

#define MAX_ROWS 64

static void ask_range(struct caller *c)
{
	struct vmem_mapping rows[MAX_ROWS];
	struct session_maps maps = {
		.rows = rows,
		.room = MAX_ROWS,
		.per_call = 1 + (__u32)random_next(&c->random) % 20,
	};
	bool seen[NR_EVENTS] = { false };
	__u32 i;
	int ret, event;

	begin(c);
	ret = session_map_range(c->session, &c->s->regs, 0, ~0ULL, &maps);
	if (!was_answered(c, ret, 0))
		return;
	for (i = 0; i < maps.nr; i++) {
		event = judge_row(c, &rows[i]);
		if (event >= 0)
			seen[event] = true;
	}
	judge_missing(c, seen);
}

/* Much that does not change, for calls that take a while. */
static void ask_wide_range(struct caller *c)
{
	enum { NR = 1024 };
	struct vmem_mapping rows[2 * NR];
	struct session_maps maps = {
		.rows = rows,
		.room = 2 * NR,
		.per_call = NR,
	};
	__u64 i, first = random_next(&c->random) % (WIDE_PAGES - NR);
	int ret;

	ret = session_map_range(c->session, &c->s->wide, first * PAGE,
				(first + NR) * PAGE - 1, &maps);
	if (!was_answered(c, ret, 0) || load(&c->s->dying))
		return;
	for (i = 0; i < maps.nr; i++)
		if (rows[i].va != (first + i) * PAGE ||
		    rows[i].gpa != WIDE_TARGET(first + i))
			break;
	if (i != NR)
		stage_wrong(c->s, "%llu rows of %u are right", i, NR);
}

/* ---- Sessions ---- */

static int attach(struct caller *c)
{
	return c->vm_fd >= 0 ? session_attach_kvm(c->session, c->vm_fd) :
			       session_attach_regions(c->session, c->s->regions,
						      c->s->nr_regions);
}

static void close_session(struct caller *c)
{
	if (c->session >= 0)
		close(c->session);
	c->session = -1;
}

/* A new one, with the spaces set. */
static bool open_session(struct caller *c)
{
	int ret;

	close_session(c);
	c->session = session_open();
	ret = attach(c);
	if (!ret)
		ret = session_set_spaces(c->session, &c->s->w.spaces);
	if (was_answered(c, ret, 0))
		return true;
	close_session(c);
	return false;
}

static void judge_records(struct caller *c, struct session_records *records)
{
	bool seen[NR_EVENTS] = { false };
	__u32 i;
	int event;

	for (i = 0; i < records->nr; i++) {
		if (records->rows[i].type != VMEM_THIS_SPACE)
			continue;
		event = judge_row(c, &records->rows[i].mapping);
		if (event >= 0)
			seen[event] = true;
	}
	judge_missing(c, seen);
	check_records(&c->s->w, records);
	if (ktap_reason[0])
		stage_wrong(c->s, "%s", ktap_reason);
	ktap_reason[0] = '\0';
}

static void walk(struct caller *c)
{
	struct session_records records = {
		.per_call = 1 + (__u32)random_next(&c->random) % 30,
	};
	int ret;

	if (!open_session(c))
		return;
	begin(c);
	ret = session_walk_spaces(c->session, &records);
	if (was_answered(c, ret, 0))
		judge_records(c, &records);
	free(records.rows);
}

/* What needs none of the VMM's memory is answered even when it is gone. */
static void ask_little(struct caller *c)
{
	struct vmem_memslot slots[NR_EVENTS + 8];
	struct vmem_info_args info;
	__u32 nr = 0;
	int ret;

	ret = session_info(c->session, &info);
	if (!was_answered(c, ret, 0))
		return;
	if (info.out_source !=
	    (c->vm_fd >= 0 ? VMEM_SOURCE_KVM : VMEM_SOURCE_REGIONS))
		stage_wrong(c->s, "source %u", info.out_source);
	ret = session_memslots(c->session, slots, ARRAY_SIZE(slots), 3, &nr);
	if (was_answered(c, ret, 0) && (!nr || slots[0].gpa != c->s->w.ram.gpa))
		stage_wrong(c->s, "%u slots", nr);
}

/* By debugfs. The folder may be another session's, which goes meanwhile. */
static void read_folder(struct caller *c)
{
	struct folder folder = newest_folder();
	int fd = try_open_in(&folder, "spaces");
	char text[4096];
	ssize_t len;

	if (fd < 0)
		return;
	do
		len = read(fd, text, sizeof(text));
	while (len > 0);
	was_answered(c, len < 0 ? -errno : 0, 0);
	close(fd);
}

/* ---- All the time ---- */

/* Any call that leads to the table that never comes. */
static void ask_for_late(struct caller *c)
{
	const struct vmem_regs *regs = &c->s->regs;
	struct session_records records = { .per_call = 64 };
	struct vmem_mapping rows[MAX_ROWS];
	struct session_maps maps = { .rows = rows, .room = MAX_ROWS };
	struct vmem_read_phys_args phys;
	struct vmem_translation tr;
	struct vmem_read_args end;
	char byte;
	int ret = 0;

	maps.per_call = MAX_ROWS / 2;
	switch (random_next(&c->random) % 5) {
	case 0:
		ret = session_translate_one(c->session, regs, LATE_VA, &tr);
		break;
	case 1:
		ret = session_read(c->session, regs, LATE_VA, &byte, 1, &end);
		break;
	case 2:
		ret = session_map_range(c->session, regs, 0, ~0ULL, &maps);
		break;
	case 3:
		ret = session_walk_spaces(c->session, &records);
		free(records.rows);
		break;
	case 4:
		ret = session_read_phys(c->session, LATE_GPA, &byte, 1, &phys);
		break;
	}
	was_answered(c, ret, 0);
	add(&c->s->nr_back, 1);
	if (!load(&c->s->dying))
		stage_wrong(c->s, "what never comes was waited for in vain");
}

static void (*const asks[])(struct caller *c) = {
	ask_addresses,	ask_addresses, ask_addresses, read_table, ask_range,
	ask_wide_range, walk,	       read_phys,     ask_little, read_folder,
};

static void rest(struct caller *c)
{
	close_session(c);
	add(&c->s->nr_paused, 1);
	while (load(&c->s->pause) && !load(&c->s->stop))
		usleep(300);
	add(&c->s->nr_paused, -1);
}

void caller_run(struct stage *s, int vm_fd, __u64 random)
{
	struct caller c = {
		.s = s,
		.vm_fd = vm_fd,
		.session = -1,
		.random = random,
	};

	add(&s->nr_ready, 1);
	while (!load(&s->go))
		usleep(500);
	while (!load(&s->stop)) {
		if (load(&s->pause))
			rest(&c);
		else if (c.session < 0 && !open_session(&c))
			usleep(1000);
		else if (s->late && !load(&s->dying))
			ask_for_late(&c);
		else
			asks[random_next(&c.random) % ARRAY_SIZE(asks)](&c);
	}
	close_session(&c);
}
