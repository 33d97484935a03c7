#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""rows.py - the README's table of what works: rows of tests/rows.txt that have a test.

    tools/build/rows.py [--write]      in the top folder; without: status 1 if README.md says otherwise
"""
import os
import re
import sys

BEGIN = "<!-- rows: made by tools/build/rows.py -->\n"
END = "<!-- /rows -->\n"


def tested(folder):
    rows = {}
    for directory, _, names in os.walk(folder):
        for name in names:
            if re.fullmatch(r"test_.*\.py", name):
                with open(os.path.join(directory, name)) as file:
                    for numbers in re.findall(r"^def test_row_((?:\d{3}_)+)", file.read(), re.M):
                        for row in numbers.split("_")[:-1]:
                            rows.setdefault(int(row), set()).add(name.split(".")[0])
    return rows


def table():
    done = tested("tests")
    lines = ["| Row | What works | Tests |\n", "| --- | --- | --- |\n"]
    with open("tests/rows.txt") as file:
        rows = dict(re.findall(r"^(\d+) (.*)$", file.read(), re.M))
    unknown = [str(row) for row in sorted(done) if str(row) not in rows]
    if unknown:
        sys.exit("rows.py: not in tests/rows.txt: " + ", ".join(unknown))
    for number, text in rows.items():
        if int(number) in done:
            files = ", ".join("`%s`" % name for name in sorted(done[int(number)]))
            lines.append("| %s | %s | %s |\n" % (number, text, files))
    return "".join(lines)


def main():
    with open("README.md") as file:
        text = file.read()
    begin, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    new = text[:begin] + table() + text[end:]
    if new == text:
        return
    if "--write" not in sys.argv:
        sys.exit("README.md: the table of rows is not what the tests say: "
                 "tools/build/rows.py --write")
    with open("README.md", "w") as file:
        file.write(new)


main()
