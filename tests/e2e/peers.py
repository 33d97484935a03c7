# SPDX-License-Identifier: MIT
"""v2ray 4.34, as Debian packages it: the peer for VMess, mux and reverse."""

import json
import os

import pytest
import rig

needs_v2ray = pytest.mark.skipif(not rig.find_program("v2ray"),
                                 reason="v2ray (Debian package) is not installed")


class V2ray(rig.Process):
    """Ready when it listens on `wait`, which is also its name in the test's folder."""

    def __init__(self, namespace, tmp, config, wait):
        path = os.path.join(tmp, "v2ray-%s-%d.json" % wait)
        with open(path, "w") as file:
            json.dump(dict({"log": {"loglevel": "debug"}}, **config), file)
        super().__init__(namespace, [rig.find_program("v2ray"), "-config", path], path + ".log")
        rig.wait_for(lambda: rig.accepts(namespace, *wait) or not self.alive(), 20,
                     "v2ray listens; log:\n" + self.log()[-2000:])
        assert self.alive(), self.log()


def vmess_in(port, listen=rig.SERVER_IP, clients=None, tag="vmess-in", **more):
    return dict({"tag": tag, "listen": listen, "port": port, "protocol": "vmess", "settings": {
        "clients": clients or [{"id": rig.USER, "email": "vmess@test"}]}}, **more)


def vmess_out(port, server=rig.SERVER_IP, user=rig.USER, tag="proxy", security="auto", **more):
    return dict({"tag": tag, "protocol": "vmess", "settings": {"vnext": [{
        "address": server, "port": port, "users": [{"id": user, "security": security}]}]}}, **more)


def socks_in(port, listen="127.0.0.1"):
    return {"tag": "socks", "listen": listen, "port": port, "protocol": "socks",
            "settings": {"auth": "noauth"}}


FREEDOM = {"tag": "direct", "protocol": "freedom", "settings": {
    "finalRules": [{"action": "allow"}]}}
