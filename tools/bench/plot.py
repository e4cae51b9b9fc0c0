# SPDX-License-Identifier: GPL-2.0-only
"""The growth curves as one picture."""

import io
import re

import matplotlib

matplotlib.use("svg")

import matplotlib.pyplot as plt                 # noqa: E402
from matplotlib.ticker import (FuncFormatter, LogLocator,      # noqa: E402
                               NullLocator)

# Text stays text, and the picture is the same for the same points.
matplotlib.rcParams.update({
    "svg.fonttype": "none", "svg.hashsalt": "vmem", "font.size": 9,
    "font.sans-serif": ["DejaVu Sans"],
    "axes.titlesize": 9, "axes.spines.top": False, "axes.spines.right": False,
})

STYLES = {
    "vmem": ("#0b5fa5", "-"),
    "vmem, pages contiguous": ("#0b5fa5", "-"),
    "vmem, pages scattered": ("#0b5fa5", "--"),
    "vmem, without paths": ("#0b5fa5", "-"),
    "vmem, with paths": ("#0b5fa5", "--"),
    "minimal C walk": ("#777777", "-"),
    "minimal C walk that knows sharing": ("#777777", "-"),
    "minimal C walk, contiguous": ("#777777", "-"),
    "minimal C walk, scattered": ("#777777", "--"),
    "minimal C walk that expands": ("#c1432e", "-"),
}


def plain(value, _):
    return "{:,.0f}".format(value) if value >= 1 else "%g" % value


def scale(axis, kind, limits):
    """Ticks at powers of ten; or as usual, from 0 on."""
    if kind == "log":
        axis.set_major_locator(LogLocator(10, numticks=8))
        axis.set_minor_locator(NullLocator())
    else:
        limits(0)
    axis.set_major_formatter(FuncFormatter(plain))


def draw_curve(axes, curve):
    for series in curve["series"]:
        colour, style = STYLES[series["name"]]
        x, y = zip(*series["points"])
        axes.plot(x, y, style, color=colour, linewidth=1.3,
                  label=series["name"])
    axes.set_xscale(curve["x_scale"])
    axes.set_yscale(curve["y_scale"])
    scale(axes.xaxis, curve["x_scale"], axes.set_xlim)
    scale(axes.yaxis, curve["y_scale"], axes.set_ylim)
    axes.set_title(curve["title"], loc="left")
    axes.set_xlabel(curve["x_label"])
    axes.set_ylabel(curve["y_label"])
    axes.grid(True, which="major", linewidth=0.3)
    axes.legend(frameon=False, fontsize=7)


def shortened(svg):
    """A tenth of a point is enough, and what is not drawn can go."""
    svg = re.sub(r"\s*<metadata>.*</metadata>|\s*<!--.*?-->", "", svg,
                 flags=re.S)
    return re.sub(r"\d+\.\d{2,}", lambda number: "%.1f" % float(number[0]), svg)


def draw(curves, path):
    height = (len(curves) + 1) // 2
    figure, grid = plt.subplots(height, 2, figsize=(9, 2.7 * height))
    for axes, curve in zip(grid.flat, curves):
        draw_curve(axes, curve)
    for axes in list(grid.flat)[len(curves):]:
        axes.axis("off")
    figure.tight_layout()
    picture = io.StringIO()
    figure.savefig(picture, format="svg", metadata={"Date": None})
    with open(path, "w", encoding="utf-8") as file:
        file.write(shortened(picture.getvalue()))
