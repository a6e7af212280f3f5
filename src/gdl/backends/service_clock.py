"""The service's clock, by the Date header of its answers, beside this computer's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from gdl.domain.findings import Finding
from gdl.domain.session import Session

_AGREE = timedelta(seconds=5)
"""Smaller differences are the network's, and of a header that tells whole seconds."""
_MOST = timedelta(days=366)
"""A larger one is no clock that is wrong but a header that is."""


class ServiceClock:
    """Turns the service's times into ours, so that costs and remaining times are right on a
    computer whose own clock is not. offset: the service's time less ours, zero while they agree
    or nothing is known."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self.offset = timedelta()

    def answered(self, date: str | None, seconds: float) -> None:
        """An answer has just come. date: its Date header. seconds: how long it took; the answer
        was written at some time of these."""
        if date is None:
            return
        try:
            told = parsedate_to_datetime(date)
        except (ValueError, TypeError, OverflowError):
            return
        if told.tzinfo is None:
            told = told.replace(tzinfo=UTC)
        # The header is cut to whole seconds.
        latest = told + timedelta(seconds=1) - self._now() + timedelta(seconds=max(seconds, 0.0))
        earliest = told - self._now()
        if abs(earliest) > _MOST or earliest <= self.offset <= latest:
            # No clock's, or nothing new: a long answer tells less than a short one before it.
            return
        agree = earliest <= _AGREE and latest >= -_AGREE
        self.offset = timedelta() if agree else earliest + (latest - earliest) / 2

    def theirs(self) -> datetime:
        """What the service's clock shows now."""
        return self._now() + self.offset

    def ours(self, at: datetime | None) -> datetime | None:
        """A time that the service told, by this computer's clock."""
        return None if at is None else at - self.offset

    def corrected(self, session: Session) -> Session:
        if not self.offset:
            return session
        return replace(
            session,
            created_at=self.ours(session.created_at),
            expires_at=self.ours(session.expires_at),
        )

    def findings(self) -> Sequence[Finding]:
        """For `doctor`: one where this computer's clock is wrong."""
        if not self.offset:
            return ()
        minutes = abs(self.offset).total_seconds() / 60
        shown = f"{minutes:.0f} min" if minutes >= 2 else f"{minutes * 60:.0f} s"
        side = "behind" if self.offset > timedelta() else "ahead of"
        return (
            Finding(
                "clock",
                "warn",
                f"this computer's clock is {shown} {side} the service's",
                "sessions use the service's clock; correct this one all the same",
            ),
        )
