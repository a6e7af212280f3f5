"""Detached jobs over a real server and a real shell: start, find, wait, stop, mishaps."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from gdl.domain.errors import CommandTimeout, DeployError, UsageError
from gdl.domain.secret import Secret
from gdl.ssh import job_scripts, job_stop_script, jobs
from gdl.ssh.job_watch import Watch
from gdl.ssh.jobs import Job, JobSpec, JobStatus
from gdl.ssh.reconnecting import Link
from local_processes import alive
from ssh_server import SshServer, serving
from waiting import wait_until

HOSTILE = [
    "; touch /tmp/gdl-pwned",
    'it\'s "quoted"',
    "two\nlines\n",
    "$(touch /tmp/gdl-pwned) `id`",
    "-rf",
    "../../up",
    ".hidden",
    "zażółć ✓ *",
    "a\\b",
]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[SshServer]:
    async with serving(tmp_path / "machine") as running:
        yield running


@pytest.fixture
async def link(server: SshServer) -> AsyncIterator[Link]:
    made = Link(server.target(), give_up_s=5)
    await made.connect()
    yield made
    await made.aclose()


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Path]:
    """A work folder; whatever a failed test leaves running in it is ended."""
    folder = tmp_path / "work"
    yield folder
    for pid in folder.glob("jobs/*/pid"):
        with contextlib.suppress(ProcessLookupError, ValueError):
            os.killpg(int(pid.read_text()), signal.SIGKILL)


def _spec(
    work: Path,
    script: str,
    *,
    log: str | None = None,
    secret_env: Mapping[str, Secret] = MappingProxyType({}),
    files: tuple[tuple[str, str], ...] = (),
) -> JobSpec:
    return JobSpec("job", str(work), script, log, dict(secret_env), files)


async def _found(link: Link, work: str, name: str) -> Job | None:
    found = await jobs.look(link, work, name)
    return found.job if found is not None else None


async def test_runs_to_its_end_and_is_found_again(link: Link, work: Path) -> None:
    spec = _spec(work, "pwd\ncat part/one\nread line || echo no input\nexit 7")
    job = await jobs.start(link, replace(spec, files=(("part/one", "text\nhere"),)))
    assert await Watch(link, job).wait(timeout=10) == JobStatus(False, 7)
    assert Path(job.log).read_text() == f"{work}\ntext\nhereno input\n"
    assert await jobs.status(link, job) == JobStatus(False, 7)
    assert await _found(link, str(work), "job") == job
    assert await jobs.look(link, str(work), "other") is None
    assert await jobs.running_jobs(link, str(work)) == []
    assert stat.S_IMODE(Path(job.dir).stat().st_mode) == 0o700
    for name, mode in (("script.sh", 0o700), ("log", 0o600), ("exit", 0o600)):
        assert stat.S_IMODE((Path(job.dir) / name).stat().st_mode) == mode
    await jobs.stop(link, job, remove=True)
    assert os.listdir(work / "jobs") == []


async def test_leads_a_group_and_session_of_its_own(link: Link, work: Path) -> None:
    job = await jobs.start(link, _spec(work, "umask; exec sleep 60"))
    assert os.getpgid(job.pid) == os.getsid(job.pid) == job.pid
    assert await jobs.status(link, job) == JobStatus(True, None)
    assert await jobs.running_jobs(link, str(work)) == [job]
    await wait_until(lambda: Path(job.log).read_text())
    assert int(Path(job.log).read_text(), 8) == _umask()
    assert await jobs.stop(link, job) == JobStatus(False, -15)
    assert await jobs.stop(link, job) == JobStatus(False, -15)


def _umask() -> int:
    mask = os.umask(0o22)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("text", HOSTILE)
async def test_hostile_names(link: Link, tmp_path: Path, text: str) -> None:
    pwned = Path("/tmp/gdl-pwned")
    pwned.unlink(missing_ok=True)
    work = str(tmp_path / "w" / text)
    spec = JobSpec(text, work, f"printf %s {shlex.quote(text)} > said", files=((text, text),))
    job = await jobs.start(link, spec)
    assert (await Watch(link, job).wait(timeout=10)).exit_status == 0
    assert Path(work, "said").read_text() == text
    assert Path(work, text).read_text() == text
    assert await _found(link, work, text) == job
    sleeper = await jobs.start(link, JobSpec(text, work, "sleep 60"))
    assert await jobs.running_jobs(link, work) == [sleeper]
    assert sleeper.name == text
    assert not (await jobs.stop(link, sleeper)).running
    assert not pwned.exists()


async def test_relative_and_home_folders(link: Link, server: SshServer) -> None:
    for workdir in ("~/deep/er", "deep/er"):
        job = await jobs.start(link, JobSpec("job", workdir, "pwd", log="~/out.txt"))
        await Watch(link, job).wait(timeout=10)
        assert job.dir == f"{server.home}/deep/er/jobs/job"
        assert job.log == f"{server.home}/out.txt"
        assert Path(job.log).read_text() == f"{server.home}/deep/er\n"
        assert await _found(link, workdir, "job") == job


async def test_secret_is_nowhere_to_be_seen(link: Link, server: SshServer, work: Path) -> None:
    token = "s3cr3t-'quoted' \"twice\" $(id)\nand `more`"
    spec = _spec(
        work, 'printf %s "$TOKEN" | cksum; exec sleep 60', secret_env={"TOKEN": Secret(token)}
    )
    job = await jobs.start(link, spec)
    await wait_until(lambda: Path(job.log).read_text())
    expected = subprocess.run(["cksum"], input=token.encode(), capture_output=True, check=True)
    assert Path(job.log).read_bytes() == expected.stdout
    listing = subprocess.run(["ps", "-eww", "-o", "args"], capture_output=True, check=True).stdout
    assert b"s3cr3t" not in listing and b"sleep 60" in listing
    assert server.commands and "s3cr3t" not in "".join(server.commands)
    files = {p: p.read_bytes() for p in [*work.rglob("*"), *server.home.rglob("*")] if p.is_file()}
    assert Path(job.log) in files and b"s3cr3t" not in b"".join(files.values())
    assert "s3cr3t" not in repr(spec)
    await jobs.stop(link, job)


async def test_bad_variable_name(link: Link, work: Path) -> None:
    with pytest.raises(UsageError, match="no name for an environment variable"):
        await jobs.start(link, _spec(work, "true", secret_env={"A=1; id": Secret("x")}))


async def test_earlier_run_alive(link: Link, work: Path) -> None:
    job = await jobs.start(link, _spec(work, "sleep 60"))
    with pytest.raises(DeployError, match=f"still running .*{job.pid}"):
        await jobs.start(link, _spec(work, "echo second"))
    assert await _found(link, str(work), "job") == job
    await jobs.stop(link, job)
    second = await jobs.start(link, _spec(work, "echo second"))
    assert await Watch(link, second).wait(timeout=10) == JobStatus(False, 0)
    assert Path(second.log).read_text() == "second\n"
    # What is known of the first run was overwritten.
    assert await jobs.status(link, job) == JobStatus(False, None)


async def test_new_run_forgets_the_old_one(link: Link, work: Path) -> None:
    first = await jobs.start(link, _spec(work, "echo first; exit 3"))
    await Watch(link, first).wait(timeout=10)
    second = await jobs.start(link, _spec(work, "sleep 60"))
    assert await jobs.status(link, second) == JobStatus(True, None)
    assert Path(second.log).read_text() == ""
    await jobs.stop(link, second)


async def test_log_never_goes_through_a_link(link: Link, work: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("keep me")
    log = tmp_path / "server.log"
    log.symlink_to(precious)
    job = await jobs.start(link, _spec(work, "echo mine", log=str(log)))
    await Watch(link, job).wait(timeout=10)
    assert precious.read_text() == "keep me"
    assert log.read_text() == "mine\n" and not log.is_symlink()


async def test_work_folder_that_cannot_be_made(link: Link, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DeployError, match="could not be started"):
        await jobs.start(link, JobSpec("job", str(tmp_path / "file" / "sub"), "true"))


@pytest.mark.parametrize(("script", "status"), [("kill -9 $$", -9), ("exit 255", 255)])
async def test_ends_of_the_script(link: Link, work: Path, script: str, status: int) -> None:
    job = await jobs.start(link, _spec(work, script))
    assert (await Watch(link, job).wait(timeout=10)).exit_status == status


async def test_whole_group_killed_is_noticed_soon(
    link: Link, server: SshServer, work: Path
) -> None:
    job = await jobs.start(link, _spec(work, "sleep 60 & sleep 60"))
    before = len(server.commands)
    waiting = asyncio.create_task(Watch(link, job).wait(timeout=20))
    await wait_until(lambda: len(server.commands) > before, "the job is watched")
    os.killpg(job.pid, signal.SIGKILL)
    killed = time.monotonic()
    assert await waiting == JobStatus(False, None)
    assert time.monotonic() - killed < 10


async def test_end_during_a_cut_is_not_missed(link: Link, server: SshServer, work: Path) -> None:
    job = await jobs.start(link, _spec(work, "while [ ! -e go ]; do sleep 0.02; done; exit 9"))
    before = len(server.commands)
    waiting = asyncio.create_task(Watch(link, job).wait(timeout=20))
    await wait_until(lambda: len(server.commands) > before, "the job is watched")
    await server.stop()
    await wait_until(lambda: not link.connected)
    (work / "go").touch()
    await wait_until((Path(job.dir) / "exit").exists)
    await server.start()
    assert await waiting == JobStatus(False, 9)


async def test_wait_gives_up_and_the_job_goes_on(link: Link, server: SshServer, work: Path) -> None:
    job = await jobs.start(link, _spec(work, "sleep 60"))
    with pytest.raises(CommandTimeout, match="still runs"):
        await Watch(link, job).wait(timeout=0.2)
    assert (await jobs.status(link, job)).running
    await jobs.stop(link, job)


async def test_who_gave_up_may_wait_again(link: Link, work: Path) -> None:
    watch = await Watch.start(link, _spec(work, "while [ ! -e go ]; do sleep 0.05; done; exit 3"))
    with pytest.raises(CommandTimeout, match="still runs"):
        await watch.wait(timeout=0.2)
    (work / "go").touch()
    assert await watch.wait(timeout=10) == JobStatus(False, 3)


async def test_stop_resorts_to_kill(link: Link, work: Path) -> None:
    job = await jobs.start(link, _spec(work, "trap '' TERM; echo up; while :; do sleep 0.05; done"))
    await wait_until(lambda: Path(job.log).read_text())
    started = time.monotonic()
    assert not (await jobs.stop(link, job, grace_s=0.3)).running
    assert 0.3 <= time.monotonic() - started < 8
    assert not alive(job.pid)


async def test_stop_gives_time_to_clean_up(link: Link, work: Path) -> None:
    script = "trap 'sleep 0.2; echo clean; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    job = await jobs.start(link, _spec(work, script))
    await wait_until(lambda: Path(job.log).read_text())
    assert await jobs.stop(link, job) == JobStatus(False, 0)
    assert Path(job.log).read_text().endswith("clean\n")


@pytest.mark.skipif(not shutil.which("setsid"), reason="needs setsid")
async def test_stop_finds_those_who_left_the_group(link: Link, work: Path) -> None:
    """A child in a session of its own, and an orphan that nobody's parenthood leads to."""
    script = (
        "setsid sh -c 'echo $$ > left; exec sleep 60' &\n"
        "(setsid sh -c 'echo $$ > orphan; exec sleep 60' &)\n"
        "while [ ! -s left ] || [ ! -s orphan ]; do sleep 0.02; done\necho up\nwait\n"
    )
    job = await jobs.start(link, _spec(work, script))
    await wait_until(lambda: Path(job.log).read_text())
    pids = [int((work / name).read_text()) for name in ("left", "orphan")]
    assert all(map(alive, pids))
    await jobs.stop(link, job)
    assert not any(map(alive, [*pids, job.pid]))


async def test_stranger_with_the_same_pid_is_left_alone(link: Link, work: Path) -> None:
    job = await jobs.start(link, _spec(work, "true"))
    await Watch(link, job).wait(timeout=10)
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as stranger:
        (Path(job.dir) / "pid").write_text(f"{stranger.pid}\n")
        (Path(job.dir) / "exit").unlink()
        fake = Job(job.name, job.dir, job.log, stranger.pid)
        assert await jobs.status(link, fake) == JobStatus(False, None)
        assert await jobs.running_jobs(link, str(work)) == []
        await jobs.stop(link, fake)
        assert stranger.poll() is None
        stranger.kill()


@pytest.mark.parametrize(
    "missing", [("setsid",), ("setsid", "perl"), ("setsid", "perl", "python3")]
)
async def test_without_setsid(
    link: Link, server: SshServer, work: Path, tmp_path: Path, missing: tuple[str, ...]
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    wanted = "sh cat sleep mkdir chmod mv rm tail grep nohup setsid perl".split()  # noqa: SIM905
    found = {name: shutil.which(name) for name in wanted}
    found["python3"] = str(Path(sys.executable).resolve())
    for name, path in found.items():
        if path and name not in missing:
            (tools / name).symlink_to(path)
    server.noise = f"PATH={tools}; "
    job = await jobs.start(link, _spec(work, "sleep 60 & echo up; wait"))
    await wait_until(lambda: Path(job.log).read_text().endswith("up\n"))
    if "python3" not in missing:
        assert os.getsid(job.pid) == job.pid
    await server.cut()
    assert (await jobs.status(link, job)).running
    assert await jobs.stop(link, job) == JobStatus(False, -15)
    assert not alive(job.pid)


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox sh"])
@pytest.mark.parametrize(
    "name", ["START", "LOOK", "MARKED", "RUNNING", "STATUS", "SENTINEL", "STOP", "WRAPPER"]
)
def test_programs_parse_in_every_shell(shell: str, name: str) -> None:
    command = shell.split()
    if not shutil.which(command[0]):
        pytest.skip(f"no {command[0]} here")
    program = getattr(job_stop_script if name == "STOP" else job_scripts, name)
    subprocess.run([*command, "-n"], input=program.encode(), check=True, timeout=10)
