# SPDX-License-Identifier: MIT
"""The systemd unit, without systemd: what its own tools say of it, and the daemon behind its filter."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import rig
from test_privileges import config_of, listens, serves, status_of, tool

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
UNIT = os.path.join(ROOT, "conf/systemd/culvert.service")
FILTER = os.path.join(ROOT, "tests/e2e/unit_filter.py")
EXPOSURE = 1.6  # of 10, as reached: its network, other users and one capability are what a proxy needs
PORT = 1080

pytestmark = pytest.mark.skipif(not shutil.which("systemd-analyze"),
                                reason="systemd-analyze is not installed")


@pytest.fixture
def unit(tmp):
    """The unit with the places of this build."""
    path = os.path.join(tmp, "culvert.service")
    with open(UNIT) as file:
        text = file.read()
    with open(path, "w") as file:
        file.write(text.replace("@SBINDIR@", rig.build_dir()).replace("@BINDIR@", rig.build_dir())
                   .replace("@SYSCONFDIR@", tmp))
    return path


def analyze(*words):
    return subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, timeout=60,
                          env=dict(os.environ, SYSTEMD_COLORS="0", LC_ALL="C.UTF-8"))


def test_exposure(unit):
    """systemd-analyze security, printed; no worse than it was."""
    done = analyze("security", "--offline=true", "--no-pager", unit)
    if "unrecognized option" in done.stderr:
        pytest.skip("systemd-analyze is older than 250")
    print(done.stdout)
    exposure = re.search(r"Overall exposure level for culvert.service: ([\d.]+)", done.stdout)
    assert exposure, done.stdout + done.stderr
    assert float(exposure.group(1)) <= EXPOSURE, done.stdout


def test_verify(unit):
    """No line of it that systemd does not understand."""
    done = analyze("verify", "--man=no", unit)
    complaints = [line for line in done.stderr.splitlines() if "culvert.service" in line]
    assert complaints == [], done.stderr


@pytest.mark.skipif(os.path.basename(rig.build_dir()) != "build", reason="sanitizers need more calls")
def test_starts_reloads_and_restarts_behind_its_filter(net, tmp, unit):
    """As its user, with its capability and its system calls: a port below 1024, and all that follows."""
    os.chmod(tmp, 0o777)
    prefix = [sys.executable, rig.for_others(FILTER, tmp), unit, "setpriv", "--reuid", str(rig.NOBODY), "--regid",
              str(rig.NOBODY), "--clear-groups", "--inh-caps", "-all,+net_bind_service",
              "--ambient-caps", "+net_bind_service", "--bounding-set", "-all,+net_bind_service",
              "--securebits", "+noroot,+noroot_locked", "--no-new-privs"]
    calls = subprocess.run([sys.executable, "-c", "import sys; sys.path.insert(0, sys.argv[1]);"
                            "import unit_filter; print(*unit_filter.calls_of(sys.argv[2]))",
                            os.path.dirname(FILTER), unit], capture_output=True, text=True,
                           check=True).stdout.split()
    assert "seccomp" in calls and "mount" not in calls and len(calls) > 200
    # setpriv does what systemd has done before it puts the filter on
    for name in ("setresuid", "setresgid", "setgroups"):
        assert name not in calls
    prefix = prefix[3:] + prefix[:3]
    daemon = rig.Culvert(net.server, tmp, config_of(PORT, 446), "unit", bpf="off", drain=1,
                         prefix=prefix, wait=((rig.SERVER_IP, PORT), (rig.SERVER_IP, 446)))
    successor = None
    try:
        assert re.search(r"sandbox: user .*, seccomp \d+ calls", daemon.log()), daemon.log()
        assert serves(net) is True and listens(net, 446)
        assert int(status_of(daemon.pid)["CapPrm"], 16) == 0
        done = tool(daemon, "reload")
        assert done.returncode == 0, done.stderr
        done = tool(daemon, "restart", "--json")
        assert done.returncode == 0, done.stderr + daemon.log()
        successor = json.loads(done.stdout)["pid"]
        assert serves(net) is True and listens(net, 446)
        assert daemon.child.wait(20) == 0
    finally:
        rig.end_restarted(daemon, successor, lambda: not listens(net, 446))
