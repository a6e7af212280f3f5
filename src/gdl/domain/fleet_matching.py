"""What a fleet does next so that what it has comes to match what is wished. Pure."""

from __future__ import annotations

from gdl.domain.fleet import FleetState, Replica
from gdl.domain.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """start: so many replicas of the present generation. instead_of: whose place the one that is
    started over the wished number is to take. leave: ids of replicas to be released, and why."""

    start: int = 0
    instead_of: str = ""
    leave: tuple[str, ...] = ()
    reason: str = ""


NOTHING = Step()


def next_step(state: FleetState, starting: int, *, one_more: bool) -> Step:
    """starting: replicas that are begun and have no id yet. one_more: whether a replica may be
    started over the wished number while others are replaced; else one of them leaves first."""
    counting = [r for r in state.live if r.counts]
    there = len(counting) + starting
    if there < state.wanted:
        return Step(start=state.wanted - there)
    outdated = [r for r in counting if r.generation < state.generation]
    if there > state.wanted and not outdated:
        return _fewer(counting, there - state.wanted)
    if not outdated:
        return NOTHING
    fresh = [r for r in counting if r.generation == state.generation]
    if starting or any(not r.taken_in for r in fresh):
        return NOTHING  # one at a time: the last one is to serve first
    oldest = min(outdated, key=lambda r: (r.taken_in, r.since))
    if there > state.wanted:
        # As many as are too many, when the wished number was lowered meanwhile as well.
        order = sorted(outdated, key=lambda r: (r.taken_in, r.since))
        leave = tuple(r.id for r in order[: there - state.wanted])
        return Step(leave=leave, reason="replaced, with the new flags")
    if one_more:
        return Step(start=1, instead_of=oldest.id)
    return Step(leave=(oldest.id,), reason="replaced, with the new flags")


def _fewer(counting: list[Replica], many: int) -> Step:
    """Those first that do not serve, and of these the latest: least is lost with it."""
    order = sorted(counting, key=lambda r: (r.taken_in, -r.since.timestamp()))
    leave = tuple(r.id for r in order[: max(many, 0)])
    return Step(leave=leave, reason="the fleet is smaller now")
