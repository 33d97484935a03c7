# SPDX-License-Identifier: MIT
"""rows.py - what a row of the benchmark is; each rows_*.py has some in its ROWS.

A row is measured in rounds. In each, the direct baseline comes first where the row has one, then culvert
and each peer once, beginning with another one every round. For every contender there is

    open(world, server)      once before the first round (server None: the direct baseline). By default
                             starts the server for the row's `way` and returns its servers.Endpoint; it
                             goes on running for the next rows of the same way. Whatever it returns is
                             passed to the other two
    measure(world, place, number)
                             once each round, number from 0: {figure name: number, or None where this
                             machine cannot tell}. May add "dirty" (without it foreign load during the
                             whole call decides) and "details" (kept in the JSON)
    finish(world, place)     once after the last round, on failures, too; by default nothing

`world` is servers.World: world.lab (places to run programs in, meter()), world.to(), certificates and the
sink's ports. An exception in open() or measure() is that contender's failure, said in the table; the others
go on. Anything started by lab.relay.start() and so on that finish() does not stop ends with the run.

A figure's `better` is "more" or "less". "added" figures: see baseline(). Ratios to peers are made by
report.py: culvert / peer, of the same round.
"""
import collections
import contextlib
import json
import os

import lab as benchlab

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
SECONDS = float(os.environ.get("BENCH_SECONDS", "0.8"))
SHORT = 0.8 * SECONDS  # of rows that do not move bytes in bulk
READY_SECONDS = 60

Figure = collections.namedtuple("Figure", "name title unit better")


class Row:
    name = ""  # as ROW= selects it: words and figures, with dashes
    title = ""  # one line
    group = ""  # rows of a group share a plot and a part of the table
    way = ""  # of servers.WAYS
    figures = ()  # of Figure; the first is the one that matters most
    rounds = None  # at most so many; BENCH_ROUNDS, if that is less or this is None
    usual = True  # part of a run without ROW=
    direct = False  # the baseline is measured in each round
    summary = 2  # figures in the table for README
    peers = None  # names; None: all that serve the way

    def turns(self):
        return min(self.rounds or ROUNDS, ROUNDS)

    def contenders(self, servers):
        """Servers in the order of the table, culvert first; absent ones too."""
        names = self.peers if self.peers is not None else [
            name for name, server in servers.items() if self.way in server.ways]
        return [servers["culvert"]] + [servers[name] for name in names if name != "culvert"]

    def open(self, world, server):
        return world.endpoint(server, self.way if server else "direct")

    def measure(self, world, place, number):
        raise NotImplementedError

    def finish(self, world, place):
        pass

    def baseline(self, figures, direct):
        """The figures of a contender with what needs the direct baseline of its round filled in."""
        return figures


def load_command(endpoint, kind, to, connections, seconds, **options):
    """`load run`; inner_tls=True is --inner-tls, message=64 is --message 64."""
    command = [benchlab.LOAD, "run", kind, *endpoint.options(), "--to", to, "--connections",
               connections, "--seconds", seconds]
    for name, value in options.items():
        if value is not None and value is not False:
            command.append("--" + name.replace("_", "-"))
            if value is not True:
                command.append(value)
    return command


@contextlib.contextmanager
def running_load(world, *command):
    """The generator in the client's namespace once its connections stand; result_of() waits for it."""
    process = world.lab.client.start(*command, stdout=benchlab.PIPE)
    try:
        line = benchlab.read_line(process, READY_SECONDS)
        if line != "ready":
            raise RuntimeError("load: %s %s" % (line, benchlab.log_of(process, 300)))
        yield process
    finally:
        world.lab.stop(process)


def result_of(process, seconds):
    """The generator's JSON object."""
    return json.loads(benchlab.read_line(process, seconds) or "{}")
