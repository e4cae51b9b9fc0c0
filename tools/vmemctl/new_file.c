// SPDX-License-Identifier: GPL-2.0-only
/*
 * A file that is there as a whole or not at all
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "new_file.h"
#include "vmemctl.h"

#define PART_NAME ".vmemctl-XXXXXX"

/**
 * struct new_file - a file that is being written
 * @path: its path once it is complete
 * @folder: the folder of @path
 * @part: its path until it is complete; NULL before and after, and as long as it
 *	has no name at all
 * @fd: its descriptor
 */
struct new_file {
	const char *path;
	char *folder;
	char *part;
	int fd;
};

static struct new_file only;

static const struct {
	int err;
	const char *text;
} reasons[] = {
	{ ENOENT, "there is no such folder" },
	{ ENOSPC, "the file system is full: make room, or give another FILE" },
	{ EDQUOT, "over the disk quota: make room, or give another FILE" },
	{ EFBIG,
	  "too long for the file system or `ulimit -f': give another FILE" },
	{ EROFS, "the file system is read-only: give another FILE" },
	{ EACCES, "permission denied: run as root, or give another FILE" },
	{ EPERM, "permission denied: run as root, or give another FILE" },
	{ EIO, "the disk reports an error: give a FILE on another one" },
};

static const char *reason(int err)
{
	for (size_t i = 0; i < ARRAY_SIZE(reasons); i++)
		if (reasons[i].err == err)
			return reasons[i].text;
	return strerror(err);
}

/* The signal that asked for the end, or 0. */
static int ended_by;

void new_file_abandon(void)
{
	if (only.part)
		unlink(only.part);
}

static void note_signal(int number)
{
	__atomic_store_n(&ended_by, number, __ATOMIC_RELAXED);
}

void new_file_check_signals(void)
{
	int number = __atomic_load_n(&ended_by, __ATOMIC_RELAXED);

	if (number)
		die("interrupted (%s): nothing was written", strsignal(number));
}

/* Signals that are ignored, as under nohup, stay so. */
static void catch_signals(void)
{
	static const int numbers[] = { SIGINT, SIGTERM, SIGHUP };
	const struct sigaction note = { .sa_handler = note_signal };
	struct sigaction old;

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		if (!sigaction(numbers[i], NULL, &old) &&
		    old.sa_handler != SIG_IGN)
			sigaction(numbers[i], &note, NULL);
	}
	/* A file that gets too long is an error like any other. */
	signal(SIGXFSZ, SIG_IGN);
}

/* Replace only a regular file: no device, no folder, and no link. */
static void check_old(const char *path)
{
	struct stat st;

	if (lstat(path, &st)) {
		if (errno != ENOENT)
			die("cannot write %s: %s", path, reason(errno));
		return;
	}
	if (!S_ISREG(st.st_mode))
		die("cannot write %s: it is there, and is not a regular file: give another FILE",
		    path);
}

static char *text(const char *a, const char *b)
{
	char *joined;

	if (asprintf(&joined, "%s%s", a, b) < 0)
		die("out of memory");
	return joined;
}

static char *folder_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *folder = text(slash ? path : "./", "");

	if (slash)
		folder[slash + 1 - path] = '\0';
	return folder;
}

void new_file_fail(const struct new_file *file, int err)
{
	die("cannot write %s: %s", file->path, reason(err));
}

/* A file without a name goes with its last descriptor, however we end. */
static void open_part(void)
{
	char *part;

	only.fd = open(only.folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	/* name_it() links it through /proc. */
	if (only.fd >= 0 && !access("/proc/self/fd", X_OK))
		return;
	if (only.fd >= 0)
		close(only.fd);
	/* Some file systems lack O_TMPFILE. */
	part = text(only.folder, PART_NAME);
	atexit(new_file_abandon);
	only.fd = mkostemp(part, O_CLOEXEC);
	if (only.fd < 0)
		new_file_fail(&only, errno);
	only.part = part;
}

struct new_file *new_file_open(const char *path)
{
	check_old(path);
	if (!path[0] || path[strlen(path) - 1] == '/')
		die("cannot write %s: this names no file: give another FILE",
		    path);
	only.path = path;
	only.folder = folder_of(path);
	catch_signals();
	open_part();
	return &only;
}

int new_file_fd(const struct new_file *file)
{
	return file->fd;
}

/* The new name has to survive a crash as the contents do. */
static void sync_folder(const struct new_file *file)
{
	int folder = open(file->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	/* The file is complete, so a file system that cannot is no error. */
	if (folder >= 0) {
		fsync(folder);
		close(folder);
	}
}

static int link_at(const struct new_file *file, const char *path)
{
	char name[32];

	snprintf(name, sizeof(name), "/proc/self/fd/%d", file->fd);
	return linkat(AT_FDCWD, name, AT_FDCWD, path, AT_SYMLINK_FOLLOW);
}

/*
 * Give the complete file its name. Over an old file that takes a second name, for
 * as long as a rename takes.
 */
static void name_it(struct new_file *file)
{
	int fd;

	if (!file->part) {
		if (!link_at(file, file->path))
			return;
		if (errno != EEXIST)
			new_file_fail(file, errno);
		file->part = text(file->folder, PART_NAME);
		atexit(new_file_abandon);
		fd = mkostemp(file->part, O_CLOEXEC);
		if (fd < 0 || close(fd) || unlink(file->part) ||
		    link_at(file, file->part))
			new_file_fail(file, errno);
	}
	if (rename(file->part, file->path))
		new_file_fail(file, errno);
	free(file->part);
	file->part = NULL;
}

void new_file_commit(struct new_file *file)
{
	if (fsync(file->fd))
		new_file_fail(file, errno);
	new_file_check_signals();
	name_it(file);
	if (close(file->fd))
		new_file_fail(file, errno);
	sync_folder(file);
	free(file->folder);
}
