"""The simulated service: sessions and their states over a scaled clock.

Nothing here knows of HTTP; `Refusal` is an error answer. http_api.py asks, one method a request.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from gdl.simulator import fault_models, request_validation
from gdl.simulator.billing_records import Rent
from gdl.simulator.endings import Endings
from gdl.simulator.fault_draws import Draws, OfferFaults
from gdl.simulator.inventory import Inventory
from gdl.simulator.key_pool import Keys
from gdl.simulator.listings import Listing
from gdl.simulator.machines import MakeMachine
from gdl.simulator.rented_session import Rented
from gdl.simulator.scenario import Scenario
from gdl.simulator.wire_format import Json, Query, Refusal, rfc3339

F = TypeVar("F", bound=fault_models.OfferFault)

_LEFT_IS_ENDED = "Instance not found on provider during reconciliation"


class Market:
    """Everything that the service knows. Close it with `aclose`, which ends all sessions."""

    def __init__(
        self,
        scenario: Scenario,
        listed: Sequence[Listing],
        draws: Draws,
        keys: Keys,
        make_machine: MakeMachine,
        *,
        speed: float,
    ) -> None:
        self._scenario = scenario
        self._timing = scenario.timing
        self._draws = draws
        self._make_machine = make_machine
        self._speed = speed
        self.keys = keys
        self.sessions: dict[str, Rented] = {}
        """By id, newest last."""
        self.inventory = Inventory(listed, self._timing, speed, self._is_taken)
        self._tasks: set[asyncio.Task[None]] = set()
        self._endings = Endings(self._timing, keys, self.inventory, self.pause, self._spawn, speed)

    # -- for those who watch the simulation --------------------------------------------------------

    def rented(self) -> list[str]:
        """Ids of the sessions whose machine exists and bills, whatever the service says."""
        return [s.id for s in self.sessions.values() if s.rented]

    def faults_of(self, offer_id: str) -> OfferFaults:
        """What was drawn for an offer. Raises Refusal when there is no such offer."""
        return self._draws.of_offer(self.inventory.find(offer_id))

    # -- clock -------------------------------------------------------------------------------------

    async def pause(self, seconds: float) -> None:
        """Simulated seconds."""
        await asyncio.sleep(seconds / self._speed)

    # -- reading -----------------------------------------------------------------------------------

    def _is_taken(self, offer_id: str) -> bool:
        return any(s.offer.id == offer_id and s.rented for s in self.sessions.values())

    def find(self, ident: str, error: str = "record not found") -> Rented:
        session = self.sessions.get(ident)
        if session is None:
            raise Refusal(404, error)
        return session

    def show(self, ident: str) -> Json:
        return self.find(ident).wire()

    def list_sessions(self, query: Query) -> Json:
        wanted = {
            name: query.text(name)
            for name in ("consumer_id", "status", "provider")
            if query.text(name)
        }
        rows = [session.wire() for session in reversed(self.sessions.values())]
        rows = [row for row in rows if all(row.get(k) == v for k, v in wanted.items())]
        rows = rows[: query.whole("limit") or None]
        return {"count": len(rows), "sessions": rows}

    def diagnostics(self, ident: str) -> Json:
        return self.find(ident, f"session not found: {ident}").diagnostics()

    def rents(self) -> list[Rent]:
        """Every session that ever was, for the costs."""
        return [session.rent() for session in self.sessions.values()]

    # -- renting -----------------------------------------------------------------------------------

    async def create(self, body: Json) -> Json:
        """Rent. Raises Refusal. Cancelled (the client went away): the work is cancelled too."""
        request_validation.check(body)
        offer = self.inventory.find(str(body["offer_id"]))
        consumer = str(body["consumer_id"])
        for session in self.sessions.values():
            same = session.consumer_id == consumer and session.offer.id == offer.id
            if same and not session.terminal:
                raise Refusal(
                    409,
                    f"consumer {consumer} already has active session {session.id} for offer "
                    f"{offer.id} (status: {session.status})",
                )
        session = self._add(body, offer, consumer)
        try:
            request_validation.check_disk(session.faults.first(fault_models.Disk), session.disk_gb)
            await self._ask_provider(session)
        except asyncio.CancelledError:
            session.cut_off = True
            if session.faults.first(fault_models.SlowCreate) is None:
                await self._create_failed(session, "provider create failed: context canceled")
            elif session.status == "provisioning":
                self._endings.watch(session)
            raise
        if session.key is None or session.terminal:
            raise Refusal(500, f"session {session.id} was destroyed while it was created")
        shown = session.wire()
        if session.disk_gb is not None:
            # Told here alone: the service does not keep it.
            shown["disk_gb"] = session.disk_gb
        return {"session": shown, "ssh_private_key": session.key.private}

    def _add(self, body: Json, offer: Listing, consumer: str) -> Rented:
        given = self._scenario.session_ids[len(self.sessions) :]
        # Not from the seed: who keeps a journal must never meet the same id in two markets.
        ident = given[0] if given else str(uuid.uuid4())
        session = Rented(
            ident,
            consumer,
            offer,
            self._draws.of_session(offer),
            str(body["workload_type"]),
            int(body["reservation_hours"]),
            datetime.now(UTC),
            disk_gb=body.get("disk_gb"),
        )
        misreported = session.faults.first(fault_models.Misreported)
        session.misreported = dict(misreported.fields) if misreported else {}
        self.sessions[ident] = session
        return session

    async def _ask_provider(self, session: Rented) -> None:
        offer, faults = session.offer, session.faults
        session.status = "provisioning"
        await self.pause(self._timing.create * self._jitter(session))
        stale = faults.first(fault_models.Stale)
        if stale is None and self._is_taken(offer.id):
            stale = fault_models.Stale()
        if stale is not None:
            await self._refuse_stale(session, stale.form)
        refused = faults.first(fault_models.Refused)
        if refused is not None:
            error = f"provider create failed: {refused.error}"
            if refused.made:
                await self._make(session)
                session.status, session.error = "failed", error
                self._endings.forgotten(session)
            else:
                await self._create_failed(session, error)
            self.inventory.note_failure(offer, refused.error_type, refused.error)
            raise Refusal(
                refused.status,
                refused.error,
                error_type=refused.error_type,
                retry_suggested=refused.status >= 500,
            )
        slow = faults.first(fault_models.SlowCreate)
        if slow is None:
            await self._make(session)
            self._made(session)
        else:
            await asyncio.shield(self._spawn(self._make_late(session, slow.after)))

    async def _make(self, session: Rented) -> None:
        """The marketplace makes the machine, which bills from here on."""
        session.key = await self.keys.take()
        session.rented = True
        session.ssh_port, session.ssh_user = 22, session.offer.user
        if session.faults.first(fault_models.NeverReady) is None:
            session.machine = self._make_machine(session.offer, session.faults, session.disk_gb)
            session.ssh_user = session.machine.user
            await session.machine.start(session.key.ssh)

    async def _make_late(self, session: Rented, after: float) -> None:
        """Nobody can take back what was asked of the marketplace."""
        await self.pause(after)
        await self._make(session)
        self._made(session)

    def _made(self, session: Rented) -> None:
        """The service has the machine, unless the session was ended or the request for it cut off
        meanwhile."""
        if session.terminal or session.cut_off:
            self._endings.forgotten(session)
            return
        session.instance_known = True
        session.life = self._spawn(self._live(session))

    async def _refuse_stale(self, session: Rented, form: str) -> None:
        offer = session.offer
        if form == "404":
            del self.sessions[session.id]
            raise Refusal(404, f"offer not found: {offer.id}")
        gone = request_validation.words_of_gone(offer, form)
        await self._create_failed(session, f"provider create failed: {gone}")
        self.inventory.note_failure(offer, "stale_inventory", gone)
        raise request_validation.gone(offer, form, gone)

    async def _create_failed(self, session: Rented, error: str) -> None:
        session.failed_create = True
        await self._endings.end(session, "failed", error)

    def _jitter(self, session: Rented) -> float:
        return 0.8 + 0.4 * self._chance(session).random()

    def _chance(self, session: Rented) -> random.Random:
        return self._draws.random("jitter", session.offer.id)

    # -- the life of a session ---------------------------------------------------------------------

    async def _live(self, session: Rented) -> None:
        faults, timing = session.faults, self._timing
        await self.pause(timing.address)
        if session.machine is not None:
            session.ssh_host, session.ssh_port = session.machine.address, session.machine.port
        else:
            # Nothing listens there.
            session.ssh_host, session.ssh_port = "127.0.0.1", 1
        never = faults.first(fault_models.NeverReady)
        if never is not None:
            if never.after is None:
                await asyncio.sleep(timing.given_up_after(self._speed))
            else:
                await self.pause(never.after)
            kind = "auth_failed" if "auth_failed" in never.error else "ssh_timeout"
            await self._failed(session, never.error, kind)
            return
        dies = faults.first(fault_models.Dies)
        if dies is not None and dies.at == "provisioning":
            await self._dies(session, dies)
            return
        slow = faults.first(fault_models.SlowBoot)
        await self.pause(slow.after if slow else timing.boot * self._jitter(session))
        session.status = "running"
        if dies is not None and session.machine is not None:
            await session.machine.reached(dies.at)
            await self._dies(session, dies)
            return
        # In steps, because the end may be put off meanwhile.
        while (left := session.real_end - datetime.now(UTC)) > timedelta():  # noqa: ASYNC110
            await asyncio.sleep(min(left.total_seconds(), 60))
        # The real service gives no reason for this end.
        await self._endings.end(session, "stopped")

    async def _dies(self, session: Rented, dies: fault_models.Dies) -> None:
        await self.pause(dies.after)
        if dies.stays:
            # The service is wrong: the machine runs on, and so does its bill.
            session.status, session.error = "stopped", dies.error or _LEFT_IS_ENDED
            session.ended = datetime.now(UTC)
            self._endings.forgotten(session)
            return
        kind = "instance_vanished" if "vanished" in dies.error else "instance_stopped"
        await self._failed(session, dies.error, kind)

    async def _failed(self, session: Rented, error: str, kind: str) -> None:
        session.failed_offers = session.offer.id
        self.inventory.note_failure(session.offer, kind, error)
        await self._endings.failed(session, error)

    # -- ending and prolonging ---------------------------------------------------------------------

    async def destroy(self, ident: str) -> Json:
        """Raises Refusal. Cancelled: the session stays `stopping`, and its machine stays."""
        session = self.find(ident, f"session not found: {ident}")
        await self._endings.destroy(session)
        return {"message": "session destroyed", "session_id": ident}

    async def done(self, ident: str) -> Json:
        await self._endings.destroy(self._alive(ident))
        return {"message": "session shutdown initiated", "session_id": ident}

    def _alive(self, ident: str) -> Rented:
        session = self.find(ident, f"session not found: {ident}")
        if session.terminal:
            raise Refusal(409, f"session {ident} is in terminal state: {session.status}")
        return session

    def extend(self, ident: str, body: Json) -> Json:
        session = self._alive(ident)
        hours = body.get("additional_hours")
        if not isinstance(hours, int) or isinstance(hours, bool) or hours < 1:
            raise Refusal(400, "additional_hours must be at least 1")
        session.extend(hours)
        return {
            "message": "session extended",
            "new_expires_at": rfc3339(session.expires),
            "session_id": ident,
        }

    # -- closing -----------------------------------------------------------------------------------

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def aclose(self) -> None:
        """As the real service: its end is the end of all its sessions."""
        lives = [s.life for s in self.sessions.values() if s.life is not None]
        for task in lives:
            task.cancel()
        await asyncio.gather(*lives, return_exceptions=True)
        ends = [self._endings.end(s, "stopped") for s in self.sessions.values() if s.rented]
        await asyncio.gather(*ends, return_exceptions=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
