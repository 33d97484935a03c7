# SPDX-License-Identifier: MIT
"""culvert load, status and unload: rights, versions, and a machine left as it was."""

import json
import os
import re
import subprocess
import textwrap

import pins
import pytest
import rig
from test_vision import address, arguments

CAPABILITIES = ("bpf", "net_admin", "perfmon")
REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


@pytest.fixture(autouse=True)
def bpf_is_here():
    reason = pins.usable()
    if reason:
        pytest.skip(reason)


@pytest.fixture
def empty(net, tmp):
    """A bpffs with nothing in it."""
    made = pins.Pins(net.server, tmp)
    yield made
    made.close()


def with_capabilities(*names):
    """setpriv: another user with exactly these, in the ambient set too."""
    wanted = ",".join(["-all"] + ["+" + name for name in names])
    return ["setpriv", "--reuid", str(pins.NOBODY), "--regid", str(pins.NOBODY), "--clear-groups",
            "--inh-caps", wanted, "--ambient-caps", wanted, "--bounding-set", wanted]


def read(path):
    with open(path) as file:
        return file.read()


def gone(ids):
    rig.wait_for(lambda: not ids & pins.all_bpf_ids(), 10, "the kernel lets go of %s" % ids)


# ---- leaving nothing -----------------------------------------------------------------------------


def test_load_status_unload(net, empty):
    """Twice the same; what was there before is what is there afterwards."""
    def mounts():
        """Without those of other runs of these tests on the same machine."""
        return [line for line in read("/proc/self/mounts").splitlines()
                if empty.mount in line or not any(
                    word in line for word in ("culvert-e2e", "culvert-bench", "/run/netns/"))]

    before_all = mounts()
    for _ in range(2):
        before = pins.all_bpf_ids()
        empty.load("--user", str(pins.NOBODY))
        ids = empty.ids()
        assert len(ids) >= 5 and not ids & before and ids <= pins.all_bpf_ids()
        status = empty.status()
        assert status["netns_is_ours"] and not status["mounted_bpffs"]
        links = [pin for part in status["parts"] for pin in part["pins"] if pin["kind"] == "link"]
        assert links and all(link["netns"] == os.stat("/run/netns/" + net.server.name).st_ino
                             for link in links)
        assert "already pinned" in empty.load("--user", str(pins.NOBODY)).culvert("load").stdout
        assert empty.ids() == ids, "a second load keeps what is there"
        done = empty.culvert("unload")
        assert done.returncode == 0, done.stderr
        assert not os.path.exists(empty.directory)
        gone(ids)
    assert mounts() == before_all
    assert empty.culvert("status").returncode == 1
    done = empty.culvert("unload")
    assert done.returncode == 1 and "nothing is pinned" in done.stderr


def own_mounts(net, text):
    """Run a shell script in the server's network and a mount namespace of its own."""
    done = subprocess.run(["unshare", "-m", "sh", "-euc", textwrap.dedent(text)],
                          capture_output=True, text=True, timeout=60,
                          preexec_fn=net.server.enter,
                          env=dict(os.environ, PATH=rig.build_dir() + ":" + os.environ["PATH"]))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_mounts_and_unmounts(net):
    """Without a bpffs: load mounts one where everybody has it, unload takes it away again."""
    said = own_mounts(net, """
        while umount /sys/fs/bpf 2>/dev/null; do :; done
        grep ' /sys/' /proc/self/mounts >/tmp/before.$$
        culvert load --user nobody
        grep -c '^bpf /sys/fs/bpf bpf' /proc/self/mounts
        culvert status
        setpriv --reuid 65534 --clear-groups culvert status
        culvert unload
        grep ' /sys/' /proc/self/mounts | diff /tmp/before.$$ -
        rm /tmp/before.$$
        ls -A /sys/fs/bpf | grep . && exit 1 || true
        """)
    assert "mounted a bpffs" in said and "/sys/fs/bpf/culvert" in said


def test_foreign_pins_keep_the_mount(net):
    """unload does not unmount what somebody else has begun to use."""
    own_mounts(net, """
        while umount /sys/fs/bpf 2>/dev/null; do :; done
        culvert load
        mkdir /sys/fs/bpf/somebody
        culvert unload
        test -d /sys/fs/bpf/somebody
        """)


def test_closed_parent_is_closed_again(net):
    """systemd mounts its bpffs 0700: opened for --user, and put back."""
    own_mounts(net, """
        while umount /sys/fs/bpf 2>/dev/null; do :; done
        mount -t bpf -o mode=0700 bpf /sys/fs/bpf
        culvert load --user nobody
        test $(stat -c %a /sys/fs/bpf) = 1711
        setpriv --reuid 65534 --clear-groups culvert status
        culvert unload
        test $(stat -c %a /sys/fs/bpf) = 1700
        culvert load
        test $(stat -c %a /sys/fs/bpf) = 1700
        culvert unload
        """)


def test_not_in_a_bpffs(net, tmp):
    done = subprocess.run([os.path.join(rig.build_dir(), "culvert"), "load", "--directory",
                           os.path.join(tmp, "no-bpffs")], capture_output=True, text=True)
    assert done.returncode == 1 and "not a bpffs" in done.stderr
    assert not os.path.exists(os.path.join(tmp, "no-bpffs"))


# ---- rights --------------------------------------------------------------------------------------


def test_exactly_these_capabilities(empty):
    """Another user with three capabilities loads; with any one less, nothing is left behind."""
    for missing in CAPABILITIES:
        have = [name for name in CAPABILITIES if name != missing]
        done = empty.culvert("load", prefix=with_capabilities(*have))
        if missing == "perfmon" and done.returncode == 0:
            # only programs that walk pointers into other sockets need it
            assert "relay" not in json.dumps(empty.status()["parts"])
            assert empty.culvert("unload").returncode == 0
            continue
        assert done.returncode == 1 and "CAP_BPF" in done.stderr, done.stderr
        assert not os.path.exists(empty.directory)
    empty.load(prefix=with_capabilities(*CAPABILITIES))
    ids = empty.ids()
    assert empty.culvert("unload", prefix=with_capabilities(*CAPABILITIES)).returncode == 0
    gone(ids)


def test_all_or_nothing(empty):
    """A failure at the very end (the owner cannot be set) leaves no pin."""
    done = empty.culvert("load", "--user", "1", prefix=with_capabilities(*CAPABILITIES))
    assert done.returncode == 1 and done.stderr
    assert not os.path.exists(empty.directory)
    empty.load("--user", "1")


def test_unprivileged_daemon(net, tmp, keys, target, internet, empty):
    """No capability, another user, port 443: REALITY through pinned maps."""
    os.chmod(tmp, 0o777)
    empty.load("--user", str(pins.NOBODY))
    server = rig.Culvert(net.server, tmp, rig.server_config(
        443, rig.reality_stream(keys.private, target.address)), "server", bpf="require",
        pinDirectory=empty.directory, prefix=pins.UNPRIVILEGED, wait=((rig.SERVER_IP, 443),))
    client = rig.Culvert(net.client, tmp, rig.client_config(
        1081, 443, rig.reality_client_stream(keys.public)), "client", wait=(("127.0.0.1", 1081),))
    with rig.running(client, server):
        status = read("/proc/%d/status" % server.pid)
        assert re.search(r"^Uid:" + r"\s+%d" % pins.NOBODY * 4 + "$", status, re.M)
        assert set(re.findall(r"^Cap(?:Prm|Eff|Bnd|Amb):\s+(\w+)$", status, re.M)) == {"0" * 16}
        code, body, error = rig.curl(net.client, *arguments("tls13", internet),
                                     "%s/medium" % address("tls13"))
        assert code == 0 and len(body) == internet.sizes["medium"], error
        # the site is there for strangers, and logs see the address that they came to
        code, body, error = rig.curl(net.client, "--cacert", target.ca, "--connect-to",
                                     "%s:443:%s:443" % (rig.SITE, rig.SERVER_IP),
                                     "https://%s/" % rig.SITE)
        assert code == 0 and body.decode() == rig.PAGE, error
        counted = empty.addresses()["%s:443" % rig.SERVER_IP]
        assert counted["pid"] == server.pid and counted["steered"] >= 2
        done = empty.culvert("unload")
        assert done.returncode == 1 and "stop it first" in done.stderr
        client.wait_idle()
    assert empty.addresses() == {}


def test_group(net, tmp, empty):
    """--group: whoever is in it, and nobody else."""
    empty.load("--group", "12345")
    status = ["--directory", empty.directory]
    for prefix, code in ((["setpriv", "--reuid", "1", "--regid", "1", "--groups", "12345"], 0),
                         (["setpriv", "--reuid", "1", "--regid", "1", "--clear-groups"], 1)):
        done = subprocess.run(prefix + [os.path.join(rig.build_dir(), "culvert"), "status"] + status,
                              capture_output=True, text=True)
        assert done.returncode == code, done.stderr
    assert "culvert load --user" in done.stderr


def test_another_network_namespace(net, tmp, empty):
    """Pins steer one namespace: a daemon elsewhere says so, and binds, or refuses."""
    empty.load()
    config = rig.socks_only_config(1090)
    with rig.running(rig.Culvert(net.client, tmp, config, loglevel="info",
                                 pinDirectory=empty.directory,
                                 wait=(("127.0.0.1", 1090),))) as (daemon,):
        assert "no steering: the pins steer another network namespace" in daemon.log()
        assert rig.accepts(net.client, "127.0.0.1", 1090)
    with pytest.raises(AssertionError, match="another network namespace"):
        rig.Culvert(net.client, tmp, config, pinDirectory=empty.directory, bpf="require",
                    wait=(("127.0.0.1", 1090),))


def test_only_these_ports(net, tmp, empty):
    """--ports: others are bound, and stay whose they are, whatever the daemon's user writes."""
    assert empty.culvert("load", "--ports", "0,70000").returncode == 2
    empty.load("--user", str(pins.NOBODY), "--ports", "1093,2000-2001")
    assert empty.status()["ports"] == "1093,2000-2001"
    config = rig.socks_only_config("1093,1094", listen=rig.SERVER_IP)
    os.chmod(tmp, 0o777)
    daemon = rig.Culvert(net.server, tmp, config, bpf="require", pinDirectory=empty.directory,
                         prefix=pins.UNPRIVILEGED, wait=((rig.SERVER_IP, 1093),))
    with rig.running(daemon):
        assert set(empty.addresses()) == {"%s:1093" % rig.SERVER_IP}
        for port in (1093, 1094):
            assert rig.accepts(net.client, rig.SERVER_IP, port)
        # a key for a forbidden port, put there by the daemon's user: no effect
        tool = [rig.find_program("bpftool"), "-j", "map"]
        ports = ["pinned", os.path.join(empty.directory, "steer_ports")]
        entry = json.loads(subprocess.run(tool + ["dump"] + ports, check=True, capture_output=True,
                                          text=True).stdout)[0]
        key = [int(byte, 16) for byte in entry["key"]]
        key[2:4] = (3333).to_bytes(2, "little")
        subprocess.run(list(pins.UNPRIVILEGED[:-1]) + tool + ["update"] + ports + ["key"] +
                       [str(byte) for byte in key] + ["value"] +
                       [str(int(byte, 16)) for byte in entry["value"]], check=True)
        assert len(empty.addresses()) == 2
        assert not rig.accepts(net.client, rig.SERVER_IP, 3333)
        for who in ([], list(pins.UNPRIVILEGED)):  # frozen, and not the daemon's
            done = subprocess.run(who + tool + [
                "update", "pinned", os.path.join(empty.directory, "steer_forbidden"), "key", "52",
                "0", "0", "0", "value"] + ["0"] * 8, capture_output=True)
            assert done.returncode != 0
    empty.load("--user", str(pins.NOBODY))
    assert empty.status()["ports"] == "1093,2000-2001", "without --ports nothing changes"
    empty.load("--ports", "1-65535")
    assert empty.status()["ports"] == "1-65535"


# ---- versions ------------------------------------------------------------------------------------


def set_layout(empty, part, layout):
    """As another culvert's loader would have written it."""
    info = os.path.join(empty.directory, "info")
    tool = rig.find_program("bpftool")
    old = json.loads(subprocess.run([tool, "-j", "map", "lookup", "pinned", info, "key", "0", "0",
                                     "0", "0"], check=True, capture_output=True,
                                    text=True).stdout)["value"]
    new = [int(byte, 16) for byte in old]
    new[16 + 4 * part:20 + 4 * part] = layout.to_bytes(4, "little")
    subprocess.run([tool, "map", "update", "pinned", info, "key", "0", "0", "0", "0", "value"] +
                   [str(byte) for byte in new], check=True)


def test_newer_layout_is_refused(net, tmp, empty):
    """By load, unload and the daemon; status still tells; --force removes."""
    empty.load()
    set_layout(empty, 0, 99)
    for command in ("load", "unload"):
        done = empty.culvert(command)
        assert done.returncode == 1, done.stdout
        assert re.search(r"made by culvert \S+, layout steer 99.*this is layout steer 1", done.stderr)
    assert [part["layout"] for part in empty.status()["parts"] if part["name"] == "steer"] == [99]
    daemon = rig.Culvert(net.server, tmp, rig.socks_only_config(1091), loglevel="info",
                         pinDirectory=empty.directory, wait=(("127.0.0.1", 1091),))
    with rig.running(daemon):
        assert re.search(r"no steering: pins were made by culvert \S+ with layout 99", daemon.log())
    ids = empty.ids()
    assert empty.culvert("unload", "--force").returncode == 0
    gone(ids)


def test_unknown_part_is_newer(empty):
    """A part that this culvert has never heard of is a newer layout too."""
    empty.load()
    set_layout(empty, 7, 1)
    assert empty.culvert("load").returncode == 1
    assert empty.culvert("unload", "--force").returncode == 0


def test_older_layout_is_replaced(net, tmp, empty):
    """Unless somebody listens through it."""
    empty.load()
    ids = empty.ids()
    set_layout(empty, 0, 0)
    empty.load()
    assert not ids & empty.ids()
    daemon = rig.Culvert(net.server, tmp, rig.socks_only_config(1092), bpf="require",
                         pinDirectory=empty.directory, wait=(("127.0.0.1", 1092),))
    with rig.running(daemon):
        # for another network namespace (the test's own) they would have to be made anew
        done = subprocess.run([os.path.join(rig.build_dir(), "culvert"), "load", "--directory",
                               empty.directory], capture_output=True, text=True)
        assert done.returncode == 1 and "in use" in done.stderr
        assert empty.culvert("load").returncode == 0


def test_leftovers_of_a_dead_loader(empty):
    """Pins without the map info, which is written last: replaced."""
    empty.load()
    os.unlink(os.path.join(empty.directory, "info"))
    done = empty.culvert("unload")
    assert done.returncode == 1
    empty.load()
    assert empty.status()["parts"]


# ---- README --------------------------------------------------------------------------------------


def readme_commands():
    text = read(os.path.join(REPOSITORY, "README.md"))
    section = re.search(r"^## Looking inside with bpftool\n(.*?)(?=^## )", text, re.M | re.S)
    return re.findall(r"^    (\S.*?)(?:\s{2,}#.*)?$", section.group(1), re.M)


def test_readme_commands(net, tmp, empty):
    """Every command of the section runs, and shows names that a person understands."""
    commands = readme_commands()
    assert len(commands) >= 5
    empty.load()
    daemon = rig.Culvert(net.server, tmp, rig.socks_only_config(1093, listen=rig.SERVER_IP),
                         bpf="require", pinDirectory=empty.directory,
                         wait=((rig.SERVER_IP, 1093),))
    with rig.running(daemon):
        assert rig.accepts(net.client, rig.SERVER_IP, 1093)
        said = ""
        for command in commands:
            done = subprocess.run(
                ["sh", "-c", command.replace("/sys/fs/bpf/culvert", empty.directory).replace(
                    "culvert status", "culvert status --directory " + empty.directory)],
                capture_output=True, text=True, timeout=20, preexec_fn=net.server.enter,
                env=dict(os.environ, PATH="/usr/sbin:" + rig.build_dir() + ":" + os.environ["PATH"]))
            # bpftool 7.5 ends a good "link show pinned" with status 255
            assert done.returncode in (0, 255) and not done.stderr, (command, done.stderr)
            assert done.stdout, command
            said += done.stdout
    for word in ("classify", "sni_names", "connections", "steer_ports", "sk_lookup", "first_slot", '"steered": 1', "owner_pid", "CULVERT"):
        assert word in said, word
