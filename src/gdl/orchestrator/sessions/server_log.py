"""The log of a server: on its machine as long as that can be entered, else what was kept here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path

from gdl.domain.errors import GdlError, MachineError, UsageError
from gdl.domain.id_matching import matching
from gdl.domain.rental import Rental
from gdl.journal.store import Journal
from gdl.orchestrator.api.views import LogPart
from gdl.orchestrator.machine.earlier_work import ENGINE_JOB
from gdl.orchestrator.machine.log_file import attempt_of
from gdl.orchestrator.sessions.lookup import SessionLookup
from gdl.orchestrator.sessions.ranks import rank_of
from gdl.orchestrator.sessions.reconnect import Reconnector
from gdl.presentation.lines import LOG_LINE, plain_line
from gdl.settings import Settings
from gdl.ssh import jobs

_END_BYTES = 512 * 1024
"""Of a log's end, which is looked through for its last lines."""
_BATCH = 2000
_OVER_EVERY_S = 15.0


class ServerLogs:
    def __init__(
        self,
        lookup: SessionLookup,
        reconnector: Reconnector,
        journal: Journal,
        settings: Settings,
    ) -> None:
        self._lookup = lookup
        self._reconnector = reconnector
        self._journal = journal
        self._settings = settings

    async def read(
        self,
        ident: str,
        *,
        last: int | None,
        follow: bool,
        tell: Callable[[str], None],
        rank: int = 0,
    ) -> AsyncGenerator[LogPart]:
        """See `api.logs.Logs`."""
        try:
            rental = await self._lookup.find(ident)
        except UsageError as unknown:
            async for part in self._kept(ident, last, unknown, rank):
                yield part
            return
        begun = False
        try:
            rank_of(rental, rank)
            async with aclosing(self._there(rental, last, follow=follow, rank=rank)) as parts:
                async for part in parts:
                    begun = True
                    yield part
        except GdlError as error:
            if begun or not (files := self._files(rental.deployment_id, rank)):
                raise
            tell(
                f"the machine cannot be reached ({error.message}): this is the saved copy of "
                "the log"
            )
            async for part in _of_file(files[-1], last):
                yield part

    # -- on the machine --------------------------------------------------------------------------

    async def _there(
        self, rental: Rental, last: int | None, *, follow: bool, rank: int
    ) -> AsyncGenerator[LogPart]:
        from gdl.ssh import tail

        async with self._reconnector.entered_rank(rental, rank) as (link, entered):
            found = await jobs.look(link, entered.work_dir, ENGINE_JOB)
            if found is None:
                raise MachineError(
                    "no server was started on this machine yet",
                    "`gdl-tui sessions` shows how far it is",
                )
            path, stop, offset = found.job.log, tail.Stop(), 0
            _, size = await link.read_at(path, 0, 1)
            if last is not None:
                begin = max(size - _END_BYTES, 0)
                data, size = await link.read_at(path, begin, _END_BYTES)
                offset = begin + _start_of_last(data, last)
            yield LogPart("machine", path)
            watching = asyncio.create_task(self._until_over(rental, stop)) if follow else None
            if not follow:
                stop.set(size)
            try:
                chunks = tail.follow(link, path, offset=offset, stop=stop, max_lines=10**9)
                async with aclosing(chunks):
                    async for chunk in chunks:
                        yield LogPart("machine", path, chunk.lines, chunk.note)
            finally:
                if watching is not None:
                    watching.cancel()
                    await asyncio.gather(watching, return_exceptions=True)

    async def _until_over(self, rental: Rental, stop: asyncio.Event) -> None:
        """Of a machine that is gone nothing more is waited for."""
        while True:
            if await self._reconnector.over(rental):
                stop.set()
                return
            await asyncio.sleep(_OVER_EVERY_S)

    # -- here ------------------------------------------------------------------------------------

    async def _kept(
        self, ident: str, last: int | None, unknown: UsageError, rank: int
    ) -> AsyncGenerator[LogPart]:
        """Of a deployment, or of a session's, that is over. Raises `unknown` where nobody knows
        it."""
        rentals = await self._journal.rentals()
        of_rentals = [(r.deployment_id, r.session_id, r.attempt) for r in rentals]
        of_journal = [(row.id, None, None) for row in await self._journal.deployments()]
        found = matching(ident, [*of_rentals, *of_journal], lambda each: each[:2])
        if not found:
            raise unknown
        names = {deployment for deployment, _, _ in found}
        if len(names) > 1:
            raise UsageError(f"{ident} names several deployments", "type more of the id")
        deployment, session, attempt = found[0]
        files = self._files(deployment, rank)
        if session is not None and session.startswith(ident):
            files = [file for file in files if attempt_of(file, rank) == attempt]
        if not files:
            raise UsageError(
                f"no log of {'rank ' + str(rank) + ' of ' if rank else ''}{deployment} was kept",
                f"logs are in {self._settings.logs_dir}, for each deployment a folder",
            )
        async for part in _of_file(files[-1], last):
            yield part

    def _files(self, deployment: str, rank: int) -> list[Path]:
        """Logs that were kept, that of the last attempt's server last; of attempts that came to
        none, that of the install."""
        files = (self._settings.logs_dir / deployment).glob("*.log")
        numbered = [(attempt_of(file, rank), file) for file in files]
        ours = [(number, "-engine" in file.name, file) for number, file in numbered if number]
        return [file for _, _, file in sorted(ours)]


def _start_of_last(data: bytes, lines: int) -> int:
    """Where the last lines of it begin."""
    at = len(data) - data.endswith(b"\n")
    for _ in range(lines):
        at = data.rfind(b"\n", 0, at)
        if at < 0:
            return 0
    return at + 1


async def _of_file(path: Path, last: int | None) -> AsyncGenerator[LogPart]:
    """Raises UsageError when it cannot be read."""
    yield LogPart("kept", str(path))
    batches = _batches(path, last)
    while lines := await asyncio.to_thread(next, batches, None):
        yield LogPart("kept", str(path), tuple(lines))


def _batches(path: Path, last: int | None) -> Iterator[Sequence[str]]:
    """The lines of a file, some at a time. Blocking."""
    try:
        with path.open("rb") as file:
            if last is not None:
                size = file.seek(0, 2)
                begin = max(size - _END_BYTES, 0)
                file.seek(begin)
                file.seek(begin + _start_of_last(file.read(), last))
            batch: list[str] = []
            while raw := file.readline(LOG_LINE * 4):
                batch.append(plain_line(raw.decode("utf-8", "replace").rstrip("\r\n")))
                if len(batch) == _BATCH:
                    yield batch
                    batch = []
            if batch:
                yield batch
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}", "check that the file can be read"
        ) from None
