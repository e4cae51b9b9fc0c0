// SPDX-License-Identifier: GPL-2.0-only
/*
 * An answer as JSON, written value by value as it comes
 *
 * The writer knows what is open, so an error can end an answer anywhere, and leave it
 * whole. vmemctl.schema.json describes what the commands write.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "vmemctl.h"

/* Changes when a member goes, or means something else; new members may come. */
#define SHAPE_VERSION 1

/* Lists and objects in each other */
#define MAX_DEPTH 16

/* What is held back before the first value of a list; more is not kept. */
#define MAX_HELD 1024

/**
 * struct writer - where the answer is
 * @closers: what ends each list, object or string that is open
 * @depth: length of @closers; 0 outside of an answer
 * @has_member: for each of them, there is something in it
 * @held: what is held back, so that an error before the first row leaves stdout empty
 * @held_len: length of @held
 * @holds: nothing has been written yet
 * @expected: there has to be an answer, and there was none yet
 */
static struct writer {
	char closers[MAX_DEPTH];
	unsigned int depth;
	bool has_member[MAX_DEPTH + 1];
	char held[MAX_HELD];
	size_t held_len;
	bool holds;
	bool expected;
} writer;

static void release(void)
{
	out_bytes(writer.held, writer.held_len);
	writer.holds = false;
}

static void put(const char *text, size_t len)
{
	if (writer.holds && writer.held_len + len > sizeof(writer.held))
		release();
	if (!writer.holds) {
		out_bytes(text, len);
		return;
	}
	memcpy(writer.held + writer.held_len, text, len);
	writer.held_len += len;
}

static void put_text(const char *text)
{
	put(text, strlen(text));
}

/* The comma and the name before a value; @key is NULL in a list. */
static void put_key(const char *key)
{
	char buf[64];
	char *end = buf;

	if (writer.has_member[writer.depth])
		*end++ = ',';
	writer.has_member[writer.depth] = true;
	if (key) {
		*end++ = '"';
		end = stpcpy(end, key);
		end = stpcpy(end, "\":");
	}
	put(buf, end - buf);
}

static void open_with(const char *key, char opener, char closer)
{
	put_key(key);
	put(&opener, 1);
	writer.closers[writer.depth++] = closer;
	writer.has_member[writer.depth] = false;
}

void json_begin(const char *command)
{
	writer.holds = true;
	writer.held_len = 0;
	writer.has_member[0] = false;
	open_with(NULL, '{', '}');
	json_put_count("version", SHAPE_VERSION);
	json_put_name("command", command);
}

void json_open_object(const char *key)
{
	open_with(key, '{', '}');
}

void json_open_list(const char *key)
{
	open_with(key, '[', ']');
}

void json_open_row(const char *key, const char *type)
{
	if (writer.holds)
		release();
	open_with(key, '{', '}');
	json_put_name("type", type);
}

void json_open_bytes(const char *key)
{
	open_with(key, '"', '"');
}

void json_close(void)
{
	put(&writer.closers[--writer.depth], 1);
}

void json_put_bytes(const unsigned char *bytes, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	char text[1024];

	while (len) {
		size_t nr = len < sizeof(text) / 2 ? len : sizeof(text) / 2;

		for (size_t i = 0; i < nr; i++) {
			text[2 * i] = digits[bytes[i] >> 4];
			text[2 * i + 1] = digits[bytes[i] & 15];
		}
		put(text, 2 * nr);
		bytes += nr;
		len -= nr;
	}
}

void json_put_null(const char *key)
{
	put_key(key);
	put_text("null");
}

void json_put_bool(const char *key, bool value)
{
	put_key(key);
	put_text(value ? "true" : "false");
}

/* The digits of @value, which end at @end. */
static char *digits_of(__u64 value, unsigned int base, char *end)
{
	do {
		*--end = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	return end;
}

void json_put_hex(const char *key, __u64 value)
{
	char buf[20];
	char *end = buf + sizeof(buf);
	char *at;

	*--end = '"';
	at = digits_of(value, 16, end);
	*--at = 'x';
	*--at = '0';
	*--at = '"';
	put_key(key);
	put(at, end + 1 - at);
}

void json_put_count(const char *key, __u64 nr)
{
	char buf[20];
	char *end = buf + sizeof(buf);
	char *at = digits_of(nr < INT64_MAX ? nr : INT64_MAX, 10, end);

	put_key(key);
	put(at, end - at);
}

void json_put_name(const char *key, const char *name)
{
	put_key(key);
	if (!name) {
		put_text("null");
		return;
	}
	put_text("\"");
	put_text(name);
	put_text("\"");
}

void json_put_text(const char *key, const char *text)
{
	json_t *value = text ? json_string(text) : NULL;
	char *dump = value ? json_dumps(value, JSON_ENCODE_ANY) : NULL;

	put_key(key);
	put_text(dump ?: "null");
	free(dump);
	json_decref(value);
}

void json_put_hex_if(const char *key, bool has, __u64 value)
{
	if (has)
		json_put_hex(key, value);
	else
		json_put_null(key);
}

void json_put_count_if(const char *key, bool has, __u64 nr)
{
	if (has)
		json_put_count(key, nr);
	else
		json_put_null(key);
}

void json_put_bool_if(const char *key, bool has, bool value)
{
	if (has)
		json_put_bool(key, value);
	else
		json_put_null(key);
}

void json_end(void)
{
	json_put_null("error");
	json_close();
	put_text("\n");
	if (writer.holds)
		release();
	writer.expected = false;
}

void json_expect(void)
{
	writer.expected = true;
}

void json_fail(const char *message, const char *advice)
{
	if (writer.holds)
		writer.depth = 0;
	writer.holds = false;
	if (!writer.depth && writer.expected)
		json_begin("batch");
	if (!writer.depth)
		return;
	writer.expected = false;
	while (writer.depth > 1)
		json_close();
	json_open_object("error");
	json_put_text("message", message);
	json_put_text("advice", advice && advice[0] ? advice : NULL);
	json_close();
	json_close();
	put_text("\n");
	if (writer.holds)
		release();
}
