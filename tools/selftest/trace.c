// SPDX-License-Identifier: GPL-2.0-only
/*
 * trace.c - what the tracepoints and the counters of all sessions say
 *
 * They are read from an instance of tracefs of our own, with its own buffer.
 * Every line is to be just what is expected, so that nothing else is in it.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <linux/userfaultfd.h>

#include "file.h"
#include "folder.h"
#include "ktap.h"
#include "world.h"

#define SMALL MB(4)
#define TRACING "/sys/kernel/tracing"
#define INSTANCE TRACING "/instances/vmem-selftest"
#define TOTALS "/sys/kernel/debug/vmem/counters"

/* ---- tracefs ---- */

static void trace_on(void)
{
	must(file_put(INSTANCE "/trace", "\n"), "trace");
	must(file_put(INSTANCE "/events/vmem/enable", "1"), "events");
}

static void trace_off(void)
{
	must(file_put(INSTANCE "/events/vmem/enable", "0"), "events");
}

static char trace_text[65536];

static const char *read_text(const char *path)
{
	int fd = (int)must(open(path, O_RDONLY | O_CLOEXEC), path);
	size_t len = 0;
	ssize_t n;

	while ((n = read(fd, trace_text + len, sizeof(trace_text) - 1 - len)) >
	       0)
		len += (size_t)n;
	must(n, path);
	close(fd);
	trace_text[len] = '\0';
	return trace_text;
}

/* What the @nr-th event of @name says, or an empty text. */
static const char *event(const char *name, int nr)
{
	static char said[512];
	char key[64];
	const char *at = read_text(INSTANCE "/trace");
	size_t len;

	len = (size_t)snprintf(key, sizeof(key), ": %s: ", name);
	for (at = strstr(at, key); at && nr; nr--)
		at = strstr(at + len, key);
	snprintf(said, sizeof(said), "%.*s",
		 at ? (int)strcspn(at + len, "\n") : 0, at ? at + len : "");
	return said;
}

static void expect_event(const char *name, int nr, const char *want)
{
	const char *got = event(name, nr);

	if (!strcmp(got, want))
		return;
	printf("# got  '%s'\n# want '%s'\n", got, want);
	ktap_fail("%s %d is not what is expected", name, nr);
}

#define EXPECT(name, nr, ...)                                        \
	do {                                                         \
		char want_text[512];                                 \
		snprintf(want_text, sizeof(want_text), __VA_ARGS__); \
		expect_event(name, nr, want_text);                   \
	} while (0)

/* ---- A VM with a few tables ---- */

/**
 * struct traced - a VM and a session that is attached to it
 * @w: the VM
 * @t: its one space
 * @regs: the registers of that
 * @session: the session
 * @folder: its folder
 * @id: its number
 */
struct traced {
	struct world w;
	struct tables t;
	struct vmem_regs regs;
	int session;
	struct folder folder;
	unsigned int id;
};

static unsigned int id_of(const struct folder *folder)
{
	return (unsigned int)atoi(strrchr(folder->path, '-') + 1);
}

/* Traced from before it is attached. */
static void begin(struct traced *tr)
{
	world_init(&tr->w, SMALL);
	tr->t = world_add_amd64(&tr->w);
	world_scatter(&tr->t, 0, 3);
	tr->regs = tables_regs(&tr->t);
	tr->w.spaces.last_va = 3 * PAGE - 1;
	trace_on();
	tr->session = world_open(&tr->w);
	tr->folder = newest_folder();
	tr->id = id_of(&tr->folder);
}

static void end(struct traced *tr)
{
	if (tr->session >= 0)
		close(tr->session);
	trace_off();
	world_free(&tr->w);
}

/* ---- vmem_attach ---- */

static void attach_is_told(void)
{
	struct traced tr;

	begin(&tr);
	EXPECT("vmem_attach", 0, "session=%u source=KVM owner=%d ret=0", tr.id,
	       getpid());
	CHECK_EQ(session_attach_kvm(tr.session, tr.w.vm_fd), -EISCONN);
	EXPECT("vmem_attach", 1, "session=%u source=KVM owner=%d ret=%d", tr.id,
	       getpid(), -EISCONN);
	CHECK_EQ(session_attach_kvm(tr.session, -1), -EBADF);
	EXPECT("vmem_attach", 2, "session=%u source=KVM owner=0 ret=%d", tr.id,
	       -EBADF);
	EXPECT("vmem_attach", 3, "%s", "");
	end(&tr);
}

static void attach_of_regions_is_told(void)
{
	struct guest_ram ram = ram_new(0, SMALL);
	struct vmem_region region = { .len = SMALL, .hva = (uintptr_t)ram.hva };
	int session = session_open();
	struct folder folder;

	trace_on();
	region.gpa = 1;
	CHECK_EQ(session_attach_regions(session, &region, 1), -EINVAL);
	region.gpa = 0;
	CHECK_EQ(session_attach_regions(session, &region, 1), 0);
	folder = newest_folder();
	EXPECT("vmem_attach", 0, "session=%u source=REGIONS owner=%d ret=%d",
	       id_of(&folder), getpid(), -EINVAL);
	EXPECT("vmem_attach", 1, "session=%u source=REGIONS owner=%d ret=0",
	       id_of(&folder), getpid());
	close(session);
	trace_off();
	ram_free(&ram);
}

struct strangers {
	int session;
	int vm_fd;
};

static void nobody_attaches(void *arg)
{
	const struct strangers *s = arg;

	become_nobody();
	CHECK_EQ(session_attach_kvm(s->session, s->vm_fd), -EPERM);
}

static long long total(const char *name)
{
	const char *at = strstr(read_text(TOTALS), name);

	return CHECK(at) ? atoll(at + strlen(name)) : -1;
}

/* Whose VM it was is told of those who were refused. */
static void refusal_is_told(void)
{
	long long before = total("attaches_refused ");
	struct traced tr;
	struct strangers s;

	begin(&tr);
	s.session = session_open();
	s.vm_fd = tr.w.vm_fd;
	ktap_wait(ktap_fork(nobody_attaches, &s));
	EXPECT("vmem_attach", 1, "session=%u source=KVM owner=%d ret=%d",
	       tr.id + 1, getpid(), -EPERM);
	CHECK_EQ(total("attaches_refused "), before + 1);
	close(s.session);
	end(&tr);
}

/* ---- vmem_walk ---- */

/* What vmem_walk tells of a call, and of one that asks about one root. */
#define WALK(cmd, roots, rest) "session=%u cmd=" cmd " roots=" roots " va=" rest
#define WALK_OF(cmd, rest) WALK(cmd, "1 space=%#llx", rest)

static void translate_is_told(void)
{
	__u64 vas[] = { 0, PAGE, GB(5) };
	struct vmem_translation results[3];
	struct traced tr;

	begin(&tr);
	CHECK_EQ(session_translate(tr.session, &tr.regs, vas, 3, results), 0);
	EXPECT("vmem_walk", 0,
	       WALK_OF("TRANSLATE",
		       "0x0 asked=3 given=3 tables=0 entries=0 more=0 ret=0"),
	       tr.id, tr.t.root);
	EXPECT("vmem_walk", 1, "%s", "");
	end(&tr);
}

/* One for each call, and not for each address or batch of them. */
static void translate_is_told_once(void)
{
	static struct vmem_translation results[1000];
	static __u64 vas[1000];
	struct traced tr;

	begin(&tr);
	CHECK_EQ(session_translate(tr.session, &tr.regs, vas, 1000, results),
		 0);
	EXPECT("vmem_walk", 0,
	       WALK_OF("TRANSLATE",
		       "0x0 asked=1000 given=1000 tables=0 entries=0 more=0 ret=0"),
	       tr.id, tr.t.root);
	EXPECT("vmem_walk", 1, "%s", "");
	end(&tr);
}

/* Three mappings, two at once: the first call read the entries of four tables. */
static void map_range_is_told(void)
{
	struct vmem_mapping rows[2];
	struct traced tr;
	struct vmem_map_range_args args = {
		.size = sizeof(args),
		.nr = 2,
		.mapping_size = sizeof(*rows),
		.mappings = (uintptr_t)rows,
		.va = PAGE / 2,
		.last_va = MB(2) - 1,
	};

	begin(&tr);
	args.regs = tr.regs;
	CHECK_EQ(session_call(tr.session, VMEM_MAP_RANGE, &args), 0);
	EXPECT("vmem_walk", 0,
	       WALK_OF("MAP_RANGE",
		       "0x800 asked=2 given=2 tables=0 entries=515 more=1 ret=0"),
	       tr.id, tr.t.root);
	end(&tr);
}

static void read_is_told(void)
{
	struct vmem_read_args last;
	struct traced tr;
	char byte;

	begin(&tr);
	tables_map(&tr.t, GB(9), WORLD_GPA, VMEM_LEVEL_PT, PTE_PWU);
	CHECK_EQ(session_read(tr.session, &tr.regs, GB(9) + 7, &byte, 1, &last),
		 0);
	EXPECT("vmem_walk", 0,
	       WALK_OF("READ",
		       "0x240000007 asked=1 given=1 tables=0 entries=0 more=0 ret=0"),
	       tr.id, tr.t.root);
	end(&tr);
}

/* Two calls: the first one has room for two records, of four. */
static void walk_is_told(void)
{
	struct session_records records = { .per_call = 2 };
	struct vmem_spaces_stats first;
	struct traced tr;
	bool more;

	begin(&tr);
	CHECK_EQ(session_walk_once(tr.session, &records, &more), 0);
	first = records.stats;
	CHECK(more);
	EXPECT("vmem_walk", 0,
	       WALK_OF("WALK_SPACES",
		       "0x0 asked=2 given=2 tables=%llu entries=%llu more=1 ret=0"),
	       tr.id, tr.t.root, first.tables, first.entries);
	CHECK_EQ(session_walk_once(tr.session, &records, &more), 0);
	CHECK_EQ(session_walk_once(tr.session, &records, &more), 0);
	EXPECT("vmem_walk", 2,
	       WALK_OF("WALK_SPACES",
		       "0x2000 asked=2 given=0 tables=0 entries=0 more=0 ret=0"),
	       tr.id, tr.t.root);
	free(records.rows);
	end(&tr);
}

static void read_phys_is_told(void)
{
	struct vmem_read_phys_args last;
	__u64 gpa = WORLD_GPA + 7;
	struct traced tr;
	char byte;

	begin(&tr);
	CHECK_EQ(session_read_phys(tr.session, gpa, &byte, 1, &last), 0);
	EXPECT("vmem_walk", 0,
	       WALK("READ_PHYS", "0 space=0x0",
		    "%#llx asked=1 given=1 tables=0 entries=0 more=0 ret=0"),
	       tr.id, gpa);
	/* Without a buffer nothing is given out. */
	CHECK_EQ(session_read_phys(tr.session, gpa, NULL, PAGE, &last), 0);
	CHECK_EQ(read_counters(&tr.folder).bytes, 1);
	end(&tr);
}

/* A question that makes no sense has read nothing, and is not told. */
static void refused_question_is_not_told(void)
{
	struct vmem_read_phys_args args = { .size = sizeof(args) };
	struct traced tr;

	begin(&tr);
	CHECK_EQ(session_call(tr.session, VMEM_READ_PHYS, &args), -EINVAL);
	EXPECT("vmem_walk", 0, "%s", "");
	CHECK_EQ(read_counters(&tr.folder).calls, 0);
	end(&tr);
}

/* What failed is told with the errno that the caller has. */
static void failure_is_told(void)
{
	struct vmem_translation result;
	struct traced tr;

	begin(&tr);
	tr.regs.cr3 = GB(100);
	CHECK_EQ(session_translate_one(tr.session, &tr.regs, 0, &result),
		 -ENXIO);
	EXPECT("vmem_walk", 0,
	       WALK_OF("TRANSLATE",
		       "0x0 asked=1 given=0 tables=0 entries=0 more=1 ret=%d"),
	       tr.id, GB(100), -ENXIO);
	end(&tr);
}

/* ---- vmem_drop ---- */

static void translate_some(struct traced *tr)
{
	struct vmem_translation result;

	CHECK_EQ(session_translate_one(tr->session, &tr->regs, 0, &result), 0);
}

/* Where we have the page table of address 0. */
static __u8 *page_table(struct traced *tr)
{
	return ram_ptr(&tr->w.ram, world_table(&tr->t, 0, VMEM_LEVEL_PT));
}

static void drops_are_told(void)
{
	struct guest_ram more = ram_new(GB(5), PAGE);
	struct traced tr;
	__u8 *pt;

	begin(&tr);
	pt = page_table(&tr);
	translate_some(&tr);
	must(madvise(pt, PAGE, MADV_DONTNEED), "MADV_DONTNEED");
	EXPECT("vmem_drop", 0,
	       "session=%u why=MAPPING start=%#lx end=%#lx hints=1", tr.id,
	       (unsigned long)pt, (unsigned long)(pt + PAGE));
	translate_some(&tr);
	world_add_slot(&tr.w, 9, more.gpa, more.hva, PAGE);
	translate_some(&tr);
	EXPECT("vmem_drop", 1,
	       "session=%u why=SLOTS start=0x0 end=0xffffffffffffffff hints=4",
	       tr.id);
	CHECK_EQ(read_counters(&tr.folder).dropped, 5);
	close(tr.session);
	tr.session = -1;
	EXPECT("vmem_drop", 2, "%s", "");
	end(&tr);
	ram_free(&more);
}

/* An invalidation that drops nothing of a session's is nothing to tell. */
static void other_memory_is_not_told(void)
{
	struct guest_ram other = ram_new(0, PAGE);
	struct traced tr;

	begin(&tr);
	translate_some(&tr);
	must(madvise(other.hva, PAGE, MADV_DONTNEED), "MADV_DONTNEED");
	ram_free(&other);
	EXPECT("vmem_drop", 0, "%s", "");
	end(&tr);
}

/* ---- Counters ---- */

static void ask_for_ever(void *arg)
{
	const struct traced *tr = arg;
	struct vmem_translation result;

	session_translate_one(tr->session, &tr->regs, GB(20), &result);
}

/* One that waits for a table that never comes, so that it is killed inside. */
static void killed_is_counted(void)
{
	struct guest_ram table = ram_new(GB(5), PAGE);
	int uffd = ram_own_faults(&table);
	struct uffd_msg asked;
	struct traced tr;
	pid_t child;

	ktap_skipped = uffd < 0;
	if (ktap_skipped)
		return;
	begin(&tr);
	world_add_slot(&tr.w, 9, table.gpa, table.hva, PAGE);
	tables_set(&tr.t, GB(20), VMEM_LEVEL_PML4, table.gpa | PTE_PWU);
	child = ktap_fork(ask_for_ever, &tr);
	must(read(uffd, &asked, sizeof(asked)), "userfaultfd");
	CHECK_EQ(read_counters(&tr.folder).killed, 0);
	must(kill(child, SIGKILL), "kill");
	must(waitpid(child, NULL, 0), "waitpid");
	CHECK_EQ(read_counters(&tr.folder).calls, 1);
	CHECK_EQ(read_counters(&tr.folder).killed, 1);
	EXPECT("vmem_walk", 0,
	       WALK_OF("TRANSLATE",
		       "0x0 asked=1 given=0 tables=0 entries=0 more=1 ret=%d"),
	       tr.id, tr.t.root, -EINTR);
	close(uffd);
	end(&tr);
	ram_free(&table);
}

/* What klogctl() is asked for: all that there is. */
#define SYSLOG_READ_ALL 3

/* ---- All of them ---- */

static void off_is_silent(void)
{
	struct traced tr;

	begin(&tr);
	trace_off();
	must(file_put(INSTANCE "/trace", "\n"), "trace");
	translate_some(&tr);
	close(tr.session);
	tr.session = -1;
	CHECK(!strstr(read_text(INSTANCE "/trace"), ": vmem_"));
	end(&tr);
}

/* No format prints a pointer, hashed or not, or a text of the guest's. */
static void formats_have_no_pointers(void)
{
	static const char *const names[] = { "attach", "walk", "drop" };
	char path[128];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(names); i++) {
		const char *text;

		snprintf(path, sizeof(path),
			 TRACING "/events/vmem/vmem_%s/format", names[i]);
		text = strstr(read_text(path), "print fmt");
		if (!CHECK(text))
			continue;
		CHECK(!strstr(text, "%p"));
		/* Names of enums are known to nobody who reads a file. */
		CHECK(!strstr(text, "VMEM_SOURCE") && !strstr(text, "_DROP_"));
	}
}

static void totals_count(void)
{
	long long open_before = total("sessions_open ");
	long long attached = total("attached ");
	int unattached = session_open();
	struct traced tr;

	begin(&tr);
	CHECK_EQ(total("sessions_open "), open_before + 2);
	CHECK_EQ(total("attached "), attached + 1);
	close(unattached);
	end(&tr);
	CHECK_EQ(total("sessions_open "), open_before);
}

static void load_is_told(void)
{
	static char log[1 << 20];
	struct vmem_info_args info;
	int session = session_open();
	unsigned int version = 0;
	const char *at;

	must(klogctl(SYSLOG_READ_ALL, log, sizeof(log) - 1), "klogctl");
	at = strstr(log, "] vmem: interface ");
	CHECK_EQ(session_info(session, &info), 0);
	close(session);
	if (!CHECK(at))
		return;
	if (sscanf(at, "] vmem: interface %u: ", &version) != 1)
		ktap_fail("not understood: '%.60s'", at);
	CHECK_EQ(version, info.out_api_version);
	CHECK(strstr(at, "region tables") && strstr(at, "lockdown"));
}

static const struct ktap_case cases[] = {
	{ "load_is_told", load_is_told },
	{ "attach_is_told", attach_is_told },
	{ "attach_of_regions_is_told", attach_of_regions_is_told },
	{ "refusal_is_told", refusal_is_told },
	{ "translate_is_told", translate_is_told },
	{ "translate_is_told_once", translate_is_told_once },
	{ "map_range_is_told", map_range_is_told },
	{ "read_is_told", read_is_told },
	{ "walk_is_told", walk_is_told },
	{ "read_phys_is_told", read_phys_is_told },
	{ "refused_question_is_not_told", refused_question_is_not_told },
	{ "failure_is_told", failure_is_told },
	{ "drops_are_told", drops_are_told },
	{ "other_memory_is_not_told", other_memory_is_not_told },
	{ "off_is_silent", off_is_silent },
	{ "formats_have_no_pointers", formats_have_no_pointers },
	{ "killed_is_counted", killed_is_counted },
	{ "totals_count", totals_count },
};

int main(void)
{
	int status;

	must(mkdir(INSTANCE, 0700), INSTANCE);
	status = ktap_main(cases, ARRAY_SIZE(cases));
	must(rmdir(INSTANCE), INSTANCE);
	return status;
}
