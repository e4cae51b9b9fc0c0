/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Pages that are packed, each on its own
 */
#ifndef UNPACK_H
#define UNPACK_H

#include <linux/types.h>
#include <stddef.h>

/**
 * unpack - unpack a page of a kdump-compressed dump
 * @flags: how it is packed, as its descriptor says; 0 if it is not
 * @src: the packed page
 * @len: bytes of @src
 * @page: set
 * @size: bytes of @page
 *
 * Return: 0; -EIO if it is damaged, or packed in an unknown way; -ENOMEM.
 */
int unpack(__u32 flags, const unsigned char *src, size_t len,
	   unsigned char *page, size_t size);

#endif
