"""One rented machine: enter it, look at it, and read what happens on it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
import shlex
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gdl.domain import events as ev
from gdl.domain.backoff import Backoff
from gdl.domain.errors import GdlError, HostKeyChanged, SshAuthFailed, SshError
from gdl.domain.host import HostFacts
from gdl.domain.rental import Rental
from gdl.domain.secret import Secret
from gdl.domain.session import Session
from gdl.host.inspection import inspect_host
from gdl.keyring.key_files import new_key, read_key, write_key
from gdl.orchestrator.deployment.context import Deployment
from gdl.orchestrator.deployment.engine_habits import volume_exports
from gdl.orchestrator.machine import earlier_work, engine_port, preflight
from gdl.orchestrator.machine.failures_told import FailuresTold
from gdl.orchestrator.machine.log_file import LogFile, kept_here, name_of, skipping
from gdl.orchestrator.machine.ways import first_link, own_machine_s, ways_to
from gdl.settings import Settings
from gdl.ssh.repeating import Repeating
from gdl.ssh.tail import Chunk, Stop, follow

if TYPE_CHECKING:
    from gdl.ssh.reconnecting import Link

Heard = Callable[[Sequence[str]], Awaitable[None]]
"""Takes a batch of a log's lines."""

TAIL_KEPT = 4000
"""Lines of a log kept in memory for the diagnosis."""

_KEY_SPREADS_S = 60.0
"""A marketplace key takes 10-15 s to reach its machine; after a minute it never will."""
_LEAVES_S = 120.0
_SSHD_COMES_S, _SSHD_FETCHED_S = 120.0, 300.0
"""Until there is an SSH server; the second where the image was chosen for its engine: it may have
none, so that one is installed first."""


class Machine(FailuresTold):
    """The connection to one machine, for one attempt of a deployment.

    `link` is None until `connect`; `facts` until `inspect`. `rents`: it is a fresh machine of a
    marketplace, whose key and sshd may take a while.
    """

    def __init__(self, deployment: Deployment, settings: Settings, *, rents: bool) -> None:
        super().__init__(deployment)
        self.settings = settings
        self.rents = rents
        self._link: Link | None = None
        self._facts: HostFacts | None = None
        self._background: set[asyncio.Task[None]] = set()
        self._to_compare: set[str] = set()
        """Sources whose logs a process that is gone had begun to read."""
        self.done_ahead: set[str] = set()
        """Names of steps that were done while the machine was looked at."""
        self.out_of_reach = asyncio.Event()
        """Set while there is no connection."""
        self.out_of_reach.set()

    @property
    def link(self) -> Link:
        assert self._link is not None, "connect first"
        return self._link

    @property
    def connected(self) -> bool:
        return self._link is not None

    @property
    def facts(self) -> HostFacts:
        assert self._facts is not None, "inspect first"
        return self._facts

    @property
    def rental(self) -> Rental:
        assert self.deployment.rental is not None, "rent first"
        return self.deployment.rental

    @property
    def run_token(self) -> str:
        """Letters and digits that nothing on the machine can guess beforehand. They are the same
        for whoever takes the deployment up, who so understands what its jobs say."""
        known = f"{self.rental.intent_id} {self.deployment.id}"
        return hashlib.sha256(known.encode()).hexdigest()[:12]

    # -- entering --------------------------------------------------------------------------------

    async def connect(self, session: Session) -> None:
        """The first connection, which pins the host key. Raises SshError."""
        first = ways_to(session, self.rental)[0]
        await self.save(replace(self.rental, host=first.host, port=first.port, user=first.user))
        started = time.monotonic()
        pauses = Backoff(0.2, 5.0)
        while True:
            try:
                self._link, rental = await first_link(
                    self.rental, session, self.settings, on_state=self._link_state
                )
                await self.save(rental)
                return
            except SshError as error:
                longest_s = _SSHD_COMES_S if self.deployment.image is None else _SSHD_FETCHED_S
                if isinstance(error, SshAuthFailed):
                    longest_s = _KEY_SPREADS_S
                longest_s = longest_s if self.rents else own_machine_s(error)
                waited = time.monotonic() - started
                if waited >= longest_s or isinstance(error, HostKeyChanged):
                    raise
                told = f"{error.message}; waited {waited:.0f} of {longest_s:.0f} s"
                await self.deployment.progress(told)
            await asyncio.sleep(next(pauses))

    def _link_state(self, state: str) -> None:
        if state == "connected":
            self.out_of_reach.clear()
        else:
            self.out_of_reach.set()
            self.spawn(self.note(f"SSH: {state}", "warning"))

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task that ends with the machine's `close` at the latest."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    # -- inspecting ------------------------------------------------------------------------------

    async def inspect(self) -> HostFacts:
        """Facts about the machine; refuses early what would fail late."""
        dep, settings = self.deployment, self.settings
        before = asyncio.create_task(earlier_work.find_server(self.link, self.folder))
        occupied = asyncio.create_task(engine_port.occupied(self.link, settings.engine.port))
        try:
            facts = await preflight.settled(
                lambda first: inspect_host(
                    Repeating(self.link),
                    self.folder,
                    timeout=settings.timeouts.command,
                    measure=self.rents and first,
                    probe=dep.engine.probe,
                    hub_id=dep.model.location if dep.model.source == "hub" else "",
                    image=dep.state.attempt.image if dep.state.attempt else "",
                    exports=volume_exports(dep.spec.query.volume),
                ),
                dep.progress,
                fresh=self.rents and not dep.adopted,
                limit_s=settings.timeouts.start,
            )
            earlier, taken = await before, await occupied
        finally:
            for task in (before, occupied):
                task.cancel()
            await asyncio.gather(before, occupied, return_exceptions=True)
        self._facts = facts
        if not self.rental.work_dir:
            await self.save(replace(self.rental, work_dir=self._below(facts.home)))
        work_dir = self.rental.work_dir
        default_log = dep.engine.info.default_log
        engine_log = settings.engine.log or self.rental.engine_log or default_log
        await self.save(
            replace(
                self.rental,
                engine_log=engine_log,
                has_gpu=facts.has_gpu,
            )
        )
        await self._inspected(facts)
        if dep.adopted:
            await earlier_work.end_all(dep, self.link, work_dir)
            earlier = await earlier_work.find_server(self.link, work_dir)
        changed = await earlier_work.refuse_server(dep, self.link, earlier) or dep.adopted
        await self._settle_port(None if changed else taken)
        return facts

    async def _inspected(self, facts: HostFacts) -> None:
        await self.deployment.emit(ev.HostInspected(self.deployment.attempt, facts))

    def recall(self, facts: HostFacts) -> None:
        """What a process that is gone has found. Logs go on where it had come."""
        self._facts = facts
        self._to_compare = {"install", "engine"}

    async def work_dir(self) -> str:
        """The folder on the machine that everything of ours is in."""
        if not self.rental.work_dir:
            found = await self._default_work_dir()
            await self.save(replace(self.rental, work_dir=found))
        return self.rental.work_dir

    async def _default_work_dir(self) -> str:
        if not self.folder.startswith("~/"):
            return self.folder
        timeout = self.settings.timeouts.command
        home = await Repeating(self.link).run('printf %s "$HOME"', timeout=timeout)
        return self._below(home.stdout.strip())

    @property
    def folder(self) -> str:
        """As `work_dir`, but as it was asked for until the machine has told where that is: with
        `~/` for its home folder."""
        return self.rental.work_dir or self.settings.install.work_dir

    def _below(self, home: str) -> str:
        if not self.folder.startswith("~/"):
            return self.folder
        if not home.startswith("/"):
            raise SshError("the machine's login has no home folder", "set GDL_INSTALL__WORK_DIR")
        return home + self.folder[1:]

    async def _settle_port(self, taken: bool | None) -> None:
        engine = self.settings.engine
        host = self.rental.host
        port = await engine_port.settled(self.deployment, self.link, engine, taken, host)
        if port != engine.port:
            await self.deployment.note(f"port {engine.port} on the machine is in use: using {port}")
        await self.save(replace(self.rental, engine_port=port))

    async def api_key(self) -> Secret:
        """The endpoint's key as it was made before, or a new one where that is not there."""
        if self.rental.api_key_file:
            with contextlib.suppress(GdlError):
                return await asyncio.to_thread(read_key, Path(self.rental.api_key_file))
        return await self.make_api_key()

    async def make_api_key(self) -> Secret:
        """A key for the endpoint, on disk before it is used anywhere. One of an earlier deployment
        on a machine that was taken over is replaced. All replicas of a fleet have one key, each a
        copy of its own. Raises GdlError when that is not there."""
        member = self.deployment.spec.member
        if member is None:
            key = new_key()
        else:
            key = await asyncio.to_thread(read_key, Path(member.api_key_file))
        earlier = self.rental.api_key_file
        path = self.settings.keys_dir / f"{self.rental.intent_id}-{secrets.token_hex(3)}.api"
        await asyncio.to_thread(write_key, path, key)
        await self.save(replace(self.rental, api_key_file=str(path)))
        if earlier and Path(earlier).parent == self.settings.keys_dir:
            await asyncio.to_thread(Path(earlier).unlink, missing_ok=True)
        return key

    async def holds(self, check: str) -> bool:
        """Whether a quick check, run in the work folder, exits 0."""
        script = f"cd {shlex.quote(self.rental.work_dir)} && (\n{check}\n)"
        timeout = self.settings.timeouts.command
        return (await Repeating(self.link).run("/bin/sh", input=script, timeout=timeout)).ok

    # -- reading ---------------------------------------------------------------------------------

    async def read(
        self, log: str, source: str, stop: Stop, offset: int = 0
    ) -> AsyncIterator[Chunk]:
        """A growing remote file, batch by batch, and whole to a file on this computer, until
        `stop` is set and everything there is was read; over cuts of any length."""
        dep = self.deployment
        # Buffered appends of at most some 100 KB: quicker than a hop to another thread.
        path = dep.log_dir / name_of(dep.attempt, self.log_name(source))
        kept = 0
        if source in self._to_compare:
            self._to_compare.discard(source)
            kept = await kept_here(self.link, log, path)
        with LogFile(path) as file:
            sink = skipping(file.write, kept)
            reading = follow(self.link, log, offset=offset, stop=stop, sink=sink)
            async for chunk in reading:
                yield chunk
                file.flush()
                if trouble := file.trouble():
                    await self.note(trouble, "warning")
                if chunk.note:
                    await self.note(f"{source}: {chunk.note}", "warning")

    async def pump(self, log: str, source: str, stop: Stop, heard: Heard, offset: int = 0) -> None:
        """What `read` gives, as events; each batch is handed to `heard` once it is published."""
        async for chunk in self.read(log, source, stop, offset):
            if chunk.lines:
                await self.said(source, chunk.lines, chunk.first_offset, chunk.dropped)
                await heard(chunk.lines)

    # -- leaving ---------------------------------------------------------------------------------

    def leave(self) -> bool:
        """It is to be released: what is still to be done on it does not wait for it for long.
        Returns whether it was ever connected."""
        if self._link is not None:
            self._link.hurry(_LEAVES_S)
        return self.connected

    async def close(self) -> None:
        tasks = list(self._background)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._link is not None:
            await self._link.aclose()

    async def save(self, rental: Rental) -> None:
        await self.deployment.record.change(rental)
