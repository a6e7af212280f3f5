"""From an error answer of Vast.ai to the error the rest of the program knows.

Errors come as `{"success": false, "error": ..., "msg": ...}`, some without one or two of these, and
as plain text when there were too many requests.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from gdl.backends.answer import Answer
from gdl.backends.http import ServiceWords
from gdl.domain.clock import time_of_day
from gdl.domain.errors import BackendError, BackendRefused
from gdl.domain.text import one_line

WORDS = ServiceWords(
    name="Vast.ai",
    away="look at your connection to the internet, and at GDL_VASTAI__URL where it is set",
    no_answer="try again shortly",
)

_QUOTA = "search_quota_exceeded"
_SESSION_OVER = "session expired"
_NO_INSTANCE = "no_such_instance"
_GONE = re.compile(
    r"no_such_ask|3603|not available|unavailable|already rented|no longer (available|rentable)",
    re.IGNORECASE,
)
_NO_CREDIT = re.compile(r"insufficient.{0,3}(credit|balance|funds)|lacks? credit|no credit", re.I)
_CREDIT_HINT = "add credit at https://cloud.vast.ai/billing/"
_KEY_HINT = "check VAST_API_KEY or the setting vastai.key; keys: https://cloud.vast.ai/manage-keys/"
_RELEVANT = ("error", "msg", "message")


def words(answer: Answer) -> str:
    """What an error answer says, made safe to show; "" where it says nothing."""
    data = answer.mapping_or_none()
    if data is not None:
        said = [data[name] for name in _RELEVANT if isinstance(data.get(name), str) and data[name]]
        return one_line(": ".join(dict.fromkeys(said)), 300)
    if answer.is_page:
        return "an HTML page"
    return one_line(answer.body[:1000].decode("utf-8", "replace"), 200)


def own(answer: Answer) -> bool:
    """Whether an error is the service's own, and not that of something between. Too many requests
    it tells in plain text."""
    data = answer.mapping_or_none()
    if data is None:
        return answer.status == 429 and not answer.is_page and bool(answer.body.strip())
    return any(name in data for name in (*_RELEVANT, "success"))


def session_over(answer: Answer) -> bool:
    """Whether the key is that of a two-factor session which is over, or was deleted."""
    if answer.status == 404:
        return _SESSION_OVER in words(answer).lower()
    return answer.status == 401


def quota_gone(answer: Answer) -> bool:
    """Whether today's searches are used up: to ask again before tomorrow is of no use."""
    data = answer.mapping_or_none() if answer.status == 429 else None
    return data is not None and data.get("error") == _QUOTA


def quota_returns(answer: Answer, now: datetime) -> datetime:
    """When there are searches again: as the answer says, else at the next midnight UTC. now: by
    the service's clock, as what is returned."""
    midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    try:
        told = datetime.fromtimestamp(float(answer.headers.get("x-ratelimit-reset", "")), UTC)
    except (ValueError, OverflowError, OSError):
        return midnight
    return told if now < told <= now + timedelta(days=2) else midnight


def out_of_quota(returns: datetime, now: datetime) -> BackendRefused:
    """Both by the same clock."""
    seconds = max((returns - now).total_seconds(), 0.0)
    minutes = int(seconds // 60) + 1
    left = f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
    return BackendRefused(
        "today's searches of this Vast.ai account are used up; they are available again at"
        f" {time_of_day(returns)} (in {left})",
        "what is rented keeps running; rent from another market until then",
        status=429,
        retry_after=max(seconds, 1.0),
    )


def no_instance(answer: Answer) -> bool:
    """Whether the service itself says that it has no such instance: a proxy's or a wrong address's
    404 must not pass for "the machine is gone"."""
    return answer.status == 404 and _NO_INSTANCE in words(answer).lower()


def offer_gone(answer: Answer) -> bool:
    """Whether a rent request was turned down because somebody else has the machine, or nobody
    offers it any more."""
    if answer.status == 410:
        return True
    told = own(answer) and (answer.ok or answer.status in (400, 404, 409))
    return told and bool(_GONE.search(words(answer)))


def about_request(answer: Answer) -> bool:
    """Whether what was asked for is refused, a disk of that size or a bid say, and not the account
    or everything at the moment."""
    return answer.status == 400 and own(answer) and not _NO_CREDIT.search(words(answer))


def unusable(url: str, what: str) -> BackendError:
    """An answer that is not the service's."""
    return BackendError(
        f"{url} answered with {what}",
        "is that the address of Vast.ai? check GDL_VASTAI__URL and any proxy between",
    )


def refused(answer: Answer, doing: str) -> BackendRefused:
    """The plain refusal: what was being done, the status, and the service's own words."""
    said = words(answer) or "without saying why"
    return BackendRefused(
        f"Vast.ai refused to {doing} (HTTP {answer.status}): {said}",
        _hint(answer, said),
        status=answer.status,
        retry_after=answer.retry_after,
        own_words=own(answer),
    )


def _hint(answer: Answer, said: str) -> str:
    if answer.status == 402 or _NO_CREDIT.search(said):
        return _CREDIT_HINT
    if answer.status == 404 and _SESSION_OVER in said.lower():
        return "the two-factor session is over: run `vastai tfa login`, or set VAST_API_KEY"
    if answer.status == 401 and "two factor" in said.lower():
        return "run `vastai tfa login` of Vast.ai's own client, or set VAST_API_KEY"
    if answer.status == 401:
        return _KEY_HINT
    if answer.status == 403:
        return f"the key may not do that; {_KEY_HINT}"
    if answer.status == 429:
        wait = f"{answer.retry_after:.0f} s" if answer.retry_after else "a little"
        return f"too many requests: wait {wait} and try again"
    if answer.status >= 500:
        return "Vast.ai is overloaded or being changed: try again shortly"
    if 300 <= answer.status < 400 or not own(answer):
        return "is that the address of Vast.ai? check GDL_VASTAI__URL"
    return "correct the request as Vast.ai's message says"
