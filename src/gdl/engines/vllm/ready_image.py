"""vLLM in the image that a rented machine is a container of: which image to ask for, and how what
it brings is used. Nothing is installed then.
"""

from __future__ import annotations

import re
import shlex

from gdl.domain.engine_image import EngineImage
from gdl.domain.errors import DeployError
from gdl.domain.host import Gpu, HostFacts
from gdl.domain.requirements.allocation import GpuKind
from gdl.engines.base import Step
from gdl.engines.python import shell
from gdl.engines.vllm import compat, compat_table, programs
from gdl.engines.vllm.compat import Choice
from gdl.engines.vllm.release_limits import Limits
from gdl.settings import Install, Settings

# Only where the image was chosen: any other Python is not ours to build upon.
PROBE = """\
if [ -n "${GDL_IMAGE-}" ]; then
  for p in python3 /usr/bin/python3 /opt/venv/bin/python3; do
    p=$(command -v "$p" 2>/dev/null) || continue
    v=$(within 20 "$p" -c 'from importlib.metadata import version
print(version("vllm"))') || continue
    echo "own=$p $v"
    break
  done
fi"""
_OWN = re.compile(r"(/[\w./+-]{1,150}) (\d+(?:\.\d+)+)(?:\.post\d+)?(?:\+[\w.]+)?")


def image_for(
    gpu: GpuKind, cuda: float | None, install: Install, limits: Limits
) -> EngineImage | None:
    """The image of the release that would be installed on a machine with such GPUs whose driver
    supports that CUDA version (None: not told). None: there is none, or it would not start."""
    capability = "" if gpu.capability is None else "{}.{}".format(*gpu.capability)
    host = HostFacts(
        os="Linux",
        arch="x86_64",
        cpu_count=0,
        ram_gib=0.0,
        disk_free_gib=0.0,
        gpus=(Gpu(gpu.name, 0, capability),),
        cuda="" if cuda is None else f"{cuda:.1f}",
    )
    try:
        version = compat.for_gpu(host, install, limits).version
        choice = compat.image_choice(compat_table.row_of(version), version, host)
    except DeployError:
        return None
    needed = float(choice.cuda)
    if cuda is not None and cuda < needed:
        return None  # the container would not start: its image asks for such a driver
    return EngineImage(choice.image, compat_table.image().packed_gb, needed)


def cuda_of(name: str) -> float | None:
    """Of the toolkit in one of the releases' images; None for any other image."""
    found = re.fullmatch(re.escape(compat_table.image().name) + r":v(\d+(?:\.\d+)+)", name)
    return float(compat_table.row_of(found[1]).cuda) if found else None


def choose(host: HostFacts, settings: Settings, limits: Limits) -> Choice | None:
    """The release that the machine's own image has, where it will do."""
    install, told = settings.install, dict(host.engine.told)
    found = _OWN.fullmatch(told.get("own", ""))
    wanted = install.version in ("", found[2]) if found else False
    if found is None or not wanted or not host.has_gpu or host.engine.installed:
        return None
    if install.runtime == "container" or install.python or not limits.allow(found[2]):
        return None
    try:
        choice = compat.image_choice(compat_table.row_of(found[2]), found[2], host)
    except DeployError:
        return None
    return compat.of_own(choice, found[1])


def steps(choice: Choice, settings: Settings) -> tuple[Step, ...]:
    """An environment on top of that Python, in which it is started like one that was installed:
    what a repair installs stays in it."""
    own, timeout = shlex.quote(choice.own), settings.timeouts.install
    code = f"""
import sys
from importlib.metadata import version
sys.exit(version("vllm").partition("+")[0] != "{choice.version}")
"""
    there = f"{shell.python(code)} 2>/dev/null"
    wrapper = f"printf '#!/bin/sh\\nexec %s \"$@\"\\n' {own} > {shell.PYTHON}"
    # Some images come without that module; of an environment it would take the one below it.
    script = f"""{shell.PREAMBLE}\
rm -rf ./venv
{own} -m venv --system-site-packages --without-pip ./venv || :
if ! {there}; then
    rm -rf ./venv
    mkdir -p ./venv/bin
    {wrapper}
    chmod 755 {shell.PYTHON}
fi
"""
    check = f"{programs.starts_are_current()} && {there}"
    put = (*map(programs.remote_file, programs.STARTS), shell.remote_file("pipconf.py"))
    return (Step("image", f"Use the image's vLLM {choice.version}", script, timeout, check, put),)
