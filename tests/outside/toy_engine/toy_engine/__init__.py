"""An engine that needs nothing but Python: the template for those of other packages."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from importlib.resources import files

from gdl.domain.engine import (
    Advice,
    CacheVariable,
    Capabilities,
    EngineInfo,
    EngineMetrics,
    HostProbe,
    Readiness,
    Runtime,
)
from gdl.domain.errors import UsageError
from gdl.domain.host import HostFacts
from gdl.domain.model import Model
from gdl.domain.offers import OfferQuery
from gdl.domain.requirements.allocation import GpuKind
from gdl.domain.requirements.estimate import MemoryModel
from gdl.domain.requirements.shape import ModelShape
from gdl.domain.secret import Secret
from gdl.domain.spec import DeploymentSpec
from gdl.engines.base import LogMark, Plan, PlanPart, Preview, ServerCommand, Step
from gdl.settings import Settings

_MODELS = {"toy-small": 0.1, "toy-big": 30.0}
_WOUND = re.compile(r"toy: winding up (\d{1,3}) %")
_FIGURES = {"toy_running": "running", "toy_told": "generated"}


class ToyEngine:
    """Stateless."""

    info = EngineInfo(
        "toy",
        "Toy",
        log_prefix=r"TOY [\d:]+ ",
        starting="the spring is wound up",
        runtimes=(Runtime.BINARY,),
        quantizations={"tiny": 0.5},
        caches=(CacheVariable("TOY_CACHE", "toy"),),
    )
    probe = HostProbe('[ ! -f "$GDL_DIR/toy-is-here" ] || echo installed=1\necho spring=steel')
    readiness = Readiness("/readyz", ready=frozenset({204}), metrics="/figures")
    memory = MemoryModel(sequence_gb=0.25)

    def models(self) -> tuple[Model, ...]:
        return tuple(
            Model(name, "packaged", f"toys/{name}", name, ModelShape(size))
            for name, size in _MODELS.items()
        )

    def capabilities(self, model: Model) -> Capabilities:
        return Capabilities()

    def knows(self, architecture: str) -> bool:
        return True

    def advice(self, model: Model) -> Advice:
        return Advice()

    def check(self, spec: DeploymentSpec, model: Model, settings: Settings) -> None:
        self.check_load(spec.query, model)

    def check_load(self, query: OfferQuery, model: Model) -> None:
        if query.quantization and query.quantization not in self.info.quantizations:
            raise UsageError(f"no toy is {query.quantization}", "tiny ones there are")

    def least_cuda(
        self, settings: Settings, model: Model | None = None, query: OfferQuery | None = None
    ) -> float | None:
        return None

    def gpu_refusal(
        self,
        gpu: GpuKind,
        settings: Settings,
        model: Model | None = None,
        query: OfferQuery | None = None,
    ) -> str:
        return ""

    def first_of_all(self, settings: Settings) -> Step | None:
        return None

    def plan(
        self,
        spec: DeploymentSpec,
        host: HostFacts,
        model: Model,
        settings: Settings,
        *,
        cpu_allowed: bool,
        api_key: Secret,
        log_path: str,
        port: int,
    ) -> Plan:
        server = files("toy_engine").joinpath("server.py").read_text("utf-8")
        arguments = shlex.join((*settings.engine.args, *spec.engine_args))
        command = f"--port {port} --model {shlex.quote(model.served_name)} {arguments}"
        return Plan(
            summary=f"a toy with a spring of {dict(host.engine.told)['spring']}",
            steps=(
                Step(
                    "toy",
                    "Unpack the toy",
                    "touch ./toy-is-here",
                    30.0,
                    "[ -f ./toy-is-here ]",
                    (("toy_server.py", server),),
                ),
            ),
            server=ServerCommand(
                f"exec python3 ./toy_server.py {command}\n",
                log_path,
                port,
                model.served_name,
                {"TOY_API_KEY": api_key},
            ),
        )

    def preview(self, driver: str, capability: str, settings: Settings) -> Preview:
        return Preview(driver, "", (PlanPart("spring", "steel", "spring", "steel"),), ("by hand",))

    def read_line(self, line: str) -> LogMark | None:
        if line.endswith("toy: wound up"):
            return LogMark("ready", "wound up", 1.0)
        if found := _WOUND.search(line):
            share = int(found[1]) / 100
            return LogMark("loading", f"the spring is wound {share:.0%}", share)
        return None

    def read_metrics(self, text: str) -> EngineMetrics:
        told = EngineMetrics()
        for line in text.splitlines()[:100]:
            name, _, value = line.partition(" ")
            if name in _FIGURES and value.isdecimal():
                told = replace(told, **{_FIGURES[name]: float(value)})
        return told

    def rules(self) -> str:
        return files("toy_engine").joinpath("rules.toml").read_text("utf-8")
