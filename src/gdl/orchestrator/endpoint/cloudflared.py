"""cloudflared on the machine: which file it is, how it is checked and run, what its log tells.

A quick tunnel needs no account: cloudflared asks for a name under trycloudflare.com and carries
requests to a local port. Each start gets another name.
"""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING

from gdl.domain.errors import DeployError, UsageError
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.text import one_line
from gdl.settings import Public
from gdl.ssh import jobs

if TYPE_CHECKING:
    from gdl.ssh.reconnecting import Link

JOB = "public"
_RELEASE = "2026.7.1"
_BASE = f"https://github.com/cloudflare/cloudflared/releases/download/{_RELEASE}/cloudflared-linux-"
# From that release's notes: https://github.com/cloudflare/cloudflared/releases/tag/2026.7.1
_AMD64 = "79a0ade7fc854f62c1aaef48424d9d979e8c2fcd039189d24db82b84cd146be1"
_ARM64 = "18f2c9bfc7a67a971bd96f1a5a1935def3c1e52aa386626f1566f04e9b5478d6"
_KNOWN = {
    "x86_64": ("amd64", _AMD64),
    "amd64": ("amd64", _AMD64),
    "aarch64": ("arm64", _ARM64),
    "arm64": ("arm64", _ARM64),
}
_OPEN_PATHS = "^/v1/"
"""What is let through: elsewhere a server may answer without a key."""
_INGRESS = "public/ingress.yml"
_STOP_GRACE_S = 5.0
_ASK_S = 60.0
_QUICK_END_S = 20
"""A tunnel that ends sooner than this never stood: it is not started again."""
_ADDRESS = re.compile(r"https://[a-z0-9]([a-z0-9.-]{0,200}[a-z0-9])?\.trycloudflare\.com")

_SUM = r"""
gdl_sum() {
    if command -v sha256sum >/dev/null 2>&1; then sha256sum < "$1" | cut -d ' ' -f 1
    elif command -v shasum >/dev/null 2>&1; then shasum -a 256 < "$1" | cut -d ' ' -f 1
    else openssl dgst -sha256 < "$1" | sed 's/.* //'
    fi
}
"""
# Ends with one line: `file PATH`, `sum SUM` of what is not the right file, or `no WHY`. A file of
# the machine is copied first, so that what was checked is what runs.
_FETCH = (
    _SUM
    + r"""
umask 077
file=$folder/cloudflared-$sum new=$folder/new.$$
mkdir -p "$folder" || exit 1
if [ -f "$file" ] && [ "$(gdl_sum "$file")" = "$sum" ]; then echo "file $file"; exit 0; fi
case $source in
    http://*|https://*)
        if command -v curl >/dev/null 2>&1; then
            said=$(curl -fsSL --max-time "$limit" -o "$new" "$source" 2>&1)
        elif command -v wget >/dev/null 2>&1; then
            said=$(wget -q -T "$limit" -O "$new" "$source" 2>&1)
        else
            said="neither curl nor wget is there"; false
        fi;;
    *) said=$(cp "$source" "$new" 2>&1);;
esac || { rm -f "$new"; echo "no $said" | tail -n 1; exit 0; }
found=$(gdl_sum "$new")
if [ "$found" != "$sum" ]; then rm -f "$new"; echo "sum $found"; exit 0; fi
chmod 700 "$new" && mv -f "$new" "$file" && echo "file $file"
"""
)
_RUN = (
    _SUM
    + r"""
while :; do
    if [ "$(gdl_sum "$file")" != "$sum" ]; then
        echo "the checksum of $file has changed: it is not run"
        exit 65
    fi
    began=$(date +%s)
    "$file" tunnel --config "$config" --no-autoupdate --grace-period 2s --url "$to"
    code=$?
    [ $(($(date +%s) - began)) -ge "$quick" ] || exit "$code"
    sleep 2
done
"""
)
_READ = r"""
grep -o 'https://[a-z0-9.-]*\.trycloudflare\.com' "$log" | grep -v '//api\.' | tail -n 1
echo
tail -c 2000 "$log"
"""


@dataclass(frozen=True, slots=True)
class Binary:
    """source: a URL, or a path on the machine. sha256: of the file there, in lower case."""

    source: str
    sha256: str


@dataclass(frozen=True, slots=True)
class LogReport:
    """What the log says now. address: the latest, "" while there is none. last: its last line."""

    address: str
    last: str


def binary(wanted: Public, arch: str) -> Binary:
    """The file to run on a machine of this architecture (as uname tells it). Raises UsageError."""
    if wanted.cloudflared:
        if not wanted.sha256:
            raise UsageError(
                "public.cloudflared is set without public.sha256, so nothing can be verified",
                "set GDL_PUBLIC__SHA256 to what its publisher says, or set neither",
            )
        return Binary(wanted.cloudflared, wanted.sha256)
    name, sha256 = _KNOWN.get(arch, ("", ""))
    if not name:
        raise UsageError(
            f"no cloudflared is known for a machine of type {one_line(arch, 40) or 'unknown'}",
            "name one with GDL_PUBLIC__CLOUDFLARED and GDL_PUBLIC__SHA256",
        )
    return Binary(_BASE + name, wanted.sha256 or sha256)


async def fetch(link: Link, work_dir: str, wanted: Public, *, limit_s: float) -> tuple[str, str]:
    """Have the file on the machine: (its path there, its checksum). Raises UsageError,
    DeployError when it cannot be had or is not what it should be, SshError."""
    arch = (await link.run("uname -m", timeout=_ASK_S)).stdout.strip()
    chosen = binary(wanted, arch)
    source = chosen.source
    if source.startswith("~/"):
        home = await link.run('printf %s "$HOME"', timeout=_ASK_S)
        source = home.stdout + source[1:]
    words = {
        "folder": f"{work_dir}/public",
        "sum": chosen.sha256,
        "source": source,
        "limit": f"{limit_s:.0f}",
    }
    done = await link.run("/bin/sh", input=_set(words) + _FETCH, timeout=limit_s + _ASK_S)
    what, _, rest = (done.stdout.strip().splitlines() or [""])[-1].partition(" ")
    shown = one_line(chosen.source, 200)
    if what == "file" and done.ok:
        return rest, chosen.sha256
    if what == "sum":
        raise DeployError(
            f"the checksum of {shown} is {one_line(rest, 64) or 'not available'}, not"
            f" {chosen.sha256}: it is not run",
            "the file is a different one, or was tampered with; public.sha256 must be the "
            "publisher's checksum",
        )
    why = one_line(rest or done.stderr, 200) or "no reason given"
    raise DeployError(
        f"cloudflared could not be downloaded from {shown}: {why}",
        "name another place, or a file on the machine: GDL_PUBLIC__CLOUDFLARED, GDL_PUBLIC__SHA256",
    )


async def start(link: Link, work_dir: str, port: int, file: str, sha256: str) -> jobs.Job:
    """Start it as a job of its own, checked again before each run. Raises DeployError, SshError."""
    to = f"http://127.0.0.1:{port}"
    rules = [{"path": _OPEN_PATHS, "service": to}, {"service": "http_status:404"}]
    words = {
        "file": file,
        "sum": sha256,
        "config": f"{work_dir}/{_INGRESS}",
        "to": to,
        "quick": str(_QUICK_END_S),
    }
    # JSON is YAML.
    files = ((_INGRESS, json.dumps({"ingress": rules}) + "\n"),)
    script = _set(words) + _RUN
    return await jobs.start(link, jobs.JobSpec(JOB, work_dir, script, files=files))


async def read_log(link: Link, job: jobs.Job) -> LogReport:
    """What its log says now. Raises SshError."""
    read = await link.run("/bin/sh", input=_set({"log": job.log}) + _READ, timeout=_ASK_S)
    address, _, tail = read.stdout.partition("\n")
    lines = [line for line in tail.splitlines() if line.strip()]
    sane = _ADDRESS.fullmatch(address.strip())
    return LogReport(sane.group() if sane else "", one_line(lines[-1], 300) if lines else "")


async def running(link: Link, work_dir: str) -> jobs.Job | None:
    """The job, when it is alive. Raises SshError."""
    found = await jobs.look(link, work_dir, JOB)
    return found.job if found is not None and found.status.running else None


async def end(link: Link, work_dir: str) -> bool:
    """End it and remove its log; whether it ran. Raises SshError when it may still run."""
    found = await jobs.look(link, work_dir, JOB)
    if found is None:
        return False
    await jobs.stop(link, found.job, grace_s=_STOP_GRACE_S, remove=True)
    return found.status.running


def _set(words: dict[str, str]) -> str:
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in words.items())
