"""What helps against a failure, as data: shown to the user, and applied by the orchestrator."""

from __future__ import annotations

from enum import StrEnum

from gdl.domain.lazy_dataclass import dataclass


class RemedyKind(StrEnum):
    """On the same machine: flag, env, repair, restart, wait. Elsewhere: next, exclude_machine,
    exclude_provider. stop: a person has to decide, no machine helps."""

    FLAG = "flag"
    ENV = "env"
    REPAIR = "repair"
    RESTART = "restart"
    WAIT = "wait"
    NEXT = "next"
    EXCLUDE_MACHINE = "exclude_machine"
    EXCLUDE_PROVIDER = "exclude_provider"
    STOP = "stop"


_HERE = frozenset(
    {
        RemedyKind.FLAG,
        RemedyKind.ENV,
        RemedyKind.REPAIR,
        RemedyKind.RESTART,
        RemedyKind.WAIT,
    }
)


@dataclass(frozen=True, slots=True)
class Remedy:
    """One remedy.

    name, value: of a flag of the server ("--max-model-len", "4096") or of a variable of its
    environment; a repair's name is that of a script of the plan; a wait's value is in seconds.
    automatic: applied without being asked for, unless the user forbids that.
    """

    kind: RemedyKind
    name: str = ""
    value: str = ""
    automatic: bool = False

    @property
    def same_machine(self) -> bool:
        """Whether it can be applied on the machine that failed."""
        return self.kind in _HERE

    @property
    def words(self) -> str:
        """What applying it does, in a few words."""
        match self.kind:
            case RemedyKind.FLAG:
                return f"start again with {self.name} {self.value}".rstrip()
            case RemedyKind.ENV:
                return f"start again with {self.name}={self.value}"
            case RemedyKind.REPAIR:
                return f"repair ({self.name}) and continue"
            case RemedyKind.RESTART:
                return "start it again"
            case RemedyKind.WAIT:
                return f"wait {self.value} s and try again"
            case RemedyKind.NEXT:
                return "take the next offer"
            case RemedyKind.EXCLUDE_MACHINE:
                return "take the next offer and exclude this machine"
            case RemedyKind.EXCLUDE_PROVIDER:
                return "take the next offer and exclude this provider"
            case RemedyKind.STOP:
                return "stop: no other machine would help"
