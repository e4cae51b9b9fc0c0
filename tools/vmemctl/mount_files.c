// SPDX-License-Identifier: GPL-2.0-only
/*
 * The files of a mounted guest
 *
 * An inode's number says which file it is: a small one, or a space's root with the file in
 * the bits that the address of a root has not. So there is nothing to remember between
 * requests, whatever guests and readers do.
 */
#include <errno.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "mount.h"

/* The lowest bits of an inode's number. Roots are aligned to 32 bytes. */
enum file {
	FILE_ROOT = FUSE_ROOT_ID,
	FILE_VMCORE,
	FILE_MEMORY,
	FILE_SPACES,
	FILE_SPACE,
	FILE_MAPS,
	FILE_MEM,
};

#define FILE_BITS 0x1full

/* Longest name of a root, with its end. */
#define ROOT_NAME_MAX 17

static const struct entry {
	const char *name;
	enum file folder;
	enum file file;
} entries[] = {
	{ "vmcore", FILE_ROOT, FILE_VMCORE },
	{ "memory", FILE_ROOT, FILE_MEMORY },
	{ "spaces", FILE_ROOT, FILE_SPACES },
	{ "maps", FILE_SPACE, FILE_MAPS },
	{ "mem", FILE_SPACE, FILE_MEM },
};

__thread struct libvmem *mount_vm;

static const struct mount *mount_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

static enum file file_of(fuse_ino_t ino)
{
	return ino & FILE_BITS;
}

static __u64 root_of(fuse_ino_t ino)
{
	return ino & ~FILE_BITS;
}

static bool is_folder(enum file file)
{
	return file == FILE_ROOT || file == FILE_SPACES || file == FILE_SPACE;
}

time_t mount_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

int mount_errno(const struct libvmem_error *error)
{
	switch (error->code) {
	case LIBVMEM_NO_PROCESS:
		return -ESRCH;
	case LIBVMEM_NO_MEMORY:
		return -ENOMEM;
	default:
		return -EIO;
	}
}

/* Space @root, by the registers that all have in common */
static struct vmem_regs regs_of(const struct mount *mount, __u64 root)
{
	struct vmem_regs regs = mount->regs;

	regs.cr3 = root;
	return regs;
}

static struct stat attributes(const struct mount *mount, fuse_ino_t ino)
{
	const bool folder = is_folder(file_of(ino));
	struct stat st = {
		.st_ino = ino,
		.st_mode = folder ? S_IFDIR | 0500 : S_IFREG | 0400,
		.st_nlink = folder ? 2 : 1,
		.st_uid = mount->uid,
		.st_gid = mount->gid,
		.st_blksize = MAX_READ,
		.st_atim = mount->since,
		.st_mtim = mount->since,
		.st_ctim = mount->since,
	};

	if (file_of(ino) == FILE_VMCORE) {
		st.st_size = mount->layout.size;
		/* Stdio, and so gdb, buffers as much. */
		st.st_blksize = 1;
	} else if (file_of(ino) == FILE_MEMORY) {
		st.st_size = mount->layout.memory_end;
	} else if (file_of(ino) == FILE_MAPS) {
		/* Not 0: splice() would take it for empty, and not ask. */
		st.st_size = 1;
	}
	return st;
}

static void get_attributes(fuse_req_t req, fuse_ino_t ino,
			   struct fuse_file_info *fi)
{
	const struct stat st = attributes(mount_of(req), ino);

	(void)fi;
	fuse_reply_attr(req, &st, 0);
}

/* A root is named as it is listed, whether it is or not; there must be a table. */
static fuse_ino_t find_space(const struct mount *mount, const char *name)
{
	__u64 root = strtoull(name, NULL, 16);
	const struct vmem_regs regs = regs_of(mount, root);
	char again[ROOT_NAME_MAX];
	struct libvmem_read read;

	snprintf(again, sizeof(again), "%llx", root);
	if (strcmp(name, again) || root & FILE_BITS || !regs.cr0 ||
	    libvmem_root(&regs) != root ||
	    libvmem_read_phys(mount_vm, root, NULL, 1, &read, NULL) ||
	    read.len != 1)
		return 0;
	return root | FILE_SPACE;
}

static fuse_ino_t find(const struct mount *mount, fuse_ino_t parent,
		       const char *name)
{
	if (file_of(parent) == FILE_SPACES)
		return find_space(mount, name);
	for (size_t i = 0; i < ARRAY_SIZE(entries); i++)
		if (entries[i].folder == file_of(parent) &&
		    !strcmp(entries[i].name, name))
			return root_of(parent) | entries[i].file;
	return 0;
}

static void look_up(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	const struct mount *mount = mount_of(req);
	struct fuse_entry_param entry = { .ino = find(mount, parent, name) };

	if (!entry.ino) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	entry.attr = attributes(mount, entry.ino);
	fuse_reply_entry(req, &entry);
}

/* Folders */

static void open_folder(fuse_req_t req, fuse_ino_t ino,
			struct fuse_file_info *fi)
{
	struct mount *mount = fuse_req_userdata(req);

	fi->fh = 0;
	if (file_of(ino) == FILE_SPACES)
		waiters_add(&mount->spaces.waiters, req, fi, 0);
	else
		fuse_reply_open(req, fi);
}

/* The name and number of an entry; 0 behind the last one. */
static fuse_ino_t entry_at(fuse_ino_t folder, const struct listing *listing,
			   size_t index, char *name)
{
	if (listing) {
		if (index >= listing->nr)
			return 0;
		snprintf(name, ROOT_NAME_MAX, "%llx", listing->roots[index]);
		return listing->roots[index] | FILE_SPACE;
	}
	for (size_t i = 0; i < ARRAY_SIZE(entries); i++) {
		if (entries[i].folder != file_of(folder) || index--)
			continue;
		snprintf(name, ROOT_NAME_MAX, "%s", entries[i].name);
		return root_of(folder) | entries[i].file;
	}
	return 0;
}

static void read_folder(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
			struct fuse_file_info *fi)
{
	const struct listing *listing = (void *)(uintptr_t)fi->fh;
	char name[ROOT_NAME_MAX], *buf = malloc(size);
	struct stat st = {};
	size_t len = 0, more;

	if (!buf) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	while ((st.st_ino = entry_at(ino, listing, off, name))) {
		st.st_mode = is_folder(file_of(st.st_ino)) ? S_IFDIR : S_IFREG;
		more = fuse_add_direntry(req, buf + len, size - len, name, &st,
					 ++off);
		if (more > size - len)
			break;
		len += more;
	}
	fuse_reply_buf(req, buf, len);
	free(buf);
}

static void close_folder(fuse_req_t req, fuse_ino_t ino,
			 struct fuse_file_info *fi)
{
	(void)ino;
	free((void *)(uintptr_t)fi->fh);
	fuse_reply_err(req, 0);
}

/* Files */

/* Its registers are of when it was opened: they are read together. */
static int open_vmcore(const struct mount *mount, struct fuse_file_info *fi)
{
	void *head = malloc(mount->layout.head_size);
	struct libvmem_error error;

	if (!head)
		return -ENOMEM;
	if (libvmem_core_head(mount->core, mount_vm, head, &error)) {
		free(head);
		return mount_errno(&error);
	}
	fi->fh = (uintptr_t)head;
	return 0;
}

static int open_maps(const struct mount *mount, __u64 root,
		     struct fuse_file_info *fi)
{
	const struct vmem_regs regs = regs_of(mount, root);

	fi->fh = (uintptr_t)maps_open(&regs);
	return fi->fh ? 0 : -ENOMEM;
}

static void free_file(fuse_req_t req, fuse_ino_t ino,
		      const struct fuse_file_info *fi)
{
	struct mount *mount = fuse_req_userdata(req);

	if (file_of(ino) == FILE_MAPS)
		maps_close(&mount->texts, (void *)(uintptr_t)fi->fh);
	else
		free((void *)(uintptr_t)fi->fh);
}

/*
 * Of a stream the kernel keeps no position, for which readers would wait, even killed ones.
 * libfuse has no flag for that.
 */
static int reply_stream(fuse_req_t req, const struct fuse_file_info *fi)
{
	const struct fuse_open_out reply = {
		.fh = fi->fh,
		.open_flags = FOPEN_DIRECT_IO | FOPEN_STREAM,
	};

	return fuse_reply_buf(req, (const char *)&reply, sizeof(reply));
}

static int reply_open(fuse_req_t req, fuse_ino_t ino,
		      const struct fuse_file_info *fi)
{
	if (file_of(ino) == FILE_MAPS)
		return reply_stream(req, fi);
	return fuse_reply_open(req, fi);
}

/* The guest runs: nothing of it is kept in the page cache. */
static void open_file(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	const struct mount *mount = mount_of(req);
	int ret = 0;

	fi->fh = 0;
	fi->direct_io = 1;
	if ((fi->flags & O_ACCMODE) != O_RDONLY)
		ret = -EROFS;
	else if (file_of(ino) == FILE_VMCORE)
		ret = open_vmcore(mount, fi);
	else if (file_of(ino) == FILE_MAPS)
		ret = open_maps(mount, root_of(ino), fi);
	if (ret)
		fuse_reply_err(req, -ret);
	else if (reply_open(req, ino, fi))
		free_file(req, ino, fi); /* the opener was killed */
}

static void close_file(fuse_req_t req, fuse_ino_t ino,
		       struct fuse_file_info *fi)
{
	free_file(req, ino, fi);
	fuse_reply_err(req, 0);
}

/* The head as it was at first, and the memory as it is now. */
static int read_vmcore(const struct mount *mount, const char *head, off_t off,
		       char *buf, size_t size, struct libvmem_read *read,
		       struct libvmem_error *error)
{
	size_t head_size = mount->layout.head_size, len = 0;
	int ret;

	if ((__u64)off < head_size) {
		len = head_size - off < size ? head_size - off : size;
		memcpy(buf, head + off, len);
	}
	ret = libvmem_core_read(mount->core, mount_vm, off + len, buf + len,
				size - len, read, error);
	read->len += len;
	return ret;
}

/*
 * Files have no offsets of 2^63 and more: there, addresses of a 64-bit guest's upper half
 * are without their highest bit. No address of the lower half has the next one.
 */
static __u64 va_at(const struct vmem_regs *regs, off_t off)
{
	if (libvmem_top_level(regs) >= VMEM_LEVEL_PML4 && off >> 62)
		return off | 1ull << 63;
	return off;
}

static int read_mem(const struct vmem_regs *regs, off_t off, char *buf,
		    size_t size, struct libvmem_read *read,
		    struct libvmem_error *error)
{
	__u64 va = va_at(regs, off);

	if (va + size - 1 < va)
		size = -va;
	return libvmem_read(mount_vm, regs, va, buf, size, read, error);
}

static int read_memory(const struct mount *mount, fuse_ino_t ino, off_t off,
		       const struct fuse_file_info *fi, char *buf, size_t size,
		       struct libvmem_read *read, struct libvmem_error *error)
{
	const struct vmem_regs regs = regs_of(mount, root_of(ino));

	switch (file_of(ino)) {
	case FILE_VMCORE:
		return read_vmcore(mount, (void *)(uintptr_t)fi->fh, off, buf,
				   size, read, error);
	case FILE_MEMORY:
		return libvmem_core_read_phys(mount->core, mount_vm, off, buf,
					      size, read, error);
	default:
		return read_mem(&regs, off, buf, size, read, error);
	}
}

/*
 * How much was read, or a negative errno. Before a page that cannot be read, it is less
 * than was asked for.
 */
static ssize_t read_bytes(fuse_req_t req, fuse_ino_t ino, off_t off,
			  const struct fuse_file_info *fi, char *buf,
			  size_t size)
{
	struct libvmem_error error;
	struct libvmem_read read;

	if (read_memory(mount_of(req), ino, off, fi, buf, size, &read, &error))
		return mount_errno(&error);
	if (!read.len && read.status != VMEM_MAPPED)
		return -EIO;
	return read.len;
}

static void reply_bytes(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
			const struct fuse_file_info *fi)
{
	char *buf = malloc(size);
	ssize_t len = buf ? read_bytes(req, ino, off, fi, buf, size) : -ENOMEM;

	if (len < 0)
		fuse_reply_err(req, -len);
	else
		fuse_reply_buf(req, buf, len);
	free(buf);
}

static void read_file(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		      struct fuse_file_info *fi)
{
	struct mount *mount = fuse_req_userdata(req);

	/* Without an owner it is for the page cache, which splice() reads from. */
	if (file_of(ino) == FILE_MAPS && !fi->lock_owner)
		fuse_reply_err(req, EIO);
	else if (file_of(ino) == FILE_MAPS)
		waiters_add(&mount->texts.waiters, req, fi, size);
	else
		reply_bytes(req, ino, size, off, fi);
}

/* `cp' and `tar' ask where there is something. */
static void seek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
		 struct fuse_file_info *fi)
{
	const struct mount *mount = mount_of(req);
	const __u64 size = attributes(mount, ino).st_size;
	__u64 to = whence == SEEK_DATA ? (__u64)off : size;

	(void)fi;
	if (file_of(ino) == FILE_MEMORY)
		to = libvmem_core_next(mount->core, off, whence == SEEK_DATA);
	if (off < 0 || (__u64)off >= size)
		fuse_reply_err(req, ENXIO);
	else
		fuse_reply_lseek(req, to);
}

/* Through splice(), pages would be copied once more. */
static void begin(void *mount, struct fuse_conn_info *conn)
{
	(void)mount;
	conn->want &= ~(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE |
			FUSE_CAP_SPLICE_MOVE);
	conn->max_read = MAX_READ;
}

const struct fuse_lowlevel_ops mount_ops = {
	.init = begin,
	.lookup = look_up,
	.getattr = get_attributes,
	.opendir = open_folder,
	.readdir = read_folder,
	.releasedir = close_folder,
	.open = open_file,
	.read = read_file,
	.release = close_file,
	.lseek = seek,
};
