"""Options of `deploy` for more than one machine, and the wish that they make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gdl.domain.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from gdl.domain.fleet_spec import FleetSpec
    from gdl.domain.spec import DeploymentSpec
    from gdl.settings import Settings


@dataclass(frozen=True, slots=True)
class FleetOptions:
    replicas: Annotated[
        int | None,
        typer.Option(
            "--replicas",
            metavar="N",
            help="Serve on N machines behind one address, as a fleet: one that dies is "
            "replaced. --max-price and --max-spend apply to all of them together.",
            show_default=False,
        ),
    ] = None
    spread_markets: Annotated[
        bool | None,
        typer.Option(
            "--spread-markets/--no-spread-markets",
            help="Put each new replica where there are fewest: by market, or by provider "
            "within one market.",
            show_default=False,
        ),
    ] = None
    router: Annotated[
        Literal["vllm-router", "smg"] | None,
        typer.Option(
            "--router",
            help="The program that spreads requests over the replicas.  [default: vllm-router]",
            show_default=False,
        ),
    ] = None
    policy: Annotated[
        Literal["round_robin", "random", "power_of_two", "cache_aware"] | None,
        typer.Option(
            "--policy",
            help="How the router chooses a replica for a request.  [default: round_robin]",
            show_default=False,
        ),
    ] = None
    if_short: Annotated[
        Literal["keep", "release"] | None,
        typer.Option(
            "--if-short",
            help="What happens to the serving replicas if there cannot be as many as requested.  "
            "[default: keep]",
            show_default=False,
        ),
    ] = None

    @property
    def flags(self) -> dict[str, Any]:
        """What of it overrides a setting."""
        given = {"router": self.router, "policy": self.policy}
        said = {name: value for name, value in given.items() if value is not None}
        return {"fleet": said} if said else {}

    @property
    def alone(self) -> str:
        """The first option that says nothing of one machine; "" for none."""
        given = {
            "--spread-markets": self.spread_markets,
            "--router": self.router,
            "--policy": self.policy,
            "--if-short": self.if_short,
        }
        return next((name for name, value in given.items() if value), "")

    def spec(self, replica: DeploymentSpec, settings: Settings) -> FleetSpec:
        """The wish of a fleet whose replicas are such. Raises UsageError."""
        from gdl.domain.fleet_spec import IF_SHORT, FleetSpec, check_replicas

        check_replicas(self.replicas or 0)
        return FleetSpec(
            replica,
            self.replicas or 0,
            bool(self.spread_markets),
            settings.fleet.router,
            settings.fleet.policy,
            self.if_short or IF_SHORT[0],
        )
