"""What repairs an environment on the machine, and what an installation remembers of it."""

from __future__ import annotations

import shlex

from gdl.domain.host import HostFacts
from gdl.engines.python import shell
from gdl.engines.vllm import load_limits
from gdl.engines.vllm.compat import Choice

VISION_PACKAGES = ("torchvision", "torchaudio", "torchcodec")

# `build NAME` before a build is tried: fails for one that was found not to run here. With another
# driver it may.
_BUILDS = """\
build() {
    if grep -qxF "$1, driver $driver" ./builds-left-out 2>/dev/null; then
        echo "[gdl] skipped, because it did not run on this machine: $1"
        return 1
    fi
    printf '%s\\n' "$1, driver $driver" > ./build || :
}
"""
_ANOTHER_BUILD = """\
cat ./build >> ./builds-left-out
rm -f ./build
rm -rf ./venv
"""
# The one thing that needs root: a Python that uv brings has its headers, a system's may not.
_HEADERS = """\
if [ "$(id -u)" = 0 ]; then as=
elif sudo -n true 2>/dev/null; then as="sudo -n"
else
    echo "[gdl] only root can install packages here, and sudo asks for a password" >&2
    exit 1
fi
version=$(./venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
if command -v apt-get >/dev/null 2>&1; then
    get() { $as env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 "$@"; }
    get update || :
    get install -y gcc libc6-dev "python$version-dev" || get install -y gcc libc6-dev python3-dev
elif command -v dnf >/dev/null 2>&1; then $as dnf install -y gcc python3-devel
elif command -v yum >/dev/null 2>&1; then $as yum install -y gcc python3-devel
else
    echo "[gdl] there is no package manager that is known here" >&2
    exit 1
fi
"""


def builds(host: HostFacts) -> str:
    """Shell that defines `build`."""
    return f"driver={shlex.quote(host.driver or 'unknown')}\n{_BUILDS}"


def scripts(choice: Choice, places: str) -> tuple[tuple[str, str], ...]:
    """(name, script) of each; names as in the rules of the diagnosis. places: shell that tells
    where packages are."""
    made = {
        "vision-packages": shell.pip_uninstall(*VISION_PACKAGES),
        "transformers": places + shell.pip_install("transformers<5"),
        "numpy": places + shell.pip_install("numpy<2"),
        "bitsandbytes": places + shell.pip_install(load_limits.PACKAGES["bitsandbytes"]),
        "fresh-environment": "rm -rf ./venv\n",
        "python-headers": _HEADERS,
    }
    if len({way.build for way in choice.ways}) > 1 and choice.on_gpu:
        made["another-build"] = _ANOTHER_BUILD
    return tuple((name, shell.PREAMBLE + script) for name, script in made.items())
