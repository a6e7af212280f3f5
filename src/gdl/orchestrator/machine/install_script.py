"""The steps of an installation as one script for one job on the machine. Pure.

One job, because every job and every check costs round trips, and because it goes on by itself from
step to step while the connection is away. What begins and ends is told by marks in its log.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gdl.engines.base import Step

UNSOUND = 97
"""Exit status of a step that ended well and whose check fails all the same."""

_HEAD = """\
# Written by gdl-tui: one step after the other, each checked before and after.
GDL_RUN={token}; export GDL_RUN
did=
tell() {{ printf '[gdl] step %s #{token}\\n' "$1"; }}
"""
SKIPPED = 98
"""Exit status of what is done ahead where it was there already."""

_TIDY = "trap 'rm -f ./places' EXIT\n"
_CHECK = """\
check() (
{check}
) </dev/null >/dev/null 2>&1
"""
_STEP = """
# {title}
{check}\
if check; then
    tell '{number} skipped'
else
    tell '{number} begins'
    (
{script}
    )
    code=$?
    if [ "$code" -ne 0 ]; then tell '{number} failed'; exit "$code"; fi
    {after}
    did=1
    tell '{number} done'
fi
"""


@dataclass(frozen=True, slots=True)
class Mark:
    """number: of the step, from 1. what: skipped | begins | done | failed | unsound."""

    number: int
    what: str


def script(steps: Sequence[Step], token: str, *, exports: str = "", ahead: bool = False) -> str:
    """POSIX shell that runs the steps in order; it ends at the first that fails, with its exit
    status, or UNSOUND. token: letters and digits that no output can guess; scripts with the same
    one may hand things on to each other. exports: POSIX shell that comes first. ahead: more steps
    follow in another job, so that what was handed on stays; SKIPPED where nothing was to do."""
    made = [_HEAD.format(token=token), exports, "" if ahead else _TIDY]
    for number, step in enumerate(steps, 1):
        after = ":"
        if step.check is not None:
            after = f"if ! check; then tell '{number} unsound'; exit {UNSOUND}; fi"
        made.append(
            _STEP.format(
                title=" ".join(step.title.split()),
                check=_CHECK.format(check=step.check if step.check is not None else "false"),
                number=number,
                script=step.script.rstrip("\n"),
                after=after,
            )
        )
    end = f'[ -n "$did" ] || exit {SKIPPED}\n' if ahead else ""
    return "".join(made) + end + "exit 0\n"


def files(steps: Sequence[Step]) -> tuple[tuple[str, str], ...]:
    """What the steps want to be in place, each file once."""
    return tuple(dict(pair for step in steps for pair in step.files).items())


def pieces(lines: Sequence[str], token: str, count: int) -> Iterator[tuple[str, ...] | Mark]:
    """The lines in order, without the marks, and the marks between them. count: of steps."""
    pattern = re.compile(
        rf"\[gdl\] step (\d{{1,3}}) (skipped|begins|done|failed|unsound) #{re.escape(token)}$"
    )
    kept: list[str] = []
    for line in lines:
        found = pattern.search(line)
        if found is None or not 1 <= int(found[1]) <= count:
            kept.append(line)
            continue
        if found.start():
            # What came before had no line end.
            kept.append(line[: found.start()])
        if kept:
            yield tuple(kept)
            kept = []
        yield Mark(int(found[1]), found[2])
    if kept:
        yield tuple(kept)
