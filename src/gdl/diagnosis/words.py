"""What is said of a failure that no rule knows: what raised what, where, while doing what, how far
the start was, and what to try first."""

from __future__ import annotations

import re

from gdl.diagnosis.places import first_to_try, place_of, suspects
from gdl.diagnosis.records import Log, Record
from gdl.domain.lazy_dataclass import dataclass

_SHARDS = re.compile(r"Completed \| (?P<done>\d+)/(?P<all>\d+)")
_REPORT = "`gdl-tui bundle ID` packs the whole log, and says how to report it"


@dataclass(frozen=True, slots=True)
class Unexplained:
    """The cause and what to try first, a sentence or two each. remedy ends in how to report it."""

    cause: str
    remedy: str


def unexplained(
    log: Log, record: Record | None, said: str, stage: str, state: str, status: int | None
) -> Unexplained:
    """said: the root error in the log's own words. state: as of a Diagnosis."""
    if record is not None and said:
        return _of_an_error(log, record, said, stage)
    if state == "healthy":
        return Unexplained(
            "The log shows no failure: the server started, and served until it was ended.",
            "There is nothing to repair; to explain a failure, give the log of its time.",
        )
    last = next((line.text.strip() for line in reversed(log.lines) if line.text.strip()), "")
    reached = f" It came as far as: {stage}." if stage else ""
    if last and not status:
        return Unexplained(
            f"The log ends without an error: it is cut off, or still being written; the last "
            f"line is: {last}",
            f"Wait, or give the rest of the log.{reached}",
        )
    if not last and status is None:
        return Unexplained(
            "The log is empty: nothing was written to it.",
            "If this is all that there is, start it again, and look for what ended it (dmesg, the "
            "provider's page).",
        )
    told = f"; the last line is: {last}" if last else " without a message"
    return Unexplained(
        f"Not a known failure; it ended with status {status}{told}",
        f"Start it again, and look for what ended it (dmesg, the provider's page).{reached} "
        f"Otherwise {_REPORT}.",
    )


def _of_an_error(log: Log, record: Record, said: str, stage: str) -> Unexplained:
    who = "the engine" if log.program in log.engines else log.program or "the program"
    place = place_of(record)
    where = f" in {place.name}" if place is not None else ""
    doing = f" while {_doing(log, record, stage)}" if stage else ""
    if record.error:
        cause = f"Not a known failure: {who} raised {record.error}{where}{doing}; it says: {said}"
    else:
        cause = f"Not a known failure{where}{doing}; the last error is: {said}"
    first = first_to_try(record)
    more = suspects(log)
    return Unexplained(
        cause, f"To try first: {first[0].lower()}{first[1:]}.{more} Otherwise {_REPORT}."
    )


def _doing(log: Log, record: Record, stage: str) -> str:
    """The stage, and how many of the weights' files were loaded before the error."""
    if "weights" not in stage:
        return stage
    shards = None
    for line in log.lines:
        if line.number > record.line.number:
            break
        shards = _SHARDS.search(line.text) or shards
    return f"{stage} ({shards['done']} of {shards['all']} files were)" if shards else stage
