"""What the user asked of a fleet: N deployments of one wish behind one address."""

from __future__ import annotations

from dataclasses import replace

from gdl.domain.errors import UsageError
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.spec import DeploymentSpec, Membership

ROUTERS = ("vllm-router", "smg")
"""Programs that spread requests over replicas; the first is the usual one."""
POLICIES = ("round_robin", "random", "power_of_two", "cache_aware")
"""How they choose a replica, by the names that both programs know."""
IF_SHORT = ("keep", "release")
MOST_REPLICAS = 64


@dataclass(frozen=True, slots=True)
class FleetSpec:
    """replica: the wish of each. Its `query.max_price` and `max_spend` hold for all replicas
    together; its `after` and `bench` are the fleet's.

    spread_markets: the next replica goes where the fewest are, by market where several are used,
    else by provider. if_short: what becomes of the replicas that serve when the wished number
    cannot be had: "keep" serves with them, "release" ends the fleet.
    """

    replica: DeploymentSpec
    replicas: int
    spread_markets: bool = False
    router: str = ROUTERS[0]
    policy: str = POLICIES[0]
    if_short: str = IF_SHORT[0]

    def of_member(self, fleet: str, generation: int, api_key_file: str) -> DeploymentSpec:
        """The wish of one replica. It is held until the fleet ends it, and measured with the
        others, not by itself."""
        return replace(
            self.replica,
            after="hold",
            bench=False,
            keep_on_failure=False,
            auto_failover=True,
            ask_on_failure=False,
            confirmed=(),
            member=Membership(fleet, generation, api_key_file),
        )


def check_replicas(number: int) -> None:
    """Raises UsageError for a number of replicas that no fleet has."""
    if number < 1:
        raise UsageError(
            "a fleet has at least one replica", "`gdl-tui destroy ID` ends it with all of them"
        )
    if number > MOST_REPLICAS:
        raise UsageError(f"a fleet has {MOST_REPLICAS} replicas at most", "deploy several fleets")
