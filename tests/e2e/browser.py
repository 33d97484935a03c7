# SPDX-License-Identifier: MIT
"""Chromium without a window, driven over its DevTools pipe; in a namespace, with a profile of its own.

    with Browser(net.client, tmp, proxy="socks5://127.0.0.1:1080") as browser:
        browser.open("http://10.77.2.2/")
        browser.wait("document.title === 'ready'", 20)
"""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

import pytest

FLAGS = ("--headless=new", "--no-sandbox", "--remote-debugging-pipe", "--no-first-run",
         "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--disable-extensions",
         "--disable-default-apps", "--mute-audio", "--window-size=1360,1000",
         "--password-store=basic", "--ignore-certificate-errors")


def program():
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if not found:
        pytest.skip("chromium is not installed")
    return found


class Browser:
    def __init__(self, namespace, directory, proxy=None, credentials=None):
        self.credentials = credentials  # for a proxy that asks
        self.profile = tempfile.mkdtemp(prefix="chromium-", dir=directory)
        self.log = os.path.join(self.profile, "output")
        theirs_in, self.commands = os.pipe()
        self.answers, theirs_out = os.pipe()
        command = [program(), *FLAGS, "--user-data-dir=" + self.profile]
        if proxy:
            command += ["--proxy-server=" + proxy, "--proxy-bypass-list=<-loopback>"]
        with open(self.log, "wb") as log:
            self.child = subprocess.Popen(
                ["bash", "-c", 'exec 3<&%d 4>&%d; exec "$@"' % (theirs_in, theirs_out), "-",
                 *command, "about:blank"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(theirs_in, theirs_out),
                preexec_fn=namespace.enter, env=dict(os.environ, HOME=self.profile))
        os.close(theirs_in)
        os.close(theirs_out)
        self.number, self.buffer, self.replies, self.page = 0, b"", {}, None
        try:
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
            self.page = self.call("Target.attachToTarget", targetId=target,
                                  flatten=True)["sessionId"]
            self.call("Page.enable")
            if credentials:
                self.call("Fetch.enable", handleAuthRequests=True)
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Its pipe's end is its end; helpers go with it."""
        for fd in (self.commands, self.answers):
            os.close(fd)
        try:
            self.child.wait(10)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        shutil.rmtree(self.profile, ignore_errors=True)

    # ---- the protocol

    def _send(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.page:
            message["sessionId"] = self.page
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.commands, data):]
        return self.number

    def _event(self, message):
        """The two things that wait for us."""
        parameters = message.get("params", {})
        if message.get("method") == "Fetch.requestPaused":
            self._send("Fetch.continueRequest", requestId=parameters["requestId"])
        elif message.get("method") == "Fetch.authRequired":
            name, word = self.credentials
            self._send("Fetch.continueWithAuth", requestId=parameters["requestId"],
                       authChallengeResponse={"response": "ProvideCredentials", "username": name,
                                              "password": word})

    def _receive(self, seconds):
        if not select.select([self.answers], [], [], max(0, seconds))[0]:
            return
        block = os.read(self.answers, 1 << 20)
        if not block:
            with open(self.log, errors="replace") as file:
                raise AssertionError("chromium ended: " + file.read()[-2000:])
        *messages, self.buffer = (self.buffer + block).split(b"\0")
        for text in messages:
            message = json.loads(text)
            if "id" in message:
                self.replies[message["id"]] = message
            else:
                self._event(message)

    def call(self, method, seconds=60, **parameters):
        number, deadline = self._send(method, **parameters), time.monotonic() + seconds
        while number not in self.replies:
            assert time.monotonic() < deadline, "chromium does not answer " + method
            self._receive(deadline - time.monotonic())
        reply = self.replies.pop(number)
        assert "error" not in reply, "%s: %s" % (method, reply["error"])
        return reply["result"]

    # ---- pages

    def open(self, url):
        result = self.call("Page.navigate", url=url)
        assert not result.get("errorText"), "%s: %s" % (url, result["errorText"])

    def ask(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait(self, expression, seconds):
        """Until the expression is true in the page; events are seen to meanwhile."""
        deadline = time.monotonic() + seconds
        while not self.ask(expression):
            assert time.monotonic() < deadline, "not within %g s: %s; the page says:\n%s" % (
                seconds, expression, self.ask("document.body.innerText")[:3000])
            self._receive(0.05)

    def screenshot(self, path, scheme="light"):
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": scheme}])
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(data))
