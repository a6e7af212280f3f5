"""The guard's program on a machine: put there, told what to do, and asked how it stands.

It is a job like the others, so that it outlives the connection and is found again; guard.sh says
how it works and which files it has.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import secrets
import shlex
from functools import cache
from pathlib import Path

from gdl.domain.engine import Readiness
from gdl.domain.errors import GdlError, SshError
from gdl.domain.guard import Guard, GuardStatus, read_status
from gdl.domain.rental import Rental
from gdl.domain.secret import Secret
from gdl.domain.text import one_line
from gdl.ssh import job_stop_script, jobs

GUARD_JOB = "guard"
LOOK_EVERY_S = 20.0
"""Between two signs that somebody is connected: well below what it takes for nobody."""
TICK_S = 5
"""Between two looks of the program."""
_CALL_S = 30.0
_URL = re.compile(r"https?://[!-~]{1,500}")
_WORD = re.compile(r"[A-Za-z0-9_]{1,60}")
_KEY = re.compile(r"[A-Za-z0-9._~+/=:-]{1,500}")
"""What the program takes for a key: anything else could be read as something else than a key."""

_RUN = 'cd guard && exec /bin/sh "$PWD/guard.sh" "$PWD"\n'

# Arguments: work folder, a sign of life or "".
_LOOK = r"""
cd "$1/guard" 2>/dev/null || { printf 'none\n'; exit 0; }
if [ -n "$2" ]; then printf '%s\n' "$2" > seen.new && mv -f seen.new seen; fi
pid= alive= up= boot= version=
{ while read -r name value; do
    printf '%s %s\n' "$name" "$value"
    if [ "$name" = pid ]; then pid=$value; fi
done < state; } 2>/dev/null
if [ -r /proc/self/cmdline ]; then grep -qs guard.sh "/proc/${pid:-none}/cmdline" && alive=1
elif [ -n "$pid" ]; then kill -0 "$pid" 2>/dev/null && alive=1; fi
{ read -r up boot < /proc/uptime && read -r boot < /proc/sys/kernel/random/boot_id; } 2>/dev/null
if [ -z "$up" ]; then up=$(date +%s) boot=clock; fi
{ read -r version < version; } 2>/dev/null
printf 'up %s\nboot_now %s\nalive %s\nversion %s\n' "${up%%.*}" "$boot" "$alive" "$version"
"""

# Arguments: work folder. Input: the settings.
_TELL = r"""
umask 077
cd "$1/guard" && cat > settings.new && mv -f settings.new settings
"""

# Arguments: work folder.
_REMOVE = r"""
rm -rf "$1/guard"
"""


@cache
def program() -> str:
    return Path(__file__).with_name("guard.sh").read_text("utf-8")


def version() -> str:
    return hashlib.sha256(program().encode()).hexdigest()[:12]


def settings_of(guard: Guard, rental: Rental, readiness: Readiness, billed_s: int = 0) -> str:
    """What the program is told. billed_s: seconds that the machine has cost money, by our clock.
    Raises GdlError for a request that nobody could send."""
    stops = guard.ends == "server"
    lines = {
        "id": _checked(_WORD, rental.intent_id, "intent"),
        "end": "stop" if stops else "request",
        "billed_s": str(max(billed_s, 0)),
        "tick_s": str(TICK_S),
    }
    if stops:
        lines["jobs"] = f"{rental.work_dir}/jobs"
    else:
        lines["method"] = _checked(_WORD, guard.method, "method")
        lines["url"] = _checked(_URL, guard.url, "address")
        lines["persist"] = "1"
        if guard.key_variable:
            lines["key_variable"] = _checked(_WORD, guard.key_variable, "variable")
    if guard.limit_s is not None:
        lines["limit_s"] = str(guard.limit_s)
    if guard.unseen_hours is not None:
        lines["unseen_s"] = str(max(round(guard.unseen_hours * 3600), 1))
    if guard.idle_minutes is not None and readiness.done and rental.engine_port:
        lines["idle_s"] = str(max(round(guard.idle_minutes * 60), 1))
        lines["metrics"] = f"http://127.0.0.1:{rental.engine_port}{readiness.metrics}"
        lines["gauges"] = " ".join(readiness.at_work)
        lines["counters"] = " ".join(readiness.done)
    text = "".join(f"{name} {value}\n" for name, value in lines.items())
    if len(text.splitlines()) != len(lines):
        raise GdlError("the guard cannot use a path with a line break", "rename the folder")
    return text


async def put(runner: jobs.Runner, work_dir: str, settings: str, key: Secret | None) -> None:
    """Start the program, in place of an earlier one. Without a key, that of the earlier one stays.
    Raises DeployError, SshError."""
    files = [
        ("guard/guard.sh", program()),
        ("guard/stop.sh", job_stop_script.STOP),
        ("guard/version", f"{version()}\n"),
        ("guard/settings", settings),
    ]
    if key is not None:
        files.append(("guard/key", f"{_checked(_KEY, key.reveal(), 'key')}\n"))
    await jobs.end(runner, work_dir, GUARD_JOB, grace_s=1.0)
    await jobs.start(runner, jobs.JobSpec(GUARD_JOB, work_dir, _RUN, files=tuple(files)))


async def tell(runner: jobs.Runner, work_dir: str, settings: str) -> None:
    """Other settings, which hold from its next look on. Raises SshError."""
    result = await runner.run_again(_command(_TELL, work_dir), timeout=_CALL_S, input=settings)
    if not result.ok:
        said = one_line(result.stderr or f"exit {result.exit_status}", 200)
        raise SshError(
            f"the guard cannot be configured: {said}", "check the free space on the machine"
        )


async def look(runner: jobs.Runner, work_dir: str, sign: str = "") -> GuardStatus | None:
    """How it stands; None where there is none, or one of another version. sign: tells it that
    somebody is connected, if it differs from the last one. Raises SshError."""
    result = await runner.run_again(_command(_LOOK, work_dir, sign), timeout=_CALL_S)
    if not result.ok or f"version {version()}" not in result.stdout.splitlines():
        return None
    return read_status(result.stdout)


async def keep_seen(runner: jobs.Runner, work_dir: str) -> None:
    """Let it know that somebody is connected, until this is cancelled."""
    while True:
        with contextlib.suppress(SshError):
            await look(runner, work_dir, secrets.token_hex(8))
        await asyncio.sleep(LOOK_EVERY_S)


async def remove(runner: jobs.Runner, work_dir: str) -> None:
    """End it, and leave nothing of it behind. Raises SshError."""
    await jobs.end(runner, work_dir, GUARD_JOB, grace_s=1.0)
    await runner.run_again(_command(_REMOVE, work_dir), timeout=_CALL_S)


def _command(program: str, *arguments: str) -> str:
    return f"set -- {' '.join(shlex.quote(word) for word in arguments)}\n{program}"


def _checked(shape: re.Pattern[str], text: str, what: str) -> str:
    """Raises GdlError without the text, which may be a secret."""
    if not shape.fullmatch(text):
        raise GdlError(f"the guard cannot use this {what}", "the machine is not guarded")
    return text
