"""What the engine of a deployment is called."""

from __future__ import annotations

from gdl.domain.default_engine import DEFAULT_ENGINE
from gdl.domain.deployment import DeploymentState
from gdl.domain.engine import EngineInfo
from gdl.engines import registry


def engine_of(state: DeploymentState) -> EngineInfo:
    """Also of one that is not there any more."""
    return registry.info(state.spec.engine if state.spec is not None else DEFAULT_ENGINE)
