"""What runs on one's own computer needs nothing that only Linux has.

There is no Mac and no Windows here: what these systems lack is hidden from the interpreter, and
all of the client side is imported. The libraries come first: they have ways of their own on each
system.
"""

from __future__ import annotations

import json
import subprocess
import sys

IMPORTS = """
import importlib, json, os, pkgutil, select, signal, socket, sys

import asyncio.unix_events, asyncssh, httpx, httptools, multiprocessing.util, psutil, uvloop  # noqa
import pydantic_settings, starlette, textual.app, textual.widgets, textual_plotext  # noqa
import typer, uvicorn  # noqa

for name in ("fcntl", "grp", "pty", "pwd", "resource", "termios", "tty"):
    sys.modules[name] = None
for place, names in {
    os: "sched_getaffinity sched_setaffinity pidfd_open memfd_create eventfd splice setns",
    select: "epoll",
    socket: "SO_DOMAIN SO_PROTOCOL TCP_CORK TCP_INFO TCP_USER_TIMEOUT TCP_QUICKACK MSG_ERRQUEUE",
    signal: "SIGPWR SIGSTKFLT SIGPOLL",
}.items():
    for name in names.split():
        if hasattr(place, name):
            delattr(place, name)

import gdl

failed, seen = {}, 0
for module in pkgutil.walk_packages(gdl.__path__, "gdl."):
    # Programs of machines, real and simulated, which are Linux.
    if any(part in ("remote", "programs") for part in module.name.split(".")):
        continue
    seen += 1
    try:
        importlib.import_module(module.name)
    except Exception as error:
        failed[module.name] = repr(error)
print(json.dumps([seen, failed]))
"""


def test_the_client_side_imports_on_a_mac_and_without_the_modules_of_posix() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    seen, failed = json.loads(done.stdout)
    assert seen > 300
    # Textual's driver for terminals of POSIX, which is taken where Textual takes it.
    assert set(failed) == {"gdl.tui.terminal"}
