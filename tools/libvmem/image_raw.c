// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory as it is, and files that are something else
 *
 * Nothing in raw memory says what it is. So whatever has a known beginning is refused by
 * its name, unless regions say where memory is in it.
 */
#include <endian.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "image.h"

#define PAGE_BYTES 4096ull

/* ---- What it is instead ---- */

#define UNPACK "unpack it first"
#define NO_MEMORY "it holds no memory of a guest: dump the guest"
#define AS_ELF "dump it as ELF, without -z, -l, -s, -w"
#define AS_RAW "export it as raw memory"
#define WINDOWS \
	"dump the guest as ELF, without -w; one that Windows wrote has to be converted to raw memory"
#define COMPRESSED "its memory is compressed: convert it to raw memory"
#define SAVED "restore it, and use virsh dump --memory-only"
#define VMEM \
	"give the .vmem file beside it, with --hole c0000000 if it has more than 3 GiB"

/**
 * struct magic - how files of a format begin, or end
 * @offset: where; if it is negative, from the end of the file
 * @len: bytes of @bytes
 * @bytes: what is there
 * @name: the format
 * @advice: what to do
 */
static const struct magic {
	__s64 offset;
	size_t len;
	const char *bytes;
	const char *name;
	const char *advice;
} magics[] = {
#define AT(offset, bytes, name, advice)                        \
	{                                                      \
		offset, sizeof(bytes) - 1, bytes, name, advice \
	}
	AT(0, "DISKDUMP", "diskdump", AS_ELF),
	AT(0, "sadump\0\0", "a sadump partition",
	   "convert it with makedumpfile -E"),
	AT(0, "\xed\x23\x8f\x61\x73\x01\x19\xa8", "an LKCD dump", AS_RAW),
	AT(0, "\xcd\x23\x8f\x61\x73\x01\x19\xa8", "an LKCD dump", AS_RAW),
	AT(0, "minidump FreeBSD/", "a FreeBSD minidump", NO_MEMORY),
	AT(0, "FreeBSD Kernel Dump", "a FreeBSD dump device", AS_RAW),
	AT(0, "PAGEDU64", "a Windows crash dump", WINDOWS),
	AT(0, "PAGEDUMP", "a Windows crash dump", WINDOWS),
	AT(0, "MDMP", "a Windows minidump", NO_MEMORY),
	AT(0, "HIBR", "a Windows hibernation file", COMPRESSED),
	AT(0, "hibr", "a Windows hibernation file", COMPRESSED),
	AT(0, "WAKE", "a Windows hibernation file", COMPRESSED),
	AT(0, "wake", "a Windows hibernation file", COMPRESSED),
	AT(0, "RSTR", "a Windows hibernation file", COMPRESSED),
	AT(0, "rstr", "a Windows hibernation file", COMPRESSED),
	AT(4086, "S1SUSPEND", "a Linux hibernation image", COMPRESSED),
	AT(4086, "S2SUSPEND", "a Linux hibernation image", COMPRESSED),
	AT(4086, "ULSUSPEND", "a Linux hibernation image", COMPRESSED),
	AT(4086, "LINHIB0001", "a Linux hibernation image", COMPRESSED),
	AT(4086, "SWAPSPACE2", "Linux swap space", NO_MEMORY),
	AT(4086, "SWAP-SPACE", "Linux swap space", NO_MEMORY),
	AT(0, "QEVM", "a QEMU migration stream",
	   "dump the guest with dump-guest-memory"),
	AT(0, "LibvirtQemudSave", "a libvirt save file", SAVED),
	AT(0, "LibvirtQemudPart", "an unfinished libvirt save file", SAVED),
	AT(0, "libvirt-xml\n", "a libvirt save file of Xen", SAVED),
	AT(0, "AVML", "AVML's compressed format",
	   "convert it to LiME with avml-convert"),
	AT(0, "HPAK", "FDPro's HPAK", "say where its PHYSDUMP is"),
	AT(0, "\xd0\xbe\xd2\xbe", "VMware state", VMEM),
	AT(0, "\xd1\xba\xd1\xba", "VMware state", VMEM),
	AT(0, "\xd2\xbe\xd2\xbe", "VMware state", VMEM),
	AT(0, "\xd3\xbe\xd3\xbe", "VMware state", VMEM),
	AT(0, "\x14\x20\x28\x01", "Hyper-V state", AS_RAW),
	AT(0, "\x7fVirtualBox SavedState", "a VirtualBox saved state",
	   "use VBoxManage debugvm dumpvmcore"),
	AT(0, "Xen saved domain", "a Xen save file", "restore it and dump it"),
	AT(0, "LibxlFmt", "a Xen save file", "restore it and dump it"),
	AT(0, "\xff\xff\xff\xff\xff\xff\xff\xffXENF", "a Xen migration stream",
	   "restore it and dump it"),
	AT(0, "EVF\x09\x0d\x0a\xff\x00", "an EWF image", AS_RAW),
	AT(0, "EVF2\x0d\x0a\x81\x00", "an EWF image", AS_RAW),
	AT(0, "LVF\x09\x0d\x0a\xff\x00", "an EWF image", AS_RAW),
	AT(0, "LEF2\x0d\x0a\x81\x00", "an EWF image", AS_RAW),
	AT(0, "AFF10\x0d\x0a\x00", "an AFF image", AS_RAW),
	AT(0, "ADSEGMENTEDFILE", "an AD1 image", AS_RAW),
	AT(0, "\xcf\xfa\xed\xfe", "a Mach-O file", NO_MEMORY),
	AT(0, "\xce\xfa\xed\xfe", "a Mach-O file", NO_MEMORY),
	AT(0, "QFI\xfb", "a qcow2 disk", NO_MEMORY),
	AT(0, "QED\x00", "a QED disk", NO_MEMORY),
	AT(0, "KDMV", "a VMDK disk", NO_MEMORY),
	AT(0, "COWD", "a VMDK disk", NO_MEMORY),
	AT(0, "# Disk DescriptorFile", "a VMDK disk", NO_MEMORY),
	AT(64, "\x7f\x10\xda\xbe", "a VDI disk", NO_MEMORY),
	AT(0, "vhdxfile", "a VHDX disk", NO_MEMORY),
	AT(0, "conectix", "a VHD disk", NO_MEMORY),
	/* Of a fixed size, and one by an old writer */
	AT(-512, "conectix", "a VHD disk", NO_MEMORY),
	AT(-511, "conectix", "a VHD disk", NO_MEMORY),
	AT(-512, "koly\x00\x00\x00\x04", "a DMG disk", NO_MEMORY),
	AT(0, "WithoutFreeSpace", "a Parallels disk", NO_MEMORY),
	AT(0, "WithouFreSpacExt", "a Parallels disk", NO_MEMORY),
	AT(0, "Bochs Virtual HD Image", "a Bochs disk", NO_MEMORY),
	AT(0, "LUKS\xba\xbe", "a LUKS disk", NO_MEMORY),
	AT(512, "EFI PART", "a disk with a GPT", NO_MEMORY),
	AT(3, "NTFS    ", "an NTFS file system", NO_MEMORY),
	AT(32769, "CD001", "an ISO 9660 file system", NO_MEMORY),
	AT(0, "hsqs", "a squashfs file system", NO_MEMORY),
	AT(0, "SQLite format 3\x00", "an SQLite database", NO_MEMORY),
	AT(0, "Salted__", "encrypted with openssl", "decrypt it first"),
	AT(0, "\x1f\x8b\x08", "compressed with gzip", UNPACK),
	AT(0, "\x1f\x9d\x90", "compressed with compress", UNPACK),
	AT(4, "\x31\x41\x59\x26\x53\x59", "compressed with bzip2", UNPACK),
	AT(0, "\3757zXZ\x00", "compressed with xz", UNPACK),
	AT(5, "\xff\xff\xff\xff\xff\xff\xff\xff\x00", "compressed with lzma",
	   UNPACK),
	AT(0, "\x28\xb5\x2f\xfd", "compressed with zstd", UNPACK),
	AT(0, "\x50\x2a\x4d\x18", "compressed with pzstd", UNPACK),
	AT(0, "\x04\x22\x4d\x18", "compressed with lz4", UNPACK),
	AT(0, "\x02\x21\x4c\x18", "compressed with lz4", UNPACK),
	AT(0, "\x89LZO\x00\x0d\x0a\x1a\x0a", "compressed with lzop", UNPACK),
	AT(0, "\xff\x06\x00\x00sNaPpY", "compressed with snappy", UNPACK),
	AT(0, "LZIP\x01", "compressed with lzip", UNPACK),
	AT(0, "LRZI\x00", "compressed with lrzip", UNPACK),
	AT(0, "PK\x03\x04", "a zip archive", UNPACK),
	AT(0, "PK\x07\x08", "a zip archive", UNPACK),
	AT(0, "7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
	AT(0, "Rar!\x1a\x07", "a RAR archive", UNPACK),
	AT(0, "MSCF\x00\x00\x00\x00", "a cabinet archive", UNPACK),
	AT(0, "!<arch>\n", "an ar archive", UNPACK),
	AT(0, "070701", "a cpio archive", UNPACK),
	AT(0, "070702", "a cpio archive", UNPACK),
	AT(0, "070707", "a cpio archive", UNPACK),
	AT(257, "ustar", "a tar archive", UNPACK),
#undef AT
};

static int check_magics(const struct image *image, struct libvmem_error *error)
{
	const struct image_file *file = image->files;
	char what[128];

	for (size_t i = 0; i < ARRAY_SIZE(magics); i++) {
		const struct magic *magic = &magics[i];
		size_t at =
			magic->offset + (magic->offset < 0 ? file->size : 0);

		if (at > file->size || file->size - at < magic->len ||
		    memcmp(file->map + at, magic->bytes, magic->len))
			continue;
		snprintf(what, sizeof(what), "is not raw memory, but %s",
			 magic->name);
		return refuse(
			image, error, what,
			"%s; if it is memory nevertheless, say so with --region",
			magic->advice);
	}
	return 0;
}

/* ---- LiME: each range of memory with a header ---- */

#define LIME_MAGIC 0x4c694d45
#define LIME_VERSION 1

/**
 * struct lime_header - what is before a range, little endian
 * @magic: LIME_MAGIC
 * @version: LIME_VERSION
 * @first: guest-physical address of the first byte
 * @last: and of the last one
 * @reserved: 0
 */
struct lime_header {
	__u32 magic;
	__u32 version;
	__u64 first;
	__u64 last;
	__u64 reserved;
};

static bool is_lime(const struct image *image)
{
	__u32 magic;

	if (image->files->size < sizeof(struct lime_header))
		return false;
	memcpy(&magic, image->files->map, sizeof(magic));
	return le32toh(magic) == LIME_MAGIC;
}

static int check_header(const struct image *image,
			const struct lime_header *header, __u64 offset,
			struct libvmem_error *error)
{
	__u64 first = le64toh(header->first), last = le64toh(header->last);

	if (le32toh(header->magic) == LIME_MAGIC &&
	    le32toh(header->version) != LIME_VERSION)
		return refuse(image, error,
			      "is of another version of LiME's format",
			      "the range at %#llx has version %u", offset,
			      le32toh(header->version));
	if (le32toh(header->magic) != LIME_MAGIC)
		return refuse(image, error, "is damaged",
			      "there is no range of LiME's at %#llx", offset);
	if (last < first || last - first == ~0ull)
		return refuse(
			image, error, "is damaged",
			"the range at %#llx ends at %#llx and begins at %#llx",
			offset, last, first);
	return 0;
}

/* Behind the last one there may be zeros. */
static int read_lime(struct image *image, struct libvmem_error *error)
{
	const struct image_file *file = image->files;
	struct lime_header header;
	__u64 offset = 0;

	image->format = "lime";
	while (file->size - offset >= sizeof(header)) {
		struct image_segment s = { .number = image->nr_segments };
		int ret;

		memcpy(&header, file->map + offset, sizeof(header));
		if (offset &&
		    image_is_zero(file->map + offset, file->size - offset))
			break;
		ret = check_header(image, &header, offset, error);
		if (ret)
			return ret;
		s.gpa = le64toh(header.first);
		s.len = le64toh(header.last) - s.gpa + 1;
		s.file_len = s.len;
		s.offset = offset + sizeof(header);
		ret = image_add(image, &s, error);
		if (ret)
			return ret;
		/* Too long a one is refused with all others. */
		if (!s.len || s.len > file->size - s.offset)
			break;
		offset = s.offset + s.len;
	}
	return 0;
}

/* ---- As it is ---- */

static int find_file(struct image *image, const char *path, unsigned int *file,
		     struct libvmem_error *error)
{
	*file = 0;
	if (!path)
		return 0;
	while (*file < image->nr_files &&
	       strcmp(path, image->files[*file].path))
		++*file;
	return *file < image->nr_files ? 0 : image_add_file(image, path, error);
}

/* "there is no memory for the region at 0x1000: ..." */
__printf(4, 5) static int refuse_region(const struct libvmem_region *region,
					struct libvmem_error *error,
					const char *advice, const char *fmt,
					...)
{
	char why[LIBVMEM_MESSAGE_SIZE / 2];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	return error_set(error, LIBVMEM_BAD_IMAGE, STEP_IMAGE, region->gpa,
			 advice,
			 "there is no memory for the region at %#llx: %s",
			 region->gpa, why);
}

/* A page that is there in part is none. */
static int add_region(struct image *image, const struct libvmem_region *region,
		      unsigned int number, struct libvmem_error *error)
{
	struct image_segment s = {
		.gpa = region->gpa,
		.len = region->len,
		.offset = region->offset,
		.number = number,
	};
	int ret = find_file(image, region->path, &s.file, error);
	const struct image_file *file;
	__u64 there;

	if (ret)
		return ret;
	file = &image->files[s.file];
	there = s.offset < file->size ? file->size - s.offset : 0;
	if (!s.len)
		s.len = there & -PAGE_BYTES;
	s.file_len = s.len;
	if (s.gpa % PAGE_BYTES || s.len % PAGE_BYTES)
		return refuse_region(region, error,
				     "give whole pages: multiples of 1000",
				     "it begins or ends within a page");
	if (s.gpa >> 52 || s.len > (1ull << 52) - s.gpa)
		return refuse_region(region, error, "give another GPA or LEN",
				     "guest-physical addresses are narrower");
	if (!s.len || s.len > there)
		return refuse_region(
			region, error, "give another LEN or OFFSET",
			"from %#llx on, the file %s has %#llx bytes", s.offset,
			file->path, there);
	return image_add(image, &s, error);
}

int image_read_raw(struct image *image, const struct libvmem_region *regions,
		   unsigned int nr, struct libvmem_error *error)
{
	static const struct libvmem_region all;
	int ret;

	if (!nr && is_lime(image))
		return read_lime(image, error);
	image->format = "raw";
	if (!nr) {
		ret = check_magics(image, error);
		if (!ret && image->files->size < PAGE_BYTES)
			ret = refuse(image, error, "holds no memory",
				     "it is shorter than a page");
		return ret ? ret : add_region(image, &all, 0, error);
	}
	for (unsigned int i = 0; i < nr; i++) {
		ret = add_region(image, &regions[i], i, error);
		if (ret)
			return ret;
	}
	return 0;
}
