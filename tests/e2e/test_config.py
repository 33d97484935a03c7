# SPDX-License-Identifier: MIT
"""Configuration: what is wrong is named by file, line and path; exit status 2; `culvert check` agrees."""

import glob
import json
import os
import re
import shutil
import subprocess

import pytest
import rig

GOOD = """// a comment
{
  "log": {"loglevel": "warning"}, # another
  "inbounds": [{
    "tag": "in", "listen": "127.0.0.1", "port": 1099, "protocol": "socks",
    "settings": {"auth": "noauth"}
  }],
  /* and a
     third */
  "outbounds": [{"tag": "direct", "protocol": "freedom"}],
  "culvert": {"workers": 1, "controlSocket": ""}
}
"""

# (what, text to replace, replacement, line of the finding, what it must mention)
BAD = [
    ("port not a number", '"port": 1099', '"port": "x9"', 5, "port"),
    ("port too large", '"port": 1099', '"port": 70000', 5, "port"),
    ("no port", '"port": 1099, ', "", None, "port"),
    ("unknown protocol", '"protocol": "socks"', '"protocol": "carrier-pigeon"', 5, "protocol"),
    ("a string where an object belongs", '{"auth": "noauth"}', '"noauth"', 6, "settings"),
    ("unknown auth", '"auth": "noauth"', '"auth": "retina"', 6, "auth"),
    ("listen on a name", '"listen": "127.0.0.1"', '"listen": "example.com"', 5, "listen"),
    ("unknown outbound", '"protocol": "freedom"', '"protocol": "freedumb"', 10, "protocol"),
    ("unknown log level", '"loglevel": "warning"', '"loglevel": "loud"', 3, "loglevel"),
    ("workers out of range", '"workers": 1', '"workers": -1', 11, "workers"),
    ("unknown engine", '"workers": 1', '"workers": 1, "engine": "steam"', 11, "engine"),
    ("inbounds not a list", '"inbounds": [{', '"inbounds": 5, "x": [{', 4, "inbounds"),
    ("not JSON", '"outbounds"', '"outbounds', 10, ""),
    ("cut off", '"culvert": {"workers": 1, "controlSocket": ""}\n}', '"culvert": {', None, ""),
]

VLESS = {
    "inbounds": [{"tag": "v", "listen": "127.0.0.1", "port": 1098, "protocol": "vless",
                  "settings": {"decryption": "none", "clients": [{"id": rig.USER, "email": "a@b"}]},
                  "streamSettings": {"network": "raw", "security": "reality", "realitySettings": {
                      "target": "127.0.0.1:9", "serverNames": ["a.test"], "shortIds": [""],
                      "privateKey": "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA"}}}],
    "outbounds": [{"protocol": "freedom"}],
    "culvert": {"controlSocket": ""},
}


def drop(*path):
    def change(config):
        for key in path[:-1]:
            config = config[key]
        del config[path[-1]]
    return change


def put(value, *path):
    def change(config):
        for key in path[:-1]:
            config = config[key]
        config[path[-1]] = value
    return change


REALITY = ("inbounds", 0, "streamSettings", "realitySettings")
USERS = ("inbounds", 0, "settings", "clients")
BAD_VLESS = [
    ("no decryption", drop("inbounds", 0, "settings", "decryption"), "decryption"),
    ("decryption not none", put("aes", "inbounds", 0, "settings", "decryption"), "decryption"),
    ("id of 31 characters", put("x" * 31, *USERS, 0, "id"), "id"),
    ("unknown flow", put("xtls-rprx-direct", *USERS, 0, "flow"), "flow"),
    ("the same email twice", put([{"id": rig.USER, "email": "a@b"},
                                  {"id": rig.PLAIN_USER, "email": "A@B"}], *USERS), "email"),
    ("no private key", drop(*REALITY, "privateKey"), "privateKey"),
    ("private key too short", put("AQID", *REALITY, "privateKey"), "privateKey"),
    ("private key not base64", put("!" * 43, *REALITY, "privateKey"), "privateKey"),
    ("no server names", put([], *REALITY, "serverNames"), "serverNames"),
    ("no short ids", drop(*REALITY, "shortIds"), "shortIds"),
    ("short id too long", put(["0123456789abcdef01"], *REALITY, "shortIds"), "shortIds"),
    ("odd short id", put(["abc"], *REALITY, "shortIds"), "shortIds"),
    ("short id not hex", put(["zz"], *REALITY, "shortIds"), "shortIds"),
    ("xver 3", put(3, *REALITY, "xver"), "xver"),
    ("version", put("26.300.1", *REALITY, "minClientVer"), "minClientVer"),
    ("unknown security", put("rot13", "inbounds", 0, "streamSettings", "security"), "security"),
    ("unknown network", put("carrier", "inbounds", 0, "streamSettings", "network"), "network"),
    ("rule without outbound", put({"rules": [{"port": "53"}]}, "routing"), "outboundTag"),
    ("fallback without dest", put([{"path": "/x"}], "inbounds", 0, "settings", "fallbacks"), "dest"),
]


def run(program, path, *arguments):
    return subprocess.run([os.path.join(rig.build_dir(), program), *arguments, path], timeout=20,
                          capture_output=True, text=True, stdin=subprocess.DEVNULL)


def write(tmp, text, name="config.json"):
    path = os.path.join(tmp, name)
    with open(path, "w") as file:
        file.write(text)
    return path


def both_refuse(path, line, mention):
    for program, arguments in (("culvertd", ["-c"]), ("culvert", ["check"])):
        done = run(program, path, *arguments)
        output = done.stdout + done.stderr
        assert done.returncode == 2, "%s: status %d: %s" % (program, done.returncode, output)
        found = re.findall(re.escape(os.path.basename(path)) + r":(\d+)", output)
        assert found, "%s names no file:line: %s" % (program, output)
        assert line is None or str(line) in found, "%s: line %s expected: %s" % (program, line, output)
        assert mention.lower() in output.lower(), "%s does not mention %s: %s" % (program, mention,
                                                                                  output)


def test_comments_are_allowed(build, tmp):
    done = run("culvert", write(tmp, GOOD), "check")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("what, old, new, line, mention", BAD, ids=[b[0] for b in BAD])
def test_bad_configuration(build, tmp, what, old, new, line, mention):
    assert old in GOOD
    both_refuse(write(tmp, GOOD.replace(old, new)), line, mention)


@pytest.mark.parametrize("what, change, mention", BAD_VLESS, ids=[b[0] for b in BAD_VLESS])
def test_bad_vless_configuration(build, tmp, what, change, mention):
    config = json.loads(json.dumps(VLESS))
    change(config)
    both_refuse(write(tmp, json.dumps(config, indent=1)), None, mention)


def test_good_vless_configuration(build, tmp):
    done = run("culvert", write(tmp, json.dumps(VLESS)), "check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_unknown_keys_warn(build, tmp):
    text = GOOD.replace('"tag": "in"', '"tag": "in", "colour": "blue"')
    done = run("culvert", write(tmp, text), "check")
    output = done.stdout + done.stderr
    assert done.returncode == 0 and "colour" in output and "inbounds[0]" in output, output


def test_all_findings_are_reported(build, tmp):
    text = GOOD.replace('"port": 1099', '"port": "x9"').replace("freedom", "freedumb")
    done = run("culvert", write(tmp, text), "check")
    output = done.stdout + done.stderr
    assert "port" in output and "protocol" in output, output


def test_missing_file(build, tmp):
    for program, arguments in (("culvertd", ["-c"]), ("culvert", ["check"])):
        done = run(program, os.path.join(tmp, "absent.json"), *arguments)
        assert done.returncode == 2 and "absent.json" in done.stdout + done.stderr


def test_keys_are_case_insensitive(build, tmp):
    text = GOOD.replace('"protocol"', '"Protocol"').replace('"inbounds"', '"InBounds"')
    done = run("culvert", write(tmp, text), "check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_port_in_use(build, net, tmp):
    """Not a configuration error, but an error with the address in it."""
    config = rig.socks_only_config(1097)
    first = rig.Culvert(net.server, tmp, config, "first", wait=(("127.0.0.1", 1097),))
    with rig.running(first):
        with net.server:
            taken = rig.socket.create_server(("127.0.0.1", 1096))
        with taken:
            path = write(tmp, json.dumps(dict(rig.socks_only_config(1096),
                                              culvert={"controlSocket": ""})))
            done = subprocess.run([os.path.join(rig.build_dir(), "culvertd"), "-c", path], timeout=20,
                                  capture_output=True, text=True, preexec_fn=net.server.enter)
        assert done.returncode not in (0, -6, -11), done.returncode
        assert "1096" in done.stderr + done.stdout, done.stderr


CONF = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "conf")


def test_shipped_examples(build):
    """Every file in conf/ is a configuration that loads, or says what there is to fill in."""
    files = glob.glob(os.path.join(CONF, "*.json"))
    missing = {"vless-tls.json": [], "users.json": None, "external_proxy.json": None,
               "bridge.json": ["users[0].id: expected a UUID"],
               "portal.json": ["clients[0].id: expected a UUID"],
               "client.json": ["outbounds[0].settings.id: expected a UUID",
                               "password: expected base64", "shortId: expected"],
               "vpn-server.json": ['"culvert user set-id alice"', '"culvert user set-id carol"',
                                   "privateKey: expected base64", "combined.pem: No such file"]}
    assert sorted(map(os.path.basename, files)) == sorted(missing)
    for path in files:
        wanted = missing[os.path.basename(path)]
        if wanted is None:
            continue
        done = run("culvertd", path, "-t", "-c")
        output = done.stdout + done.stderr
        assert done.returncode == (2 if wanted else 0), path + "\n" + output
        errors = [line for line in output.splitlines() if line.startswith("error: ")]
        assert len(errors) == len(wanted) + (wanted[-1:] == ["combined.pem: No such file"]), output
        for text in wanted:
            assert text in output, output


def culvert(*arguments, text=""):
    done = subprocess.run([os.path.join(rig.build_dir(), "culvert"), *arguments], input=text,
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, (arguments, done.stdout + done.stderr)
    return done.stdout


def test_the_example_filled_in_as_readme_says(build, tmp, authority):
    """The commands of README, "A whole server"; then nothing is missing, and there are links."""
    folder = os.path.join(tmp, "whole-server")
    os.mkdir(folder)
    for name in ("vpn-server.json", "users.json", "external_proxy.json"):
        shutil.copy(os.path.join(CONF, name), folder)
    path = os.path.join(folder, "vpn-server.json")
    with open(path) as file:
        text = file.read()
    with open(path, "w") as file:
        file.write(text.replace("PRIVATE-KEY", json.loads(culvert("keys", "--json"))["privateKey"]))
    with open(os.path.join(folder, "combined.pem"), "wb") as combined:
        for part in authority.issue("vpn.example.net"):
            with open(part, "rb") as file:
                combined.write(file.read())
    for name in ("alice", "bob", "carol"):
        culvert("user", "set-id", name, "-c", path, "--no-reload")
        culvert("user", "set-password", name, "-c", path, "--no-reload", "--password-stdin",
                text=name + "'s")
    culvert("proxy", "update", "proxy-1", "--address", "192.0.2.1", "--user", "me",
            "--password-stdin", "-c", path, "--no-reload", text="secret")
    done = run("culvertd", path, "-t", "-c")
    assert (done.returncode, done.stdout + done.stderr) == (0, ""), done.stdout + done.stderr
    ways = {name: [way["link"].split("@")[1].split("?")[0] for way in json.loads(culvert(
        "link", name, "-c", path, "--host", "vpn.example.net", "--json"))["ways"]]
            for name in ("alice", "bob", "carol")}
    proxies = ["vpn.example.net:1080", "vpn.example.net:8118"]
    assert ways["bob"] == proxies
    assert ways["alice"] == ways["carol"] == ["vpn.example.net:443"] + proxies, ways
    client = culvert("link", "alice", "-c", path, "--host", "vpn.example.net", "--client")
    with open(os.path.join(folder, "client.json"), "w") as file:
        file.write(client)
    culvert("check", os.path.join(folder, "client.json"), "--offline")
    with open(os.path.join(folder, "users.json")) as file:
        users = json.load(file)["users"]
    assert len({user["uuid"] for user in users} | {user["shortId"] for user in users}) == 6
    assert not any(user["uuid"].startswith("00000000") for user in users)
