"""A scenario: what goes wrong on the simulated market, and how long things take there.

One TOML file each, in `scenarios/` or anywhere on this computer:

    title = "One line"
    [timing]                 # optional: seconds at speed 1, see Timing
    boot = 1.0
    [[fault]]                # any number
    kind = "stale"           # see the classes of fault_models.py
    cheapest = [1]           # whom: the cheapest offer; see Whom there
    [expect]                 # how a deployment of a small model must end; see Expect
    outcome = "released"
    attempts = ["failed", "released"]
"""

from __future__ import annotations

import tomllib
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from gdl.domain.errors import UsageError
from gdl.domain.requirement import of_problem
from gdl.domain.text import one_line
from gdl.simulator.fault_models import Fault, Http, OfferFault, Program, Server
from gdl.simulator.timing import Part, Timing


class Expect(Part):
    """How the deployment of a small model with automatic failover must end.

    attempts: how each ended. providers: theirs, if that matters. reasons: a part of each reason.
    diagnosed: the rule that a log must have been recognized by. left: machines that still bill.
    settings: the deployment's, as in the configuration file; time-outs in seconds at speed 1.
    """

    outcome: str = "released"
    kind: str = ""
    billing: str = "released"
    attempts: tuple[str, ...] = ("released",)
    providers: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    diagnosed: str = ""
    left: int = 0
    settings: dict[str, Any] = Field(default_factory=dict)


class Scenario(Part):
    """offers: rows as in listings.toml in place of the standard list. session_ids: the ids of the
    first sessions, in order."""

    name: str
    title: str
    timing: Timing = Timing()
    fault: tuple[Fault, ...] = ()
    offers: tuple[tuple[Any, ...], ...] = ()
    session_ids: tuple[str, ...] = ()
    expect: Expect | None = None

    @model_validator(mode="after")
    def _logs_are_there(self) -> Scenario:
        for fault in self.fault:
            for name in named_logs(fault):
                if not _log_file(name).is_file():
                    raise ValueError(f"there is no log {name!r}")
        return self


def named_logs(fault: OfferFault | Http) -> tuple[str, ...]:
    """The files of `logs/` that a fault may show."""
    if isinstance(fault, Server):
        return fault.logs
    return (fault.log,) if isinstance(fault, Program) and fault.log else ()


def _folder() -> Traversable:
    return files(__package__).joinpath("scenarios")


def _log_file(name: str) -> Traversable:
    return files(__package__).joinpath("logs").joinpath(f"{name}.log")


@cache
def read_log(name: str) -> str:
    return _log_file(name).read_text("utf-8")


@cache
def names() -> tuple[str, ...]:
    """The scenarios that come with the program."""
    found = (entry.name for entry in _folder().iterdir())
    return tuple(sorted(name[:-5] for name in found if name.endswith(".toml")))


def load(name: str) -> Scenario:
    """A scenario by its name, or by the path of its file. Raises UsageError."""
    path: Traversable | Path
    if name in names():
        path = _folder().joinpath(f"{name}.toml")
    elif name.endswith(".toml") or "/" in name:
        path = Path(name)
    else:
        close = get_close_matches(name, names(), 3)
        meant = (
            f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(names())}"
        )
        raise UsageError(
            f"unknown scenario {one_line(name, 60) or '(empty)'}", f"{meant}; or name a file"
        )
    shown = one_line(name, 200)
    try:
        data = tomllib.loads(path.read_text("utf-8"))
        return Scenario(name=Path(name).stem, **data)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"cannot read the scenario {shown}: {one_line(error)}", "correct its path"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(
            f"scenario {shown} is not valid TOML: {error}", "correct the line it names"
        ) from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(
            f"scenario {shown}: {where or 'it'}: {of_problem(first)}", "see the other scenarios"
        ) from None
    except TypeError as error:
        raise UsageError(f"scenario {shown}: {one_line(error)}", "leave `name` out") from None
