// SPDX-License-Identifier: GPL-2.0-only
/*
 * Opening a guest: from a PID to a session of /dev/vmem that is attached to its
 * VM, or from a file to the answers for it
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "image.h"
#include "vm.h"

#define DEVICE "/dev/vmem"
#define NOT_INSTALLED                                                     \
	"the vmem module is not loaded, and not installed for Linux %s: " \
	"install vmem-dkms and that kernel's headers, or build it and "   \
	"insmod vmem.ko"
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
static const char *process_name(pid_t pid, char *buf, size_t size)
{
	char path[32];
	ssize_t len = -1;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		len = read(fd, buf, size - 1);
		close(fd);
	}
	if (len <= 0)
		return "?";
	buf[len] = '\0';
	buf[strcspn(buf, "\n")] = '\0';
	for (char *c = buf; *c; c++) {
		if (!isprint((unsigned char)*c))
			*c = '?';
	}
	return buf;
}

/* Descriptors may be listed to somebody who may not see what they are. */
static int is_vm(int dir, const char *name)
{
	char link[sizeof(VM_LINK)];
	ssize_t len = readlinkat(dir, name, link, sizeof(link));

	if (len < 0 && errno == EACCES)
		return -EACCES;
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

/* Returns 0 or a negative errno. */
static int scan_folder(DIR *dir, pid_t pid, int vm_fd, struct vms *vms)
{
	struct dirent *entry;

	while ((entry = readdir(dir))) {
		int fd = atoi(entry->d_name);
		int found;

		if (vm_fd >= 0 && vm_fd != fd)
			continue;
		found = is_vm(dirfd(dir), entry->d_name);
		if (found < 0)
			return found;
		if (found)
			add_vm(pid, vms, fd);
	}
	return 0;
}

static int scan_fds(pid_t pid, int vm_fd, struct vms *vms,
		    struct libvmem_error *error)
{
	char path[32];
	int ret;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	ret = dir ? scan_folder(dir, pid, vm_fd, vms) : -errno;
	if (dir)
		closedir(dir);
	if (!ret)
		return 0;
	return error_of(error, STEP_SCAN, -ret, 0, NULL,
			"cannot look for the VM in %s", path);
}

static int refuse_many(pid_t pid, const struct vms *vms,
		       struct libvmem_error *error)
{
	char list[MAX_VMS * 12 + 4] = "";
	size_t len = 0;
	int ret;

	for (unsigned int i = 0; i < vms->nr && i < MAX_VMS; i++)
		len += snprintf(list + len, sizeof(list) - len, " %d",
				vms->fds[i]);
	if (vms->nr > MAX_VMS)
		snprintf(list + len, sizeof(list) - len, " ...");
	ret = error_set(error, LIBVMEM_SEVERAL_VMS, STEP_SCAN, 0, NULL,
			"process %d has %u KVM VMs", pid, vms->nr);
	return error_advise(error, ret, "choose one with --vm-fd:%s", list);
}

static int refuse_none(pid_t pid, int vm_fd, struct libvmem_error *error)
{
	char buf[32];
	const char *name = process_name(pid, buf, sizeof(buf));

	if (vm_fd >= 0)
		return error_set(
			error, LIBVMEM_NO_VM, STEP_SCAN, 0,
			"try without --vm-fd",
			"descriptor %d of process %d (%s) is not a KVM VM",
			vm_fd, pid, name);
	return error_set(error, LIBVMEM_NO_VM, STEP_SCAN, 0,
			 "give the PID of a VMM that runs with KVM",
			 "no KVM VM in process %d (%s)", pid, name);
}

/* The descriptor of the VM in its process, or a negative code. */
static int find_vm(pid_t pid, int vm_fd, struct libvmem_error *error)
{
	struct vms vms = {};
	int ret = scan_fds(pid, vm_fd, &vms, error);

	if (ret)
		return ret;
	if (vms.nr > 1)
		return refuse_many(pid, &vms, error);
	return vms.nr ? vms.fds[0] : refuse_none(pid, vm_fd, error);
}

/*
 * Our own descriptor of the VM, or a negative code. @pidfd goes on naming this
 * very process, even if its PID is used again.
 */
static int take_vm(int pidfd, pid_t pid, int vm_fd, struct libvmem_error *error)
{
	int vm, fd = find_vm(pid, vm_fd, error);

	if (fd < 0)
		return fd;
	vm = syscall(SYS_pidfd_getfd, pidfd, fd, 0);
	if (vm >= 0)
		return vm;
	return error_of(error, STEP_GETFD, errno, 0, NULL,
			"cannot get the VM (descriptor %d) of process %d", fd,
			pid);
}

static struct libvmem *new_vm(struct libvmem_error *error)
{
	struct libvmem *vm = calloc(1, sizeof(*vm));

	if (!vm) {
		error_memory(error, NULL);
		return NULL;
	}
	vm->dev = -1;
	vm->pagemap = -1;
	return vm;
}

/* Whether modprobe would find the module for this kernel. */
static bool is_installed(const char *release)
{
	bool found = false;
	char path[128], *line = NULL;
	size_t size = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/lib/modules/%s/modules.dep", release);
	file = fopen(path, "re");
	if (!file)
		return false;
	while (!found && getline(&line, &size, file) > 0)
		found = strstr(line, "/vmem.ko");
	free(line);
	fclose(file);
	return found;
}

static int no_device(struct libvmem_error *error, int err)
{
	int ret = error_of(error, STEP_OPEN, err, 0, NULL, "cannot open %s",
			   DEVICE);
	struct utsname name;

	if (ret != -LIBVMEM_NO_DEVICE || uname(&name) ||
	    is_installed(name.release))
		return ret;
	return error_advise(error, ret, NOT_INSTALLED, name.release);
}

/* A session on the device, attached to the VM that is called @name. */
static int begin_session(struct libvmem *vm, int vm_fd, const char *name,
			 struct libvmem_error *error)
{
	struct vmem_attach_kvm_args args = {
		.size = sizeof(args),
		.vm_fd = vm_fd,
	};

	vm->dev = open(DEVICE, O_RDWR | O_CLOEXEC);
	if (vm->dev < 0)
		return no_device(error, errno);
	if (ioctl(vm->dev, VMEM_ATTACH_KVM, &args))
		return error_of(error, STEP_ATTACH, errno, 0, NULL,
				"cannot attach to the VM %s", name);
	return 0;
}

static int open_vm(struct libvmem **vm, int vm_fd, const char *name,
		   struct libvmem_error *error)
{
	struct libvmem *new = new_vm(error);
	int ret;

	if (!new)
		return -LIBVMEM_NO_MEMORY;
	ret = begin_session(new, vm_fd, name, error);
	if (ret)
		libvmem_close(new);
	else
		*vm = new;
	return ret;
}

int libvmem_open_vm(struct libvmem **vm, int vm_fd, struct libvmem_error *error)
{
	char name[32];

	*vm = NULL;
	snprintf(name, sizeof(name), "(descriptor %d)", vm_fd);
	return open_vm(vm, vm_fd, name, error);
}

static int open_process(struct libvmem **vm, int pidfd, pid_t pid, int vm_fd,
			struct libvmem_error *error)
{
	char name[32];
	int ret, fd = take_vm(pidfd, pid, vm_fd, error);

	if (fd < 0)
		return fd;
	snprintf(name, sizeof(name), "of process %d", pid);
	ret = open_vm(vm, fd, name, error);
	close(fd);
	return ret;
}

/* The process is still the one of @pidfd, if a signal can be sent to it afterwards. */
static void open_pagemap(struct libvmem *vm, int pidfd, pid_t pid)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	vm->pagemap = open(path, O_RDONLY | O_CLOEXEC);
	if (vm->pagemap >= 0 &&
	    syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0) &&
	    errno == ESRCH) {
		close(vm->pagemap);
		vm->pagemap = -1;
	}
}

int libvmem_open_pid(struct libvmem **vm, pid_t pid, int vm_fd,
		     struct libvmem_error *error)
{
	int pidfd, ret;

	*vm = NULL;
	if (pid <= 0)
		return error_set(error, LIBVMEM_BAD_ARGUMENT, STEP_ARGUMENT, 0,
				 "a PID is above 0", "cannot open process %d",
				 pid);
	pidfd = syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0)
		return error_of(error, STEP_PIDFD, errno, 0, NULL,
				"cannot open process %d", pid);
	ret = open_process(vm, pidfd, pid, vm_fd, error);
	if (!ret)
		open_pagemap(*vm, pidfd, pid);
	close(pidfd);
	return ret;
}

/* The image as the user sees it. */
static void describe(struct libvmem *vm)
{
	const struct image *image = vm->image;

	vm->about = (struct libvmem_image){
		.path = image->files->path,
		.format = image->format,
		.size = image->files->size,
		.spaces = image->spaces,
		.nr_spaces = image->nr_spaces,
		.regs = image->regs,
	};
}

const char *libvmem_image_file(const struct libvmem *vm, __u32 id)
{
	const struct image *image = vm->image;

	if (!image || id >= image->nr_segments)
		return NULL;
	return image->files[image->segments[id].file].path;
}

int libvmem_open_image(struct libvmem **vm, const char *path,
		       struct libvmem_error *error)
{
	return libvmem_open_regions(vm, path, NULL, 0, error);
}

int libvmem_open_regions(struct libvmem **vm, const char *path,
			 const struct libvmem_region *regions, unsigned int nr,
			 struct libvmem_error *error)
{
	struct libvmem *new = new_vm(error);
	int ret;

	*vm = NULL;
	if (!new)
		return -LIBVMEM_NO_MEMORY;
	ret = image_open(&new->image, path, regions, nr, error);
	if (!ret)
		ret = offline_open(&new->offline, new->image, error);
	if (ret) {
		libvmem_close(new);
		return ret;
	}
	describe(new);
	*vm = new;
	return 0;
}

const struct libvmem_image *libvmem_image(const struct libvmem *vm)
{
	return vm->image ? &vm->about : NULL;
}

void libvmem_close(struct libvmem *vm)
{
	if (!vm)
		return;
	offline_close(vm->offline);
	image_close(vm->image);
	if (vm->dev >= 0)
		close(vm->dev);
	if (vm->pagemap >= 0)
		close(vm->pagemap);
	free(vm);
}

int ask(struct libvmem *vm, unsigned int cmd, void *args)
{
	int ret;

	if (vm->image)
		return offline_ask(vm->offline, cmd, args);
	/* A signal that came before anything was done. */
	do
		ret = ioctl(vm->dev, cmd, args);
	while (ret && errno == EINTR);
	return ret ? -errno : 0;
}

void *new_room(size_t len)
{
	void *room = malloc(len);

	/* Not zeros, which need no memory until they are read. */
	if (room)
		memset(room, 0xff, len);
	return room;
}
