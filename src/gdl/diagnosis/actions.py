"""A rule's remedy as an object, with the numbers and names that the log told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from gdl.domain.remedies import Remedy, RemedyKind

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
"""What of a log may become part of a command: nothing that a shell or an option could misread."""
_SORTS = {
    "next": RemedyKind.NEXT,
    "exclude": RemedyKind.EXCLUDE_MACHINE,
    "wait": RemedyKind.WAIT,
    "stop": RemedyKind.STOP,
}
SORTS = frozenset({*_SORTS, "fix", "change"})
_ELSEWHERE_HELPS = frozenset({"machine", "network"})


def action(
    kind: str, blame: str, apply: Mapping[str, Any], groups: Mapping[str, str | None]
) -> Remedy:
    """What the orchestrator is to do. groups: those of the match, as the log has them; untrusted.

    Without `apply`, or without the value that it needs: what the kind says; and for "fix" and
    "change" the next offer where machine or network are to blame, else nothing that a machine
    could help.
    """
    otherwise = _SORTS.get(kind, RemedyKind.NEXT if blame in _ELSEWHERE_HELPS else RemedyKind.STOP)
    chosen = RemedyKind(apply.get("kind", otherwise))
    value = str(apply.get("value", ""))
    if named := re.fullmatch(r"\{(\w+)\}", value):
        value = _computed(groups.get(named[1]) or "", apply, groups)
        if not _SAFE.fullmatch(value) or value == "0":
            value = str(apply.get("otherwise", ""))
            if not value:
                return Remedy(otherwise)
    return Remedy(chosen, str(apply.get("name", "")), value, bool(apply.get("automatic", False)))


def _computed(value: str, apply: Mapping[str, Any], groups: Mapping[str, str | None]) -> str:
    if by := apply.get("divided_by"):
        return str(int(value[:9]) // by) if value.isdecimal() else ""
    if of := apply.get("share_of"):
        return _share(value, groups.get(of) or "")
    if of := apply.get("divisor_of"):
        return _divisor(groups.get(of) or "", value)
    if of := apply.get("nearest_of"):
        return nearest(value, groups.get(of) or "")
    return value


def _share(part: str, whole: str) -> str:
    """ "10.5" of "23.6" as "0.42", rounded down and a little less, because it changes from moment
    to moment; "" for less than a third, which is not worth having."""
    try:
        share = float(part) / float(whole) - 0.02
    except (ValueError, ZeroDivisionError):
        return ""
    return f"{int(share * 100) / 100:.2f}" if 1 / 3 <= share < 1 else ""


def _divisor(number: str, under: str) -> str:
    """The largest divisor of a number that is less than another; "" for what are no numbers."""
    if not (number.isdecimal() and under.isdecimal()):
        return ""
    whole, limit = int(number[:6]), int(under[:4])
    return next((str(n) for n in range(limit - 1, 0, -1) if whole % n == 0), "")


def nearest(name: str, choices: str) -> str:
    """That of the names in a text which is most like a name, "" when none is."""
    names = re.findall(r"[A-Za-z][\w.-]*", choices[:4000])
    found = get_close_matches(name, names, n=1, cutoff=0.6)
    return found[0] if found else ""
