// SPDX-License-Identifier: GPL-2.0-only
/*
 * A captured guest: an ELF core as QEMU's dump-guest-memory writes it, and its
 * registers and address spaces in a file of JSON beside it
 */
#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "guest.h"

static GElf_Phdr load_segment(Elf *elf, size_t index)
{
	GElf_Phdr phdr;

	if (!gelf_getphdr(elf, index, &phdr))
		die("bad program header: %s", elf_errmsg(-1));
	if (phdr.p_type != PT_LOAD)
		phdr.p_filesz = 0;
	return phdr;
}

/* Where its memory ends; the firmware and devices that lie higher are left. */
static u64 end_of_memory(Elf *elf, size_t nr)
{
	GElf_Phdr phdr, largest = {};
	size_t i;

	for (i = 0; i < nr; i++) {
		phdr = load_segment(elf, i);
		if (phdr.p_filesz > largest.p_filesz)
			largest = phdr;
	}
	if (!largest.p_filesz)
		die("the core holds no memory");
	return largest.p_paddr + largest.p_filesz;
}

static void read_segment(struct guest *guest, int fd, const GElf_Phdr *phdr)
{
	u64 done = 0;
	ssize_t n;

	while (done < phdr->p_filesz) {
		n = pread(fd, guest->memory + phdr->p_paddr + done,
			  phdr->p_filesz - done, phdr->p_offset + done);
		if (n <= 0)
			die("the core is truncated");
		done += n;
	}
}

static struct guest *read_core(int fd, u64 spare)
{
	Elf *elf = (elf_version(EV_CURRENT), elf_begin(fd, ELF_C_READ, NULL));
	struct guest *guest;
	GElf_Phdr phdr;
	size_t nr, i;
	u64 end;

	if (!elf || elf_getphdrnum(elf, &nr))
		die("no ELF core: %s", elf_errmsg(-1));
	end = end_of_memory(elf, nr);
	guest = guest_new(end + spare);
	guest->next = end;
	for (i = 0; i < nr; i++) {
		phdr = load_segment(elf, i);
		if (phdr.p_filesz && phdr.p_paddr < end)
			read_segment(guest, fd, &phdr);
	}
	elf_end(elf);
	return guest;
}

static u64 get_integer(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	if (!json_is_integer(value))
		die("guest.json has no number \"%s\"", key);
	return json_integer_value(value);
}

static void read_registers(struct guest *guest, const json_t *json)
{
	const json_t *regs = json_object_get(json, "regs");
	const json_t *cr3s = json_object_get(json, "cr3s");
	const char *name = json_string_value(json_object_get(json, "guest"));
	size_t i;

	guest->regs = (struct vmem_regs){
		.cr0 = get_integer(regs, "cr0"),
		.cr4 = get_integer(regs, "cr4"),
		.efer = get_integer(regs, "efer"),
		.maxphyaddr = get_integer(regs, "maxphyaddr"),
	};
	guest_add_space(guest, get_integer(regs, "cr3") & ADDRESS);
	for (i = 0; i < json_array_size(cr3s); i++)
		guest_add_space(guest,
				json_integer_value(json_array_get(cr3s, i)) &
					ADDRESS);
	if (name)
		guest->name = strdup(name);
}

struct guest *guest_load(const char *dir, u64 spare)
{
	char path[PATH_MAX];
	json_error_t error;
	struct guest *guest;
	json_t *json;
	int fd;

	snprintf(path, sizeof(path), "%s/guest.json", dir);
	json = json_load_file(path, 0, &error);
	if (!json)
		die("%s: %s", path, error.text);
	snprintf(path, sizeof(path), "%s/guest.elf", dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die("cannot open %s: %s", path, strerror(errno));
	guest = read_core(fd, spare);
	close(fd);
	read_registers(guest, json);
	json_decref(json);
	return guest;
}
