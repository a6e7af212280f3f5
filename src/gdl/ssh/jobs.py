"""Detached jobs on the machine: they outlive the connection, and are found again after it.

A job is a folder `WORKDIR/jobs/NAME` with script.sh, run.sh (the wrapper), pid, start (when that
process began: a pid alone may have been given to another), exit (once it ended) and log.
"""

from __future__ import annotations

import posixpath
import re
import secrets
import shlex
from dataclasses import field
from typing import Protocol
from urllib.parse import quote, unquote

from gdl.domain.errors import DeployError, SshError, UsageError
from gdl.domain.host import CommandResult
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.secret import Secret
from gdl.domain.text import one_line
from gdl.ssh import job_scripts, job_stop_script

_CALL_S = 60.0
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SIGNALS = range(1, 65)


class Runner(Protocol):
    """What a Link and a Connection have in common."""

    async def run_again(
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
    trace (killed with its whole group, or the machine restarted). log_size: in bytes, at its end;
    where nobody watched it to its end, None."""

    running: bool
    exit_status: int | None
    log_size: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Found:
    """A job that was found on the machine. survivors: pids of what it left running, once ended."""

    job: Job
    status: JobStatus
    survivors: tuple[int, ...] = ()


async def start(runner: Runner, spec: JobSpec) -> Job:
    """Start a job in one round trip; an older run of it leaves no exit status and no log behind.

    Asked again when the connection is cut; it is not started twice by that. Raises
    DeployError when its earlier run is still alive or it cannot be started, SshError when the
    connection is lost.
    """
    command, input = start_command(spec)
    result = await runner.run_again(command, timeout=_CALL_S, input=input)
    return started(spec, result)


def start_command(spec: JobSpec, *, stay: bool = False, open_text: bool = False) -> tuple[str, str]:
    """What is to be run for it, and what that reads. stay: it then watches the job, and says how it
    ended. open_text: others on the machine may see all of it, so that nothing has to be read: a
    session that is new is sent what it reads a round trip after its command. Raises UsageError for
    what cannot be handed over."""
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
    arguments = [spec.workdir, _folder(spec.name), log, mark, "1" if stay else "", *names]
    command = command_of(job_scripts.START, arguments)
    input = "".join(f"{part}\n{mark}\n" for part in parts)
    if open_text:
        return f"{{\n{command}\n}} <<'end-{mark}'\n{input}end-{mark}\n", ""
    return command, input


def started(spec: JobSpec, result: CommandResult) -> Job:
    """The job, from the answer. Raises DeployError, SshError."""
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


async def look(runner: Runner, workdir: str, name: str) -> Found | None:
    """The last run of a job, alive or ended; None when there was none."""
    answer = _fields(await _ask(runner, job_scripts.LOOK, [workdir, _folder(name)]))
    if answer[0] != "job":
        return None
    job = Job(name, answer[1], answer[2], _number(answer[3]))
    status, left = status_of(answer[4:])
    return Found(job, status, tuple(_number(pid) for pid in left[: left.index("end")]))


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
    return status_of(_fields(await _ask(runner, job_scripts.STATUS, [job.dir, str(job.pid)])))[0]


async def survivors(runner: Runner, job: Job) -> tuple[int, ...]:
    """Pids of what an ended job left running, such as the workers of a server that was killed.
    They carry the job's mark; `stop` ends them. Empty where that cannot be seen (no /proc)."""
    answer = _fields(await _ask(runner, job_scripts.MARKED, [job.dir]))
    return tuple(_number(pid) for pid in answer[: answer.index("end")])


async def stop(
    runner: Runner, job: Job, *, grace_s: float = 10.0, remove: bool = False
) -> JobStatus:
    """End a job: TERM to its group and to what left the group, after `grace_s` KILL.

    remove: delete its folder then; a log elsewhere stays. Returns when nothing of it is left;
    stopping an ended job is no error. Raises SshError when the machine cannot be reached or
    something survives KILL.
    """
    return await _stop(runner, job.name, job.dir, str(job.pid), grace_s, remove=remove)


async def end(runner: Runner, workdir: str, name: str, *, grace_s: float = 10.0) -> None:
    """As `stop`, of whatever its last run is, and its folder is deleted; no error where there is no
    such job."""
    await _stop(runner, name, f"{workdir}/jobs/{_folder(name)}", "", grace_s, remove=True)


async def _stop(
    runner: Runner, name: str, folder: str, pid: str, grace_s: float, *, remove: bool
) -> JobStatus:
    if remove and posixpath.basename(posixpath.dirname(folder)) != "jobs":
        raise UsageError(f"{one_line(folder, 200)} is not the folder of a job", "")
    arguments = [folder, pid, str(max(0, round(grace_s * 10))), "1" if remove else ""]
    result = await _ask(runner, job_stop_script.STOP, arguments, timeout=2 * grace_s + _CALL_S)
    answer = _fields(result)
    if answer[0] == "stuck":
        pids = one_line(answer[1], 80)
        raise SshError(
            f"job {one_line(name, 80)} does not end, not even by KILL (pid {pids})",
            "a process that hangs in a driver needs a restart of the machine",
        )
    return status_of(answer)[0]


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


def command_of(program: str, arguments: list[str]) -> str:
    return f"set -- {' '.join(shlex.quote(word) for word in arguments)}\n{program}"


async def _ask(
    runner: Runner, program: str, arguments: list[str], *, timeout: float = _CALL_S
) -> CommandResult:
    # None of our programs minds being asked twice.
    result = await runner.run_again(command_of(program, arguments), timeout=timeout)
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


def status_of(answer: list[str]) -> tuple[JobStatus, list[str]]:
    """What an answer says first of how a job stands, and what comes after it."""
    if answer[0] == "running":
        return JobStatus(True, None), answer[1:]
    if answer[0] == "exit":
        code = _number(answer[1])
        # A shell tells of a command that signal N ended as 128 + N.
        return JobStatus(False, 128 - code if code - 128 in _SIGNALS else code), answer[2:]
    return JobStatus(False, None), answer[1:]
