"""Read-only mode refuses whatever changes something, at every port."""

from __future__ import annotations

import inspect
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from failover_support import quick_orchestrator
from gdl.domain.decisions import AfterFailure, AfterServing
from gdl.domain.errors import UsageError
from gdl.orchestrator.api import logs, market, ports, spending, support, volumes

PORTS = {
    "market": market.Market,
    "deployments": ports.Deployments,
    "resumption": ports.Resumption,
    "sessions": ports.Sessions,
    "endpoints": ports.Endpoints,
    "benchmarks": ports.Benchmarks,
    "spending": spending.Spending,
    "volumes": volumes.Volumes,
    "logs": logs.Logs,
    "support": support.Support,
}
LEAVES_ALL_AS_IT_IS = {
    "market": "offers models search answered variants size exclusions costs",
    # Whoever attached may end that again: the machine goes on as it did.
    "deployments": "attach events state wait cancel next_offer",
    "resumption": "resumable",
    "sessions": "rows watch_public public_rows",
    "endpoints": (
        "health watch_health readings estimates chat hold_tunnel tunnels stop_tunnel served"
    ),
    "benchmarks": "kept speeds",
    "spending": "report balances",
    "volumes": "list find check",
    "logs": "read",
    "support": "doctor sources past_deployments export bundle",
}


def methods(port: str) -> list[str]:
    """Properties tell, and change nothing."""
    found = vars(PORTS[port]).items()
    return [name for name, what in found if not name.startswith("_") and inspect.isfunction(what)]


CHANGES = [
    (port, name)
    for port in PORTS
    for name in methods(port)
    if name not in LEAVES_ALL_AS_IT_IS[port].split()
]


@pytest.mark.parametrize("port", PORTS)
def test_a_port_has_at_most_ten_methods(port: str) -> None:
    assert 0 < len(methods(port)) <= 10
    assert set(LEAVES_ALL_AS_IT_IS[port].split()) <= set(methods(port))


@pytest.mark.parametrize(("port", "name"), CHANGES)
async def test_every_method_that_changes_something_is_refused(
    tmp_path: Path, port: str, name: str
) -> None:
    async with quick_orchestrator(tmp_path, read_only=True) as orchestrator:
        method = getattr(getattr(orchestrator, port), name)
        for arguments in some_arguments(name, method):
            with pytest.raises(UsageError, match="not possible in read-only mode"):
                await done(method(*arguments))


def some_arguments(name: str, method: Any) -> list[list[Any]]:
    """What to call it with; it is refused before it is read."""
    if name == "decide":
        return [["x", AfterServing.RELEASE], *(["x", each] for each in AfterFailure)]
    needed = inspect.signature(method).parameters.values()
    return [["x" for each in needed if each.default is inspect.Parameter.empty]]


async def done(result: Any) -> None:
    if isinstance(result, AbstractAsyncContextManager):
        async with result:
            return
    await result


async def test_letting_go_of_what_one_attached_to_is_no_change(tmp_path: Path) -> None:
    async with quick_orchestrator(tmp_path, read_only=True) as orchestrator:
        with pytest.raises(UsageError, match="does not run here"):
            await orchestrator.deployments.decide("x", AfterServing.KEEP)
