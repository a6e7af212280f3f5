"""Detached jobs watched to their end, over any number of cuts of the connection.

The command that starts a job stays and watches it: the start and the news of the end are one round
trip. Where that command was cut off, another one watches.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from gdl.domain.backoff import RETRYING, Backoff
from gdl.domain.errors import CommandTimeout, GaveWay, SshError
from gdl.domain.host import CommandResult
from gdl.domain.text import one_line
from gdl.ssh import job_scripts, jobs
from gdl.ssh.jobs import Job, JobSpec, JobStatus
from gdl.ssh.output import Bounded

if TYPE_CHECKING:
    from gdl.ssh.connection import Connection
    from gdl.ssh.reconnecting import Link

_START_S = 60.0
_SENTINEL_TRIES = 6
_STARTED_FIELDS = 4
_SIZE_DIGITS = 18
"""The longest number that a machine is believed, in bytes."""


class Watch:
    """A job, and the command that started it and watches it; without one, it is begun to be
    watched when that is waited for."""

    def __init__(self, link: Link, job: Job | None = None) -> None:
        self._link = link
        self._said, self._errors = Bounded(), Bounded()
        self._answered = asyncio.Event()
        self._running: asyncio.Task[int] | None = None
        self._job = job

    @classmethod
    async def start(cls, link: Link, spec: JobSpec, *, open_text: bool = False) -> Watch:
        """As jobs.start. open_text: as for jobs.start_command."""
        watch = cls(link)
        try:
            await watch._start(spec, open_text)
        except BaseException:
            await watch.aclose()
            raise
        return watch

    @property
    def job(self) -> Job:
        assert self._job is not None
        return self._job

    async def _start(self, spec: JobSpec, open_text: bool) -> None:
        command, input = jobs.start_command(spec, stay=True, open_text=open_text)

        async def ask(conn: Connection) -> int:
            try:
                async with asyncio.timeout(_START_S):
                    return await self._ask(conn, command, input)
            except TimeoutError:
                await self.aclose()
                raise CommandTimeout(
                    f"job {one_line(spec.name, 80)} did not start within {_START_S:g} s",
                    "the machine may be busy or stuck",
                ) from None

        # Whether it was started or not: none is started twice by asking again.
        status = await self._link.repeating(ask)
        said, errors = self._text(self._said), self._text(self._errors)
        self._job = jobs.started(spec, CommandResult(status, said, errors))

    async def _ask(self, conn: Connection, command: str, input: str) -> int:
        """Until there is an answer to the start; 0, or the exit status that came without one."""
        self._said, self._errors = Bounded(), Bounded()
        talking = conn.talk(command, self._hear, input=input, answered=self._answered)
        running = asyncio.create_task(talking, name="job-watch")
        self._running = running
        answered = asyncio.create_task(self._answered.wait())
        try:
            await asyncio.wait({running, answered}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            answered.cancel()
        return 0 if self._answered.is_set() else running.result()

    def _hear(self, data: bytes, is_error: bool) -> None:
        if is_error:
            self._errors.add(data)
            return
        if self._answered.is_set():
            self._said.add(data.lstrip(b"."))
            return
        self._said.add(data)
        # Whatever is wrong with a start is said in one field.
        if self._said.value().count(b"\x01") >= _STARTED_FIELDS:
            self._answered.set()

    @staticmethod
    def _text(heard: Bounded) -> str:
        return heard.value().decode("utf-8", "replace")

    async def wait(self, *, timeout: float) -> JobStatus:
        """Until the job has ended; known within 0.2 s and half a round trip, over any number of
        cuts.

        Raises CommandTimeout after `timeout` seconds (the job runs on), SshError when the machine
        stays out of reach.
        """
        try:
            async with asyncio.timeout(timeout):
                return await self._end() or await _wait(self._link, self.job)
        except TimeoutError:
            raise CommandTimeout(
                f"job {one_line(self.job.name, 80)} still runs after {timeout:g} s",
                "raise the time-out, or look at its log for what it waits for",
            ) from None

    async def _end(self) -> JobStatus | None:
        """What the command says of the end; None when it could not stay for that."""
        running = self._running
        if running is None or running.cancelled():
            return None  # such as by an earlier `wait` whose time was over
        try:
            await running
        except SshError:
            return None
        return _told(self._text(self._said).split("\x01", _STARTED_FIELDS)[-1])

    async def aclose(self) -> None:
        """Watch it no longer; the job runs on."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)


async def _wait(link: Link, job: Job) -> JobStatus:
    command = jobs.command_of(job_scripts.SENTINEL, [job.dir, str(job.pid)])
    tries = 0
    pauses = Backoff(0.2, 5.0, growth=RETRYING)
    while True:
        said = bytearray()

        def hear(data: bytes, _: bool, said: bytearray = said) -> None:
            nonlocal tries
            tries = 0
            pauses.reset()
            said += data.lstrip(b".")

        try:
            await (await link.get()).talk(command, hear)
        except GaveWay:
            continue
        except SshError as error:
            problem = error
        else:
            if status := _told(said.decode("utf-8", "replace")):
                return status
            problem = SshError(
                f"job {one_line(job.name, 80)} cannot be watched: "
                f"{one_line(said.decode('utf-8', 'replace'), 200) or 'no answer'}",
                "the machine may be out of memory or processes",
            )
        if link.connected:
            # The machine is there and does not play along: a few times may be bad luck.
            tries += 1
            if tries >= _SENTINEL_TRIES:
                raise problem
            await asyncio.sleep(next(pauses))
        else:
            await link.get()


def _told(text: str) -> JobStatus | None:
    """How a job ended, as whoever watched it says; None when it did not come to that."""
    status, more = jobs.status_of(text.lstrip(".").split("\x01"))
    match more:
        case ["size", size, ""] if size.isdecimal() and len(size) <= _SIZE_DIGITS:
            return replace(status, log_size=int(size))
    return None
