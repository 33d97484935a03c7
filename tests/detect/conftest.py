# SPDX-License-Identifier: MIT
"""The prober runs on the end-to-end rig."""

import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

pytest.register_assert_rewrite("scenarios")

from fixtures import *  # noqa: E402,F401,F403


def pytest_configure(config):
    config.addinivalue_line("markers", "long: takes minutes; only with CULVERT_LONG=1")


def pytest_collection_modifyitems(items):
    if not os.environ.get("CULVERT_LONG"):
        for item in items:
            if "long" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="long: CULVERT_LONG=1 runs it"))
