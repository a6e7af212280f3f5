"""What can be done with sessions: attach, a shell, extend, make public, give back."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual import work

from gdl.domain.errors import GdlError
from gdl.domain.money import dollars
from gdl.orchestrator.api.ports import PUBLIC_MEANS, SessionRow
from gdl.presentation.durations import hours_left
from gdl.presentation.lines import plain
from gdl.presentation.money import hourly, price
from gdl.presentation.words import sentence
from gdl.tui.screens.base import GdlScreen
from gdl.tui.widgets import session_rows as rows_of
from gdl.tui.widgets.keyed_table import KeyedTable


class SessionActions(GdlScreen):
    """The half of the sessions screen that changes something. The other half lists and draws."""

    SPENDS: ClassVar[frozenset[str]] = frozenset({"destroy", "extend", "public"})

    def __init__(self) -> None:
        super().__init__()
        self._marked: list[str] = []
        """Session ids, in the order in which they were marked."""
        self._publishing: set[str] = set()

    @abstractmethod
    def action_refresh(self) -> object:
        """List again."""

    @property
    def selected(self) -> SessionRow | None:
        return self._row(self.query_one("#sessions", KeyedTable).selected_key or "")

    def _row(self, ident: str) -> SessionRow | None:
        return next((r for r in self.context.store.sessions if r.session.id == ident), None)

    def _cost(self, row: SessionRow) -> float:
        return self.context.store.cost_now(row, self.now)

    def action_mark(self) -> None:
        row = self.selected
        if row is None or row.session.terminal:
            return
        ident = row.session.id
        if ident in self._marked:
            self._marked.remove(ident)
        else:
            self._marked.append(ident)
        self.query_one("#sessions", KeyedTable).action_cursor_down()
        self.poke()

    def action_copy_id(self) -> None:
        if (row := self.selected) is not None:
            if url := row.public or row.endpoint:
                self.context.copy(f"export OPENAI_BASE_URL={url}", "export OPENAI_BASE_URL=…")
            else:
                self.context.copy(row.session.id, "the session's id")

    @work(exclusive=True, group="dialog")
    async def action_attach(self) -> None:
        row = self.selected
        if row is None:
            return
        if (
            row.deployment_id is not None
            and row.deployment_id in self.context.orchestrator.active()
        ):
            self.context.open_deployment(row.deployment_id)
            return
        try:
            self.context.open_deployment(await self.context.orchestrator.attach(row.session.id))
        except GdlError as error:
            self.context.report(error)

    @work(exclusive=True, group="dialog")
    async def action_shell(self) -> None:
        row = self.selected
        if row is None:
            return
        try:
            command = await self.context.orchestrator.shell(row.session.id)
            if await self.context.hand_over(command) == 255:  # ssh's own failure
                self.context.say("ssh could not connect", severity="warning")
        except GdlError as error:
            self.context.report(error)

    @work(exclusive=True, group="dialog")
    async def action_destroy(self) -> None:
        from gdl.tui.screens.dialogs import Confirm

        found = [self._row(ident) for ident in self._marked] or [self.selected]
        rows = [row for row in found if row is not None and not row.session.terminal]
        if not rows:
            self.context.say("it has ended already")
            return
        if len(rows) == 1:
            title, all_on = "Destroy this session?", "The machine is given back; all on it is lost."
            fields = rows_of.session_fields(rows[0], self._cost(rows[0]), self.now)
        else:
            title = f"Destroy these {len(rows)} sessions?"
            all_on = "The machines are given back; all on them is lost."
            per_hour = sum(row.session.price_per_hour for row in rows)
            cost = sum(self._cost(row) for row in rows)
            fields = [
                (plain(row.session.id, 20), rows_of.in_short(row, self._cost(row))) for row in rows
            ]
            told = f"{hourly(per_hour)}, {dollars(cost)} so far"
            fields.append(("Together", Text(told, "bold")))
        dialog = Confirm(title, fields, all_on, "Destroy", destroys=True)
        if await self.context.ask(dialog):
            self._destroy([row.session.id for row in rows])

    @work(group="destroy")
    async def _destroy(self, idents: Sequence[str]) -> None:
        """All at a time; each is waited for, and one that fails keeps no other back."""
        self._marked = [ident for ident in self._marked if ident not in idents]
        many = len(idents) > 1
        self.context.say(
            f"giving {len(idents)} machines back" if many else "giving the machine back"
        )
        gone = sum(await asyncio.gather(*(self._destroy_one(ident) for ident in idents)))
        if gone:
            what = f"{gone} of {len(idents)} machines are gone" if many else "the machine is gone"
            self.context.say(f"{what}: confirmed")
        self.action_refresh()

    async def _destroy_one(self, ident: str) -> bool:
        try:
            self.context.store.replace_session(await self.context.orchestrator.destroy(ident))
        except GdlError as error:
            self.context.report(error)
            return False
        return True

    @work(exclusive=True, group="dialog")
    async def action_extend(self) -> None:
        from gdl.tui.screens.dialogs import Confirm

        row = self.selected
        if row is None:
            return
        cost = price(row.session.price_per_hour)
        about = rows_of.session_fields(row, self._cost(row), self.now)
        fields = [("One hour more", Text(cost, "bold")), *about]
        if not await self.context.ask(Confirm("Extend?", fields, "", "Extend")):
            return
        try:
            until = await self.context.orchestrator.extend(row.session.id, 1)
        except GdlError as error:
            self.context.report(error)
        else:
            left = hours_left(until, self.now) if until else "no fixed time"
            self.context.say(f"extended: ends in {left}")
        self.action_refresh()

    @work(exclusive=True, group="dialog")
    async def action_public(self) -> None:
        from gdl.tui.screens.dialogs import Confirm

        row = self.selected
        if row is None or row.session.terminal:
            return
        if row.session.id in self._publishing:
            self.context.say("still at it")
            return
        fields = rows_of.session_fields(row, self._cost(row), self.now)
        if row.public is None:
            note = f"{sentence(PUBLIC_MEANS)}. It ends with the session."
            dialog = Confirm("Give it an address on the internet?", fields, note, "Make public")
        else:
            dialog = Confirm(
                "End its public address?", fields, "The machine goes on serving.", "End it"
            )
        if await self.context.ask(dialog):
            self._publish(row.session.id, stop=row.public is not None)

    @work(group="public")
    async def _publish(self, ident: str, *, stop: bool) -> None:
        house = self.context.orchestrator
        self._publishing.add(ident)
        try:
            if stop:
                await house.stop_public(ident)
                self.context.say("the session is not public any more")
            else:
                made = await house.make_public(ident, self.context.say)
                self.context.say(f"public: {plain(made.url, 100)}")
        except GdlError as error:
            self.context.report(error)
        finally:
            self._publishing.discard(ident)
        self.action_refresh()
