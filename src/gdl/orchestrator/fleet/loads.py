"""Load and speed of the replicas of a fleet that another process runs: its tunnels end on this
computer, and the servers behind them tell."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

from gdl.domain.deployment import DeploymentState
from gdl.domain.errors import GdlError
from gdl.domain.health import Condition, HealthSample
from gdl.domain.phase import Phase
from gdl.domain.secret import Secret
from gdl.engines.base import EngineResolver
from gdl.keyring.key_files import read_key
from gdl.orchestrator.fleet.admission import root_of

if TYPE_CHECKING:
    from gdl.endpoint.health_monitor import Meter

_ANSWER_S = 2.0
"""For all of them at once: what takes longer is not waited for by whoever looks at a fleet."""


class ReplicaLoads:
    """Keeps what was read last, as a speed is made of two readings."""

    def __init__(self, engines: EngineResolver) -> None:
        self._engines = engines
        self._meters: dict[str, Meter] = {}

    async def of(
        self, replicas: Sequence[DeploymentState], key_file: str
    ) -> dict[str, HealthSample]:
        """By the deployment's id; without those that tell nothing. key_file: of the fleet."""
        serving = [r for r in replicas if r.phase is Phase.SERVING and root_of(r)]
        self._meters = {r.deployment_id: m for r in serving if (m := self._meter(r))}
        if not self._meters:
            return {}
        try:
            key = await asyncio.to_thread(read_key, Path(key_file))
        except GdlError:
            return {}
        told = await asyncio.gather(*(self._sample(each, key) for each in serving))
        samples = zip(serving, told, strict=True)
        return {each.deployment_id: sample for each, sample in samples if sample is not None}

    def _meter(self, replica: DeploymentState) -> Meter | None:
        """None where its engine tells no figures."""
        from gdl.endpoint.health_monitor import Meter

        if replica.spec is None:
            return None
        engine = self._engines(replica.spec.engine)
        if not engine.readiness.metrics:
            return None
        return self._meters.get(replica.deployment_id) or Meter(engine.read_metrics)

    async def _sample(self, replica: DeploymentState, key: Secret) -> HealthSample | None:
        from gdl.endpoint.client import EndpointClient

        meter, spec = self._meters.get(replica.deployment_id), replica.spec
        if meter is None or spec is None:
            return None
        engine = self._engines(spec.engine)
        try:
            async with (
                asyncio.timeout(_ANSWER_S),
                aclosing(EndpointClient(root_of(replica), key, readiness=engine.readiness)) as way,
            ):
                meter.take(engine.read_metrics(await way.metrics()))
        except (GdlError, TimeoutError):
            return None
        return HealthSample(
            Condition.HEALTHY,
            running=meter.metrics.running,
            waiting=meter.metrics.waiting,
            kv_cache=meter.metrics.kv_cache,
            tokens_per_s=meter.tokens_per_s,
        )
