// SPDX-License-Identifier: GPL-2.0-only
/*
 * debugfs.c - the folder of a session in debugfs says what its ioctls say
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <linux/kvm.h>

#include "folder.h"
#include "ktap.h"
#include "module.h"
#include "world.h"

#define SMALL MB(4)

/* ---- Texts ---- */

/**
 * struct text - what was read of a file
 * @bytes: it, with a 0 behind it; for free()
 * @len: how many they are
 * @error: 0, or what ended the reading
 */
struct text {
	char *bytes;
	size_t len;
	int error;
};

/* More than any of the files here has. */
#define MAX_TEXT MB(4)

static struct text read_by(int fd, size_t chunk)
{
	struct text text = { .bytes = malloc(MAX_TEXT + 1) };
	ssize_t n;

	must(text.bytes ? 0 : -1, "malloc");
	while (text.len + chunk <= MAX_TEXT) {
		n = read(fd, text.bytes + text.len, chunk);
		if (n < 0)
			text.error = -errno;
		if (n <= 0)
			break;
		text.len += (size_t)n;
	}
	text.bytes[text.len] = '\0';
	return text;
}

static struct text read_file(const struct folder *folder, const char *name)
{
	int fd = open_in(folder, name);
	struct text text = read_by(fd, 65536);

	CHECK_EQ_AT(name, text.error, 0);
	close(fd);
	return text;
}

static void check_same_text(const char *what, const struct text *got,
			    const struct text *want)
{
	size_t i = 0;

	CHECK_EQ_AT(what, got->error, 0);
	CHECK_EQ_AT(what, got->len, want->len);
	while (i < want->len && got->bytes[i] == want->bytes[i])
		i++;
	if (i < want->len)
		ktap_fail("%s: the texts differ at byte %zu", what, i);
}

/* The next line of @text, or NULL. Cuts it off. */
static char *next_line(char **text)
{
	char *line = *text, *end = strchr(line, '\n');

	if (!end) {
		CHECK_EQ(*line, 0);
		return NULL;
	}
	*end = '\0';
	*text = end + 1;
	return line;
}

/* ---- A session with something to show ---- */

struct shown {
	struct world w;
	struct guest_ram dark;
	int session;
	struct folder folder;
	struct session_records records;
};

static void build(struct world *w)
{
	struct tables a, b, c;
	__u64 i;

	world_init(w, SMALL);
	a = world_add_amd64(w);
	world_scatter(&a, 0, 300);
	tables_map(&a, GB(1), GB(3), VMEM_LEVEL_PDPT, PTE_P | PTE_U);
	tables_map(&a, GB(2), GB(3), VMEM_LEVEL_PD, PTE_P | PTE_NX);
	b = world_add_amd64(w);
	world_share(&b, MB(2), &a, 0, VMEM_LEVEL_PT, PTE_P | PTE_W);
	world_share(&b, GB(8), &a, 0, VMEM_LEVEL_PD, PTE_P | PTE_U);
	tables_set(&b, GB(10), VMEM_LEVEL_PDPT, GB(40) | PTE_PWU);
	tables_set(&b, GB(11), VMEM_LEVEL_PDPT, BIT_ULL(45) | PTE_PWU);
	world_add_root(w, &a);
	c = world_add_amd64(w);
	tables_set(&c, -GB(512), VMEM_LEVEL_PML4, c.root | PTE_PWU);
	world_share(&c, 0, &a, 0, VMEM_LEVEL_PDPT, PTE_PWU);
	/* A PT in the place of a PD. */
	tables_set(&c, BIT_ULL(46), VMEM_LEVEL_PDPT,
		   world_table(&a, 0, VMEM_LEVEL_PT) | PTE_PWU);
	for (i = 0; i < 100; i++) {
		c = world_add_amd64(w);
		world_share(&c, i * GB(1), &a, 0, VMEM_LEVEL_PD, PTE_PWU);
	}
}

#define DARK_ID 9
#define DARK_GPA GB(41)

/* A table in memory that its owner itself cannot read. */
static void add_dark(struct shown *s)
{
	struct tables t = world_add_amd64(&s->w);

	s->dark = ram_new(DARK_GPA, PAGE);
	world_add_slot(&s->w, DARK_ID, DARK_GPA, s->dark.hva, PAGE);
	tables_set(&t, GB(10), VMEM_LEVEL_PDPT, DARK_GPA | PTE_PWU);
	must(mprotect(s->dark.hva, PAGE, PROT_NONE), "mprotect");
}

static void shown_init(struct shown *s)
{
	build(&s->w);
	add_dark(s);
	s->records = (struct session_records){ .per_call = 4096 };
	s->session = world_open(&s->w);
	s->folder = newest_folder();
}

static void shown_free(struct shown *s)
{
	close(s->session);
	free(s->records.rows);
	ram_free(&s->dark);
	world_free(&s->w);
}

/* ---- Reading the text of `spaces` back ---- */

static const char *const names_of_table[] = {
	[VMEM_TABLE_AMD64_PT] = "PT",	  [VMEM_TABLE_AMD64_PD] = "PD",
	[VMEM_TABLE_AMD64_PDPT] = "PDPT", [VMEM_TABLE_AMD64_PML4] = "PML4",
	[VMEM_TABLE_PAE_PT] = "PT",	  [VMEM_TABLE_PAE_PD] = "PD",
	[VMEM_TABLE_I686_PT] = "PT",
};

static const char *const names_of_level[] = {
	[VMEM_LEVEL_PT] = "PT",	    [VMEM_LEVEL_PD] = "PD",
	[VMEM_LEVEL_PDPT] = "PDPT", [VMEM_LEVEL_PML4] = "PML4",
	[VMEM_LEVEL_PML5] = "PML5",
};

static const char *const names_of_status[] = {
	[VMEM_RESERVED] = "reserved",	  [VMEM_UNBACKED] = "unbacked",
	[VMEM_ANCESTOR] = "ancestor",	  [VMEM_CROSS_LEVEL] = "cross-level",
	[VMEM_UNREADABLE] = "unreadable", [VMEM_WITHHELD] = "withheld",
};

static __u32 find_name(const char *const *names, size_t nr, const char *name)
{
	__u32 i;

	for (i = 0; i < nr; i++)
		if (names[i] && !strcmp(names[i], name))
			return i;
	return ~0u;
}

static bool parse_perms(const char *text, __u32 *perms)
{
	*perms = 0;
	if (strlen(text) != 4 || text[0] != 'r' || !strchr("w-", text[1]) ||
	    !strchr("x-", text[2]) || !strchr("us", text[3]))
		return false;
	*perms |= text[1] == 'w' ? VMEM_WRITABLE : 0;
	*perms |= text[2] == 'x' ? VMEM_EXECUTABLE : 0;
	*perms |= text[3] == 'u' ? VMEM_USER : 0;
	return true;
}

static bool parse_space(const char *line, struct vmem_record *r)
{
	int end = 0, more = 0;

	if (sscanf(line, "space %u %llx%n", &r->root, &r->space.space, &end) !=
	    2)
		return false;
	r->type = VMEM_SPACE;
	r->space.alias_of = r->root;
	if (sscanf(line + end, " root_alias_of %u%n", &r->space.alias_of,
		   &more) == 1)
		end += more;
	return !line[end];
}

static bool parse_mapping(const char *line, struct vmem_record *r)
{
	struct vmem_mapping *m = &r->mapping;
	char perms[8];
	int end = 0;

	if (sscanf(line, "  this_space %llx-%llx %llx %llu %7s%n", &m->va,
		   &m->last_va, &m->gpa, &m->page_size, perms, &end) != 5)
		return false;
	r->type = VMEM_THIS_SPACE;
	return !line[end] && parse_perms(perms, &m->perms);
}

static bool parse_aliasing(const char *line, struct vmem_record *r)
{
	struct vmem_reference *a = &r->reference;
	char table[8], perms[8];
	int end = 0;

	if (sscanf(line, "  aliasing %7s %llx our_va %llx their_va %llx %7s%n",
		   table, &a->space, &a->our_va, &a->their_va, perms,
		   &end) != 5)
		return false;
	r->type = VMEM_ALIASING;
	/* The records say of what mode it is. */
	a->table = find_name(names_of_table, ARRAY_SIZE(names_of_table), table);
	return !line[end] && parse_perms(perms, &a->perms);
}

static bool parse_anomaly(const char *line, struct vmem_record *r)
{
	struct vmem_anomaly *a = &r->anomaly;
	char status[16], level[8];
	int end = 0;

	if (sscanf(line, "  anomaly %15s %7s %llx-%llx table %llx raw %llx%n",
		   status, level, &a->va, &a->last_va, &a->table_gpa, &a->raw,
		   &end) != 6)
		return false;
	r->type = VMEM_ANOMALY;
	a->status =
		find_name(names_of_status, ARRAY_SIZE(names_of_status), status);
	a->level = find_name(names_of_level, ARRAY_SIZE(names_of_level), level);
	return !line[end];
}

/* What the text does not show is 0. */
static struct vmem_record as_shown(const struct vmem_record *record)
{
	struct vmem_record r = *record;

	if (r.type == VMEM_THIS_SPACE)
		r.mapping.kind = 0;
	if (r.type != VMEM_ALIASING)
		return r;
	r.reference.table = find_name(names_of_table,
				      ARRAY_SIZE(names_of_table),
				      names_of_table[r.reference.table]);
	r.reference.table_gpa = 0;
	r.reference.len = 0;
	r.reference.owner_root = 0;
	r.reference.owner_perms = 0;
	return r;
}

/* Returns how many records there were in @text; they are @records. */
static __u32 check_text(char *text, const struct session_records *records)
{
	struct vmem_record r, want;
	__u32 nr = 0, root = 0;
	char *line;

	while ((line = next_line(&text))) {
		memset(&r, 0, sizeof(r));
		r.root = root;
		if (!parse_space(line, &r) && !parse_mapping(line, &r) &&
		    !parse_aliasing(line, &r) && !parse_anomaly(line, &r)) {
			ktap_fail("not understood: '%s'", line);
			return nr;
		}
		root = r.root;
		if (nr < records->nr) {
			want = as_shown(&records->rows[nr]);
			if (memcmp(&r, &want, sizeof(r))) {
				ktap_fail("record %u is not '%s'", nr, line);
				print_record(&want);
				return nr;
			}
		}
		nr++;
	}
	return nr;
}

static void spaces_are_the_records(void)
{
	struct shown s;
	struct text text;
	__u32 nr, i, seen = 0;

	shown_init(&s);
	text = read_file(&s.folder, "spaces");
	CHECK_EQ(session_walk_spaces(s.session, &s.records), 0);
	check_records(&s.w, &s.records);
	nr = check_text(text.bytes, &s.records);
	CHECK_EQ(nr, s.records.nr);
	for (i = 0; i < s.records.nr; i++)
		if (s.records.rows[i].type == VMEM_ANOMALY)
			seen |= 1u << s.records.rows[i].anomaly.status;
	/* All that there is to tell was told. */
	CHECK_EQ(seen, 1u << VMEM_RESERVED | 1u << VMEM_UNBACKED |
			       1u << VMEM_ANCESTOR | 1u << VMEM_CROSS_LEVEL |
			       1u << VMEM_UNREADABLE);
	CHECK_EQ(s.records.stats.root_aliases, 1);
	printf("# %u records, %zu bytes of text\n", nr, text.len);
	free(text.bytes);
	shown_free(&s);
}

/* A reference and an anomaly at each level that a format has them. */
static void build_in(struct world *w, const struct tables_format *format)
{
	struct tables a, b;
	int level, last;

	world_init(w, SMALL);
	a = world_add(w, format);
	b = world_add(w, format);
	world_scatter(&a, 0, 3);
	last = a.top - 1;
	for (level = VMEM_LEVEL_PT; level <= last; level++) {
		const __u64 span = tables_page_size(&a, level + 1);

		world_share(&b, span, &a, 0, level, PTE_PWU);
		tables_set(&b, 2 * span, level + 1,
			   GB(40) | tables_open(&b, level + 1));
	}
	/* PS of the root: a table of 2 levels has no bit that is reserved. */
	if (a.top > VMEM_LEVEL_PD)
		tables_set(&b, 3 * tables_page_size(&a, a.top), a.top,
			   GB(40) | PTE_P | PTE_PS);
	world_add_root(w, &a);
}

static void spaces_in(const struct tables_format *format)
{
	struct session_records records = { .per_call = 4096 };
	struct folder folder;
	struct text text;
	struct world w;
	int session;

	build_in(&w, format);
	session = world_open(&w);
	folder = newest_folder();
	text = read_file(&folder, "spaces");
	CHECK_EQ(session_walk_spaces(session, &records), 0);
	check_records(&w, &records);
	CHECK_EQ_AT(format->name, check_text(text.bytes, &records), records.nr);
	CHECK(records.stats.references);
	CHECK(records.stats.anomalies);
	free(text.bytes);
	close(session);
	free(records.rows);
	world_free(&w);
}

static void spaces_in_each_format(void)
{
	int format;

	for (format = 0; format < NR_FORMATS; format++)
		spaces_in(&formats[format]);
}

static void spaces_by_small_buffers(void)
{
	static const size_t sizes[] = { 1, 7, 4095 };
	struct text whole, part;
	struct shown s;
	size_t i;
	int fd;

	shown_init(&s);
	whole = read_file(&s.folder, "spaces");
	CHECK(whole.len > 10000);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		fd = open_in(&s.folder, "spaces");
		part = read_by(fd, sizes[i]);
		check_same_text("by small buffers", &part, &whole);
		free(part.bytes);
		close(fd);
	}
	free(whole.bytes);
	shown_free(&s);
}

static void check_pread(int fd, const struct text *whole, size_t at, size_t len)
{
	char *got = malloc(len + 1);
	size_t want = at < whole->len ? whole->len - at : 0;
	size_t done = 0;
	ssize_t n;

	must(got ? 0 : -1, "malloc");
	if (want > len)
		want = len;
	memset(got, POISON, len + 1);
	do {
		n = pread(fd, got + done, len - done, (off_t)(at + done));
		if (n > 0)
			done += (size_t)n;
	} while (n > 0 && done < len);
	CHECK(n >= 0);
	CHECK_EQ(done, want);
	CHECK_EQ(memcmp(got, whole->bytes + at, want), 0);
	CHECK_EQ((__u8)got[len], POISON);
	free(got);
}

static void spaces_from_anywhere(void)
{
	static const size_t places[] = { 1,    0, 777, 12345, 4096, 4095,
					 8191, 3, 501, 0,     9999 };
	struct text whole, part;
	struct shown s;
	char some[100];
	size_t i;
	int fd;

	shown_init(&s);
	whole = read_file(&s.folder, "spaces");
	fd = open_in(&s.folder, "spaces");
	for (i = 0; i < ARRAY_SIZE(places); i++) {
		check_pread(fd, &whole, places[i], 1);
		check_pread(fd, &whole, places[i], 5000);
	}
	check_pread(fd, &whole, whole.len - 1, 10);
	check_pread(fd, &whole, whole.len, 10);
	check_pread(fd, &whole, whole.len + 1000, 10);

	/* From the beginning again, from its end and from its middle. */
	for (i = 0; i < 3; i++) {
		part = read_by(fd, 1001);
		check_same_text("read again", &part, &whole);
		free(part.bytes);
		must(lseek(fd, 5000, SEEK_SET), "lseek");
		must(read(fd, some, sizeof(some)), "read");
		CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
	}
	close(fd);
	free(whole.bytes);
	shown_free(&s);
}

/* Two readers and the ioctl do not disturb each other. */
static void spaces_by_two_readers(void)
{
	struct session_records records = { .per_call = 3 };
	struct text whole;
	struct shown s;
	char a, b;
	bool more = true;
	int fd[2];
	size_t i;

	shown_init(&s);
	whole = read_file(&s.folder, "spaces");
	fd[0] = open_in(&s.folder, "spaces");
	fd[1] = open_in(&s.folder, "spaces");
	must(lseek(fd[1], 6001, SEEK_SET), "lseek");
	for (i = 0; i + 6001 < whole.len && i < 8000; i++) {
		if (more)
			CHECK_EQ(session_walk_once(s.session, &records, &more),
				 0);
		if (!CHECK_EQ(read(fd[0], &a, 1), 1) ||
		    !CHECK_EQ(read(fd[1], &b, 1), 1) ||
		    !CHECK_EQ(a, whole.bytes[i]) ||
		    !CHECK_EQ(b, whole.bytes[i + 6001]))
			break;
	}
	check_records(&s.w, &records);
	close(fd[0]);
	close(fd[1]);
	free(records.rows);
	free(whole.bytes);
	shown_free(&s);
}

/* The text is by what the spaces are now, each time anew. */
static void spaces_follow_the_guest(void)
{
	struct text before, after;
	struct tables a = { .entry_size = 8 };
	struct shown s;

	shown_init(&s);
	before = read_file(&s.folder, "spaces");
	a.ram = &s.w.ram;
	a.root = s.w.cr3[0];
	a.top = VMEM_LEVEL_PML4;
	a.index_bits = 9;
	tables_map(&a, PAGE * 511, GB(7), VMEM_LEVEL_PT, PTE_PWU);
	after = read_file(&s.folder, "spaces");
	CHECK(strstr(after.bytes, "0x1ff000-0x1fffff 0x1c0000000 4096 rwxu"));
	CHECK(!strstr(before.bytes, "0x1ff000-0x1fffff"));
	CHECK_EQ(session_walk_spaces(s.session, &s.records), 0);
	CHECK_EQ(check_text(after.bytes, &s.records), s.records.nr);
	free(before.bytes);
	free(after.bytes);
	shown_free(&s);
}

static void spaces_not_set(void)
{
	struct text text;
	struct world w;
	int session;

	build(&w);
	session = session_open();
	CHECK_EQ(session_attach_kvm(session, w.vm_fd), 0);
	text = read_file((struct folder[]){ newest_folder() }, "spaces");
	CHECK_EQ(text.len, 0);
	free(text.bytes);
	close(session);
	world_free(&w);
}

/* ---- memslots and counters ---- */

static void check_memslots(int session)
{
	struct folder folder = newest_folder();
	struct vmem_memslot slots[64], slot;
	struct text text;
	char *rest, *line;
	__u32 nr, i = 0;
	int end;

	CHECK_EQ(session_memslots(session, slots, 64, 64, &nr), 0);
	text = read_file(&folder, "memslots");
	rest = text.bytes;
	while ((line = next_line(&rest)) && i < nr) {
		memset(&slot, 0, sizeof(slot));
		end = 0;
		if (sscanf(line, "%u %llx-%llx %llx%n", &slot.id, &slot.gpa,
			   &slot.len, &slot.hva, &end) != 4)
			ktap_fail("not understood: '%s'", line);
		slot.len -= slot.gpa - 1;
		if (!strcmp(line + end, " readonly"))
			slot.flags = VMEM_MEMSLOT_READONLY;
		else
			CHECK_EQ(line[end], 0);
		CHECK_EQ(memcmp(&slot, &slots[i++], sizeof(slot)), 0);
	}
	CHECK(!line);
	CHECK_EQ(i, nr);
	free(text.bytes);
}

static void memslots_are_the_ioctls(void)
{
	struct guest_ram more = ram_new(GB(5), 40 * PAGE);
	struct text whole, part;
	struct folder folder;
	struct world w;
	int session, fd;
	__u32 i;

	build(&w);
	session = session_open();
	CHECK_EQ(session_attach_kvm(session, w.vm_fd), 0);
	check_memslots(session);
	for (i = 1; i < 40; i++)
		world_add_slot(&w, i, more.gpa + i * 2 * PAGE,
			       more.hva + i * PAGE, PAGE);
	check_memslots(session);
	folder = newest_folder();
	whole = read_file(&folder, "memslots");
	fd = open_in(&folder, "memslots");
	part = read_by(fd, 1);
	check_same_text("memslots", &part, &whole);
	close(fd);
	free(whole.bytes);
	free(part.bytes);
	close(session);
	world_free(&w);
	ram_free(&more);
}

/* The fastest of these is hardly disturbed by other load; of TRIES, one is not. */
#define FEW_TRIES 5
#define TRIES 200

static double list_by_ioctl(int session, struct vmem_memslot *slots, __u32 nr)
{
	double start = seconds(), took;
	__u32 i, listed;

	CHECK_EQ(session_memslots(session, slots, nr + 1000, 1000, &listed), 0);
	took = seconds() - start;
	CHECK_EQ(listed, nr);
	for (i = 1; i < nr; i++)
		if (slots[i].gpa <= slots[i - 1].gpa)
			CHECK_EQ(i, 0);
	return took;
}

static double list_by_file(__u32 nr)
{
	struct folder folder = newest_folder();
	double start = seconds(), took;
	struct text text = read_file(&folder, "memslots");
	const char *at;
	__u32 i;

	took = seconds() - start;
	for (i = 0, at = text.bytes; (at = strchr(at, '\n')); i++)
		at++;
	CHECK_EQ(i, nr);
	free(text.bytes);
	return took;
}

static double least(double a, double b)
{
	return a < b ? a : b;
}

/* How long it takes at least to list so many slots by ioctl, and by the file. */
struct least {
	double ioctl, file;
};

static void list_again(int session, struct vmem_memslot *slots, __u32 nr,
		       struct least *took)
{
	took->ioctl = least(took->ioctl, list_by_ioctl(session, slots, nr));
	took->file = least(took->file, list_by_file(nr));
}

static void print_least(__u32 nr, const struct least *took, int tries)
{
	printf("# %u slots: %.4f s by ioctl, %.4f s by the file, in %d tries\n",
	       nr, took->ioctl, took->file, tries);
}

/*
 * A list of eight times as many takes eight times as long, and not 64 times, as
 * it would if each piece were looked for from the first slot on. Other load only
 * adds, so one try that is fast enough tells.
 */
static void many_memslots(void)
{
	struct guest_ram page = ram_new(GB(1), PAGE);
	struct vmem_memslot *slots;
	struct least few = { 1e9, 1e9 }, many = { 1e9, 1e9 };
	struct world w;
	int session, tries;
	__u32 i, nr;

	build(&w);
	nr = (__u32)must(ioctl(w.kvm_fd, KVM_CHECK_EXTENSION,
			       KVM_CAP_NR_MEMSLOTS),
			 "KVM_CAP_NR_MEMSLOTS");
	nr = (__u32)number_of("VMEM_SLOTS", nr / 4);
	slots = calloc(nr + 1000, sizeof(*slots));
	must(slots ? 0 : -1, "calloc");
	session = session_open();
	CHECK_EQ(session_attach_kvm(session, w.vm_fd), 0);
	for (i = 1; i < nr; i++) {
		world_add_slot(&w, i, page.gpa + i * 2 * PAGE, page.hva, PAGE);
		for (tries = 0; i + 1 == nr / 8 && tries < FEW_TRIES; tries++)
			list_again(session, slots, nr / 8, &few);
	}
	print_least(nr / 8, &few, FEW_TRIES);
	tries = 0;
	do
		list_again(session, slots, nr, &many);
	while (++tries < TRIES &&
	       (many.ioctl >= few.ioctl * 32 || many.file >= few.file * 32));
	print_least(nr, &many, tries);
	CHECK(many.ioctl < few.ioctl * 32);
	CHECK(many.file < few.file * 32);
	close(session);
	world_free(&w);
	ram_free(&page);
	free(slots);
}

static void counters_grow(void)
{
	struct vmem_translation results[3];
	const __u64 vas[3] = { 0, PAGE, GB(1) };
	struct counters now, then;
	struct vmem_regs regs;
	struct shown s;

	shown_init(&s);
	regs = s.w.spaces.regs;
	regs.cr3 = s.w.cr3[0];
	then = read_counters(&s.folder);
	CHECK_EQ(then.calls, 0);
	CHECK_EQ(then.looked_up, 0);
	CHECK_EQ(then.hints, 0);
	CHECK_EQ(then.dropped, 0);
	CHECK_EQ(then.translations, 0);
	CHECK_EQ(then.bytes, 0);

	CHECK_EQ(session_translate(s.session, &regs, vas, 3, results), 0);
	now = read_counters(&s.folder);
	CHECK_EQ(now.calls, 1);
	CHECK_EQ(now.looked_up, 4);
	CHECK_EQ(now.hints, 4);
	CHECK_EQ(now.dropped, 0);
	CHECK_EQ(now.translations, 3);
	CHECK_EQ(now.bytes, 0);

	CHECK_EQ(session_walk_spaces(s.session, &s.records), 0);
	then = read_counters(&s.folder);
	CHECK_EQ(then.calls, 1 + s.records.nr_calls);
	CHECK(then.looked_up > now.looked_up + 50);
	CHECK_EQ(then.translations, 3);

	/* Whoever reads the dump finds hints, or makes them. */
	free(read_file(&s.folder, "spaces").bytes);
	now = read_counters(&s.folder);
	CHECK(now.calls > then.calls);
	CHECK_EQ(now.looked_up, then.looked_up);
	CHECK_EQ(now.hints, then.hints);
	world_add_slot(&s.w, 1, GB(4), s.w.ram.hva, PAGE);
	free(read_file(&s.folder, "spaces").bytes);
	then = read_counters(&s.folder);
	CHECK_EQ(then.dropped, now.hints);
	CHECK(then.looked_up > now.looked_up + 50);
	shown_free(&s);
}

static void bytes_are_counted(void)
{
	struct vmem_read_args end;
	struct vmem_regs regs;
	struct tables a;
	struct world w;
	struct folder folder;
	char buf[5000];
	int session;

	world_init(&w, SMALL);
	a = world_add_amd64(&w);
	tables_map_all(&a, 0, WORLD_GPA, MB(1), VMEM_LEVEL_PT);
	session = world_open(&w);
	folder = newest_folder();
	regs = tables_regs(&a);
	CHECK_EQ(session_read(session, &regs, 100, buf, sizeof(buf), &end), 0);
	CHECK_EQ(read_counters(&folder).bytes, sizeof(buf));
	close(session);
	world_free(&w);
}

/* ---- Lifetimes ---- */

static void folder_comes_and_goes(void)
{
	struct folder first, second;
	int before = count_folders();
	int session, other;
	struct world w;

	build(&w);
	session = session_open();
	CHECK_EQ(count_folders(), before);
	CHECK_EQ(session_attach_kvm(session, w.vm_fd), 0);
	CHECK_EQ(count_folders(), before + 1);
	first = newest_folder();
	CHECK_EQ(session_attach_kvm(session, w.vm_fd), -EISCONN);
	CHECK_EQ(count_folders(), before + 1);
	other = world_open(&w);
	CHECK_EQ(count_folders(), before + 2);
	second = newest_folder();
	CHECK(strcmp(first.path, second.path));
	free(read_file(&first, "memslots").bytes);
	close(session);
	CHECK_EQ(try_open_in(&first, "memslots"), -ENOENT);
	free(read_file(&second, "spaces").bytes);
	CHECK_EQ(count_folders(), before + 1);
	close(other);
	CHECK_EQ(count_folders(), before);
	world_free(&w);
}

/* A session that never was attached has none, and closes all the same. */
static void no_folder_no_harm(void)
{
	int before = count_folders(), i;

	for (i = 0; i < 100; i++)
		close(session_open());
	CHECK_EQ(count_folders(), before);
}

static void two_sessions_two_texts(void)
{
	struct world w;
	struct session_spaces other;
	struct text texts[2];
	struct folder folder;
	int session[2];

	build(&w);
	session[0] = world_open(&w);
	folder = newest_folder();
	other = w.spaces;
	other.nr_cr3 = 1;
	session[1] = session_open();
	CHECK_EQ(session_attach_kvm(session[1], w.vm_fd), 0);
	CHECK_EQ(session_set_spaces(session[1], &other), 0);
	texts[0] = read_file(&folder, "spaces");
	folder = newest_folder();
	texts[1] = read_file(&folder, "spaces");
	CHECK(texts[1].len && texts[1].len < texts[0].len);
	CHECK_EQ(memcmp(texts[0].bytes, texts[1].bytes, texts[1].len), 0);
	CHECK(strstr(texts[0].bytes, "space 1 "));
	CHECK(!strstr(texts[1].bytes, "space 1 "));
	free(texts[0].bytes);
	free(texts[1].bytes);
	close(session[0]);
	close(session[1]);
	world_free(&w);
}

static const char *const names[] = { "memslots", "spaces", "counters" };

static void modes_are_0400(void)
{
	char path[400];
	struct stat st;
	struct shown s;
	size_t i;

	shown_init(&s);
	for (i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", s.folder.path, names[i]);
		must(stat(path, &st), path);
		CHECK_EQ_AT(names[i], st.st_mode, S_IFREG | 0400);
		CHECK_EQ_AT(names[i], st.st_uid, 0);
		CHECK_EQ_AT(names[i], st.st_gid, 0);
	}
	shown_free(&s);
}

static void nobody_reads(void *arg)
{
	const struct folder *folder = arg;
	size_t i;

	become_nobody();
	for (i = 0; i < ARRAY_SIZE(names); i++)
		CHECK_EQ_AT(names[i], try_open_in(folder, names[i]), -EACCES);
}

static void nobody_may_not_read(void)
{
	struct shown s;

	shown_init(&s);
	ktap_wait(ktap_fork(nobody_reads, &s.folder));
	shown_free(&s);
}

/*
 * The session is closed, its VM too, its memory is gone. Its files say what
 * they still can, or an errno; nobody has to say which. What is not fine is to
 * crash, and that the module goes meanwhile.
 */
static void files_outlive_the_session(void)
{
	int fd[2 * ARRAY_SIZE(names)];
	struct text text;
	struct shown s;
	char some[16];
	size_t i;

	shown_init(&s);
	for (i = 0; i < ARRAY_SIZE(fd); i++)
		fd[i] = open_in(&s.folder, names[i % ARRAY_SIZE(names)]);
	/* Half of them in their middle. */
	for (i = 0; i < ARRAY_SIZE(names); i++)
		must(read(fd[i], some, sizeof(some)), "read");
	close(s.session);
	CHECK_EQ(try_open_in(&s.folder, "spaces"), -ENOENT);
	for (i = 0; i < ARRAY_SIZE(fd); i++) {
		if (i == ARRAY_SIZE(names))
			world_free(&s.w);
		text = read_by(fd[i], 100);
		printf("# %s after the close: %zu bytes, %d\n",
		       names[i % ARRAY_SIZE(names)], text.len, text.error);
		free(text.bytes);
		CHECK_EQ(module_remove(), -EAGAIN);
		close(fd[i]);
	}
	free(s.records.rows);
}

/* ---- Meanwhile ---- */

struct mess {
	struct world *w;
	const struct folder *folder;
	int stop;
	int nr;
};

static bool go_on(struct mess *mess)
{
	mess->nr++;
	return !__atomic_load_n(&mess->stop, __ATOMIC_RELAXED);
}

/* Takes pages away, puts others in, and writes to entries. */
static void *change_memory(void *arg)
{
	struct mess *mess = arg;
	struct guest_ram *ram = &mess->w->ram;
	__u64 *entry, state = 1;

	while (go_on(mess)) {
		state = state * 6364136223846793005ULL + 1;
		entry = (__u64 *)(ram->hva + (state >> 20) % ram->used / 8 * 8);
		__atomic_store_n(entry,
				 WORLD_GPA + (state >> 40) % ram->used +
					 (state >> 13 & 7),
				 __ATOMIC_RELAXED);
		if (mess->nr % 5000 == 0)
			madvise(ram->hva +
					(state >> 30) % ram->used / PAGE * PAGE,
				PAGE, MADV_DONTNEED);
	}
	return NULL;
}

static void *open_and_close(void *arg)
{
	struct mess *mess = arg;

	while (go_on(mess))
		close(world_open(mess->w));
	return NULL;
}

static void *read_whatever(void *arg)
{
	struct mess *mess = arg;
	struct folder folder;
	size_t i;
	int fd;

	while (go_on(mess)) {
		folder = newest_folder();
		for (i = 0; i < ARRAY_SIZE(names); i++) {
			fd = try_open_in(&folder, names[i]);
			if (fd < 0)
				continue;
			free(read_by(fd, 4000).bytes);
			close(fd);
		}
	}
	return NULL;
}

static pthread_t start(void *(*fn)(void *mess), struct mess *mess)
{
	pthread_t thread;

	must(pthread_create(&thread, NULL, fn, mess) ? -1 : 0,
	     "pthread_create");
	return thread;
}

static void read_while_memory_changes(void)
{
	struct mess mess = { .nr = 0 };
	struct text text;
	pthread_t thread;
	struct shown s;
	int i;

	shown_init(&s);
	mess.w = &s.w;
	thread = start(change_memory, &mess);
	for (i = 0; i < 20; i++) {
		text = read_file(&s.folder, "spaces");
		CHECK(text.len);
		check_text(text.bytes, &s.records);
		free(text.bytes);
	}
	__atomic_store_n(&mess.stop, 1, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	printf("# %d changes\n", mess.nr);
	shown_free(&s);
}

static void read_while_sessions_come_and_go(void)
{
	struct mess messes[2] = { { .nr = 0 } };
	pthread_t threads[2];
	struct world w;
	size_t i;

	build(&w);
	for (i = 0; i < 2; i++) {
		messes[i].w = &w;
		threads[i] =
			start(i ? read_whatever : open_and_close, &messes[i]);
	}
	sleep(5);
	for (i = 0; i < 2; i++) {
		__atomic_store_n(&messes[i].stop, 1, __ATOMIC_RELAXED);
		pthread_join(threads[i], NULL);
	}
	CHECK(messes[0].nr > 10 && messes[1].nr > 10);
	printf("# %d sessions, %d times read\n", messes[0].nr, messes[1].nr);
	world_free(&w);
}

static long long lost_at_start;
static int folders_at_start;

static void nothing_is_left(void)
{
	CHECK_EQ(pages_lost(), lost_at_start);
	CHECK_EQ(count_folders(), folders_at_start);
}

static const struct ktap_case cases[] = {
	{ "spaces_are_the_records", spaces_are_the_records },
	{ "spaces_in_each_format", spaces_in_each_format },
	{ "spaces_by_small_buffers", spaces_by_small_buffers },
	{ "spaces_from_anywhere", spaces_from_anywhere },
	{ "spaces_by_two_readers", spaces_by_two_readers },
	{ "spaces_follow_the_guest", spaces_follow_the_guest },
	{ "spaces_not_set", spaces_not_set },
	{ "memslots_are_the_ioctls", memslots_are_the_ioctls },
	{ "many_memslots", many_memslots },
	{ "counters_grow", counters_grow },
	{ "bytes_are_counted", bytes_are_counted },
	{ "folder_comes_and_goes", folder_comes_and_goes },
	{ "no_folder_no_harm", no_folder_no_harm },
	{ "two_sessions_two_texts", two_sessions_two_texts },
	{ "modes_are_0400", modes_are_0400 },
	{ "nobody_may_not_read", nobody_may_not_read },
	{ "files_outlive_the_session", files_outlive_the_session },
	{ "read_while_memory_changes", read_while_memory_changes },
	{ "read_while_sessions_come_and_go", read_while_sessions_come_and_go },
	{ "nothing_is_left", nothing_is_left },
};

int main(void)
{
	lost_at_start = pages_lost_before();
	folders_at_start = count_folders();
	return ktap_main(cases, ARRAY_SIZE(cases));
}
