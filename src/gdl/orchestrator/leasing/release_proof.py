"""Whether a machine is gone: what was seen of its end, and what that proves.

A backend's word alone is no proof. While a marketplace refuses to destroy a machine, a session can
end as `stopped` all the same; it then keeps an error text. Where no machine had been made when the
end was asked for, it may be made later.
"""

from __future__ import annotations

from gdl.domain.errors import ReleaseUnconfirmed
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.session import Session, SessionStatus
from gdl.orchestrator.leasing.rent_proof import creation_refused
from gdl.presentation.durations import clock_time

_NEVER_ASKED_FOR = SessionStatus.PENDING
"""The state of a session whose machine was not asked for at the marketplace yet."""


@dataclass(slots=True)
class Evidence:
    """What is known of one session's end. It is filled while the end is brought about.

    seen: there was a machine. requested_before: an earlier process has asked for the end.
    before: the session at our last look before we asked, None when it could not be had;
    unknown_before: the backend did not know it then. error_before: its error text before anybody
    asked for its end.
    requests: ours; answered: those that were answered well; took_s: how long the longest took.
    trouble: what the last request or look ended with, or is waiting for; waited_s: for how long
    all of it was waited for. after: the session at the last look; gone: the backend does not know
    it any more. reserved_over: its time was over. earlier_doubt: why an earlier look at it, when it
    was over already, proved nothing.
    listed: whether a marketplace that can prove absence has it in its full list; None: nobody was
    asked that. Nothing else counts then: there, what has stopped still bills.
    """

    seen: bool = False
    requested_before: bool = False
    before: Session | None = None
    unknown_before: bool = False
    error_before: str = ""
    requests: int = 0
    answered: int = 0
    took_s: float = 0.0
    trouble: str = ""
    waited_s: float = 0.0
    after: Session | None = None
    gone: bool = False
    reserved_over: bool = False
    earlier_doubt: str = ""
    listed: bool | None = None

    def look(self, session: Session) -> None:
        """One look at the session, in the order in which they are made."""
        if not self.requests:
            self.before = session
            self.error_before = self.error_before or session.error or ""
        self.after = session
        self.seen = self.seen or session.has_machine

    @property
    def over(self) -> bool:
        """Whether the backend says that the session is over."""
        if self.listed is not None:
            return not self.listed
        return self.gone or (self.after is not None and self.after.terminal)


@dataclass(frozen=True, slots=True)
class Verdict:
    """proven: the machine is gone. why: in words, for either."""

    proven: bool
    why: str


def judge(evidence: Evidence) -> Verdict:
    """What the evidence proves, for a backend that bills."""
    if evidence.listed is False:
        return Verdict(True, "the marketplace's full list has neither it nor its label")
    if not evidence.over:
        return Verdict(False, _still(evidence))
    if not evidence.answered and not evidence.requested_before:
        return Verdict(False, "no request for its end was answered")
    if _never_made(evidence):
        return Verdict(True, f"no machine was made for it ({evidence.error_before})")
    if evidence.earlier_doubt:
        return Verdict(False, evidence.earlier_doubt)
    if (doubt := _doubt(evidence)) is not None:
        return Verdict(False, doubt)
    if evidence.gone:
        return Verdict(True, "its end was requested, and the backend no longer knows it")
    if evidence.reserved_over and evidence.before is not None and evidence.before.terminal:
        return Verdict(True, "its reserved time was over, and the backend ended it")
    return Verdict(True, "its end was requested, and it stopped without an error")


def _never_made(evidence: Evidence) -> bool:
    """Whether it had failed before anybody asked for its end, as its machine was refused."""
    before, after = evidence.before, evidence.after
    if evidence.seen or before is None or before.status is not SessionStatus.FAILED:
        return False
    more = "" if evidence.gone or after is None else after.error or ""
    return more in ("", evidence.error_before) and creation_refused(evidence.error_before)


def _doubt(evidence: Evidence) -> str | None:
    """Why an end that the backend tells of proves nothing."""
    after, before = evidence.after, evidence.before
    if not evidence.gone and after is not None and (after.error or evidence.error_before):
        return _with_error(evidence, after.error or evidence.error_before)
    if evidence.gone and evidence.error_before:
        return _with_error(evidence, evidence.error_before)
    if not evidence.gone and after is not None and after.status is SessionStatus.FAILED:
        return "it failed, and no reason is given"
    if evidence.unknown_before:
        return "the backend did not know it when its end was requested"
    if evidence.requested_before:
        return None if evidence.seen else _UNSEEN
    if before is not None and before.terminal and not evidence.reserved_over:
        return "it stopped without our request, and no reason is given"
    if not evidence.seen and (before is None or before.status is not _NEVER_ASKED_FOR):
        return _UNSEEN
    return None


_UNSEEN = "no machine had been seen for it: one that was being created may still appear"


def _with_error(evidence: Evidence, error: str) -> str:
    early = evidence.before is not None and evidence.before.terminal
    when = "it had failed before its end was requested" if early else "it ended with an error"
    return f"{when} ({error}), and such a session ends whether or not its machine is gone"


def _still(evidence: Evidence) -> str:
    after = evidence.after
    status = "its state is unknown" if after is None else f"it is {after.status}"
    return f"{status}: {evidence.trouble}" if evidence.trouble else status


def tried(evidence: Evidence) -> str:
    """What was done about it, in a few words."""
    if not evidence.requests:
        return (
            "its end was requested earlier"
            if evidence.requested_before
            else "nothing was requested"
        )
    times = "once" if evidence.requests == 1 else f"{evidence.requests} times"
    refused = evidence.requests - evidence.answered
    share = f", {refused} of them refused" if refused and evidence.answered else ""
    return f"asked {times} in {clock_time(evidence.waited_s)}{share}"


def explained(evidence: Evidence, verdict: Verdict) -> str:
    """What was tried and seen, of an end that is not proven."""
    known = bool(evidence.earlier_doubt) and evidence.over
    return verdict.why if known else f"{tried(evidence)}: {verdict.why}"


def unconfirmed(session_id: str, provider: str, why: str) -> ReleaseUnconfirmed:
    """Two lines: what was tried and seen (`why`), and what to do."""
    return ReleaseUnconfirmed(
        f"session {session_id} may still be billing: {why}", what_to_do(session_id, provider)
    )


def what_to_do(session_id: str, provider: str) -> str:
    """After an end that is not proven."""
    where = f"{provider}'s own console" if provider else "the marketplace's own console"
    return (
        f"look for it at {where}; once it is not there: `gdl-tui destroy {session_id} --seen-gone`"
    )
