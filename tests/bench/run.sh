#!/bin/sh
# run.sh - the benchmark; see bench.py.
cd "$(dirname "$0")/../.." && exec /usr/bin/python3 tests/bench/bench.py
