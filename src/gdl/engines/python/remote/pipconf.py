"""Tells uv what pip is told on this machine: `eval "$(python3 pipconf.py)"`.

pip's configuration (files and PIP_* variables) becomes UV_* exports, printed for the shell alone:
the addresses may hold credentials, so they stay on the machine and out of every log. What the
environment already says to uv is left as it is. GDL_FIND_LINKS and GDL_EXTRA_INDEX_URL (words)
are added for both, in front. GDL_INDEXES becomes 1 when there is a place beside the main index.
"""

import ast
import os
import shlex
import subprocess
import sys
from pathlib import Path

KEYS = ("index-url", "extra-index-url", "find-links", "cert", "no-index", "trusted-host")


def settings():
    """pip's effective values by key; the environment wins, as it does for pip."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list"]
    found = {}
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60
        )
        lines = done.stdout.decode("utf-8", "replace").splitlines()
    except (OSError, subprocess.SubprocessError):
        lines = []
    # `global` is read before `install`, which is more specific, and `:env:` comes last.
    for scope in ("global.", "install.", ":env:."):
        for line in lines:
            name, equals, value = line.partition("=")
            if not equals or not name.startswith(scope):
                continue
            try:
                found[name[len(scope) :]] = str(ast.literal_eval(value))
            except (SyntaxError, ValueError):
                found[name[len(scope) :]] = value
    for key in KEYS:
        value = os.environ.get("PIP_" + key.upper().replace("-", "_"))
        if value:
            found[key] = value
    return found


def usable(place):
    """uv stops at a file:// place that is not there, where pip goes on."""
    path = place[7:] if place.startswith("file://") else place
    return "://" in path or Path(path).exists()


def places(found, key):
    """(ours, pip's) as lists of words."""
    name = key.upper().replace("-", "_")
    return os.environ.get("GDL_" + name, "").split(), found.get(key, "").split()


def exports(found):
    our_extra, pip_extra = places(found, "extra-index-url")
    our_links, pip_links = places(found, "find-links")
    if "UV_INDEX" in os.environ:
        pip_extra = os.environ.pop("UV_INDEX").split()
    if "UV_FIND_LINKS" in os.environ:
        pip_links = os.environ.pop("UV_FIND_LINKS").split(",")
    extra = our_extra + [url for url in pip_extra if usable(url)]
    links = our_links + [place for place in pip_links if usable(place)]
    wanted = {
        "UV_DEFAULT_INDEX": found.get("index-url", ""),
        "UV_INDEX": " ".join(extra),
        "UV_FIND_LINKS": ",".join(links),
        "UV_INSECURE_HOST": found.get("trusted-host", ""),
        "SSL_CERT_FILE": found.get("cert", ""),
    }
    if found.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        wanted["UV_NO_INDEX"] = "1"
    chosen = {name: value for name, value in wanted.items() if value and name not in os.environ}
    if our_extra:
        chosen["PIP_EXTRA_INDEX_URL"] = " ".join(our_extra + places(found, "extra-index-url")[1])
    if our_links:
        chosen["PIP_FIND_LINKS"] = " ".join(our_links + places(found, "find-links")[1])
    if extra or links:
        chosen["GDL_INDEXES"] = "1"
    if extra:
        # pip looks at all indexes and takes the best version; uv would stop at the first one.
        chosen.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    return chosen


if __name__ == "__main__":
    for name, value in sorted(exports(settings()).items()):
        print("export " + name + "=" + shlex.quote(value))
