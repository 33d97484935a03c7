# SPDX-License-Identifier: MIT
"""People: users.json, passwords, bans, ways in, and the commands that change them."""

import json
import os
import re
import statistics
import subprocess
import threading
import time
import urllib.parse
import uuid

import pytest
import rig

PORT = 1095
OTHER_CLIENT_IP = "10.77.1.77"
HASH_COST = "10"  # yescrypt's factor: slow enough to be measured on any machine


def mkpasswd(method, password, *options):
    return subprocess.run(["mkpasswd", "-m", method, *options, password], check=True,
                          capture_output=True, text=True).stdout.strip()


def argon2id(password):
    return subprocess.run(["argon2", "salt-and-salt", "-id", "-e", "-t", "2", "-k", "19456"],
                          input=password, check=True, capture_output=True, text=True).stdout.strip()


def openssl_sha512(password):
    return subprocess.run(["openssl", "passwd", "-6", password], check=True, capture_output=True,
                          text=True).stdout.strip()


def user(name, **more):
    return dict({"username": name, "uuid": str(uuid.uuid5(uuid.NAMESPACE_DNS, name))}, **more)


def write_users(net, path, *users, mode=0o600, **more):
    with open(path, "w") as file:
        json.dump(dict({"users": list(users)}, **more), file)
    os.chmod(path, mode)
    if net.server.pins:
        os.chown(path, rig.NOBODY, rig.NOBODY)
    return path


def socks_inbound(path, port=PORT, tag="socks-in", **settings):
    return {"tag": tag, "listen": rig.SERVER_IP, "port": port, "protocol": "socks",
            "settings": dict({"auth": "password", "usersFile": path}, **settings)}


def vless_inbound(path, port):
    return {"tag": "vless-in", "listen": rig.SERVER_IP, "port": port, "protocol": "vless",
            "settings": {"decryption": "none", "usersFile": path}}


def http_inbound(path, port):
    return {"tag": "http-in", "listen": rig.SERVER_IP, "port": port, "protocol": "http",
            "settings": {"usersFile": path}}


def config_of(*inbounds):
    return {"inbounds": list(inbounds), "outbounds": [
        {"tag": "direct", "protocol": "freedom",
         "settings": {"finalRules": [{"action": "allow"}]}}]}


def start(net, tmp, *inbounds, **culvert):
    return rig.Culvert(net.server, tmp, config_of(*inbounds), "users",
                       wait=[(i["listen"], i["port"]) for i in inbounds], **culvert)


def log_in(net, name, password, port=PORT, source=None):
    """The status byte of RFC 1929, and how the connection goes on."""
    with net.client:
        connection = rig.socket.create_connection(
            (rig.SERVER_IP, port), 30, source_address=(source, 0) if source else None)
    with connection:
        name, password = name.encode(), password.encode()
        connection.sendall(b"\5\1\2\1" + bytes([len(name)]) + name +
                           bytes([len(password)]) + password)
        answer = rig.exactly(connection, 4)
        assert answer[:3] == b"\5\2\1", answer
        if answer[3]:
            assert rig.read_all(connection, 5) == (b"", "fin")
        return answer[3]


def check(tmp, config, name="check"):
    """culvertd -t: (status, text)."""
    path = os.path.join(tmp, "%s.json" % name)
    with open(path, "w") as file:
        json.dump(config, file)
    done = subprocess.run([os.path.join(rig.build_dir(), "culvertd"), "-t", "-c", path],
                          capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


# ---- users.json --------------------------------------------------------------------------------


GOOD_HASH = "$6$abc$iQFHHWJOI40scu4Gylo.RUX5qq2J0kAQ9qk8M8JCig3MKOyGfg6xrt2X0zi9IVWqPDD3hf2iC" \
            "/X.tKtPW3NS60"

BAD_USERS = [
    ("invalid uuid", [user("alice", uuid="12345678-1234-1234-1234-1234567890zz")],
     'users[0].uuid: user alice: expected a UUID, found "12345678-1234-1234-1234-1234567890zz"'),
    ("no uuid", [{"username": "alice"}], "user alice: expected a UUID"),
    ("bad name", [user("Alice")], "users[0].username: expected a name like"),
    ("twice the name", [user("alice"), user("alice", uuid=rig.USER)], "same name as"),
    ("twice the uuid", [user("alice"), user("bobby", uuid=user("alice")["uuid"])], "same id as"),
    ("twice the e-mail", [user("alice", email="a@x"), user("bobby", email="A@x")], "same email as"),
    ("flow", [user("alice", flow="xtls-rprx-direct")], "users[0].flow: expected"),
    ("type", [user("alice", connection_type="all")], "connection_type: expected one of"),
    ("enabled", [user("alice", enabled="yes")], "users[0].enabled"),
]


@pytest.mark.parametrize("what, users, finding", BAD_USERS, ids=[b[0] for b in BAD_USERS])
def test_row_021_bad_users_are_named(net, tmp, what, users, finding):
    path = write_users(net, os.path.join(tmp, "bad-users.json"), *users)
    status, text = check(tmp, config_of(vless_inbound(path, 4001)))
    assert status == 2 and finding in text, text
    assert "bad-users.json:1" in text


def test_row_021_good_users_and_unknown_keys(net, tmp):
    path = write_users(net, os.path.join(tmp, "good-users.json"), user(
        "alice", email="alice@x", flow=rig.VISION, shortId="0a", colour="blue", mtproxy={"x": [1]},
        socks_password=GOOD_HASH, connection_type="both"), metadata={"version": 5})
    assert check(tmp, config_of(vless_inbound(path, 4001), socks_inbound(path)))[0] == 0
    os.chmod(path, 0o644)
    status, text = check(tmp, config_of(socks_inbound(path)))
    assert status == 0 and "can be read by others" in text
    status, text = check(tmp, config_of(socks_inbound(path, strictPermissions=True)))
    assert status == 2 and "can be read by others" in text


@pytest.mark.parametrize("text", ["", "{", "[]", '{"users": {}}', '{"users": [1]}', "\0", "{}"])
def test_row_021_damaged_file(net, tmp, text):
    path = os.path.join(tmp, "damaged-users.json")
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, 0o600)
    status, found = check(tmp, config_of(socks_inbound(path)))
    assert status == 2 and "damaged-users.json" in found, found


# ---- passwords ---------------------------------------------------------------------------------


MADE = {
    "yescrypt": lambda password: mkpasswd("yescrypt", password),
    "gost-yescrypt": lambda password: mkpasswd("gost-yescrypt", password),
    "scrypt": lambda password: mkpasswd("scrypt", password),
    "sha512-crypt": lambda password: mkpasswd("sha512crypt", password, "-R", "500000"),
    "openssl-sha512": openssl_sha512,
    "sha256-crypt": lambda password: mkpasswd("sha256crypt", password),
    "bcrypt": lambda password: mkpasswd("bcrypt", password, "-R", "12"),
    "argon2id": argon2id,
}


def test_row_053_hashes_of_other_programs(net, tmp, internet):
    passwords = {"u-%s" % kind: "wonder %s land" % kind for kind in MADE}
    users = [user(name, socks_password=MADE[name[2:]](password))
             for name, password in passwords.items()]
    users[0]["proxy_password"] = GOOD_HASH  # second to socks_password
    users[1]["proxy_password"] = users[1].pop("socks_password")
    path = write_users(net, os.path.join(tmp, "hashes.json"), *users)
    with rig.running(start(net, tmp, socks_inbound(path), loginFailures=0)):
        for name, password in passwords.items():
            status, body, error = rig.curl(
                net.client, "-x", "socks5h://%s:%s@%s:%d" % (
                    name, password.replace(" ", "%20"), rig.SERVER_IP, PORT),
                "http://%s/" % rig.INTERNET_IP)
            assert (status, body) == (0, b"the internet\n"), (name, error)
            for wrong in (password + "x", password[:-1], password.upper(), ""):
                assert log_in(net, name, wrong) == 1, (name, wrong)
            assert log_in(net, name + "x", password) == 1
        # a stored form opens nothing
        assert log_in(net, users[2]["username"], users[2]["socks_password"]) == 1


def test_row_053_damaged_hashes_are_told(net, tmp):
    for kind, damage in (("$1$abc$O7SbpwjRTRrbJ3UzeXgZK/", "expected a hash that begins with"),
                         (GOOD_HASH[:-1], "the hash is cut or damaged"),
                         ("clear-word", "stored in clear")):
        path = write_users(net, os.path.join(tmp, "damaged-hash.json"),
                           user("alice", socks_password=kind))
        status, text = check(tmp, config_of(socks_inbound(path)))
        assert status == 2 and damage in text, text
        assert kind not in text and "users[0].socks_password" in text
    path = write_users(net, os.path.join(tmp, "clear.json"), user("alice", socks_password="clear"))
    status, text = check(tmp, config_of(socks_inbound(path, allowPlain=True)))
    assert status == 0 and "stored in clear" in text


def cpu_seconds(daemon):
    with open("/proc/%d/stat" % daemon.pid) as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.fixture
def slow_user(net, tmp, internet):
    """alice, whose hash takes a while; no bans."""
    path = write_users(net, os.path.join(tmp, "slow.json"), user(
        "alice", socks_password=mkpasswd("yescrypt", "pw", "-R", HASH_COST)))
    daemon = start(net, tmp, socks_inbound(path), loginFailures=0, loglevel="warning")
    with rig.running(daemon):
        yield daemon


def test_row_054_a_thousand_logins_cost_a_hash(net, slow_user):
    before = cpu_seconds(slow_user)
    assert log_in(net, "alice", "pw") == 0
    one_hash = cpu_seconds(slow_user) - before
    assert one_hash > 0.1, "a hash took %g s: nothing can be seen by it" % one_hash
    before = cpu_seconds(slow_user)
    since = time.monotonic()
    for _ in range(1000):
        assert log_in(net, "alice", "pw") == 0
    seconds = max(1, time.monotonic() - since)
    hashes = (cpu_seconds(slow_user) - before) / one_hash
    assert hashes < seconds, "%g hashes in %g s" % (hashes, seconds)


def test_row_054_unknown_users_take_as_long(net, slow_user):
    """By the daemon's own work: who waits for an answer also waits for whatever else runs here."""
    def took(name, password):
        since = time.monotonic()
        before = cpu_seconds(slow_user)
        assert log_in(net, name, password) == 1
        assert time.monotonic() - since > 0.1
        return cpu_seconds(slow_user) - before

    wrong, unknown = [], []
    for i in range(9):
        wrong.append(took("alice", "wrong%d" % i))
        unknown.append(took("nobody%d" % i, "pw"))
    wrong, unknown = statistics.median(wrong), statistics.median(unknown)
    assert wrong > 0.1 and 0.7 < unknown / wrong < 1.4, (wrong, unknown)


def test_row_054_the_loop_goes_on_while_hashes_are_computed(net, slow_user, internet):
    """A flood of wrong passwords delays no session, and each of them waits its turn."""
    connection = rig.tcp(net.client, rig.SERVER_IP, PORT)
    assert rig.socks_handshake(connection, rig.INTERNET_IP, 80, ("alice", "pw")) == 0
    guesses = [threading.Thread(target=log_in, args=(net, "alice", "guess%d" % i))
               for i in range(10)]
    for guess in guesses:
        guess.start()
    time.sleep(0.2)
    waits = []
    while any(guess.is_alive() for guess in guesses):
        since = time.monotonic()
        connection.sendall(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
        text = b""
        while b"\r\n\r\n" not in text:
            text += connection.recv(4096)
        waits.append(time.monotonic() - since)
        time.sleep(0.02)
    assert statistics.median(waits) < 0.1, waits


# ---- bans --------------------------------------------------------------------------------------


@pytest.fixture
def two_sources(net):
    net.client.ip("addr", "add", OTHER_CLIENT_IP + "/24", "dev", net.client.links[net.server.name])
    yield
    net.client.ip("addr", "del", OTHER_CLIENT_IP + "/24", "dev", net.client.links[net.server.name])


def fail2ban_matches(tmp, log):
    """Addresses that fail2ban-regex finds with the filter we ship."""
    done = subprocess.run(
        ["fail2ban-regex", "--out", "ip", log,
         os.path.abspath(os.path.join(os.path.dirname(__file__), "../../conf/fail2ban/culvert.conf"))],
        capture_output=True, text=True, timeout=60, cwd=tmp)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return [line for line in done.stdout.splitlines() if re.fullmatch(r"[0-9.:a-f]+", line)]


def test_row_055_the_sixth_login_is_refused(net, tmp, internet, two_sources):
    path = write_users(net, os.path.join(tmp, "bans.json"), user(
        "alice", socks_password=mkpasswd("yescrypt", "pw", "-R", "1")))
    daemon = start(net, tmp, socks_inbound(path), loglevel="info", loginBanSeconds=4)
    with rig.running(daemon):
        for i in range(4):
            assert log_in(net, "alice" if i % 2 else "nobody", "guess") == 1
        assert log_in(net, "alice", "pw") == 0
        assert log_in(net, "alice", "guess") == 1
        assert log_in(net, "alice", "pw") == 1  # the address is banned
        assert log_in(net, "alice", "pw", source=OTHER_CLIENT_IP) == 0
        daemon.wait_reason("policy_banned")
        rig.wait_for(lambda: log_in(net, "alice", "pw") == 0, 15, "the ban ends", pause=0.3)
        log = daemon.log()
        assert log.count("warning login failed: client=%s " % rig.CLIENT_IP) == 5
        assert log.count("login banned: client=%s failures=5 seconds=4" % rig.CLIENT_IP) == 1
        assert OTHER_CLIENT_IP not in re.findall(r"login failed: client=(\S+)", log)
        assert fail2ban_matches(tmp, daemon.log_path) == [rig.CLIENT_IP] * 5


def test_row_055_a_flood_from_one_address(net, tmp, internet, two_sources):
    """Guesses that come all at once are no way around the limit, and cost no more hashes."""
    path = write_users(net, os.path.join(tmp, "flood.json"), user(
        "alice", socks_password=mkpasswd("yescrypt", "pw", "-R", "5")))
    daemon = start(net, tmp, socks_inbound(path), loglevel="info")
    with rig.running(daemon):
        guesses = [threading.Thread(target=log_in, args=(net, "alice", "guess%d" % i))
                   for i in range(60)]
        for guess in guesses:
            guess.start()
        for guess in guesses:
            guess.join()
        assert daemon.log().count("warning login failed") <= 6  # one hash may be under way
        assert log_in(net, "alice", "pw", source=OTHER_CLIENT_IP) == 0


def test_row_055_behind_a_front(net, tmp, internet):
    """Who comes through a front that tells addresses is banned by the own one, not by the front's."""
    path = write_users(net, os.path.join(tmp, "front.json"), user(
        "alice", socks_password=mkpasswd("yescrypt", "pw", "-R", "1")))
    inbound = dict(socks_inbound(path), streamSettings={
        "rawSettings": {"acceptProxyProtocol": True}})
    with rig.running(start(net, tmp, inbound)) as (daemon,):
        def come(source, password):
            connection = rig.tcp(net.client, rig.SERVER_IP, PORT)
            connection.sendall(b"PROXY TCP4 %s 192.0.2.1 40000 1080\r\n\5\1\2\1\5alice%c%s" % (
                source, len(password), password))
            answer = rig.exactly(connection, 4)
            connection.close()
            return answer[3]

        assert [come(b"198.51.100.7", b"guess") for _ in range(5)] == [1] * 5
        assert come(b"198.51.100.7", b"pw") == 1
        assert come(b"198.51.100.8", b"pw") == 0
        assert daemon.log().count("login banned: client=198.51.100.7 failures=5") == 1


# ---- ways in -----------------------------------------------------------------------------------


def vless_client(net, tmp, server_port, user_id, socks_port):
    return rig.Culvert(net.client, tmp, rig.client_config(
        socks_port, server_port, {"network": "raw", "security": "none"}, user=user_id, flow=""),
        "way-in", wait=(("127.0.0.1", socks_port),))


def test_row_113_ways_in_and_disabled(net, tmp, internet):
    hashed = mkpasswd("yescrypt", "pw", "-R", "1")
    kinds = [user("both-ways", socks_password=hashed),
             user("only-vpn", socks_password=hashed, connection_type="vpn"),
             user("only-proxy", socks_password=hashed, connection_type="proxy"),
             user("disabled", socks_password=hashed, enabled=False)]
    path = write_users(net, os.path.join(tmp, "ways.json"), *kinds)
    daemon = start(net, tmp, socks_inbound(path), vless_inbound(path, PORT + 1),
                   http_inbound(path, PORT + 3), loginFailures=0)
    with rig.running(daemon):
        for who, socks, vless in zip(kinds, (True, False, True, False),
                                     (True, True, False, False)):
            assert (log_in(net, who["username"], "pw") == 0) == socks, who
            status, body, _ = rig.curl(net.client, "-x", "http://%s:pw@%s:%d" % (
                who["username"], rig.SERVER_IP, PORT + 3), "http://%s/" % rig.INTERNET_IP)
            assert (body == b"the internet\n") == socks, (who, status)
            client = vless_client(net, tmp, PORT + 1, who["uuid"], PORT + 2)
            with rig.running(client):
                status, body, _ = rig.curl(net.client, "-x", "socks5h://127.0.0.1:%d" % (PORT + 2),
                                           "http://%s/" % rig.INTERNET_IP)
                assert (status == 0 and body == b"the internet\n") == vless, (who, status)
        assert daemon.reason_count("policy_user_disabled") >= 1
        names = [u["name"] or u["email"] for u in daemon.ask("users")["users"]]
        assert any("only-vpn" in name for name in names)


# ---- the log -----------------------------------------------------------------------------------


def test_row_114_no_secret_in_the_log(net, tmp, internet):
    """Passwords and ids are nowhere in the log, whatever its level; failures are one stable line."""
    password, wrong, strange = "pw-4f1c92", "wrong-93ac1f", "name-or-password-77"
    hashed = mkpasswd("yescrypt", password, "-R", "1")
    alice = user("alice", socks_password=hashed)
    path = write_users(net, os.path.join(tmp, "secrets.json"), alice)
    daemon = start(net, tmp, socks_inbound(path), vless_inbound(path, PORT + 1))
    with rig.running(daemon):
        assert log_in(net, "alice", password) == 0
        assert log_in(net, "alice", wrong) == 1
        assert log_in(net, strange, wrong) == 1
        # bytes that would make a line of their own
        assert log_in(net, "x\r\n2026-01-01 warning login failed: client=192.0.2.9", "y") == 1
        client = vless_client(net, tmp, PORT + 1, alice["uuid"], PORT + 2)
        with rig.running(client):
            assert rig.curl(net.client, "-x", "socks5h://127.0.0.1:%d" % (PORT + 2),
                            "http://%s/" % rig.INTERNET_IP)[0] == 0
        daemon.wait_idle()
        log = daemon.log()
        for secret in (password, wrong, strange, hashed, alice["uuid"],
                       alice["uuid"].replace("-", ""), "192.0.2.9"):
            assert secret not in log, secret
        lines = [line for line in log.splitlines() if "login failed" in line]
        assert len(lines) == 3
        for line in lines:
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z warning login failed: "
                                r"client=10\.77\.1\.2 inbound=socks-in reason=peer_credentials",
                                line), line
        assert fail2ban_matches(tmp, daemon.log_path) == [rig.CLIENT_IP] * 3


# ---- culvert user ------------------------------------------------------------------------------


def culvert_user(*arguments, status=0, text=""):
    done = subprocess.run([os.path.join(rig.build_dir(), "culvert"), "user", *arguments],
                          input=text, capture_output=True, text=True, timeout=60)
    assert done.returncode == status, "%s: %d\n%s%s" % (arguments, done.returncode, done.stdout,
                                                        done.stderr)
    return done.stdout if status == 0 else done.stderr


def read_users(path):
    with open(path) as file:
        return {entry["username"]: entry for entry in json.load(file)["users"]}


@pytest.fixture
def users_path(tmp):
    directory = os.path.join(tmp, "users-%s" % uuid.uuid4().hex[:8])
    os.mkdir(directory)
    return os.path.join(directory, "users.json")


def test_row_068_add_list_show_remove(net, tmp, users_path):
    place = ["--file", users_path, "--no-reload"]
    made = json.loads(culvert_user("add", "alice", "--json", *place))
    assert re.fullmatch("[0-9a-f]{32}", made["password"])
    culvert_user("add", "bobby", "--email", "bob@example.com", "--type", "proxy", "--flow", "",
                 "--password-stdin", *place, text="secret word\n")
    assert uuid.UUID(made["uuid"]).version == 4
    listed = json.loads(culvert_user("list", "--json", *place))["users"]
    assert [entry["username"] for entry in listed] == ["alice", "bobby"]
    for shown in (culvert_user("list", *place), culvert_user("list", "--json", *place),
                  culvert_user("show", "alice", *place), culvert_user("show", "bobby", *place),
                  culvert_user("show", "bob@example.com", "--json", *place)):
        assert "alice" in shown or "bobby" in shown
        for name, entry in read_users(users_path).items():
            assert entry["uuid"] not in shown and entry["proxy_password"] not in shown, name
    for what in ("enable", "disable"):
        culvert_user(what, "alice", *place)
        assert read_users(users_path)["alice"]["enabled"] is (what == "enable")
    for proxy, stored in (("proxy-1", "proxy-1"), ("none", None)):
        culvert_user("set-proxy", "alice", proxy, *place)
        assert read_users(users_path)["alice"]["external_proxy_id"] == stored
    before = read_users(users_path)["alice"]["proxy_password"]
    fresh = json.loads(culvert_user("set-password", "alice", "--json", *place))["password"]
    assert fresh != made["password"]
    assert read_users(users_path)["alice"]["proxy_password"] != before
    culvert_user("remove", "alice", *place)
    assert "the last user is not removed" in culvert_user("remove", "bobby", *place, status=1)
    assert list(read_users(users_path)) == ["bobby"]


def test_row_068_what_is_refused_changes_nothing(net, tmp, users_path):
    place = ["--file", users_path, "--no-reload"]
    culvert_user("add", "alice", *place)
    with open(users_path) as file:
        before = file.read()
    for arguments, finding in ((["add", "alice"], "is there already"),
                               (["add", "Bad Name"], "expected a name like"),
                               (["add", "bobby", "--type", "all"], "connection_type"),
                               (["add", "bobby", "--flow", "x"], "flow: expected"),
                               (["add", "bobby", "--email", "ALICE@vless.local"], "already"),
                               (["remove", "nobody"], "no user is called so"),
                               (["set-proxy", "alice", "a b"], "no id of a proxy")):
        assert finding in culvert_user(*arguments, *place, status=1), arguments
    assert "usage" in culvert_user("remove", *place, status=2)
    assert "usage" in culvert_user("set-password", "alice", "--no-password", *place, status=2)
    with open(users_path) as file:
        assert file.read() == before


def test_row_068_parallel_adds(net, tmp, users_path):
    """None is lost, whoever comes first; and the list is read in between at any time."""
    culvert_user("add", "first", "--file", users_path, "--no-reload")
    adding = [subprocess.Popen([os.path.join(rig.build_dir(), "culvert"), "user", "add",
                                "user-%02d" % i, "--file", users_path, "--no-reload"],
                               stdout=subprocess.DEVNULL) for i in range(24)]
    while any(child.poll() is None for child in adding):
        assert "first" in read_users(users_path)
    assert all(child.wait() == 0 for child in adding)
    found = read_users(users_path)
    assert sorted(found) == sorted(["first"] + ["user-%02d" % i for i in range(24)])
    assert len({entry["uuid"] for entry in found.values()}) == 25


def test_row_068_the_daemon_takes_what_the_command_made(net, tmp, internet, users_path):
    """By the configuration, which names the file; the password it printed opens the door."""
    write_users(net, users_path, user("first"))
    config = os.path.join(os.path.dirname(users_path), "culvert.json")
    with open(config, "w") as file:
        json.dump(config_of(socks_inbound("users.json")), file)
    made = json.loads(culvert_user("add", "alice", "-c", config, "--json", "--no-reload"))
    assert made["file"] == users_path
    with rig.running(start(net, tmp, socks_inbound(users_path))):
        assert log_in(net, "alice", made["password"]) == 0
        assert log_in(net, "first", "") == 1


def test_row_070_killed_at_any_instant(net, tmp, users_path):
    place = ["--file", users_path, "--no-reload"]
    write_users(net, users_path, user("first", colour="blue", proxies=[1, {"a": 2.50}]),
                metadata={"version": 5, "note": "kept"})
    culvert_user("add", "second", *place)
    command = [os.path.join(rig.build_dir(), "culvert"), "user", "set-proxy", "second"]
    for i in range(120):
        child = subprocess.Popen(command + ["proxy-%d" % i] + place, stdout=subprocess.DEVNULL)
        time.sleep(0.0002 * (i % 50))
        child.kill()
        child.wait()
        found = read_users(users_path)
        assert found["first"]["colour"] == "blue", i
        assert oct(os.stat(users_path).st_mode & 0o777) == "0o600"
    culvert_user("set-proxy", "second", "proxy-last", *place)
    with open(users_path) as file:
        found = json.load(file)
    assert found["users"][1]["external_proxy_id"] == "proxy-last"
    assert found["metadata"] == {"version": 5, "note": "kept"}
    assert found["users"][0]["proxies"] == [1, {"a": 2.5}]
    assert sorted(os.listdir(os.path.dirname(users_path))) == ["users.json", "users.json.lock"]


def test_row_070_permissions_and_owner(net, tmp, users_path):
    write_users(net, users_path, user("first"), mode=0o644)
    os.chown(users_path, rig.NOBODY, rig.NOBODY)
    culvert_user("disable", "first", "--file", users_path, "--no-reload")
    status = os.stat(users_path)
    assert (status.st_mode & 0o777, status.st_uid, status.st_gid) == (0o600, rig.NOBODY, rig.NOBODY)


def test_row_070_a_damaged_or_commented_file_is_left_alone(net, tmp, users_path):
    for text in ('{"users": [', '{"users": [] /* mine */}', '{"users": {}}', "[]"):
        with open(users_path, "w") as file:
            file.write(text)
        culvert_user("add", "alice", "--file", users_path, "--no-reload", status=1)
        with open(users_path) as file:
            assert file.read() == text


# ---- culvert link ------------------------------------------------------------------------------


def culvert_link(*arguments, status=0, text=""):
    done = subprocess.run([os.path.join(rig.build_dir(), "culvert"), "link", *arguments],
                          input=text, capture_output=True, text=True, timeout=60)
    assert done.returncode == status, "%s: %d\n%s%s" % (arguments, done.returncode, done.stdout,
                                                        done.stderr)
    return done.stdout if status == 0 else done.stderr


def tls_of(authority):
    certificate, key = authority.issue("proxy.test")
    return {"security": "tls", "tlsSettings": {
        "certificates": [{"certificateFile": certificate, "keyFile": key}]}}


def test_row_071_a_link_for_every_way_in(net, tmp, authority, keys, users_path):
    write_users(net, users_path, user("first"))
    config = config_of(
        dict(vless_inbound(users_path, 443),
             streamSettings=rig.reality_stream(keys.private, "127.0.0.1:9")),
        dict(socks_inbound(users_path, 1080), streamSettings=tls_of(authority)),
        dict(http_inbound(users_path, 8118), streamSettings=tls_of(authority)))
    path = os.path.join(os.path.dirname(users_path), "culvert.json")
    with open(path, "w") as file:
        json.dump(config, file)
    made = json.loads(culvert_user("add", "alice", "-c", path, "--json", "--no-reload"))
    found = json.loads(culvert_link("alice", "-c", path, "--host", "vpn.example", "--json"))
    links = {way["protocol"]: urllib.parse.urlsplit(way["link"]) for way in found["ways"]}
    assert list(links) == ["vless", "socks5s", "https"] and found["link"] == found["ways"][0]["link"]
    vless, query = links["vless"], dict(urllib.parse.parse_qsl(links["vless"].query))
    assert (vless.username, vless.hostname, vless.port) == (made["uuid"], "vpn.example", 443)
    assert query == {"encryption": "none", "type": "tcp", "security": "reality", "sni": rig.SITE,
                     "fp": "chrome", "pbk": keys.public, "flow": rig.VISION,
                     "sid": re.sub("(00)+$", "", read_users(users_path)["alice"]["shortId"])}
    assert links["socks5s"].geturl() == "socks5s://alice@vpn.example:1080"
    assert links["https"].geturl() == "https://alice@vpn.example:8118"
    found = json.loads(culvert_link("alice", "-c", path, "--json", "--password-stdin",
                                    text=made["password"]))
    assert "socks5s://alice:%s@%s:1080" % (made["password"], rig.SERVER_IP) in str(found["ways"])
    assert "no proxy takes this password" in culvert_link(
        "alice", "-c", path, "--password-stdin", text="wrong", status=1)
    shown = culvert_link("alice", "-c", path)  # the QR code stands between the links
    assert shown.splitlines()[0].startswith("vless://") and "█" in shown
    assert [line.split(":")[0] for line in shown.splitlines()[-2:]] == ["socks5s", "https"]
    client = json.loads(culvert_link("alice", "-c", path, "--client"))
    assert check(tmp, client, "made-client")[0] == 0
    # one who may not use VLESS has a client, too
    culvert_user("add", "bobby", "--type", "proxy", "--password-stdin", "-c", path, "--no-reload",
                 text="pw")
    assert "needs the password" in culvert_link("bobby", "-c", path, "--client", status=1)
    client = json.loads(culvert_link("bobby", "-c", path, "--client", "--host", "proxy.test",
                                     "--password-stdin", text="pw"))
    assert check(tmp, client, "made-client")[0] == 0
    assert "no VLESS user" in culvert_link("nobody", "-c", path, status=1)


def test_row_071_the_links_work(net, tmp, internet, users_path):
    """curl by the proxy's link, a daemon of ours by the configurations that are made."""
    write_users(net, users_path, user("first"))
    daemon = start(net, tmp, socks_inbound(users_path), vless_inbound(users_path, PORT + 1),
                   http_inbound(users_path, PORT + 2))
    url = "http://%s/" % rig.INTERNET_IP
    with rig.running(daemon):
        password = {}
        for name, kind in (("alice", "both"), ("bobby", "proxy")):
            password[name] = json.loads(culvert_user(
                "add", name, "--type", kind, "--flow", "", "-c", daemon.config_path,
                "--json"))["password"]
        ways = json.loads(culvert_link("alice", "-c", daemon.config_path, "--json",
                                       "--password-stdin", text=password["alice"]))["ways"]
        links = {way["protocol"]: way["link"] for way in ways}
        for protocol in ("socks5", "http"):
            assert rig.curl(net.client, "-x", links[protocol], url)[:2] == (
                0, b"the internet\n"), protocol
        for name in ("alice", "bobby"):
            config = json.loads(culvert_link("%s@vless.local" % name, "-c", daemon.config_path,
                                             "--client", "--password-stdin", text=password[name]))
            client = rig.Culvert(net.client, tmp, config, "made-client",
                                 wait=(("127.0.0.1", 1080),))
            with rig.running(client):
                assert rig.curl(net.client, "-x", "socks5h://127.0.0.1:1080", url)[:2] == (
                    0, b"the internet\n"), name


# ---- changes while the daemon runs -------------------------------------------------------------


def test_row_068_changes_take_effect_at_once(net, tmp, internet, users_path):
    """Added: in at once. Another password, disabled, removed: out at once, with what was open."""
    write_users(net, users_path, user("first"))
    daemon = start(net, tmp, socks_inbound(users_path), loginFailures=0)
    with rig.running(daemon):
        def change(*arguments, **more):
            made = json.loads(culvert_user(*arguments, "-c", daemon.config_path, "--json", **more))
            assert made["reloaded"] == "yes", made
            return made

        def open_session(password):
            connection = rig.tcp(net.client, rig.SERVER_IP, PORT)
            assert rig.socks_handshake(connection, rig.INTERNET_IP, 80, ("alice", password)) == 0
            return connection

        password = change("add", "alice")["password"]
        stays = open_session(password)
        fresh = change("set-password", "alice")["password"]
        assert log_in(net, "alice", password) == 1
        assert log_in(net, "alice", fresh) == 0
        stays.sendall(b"HEAD / HTTP/1.0\r\n\r\n")  # the session itself goes on
        assert rig.read_all(stays)[0].startswith(b"HTTP/1.1 200")
        for what, back in (("disable", "enable"), ("remove", None)):
            ends = open_session(fresh)
            change(what, "alice")
            assert rig.read_all(ends, 3) == (b"", "rst"), what
            assert log_in(net, "alice", fresh) == 1
            if back:
                change(back, "alice")
                assert log_in(net, "alice", fresh) == 0


def test_row_036_set_proxy_while_the_daemon_runs(net, tmp, internet, users_path):
    """The next connection goes the new way; nginx tells whom it sees."""
    write_users(net, users_path, user("first"))
    external = write_users(net, users_path + ".proxies")  # the file's mode and owner
    with open(external, "w") as file:
        json.dump({"proxies": [{"id": "proxy-1", "type": "socks5", "address": rig.INTERNET_IP,
                                "port": PORT + 4}]}, file)
    upstream = rig.Culvert(net.internet, tmp, rig.socks_only_config(
        PORT + 4, listen=rig.INTERNET_IP), "upstream", wait=((rig.INTERNET_IP, PORT + 4),))
    daemon = start(net, tmp, socks_inbound(users_path), externalProxyFile=external)
    with rig.running(daemon, upstream):
        password = json.loads(culvert_user("add", "alice", "-c", daemon.config_path,
                                           "--json"))["password"]

        def seen():
            path = "/%s" % uuid.uuid4().hex
            proxy = "socks5h://alice:%s@%s:%d" % (password, rig.SERVER_IP, PORT)
            rig.curl(net.client, "-x", proxy, "http://%s%s" % (rig.INTERNET_IP, path))
            with open(internet.access_log) as file:
                return [line.split()[0] for line in file if path in line]

        assert seen() == [rig.SERVER_INNER_IP]
        for way, address in (("proxy-1", rig.INTERNET_IP), ("none", rig.SERVER_INNER_IP)):
            made = json.loads(culvert_user("set-proxy", "alice", way, "-c", daemon.config_path,
                                           "--json"))
            assert made["reloaded"] == "yes"
            assert seen() == [address], way


def test_row_068_the_daemon_would_not_start_with_it(net, tmp, users_path):
    """Good by itself, but not for this configuration: it is not written."""
    write_users(net, users_path, user("first"))
    config = os.path.join(os.path.dirname(users_path), "culvert.json")
    with open(config, "w") as file:
        json.dump(config_of(socks_inbound("users.json")), file)
    for arguments in (["set-proxy", "first", "proxy-1"], ["add", "alice", "--proxy", "proxy-1"]):
        text = culvert_user(*arguments, "-c", config, "--no-reload", status=1)
        assert "externalProxyFile" in text and "nothing was changed" in text
    assert list(read_users(users_path)) == ["first"]
    assert "external_proxy_id" not in read_users(users_path)["first"]
    culvert_user("set-proxy", "first", "proxy-1", "--file", users_path, "--no-reload")
    culvert_user("disable", "first", "-c", config, "--no-reload")  # it was bad before: may change
    culvert_user("set-proxy", "first", "none", "-c", config, "--no-reload")
    assert check(tmp, config_of(socks_inbound(users_path)))[0] == 0


def test_row_068_parallel_changes_of_a_running_daemon(net, tmp, internet, users_path):
    write_users(net, users_path, user("first"))
    daemon = start(net, tmp, socks_inbound(users_path), loginFailures=0)
    with rig.running(daemon):
        adding = [subprocess.Popen([os.path.join(rig.build_dir(), "culvert"), "user", "add",
                                    "user-%d" % i, "-c", daemon.config_path, "--json"],
                                   stdout=subprocess.PIPE, text=True) for i in range(8)]
        for i, child in enumerate(adding):
            made = json.loads(child.communicate(timeout=60)[0])
            assert child.returncode == 0 and made["reloaded"] == "yes"
            assert log_in(net, "user-%d" % i, made["password"]) == 0
