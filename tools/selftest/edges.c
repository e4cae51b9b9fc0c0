// SPDX-License-Identifier: GPL-2.0-only
/*
 * edges.c - structs and buffers at the edges of pages, and where there are none
 *
 * What fits is answered as anywhere else. What does not is -EFAULT, or answered
 * in part, and no byte beside it changes.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <sys/mman.h>

#include "commands.h"
#include "ktap.h"

/* ---- Two pages with holes around them ---- */

#define NR_PAGES 8

/**
 * struct island - pages with nothing before and behind them
 * @start: the first byte
 * @edge: the first byte behind the half of it that can be read and written
 * @end: the first byte behind all of it
 */
struct island {
	__u8 *start;
	__u8 *edge;
	__u8 *end;
};

/* What lies behind the edge has the protection @behind. */
static struct island island_new(int behind)
{
	const int rw = PROT_READ | PROT_WRITE;
	struct island is;
	__u8 *p;

	p = mmap(NULL, (2 * NR_PAGES + 2) * PAGE, PROT_NONE,
		 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(p == MAP_FAILED ? -1 : 0, "mmap");
	is.start = p + PAGE;
	is.edge = is.start + NR_PAGES * PAGE;
	is.end = is.edge + NR_PAGES * PAGE;
	must(mprotect(is.start, 2 * NR_PAGES * PAGE, rw), "mprotect");
	memset(is.start, POISON, 2 * NR_PAGES * PAGE);
	must(mprotect(is.edge, NR_PAGES * PAGE, behind), "mprotect");
	return is;
}

static void island_free(struct island *is)
{
	munmap(is->start - PAGE, (2 * NR_PAGES + 2) * PAGE);
}

/* All bytes from @p to @end are as island_new() has left them. */
static bool is_poison(const __u8 *p, const __u8 *end)
{
	for (; p < end; p++)
		if (*p != POISON)
			return false;
	return true;
}

/* Addresses where nobody has memory: below all, the kernel's, and neither's. */
static const __u64 nowhere[] = {
	0,
	1,
	0x0100000000000000,
	0x0200000000000000,
	0x7fffffffffffff00,
	0x8000000000000000,
	0xff00000000000000,
	0xffff800000000000,
	0xffffffff81000000,
	-PAGE,
	~7ULL,
	~0ULL,
};

/* ---- Answers ---- */

static void same_outs(const char *what, const struct command *c,
		      const __u8 *args, const struct call *want)
{
	const struct part *out;

	for (out = c->outs; out->at != NONE; out++)
		CHECK_EQ_AT(what,
			    memcmp(args + out->at, want->args.bytes + out->at,
				   out->end - out->at),
			    0);
}

/* A call where all is in its place. */
static void call_plain(struct call *call, const struct command *c,
		       const struct guest *g)
{
	call_init(call, c, g);
	CHECK_EQ_AT(c->name, call_end(call, c), 0);
}

/* The session has not done anything yet, and says so. */
static void as_good_as_new(const struct command *c, const struct guest *g,
			   int session, const struct call *want)
{
	struct call call;

	call_fill(&call, c, g);
	CHECK_EQ_AT(c->name, session_call(session, c->cmd, call.args.bytes), 0);
	same_outs(c->name, c, call.args.bytes, want);
	CHECK_EQ_AT(c->name,
		    memcmp(call.array, want->array, sizeof(call.array)), 0);
}

/* ---- Structs ---- */

/* A struct at @where, the whole of which is there. */
static void args_fit(const struct command *c, const struct guest *g,
		     const struct island *is, __u8 *where,
		     const struct call *want)
{
	struct call call;

	call_init(&call, c, g);
	memset(is->start, POISON, is->edge - is->start);
	memcpy(where, call.args.bytes, c->size);
	CHECK_EQ_AT(c->name, session_call(call.session, c->cmd, where), 0);
	same_outs(c->name, c, where, want);
	CHECK_EQ_AT(c->name, is_poison(is->start, where), true);
	CHECK_EQ_AT(c->name, is_poison(where + c->size, is->edge), true);
	close(call.session);
}

static void args_at_an_edge(void)
{
	struct island is = island_new(PROT_NONE);
	const struct command *c;
	struct call want;
	struct guest g;
	__u32 i;

	guest_init(&g);
	for (c = commands; c < ways_end; c++) {
		call_plain(&want, c, &g);
		args_fit(c, &g, &is, is.start, &want);
		/* From its end at the edge downwards: it need not be aligned. */
		for (i = 0; i < 8; i++)
			args_fit(c, &g, &is, is.edge - c->size - i, &want);
		/* From one page to the next. */
		for (i = 1; i < c->size; i++)
			args_fit(c, &g, &is, is.edge - PAGE - i, &want);
	}
	guest_free(&g);
	island_free(&is);
}

/* All but the first @there bytes are where nothing is. */
static void args_cut(const struct command *c, const struct guest *g,
		     const struct island *is, __u32 there,
		     const struct call *want)
{
	__u8 *where = is->edge - there;
	struct call call;

	call_init(&call, c, g);
	memset(is->start, POISON, is->edge - is->start);
	memcpy(where, call.args.bytes, there);
	CHECK_EQ_AT(c->name, session_call(call.session, c->cmd, where),
		    -EFAULT);
	CHECK_EQ_AT(c->name, is_poison(is->start, where), true);
	CHECK_EQ_AT(c->name, memcmp(where, call.args.bytes, there), 0);
	as_good_as_new(c, g, call.session, want);
	close(call.session);
}

static void args_over_an_edge(void)
{
	struct island is = island_new(PROT_NONE);
	const struct command *c;
	struct call want;
	struct guest g;
	__u32 there;

	guest_init(&g);
	for (c = commands; c < ways_end; c++) {
		call_plain(&want, c, &g);
		for (there = 0; there < c->size; there++)
			args_cut(c, &g, &is, there, &want);
	}
	guest_free(&g);
	island_free(&is);
}

/* A tail of zeros is a part of the struct. */
static void args_tail_over_an_edge(void)
{
	struct island is = island_new(PROT_NONE);
	const struct command *c;
	struct call call;
	struct guest g;
	__u8 *where;

	guest_init(&g);
	memset(is.start, 0, is.edge - is.start);
	for (c = commands; c < ways_end; c++) {
		call_init(&call, c, &g);
		where = is.edge - c->size - 8;
		memcpy(where, call.args.bytes, c->size);
		*(__u32 *)where = c->size + 9;
		CHECK_EQ_AT(c->name, session_call(call.session, c->cmd, where),
			    -EFAULT);
		*(__u32 *)where = c->size + 8;
		CHECK_EQ_AT(c->name, session_call(call.session, c->cmd, where),
			    0);
		close(call.session);
	}
	guest_free(&g);
	island_free(&is);
}

static void args_nowhere(void)
{
	const struct command *c;
	struct call want;
	struct guest g;
	int session;
	size_t i;

	guest_init(&g);
	for (c = commands; c < ways_end; c++) {
		call_plain(&want, c, &g);
		session = open_for(c, &g);
		for (i = 0; i < ARRAY_SIZE(nowhere); i++)
			CHECK_EQ_AT(c->name,
				    session_call(session, c->cmd,
						 (void *)nowhere[i]),
				    -EFAULT);
		as_good_as_new(c, &g, session, &want);
		close(session);
	}
	guest_free(&g);
}

/*
 * The last @behind bytes of the struct can be read and not written. What has no
 * answer does not have to be written.
 */
static void args_read_only(const struct command *c, const struct guest *g,
			   struct island *is, __u32 behind)
{
	__u8 *where = is->edge - (c->size - behind);
	struct call call;

	call_init(&call, c, g);
	must(mprotect(is->edge, PAGE, PROT_READ | PROT_WRITE), "mprotect");
	memset(is->edge, POISON, PAGE);
	memcpy(where, call.args.bytes, c->size);
	must(mprotect(is->edge, PAGE, PROT_READ), "mprotect");
	CHECK_EQ_AT(c->name, session_call(call.session, c->cmd, where),
		    c->outs[0].at == NONE ? 0 : -EFAULT);
	CHECK_EQ_AT(c->name,
		    memcmp(is->edge, call.args.bytes + c->size - behind,
			   behind),
		    0);
	CHECK_EQ_AT(c->name, is_poison(is->edge + behind, is->edge + PAGE),
		    true);
	close(call.session);
}

static void args_not_writable(void)
{
	struct island is = island_new(PROT_READ);
	const struct command *c;
	struct guest g;

	guest_init(&g);
	for (c = commands; c < ways_end; c++) {
		args_read_only(c, &g, &is, 1);
		args_read_only(c, &g, &is, 8);
		args_read_only(c, &g, &is, c->size - 4);
		args_read_only(c, &g, &is, c->size);
	}
	guest_free(&g);
	island_free(&is);
}

/* ---- Buffers ---- */

/* Where the call that works has the buffer. */
static __u8 *buffer_of(struct call *call, const struct buffer *b)
{
	return (__u8 *)(uintptr_t)*u64_at(call, b->at);
}

/* @where: the buffer, the whole of which is there */
static void buffer_fits(const struct command *c, const struct buffer *b,
			const struct guest *g, const struct island *is,
			__u8 *where, const struct call *want)
{
	struct call call;

	call_init(&call, c, g);
	memset(is->start, POISON, is->edge - is->start);
	memcpy(where, buffer_of(&call, b), b->len);
	*u64_at(&call, b->at) = (uintptr_t)where;
	CHECK_EQ_AT(c->name, call_end(&call, c), 0);
	same_outs(c->name, c, call.args.bytes, want);
	if (b->written)
		CHECK_EQ_AT(c->name, memcmp(where, want->array, b->len), 0);
	CHECK_EQ_AT(c->name, is_poison(is->start, where), true);
	CHECK_EQ_AT(c->name, is_poison(where + b->len, is->edge), true);
}

static void buffers_at_an_edge(void)
{
	struct island is = island_new(PROT_NONE);
	const struct command *c;
	const struct buffer *b;
	struct call want;
	struct guest g;
	__u32 i;

	guest_init(&g);
	for (c = commands; c < ways_end; c++) {
		call_plain(&want, c, &g);
		for (b = c->buffers; b->at != NONE; b++) {
			buffer_fits(c, b, &g, &is, is.start, &want);
			for (i = 0; i < 8; i++)
				buffer_fits(c, b, &g, &is, is.edge - b->len - i,
					    &want);
			for (i = 1; i < b->len && i <= PAGE; i += 1 + i / 16)
				buffer_fits(c, b, &g, &is, is.start + PAGE - i,
					    &want);
		}
	}
	guest_free(&g);
	island_free(&is);
}

/* Answered in part: so much as fits, and as it is where all of it does. */
static void check_part(const struct command *c, const struct call *call,
		       const __u8 *array, __u64 fits, const struct call *want)
{
	__u64 done = out_nr(c, call) * c->element_size;

	CHECK_EQ_AT(c->name, done && done <= fits, true);
	CHECK_EQ_AT(c->name, memcmp(array, want->array, done), 0);
}

/* Refused: the struct is as it was, and the array may be written in part. */
static void check_refused(const struct command *c, const struct call *call,
			  const struct call *before, const struct call *want)
{
	__u32 i, nr_wrong = 0;

	for (i = 0; i < sizeof(call->array); i++)
		nr_wrong += call->array[i] != before->array[i] &&
			    call->array[i] != want->array[i];
	CHECK_EQ_AT(c->name, nr_wrong, 0);
	CHECK_EQ_AT(c->name,
		    memcmp(&call->args, &before->args, sizeof(call->args)), 0);
}

/* The rest of a walk that was answered in part is what was not told yet. */
static void check_rest(const struct command *c, const struct guest *g,
		       const struct call *part, const struct call *want)
{
	__u64 told = out_nr(c, part), all = out_nr(c, want);
	struct call rest;

	call_fill(&rest, c, g);
	CHECK_EQ_AT(c->name,
		    session_call(part->session, c->cmd, rest.args.bytes), 0);
	CHECK_EQ_AT(c->name, out_nr(c, &rest) >= all - told, true);
	CHECK_EQ_AT(c->name,
		    memcmp(rest.array, want->array + told * c->element_size,
			   (all - told) * c->element_size),
		    0);
}

/*
 * All but the first @there bytes of the buffer are where nothing is, or nothing
 * can be written.
 */
static void buffer_cut(const struct command *c, const struct buffer *b,
		       const struct guest *g, const struct island *is,
		       __u32 there, const struct call *want)
{
	__u8 *where = is->edge - there;
	struct call call, before;
	int ret;

	call_init(&call, c, g);
	memset(is->start, POISON, is->edge - is->start);
	memcpy(where, buffer_of(&call, b), there);
	*u64_at(&call, b->at) = (uintptr_t)where;
	before = call;
	ret = call_make(&call, c);
	CHECK_EQ_AT(c->name, is_poison(is->start, where), true);
	if (!b->written)
		CHECK_EQ_AT(c->name,
			    memcmp(where, buffer_of(&before, b), there), 0);
	if (ret) {
		CHECK_EQ_AT(c->name, ret, -EFAULT);
		check_refused(c, &call, &before, want);
		as_good_as_new(c, g, call.session, want);
	} else {
		check_part(c, &call, b->written ? where : call.array,
			   b->written ? there : b->len - 1, want);
		if (c->cmd == VMEM_WALK_SPACES)
			check_rest(c, g, &call, want);
	}
	close(call.session);
}

/* Every element's edge, and some others. */
static __u32 next_cut(__u32 there)
{
	return there < 64 || there % 8 ? there + 1 : there + 7;
}

static void buffers_cut_by(int behind)
{
	struct island is = island_new(behind);
	const struct command *c;
	const struct buffer *b;
	struct call want;
	struct guest g;
	__u32 there;

	guest_init(&g);
	for (c = commands; c < ways_end; c++) {
		call_plain(&want, c, &g);
		for (b = c->buffers; b->at != NONE; b++)
			for (there = 0; there < b->len && there < 2 * PAGE;
			     there = next_cut(there))
				if (b->written || behind == PROT_NONE)
					buffer_cut(c, b, &g, &is, there, &want);
	}
	if (behind & PROT_READ)
		CHECK(is_poison(is.edge, is.end));
	guest_free(&g);
	island_free(&is);
}

static void buffers_over_an_edge(void)
{
	buffers_cut_by(PROT_NONE);
}

static void buffers_into_a_read_only_page(void)
{
	buffers_cut_by(PROT_READ);
}

/* Whether a command takes 0 for no buffer. */
static bool takes_none(const struct command *c, __u64 where)
{
	return c->cmd == VMEM_READ_PHYS && !where;
}

static void buffers_nowhere(void)
{
	const struct command *c;
	const struct buffer *b;
	struct call call, before, want;
	struct guest g;
	size_t i;

	guest_init(&g);
	for (c = commands; c < ways_end; c++) {
		call_plain(&want, c, &g);
		for (b = c->buffers; b->at != NONE; b++) {
			call_init(&call, c, &g);
			for (i = 0; i < ARRAY_SIZE(nowhere); i++) {
				if (takes_none(c, nowhere[i]))
					continue;
				*u64_at(&call, b->at) = nowhere[i];
				before = call;
				CHECK_EQ_AT(c->name, call_make(&call, c),
					    -EFAULT);
				check_untouched(c->name, &call, &before);
			}
			as_good_as_new(c, &g, call.session, &want);
			close(call.session);
		}
	}
	guest_free(&g);
}

/* What is only read may be where nothing can be written. */
static void inputs_in_a_read_only_page(void)
{
	struct island is = island_new(PROT_READ);
	const struct command *c;
	const struct buffer *b;
	struct call call, want;
	struct guest g;

	guest_init(&g);
	for (c = commands; c < ways_end; c++) {
		call_plain(&want, c, &g);
		for (b = c->buffers; b->at != NONE; b++) {
			if (b->written)
				continue;
			call_init(&call, c, &g);
			must(mprotect(is.edge, PAGE, PROT_READ | PROT_WRITE),
			     "mprotect");
			memcpy(is.edge, buffer_of(&call, b), b->len);
			must(mprotect(is.edge, PAGE, PROT_READ), "mprotect");
			*u64_at(&call, b->at) = (uintptr_t)is.edge;
			CHECK_EQ_AT(c->name, call_end(&call, c), 0);
			same_outs(c->name, c, call.args.bytes, &want);
		}
	}
	guest_free(&g);
	island_free(&is);
}

/* More is asked for than anybody has: it ends where the buffer does. */
static void counts_of_all_there_is(void)
{
	static const __u64 nr[] = { BIT_ULL(31), ~0u, BIT_ULL(62) };
	struct island is = island_new(PROT_NONE);
	const struct command *c;
	const struct buffer *b;
	struct call call;
	struct guest g;
	size_t i;
	int ret;

	guest_init(&g);
	for (c = commands; c < ways_end; c++) {
		b = c->buffers;
		for (i = 0; b->written && i < ARRAY_SIZE(nr); i++) {
			call_init(&call, c, &g);
			memset(is.start, POISON, is.edge - is.start);
			*u64_at(&call, b->at) =
				(uintptr_t)is.edge - 3 * c->element_size;
			if (c->cmd == VMEM_READ)
				call.args.read.len = nr[i];
			else if (c->cmd == VMEM_READ_PHYS)
				call.args.read_phys.len = nr[i];
			else
				*u32_at(&call, c->nr) = (__u32)nr[i] ?: ~0u;
			ret = call_end(&call, c);
			if (ret != -EFAULT)
				CHECK_EQ_AT(c->name, ret, 0);
			if (!ret)
				CHECK_EQ_AT(c->name, out_nr(c, &call) <= 3,
					    true);
			CHECK_EQ_AT(c->name,
				    is_poison(is.start,
					      is.edge - 3 * c->element_size),
				    true);
		}
	}
	guest_free(&g);
	island_free(&is);
}

/* ---- A buffer in the guest's own memory ---- */

/*
 * The answers go where the tables are that they are found by. What they say then
 * is nobody's business, but the call ends, and so does the next one.
 */
static void answers_over_the_tables(void)
{
	const struct command *c;
	struct call call;
	struct guest g;
	int ret;

	for (c = commands; c < ways_end; c++) {
		if (!c->buffers[0].written)
			continue;
		guest_init(&g);
		call_init(&call, c, &g);
		*u64_at(&call, c->buffers[0].at) = (uintptr_t)g.ram.hva;
		ret = call_make(&call, c);
		if (ret != -EAGAIN)
			CHECK_EQ_AT(c->name, ret, 0);
		ret = call_end(&call, c);
		if (ret != -EAGAIN)
			CHECK_EQ_AT(c->name, ret, 0);
		guest_free(&g);
	}
}

/* Pages that nobody has touched yet are as good as others. */
static void buffers_in_fresh_pages(void)
{
	const struct command *c;
	struct call call, want;
	struct guest g;
	__u8 *fresh;

	guest_init(&g);
	for (c = commands; c < ways_end; c++) {
		if (!c->buffers[0].written)
			continue;
		call_plain(&want, c, &g);
		fresh = mmap(NULL, NR_PAGES * PAGE, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		must(fresh == MAP_FAILED ? -1 : 0, "mmap");
		call_init(&call, c, &g);
		*u64_at(&call, c->buffers[0].at) = (uintptr_t)fresh + 1;
		CHECK_EQ_AT(c->name, call_end(&call, c), 0);
		same_outs(c->name, c, call.args.bytes, &want);
		CHECK_EQ_AT(c->name,
			    memcmp(fresh + 1, want.array,
				   out_nr(c, &call) * c->element_size),
			    0);
		CHECK_EQ_AT(c->name, fresh[0], 0);
		munmap(fresh, NR_PAGES * PAGE);
	}
	guest_free(&g);
}

static long long lost_at_start;

static void no_pages_lost(void)
{
	CHECK_EQ(pages_lost(), lost_at_start);
}

static const struct ktap_case cases[] = {
	{ "args_at_an_edge", args_at_an_edge },
	{ "args_over_an_edge", args_over_an_edge },
	{ "args_tail_over_an_edge", args_tail_over_an_edge },
	{ "args_nowhere", args_nowhere },
	{ "args_not_writable", args_not_writable },
	{ "buffers_at_an_edge", buffers_at_an_edge },
	{ "buffers_over_an_edge", buffers_over_an_edge },
	{ "buffers_into_a_read_only_page", buffers_into_a_read_only_page },
	{ "buffers_nowhere", buffers_nowhere },
	{ "inputs_in_a_read_only_page", inputs_in_a_read_only_page },
	{ "counts_of_all_there_is", counts_of_all_there_is },
	{ "buffers_in_fresh_pages", buffers_in_fresh_pages },
	{ "answers_over_the_tables", answers_over_the_tables },
	{ "no_pages_lost", no_pages_lost },
};

int main(void)
{
	lost_at_start = pages_lost_before();
	return ktap_main(cases, ARRAY_SIZE(cases));
}
