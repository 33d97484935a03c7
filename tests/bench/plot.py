# SPDX-License-Identifier: MIT
"""plot.py - the result as SVG files, and a page that shows them.

ratios-GROUP.svg: for each row and peer how many times better culvert is, on a logarithmic axis: a bar
from 1 (equal) to the median, to the right where culvert wins, to the left where it loses, with a whisker
from the worst round to the best. Pale: dirty rounds. latency.svg: percentiles, a line for each
contender, for every row that has them.
"""
import html
import math
import statistics

import report

WIN, LOSS, INK, FAINT = "#2a78b5", "#d9622b", "#222222", "#c8c8c8"
COLOURS = ("#d9622b", "#3a9b4e", "#8e5bb0", "#b08a00", "#c2457a", "#1b9e9e", "#5a3d2b", "#e0a0b0",
           "#6b7a1f")
BAR, GAP, LABEL, PEER, PANEL, VALUE = 17, 14, 290, 84, 330, 66
PERCENTILES = (("p50", "p50"), ("p99", "p99"), ("p999", "p99.9"))
STYLE = ("text{font:12px sans-serif;fill:%s} .t{font-size:15px;font-weight:bold} "
         ".s{font-size:11px} .r{text-anchor:end} .m{text-anchor:middle}" % INK)


# ---- pieces ------------------------------------------------------------------------------------


def text(x, y, words, kind=""):
    return '<text x="%.1f" y="%.1f"%s>%s</text>' % (
        x, y, ' class="%s"' % kind if kind else "", html.escape(str(words)))


def line(x1, y1, x2, y2, colour=INK, width=1.0, dash=""):
    return '<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" stroke-width="%g"%s/>' % (
        x1, y1, x2, y2, colour, width, ' stroke-dasharray="%s"' % dash if dash else "")


def box(x, y, width, height, colour, opacity=1.0):
    return '<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s" fill-opacity="%g"/>' % (
        x, y, width, height, colour, opacity)


def document(width, height, parts):
    return ('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d">\n'
            '<style>%s</style>\n%s\n%s\n</svg>\n') % (
                width, height, width, height, STYLE, box(0, 0, width, height, "#ffffff"),
                "\n".join(parts))


class LogAxis:
    """Values to places between left and right."""

    def __init__(self, least, most, left, right):
        self.low, self.high = math.log2(least), math.log2(most)
        self.left, self.right = left, right

    def at(self, value):
        share = (math.log2(value) - self.low) / max(self.high - self.low, 1e-9)
        return self.left + min(1.0, max(0.0, share)) * (self.right - self.left)


# ---- ratios ------------------------------------------------------------------------------------


def better(ratios, direction):
    """How many times better culvert is, by round."""
    return ratios if direction == "more" else [1 / ratio for ratio in ratios]


def bars_of(rows, figure):
    """{(row name, peer): ([times better], clean)}."""
    found = {}
    for row in rows:
        direction = next((f["better"] for f in row["figures"] if f["name"] == figure), None)
        if not direction or report.why_not(row["contenders"]["culvert"]):
            continue
        for peer in report.peers_of(row):
            ratios, clean = report.ratios_of(row, peer, figure)
            if ratios:
                found[row["name"], peer] = better(ratios, direction), clean
    return found


def panels_of(rows):
    """[(figure name, title, bars)]: the figures that are compared and have something to show."""
    titles = {}
    for row in rows:
        for figure in report.compared(row)[:3]:
            titles.setdefault(figure["name"], figure["title"])
    panels = [(name, title, bars_of(rows, name)) for name, title in titles.items()]
    return [panel for panel in panels if panel[2]]


def axis_of(panels, left):
    """One scale for all panels, in powers of two, no wider than 1/32 .. 32."""
    values = [v for _, _, bars in panels for some, _ in bars.values() for v in some]
    reach = max(1, min(5, math.ceil(max(abs(math.log2(v)) for v in values))))
    return LogAxis(2.0 ** -reach, 2.0 ** reach, left, left + PANEL), reach


def peer_bar(axis, y, values, clean):
    """Bar, whisker and the median as text."""
    median = statistics.median(values)
    start, end = axis.at(1), axis.at(median)
    middle = y + BAR / 2
    return [box(min(start, end), y + 2, max(1.0, abs(end - start)), BAR - 4,
                WIN if median >= 1 else LOSS, 1.0 if clean else 0.45),
            line(axis.at(min(values)), middle, axis.at(max(values)), middle, INK, 1.2),
            text(axis.right + 6, y + BAR - 4, "%s×%s" % (
                report.number(median), "" if clean else " *"), "s")]


def panel_frame(axis, reach, top, bottom, title):
    parts = [text((axis.left + axis.right) / 2, top - 40, title, "m t"),
             text(axis.left, top - 22, "← culvert worse", "s"),
             text(axis.right, top - 22, "culvert better →", "s r")]
    for power in range(-reach, reach + 1):
        x = axis.at(2.0 ** power)
        label = str(2 ** power) if power >= 0 else "1/%d" % 2 ** -power
        parts += [line(x, top - 4, x, bottom, INK if power == 0 else FAINT, 1.4 if power == 0 else 0.7),
                  text(x, top - 8, label, "m s")]
    return parts


def legend(y):
    return [box(20, y - 10, 26, 11, WIN), text(52, y, "culvert better"),
            box(160, y - 10, 26, 11, LOSS), text(192, y, "culvert worse"),
            box(300, y - 10, 26, 11, WIN, 0.45), text(332, y, "dirty rounds: other load (*)"),
            line(520, y - 5, 546, y - 5, INK, 1.2), text(552, y, "worst to best round"),
            text(690, y, "bar: median of the rounds' ratios; 2× = twice as good, logarithmic")]


def ratios_svg(group, rows):
    """None when there is nothing to compare."""
    panels = panels_of(rows)
    if not panels:
        return None
    shown = [(row, [peer for peer in report.peers_of(row)
                    if any((row["name"], peer) in bars for _, _, bars in panels)]) for row in rows]
    shown = [(row, peers) for row, peers in shown if peers]
    top = 124
    bottom = top + sum(len(peers) * BAR + GAP for _, peers in shown)
    left = LABEL + PEER
    width = left + len(panels) * (PANEL + VALUE) + 10
    parts = [text(20, 26, "culvert against its peers: %s" % group, "t")] + legend(48)
    for i, (_, title, bars) in enumerate(panels):
        axis, reach = axis_of(panels, left + i * (PANEL + VALUE))
        parts += panel_frame(axis, reach, top, bottom - GAP, title)
        y = top
        for row, peers in shown:
            for peer in peers:
                if (row["name"], peer) in bars:
                    parts += peer_bar(axis, y, *bars[row["name"], peer])
                y += BAR
            y += GAP
    return document(max(width, 1100), bottom + 10, parts + row_labels(shown, top, width))


def row_labels(shown, top, width):
    parts, y = [], top
    for row, peers in shown:
        parts.append(text(20, y + BAR - 4, row["title"]))
        for peer in peers:
            parts.append(text(LABEL + PEER - 10, y + BAR - 4, peer, "r"))
            y += BAR
        parts.append(line(20, y + GAP / 2, width - 10, y + GAP / 2, FAINT, 0.5))
        y += GAP
    return parts


# ---- latency -----------------------------------------------------------------------------------


def percentiles_of(row):
    """{contender: [us of each percentile]}, of two percentiles at least."""
    names = [figure["name"] for figure in row["figures"] if figure["unit"] == "us"]
    wanted = [name for name, _ in PERCENTILES if name in names]
    found = {}
    for name, contender in row["contenders"].items():
        values = [report.values_of(contender, figure)[0] for figure in wanted]
        if len(wanted) > 1 and all(some and min(some) > 0 for some in values):
            found[name] = [statistics.median(some) for some in values]
    return found


def latency_panel(row, found, colours, left, top):
    """One row: its percentiles from left to right, microseconds upwards."""
    width, height = PANEL + 70, 230
    values = [v for some in found.values() for v in some]
    low, high = 2.0 ** math.floor(math.log2(min(values))), 2.0 ** math.ceil(math.log2(max(values)))
    axis = LogAxis(low, max(high, 2 * low), top + height, top)
    parts = [text(left - 60, top - 14, row["title"]),
             line(left, top, left, top + height), line(left, top + height, left + width, top + height),
             '<text transform="translate(%.1f %.1f) rotate(-90)" class="m s">microseconds</text>' % (
                 left - 52, top + height / 2)]
    for power in range(round(math.log2(low)), round(math.log2(max(high, 2 * low))) + 1):
        y = axis.at(2.0 ** power)
        parts += [line(left, y, left + width, y, FAINT, 0.6),
                  text(left - 6, y + 4, "%g" % 2.0 ** power, "r s")]
    places = [left + width * (0.12 + 0.38 * i) for i in range(len(PERCENTILES))]
    for x, (_, label) in zip(places, PERCENTILES):
        parts.append(text(x, top + height + 16, label, "m s"))
    for name, some in found.items():
        points = [(x, axis.at(value)) for x, value in zip(places, some)]
        parts.append('<polyline points="%s" fill="none" stroke="%s" stroke-width="%g"/>' % (
            " ".join("%.1f,%.1f" % point for point in points), colours[name],
            2.6 if name == "culvert" else 1.4))
        parts += ['<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>' % (*point, colours[name])
                  for point in points]
    return parts


def latency_svg(rows):
    """None when no row has percentiles."""
    found = [(row, percentiles_of(row)) for row in rows]
    found = [(row, some) for row, some in found if some]
    if not found:
        return None
    names = list(dict.fromkeys(name for _, some in found for name in some))
    names.sort(key=lambda name: (name != "culvert", name != "direct"))
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(
        name for name in names if name not in ("culvert", "direct"))}
    colours.update(culvert=WIN, direct=INK)
    columns = min(2, len(found))
    parts = [text(20, 26, "latency: medians of the rounds' percentiles", "t")]
    for i, name in enumerate(names):
        x = 20 + 110 * i
        parts += [box(x, 40, 22, 10, colours[name]), text(x + 28, 50, name)]
    for i, (row, some) in enumerate(found):
        parts += latency_panel(row, some, colours, 90 + i % columns * 510, 100 + i // columns * 310)
    height = 100 + math.ceil(len(found) / columns) * 310
    return document(max(40 + columns * 510, 40 + 110 * len(names), 560), height, parts)


# ---- files -------------------------------------------------------------------------------------


def page(result, pictures):
    images = "\n".join('<p><img src="%s" alt="%s"></p>' % (name, name) for name in pictures)
    return ("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
            "<title>culvert: make bench</title></head>\n<body style=\"font-family:sans-serif\">\n"
            "<h1>culvert: make bench</h1>\n<p>%s</p>\n%s\n<pre>%s</pre>\n</body></html>\n") % (
                html.escape(report.head_text(result)), images, html.escape(report.text(result)))


def files(result):
    """{file name: text}: the pictures and the page."""
    pictures = {}
    for group in dict.fromkeys(row["group"] for row in result["rows"]):
        pictures["ratios-%s.svg" % group.replace(" ", "-")] = ratios_svg(
            group, [row for row in result["rows"] if row["group"] == group])
    pictures["latency.svg"] = latency_svg(result["rows"])
    pictures = {name: content for name, content in pictures.items() if content}
    return dict(pictures, **{"index.html": page(result, pictures)})
