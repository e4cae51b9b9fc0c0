// SPDX-License-Identifier: GPL-2.0-only
/*
 * A map of one space: an SVG of a row for each region, with the gaps between them cut
 */
#include <stdlib.h>

#include "graph.h"

/* More is no space of use */
#define MAX_PIECES 1048576

/* In each half of the addresses: how many regions, and the gaps that may be between */
#define MAX_REGIONS_OF_HALF 16
#define MIN_GAP 1048576ull

/* In pixels: a bar is BAR_BIT long for each power of two beyond 2 KiB. */
#define ROW 24
#define TOP_ROWS 84
#define HALF 26
#define LEGEND 70
#define WIDTH 1190
#define X_ADDRESS 84
#define X_MAPPED 388
#define X_BAR 400
#define BAR_BIT 12
#define MAX_BAR (25 * BAR_BIT)
#define RIGHTS_WIDTH 110
#define X_RIGHTS 712
#define X_PAGES 1120

/**
 * struct piece - neighbours with the same rights, of pages of one size
 * @va: first address
 * @last_va: last address
 * @page_size: of its pages
 * @rights: as in struct amount
 * @nr: the mappings that it is made of
 * @cut: it begins a region
 */
struct piece {
	__u64 va;
	__u64 last_va;
	__u64 page_size;
	unsigned int rights;
	__u64 nr;
	bool cut;
};

/**
 * struct map - what the space maps
 * @pieces: by rising address
 * @nr: length of @pieces
 * @room: room of @pieces
 * @upper: index of the first piece of the upper half
 * @amount: sum of all
 */
struct map {
	struct piece *pieces;
	size_t nr;
	size_t room;
	size_t upper;
	struct amount amount;
};

/**
 * struct part - what there is in a part of a region, or in all of it
 * @va: first address that is mapped
 * @last_va: last one
 * @amount: sum
 * @by_size: bytes by pages of up to 64 KiB, below 1 GiB, from there on
 * @page_sizes: the sizes, which are powers of two, as one word
 * @nr: mappings that begin in it
 */
struct part {
	__u64 va;
	__u64 last_va;
	struct amount amount;
	__u64 by_size[3];
	__u64 page_sizes;
	__u64 nr;
};

static void make_room(struct map *map)
{
	if (map->nr < map->room)
		return;
	if (map->nr == MAX_PIECES)
		die("the space has more rows than a picture shows, %u: give a range",
		    MAX_PIECES);
	map->room = 2 * map->room ?: 4096;
	map->pieces =
		reallocarray(map->pieces, map->room, sizeof(*map->pieces));
	if (!map->pieces)
		die("out of memory for the rows: give a range");
}

static int add_mapping(const struct vmem_mapping *mapping, void *priv)
{
	struct map *map = priv;
	struct piece *last = map->nr ? &map->pieces[map->nr - 1] : NULL;

	map->amount.bytes[mapping->perms % NR_RIGHTS] +=
		mapping->last_va - mapping->va + 1;
	if (last && last->last_va + 1 == mapping->va &&
	    last->page_size == mapping->page_size &&
	    last->rights == mapping->perms) {
		last->last_va = mapping->last_va;
		last->nr++;
		return 0;
	}
	make_room(map);
	map->pieces[map->nr++] = (struct piece){
		.va = mapping->va,
		.last_va = mapping->last_va,
		.page_size = mapping->page_size,
		.rights = mapping->perms % NR_RIGHTS,
		.nr = 1,
	};
	return 0;
}

/* Bytes between a piece and the one before it */
static __u64 gap_before(const struct piece *piece)
{
	return piece->va - (piece - 1)->last_va - 1;
}

static int compare_gaps(const void *a, const void *b)
{
	const struct piece *x = *(const struct piece *const *)a;
	const struct piece *y = *(const struct piece *const *)b;

	if (gap_before(x) != gap_before(y))
		return gap_before(x) < gap_before(y) ? 1 : -1;
	return x < y ? -1 : x > y;
}

/* Cut a half at its largest gaps; returns the number of regions. */
static size_t cut(struct piece *pieces, size_t nr)
{
	struct piece **gaps = calloc(nr + 1, sizeof(struct piece *));
	size_t nr_gaps = 0;

	if (!gaps)
		die("out of memory for the rows: give a range");
	for (size_t i = 1; i < nr; i++) {
		if (gap_before(&pieces[i]) >= MIN_GAP)
			gaps[nr_gaps++] = &pieces[i];
	}
	qsort(gaps, nr_gaps, sizeof(struct piece *), compare_gaps);
	if (nr_gaps > MAX_REGIONS_OF_HALF - 1)
		nr_gaps = MAX_REGIONS_OF_HALF - 1;
	for (size_t i = 0; i < nr_gaps; i++)
		gaps[i]->cut = true;
	free(gaps);
	return nr ? nr_gaps + 1 : 0;
}

/* Add what of a piece lies from @va to @last_va. */
static void add_part(struct part *part, const struct piece *piece, __u64 va,
		     __u64 last_va)
{
	__u64 first = piece->va > va ? piece->va : va;
	__u64 last = piece->last_va < last_va ? piece->last_va : last_va;
	int kind = piece->page_size >= 1ull << 30 ? 2 :
		   piece->page_size > 1ull << 16  ? 1 :
						    0;

	if (first > last)
		return;
	if (!part->page_sizes)
		part->va = first;
	part->last_va = last;
	part->amount.bytes[piece->rights] += last - first + 1;
	part->by_size[kind] += last - first + 1;
	part->page_sizes |= piece->page_size;
	part->nr += first == piece->va ? piece->nr : 0;
}

static int main_rights(const struct part *part)
{
	return amount_next(&part->amount, -1);
}

static int main_size(const struct part *part)
{
	int kind = 0;

	for (int i = 1; i < 3; i++)
		kind = part->by_size[i] > part->by_size[kind] ? i : kind;
	return kind;
}

static bool is_like(const struct part *a, const struct part *b)
{
	return a->page_sizes && b->page_sizes &&
	       main_rights(a) == main_rights(b) && main_size(a) == main_size(b);
}

/* @b lies behind @a. */
static void join(struct part *a, const struct part *b)
{
	a->last_va = b->last_va;
	for (int i = 0; i < NR_RIGHTS; i++)
		a->amount.bytes[i] += b->amount.bytes[i];
	for (int i = 0; i < 3; i++)
		a->by_size[i] += b->by_size[i];
	a->page_sizes |= b->page_sizes;
	a->nr += b->nr;
}

static void print_page_sizes(__u64 sizes)
{
	const char *comma = "";

	for (; sizes; sizes &= sizes - 1) {
		out("%s", comma);
		print_page_size(sizes & -sizes);
		comma = ", ";
	}
}

static void print_title(const struct vmem_regs *regs, const struct part *part)
{
	char size[SIZE_TEXT_MAX];

	out("<title>");
	print_region(regs, part->va, part->last_va);
	for (int i = main_rights(part); i >= 0;
	     i = amount_next(&part->amount, i))
		out("\n%s %s", rights_name(i),
		    size_text(part->amount.bytes[i], size));
	out("\nmappings: %llu, of pages of ", part->nr);
	print_page_sizes(part->page_sizes);
	out("</title>");
}

static void print_fill(int rights)
{
	if (rights & VMEM_EXECUTABLE)
		out("fill=\"url(#%s)\"", rights_name(rights));
	else
		out("fill=\"%s\"", rights_colour(rights));
}

static void print_rect(double x, double y, double width, double height,
		       int rights)
{
	out("<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" ", x, y,
	    width, height);
	print_fill(rights);
	out(" stroke=\"#333\" stroke-width=\"0.4\">");
}

/* Height of a bar by the kind of page */
static int bar_height(int kind)
{
	return 7 + 5 * kind;
}

static void print_part(const struct vmem_regs *regs, const struct part *part,
		       int first, int end, int y)
{
	int height = bar_height(main_size(part));

	print_rect(X_BAR + first, y + ROW - 5 - height, end - first, height,
		   main_rights(part));
	print_title(regs, part);
	out("</rect>\n");
}

/* From BAR_BIT for 4 KiB on */
static int bar_width(__u64 bytes)
{
	int width = 0;

	for (; bytes > 1ull << 11 && width < MAX_BAR; bytes >>= 1)
		width += BAR_BIT;
	return width ?: BAR_BIT;
}

static __u64 scale(__u64 a, __u64 by, __u64 over)
{
	return (__uint128_t)a * by / over;
}

static void print_bar(const struct vmem_regs *regs, const struct piece *pieces,
		      size_t nr, int y)
{
	const __u64 va = pieces->va, len = pieces[nr - 1].last_va - va + 1;
	const int width = bar_width(len);
	struct part bins[MAX_BAR] = {};
	int end;

	for (size_t i = 0; i < nr; i++) {
		int bin = scale(pieces[i].va - va, width, len);

		for (; bin < width; bin++) {
			__u64 first = va + scale(len, bin, width);

			if (first > pieces[i].last_va)
				break;
			add_part(&bins[bin], &pieces[i], first,
				 va + scale(len, bin + 1, width) - 1);
		}
	}
	out("<path d=\"M%d %dh%d\" stroke=\"#999\"/>\n", X_BAR, y + ROW - 5,
	    width);
	for (int first = 0; first < width; first = end) {
		for (end = first + 1;
		     end < width && is_like(&bins[first], &bins[end]); end++)
			join(&bins[first], &bins[end]);
		if (bins[first].page_sizes)
			print_part(regs, &bins[first], first, end, y);
	}
}

static void print_rights(const struct amount *amount, int y)
{
	int x = X_RIGHTS;
	char size[SIZE_TEXT_MAX];

	for (int i = amount_next(amount, -1); i >= 0;
	     i = amount_next(amount, i)) {
		if (x + RIGHTS_WIDTH > X_PAGES) {
			out("<text x=\"%d\" y=\"%d\">...</text>", x, y + 17);
			break;
		}
		out("<rect x=\"%d\" y=\"%d\" width=\"34\" height=\"15\" fill=\"%s\"/>\n"
		    "<text class=\"m\" x=\"%d\" y=\"%d\">%s</text>\n"
		    "<text x=\"%d\" y=\"%d\">%s</text>\n",
		    x, y + 5, rights_colour(i), x + 3, y + 16, rights_name(i),
		    x + 38, y + 16, size_text(amount->bytes[i], size));
		x += RIGHTS_WIDTH;
	}
}

/* A region, which begins behind a gap unless it is the first. */
static void print_row(const struct vmem_regs *regs, const struct piece *pieces,
		      size_t nr, bool first, int y)
{
	char size[SIZE_TEXT_MAX];
	struct part all = {};

	for (size_t i = 0; i < nr; i++)
		add_part(&all, &pieces[i], 0, ~0ull);
	out("<g data-bytes=\"%llu\" data-mappings=\"%llu\">",
	    amount_total(&all.amount), all.nr);
	if (!first)
		out("<text class=\"gap e\" x=\"%d\" y=\"%d\">%s</text>\n",
		    X_ADDRESS - 8, y + 3, size_text(gap_before(pieces), size));
	out("<text class=\"m\" x=\"%d\" y=\"%d\">", X_ADDRESS, y + 16);
	print_region(regs, all.va, all.last_va);
	print_title(regs, &all);
	out("</text><text class=\"e\" x=\"%d\" y=\"%d\">%s</text>\n", X_MAPPED,
	    y + 16, size_text(amount_total(&all.amount), size));
	print_bar(regs, pieces, nr, y);
	print_rights(&all.amount, y);
	out("<text x=\"%d\" y=\"%d\">", X_PAGES, y + 16);
	print_page_sizes(all.page_sizes);
	out("</text></g>\n");
}

/* Returns where the next one begins. */
static int print_half(const struct vmem_regs *regs, const char *name,
		      const struct piece *pieces, size_t nr, int y)
{
	size_t end;

	out("<text class=\"b\" x=\"8\" y=\"%d\">%s</text>\n", y + 17, name);
	y += HALF;
	for (size_t i = 0; i < nr; i = end, y += ROW) {
		for (end = i + 1; end < nr && !pieces[end].cut; end++)
			;
		print_row(regs, &pieces[i], end - i, !i, y);
	}
	if (!nr)
		out("<text x=\"%d\" y=\"%d\">nothing is mapped</text>\n",
		    X_ADDRESS, y - 9);
	return y;
}

static void print_patterns(void)
{
	for (int i = 0; i < NR_RIGHTS; i++) {
		if (!(i & VMEM_EXECUTABLE))
			continue;
		out("<pattern id=\"%s\" width=\"5\" height=\"5\"\n"
		    " patternUnits=\"userSpaceOnUse\"\n"
		    " patternTransform=\"rotate(45)\">\n"
		    "<rect width=\"5\" height=\"5\" fill=\"%s\"/>\n"
		    "<path d=\"M0 0V5%s\" stroke=\"#000\"/></pattern>\n",
		    rights_name(i), rights_colour(i),
		    is_exposed(i) ? "M0 0H5" : "");
	}
}

static void print_head(const struct opts *opts, const struct vmem_regs *regs,
		       const struct map *map, const struct libvmem_found *found,
		       int height)
{
	char size[SIZE_TEXT_MAX];

	out("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
	    "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\"\n"
	    " viewBox=\"0 0 %d %d\">\n<style>text{font:12px sans-serif}\n"
	    ".m{font:12px monospace}.b{font-weight:bold}.e{text-anchor:end}\n"
	    ".gap{font-size:10px;fill:#666}\n"
	    ".t{font:bold 17px sans-serif}</style>\n<defs>\n",
	    WIDTH, height, WIDTH, height);
	print_patterns();
	out("</defs>\n<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n"
	    "<text class=\"t\" x=\"8\" y=\"24\">What the space with root %llx maps</text>\n"
	    "<text x=\"8\" y=\"45\">",
	    libvmem_root(regs));
	out_guest(opts);
	out(", %s: %llu mapping%s, %s", libvmem_mode_text(libvmem_mode(regs)),
	    found->mappings, plural(found->mappings, "", "s"),
	    size_text(found->bytes, size));
	if (amount_exposed(&map->amount))
		out("; <tspan class=\"b\">%s writable and executable</tspan>",
		    size_text(amount_exposed(&map->amount), size));
	else
		out("; nothing is writable and executable");
	if (found->anomalies)
		out("; entries that lead nowhere: %llu", found->anomalies);
	if (found->torn)
		out("; tables that were replaced meanwhile: %llu", found->torn);
	out("</text>\n");
}

static void print_columns(void)
{
	static const struct {
		int x;
		const char *class;
		const char *name;
	} columns[] = {
		{ X_ADDRESS - 8, "e", "unmapped" },
		{ X_ADDRESS, "", "addresses" },
		{ X_MAPPED, "e", "mapped" },
		{ X_BAR, "", "where in them" },
		{ X_RIGHTS, "", "with which rights" },
		{ X_PAGES, "", "pages" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(columns); i++)
		out("<text class=\"%s\" x=\"%d\" y=\"%d\" fill=\"#666\">%s</text>\n",
		    columns[i].class, columns[i].x, TOP_ROWS - 10,
		    columns[i].name);
	out("<path d=\"M8 %dH%d\" stroke=\"#999\"/>\n", TOP_ROWS - 4,
	    WIDTH - 8);
}

static void print_legend(int y)
{
	static const char *const pages[] = { "4 KiB", "2 or 4 MiB", "1 GiB" };
	int x = 8;

	out("<path d=\"M8 %dH%d\" stroke=\"#999\"/>\n", y + 6, WIDTH - 8);
	for (int i = 0; i < NR_RIGHTS; i++, x += 48) {
		print_rect(x, y + 14, 40, 14, i);
		out("</rect><text class=\"m\" x=\"%d\" y=\"%d\">%s</text>\n",
		    x + 6, y + 41, rights_name(i));
	}
	out("<text x=\"8\" y=\"%d\">r: readable, w: writable, x: executable,\n"
	    " u: by user mode too, s: by supervisor mode only</text>\n",
	    y + 58);
	x = X_RIGHTS - 300;
	for (int i = 0; i < 3; i++, x += 100) {
		print_rect(x, y + 28 - bar_height(i), 24, bar_height(i), 1);
		out("</rect><text x=\"%d\" y=\"%d\">%s</text>\n", x + 28,
		    y + 27, pages[i]);
	}
	out("<text x=\"%d\" y=\"%d\">height of a bar: size of most pages there</text>\n",
	    X_RIGHTS - 300, y + 41);
	out("<text x=\"%d\" y=\"%d\">length of a bar: the region's, %d pixels for\n"
	    " 4 KiB and for each doubling;</text>\n",
	    X_RIGHTS, y + 27, BAR_BIT);
	out("<text x=\"%d\" y=\"%d\">within a bar, addresses rise evenly</text>\n",
	    X_RIGHTS, y + 41);
}

static bool is_upper(const struct vmem_regs *regs, __u64 va)
{
	return va >> (va_digits(regs) == 16 ? 63 : 31);
}

static void print_map(const struct opts *opts, const struct vmem_regs *regs,
		      const struct map *map, const struct libvmem_found *found)
{
	size_t nr = cut(map->pieces, map->upper) +
		    cut(map->pieces + map->upper, map->nr - map->upper);
	int y = TOP_ROWS;

	print_head(opts, regs, map, found, y + nr * ROW + 2 * HALF + LEGEND);
	print_columns();
	y = print_half(regs, "Lower half", map->pieces, map->upper, y);
	y = print_half(regs, "Upper half", map->pieces + map->upper,
		       map->nr - map->upper, y);
	print_legend(y);
	out("</svg>\n");
}

void graph_map(struct libvmem *vm, const struct opts *opts)
{
	struct libvmem_error error;
	struct libvmem_found found;
	struct map map = {};
	struct vmem_regs regs;

	guest_regs(vm, opts, &regs);
	check(libvmem_ranges(vm, &regs, opts->scope.va, opts->scope.last_va,
			     add_mapping, &map, &found, &error),
	      &error);
	while (map.upper < map.nr && !is_upper(&regs, map.pieces[map.upper].va))
		map.upper++;
	print_map(opts, &regs, &map, &found);
	free(map.pieces);
}
