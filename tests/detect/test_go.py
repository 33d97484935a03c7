# SPDX-License-Identifier: MIT
"""The scenarios with a target that is Go's TLS stack."""

from scenarios import *  # noqa: F401,F403

TARGET = "go"
