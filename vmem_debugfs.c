// SPDX-License-Identifier: GPL-2.0-only
/*
 * debugfs: a folder for each session, with its guest's memory slots, what is in
 * its spaces, and counters. `spaces` is one more caller of the walk: whoever
 * reads it walks anew, a batch of records at a time.
 *
 * Lifetimes: an open file holds a reference on its session. It is taken in
 * open(), before which debugfs_remove() waits; that it does not wait for
 * readers as well is what debugfs_create_file_unsafe() is for: a reader may
 * sleep in a fault for as long as its guest's owner likes, and the session's
 * file has to close meanwhile.
 */
#include <linux/atomic.h>
#include <linux/capability.h>
#include <linux/debugfs.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <vmem/session.h>

/* Records that are fetched at once: a batch fits into a page. */
#define BATCH 48

static struct dentry *vmem_dir;

/**
 * struct memslots_reader - an open `memslots`
 * @session: whose slots they are
 * @pos: position of @slot
 * @found: there is a slot at @pos
 * @slot: the slot that was fetched last
 */
struct memslots_reader {
	struct vmem_session *session;
	loff_t pos;
	bool found;
	struct vmem_memslot slot;
};

static int memslots_fetch(struct memslots_reader *reader, u64 from_gpa)
{
	struct vmem_gmem *gmem = vmem_session_gmem(reader->session);
	int ret = vmem_breathe() ?: vmem_gmem_enter(gmem);

	/* After an errno the next one to read begins anew. */
	reader->found = false;
	if (ret)
		return ret;
	reader->found = gmem->ops->slots(gmem, from_gpa, &reader->slot, 1);
	vmem_gmem_leave(gmem);
	return 0;
}

/* The slot at a position; NULL behind the last. */
static void *memslots_at(struct memslots_reader *reader, loff_t pos)
{
	int ret = 0;

	if (!reader->found || pos < reader->pos) {
		reader->pos = 0;
		ret = memslots_fetch(reader, 0);
	}
	while (!ret && reader->found && reader->pos < pos) {
		reader->pos++;
		ret = memslots_fetch(reader,
				     reader->slot.gpa + reader->slot.len);
	}
	if (ret)
		return ERR_PTR(ret);
	return reader->found ? &reader->slot : NULL;
}

static void *memslots_start(struct seq_file *seq, loff_t *pos)
{
	return memslots_at(seq->private, *pos);
}

static void *memslots_next(struct seq_file *seq, void *slot, loff_t *pos)
{
	++*pos;
	return memslots_at(seq->private, *pos);
}

static void memslots_stop(struct seq_file *seq, void *slot)
{
}

static int memslots_show(struct seq_file *seq, void *data)
{
	const struct vmem_memslot *slot = data;

	seq_printf(seq, "%u %#llx-%#llx %#llx%s\n", slot->id, slot->gpa,
		   slot->gpa + (slot->len - 1), slot->hva,
		   slot->flags & VMEM_MEMSLOT_READONLY ? " readonly" : "");
	return 0;
}

static const struct seq_operations memslots_seq_ops = {
	.start = memslots_start,
	.next = memslots_next,
	.stop = memslots_stop,
	.show = memslots_show,
};

static int memslots_open(struct inode *inode, struct file *file)
{
	struct memslots_reader *reader =
		__seq_open_private(file, &memslots_seq_ops, sizeof(*reader));

	if (!reader)
		return -ENOMEM;
	reader->session = inode->i_private;
	kref_get(&reader->session->ref);
	return 0;
}

static int memslots_release(struct inode *inode, struct file *file)
{
	struct seq_file *seq = file->private_data;
	struct memslots_reader *reader = seq->private;

	vmem_session_put(reader->session);
	return seq_release_private(inode, file);
}

static const struct file_operations memslots_fops = {
	.owner = THIS_MODULE,
	.open = memslots_open,
	.release = memslots_release,
	.read = seq_read,
	.llseek = seq_lseek,
};

static int counters_show(struct seq_file *seq, void *data)
{
	struct vmem_session *session = seq->private;
	const struct vmem_pages *pages = &vmem_session_gmem(session)->pages;

	seq_printf(seq, "calls %lld\n", atomic64_read(&session->calls));
	seq_printf(seq, "calls_killed %lld\n", atomic64_read(&session->killed));
	seq_printf(seq, "pages_looked_up %llu\n", READ_ONCE(pages->looked_up));
	seq_printf(seq, "hints %u\n", READ_ONCE(pages->nr));
	seq_printf(seq, "hints_dropped %llu\n", READ_ONCE(pages->dropped));
	seq_printf(seq, "translations %lld\n",
		   atomic64_read(&session->translations));
	seq_printf(seq, "torn %lld\n", atomic64_read(&session->torn));
	seq_printf(seq, "bytes_read %lld\n",
		   atomic64_read(&session->bytes_read));
	return 0;
}

static int counters_open(struct inode *inode, struct file *file)
{
	struct vmem_session *session = inode->i_private;
	int ret = single_open(file, counters_show, session);

	if (!ret)
		kref_get(&session->ref);
	return ret;
}

static int counters_release(struct inode *inode, struct file *file)
{
	struct seq_file *seq = file->private_data;

	vmem_session_put(seq->private);
	return single_release(inode, file);
}

static const struct file_operations counters_fops = {
	.owner = THIS_MODULE,
	.open = counters_open,
	.release = counters_release,
	.read = seq_read,
	.llseek = seq_lseek,
};

/**
 * struct spaces_reader - an open `spaces`
 * @session: whose spaces they are
 * @spaces: the walk
 * @first: position of the first record of @records
 * @nr: records in @records
 * @records: the last batch
 */
struct spaces_reader {
	struct vmem_session *session;
	struct vmem_spaces spaces;
	loff_t first;
	unsigned int nr;
	struct vmem_record records[BATCH];
};

static int spaces_emit(const struct vmem_record *record, void *priv)
{
	struct spaces_reader *reader = priv;

	if (reader->nr == BATCH)
		return VMEM_WALK_STOP;
	reader->records[reader->nr++] = *record;
	return 0;
}

/* Not at the end, and no record: the walk met a limit before it found one. */
static int spaces_fetch(struct spaces_reader *reader)
{
	struct vmem_gmem *gmem = vmem_session_gmem(reader->session);
	struct vmem_pins pins;
	int ret;

	reader->first += reader->nr;
	reader->nr = 0;
	do {
		u64 va = reader->spaces.va;
		u32 root = reader->spaces.root;

		vmem_pins_init(&pins, gmem);
		ret = vmem_pins_begin(&pins);
		if (ret)
			return ret;
		ret = vmem_walk_va_spaces(&reader->spaces, &pins.mem,
					  VMEM_MAX_ENTRIES, spaces_emit,
					  reader);
		atomic64_inc(&reader->session->calls);
		vmem_pins_end(&pins);
		if (ret == -ENOMEM &&
		    (root != reader->spaces.root || va != reader->spaces.va))
			ret = VMEM_WALK_STOP;
	} while (ret == VMEM_WALK_STOP && !reader->nr);

	return reader->nr || ret == VMEM_WALK_STOP ? 0 : ret;
}

static void spaces_rewind(struct spaces_reader *reader)
{
	vmem_spaces_destroy(&reader->spaces);
	reader->spaces = vmem_spaces_of(vmem_session_set(reader->session));
	reader->first = 0;
	reader->nr = 0;
}

/* The record at a position; NULL behind the last. */
static void *spaces_at(struct spaces_reader *reader, loff_t pos)
{
	int ret;

	if (!vmem_session_set(reader->session))
		return NULL;
	if (!reader->spaces.roots || pos < reader->first)
		spaces_rewind(reader);
	while (pos >= reader->first + reader->nr) {
		if (reader->spaces.done)
			return NULL;
		ret = spaces_fetch(reader);
		if (ret)
			return ERR_PTR(ret);
	}
	return &reader->records[pos - reader->first];
}

static void *spaces_start(struct seq_file *seq, loff_t *pos)
{
	return spaces_at(seq->private, *pos);
}

static void *spaces_next(struct seq_file *seq, void *record, loff_t *pos)
{
	++*pos;
	return spaces_at(seq->private, *pos);
}

static void spaces_stop(struct seq_file *seq, void *record)
{
}

static const char *const table_names[] = {
	[VMEM_TABLE_I686_PT] = "PT",	  [VMEM_TABLE_AMD64_PT] = "PT",
	[VMEM_TABLE_AMD64_PD] = "PD",	  [VMEM_TABLE_AMD64_PDPT] = "PDPT",
	[VMEM_TABLE_AMD64_PML4] = "PML4", [VMEM_TABLE_PAE_PT] = "PT",
	[VMEM_TABLE_PAE_PD] = "PD",
};

static const char *const level_names[] = {
	[VMEM_LEVEL_PT] = "PT",	    [VMEM_LEVEL_PD] = "PD",
	[VMEM_LEVEL_PDPT] = "PDPT", [VMEM_LEVEL_PML4] = "PML4",
	[VMEM_LEVEL_PML5] = "PML5",
};

static const char *const anomaly_names[] = {
	[VMEM_RESERVED] = "reserved",
	[VMEM_UNBACKED] = "unbacked",
	[VMEM_TORN] = "torn",
	[VMEM_ANCESTOR] = "ancestor",
	[VMEM_CROSS_LEVEL] = "cross-level",
	[VMEM_UNREADABLE] = "unreadable",
	[VMEM_WITHHELD] = "withheld",
};

/* r is always there; u or s says whether user mode may. */
static void show_perms(struct seq_file *seq, u32 perms)
{
	seq_printf(seq, " r%c%c%c", perms & VMEM_WRITABLE ? 'w' : '-',
		   perms & VMEM_EXECUTABLE ? 'x' : '-',
		   perms & VMEM_USER ? 'u' : 's');
}

static void show_space(struct seq_file *seq, const struct vmem_record *record)
{
	seq_printf(seq, "space %u %#llx", record->root, record->space.space);
	if (record->space.alias_of != record->root)
		seq_printf(seq, " root_alias_of %u", record->space.alias_of);
}

static void show_mapping(struct seq_file *seq,
			 const struct vmem_mapping *mapping)
{
	seq_printf(seq, "  this_space %#llx-%#llx %#llx %llu", mapping->va,
		   mapping->last_va, mapping->gpa, mapping->page_size);
	show_perms(seq, mapping->perms);
}

static void show_reference(struct seq_file *seq,
			   const struct vmem_reference *reference)
{
	seq_printf(seq, "  aliasing %s %#llx our_va %#llx their_va %#llx",
		   table_names[reference->table], reference->space,
		   reference->our_va, reference->their_va);
	show_perms(seq, reference->perms);
}

static void show_anomaly(struct seq_file *seq,
			 const struct vmem_anomaly *anomaly)
{
	seq_printf(seq, "  anomaly %s %s %#llx-%#llx table %#llx raw %#llx",
		   anomaly_names[anomaly->status], level_names[anomaly->level],
		   anomaly->va, anomaly->last_va, anomaly->table_gpa,
		   anomaly->raw);
}

static int spaces_show(struct seq_file *seq, void *data)
{
	const struct vmem_record *record = data;

	switch (record->type) {
	case VMEM_SPACE:
		show_space(seq, record);
		break;
	case VMEM_THIS_SPACE:
		show_mapping(seq, &record->mapping);
		break;
	case VMEM_ALIASING:
		show_reference(seq, &record->reference);
		break;
	case VMEM_ANOMALY:
		show_anomaly(seq, &record->anomaly);
		break;
	}
	seq_putc(seq, '\n');
	return 0;
}

static const struct seq_operations spaces_seq_ops = {
	.start = spaces_start,
	.next = spaces_next,
	.stop = spaces_stop,
	.show = spaces_show,
};

/* Whoever opens this reads memory of a process that may not be its own. */
static int spaces_open(struct inode *inode, struct file *file)
{
	struct vmem_session *session = inode->i_private;
	struct spaces_reader *reader;

	if (!capable(CAP_SYS_PTRACE))
		return -EPERM;
	reader = __seq_open_private(file, &spaces_seq_ops, sizeof(*reader));
	if (!reader)
		return -ENOMEM;
	kref_get(&session->ref);
	reader->session = session;
	return 0;
}

static int spaces_release(struct inode *inode, struct file *file)
{
	struct seq_file *seq = file->private_data;
	struct spaces_reader *reader = seq->private;

	vmem_spaces_destroy(&reader->spaces);
	vmem_session_put(reader->session);
	return seq_release_private(inode, file);
}

static const struct file_operations spaces_fops = {
	.owner = THIS_MODULE,
	.open = spaces_open,
	.release = spaces_release,
	.read = seq_read,
	.llseek = seq_lseek,
};

/* Named by the process that attached it, and its number. */
void vmem_debugfs_add(struct vmem_session *session)
{
	char name[32];

	snprintf(name, sizeof(name), "%d-%u", task_tgid_nr(current),
		 session->id);
	session->dir = debugfs_create_dir(name, vmem_dir);
	debugfs_create_file_unsafe("memslots", 0400, session->dir, session,
				   &memslots_fops);
	debugfs_create_file_unsafe("spaces", 0400, session->dir, session,
				   &spaces_fops);
	debugfs_create_file_unsafe("counters", 0400, session->dir, session,
				   &counters_fops);
}

void vmem_debugfs_remove(struct vmem_session *session)
{
	debugfs_remove(session->dir);
}

static int totals_show(struct seq_file *seq, void *data)
{
	seq_printf(seq, "sessions_open %lld\n",
		   atomic64_read(&vmem_totals.open));
	seq_printf(seq, "attached %lld\n",
		   atomic64_read(&vmem_totals.attached));
	seq_printf(seq, "attaches_refused %lld\n",
		   atomic64_read(&vmem_totals.refused));
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(totals);

void vmem_debugfs_init(void)
{
	vmem_dir = debugfs_create_dir("vmem", NULL);
	debugfs_create_file("counters", 0400, vmem_dir, NULL, &totals_fops);
}

void vmem_debugfs_exit(void)
{
	debugfs_remove(vmem_dir);
}
