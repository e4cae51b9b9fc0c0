// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pages that are packed, each on its own
 *
 * Nothing in them is trusted: the libraries' functions are those that check bounds.
 */
#include <errno.h>
#include <lzo/lzo1x.h>
#include <stdbool.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "unpack.h"

#define PACKED_ZLIB 0x1
#define PACKED_LZO 0x2
#define PACKED_SNAPPY 0x4
#define PACKED_ZSTD 0x20
#define PACKED (PACKED_ZLIB | PACKED_LZO | PACKED_SNAPPY | PACKED_ZSTD)

static int unpack_zlib(const unsigned char *src, size_t len,
		       unsigned char *page, size_t size)
{
	unsigned long got = size;
	int ret = uncompress(page, &got, src, len);

	if (ret == Z_MEM_ERROR)
		return -ENOMEM;
	return ret == Z_OK && got == size ? 0 : -EIO;
}

static int unpack_lzo(const unsigned char *src, size_t len, unsigned char *page,
		      size_t size)
{
	lzo_uint got = size;
	int ret = lzo1x_decompress_safe(src, len, page, &got, NULL);

	return ret == LZO_E_OK && got == size ? 0 : -EIO;
}

static int unpack_zstd(const unsigned char *src, size_t len,
		       unsigned char *page, size_t size)
{
	ZSTD_DCtx *context = ZSTD_createDCtx();
	size_t got;

	if (!context)
		return -ENOMEM;
	got = ZSTD_decompressDCtx(context, page, size, src, len);
	ZSTD_freeDCtx(context);
	return got == size ? 0 : -EIO;
}

/* ---- Snappy, whose library is in C++ ---- */

/**
 * struct snappy - a page that is being unpacked
 * @src: the next byte of what is packed
 * @src_end: its end
 * @page: the page
 * @dst: its next byte
 * @dst_end: its end
 */
struct snappy {
	const unsigned char *src;
	const unsigned char *src_end;
	const unsigned char *page;
	unsigned char *dst;
	unsigned char *dst_end;
};

/* A number of @nr bytes, little endian */
static bool take_number(struct snappy *s, unsigned int nr, size_t *number)
{
	*number = 0;
	if (nr > s->src_end - s->src)
		return false;
	for (unsigned int i = 0; i < nr; i++)
		*number |= (size_t)*s->src++ << 8 * i;
	return true;
}

/* The unpacked size: 7 bits in a byte, which are of a page at most two */
static bool take_size(struct snappy *s, size_t *size)
{
	size_t low, high = 0;

	if (!take_number(s, 1, &low) ||
	    (low & 0x80 && !take_number(s, 1, &high)))
		return false;
	*size = (low & 0x7f) | high << 7;
	return high < 0x80;
}

/* Bytes as they are, of which the length is in @tag or behind it */
static bool take_literal(struct snappy *s, unsigned int tag)
{
	size_t len = tag >> 2;

	if (len >= 60 && !take_number(s, len - 59, &len))
		return false;
	if (len >= (size_t)(s->src_end - s->src) ||
	    len >= (size_t)(s->dst_end - s->dst))
		return false;
	memcpy(s->dst, s->src, len + 1);
	s->src += len + 1;
	s->dst += len + 1;
	return true;
}

/* Bytes that were there before, which may be among those that are copied */
static bool take_copy(struct snappy *s, unsigned int tag)
{
	static const unsigned int offset_bytes[] = { [1] = 1, [2] = 2, [3] = 4 };
	unsigned int type = tag & 3;
	size_t len = type == 1 ? (tag >> 2 & 7) + 4 : (tag >> 2) + 1;
	size_t offset;

	if (!take_number(s, offset_bytes[type], &offset))
		return false;
	if (type == 1)
		offset |= (size_t)(tag >> 5) << 8;
	if (!offset || offset > (size_t)(s->dst - s->page) ||
	    len > (size_t)(s->dst_end - s->dst))
		return false;
	for (; len; len--, s->dst++)
		*s->dst = s->dst[-(ptrdiff_t)offset];
	return true;
}

static int unpack_snappy(const unsigned char *src, size_t len,
			 unsigned char *page, size_t size)
{
	struct snappy s = {
		.src = src,
		.src_end = src + len,
		.page = page,
		.dst = page,
		.dst_end = page + size,
	};
	size_t told, tag;

	if (!take_size(&s, &told) || told != size)
		return -EIO;
	while (take_number(&s, 1, &tag))
		if (!(tag & 3 ? take_copy(&s, tag) : take_literal(&s, tag)))
			return -EIO;
	return s.dst == s.dst_end ? 0 : -EIO;
}

int unpack(__u32 flags, const unsigned char *src, size_t len,
	   unsigned char *page, size_t size)
{
	switch (flags & PACKED) {
	case 0:
		if (len != size)
			return -EIO;
		memcpy(page, src, size);
		return 0;
	case PACKED_ZLIB:
		return unpack_zlib(src, len, page, size);
	case PACKED_LZO:
		return unpack_lzo(src, len, page, size);
	case PACKED_SNAPPY:
		return unpack_snappy(src, len, page, size);
	case PACKED_ZSTD:
		return unpack_zstd(src, len, page, size);
	default:
		return -EIO;
	}
}
