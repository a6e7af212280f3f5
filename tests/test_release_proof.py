"""What proves that a machine is gone, and what proves that none was rented."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gdl.domain.session import Session, SessionStatus
from gdl.orchestrator.leasing.release_proof import Evidence, explained, judge, unconfirmed
from gdl.orchestrator.leasing.rent_proof import made_nothing

STUCK = "Session stuck in stopping state - manual cleanup may be required"
REFUSED = "provider create failed: vastai CreateInstance failed (HTTP 400): no_such_ask"
UNCERTAIN = "provider create failed: context canceled"
NOT_ENDED = "provider destroy failed: vastai DestroyInstance failed (HTTP 404): not there"
RUNNING = Session("s-1", "shopper", "vastai", SessionStatus.RUNNING)
PROVISIONING = replace(RUNNING, status=SessionStatus.PROVISIONING)
STOPPING = replace(RUNNING, status=SessionStatus.STOPPING)
STOPPED = replace(RUNNING, status=SessionStatus.STOPPED)


def failed(error: str) -> Session:
    return replace(RUNNING, status=SessionStatus.FAILED, error=error)


def ended(before: Session | None, after: Session | None, **more: object) -> Evidence:
    """Asked for once, and answered well. after None: the backend does not know it any more."""
    evidence = Evidence()
    if before is not None:
        evidence.look(before)
    evidence.requests = evidence.answered = 1
    if after is None:
        evidence.gone = True
    else:
        evidence.look(after)
    for name, value in more.items():
        setattr(evidence, name, value)
    return evidence


@pytest.mark.parametrize(
    "evidence",
    [
        ended(RUNNING, STOPPED),
        ended(RUNNING, None),
        ended(STOPPING, STOPPED, seen=True),
        ended(replace(PROVISIONING, host_known=True), STOPPED),
        ended(PROVISIONING, STOPPED, seen=True),
        # Another look says as much, when the process that asked was killed.
        ended(STOPPED, STOPPED, seen=True, requested_before=True),
        # The first look failed, and the journal knows of the machine.
        ended(None, STOPPED, seen=True),
        ended(STOPPED, STOPPED, seen=True, reserved_over=True),
        # Nothing had been asked of the marketplace.
        ended(replace(RUNNING, status=SessionStatus.PENDING), STOPPED),
        # The marketplace had refused to make a machine, and says nothing else now.
        ended(failed(REFUSED), failed(REFUSED)),
        ended(failed(REFUSED), None, earlier_doubt="it was in doubt"),
    ],
)
def test_an_end_is_proven(evidence: Evidence) -> None:
    assert judge(evidence).proven, judge(evidence).why


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        (ended(RUNNING, RUNNING), "it is running"),
        (ended(RUNNING, STOPPING), "it is stopping"),
        (ended(RUNNING, STOPPED, answered=0), "no request for its end was answered"),
        (ended(RUNNING, failed(STUCK)), "manual cleanup"),
        (ended(failed(STUCK), failed(STUCK), seen=True), "before its end was requested"),
        (ended(failed("SSH verification timeout"), failed("SSH verification timeout")), "SSH ver"),
        (ended(failed("SSH verification timeout"), None, seen=True), "SSH verification timeout"),
        (ended(PROVISIONING, STOPPED), "may still appear"),
        (ended(PROVISIONING, None), "may still appear"),
        (ended(None, STOPPED), "may still appear"),
        (ended(None, None, seen=True, unknown_before=True), "did not know it"),
        (ended(STOPPED, STOPPED, seen=True), "without our request"),
        (ended(None, None, seen=True, unknown_before=True, requested_before=True), "not know it"),
        (ended(STOPPED, STOPPED, requested_before=True), "may still appear"),
        (ended(RUNNING, replace(STOPPED, status=SessionStatus.FAILED)), "it failed"),
        (ended(RUNNING, STOPPED, earlier_doubt="it was in doubt"), "it was in doubt"),
        (ended(failed(REFUSED), failed(STUCK)), "manual cleanup"),
        (ended(failed(REFUSED), failed(REFUSED), seen=True), "no_such_ask"),
        (ended(failed(UNCERTAIN), failed(UNCERTAIN)), "context canceled"),
        (ended(failed(NOT_ENDED), failed(NOT_ENDED)), "DestroyInstance"),
    ],
)
def test_an_end_is_not_proven(evidence: Evidence, words: str) -> None:
    verdict = judge(evidence)
    assert not verdict.proven and words in verdict.why


def test_a_doubt_is_two_lines() -> None:
    evidence = ended(RUNNING, failed(STUCK), requests=3, answered=3, waited_s=281.0)
    error = unconfirmed("s-1", "vastai", explained(evidence, judge(evidence)))
    assert error.message.startswith("session s-1 may still be billing: asked 3 times in 4:41: it ")
    assert error.hint == (
        "look for it at vastai's own console; once it is not there: "
        "`gdl-tui destroy s-1 --seen-gone`"
    )


@pytest.mark.parametrize(
    ("said", "certain"),
    [
        ("stale_inventory", True),
        ("offer X unavailable (stale inventory): gone", True),
        ('vastai CreateInstance failed (HTTP 400): {"error": "no_such_ask"}', True),
        ("provider create failed: vastai CreateInstance failed (HTTP 410): gone", True),
        ("provider create failed: HTTP 429: too many requests", True),
        ("UNIQUE constraint failed: sessions.consumer_id, sessions.offer_id", True),
        ("tensordock CreateInstance failed: No available nodes found", True),
        ("provider create failed: vastai CreateInstance failed (HTTP 500): oops", False),
        ("provider create failed: vastai CreateInstance failed (HTTP 408): too slow", False),
        ("provider create failed: context canceled", False),
        ("internal server error", False),
        ("", False),
    ],
)
def test_what_a_refused_request_has_made(said: str, certain: bool) -> None:
    assert made_nothing(said) is certain
