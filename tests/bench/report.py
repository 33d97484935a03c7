# SPDX-License-Identifier: MIT
"""report.py - from rounds to medians and ratios, as text and as Markdown.

A ratio is culvert / peer of the same round. Dirty rounds are left out where CLEAN_ENOUGH clean ones
remain; otherwise all count, and what comes of them is marked with *.
"""
import os
import platform
import statistics

CLEAN_ENOUGH = 3


def number(value):
    if value is None:
        return "-"
    if abs(value) >= 1000:
        return "%.0f" % value
    return "%.3g" % value


def spread(values):
    """(median, min, max), or None."""
    return (statistics.median(values), min(values), max(values)) if values else None


def spread_text(values, mark=""):
    if not values:
        return "-"
    median, least, most = spread(values)
    if len(values) == 1:
        return number(median) + mark
    return "%s [%s .. %s]%s" % (number(median), number(least), number(most), mark)


def usable(dirty):
    """Which rounds count, and whether they are all clean: ([number ...], bool)."""
    clean = [i for i, is_dirty in enumerate(dirty) if not is_dirty]
    if len(clean) == len(dirty) or len(clean) >= CLEAN_ENOUGH:
        return clean, True
    return list(range(len(dirty))), False


def good(rounds):
    return [one for one in rounds if "failed" not in one]


def values_of(contender, figure):
    """([value of each round that counts], clean)."""
    rounds = good(contender["rounds"])
    counted, clean = usable([one["dirty"] for one in rounds])
    values = [rounds[i]["figures"].get(figure) for i in counted]
    return [value for value in values if value is not None], clean


def ratios_of(row, peer, figure):
    """culvert / peer, round by round: ([ratio ...], clean)."""
    pairs = [(ours, theirs) for ours, theirs in zip(row["contenders"]["culvert"]["rounds"],
                                                    row["contenders"][peer]["rounds"])
             if "failed" not in ours and "failed" not in theirs]
    counted, clean = usable([ours["dirty"] or theirs["dirty"] for ours, theirs in pairs])
    found = []
    for ours, theirs in (pairs[i] for i in counted):
        a, b = ours["figures"].get(figure), theirs["figures"].get(figure)
        if a is not None and b is not None and a > 0 and b > 0:
            found.append(a / b)
    return found, clean


def peers_of(row):
    return [name for name in row["contenders"] if name not in ("culvert", "direct")]


def dirty_rounds(row):
    """(dirty, all) of the row's measurements."""
    rounds = [one for contender in row["contenders"].values() for one in good(contender["rounds"])]
    return sum(one["dirty"] for one in rounds), len(rounds)


def why_not(contender):
    """Why there are no figures, or None."""
    if contender.get("absent"):
        return "absent: " + contender["absent"]
    if contender.get("failed"):
        return "failed: " + contender["failed"]
    if not good(contender["rounds"]):
        return "failed: " + (contender["rounds"][0]["failed"] if contender["rounds"] else "not run")
    return None


# ---- text --------------------------------------------------------------------------------------


def table(lines):
    """Columns as wide as their widest cell."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip()
                     for line in lines)


def figure_title(figure):
    return "%s, %s" % (figure["title"], figure["unit"]) if figure["unit"] else figure["title"]


def row_text(row):
    dirty, every = dirty_rounds(row)
    count = max((len(c["rounds"]) for c in row["contenders"].values()), default=0)
    head = "\n%s - %s: %d rounds%s" % (row["name"], row["title"], count, (
        ", %d of %d measurements dirty" % (dirty, every)) if dirty else "")
    shown = [figure for figure in row["figures"] if any(
        values_of(contender, figure["name"])[0] for contender in row["contenders"].values())]
    lines, notes = [[""] + [figure_title(figure) for figure in shown]], []
    names = [n for n in ("direct", "culvert") if n in row["contenders"]] + peers_of(row)
    for name in names:
        contender = row["contenders"][name]
        if why_not(contender):
            notes.append("  %s  %s" % (name, why_not(contender)))
            continue
        lines.append([name])
        for figure in shown:
            values, clean = values_of(contender, figure["name"])
            lines[-1].append(spread_text(values, "" if clean else "*"))
    for name in peers_of(row):
        if why_not(row["contenders"][name]) or why_not(row["contenders"]["culvert"]):
            continue
        lines.append(["culvert / " + name])
        for figure in shown:
            ratios, clean = ratios_of(row, name, figure["name"])
            lines[-1].append(spread_text(ratios, "" if clean else "*"))
    return "\n".join([head, table(lines)] + notes)


def head_text(result):
    machine = result["machine"]
    return "%s, %d cores (%s), Linux %s; relay on %s; %s; %s rounds of %s s" % (
        machine["processor"], machine["cores"], machine["virtual"], machine["kernel"],
        machine["relay_cores"], machine["accounting"], result["settings"]["rounds"],
        result["settings"]["seconds"])


def text(result):
    parts = [head_text(result), "* dirty: other programs used more than 0.3 core meanwhile"]
    parts += ["%s: %s" % item for item in result["versions"].items()]
    return "\n".join(parts + [row_text(row) for row in result["rows"]]) + "\n"


# ---- Markdown ----------------------------------------------------------------------------------


def compared(row):
    """The figures that are compared: those with a direction."""
    return [figure for figure in row["figures"] if figure["better"]]


def ratio_markdown(row, peer, figure):
    """A ratio with its peer's name, bold where culvert loses; empty when there is none."""
    why = why_not(row["contenders"][peer])
    if why:
        return "" if why.startswith("absent") else "%s failed" % peer
    ratios, clean = ratios_of(row, peer, figure["name"])
    if not ratios:
        return ""
    median, least, most = spread(ratios)
    lost = median < 1 if figure["better"] == "more" else median > 1
    around = " (%s .. %s)" % (number(least), number(most)) if len(ratios) > 1 else ""
    return "%s %s%s%s" % (peer, "**%s**" % number(median) if lost else number(median), around,
                          "" if clean else "\\*")


def markdown_rows(row):
    """A line for each of the first figures that are compared."""
    lines, title = [], row["title"]
    for figure in compared(row)[:row["summary"]]:
        values, clean = values_of(row["contenders"]["culvert"], figure["name"])
        own = "%s%s" % (number(statistics.median(values)), "" if clean else "\\*") if values else "-"
        ratios = [ratio_markdown(row, peer, figure) for peer in peers_of(row)]
        lines.append("| %s | %s | %s | %s |" % (title, figure_title(figure), own, ", ".join(
            filter(None, ratios))))
        title = ""
    return lines


def markdown(result):
    """A table for each group of rows: culvert's medians, then culvert / peer; losses in bold."""
    lines = [head_text(result)]
    for group in dict.fromkeys(row["group"] for row in result["rows"]):
        lines += ["", "| %s | | culvert | culvert / peer |" % group, "| --- | --- | --- | --- |"]
        for row in result["rows"]:
            lines += markdown_rows(row) if row["group"] == group else []
    return "\n".join(lines) + "\n"


# ---- what it was measured on -------------------------------------------------------------------


def machine(lab):
    processor, virtual = platform.machine(), "no hypervisor"
    with open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith("model name"):
                processor = line.split(":", 1)[1].strip()
            if line.startswith("flags") and " hypervisor" in line:
                virtual = "virtual"
    return {"processor": processor, "virtual": virtual, "cores": os.cpu_count(),
            "kernel": platform.release(), "relay_cores": lab.relay_cores,
            "load_cores": lab.load_cores, "interrupts_separate": lab.separate,
            "accounting": "control groups" if lab.groups else "/proc (%s)" % lab.groups_why}


def versions(servers):
    return {name: server.absent and "absent: " + server.absent or server.version()
            for name, server in servers.items()}
