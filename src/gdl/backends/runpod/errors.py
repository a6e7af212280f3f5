"""From an error answer of RunPod to the error the rest of the program knows.

RunPod's own errors are problems by RFC 9457: `title`, `status`, `detail` and perhaps `errors`. What
has another shape is another's word, a proxy's say, and tells nothing about a pod.
"""

from __future__ import annotations

import re

from gdl.backends.answer import Answer
from gdl.backends.http import ServiceWords
from gdl.domain.errors import BackendError, BackendRefused, GdlError, MachineError, OfferGone
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.secret import Secret
from gdl.domain.session import RentRequest
from gdl.domain.text import one_line

WORDS = ServiceWords(
    name="RunPod",
    away="check this computer's network, and GDL_RUNPOD__URL if it is set",
    no_answer="RunPod may have trouble of its own: try again shortly",
)
_ADDRESS = "is that the address of RunPod? check GDL_RUNPOD__URL and any proxy between"
_NEXT = "take another offer, or the same one later"
_NO_CAPACITY = re.compile(
    r"no longer any|instances? (is |are )?(not )?available|no (gpu|machine|instance|host|capacity)"
    r"|not enough|out of (stock|capacity)|capacity|could not be placed|unavailable",
    re.IGNORECASE,
)
"""RunPod answers 400 both when a kind is sold out and when a request breaks a rule; only the words
tell which."""


@dataclass(frozen=True, slots=True)
class Problem:
    """An error in RunPod's own words, on one line."""

    status: int
    said: str


@dataclass(frozen=True, slots=True)
class ErrorReader:
    """Reads error answers. key: never shown, though an answer may repeat it."""

    url: str
    key: Secret

    def problem(self, answer: Answer) -> Problem | None:
        """RunPod's own error; None when the answer is not RunPod's."""
        data = answer.mapping_or_none()
        if data is None or data.get("status", answer.status) != answer.status:
            return None
        title, detail, more = (data.get(name) for name in ("title", "detail", "errors"))
        if not isinstance(title, str) and not isinstance(detail, str):
            return None
        said = detail if isinstance(detail, str) and detail.strip() else title
        listed = [each for each in more if isinstance(each, str)] if isinstance(more, list) else []
        text = f"{said} ({'; '.join(listed[:3])})" if listed else str(said)
        return Problem(answer.status, one_line(text.replace(self.key.reveal(), "***"), 300))

    def gone(self, answer: Answer) -> bool:
        """Whether RunPod itself says that it has no such thing: all of a problem, and no 404 of a
        proxy or of a wrong address."""
        data = answer.mapping_or_none() or {}
        whole = all(isinstance(data.get(name), str) for name in ("title", "detail"))
        return answer.status == 404 and data.get("status") == 404 and whole

    def unusable(self, what: str) -> BackendError:
        """An answer that is not RunPod's."""
        return BackendError(f"{self.url} answered with {what}", _ADDRESS)

    def wrong_shape(self, what: str) -> BackendError:
        return BackendError(
            f"{self.url} answered with JSON that is not its interface's ({what} missing or wrong)",
            "RunPod's interface may have changed: update gdl-tui",
        )

    def refused(self, answer: Answer, doing: str) -> BackendRefused:
        """The plain refusal: what was being done, the status, and RunPod's own words."""
        problem = self.problem(answer)
        said = problem.said if problem is not None else answer.flaw() or "without saying why"
        message = f"RunPod refused to {doing} (HTTP {answer.status}): {said}"
        if problem is not None and answer.status == 402:
            message = f"the RunPod account has not enough credit to {doing} (HTTP 402): {said}"
        return BackendRefused(
            message,
            _hint(answer, problem),
            status=answer.status,
            retry_after=answer.retry_after,
            own_words=problem is not None,
        )

    def rent_error(self, answer: Answer, request: RentRequest) -> GdlError:
        """For a rent request that RunPod itself turned down: nothing was rented."""
        problem = self.problem(answer)
        offer_id = one_line(request.offer.id, 120)
        if problem is None:
            return self.refused(answer, f"rent {offer_id}")
        if answer.status in (400, 404) and _NO_CAPACITY.search(problem.said):
            return OfferGone(
                request.offer.id,
                f"offer {offer_id} is not available now: {problem.said}",
                "take the next offer; the catalogue lists kinds, not machines",
            )
        if answer.status == 400:
            return MachineError(
                f"RunPod cannot place offer {offer_id} (HTTP 400): {problem.said}", _NEXT
            )
        if answer.status == 403:
            return MachineError(
                f"the account may not rent offer {offer_id} (HTTP 403): {problem.said}",
                "take another offer, or a key that may write pods",
            )
        return self.refused(answer, f"rent {offer_id}")


def _hint(answer: Answer, problem: Problem | None) -> str:
    status = answer.status
    if status == 429:
        wait = f"{answer.retry_after:.0f} s" if answer.retry_after else "a minute"
        return f"too many requests: wait {wait} and try again"
    if status >= 500:
        return WORDS.no_answer
    if problem is None or 300 <= status < 400:
        return _ADDRESS
    return {
        401: "the key is wrong or was revoked: set RUNPOD_API_KEY to one that is valid",
        402: "add credit at https://console.runpod.io/user/billing, then try again",
        403: "give the key access to pods (read and write) in RunPod's console",
        422: "gdl-tui and RunPod's API no longer match: update gdl-tui",
    }.get(status, "correct the request as RunPod's message says")
