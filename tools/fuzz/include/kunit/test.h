/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the helpers of the KUnit suites want of KUnit: memory that goes with the
 * test, which is the process here, and checks, which end it.
 */
#ifndef _FUZZ_KUNIT_TEST_H
#define _FUZZ_KUNIT_TEST_H

#include <fuzz/fuzz.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <stdlib.h>
#include <string.h>

struct kunit {
	const void *param_value;
};

#define GFP_KERNEL 0U
#define KUNIT_PARAM_DESC_SIZE 128

#define kunit_kzalloc(test, size, gfp) calloc(1, size)
#define kunit_kmalloc(test, size, gfp) malloc(size)
#define kunit_err(test, format, ...) fuzz_log(format "\n", ##__VA_ARGS__)

#define KUNIT_ASSERT_TRUE(test, cond) REQUIRE(cond)
#define KUNIT_ASSERT_FALSE(test, cond) REQUIRE(!(cond))
#define KUNIT_ASSERT_NOT_NULL(test, ptr) REQUIRE(ptr)
#define KUNIT_ASSERT_EQ(test, a, b) REQUIRE((a) == (b))
#define KUNIT_ASSERT_GE(test, a, b) REQUIRE((a) >= (b))
#define KUNIT_EXPECT_EQ(test, a, b) REQUIRE((a) == (b))
#define KUNIT_EXPECT_NE(test, a, b) REQUIRE((a) != (b))
#define KUNIT_EXPECT_GE(test, a, b) REQUIRE((a) >= (b))
#define KUNIT_EXPECT_LE(test, a, b) REQUIRE((a) <= (b))

/* The helpers ask this way whether there is room in their own arrays. */
#define KUNIT_ASSERT_LT(test, a, b)      \
	do {                             \
		if ((a) >= (b))          \
			fuzz_too_much(); \
	} while (0)

#define strscpy(to, from, size) ((void)snprintf(to, size, "%s", from))

#endif
