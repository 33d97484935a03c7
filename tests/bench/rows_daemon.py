# SPDX-License-Identifier: MIT
"""rows_daemon.py - the program itself: its start, its reloads with live sessions, its live counters."""
import time

import lab as benchlab
import rows
import rows_small
import scale
import servers

MIB = 1 << 20


class Start(rows.Row):
    """From fork to the listening socket, and what it occupies then."""

    group = "the program"
    figures = (rows.Figure("ready", "time to listen", "ms", "less"),
               rows.Figure("cpu", "CPU until then", "ms", "less"),
               rows.Figure("resident", "memory then", "MiB", "less"))

    def __init__(self, way, title):
        self.name, self.way, self.title = "start-" + way, way, "start with a small configuration, " + title

    def open(self, world, server):
        return server

    def measure(self, world, server, number):
        begun, used = time.monotonic(), world.lab.relay.group.seconds()
        processes = server.start(world, self.way, world.lab.port())
        ready, used = time.monotonic() - begun, world.lab.relay.group.seconds() - used
        pids = benchlab.tree_of(process.pid for process in processes)
        resident = benchlab.user_bytes(pids)
        world.lab.stop(*processes)
        return {"ready": 1000 * ready, "cpu": 1000 * used, "resident": resident / MIB}


# ---- reloads -----------------------------------------------------------------------------------


class Reload(rows.Row):
    """Requests go on at a rate of their own; the slowest one is what a session notices."""

    name, way, group, peers = "reload", "", "the program", ()
    users, rules, sessions = 10000, 1000, 5000
    title = "a reload with %d users, %d rules, %d live sessions" % (users, rules, sessions)
    rate, quiet, around = 2500, 1.0, 1.8
    figures = (rows.Figure("took", "reload", "ms", "less"),
               rows.Figure("blip", "longest wait of a session", "ms", "less"),
               rows.Figure("usual", "the same without one", "ms", None),
               rows.Figure("dropped", "sessions dropped", "", "less"))

    def open(self, world, server):
        vless, socks = world.lab.port(), world.lab.port()
        control, users = world.lab.path("reload.sock"), world.lab.path("users.json")
        scale.write_users(users, range(self.users))
        config = scale.config(users, vless, self.rules, (world.certificate, world.key),
                              (world.lab.port(), world.lab.port()))
        config["inbounds"].append({"tag": "plain", "listen": "0.0.0.0", "port": socks,
                                   "protocol": "socks"})
        process = servers.start_culvert(world, world.lab.relay, "reload", config, socks,
                                        controlSocket=control)
        place = servers.Endpoint("socks5", benchlab.RELAY_FRONT, socks, [process])
        place.control, place.users = control, users
        return place

    def talk(self, world, place, seconds, during):
        command = rows.load_command(place, "request", world.to(place, world.bulk), self.sessions,
                                    seconds, rate=self.rate)
        with rows.running_load(world, *command) as load:
            during()
            return rows.result_of(load, seconds + 60)

    def measure(self, world, place, number):
        took = []

        def reload():
            time.sleep(self.around / 3)
            scale.write_users(place.users, range(self.users + number + 1))
            asked = scale.Reload(place.control)
            while not asked.until():
                time.sleep(0.0005)
            if "error" in asked.result():
                raise RuntimeError(asked.result()["error"])
            took.append(asked.seconds)

        usual = self.talk(world, place, self.quiet, lambda: None)
        around = self.talk(world, place, self.around, reload)
        return {"took": 1000 * took[0], "blip": rows_small.latencies(around)["max"] / 1000,
                "usual": rows_small.latencies(usual)["max"] / 1000, "dropped": around["failed"],
                "details": {"usual": usual, "around": around}}

    def finish(self, world, place):
        world.lab.stop(*place.processes)


# ---- live counters -----------------------------------------------------------------------------


class Counters(rows.Row):
    """While a download runs: what the control socket says, against what the client has received. What
    is in sockets between them, and with TLS what its handshake took, is in the difference."""

    group, peers, connections = "the program", (), 8
    figures = (rows.Figure("off", "off from what was received, a session", "KiB", "less"),
               rows.Figure("age", "that is, at this rate", "ms", "less"),
               rows.Figure("answer", "the question takes", "ms", "less"))

    def __init__(self, way, title):
        self.name, self.way = "counters-" + way, way
        self.title = "live byte counters during %d downloads, %s" % (self.connections, title)

    def open(self, world, server):
        control = world.lab.path("counters-%s.sock" % self.way)
        port = world.lab.port()
        processes = server.start(world, self.way, port, controlSocket=control)
        place = servers.Endpoint("socks5", benchlab.RELAY_FRONT, port, processes)
        if self.way == "vision":
            socks = world.lab.port()
            place.adapter = [servers.start_culvert(
                world, world.lab.adapter, "adapter",
                servers.client_config(world, "vision", port, socks), socks)]
            place.address, place.port = "127.0.0.1", socks
        place.control = control
        return place

    def measure(self, world, place, number):
        tls, counter = self.way == "vision", world.lab.path("received-%s-%d" % (self.way, number))
        command = rows.load_command(
            place, "download", world.to(place, world.tls if tls else world.bulk), self.connections,
            rows.SHORT + 0.5, counter=counter, inner_tls=tls)
        with rows.running_load(world, *command) as load:
            time.sleep(rows.SHORT)
            before, began = received(counter), time.monotonic()
            sessions = ask(place.control, "sessions")["sessions"]
            took, after = time.monotonic() - began, received(counter)
            result = rows.result_of(load, 30)
        counted = sum(session["downlink"]["bytes"] for session in sessions)
        # the answer was made at some moment in between
        gap = before - counted if counted < before else counted - after if counted > after else 0
        rate = result["bytes"] / result["seconds"]
        return {"off": gap / self.connections / 1024, "age": 1000 * gap / rate,
                "answer": 1000 * took, "details": {"before": before, "after": after,
                                                   "counted": counted, "load": result}}

    def finish(self, world, place):
        world.lab.stop(*place.processes, *place.adapter)


def received(path):
    with open(path, "rb") as file:
        return int.from_bytes(file.read(8), "little")


def ask(path, command):
    """The JSON answer of a control socket."""
    asked = scale.Reload(path, command)
    while not asked.until():
        time.sleep(0.0005)
    return asked.result()


ROWS = [Start("socks5", "SOCKS5"), Start("sni", "TLS passed on by SNI"), Reload(),
        Counters("socks5", "SOCKS5"), Counters("vision", "REALITY+VLESS+Vision")]
