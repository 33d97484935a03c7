#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""thin.py TARGET CORPUS FOUND... - put into CORPUS what FOUND reaches beyond it, and little more.

libFuzzer's merge keeps an input for each new count of each edge, which is thousands. Here only
inputs that reach an edge nobody smaller reaches are kept, those first that reach most of them, and
at most MOST in all, under the name of their contents.
"""
import hashlib
import pathlib
import subprocess
import sys
import tempfile

MOST = 90


def reached(target, folders):
    """Of each file that reaches new edges how many, the smallest file first."""
    with tempfile.TemporaryDirectory() as scratch:
        control = pathlib.Path(scratch, "control")
        subprocess.run([target, "-merge=1", "-merge_control_file=%s" % control,
                        pathlib.Path(scratch)] + folders, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        lines = control.read_text().splitlines()
    count = int(lines[0])
    names = lines[2:2 + count]
    news = {}
    for line in lines[2 + count:]:
        words = line.split()
        if words[0] == "COV" and len(words) > 2:
            news[names[int(words[1])]] = len(words) - 2
    return news


def main():
    target, corpus, found = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3:]
    corpus.mkdir(exist_ok=True)
    before = len(list(corpus.iterdir()))
    news = reached(target, [str(corpus)] + found)
    others = [name for name in sorted(news, key=news.get, reverse=True)
              if pathlib.Path(name).parent != corpus]
    for name in others[:max(0, MOST - before)]:
        contents = pathlib.Path(name).read_bytes()
        (corpus / hashlib.sha1(contents).hexdigest()[:16]).write_bytes(contents)
    after = len(list(corpus.iterdir()))
    print("%-28s %d inputs, %d of them new" % (corpus.name, after, after - before))


if __name__ == "__main__":
    main()
