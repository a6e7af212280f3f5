"""What can be served over several machines, and on which."""

from __future__ import annotations

from collections.abc import Sequence

from gdl.backends.base import Backend, JoinsMachines
from gdl.domain.errors import UsageError
from gdl.domain.spec import DeploymentSpec
from gdl.engines.base import Engine
from gdl.engines.choosing import ChoosesEngine


def check_backends(nodes: int, backends: Sequence[Backend]) -> None:
    """Raises UsageError for machines that do not reach each other."""
    if nodes <= 1:
        return
    for backend in backends:
        if not isinstance(backend, JoinsMachines):
            raise UsageError(
                f"machines of the {backend.name} backend cannot reach each other: --nodes is for"
                " your own",
                "name them: --backend ssh --host user@a,user@b",
            )
    if len(backends) > 1:
        raise UsageError("--nodes needs machines of one backend", "name one with --backend")


def check_engine(nodes: int, engine: Engine) -> None:
    """Raises UsageError for an engine that serves on one machine alone. One that stands for the
    choice among others is not judged: that is made among those that can."""
    info = engine.info
    if nodes > 1 and not info.spans_machines and not isinstance(engine, ChoosesEngine):
        raise UsageError(
            f"{info.display_name} serves a model on one machine only, so --nodes does not apply",
            "omit --engine, or omit --nodes",
        )


def check_spec(spec: DeploymentSpec) -> None:
    """Raises UsageError for what one machine alone can have."""
    if spec.query.nodes <= 1:
        return
    if spec.member is not None:
        raise UsageError("a replica has one machine, so --nodes is not for a fleet", "omit --nodes")
    if spec.idle_minutes is not None or spec.unseen_hours is not None:
        raise UsageError(
            "the guard ends the server of one machine only, so --idle and --unseen do not "
            "work with --nodes",
            "omit them (guard.idle_minutes and guard.unseen_hours in the configuration file);"
            " `gdl-tui destroy` ends the servers of all machines",
        )
    if spec.auto_fix:
        raise UsageError(
            "nothing is fixed on several machines, so --auto-fix does not work with --nodes",
            "omit it; a failure says what would help the next `deploy`",
        )
