# SPDX-License-Identifier: MIT
"""The scenarios with a target that is nginx on OpenSSL."""

from scenarios import *  # noqa: F401,F403

TARGET = "nginx"
