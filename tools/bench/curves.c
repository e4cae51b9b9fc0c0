// SPDX-License-Identifier: GPL-2.0-only
/*
 * How time grows: with the number of spaces, of leaves, of entries that share a
 * table, and with the size of the guest; and how it falls with the size of a
 * batch. A point is a median.
 */
#include <stdlib.h>

#include "addresses.h"
#include "native.h"

#define ROUNDS 9
#define SAMPLE_NS 1e6

#define TIME "time (us)"

#define NR(array) (sizeof(array) / sizeof(*(array)))

/**
 * struct curve - points being gathered
 * @json: the curve
 * @series: for each contender, its points
 */
struct curve {
	json_t *json;
	json_t *series[MAX_CONTENDERS];
};

/**
 * struct curve_text - what a curve is of
 * @id: for programs
 * @title: for people
 * @x_label: with its unit
 * @x_scale: "log" or "linear"
 * @y_label: with its unit
 * @y_scale: likewise
 */
struct curve_text {
	const char *id;
	const char *title;
	const char *x_label;
	const char *x_scale;
	const char *y_label;
	const char *y_scale;
};

static const struct curve_text roots_text = {
	"curve-roots", "a Debian guest's spaces, and copies of them",
	"spaces",      "log",
	TIME,	       "log",
};

static const struct curve_text tables_text = {
	"curve-tables",
	"the same, by what is not shared",
	"distinct tables",
	"linear",
	TIME,
	"linear",
};

static const struct curve_text leaves_text = {
	"curve-leaves", "one space of 4 KiB pages", "leaves", "log", TIME,
	"log",
};

static const struct curve_text sharing_text = {
	"curve-sharing",
	"one full page table, named by many entries",
	"entries that name it",
	"log",
	TIME,
	"log",
};

static const struct curve_text size_text = {
	"curve-size",
	"1,000 tables, spread over the guest's memory",
	"guest memory (GiB)",
	"log",
	TIME,
	"linear",
};

static const struct curve_text batch_text = {
	"curve-batch",		"random addresses of a Debian guest",
	"addresses in a batch", "log",
	"time (ns/address)",	"linear",
};

static struct curve curve_begin(const struct curve_text *text)
{
	json_t *json = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:[]}", "id",
				 text->id, "title", text->title, "x_label",
				 text->x_label, "x_scale", text->x_scale,
				 "y_label", text->y_label, "y_scale",
				 text->y_scale, "series");

	return (struct curve){ .json = json };
}

/* The points of a contender so far. */
static json_t *points_of(struct curve *curve, int i, const char *name)
{
	json_t *all = json_object_get(curve->json, "series");
	json_t *series;

	if (!curve->series[i]) {
		curve->series[i] = json_array();
		series = json_pack("{s:s, s:o}", "name", name, "points",
				   curve->series[i]);
		json_array_append_new(all, series);
	}
	return curve->series[i];
}

/* A point for each contender, the @first of whom is not its first here. */
static void curve_add(struct curve *curve, int first,
		      const struct measurement *m, double x)
{
	static const struct effort effort = { ROUNDS, SAMPLE_NS };
	double medians[MAX_CONTENDERS];
	json_t *points;
	int i;

	measure_medians(m, &effort, medians);
	for (i = 0; i < MAX_CONTENDERS && m->contenders[i].name; i++) {
		points = points_of(curve, first + i, m->contenders[i].name);
		json_array_append_new(points, json_pack("[f, f]", x,
							medians[i] / m->per));
	}
}

static void curve_end(struct bench *bench, struct curve *curve)
{
	json_array_append_new(bench->out, curve->json);
}

/* Vmem's walk over spaces, and the minimal walk that knows sharing. */
static struct measurement of_sharing(struct spaces_case *c)
{
	return (struct measurement){
		.id = "curve",
		.per = 1e3,
		.priv = c,
		.contenders = {
			{ "vmem", run_core_spaces, c->answer },
			{ "minimal C walk that knows sharing", run_floor_spaces,
			  c->answer },
		},
	};
}

/* And the one that does not. */
static struct measurement of_expanding(struct spaces_case *c)
{
	struct measurement m = of_sharing(c);

	m.contenders[2] = (struct contender){ "minimal C walk that expands",
					      run_floor_rows, c->rows_answer };
	return m;
}

/* The captured spaces come first, and then copies of them in turn. */
static void add_spaces(struct guest *guest, u32 nr, u32 captured)
{
	while (guest->nr_spaces < nr) {
		u32 like = guest->nr_spaces % captured;

		guest_clone_space(guest, guest->spaces[like]);
	}
}

static void roots_curve(struct bench *bench, struct guest *guest)
{
	static const u32 points[] = { 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000 };
	struct curve by_roots = curve_begin(&roots_text);
	struct curve by_tables = curve_begin(&tables_text);
	u32 captured = guest->nr_spaces;

	for (size_t i = 0; i < NR(points); i++) {
		struct spaces_case c;
		struct measurement m;

		add_spaces(guest, points[i], captured);
		spaces_case_init(&c, guest, points[i]);
		spaces_case_expand(&c);
		m = of_expanding(&c);
		curve_add(&by_roots, 0, &m, points[i]);
		m = of_sharing(&c);
		curve_add(&by_tables, 0, &m, c.tables);
		spaces_case_destroy(&c);
	}
	guest->nr_spaces = captured;
	curve_end(bench, &by_roots);
	curve_end(bench, &by_tables);
}

static struct guest *full_tables(u32 tables, bool scattered)
{
	struct guest *guest = guest_new(16ULL << 30);
	u64 root = guest_new_space(guest);
	u64 random = 1;
	u64 i, at;

	for (i = 0; i < (u64)tables * ENTRIES; i++) {
		at = scattered ? random_next(&random) % guest->size : i << 12;
		*guest_entry(guest, root, i << 12, VMEM_LEVEL_PT) =
			(at & ADDRESS) | ALL_RIGHTS;
	}
	return guest;
}

static void leaves_point(struct curve *curve, u32 tables, bool scattered)
{
	struct guest *guest = full_tables(tables, scattered);
	struct spaces_case c;
	struct measurement m = { .id = "curve", .per = 1e3, .priv = &c };

	spaces_case_init(&c, guest, 1);
	spaces_case_expand(&c);
	m.contenders[0] = (struct contender){ scattered ?
						      "vmem, pages scattered" :
						      "vmem, pages contiguous",
					      run_core_rows, c.rows_answer };
	m.contenders[1] =
		(struct contender){ scattered ? "minimal C walk, scattered" :
						"minimal C walk, contiguous",
				    run_floor_rows, c.rows_answer };
	curve_add(curve, 2 * scattered, &m, tables * ENTRIES);
	spaces_case_destroy(&c);
	guest_free(guest);
}

static void leaves_curve(struct bench *bench)
{
	struct curve curve = curve_begin(&leaves_text);

	for (u32 tables = 1; tables <= 4096; tables *= 4) {
		leaves_point(&curve, tables, false);
		leaves_point(&curve, tables, true);
	}
	curve_end(bench, &curve);
}

static struct guest *shared_table(u32 entries)
{
	struct guest *guest = full_tables(1, true);
	u64 table = *guest_entry(guest, guest->spaces[0], 0, VMEM_LEVEL_PD);
	u64 i;

	for (i = 1; i < entries; i++)
		*guest_entry(guest, guest->spaces[0], i << 21, VMEM_LEVEL_PD) =
			table;
	return guest;
}

static void sharing_curve(struct bench *bench)
{
	struct curve curve = curve_begin(&sharing_text);

	for (u32 entries = 1; entries <= 16384; entries *= 2) {
		struct guest *guest = shared_table(entries);
		struct spaces_case c;
		struct measurement m;

		spaces_case_init(&c, guest, 1);
		spaces_case_expand(&c);
		m = of_expanding(&c);
		curve_add(&curve, 0, &m, entries);
		spaces_case_destroy(&c);
		guest_free(guest);
	}
	curve_end(bench, &curve);
}

/* As many tables in a guest of any size, spread over all of it. */
static struct guest *spread_tables(u64 size)
{
	const u32 tables = 1000, leaves = 64;
	struct guest *guest = guest_new(size);
	u64 random = 1;
	u64 i, root;

	guest->stride = size / (tables + 16) & VMEM_PAGE_MASK;
	root = guest_new_space(guest);
	for (i = 0; i < tables * leaves; i++) {
		u64 va = (i / leaves) << 21 | (random_next(&random) & 0x1ff000);

		*guest_entry(guest, root, va, VMEM_LEVEL_PT) =
			(random_next(&random) % size & ADDRESS) | ALL_RIGHTS;
	}
	return guest;
}

static void size_curve(struct bench *bench)
{
	struct curve curve = curve_begin(&size_text);

	for (u64 mib = 512; mib <= 65536; mib *= 2) {
		struct guest *guest = spread_tables(mib << 20);
		struct spaces_case c;
		struct measurement m;

		spaces_case_init(&c, guest, 1);
		m = of_sharing(&c);
		curve_add(&curve, 0, &m, mib / 1024.0);
		spaces_case_destroy(&c);
		guest_free(guest);
	}
	curve_end(bench, &curve);
}

static void batch_curve(struct bench *bench, struct guest *guest)
{
	struct curve curve = curve_begin(&batch_text);
	struct translate_case *c = translate_case_new(guest);

	for (c->batch = 1; c->batch <= MAX_BATCH; c->batch *= 4) {
		struct measurement m;

		c->brief = false;
		m = of_translation(c);
		m.contenders[0].name = "vmem, with paths";
		curve_add(&curve, 0, &m, c->batch);

		c->brief = true;
		m = of_translation(c);
		m.contenders[0].name = "vmem, without paths";
		m.contenders[1].name = NULL;
		curve_add(&curve, 2, &m, c->batch);
	}
	free(c);
	curve_end(bench, &curve);
}

void bench_curves(struct bench *bench, struct guest *captured)
{
	if (!bench_wants(bench, "curve"))
		return;
	fputs("bench: curves...\n", stderr);
	if (captured)
		roots_curve(bench, captured);
	leaves_curve(bench);
	sharing_curve(bench);
	size_curve(bench);
	if (captured)
		batch_curve(bench, captured);
}
