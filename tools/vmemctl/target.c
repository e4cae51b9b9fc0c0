// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guest that is asked: from a PID to a session of /dev/vmem that is attached
 * to its VM, or from a file to what answers in its place
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "image.h"
#include "vmemctl.h"

#define DEVICE "/dev/vmem"
#define VM_LINK "anon_inode:kvm-vm"

/* How many VMs an error message lists. */
#define MAX_VMS 16

/**
 * struct vms - the VMs found in a process
 * @fds: one descriptor for each of the first MAX_VMS
 * @nr: how many there are
 */
struct vms {
	int fds[MAX_VMS];
	unsigned int nr;
};

/* A name is the process's own choice: keep it to one harmless line. */
static const char *process_name(pid_t pid, char *buf, int size)
{
	char path[32];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	f = fopen(path, "r");
	if (!f || !fgets(buf, size, f))
		snprintf(buf, size, "?");
	if (f)
		fclose(f);
	buf[strcspn(buf, "\n")] = '\0';
	for (char *c = buf; *c; c++) {
		if (!isprint((unsigned char)*c))
			*c = '?';
	}
	return buf;
}

/* Descriptors may be listed to somebody who may not see what they are. */
static bool is_vm(pid_t pid, int dir, const char *name)
{
	char link[sizeof(VM_LINK)];
	ssize_t len = readlinkat(dir, name, link, sizeof(link));

	if (len < 0 && errno == EACCES)
		fail(STEP_SCAN, NULL, "cannot look for the VM in /proc/%d/fd",
		     pid);
	return len == sizeof(VM_LINK) - 1 && !memcmp(link, VM_LINK, len);
}

/* VMMs that duplicate their descriptor hold one VM all the same. */
static bool is_known(pid_t pid, const struct vms *vms, int fd)
{
	for (unsigned int i = 0; i < vms->nr && i < MAX_VMS; i++) {
		if (!syscall(SYS_kcmp, pid, pid, KCMP_FILE, vms->fds[i], fd))
			return true;
	}
	return false;
}

static void add_vm(pid_t pid, struct vms *vms, int fd)
{
	if (is_known(pid, vms, fd))
		return;
	if (vms->nr < MAX_VMS)
		vms->fds[vms->nr] = fd;
	vms->nr++;
}

static void scan_fds(const struct opts *opts, struct vms *vms)
{
	struct dirent *entry;
	char path[32];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", opts->pid);
	dir = opendir(path);
	if (!dir)
		fail(STEP_SCAN, NULL, "cannot look for the VM in %s", path);
	while ((entry = readdir(dir))) {
		int fd = atoi(entry->d_name);

		if (opts->vm_fd >= 0 && opts->vm_fd != fd)
			continue;
		if (is_vm(opts->pid, dirfd(dir), entry->d_name))
			add_vm(opts->pid, vms, fd);
	}
	closedir(dir);
}

static void refuse_many(const struct opts *opts, const struct vms *vms)
{
	char list[MAX_VMS * 12 + 4] = "";
	size_t len = 0;

	for (unsigned int i = 0; i < vms->nr && i < MAX_VMS; i++)
		len += snprintf(list + len, sizeof(list) - len, " %d",
				vms->fds[i]);
	if (vms->nr > MAX_VMS)
		snprintf(list + len, sizeof(list) - len, " ...");
	die("process %d has %u KVM VMs: choose one with --vm-fd:%s", opts->pid,
	    vms->nr, list);
}

/* The descriptor of the VM in its process. */
static int find_vm(const struct opts *opts)
{
	struct vms vms = {};
	char name[32];

	scan_fds(opts, &vms);
	if (vms.nr > 1)
		refuse_many(opts, &vms);
	if (vms.nr)
		return vms.fds[0];
	process_name(opts->pid, name, sizeof(name));
	if (opts->vm_fd >= 0)
		die("descriptor %d of process %d (%s) is not a KVM VM: try without --vm-fd",
		    opts->vm_fd, opts->pid, name);
	die("no KVM VM in process %d (%s): give the PID of a VMM that runs with KVM",
	    opts->pid, name);
}

/* Our own descriptor of the VM. */
static int take_vm(const struct opts *opts)
{
	int pidfd, fd, vm;

	/* First of all: it goes on naming this process if the PID is reused. */
	pidfd = syscall(SYS_pidfd_open, opts->pid, 0);
	if (pidfd < 0)
		fail(STEP_PIDFD, NULL, "cannot open process %d", opts->pid);
	fd = find_vm(opts);
	vm = syscall(SYS_pidfd_getfd, pidfd, fd, 0);
	if (vm < 0)
		fail(STEP_GETFD, NULL,
		     "cannot get the VM (descriptor %d) of process %d", fd,
		     opts->pid);
	close(pidfd);
	return vm;
}

/* A session on the device, attached to the VM. */
static int open_device(const struct opts *opts)
{
	struct vmem_attach_kvm_args attach = { .size = sizeof(attach) };
	int dev;

	attach.vm_fd = take_vm(opts);
	dev = open(DEVICE, O_RDWR | O_CLOEXEC);
	if (dev < 0)
		fail(STEP_OPEN, NULL, "cannot open %s", DEVICE);
	if (ioctl(dev, VMEM_ATTACH_KVM, &attach))
		fail(STEP_ATTACH, NULL, "cannot attach to the VM of process %d",
		     opts->pid);
	close(attach.vm_fd);
	return dev;
}

struct target *target_open(const struct opts *opts)
{
	struct target *target = calloc(1, sizeof(*target));

	if (!target)
		die("out of memory");
	target->dev = -1;
	if (opts->image) {
		target->image = image_open(opts->image);
		target->offline = offline_open(target->image);
	} else {
		target->dev = open_device(opts);
	}
	return target;
}

void target_close(struct target *target)
{
	offline_close(target->offline);
	image_close(target->image);
	if (target->dev >= 0)
		close(target->dev);
	free(target);
}

int target_ask(struct target *target, unsigned int cmd, void *args)
{
	int ret;

	if (!target->image)
		return ioctl(target->dev, cmd, args);
	ret = offline_ask(target->offline, cmd, args);
	if (!ret)
		return 0;
	errno = -ret;
	return -1;
}
