"""Detached jobs on the machine: they outlive the connection, and are found again after it.

A job is a folder `WORKDIR/jobs/NAME` with script.sh, run.sh (the wrapper), pid, start (when that
process began: a pid alone may have been given to another), exit (once it ended) and log.
"""

from __future__ import annotations

import asyncio
import posixpath
import re
import secrets
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote, unquote

from gdl.domain.backoff import RETRYING, Backoff
from gdl.domain.errors import CommandTimeout, DeployError, SshError, UsageError
from gdl.domain.host import CommandResult
from gdl.domain.secret import Secret
from gdl.domain.text import one_line
from gdl.ssh import job_scripts

if TYPE_CHECKING:
    from gdl.ssh.reconnecting import Link

_CALL_S = 60.0
_SENTINEL_TRIES = 6
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SIGNALS = range(1, 65)


class Runner(Protocol):
    """What a Link and a Connection have in common."""

    async def run(
        self, command: str, *, timeout: float = 30.0, input: str | None = None
    ) -> CommandResult: ...


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A job to start.

    workdir: absolute, relative to the home folder, or beginning with `~/`; made if missing, and
    the script's working directory. script: POSIX shell. log: a path like workdir, relative ones
    to it; None: `log` in the job's folder. secret_env: reaches the job's environment over the
    connection's input alone, never an argument or a file. files: (path relative to workdir,
    text), written with mode 0600 before the start.
    """

    name: str
    workdir: str
    script: str
    log: str | None = None
    secret_env: dict[str, Secret] = field(default_factory=dict)
    files: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """A job that was started. dir and log: absolute paths on the machine. pid: leader of its
    process group and session."""

    name: str
    dir: str
    log: str
    pid: int


@dataclass(frozen=True, slots=True)
class JobStatus:
    """exit_status: -N when signal N ended it; None while it runs, and when it ended without a
    trace (killed with its whole group, or the machine restarted)."""

    running: bool
    exit_status: int | None


async def start(runner: Runner, spec: JobSpec) -> Job:
    """Start a job in one round trip; an older run of it leaves no exit status and no log behind.

    Asked again once when the connection is cut; it is not started twice by that. Raises
    DeployError when its earlier run is still alive or it cannot be started, SshError when the
    connection is lost.
    """
    mark = secrets.token_hex(16)
    parts = [job_scripts.WRAPPER, spec.script, _exports(spec.secret_env)]
    parts += [text for _, text in spec.files]
    names = [name for name, _ in spec.files]
    log = spec.log or ""
    if any(sign in path for sign in "\x00\x01" for path in (spec.workdir, log, *names)):
        raise UsageError(f"a path of job {spec.name!r} has a control character", "rename it")
    if "\n" in log:
        raise UsageError("the path of a log cannot have a line break", "choose another")
    if any("\x00" in part for part in parts):
        raise UsageError(f"the script or a file of job {spec.name!r} has a NUL byte", "remove it")
    result = await _run(
        runner,
        job_scripts.START,
        [spec.workdir, _folder(spec.name), log, mark, *names],
        input="".join(f"{part}\n{mark}\n" for part in parts),
    )
    label = one_line(spec.name, 80)
    if not result.ok:
        detail = one_line(result.stderr or "no reason given", 300)
        raise DeployError(
            f"job {label} could not be started: {detail}",
            "check permissions and free space in the work folder",
        )
    answer = _fields(result)
    if answer[0] == "busy":
        raise DeployError(
            f"job {label} is still running on the machine (pid {answer[1]})",
            "attach to it, or stop it first",
        )
    return Job(spec.name, answer[1], answer[2], _number(answer[3]))


async def find(runner: Runner, workdir: str, name: str) -> Job | None:
    """The last run of a job, alive or ended; None when there was none."""
    answer = _fields(await _ask(runner, job_scripts.FIND, [workdir, _folder(name)]))
    if answer[0] != "job":
        return None
    return Job(name, answer[1], answer[2], _number(answer[3]))


async def running_jobs(runner: Runner, workdir: str) -> list[Job]:
    """The jobs in a work folder that are alive."""
    answer = _fields(await _ask(runner, job_scripts.RUNNING, [workdir]))
    jobs = []
    for at in range(0, len(answer) - 4, 4):
        _, folder, log, pid = answer[at : at + 4]
        jobs.append(Job(unquote(posixpath.basename(folder)), folder, log, _number(pid)))
    return jobs


async def status(runner: Runner, job: Job) -> JobStatus:
    """How the job stands now."""
    return _status(_fields(await _ask(runner, job_scripts.STATUS, [job.dir, str(job.pid)])))


async def wait(link: Link, job: Job, *, timeout: float) -> JobStatus:
    """Until the job has ended; known within 0.2 s and a round trip, over any number of cuts.

    Raises CommandTimeout after `timeout` seconds (the job runs on), SshError when the machine
    stays out of reach.
    """
    try:
        async with asyncio.timeout(timeout):
            return await _wait(link, job)
    except TimeoutError:
        raise CommandTimeout(
            f"job {one_line(job.name, 80)} still runs after {timeout:g} s",
            "raise the time-out, or look at its log for what it waits for",
        ) from None


async def _wait(link: Link, job: Job) -> JobStatus:
    command = _command(job_scripts.SENTINEL, [job.dir, str(job.pid)])
    tries = 0
    pauses = Backoff(0.2, 5.0, growth=RETRYING)
    while True:
        said = bytearray()

        def hear(data: bytes, said: bytearray = said) -> None:
            nonlocal tries
            tries = 0
            pauses.reset()
            said += data.lstrip(b".")

        try:
            await link.stream(command, hear, timeout=7 * 24 * 3600.0)
            if said.endswith(b"\x01"):
                return _status(said[:-1].decode("utf-8", "replace").split("\x01"))
            problem = SshError(
                f"job {one_line(job.name, 80)} cannot be watched: "
                f"{one_line(said.decode('utf-8', 'replace'), 200) or 'no answer'}",
                "the machine may be out of memory or processes",
            )
        except SshError as error:
            problem = error
        if link.connected:
            # The machine is there and does not play along: a few times may be bad luck.
            tries += 1
            if tries >= _SENTINEL_TRIES:
                raise problem
            await asyncio.sleep(next(pauses))
        else:
            await link.get()


async def survivors(runner: Runner, job: Job) -> tuple[int, ...]:
    """Pids of what an ended job left running, such as the workers of a server that was killed.
    They carry the job's mark; `stop` ends them. Empty where that cannot be seen (no /proc)."""
    answer = _fields(await _ask(runner, job_scripts.MARKED, [job.dir]))
    return tuple(_number(pid) for pid in answer[: answer.index("end")])


async def stop(runner: Runner, job: Job, *, grace_s: float = 10.0) -> JobStatus:
    """End a job: TERM to its group and to what left the group, after `grace_s` KILL.

    Returns when nothing of it is left; stopping an ended job is no error. Raises SshError when
    the machine cannot be reached or something survives KILL.
    """
    arguments = [job.dir, str(job.pid), str(max(0, round(grace_s * 10)))]
    result = await _ask(runner, job_scripts.STOP, arguments, timeout=2 * grace_s + _CALL_S)
    answer = _fields(result)
    if answer[0] == "stuck":
        pids = one_line(answer[1], 80)
        raise SshError(
            f"job {one_line(job.name, 80)} does not end, not even by KILL (pid {pids})",
            "a process that hangs in a driver needs a restart of the machine",
        )
    return _status(answer)


async def remove(runner: Runner, job: Job) -> None:
    """Delete the folder of an ended job. A log elsewhere stays."""
    if posixpath.basename(posixpath.dirname(job.dir)) != "jobs" or not job.dir.startswith("/"):
        raise UsageError(f"{one_line(job.dir, 200)} is not the folder of a job", "")
    await _ask(runner, 'rm -rf "$1"\n', [job.dir])


def _exports(env: dict[str, Secret]) -> str:
    lines = []
    for name, secret in env.items():
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{one_line(name, 80)!r} is no name for an environment variable",
                "letters, digits and _ alone",
            )
        lines.append(f"export {name}={shlex.quote(secret.reveal())}")
    return "\n".join(lines)


def _folder(name: str) -> str:
    """A job's name as the name of one folder; plain names stay as they are."""
    folder = quote(name, safe=" ", errors="surrogateescape")
    if folder.startswith("."):
        folder = "%2E" + folder[1:]
    if not folder or len(folder) > 200:
        raise UsageError(f"bad name for a job: {one_line(name, 80)!r}", "1 to 200 characters")
    return folder


def _command(program: str, arguments: list[str]) -> str:
    return f"set -- {' '.join(shlex.quote(word) for word in arguments)}\n{program}"


async def _run(
    runner: Runner,
    program: str,
    arguments: list[str],
    *,
    timeout: float = _CALL_S,
    input: str | None = None,
) -> CommandResult:
    """Run a program, once more when the connection is cut: none of them minds being asked twice."""
    command = _command(program, arguments)
    try:
        return await runner.run(command, timeout=timeout, input=input)
    except CommandTimeout:
        raise
    except SshError:
        return await runner.run(command, timeout=timeout, input=input)


async def _ask(
    runner: Runner, program: str, arguments: list[str], *, timeout: float = _CALL_S
) -> CommandResult:
    result = await _run(runner, program, arguments, timeout=timeout)
    if not result.ok:
        detail = one_line(result.stderr or f"exit {result.exit_status}", 300)
        raise SshError(f"the machine cannot tell about its jobs: {detail}", "try again")
    return result


def _fields(result: CommandResult) -> list[str]:
    """The fields of an answer, an empty one after the last."""
    fields = result.stdout.split("\x01")
    known = {"busy": 2, "started": 4, "job": 4, "exit": 2, "stuck": 2}
    if len(fields) <= known.get(fields[0], 1):
        said = one_line(result.stdout, 200)
        raise SshError(f"unexpected answer about a job: {said or 'nothing'}", "try again")
    return fields


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise SshError(f"unexpected answer about a job: {one_line(text, 80)}", "") from None


def _status(answer: list[str]) -> JobStatus:
    if answer[0] == "running":
        return JobStatus(True, None)
    if answer[0] == "exit":
        code = _number(answer[1])
        # A shell tells of a command that signal N ended as 128 + N.
        return JobStatus(False, 128 - code if code - 128 in _SIGNALS else code)
    return JobStatus(False, None)
