"""Machines and plans for the tests of the engine."""

from __future__ import annotations

import re
from typing import Any

from gdl.domain.host import Gpu, HostFacts
from gdl.domain.offers import OfferQuery
from gdl.domain.secret import Secret
from gdl.domain.spec import DeploymentSpec
from gdl.engines.base import Plan
from gdl.engines.registry import get
from gdl.orchestrator.leasing.model_lookup import found
from gdl.orchestrator.leasing.requirements import resolved
from gdl.settings import Settings

KEY = Secret("sk-very-secret")
L4 = Gpu("NVIDIA L4", 23034, "8.9")
T4 = Gpu("Tesla T4", 15360, "7.5")
V100 = Gpu("Tesla V100-SXM2-16GB", 16384, "7.0")
P100 = Gpu("Tesla P100-PCIE-16GB", 16384, "6.0")
B200 = Gpu("NVIDIA B200", 183359, "10.0")


def cpu_host(**changes: Any) -> HostFacts:
    facts: dict[str, Any] = {
        "os": "Linux",
        "arch": "x86_64",
        "cpu_count": 2,
        "ram_gib": 24.0,
        "disk_free_gib": 70.0,
        "pythons": ("3.11.7",),
        "gpu_error": "nvidia-smi: not found",
        "home": "/home/user",
        "user": "user",
    }
    return HostFacts(**(facts | changes))


def gpu_host(*gpus: Gpu, driver: str = "580.65.06", **changes: Any) -> HostFacts:
    facts: dict[str, Any] = {
        "cpu_count": 16,
        "ram_gib": 64.0,
        "disk_free_gib": 200.0,
        "pythons": ("3.10.12",),
        "gpus": gpus or (L4,),
        "driver": driver,
        "gpu_error": "",
    }
    return cpu_host(**(facts | changes))


def make_plan(
    model: str,
    host: HostFacts,
    *,
    cpu_allowed: bool = False,
    engine_args: tuple[str, ...] = (),
    port: int = 8000,
    query: OfferQuery | None = None,
    **settings: Any,
) -> Plan:
    engine = get("vllm")
    return engine.plan(
        DeploymentSpec(model, "ssh", query or OfferQuery(), engine_args=engine_args),
        host,
        resolved(engine, found(engine, model), query or OfferQuery()),
        Settings(**settings),
        cpu_allowed=cpu_allowed,
        api_key=KEY,
        log_path="/tmp/vllm.log",
        port=port,
    )


def as_text(plan: Plan) -> str:
    """The whole plan as a reader would like to see it; uploaded programs by name alone."""
    parts = [f"# {plan.summary}\n"]
    for step in plan.steps:
        parts.append(f"\n===== {step.name}: {step.title} (at most {step.timeout_s:g} s)\n")
        for name, text in step.files:
            parts.append(f"----- file {name}\n" + ("" if name.endswith(".py") else text))
        parts.append(f"----- check\n{step.check}\n----- script\n{step.script}")
    server = plan.server
    parts.append(f"\n===== server {server.served_name} on port {server.port}, log {server.log}\n")
    parts.append(f"----- secret environment: {', '.join(sorted(server.secret_env))}\n")
    parts.append(f"----- script\n{server.script}")
    for name, script in server.repairs:
        parts.append(f"----- repair {name}\n{script}")
    return re.sub(r"fingerprint [0-9a-f]+", "fingerprint", "".join(parts))
