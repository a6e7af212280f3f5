"""The steps of an installation as one script for one job on the machine. Pure.

One job, because every job and every check costs round trips, and because it goes on by itself from
step to step while the connection is away. What begins and ends is told by marks in its log.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from gdl.domain.lazy_dataclass import dataclass
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

_TIDY = "trap 'rm -f ./places{more}' EXIT\n"
_CHECK = """\
check{number}() (
{check}
) </dev/null >/dev/null 2>&1
"""
_STEP = """
# {title}
{check}\
if check{number}; then
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
_BESIDE = """
# Beside the following steps: {title}
beside{number}=
{check}\
if ! check{number}; then
    rm -f ./{name}.turn ./{name}.status
    {{
        (
{script}
        ) 2>&1
        echo "$?" > ./{name}.status
    }} | {{
        while IFS= read -r line || [ -n "$line" ]; do
            printf '[gdl] beside {number} #{token} %s\\n' "$line"
        done
        grep -qx 0 ./{name}.status || tell '{number} failed'
    }} &
    beside{number}=$!
fi
"""
_TURN = """
# {title}
if [ -z "$beside{number}" ]; then
    tell '{number} skipped'
else
    tell '{number} begins'
    : > ./{name}.turn
    wait "$beside{number}"
    code=$(cat ./{name}.status) || code=1
    if [ "$code" -ne 0 ]; then exit "$code"; fi
    {after}
    tell '{number} done'
fi
"""


@dataclass(frozen=True, slots=True)
class Mark:
    """number: of the step, from 1. what: skipped | begins | done | failed | unsound."""

    number: int
    what: str


@dataclass(frozen=True, slots=True)
class Beside:
    """What a step said before its turn or in it, as it runs beside others. number: from 1."""

    number: int
    lines: tuple[str, ...]


def script(steps: Sequence[Step], token: str, *, exports: str = "", ahead: bool = False) -> str:
    """POSIX shell that runs the steps in order; it ends at the first that fails, with its exit
    status, or UNSOUND. A step that runs beside others begins after the one that it names, and is
    waited for in its turn; that it has failed is told at once. token: letters and digits that no
    output can guess; scripts with the same one may hand things on to each other. exports: POSIX
    shell that comes first. ahead: more steps follow in another job, so that what was handed on
    stays; SKIPPED where nothing was to do."""
    aside = [step for step in steps if step.after]
    more = "".join(f" ./{step.name}.turn ./{step.name}.status" for step in aside)
    made = [_HEAD.format(token=token), exports, "" if ahead else _TIDY.format(more=more)]
    begun: set[str] = set()
    hidden = {name for step in steps for name in step.secret_env}
    names = [step.name for step in steps]
    for number, step in enumerate(steps, 1):
        for other, each in enumerate(steps[number - 1 :], number):
            # What it is to come after may be no part of this installation.
            ready = each.after in names[: number - 1] or each.after not in names
            if each.after and ready and each.name not in begun:
                begun.add(each.name)
                made.append(_filled(_BESIDE, other, each, token, hidden - {*each.secret_env}))
        template = _TURN if step.after else _STEP
        made.append(_filled(template, number, step, token, hidden - {*step.secret_env}))
    end = f'[ -n "$did" ] || exit {SKIPPED}\n' if ahead else ""
    return "".join(made) + end + "exit 0\n"


def _filled(template: str, number: int, step: Step, token: str, hidden: set[str]) -> str:
    """hidden: variables of other steps alone."""
    after = ":"
    if step.check is not None:
        after = f"if ! check{number}; then tell '{number} unsound'; exit {UNSOUND}; fi"
    check = step.check if step.check is not None else "false"
    return template.format(
        title=" ".join(step.title.split()),
        check=_CHECK.format(check=check, number=number),
        number=number,
        name=step.name,
        script=(f"unset {' '.join(sorted(hidden))}\n" if hidden else "") + step.script.rstrip("\n"),
        after=after,
        token=token,
    )


def files(steps: Sequence[Step]) -> tuple[tuple[str, str], ...]:
    """What the steps want to be in place, each file once."""
    return tuple(dict(pair for step in steps for pair in step.files).items())


def pieces(
    lines: Sequence[str], token: str, count: int
) -> Iterator[tuple[str, ...] | Beside | Mark]:
    """The lines in order, without the marks, and the marks between them; by themselves those of
    steps that run beside others. count: of steps."""
    pattern = re.compile(
        rf"\[gdl\] step (\d{{1,3}}) (skipped|begins|done|failed|unsound) #{re.escape(token)}$"
    )
    aside = re.compile(rf"\[gdl\] beside (\d{{1,3}}) #{re.escape(token)} (.*)", re.DOTALL)
    kept: list[str] = []
    for line in lines:
        beside = aside.match(line)
        mark = None if beside is not None else pattern.search(line)
        found = beside or mark
        if found is None or not 1 <= int(found[1]) <= count:
            kept.append(line)
            continue
        if mark is not None and mark.start():
            # What came before it had no line end.
            kept.append(line[: mark.start()])
        if kept:
            yield tuple(kept)
            kept = []
        number, said = int(found[1]), found[2]
        yield Mark(number, said) if beside is None else Beside(number, (said,))
    if kept:
        yield tuple(kept)
