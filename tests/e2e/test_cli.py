# SPDX-License-Identifier: MIT
"""culvert, the operator's tool, beside running daemons."""

import json
import os
import re
import subprocess

import rig


def culvert(*arguments, namespace=None, status=0):
    done = subprocess.run([os.path.join(rig.build_dir(), "culvert"), *arguments], timeout=60,
                          capture_output=True, text=True, stdin=subprocess.DEVNULL,
                          preexec_fn=namespace.enter if namespace else None)
    assert done.returncode == status, "%s: %d\n%s%s" % (arguments, done.returncode, done.stdout,
                                                        done.stderr)
    return done.stdout


def test_row_013_keys_belong_together(build):
    """The public key is the private key's, by another library."""
    import reality_client
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    private, public = rig.keys()
    key = X25519PrivateKey.from_private_bytes(reality_client.decode_key(private))
    assert reality_client.raw_public(key) == reality_client.decode_key(public)
    assert rig.keys()[0] != private


def test_uuid(build):
    import uuid
    assert uuid.UUID(culvert("uuid").strip()).version == 4
    assert "feb54431-301b-52bb-a6dd-e1e93e81bb9e" in culvert("uuid", "example")


def test_show(net, client, server):
    """show over the control socket of both daemons."""
    with_socket = ["--control", server.control_path]
    for what in ("sessions", "workers", "reasons", "users"):
        text = culvert("show", what, "--json", *with_socket)
        assert json.loads(text), what
        assert culvert("show", what, *with_socket).strip() or what in ("sessions", "reasons")


def test_probe_a_good_target(net, target):
    text = culvert("probe", target.address, "--sni", rig.SITE, "--ca", target.ca,
                   namespace=net.server)
    assert re.search(r"TLS 1\.3", text), text


def test_link(net, tmp, server):
    text = culvert("link", "vision@test", "-c", server.config_path)
    link = re.search(r"vless://\S+", text).group(0)
    assert rig.USER in link and "flow=xtls-rprx-vision" in link and "pbk=" in link
    assert "security=reality" in link and "sni=" + rig.SITE in link


def test_probe_kernel(build):
    """Each feature with a verdict; who has no rights is told so."""
    found = {entry["name"]: entry for entry in json.loads(culvert("probe-kernel", "--json"))["features"]}
    for name in ("io_uring", "splice", "bpf_sk_lookup", "bpf_sockmap_verdict", "part_steer",
                 "ktls_aes_128_gcm", "pins"):
        entry = found[name]
        assert entry["usable"] == (entry["errno"] == 0) == (entry["why"] == ""), entry
        assert entry["without"]
    assert found["io_uring"]["usable"] and found["splice"]["usable"]
    done = subprocess.run(["setpriv", "--reuid", "65534", "--clear-groups", "--bounding-set=-all",
                           os.path.join(build, "culvert"), "probe-kernel"], capture_output=True,
                          text=True, timeout=60)
    assert done.returncode == 0 and "needs CAP_BPF" in done.stdout, done.stdout + done.stderr
