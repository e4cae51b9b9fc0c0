// SPDX-License-Identifier: GPL-2.0-only
/*
 * fail.c - every allocation and every page of every command fails in turn
 *
 * The n-th one is made to fail by /proc/thread-self/fail-nth, for n = 1, 2 and so
 * on, until a call gets by without. Then one page of the guest after the other is
 * taken away, which any kernel can do. A call that meets it is
 * refused with an errno that fits, or answers in part, or has another way; and
 * the same session then goes on as if nothing had been.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <linux/kvm.h>

#include "commands.h"
#include "file.h"
#include "folder.h"
#include "ktap.h"
#include "module.h"

#define DEBUG "/sys/kernel/debug/"

/* No command needs as many. */
#define MAX_FAULTS 20000

/* ---- Faults ---- */

/**
 * struct faults - a kind of faults
 * @name: its name
 * @arm: lets the n-th chance from now on fail
 * @disarm: lets none fail; returns whether one did
 * @is_answer: what it makes happen may be told as the guest's state
 */
struct faults {
	const char *name;
	void (*arm)(unsigned int n);
	bool (*disarm)(void);
	bool is_answer;
};

/* Open all the time, so that nothing else is done between arming and the call. */
static int nth_fd = -1;

static bool skip_without_nth(void)
{
	if (nth_fd < 0)
		nth_fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	return skip_without(nth_fd >= 0, "CONFIG_FAULT_INJECTION");
}

static void nth_arm(unsigned int n)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%u", n);

	must(pwrite(nth_fd, text, len, 0), "fail-nth");
}

/*
 * To read the file and to write to it are chances as well. After one that failed
 * nothing is armed any more.
 */
static bool nth_disarm(void)
{
	char text[16] = "0";
	bool fired = pread(nth_fd, text, sizeof(text) - 1, 0) > 0 &&
		     !strtoul(text, NULL, 0);

	if (pwrite(nth_fd, "0", 1, 0) < 0)
		nth_arm(0);
	return fired;
}

/* The guest whose pages are taken away, and the one that is. */
static const struct guest *robbed;
static __u8 *taken;

static void page_protect(int protection)
{
	must(mprotect(taken, PAGE, protection), "mprotect");
}

static void page_arm(unsigned int n)
{
	taken = robbed->ram.hva + (n - 1) * PAGE;
	page_protect(PROT_NONE);
}

/* Those are used that are tables, or lie where these map something. */
static bool page_disarm(void)
{
	page_protect(PROT_READ | PROT_WRITE);
	return taken < robbed->ram.hva + robbed->ram.used;
}

static const struct faults allocations = {
	.name = "allocations",
	.arm = nth_arm,
	.disarm = nth_disarm,
};

static const struct faults pages = {
	.name = "pages",
	.arm = page_arm,
	.disarm = page_disarm,
	.is_answer = true,
};

/* By default the kernel spares nearly all allocations, and tells of each fault. */
static void set_up_faults(void)
{
	static const struct {
		const char *path;
		const char *value;
	} files[] = {
		{ DEBUG "failslab/ignore-gfp-wait", "N" },
		{ DEBUG "failslab/cache-filter", "N" },
		{ DEBUG "failslab/verbose", "0" },
		{ DEBUG "fail_page_alloc/ignore-gfp-wait", "N" },
		{ DEBUG "fail_page_alloc/ignore-gfp-highmem", "N" },
		{ DEBUG "fail_page_alloc/min-order", "0" },
		{ DEBUG "fail_page_alloc/verbose", "0" },
		{ DEBUG "fail_usercopy/verbose", "0" },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(files); i++)
		if (file_put(files[i].path, files[i].value))
			printf("# no %s\n", files[i].path);
}

/* ---- The guest ---- */

/*
 * Page tables. Few, where each of them is read in turn; and more than any list
 * of tables has room for at first.
 */
#define FEW_PTS 6
#define MANY_PTS 150

static __u64 nr_tables(__u32 nr_pts)
{
	return VMEM_LEVEL_PML4 - VMEM_LEVEL_PT + nr_pts;
}

static void guest_with(struct guest *g, __u32 nr_pts)
{
	__u64 i;

	guest_init(g);
	for (i = 1; i < nr_pts; i++)
		tables_map(&g->tables, i * MB(2), RAM_GPA + i * PAGE,
			   VMEM_LEVEL_PT, PTE_PWU);
}

/* Gives the session hints of all tables, and of a page. */
static void hint_at_pages(int session, const struct guest *g)
{
	static struct vmem_mapping rows[2 * MANY_PTS];
	struct session_maps maps = {
		.rows = rows,
		.room = ARRAY_SIZE(rows),
		.per_call = ARRAY_SIZE(rows),
	};
	struct vmem_read_args end;
	__u8 byte;

	CHECK_EQ(session_map_range(session, &g->regs, 0, ~0ULL, &maps), 0);
	CHECK_EQ(session_read(session, &g->regs, 0, &byte, 1, &end), 0);
}

/* ---- One call that meets a fault ---- */

/**
 * struct sweep - one command and one kind of faults
 * @c: the command
 * @f: the faults
 * @g: the guest
 * @nr_pts: page tables that it has
 * @hinted: the session has hints of the pages that the call is about
 * @grown: the struct has a tail, which is copied in another way
 * @want: the call without a fault
 * @nr_refused: calls that were refused
 * @nr_part: calls that answered in part
 * @nr_whole: calls that did as if nothing had been
 */
struct sweep {
	const struct command *c;
	const struct faults *f;
	const struct guest *g;
	__u32 nr_pts;
	bool hinted;
	bool grown;
	struct call want;
	unsigned int nr_refused;
	unsigned int nr_part;
	unsigned int nr_whole;
};

/* As much as there is room for, from all over the guest. */
static void fill_large(struct call *call, const struct sweep *s)
{
	const struct command *c = s->c;
	__u64 i;

	call_fill(call, c, s->g);
	if (c->cmd == VMEM_TRANSLATE)
		for (i = 0; i < NR_MANY; i++)
			call->vas[i] = i * MB(2);
	if (c->cmd == VMEM_MAP_RANGE || c->cmd == VMEM_WALK_SPACES)
		*u32_at(call, c->nr) = sizeof(call->array) / c->element_size;
	if (c->cmd == VMEM_READ_PHYS)
		call->args.read_phys.len = sizeof(call->array);
}

static void open_large(const struct sweep *s, struct call *call)
{
	fill_large(call, s);
	if (s->grown)
		call->args.size += 8;
	call->session = open_for(s->c, s->g);
	if (s->hinted && !s->c->attaches)
		hint_at_pages(call->session, s->g);
}

/* What a call says that met a fault and was refused. */
static void check_refusal(const struct sweep *s, int ret,
			  const struct call *call, const struct call *before)
{
	const char *what = s->c->name;

	if (ret == -ENXIO)
		CHECK_EQ_AT(what, s->f->is_answer, true);
	else if (ret != -EFAULT)
		CHECK_EQ_AT(what, ret, -ENOMEM);
	CHECK_EQ_AT(what,
		    memcmp(&call->args, &before->args, sizeof(call->args)), 0);
}

static void check_outs(const struct sweep *s, const struct call *call)
{
	const struct part *out;

	for (out = s->c->outs; out->at != NONE; out++)
		CHECK_EQ_AT(s->c->name,
			    memcmp(call->args.bytes + out->at,
				   s->want.args.bytes + out->at,
				   out->end - out->at),
			    0);
}

/* What a call says that met a fault and was not refused. */
static void check_answer(struct sweep *s, const struct call *call)
{
	__u64 nr = out_nr(s->c, call), all = out_nr(s->c, &s->want);

	s->nr_part += nr < all;
	s->nr_whole += nr == all;
	if (s->f->is_answer)
		return;
	CHECK_EQ_AT(s->c->name, nr <= all, true);
	CHECK_EQ_AT(s->c->name,
		    memcmp(call->array, s->want.array, nr * s->c->element_size),
		    0);
	/* How much of its work is read again varies where a walk goes on. */
	if (nr == all && s->c->cmd != VMEM_WALK_SPACES)
		check_outs(s, call);
}

/* ---- What comes after it ---- */

static void rest_of_attach(const struct sweep *s, int session, int ret)
{
	struct vmem_memslot slots[2];
	struct call call;
	__u32 nr;

	fill_large(&call, s);
	CHECK_EQ_AT(s->c->name,
		    session_call(session, s->c->cmd, call.args.bytes),
		    ret ? 0 : -EISCONN);
	CHECK_EQ(session_memslots(session, slots, 2, 2, &nr), 0);
	CHECK_EQ(nr, 1);
	hint_at_pages(session, s->g);
}

static void rest_of_set_spaces(const struct sweep *s, int session, int ret)
{
	struct session_records records = { .per_call = 2 * MANY_PTS };
	struct call call;

	fill_large(&call, s);
	CHECK_EQ_AT(s->c->name,
		    session_call(session, s->c->cmd, call.args.bytes),
		    ret ? 0 : -EISCONN);
	CHECK_EQ(session_walk_spaces(session, &records), 0);
	CHECK_EQ(records.stats.known, nr_tables(s->nr_pts));
	free(records.rows);
}

/* If only the struct could not be written, the call is done and its array complete. */
static __u64 records_told(const struct sweep *s, const struct call *call,
			  int ret)
{
	__u64 all = out_nr(s->c, &s->want);

	if (!ret)
		return out_nr(s->c, call);
	return memcmp(call->array, s->want.array, all * s->c->element_size) ?
		       0 :
		       all;
}

/* What was told before and what is told now is all, and nothing twice. */
static void rest_of_walk(const struct sweep *s, const struct call *call,
			 int ret)
{
	__u64 told = records_told(s, call, ret);
	__u64 all = out_nr(s->c, &s->want);
	struct session_records records = { .per_call = 1 };
	const __u8 *want = s->want.array + told * sizeof(*records.rows);
	bool more = true;

	while (more)
		if (!CHECK_EQ(session_walk_once(call->session, &records, &more),
			      0))
			break;
	if (!s->f->is_answer) {
		CHECK_EQ_AT(s->c->name, told + records.nr, all);
		CHECK_EQ_AT(s->c->name,
			    memcmp(records.rows, want,
				   records.nr * sizeof(*records.rows)),
			    0);
	}
	free(records.rows);
}

static void again(const struct sweep *s, int session)
{
	struct call call;

	fill_large(&call, s);
	CHECK_EQ_AT(s->c->name,
		    session_call(session, s->c->cmd, call.args.bytes), 0);
	check_outs(s, &call);
	CHECK_EQ_AT(s->c->name,
		    memcmp(call.array, s->want.array, sizeof(call.array)), 0);
}

/* The session is as it was before the call, or as it is behind it. */
static void check_rest(const struct sweep *s, const struct call *call, int ret)
{
	if (s->c->attaches)
		rest_of_attach(s, call->session, ret);
	else if (s->c->cmd == VMEM_SET_SPACES)
		rest_of_set_spaces(s, call->session, ret);
	else if (s->c->cmd == VMEM_WALK_SPACES)
		rest_of_walk(s, call, ret);
	else
		again(s, call->session);
}

/* ---- All commands ---- */

/* False if the call got by without the n-th fault. */
static bool call_with_fault(struct sweep *s, unsigned int n)
{
	struct call call, before;
	bool fired;
	int ret;

	open_large(s, &call);
	before = call;
	s->f->arm(n);
	ret = call_make(&call, s->c);
	fired = s->f->disarm();

	if (!fired)
		CHECK_EQ_AT(s->c->name, ret, 0);
	s->nr_refused += !!ret;
	if (ret)
		check_refusal(s, ret, &call, &before);
	else
		check_answer(s, &call);
	CHECK_EQ_AT(s->c->name, bytes_changed(s->c, &call, &before), 0);
	check_rest(s, &call, ret);
	close(call.session);
	return fired;
}

static void sweep(struct sweep *s)
{
	unsigned int n = 1;

	fill_large(&s->want, s);
	s->want.session = open_for(s->c, s->g);
	CHECK_EQ_AT(s->c->name, call_end(&s->want, s->c), 0);
	while (call_with_fault(s, n) && n < MAX_FAULTS && !ktap_reason[0])
		n++;
	CHECK_EQ_AT(s->c->name, n < MAX_FAULTS, true);
	printf("# %s, %s%s%s: %u faults: %u refused, %u in part\n", s->c->name,
	       s->f->name, s->hinted ? ", with hints" : "",
	       s->grown ? ", with a tail" : "", n - 1, s->nr_refused,
	       s->nr_part);
}

/* @how: what does not depend on the command. Returns how many faults there were. */
static unsigned int sweep_all(const struct sweep *how)
{
	long long lost = pages_lost_before();
	const struct command *c;
	unsigned int nr = 0;
	struct guest g;

	guest_with(&g, how->nr_pts);
	robbed = &g;
	for (c = commands; c < ways_end; c++) {
		struct sweep s = *how;

		s.c = c;
		s.g = &g;
		sweep(&s);
		nr += s.nr_refused + s.nr_part + s.nr_whole;
	}
	guest_free(&g);
	CHECK_EQ(pages_lost(), lost);
	return nr;
}

static void every_allocation(void)
{
	const struct sweep how = { .f = &allocations, .nr_pts = FEW_PTS };

	if (!skip_without_nth())
		CHECK(sweep_all(&how) > 100);
}

/* Where no page has to be looked up, and lists have to grow. */
static void every_allocation_with_hints(void)
{
	const struct sweep how = {
		.f = &allocations,
		.nr_pts = MANY_PTS,
		.hinted = true,
	};

	if (!skip_without_nth())
		sweep_all(&how);
}

static void every_copy_of_a_grown_struct(void)
{
	const struct sweep how = {
		.f = &allocations,
		.nr_pts = FEW_PTS,
		.hinted = true,
		.grown = true,
	};

	if (!skip_without_nth())
		CHECK(sweep_all(&how) > 2 * (ways_end - commands));
}

static void every_page(void)
{
	const struct sweep how = { .f = &pages, .nr_pts = FEW_PTS };

	CHECK(sweep_all(&how) > nr_tables(FEW_PTS));
}

/* ---- Opening, closing ---- */

/* What open() says if there is no memory, or no reading its path. */
static void check_open(int fd)
{
	if (fd < 0 && fd != -ENOMEM && fd != -EFAULT)
		CHECK_EQ(fd, -ENOMEM);
}

static void every_open(void)
{
	unsigned int n = 0;
	bool fired;
	int fd;

	if (skip_without_nth())
		return;
	do {
		nth_arm(++n);
		fd = open("/dev/vmem", O_RDWR | O_CLOEXEC);
		fd = fd < 0 ? -errno : fd;
		fired = nth_disarm();
		check_open(fd);
		if (fd >= 0)
			close(fd);
	} while (fired && n < MAX_FAULTS);
	CHECK(n > 1);
	printf("# open: %u faults\n", n - 1);
}

/* With all that a session can have. It cannot fail, and leaves nothing. */
static void every_close(void)
{
	long long lost = pages_lost_before();
	struct session_records records = { .per_call = 100 };
	unsigned int n = 0;
	struct guest g;
	bool fired;
	int session, ret;

	if (skip_without_nth())
		return;
	guest_with(&g, FEW_PTS);
	do {
		session = open_on_kvm(&g);
		set_spaces(session, &g);
		CHECK_EQ(session_walk_spaces(session, &records), 0);
		nth_arm(++n);
		ret = close(session);
		fired = nth_disarm();
		CHECK_EQ(ret, 0);
		CHECK_EQ(pages_lost(), lost);
	} while (fired && n < MAX_FAULTS);
	printf("# close: %u faults\n", n - 1);
	free(records.rows);
	guest_free(&g);
}

/* ---- The files in debugfs ---- */

/* Room for what `spaces` says of the guest. */
#define MAX_TEXT 65536

/* Opens and reads it to its end. Returns how much, or -errno. */
static int try_read_file(const struct folder *folder, const char *name,
			 char *text)
{
	int fd = try_open_in(folder, name);
	ssize_t len;
	int nr = 0;

	if (fd < 0)
		return fd;
	while ((len = read(fd, text + nr, MAX_TEXT - nr)) > 0)
		nr += (int)len;
	nr = len < 0 ? -errno : nr;
	close(fd);
	return nr;
}

/*
 * Of a session that has no hints yet, and then once more, with no fault.
 * Returns whether there was one.
 */
static bool read_with_fault(const struct faults *f, const struct guest *g,
			    const char *name, unsigned int n)
{
	static char want[MAX_TEXT], text[MAX_TEXT];
	int session = open_on_kvm(g);
	struct folder folder;
	int len, got;
	bool fired;

	set_spaces(session, g);
	folder = newest_folder();
	f->arm(n);
	got = try_read_file(&folder, name, text);
	fired = f->disarm();
	len = try_read_file(&folder, name, want);
	CHECK_EQ_AT(name, len > 0, true);
	if (got < 0) {
		check_open(got);
	} else if (!f->is_answer && strcmp(name, "counters")) {
		CHECK_EQ_AT(name, got, len);
		CHECK_EQ_AT(name, memcmp(text, want, len), 0);
	}
	close(session);
	return fired;
}

/* Returns how many faults there were. */
static unsigned int every_read_of(const struct faults *f, const struct guest *g,
				  const char *name)
{
	unsigned int n = 1;

	while (read_with_fault(f, g, name, n) && n < MAX_FAULTS)
		n++;
	printf("# %s, %s: %u faults\n", name, f->name, n - 1);
	return n - 1;
}

static void read_files(const struct faults *f)
{
	long long lost = pages_lost_before();
	struct guest g;

	guest_with(&g, FEW_PTS);
	robbed = &g;
	every_read_of(f, &g, "memslots");
	every_read_of(f, &g, "counters");
	CHECK(every_read_of(f, &g, "spaces") >= nr_tables(FEW_PTS));
	guest_free(&g);
	CHECK_EQ(pages_lost(), lost);
}

static void every_allocation_of_files(void)
{
	if (!skip_without_nth())
		read_files(&allocations);
}

static void every_page_of_files(void)
{
	read_files(&pages);
}

/* ---- Nothing is left ---- */

static long long lost_at_start;

static void no_pages_lost(void)
{
	CHECK_EQ(pages_lost(), lost_at_start);
}

static void no_folders_left(void)
{
	CHECK_EQ(count_folders(), 0);
}

#define KMEMLEAK DEBUG "kmemleak"

/* It does not tell of what is younger than 5 seconds. */
#define KMEMLEAK_SECONDS 6

/* Twice: what was a pointer the first time may be gone the second. */
static void scan_for_leaks(void)
{
	sleep(KMEMLEAK_SECONDS);
	file_put(KMEMLEAK, "scan");
	file_put(KMEMLEAK, "scan");
}

static void nothing_leaked(void)
{
	static char line[512];
	FILE *file;
	int nr = 0;

	file = fopen(KMEMLEAK, "r");
	if (skip_without(file, "kmemleak"))
		return;
	scan_for_leaks();
	while (fgets(line, sizeof(line), file)) {
		printf("# %s", line);
		nr += !!strstr(line, "vmem");
	}
	fclose(file);
	CHECK_EQ(nr, 0);
}

/* Nobody holds on to it. It is back for whoever comes next. */
static void module_goes(void)
{
	CHECK_EQ(file_number("/sys/module/vmem/refcnt"), 0);
	if (CHECK_EQ(module_remove(), 0))
		CHECK_EQ(module_insert(), 0);
}

static const struct ktap_case cases[] = {
	{ "every_open", every_open },
	{ "every_close", every_close },
	{ "every_allocation", every_allocation },
	{ "every_allocation_with_hints", every_allocation_with_hints },
	{ "every_copy_of_a_grown_struct", every_copy_of_a_grown_struct },
	{ "every_allocation_of_files", every_allocation_of_files },
	{ "every_page", every_page },
	{ "every_page_of_files", every_page_of_files },
	{ "no_pages_lost", no_pages_lost },
	{ "no_folders_left", no_folders_left },
	{ "nothing_leaked", nothing_leaked },
	{ "module_goes", module_goes },
};

int main(void)
{
	set_up_faults();
	lost_at_start = pages_lost_before();
	return ktap_main(cases, ARRAY_SIZE(cases));
}
