"""Whether a replica that serves may be sent requests of its fleet."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing

from gdl.domain.deployment import DeploymentState
from gdl.domain.errors import GdlError, VerificationError
from gdl.domain.fleet import FleetState
from gdl.domain.health import Condition, HealthSample
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.phase import Phase
from gdl.domain.secret import Secret

Models = Callable[[str, Secret], Awaitable[Mapping[str, int | None]]]
"""What the server at an address serves to who has this key: each model with its longest context.
Raises GdlError when it cannot be told."""
_REFUSES_KEY = ("HTTP 401", "HTTP 403")


@dataclass(frozen=True, slots=True)
class Verdict:
    """never: it does not serve what the fleet does, and is of no use to it. url: its end of the
    tunnel. why: what speaks against it, "" for nothing."""

    url: str
    context: int | None = None
    why: str = ""
    never: bool = False


async def models_of(url: str, key: Secret) -> Mapping[str, int | None]:
    """See `Models`."""
    from gdl.endpoint.client import EndpointClient

    async with aclosing(EndpointClient(url, key)) as client:
        return await client.models()


async def judged(
    fleet: FleetState, replica: DeploymentState, key: Secret, models: Models
) -> Verdict:
    """Ask a replica for its models with the fleet's key. Raises GdlError when it does not answer,
    which may be otherwise the next time."""
    url = root_of(replica)
    if not url:
        return Verdict("", why="its machine refuses port forwarding", never=True)
    try:
        served = await models(url, key)
    except VerificationError as error:
        if any(word in error.message for word in _REFUSES_KEY):
            return Verdict(url, why="it does not accept the fleet's key", never=True)
        raise
    if fleet.served_name not in served:
        names = ", ".join(sorted(served)[:3]) or "nothing"
        return Verdict(url, why=f"it serves {names}, not {fleet.served_name}", never=True)
    context = served[fleet.served_name]
    asked = fleet.spec.replica.query.context if fleet.spec is not None else None
    if asked is not None and context is not None and context < asked:
        why = f"it serves a context of {context} tokens, {asked} were requested"
        return Verdict(url, context, why=why, never=True)
    return Verdict(url, context)


def root_of(replica: DeploymentState) -> str:
    """The address on this computer that leads to its server, without a path; "" for none."""
    tunnel = replica.tunnel
    if tunnel is None or tunnel.mode != "forward":
        return ""
    return tunnel.endpoint.removesuffix("/v1").rstrip("/")


def why_out(
    replica: DeploymentState, url: str, health: HealthSample | None, *, others: bool
) -> str:
    """Why no request may go to a replica that was taken in; "" when they may. others: whether
    another one is there that they can go to."""
    if replica.finished is not None:
        return f"its deployment has ended ({replica.finished.outcome})"
    if replica.phase is not Phase.SERVING:
        return f"it is {replica.phase}"
    if root_of(replica) != url:
        return "its tunnel has been replaced"
    if health is None or health.condition in (Condition.HEALTHY, Condition.UNKNOWN):
        return ""
    if health.condition is not Condition.DEGRADED:
        return health.reason
    # A GPU that is not well serves all the same; and a server that is slow under load is better
    # than none.
    return "" if health.reason.startswith("GPU") or not others else health.reason


def explained(error: GdlError) -> str:
    return f"{error.message}; {error.hint}" if error.hint else error.message


def of_no_use(why: str) -> GdlError:
    """As which a replica fails that gets no requests. why: as its verdict says."""
    return VerificationError(
        f"a replica gets no requests: {why}", "its own events say how it was started"
    )
