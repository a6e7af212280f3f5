"""Whichever engine suits model and machine. It serves nothing by itself: before anything is rented
one of the others takes its place (`ChoosesEngine`), and a deployment names that one."""

from __future__ import annotations

from gdl.domain.default_engine import DEFAULT_ENGINE
from gdl.domain.engine import (
    Advice,
    Capabilities,
    EngineInfo,
    EngineMetrics,
    HostProbe,
    Readiness,
)
from gdl.domain.host import HostFacts
from gdl.domain.model import Model
from gdl.domain.offers import OfferQuery
from gdl.domain.requirements.allocation import GpuKind
from gdl.domain.secret import Secret
from gdl.domain.spec import DeploymentSpec
from gdl.engines import registry
from gdl.engines.base import Engine, LogMark, Memory, Plan, Preview, Step
from gdl.engines.choosing import Candidate
from gdl.settings import Settings

_FILES = "llamacpp"
"""Serves GGUF files, and is quick without a GPU."""


def is_gguf(model: Model) -> bool:
    """Whether it is a GGUF file, as far as is known."""
    if model.source == "path":
        return model.location.casefold().endswith(".gguf")
    facts = model.facts
    return bool(model.file) or model.lacks_file or (facts is not None and facts.gguf is not None)


class AutoEngine:
    """Answers what is asked before an engine is chosen as the likely one would. Stateless."""

    info = EngineInfo("auto", "the engine")

    def candidates(self, model: Model, *, gpu: bool | None) -> tuple[Candidate, ...]:
        """The engines to ask, the best first."""
        usual = Candidate(DEFAULT_ENGINE, "it is the fastest with many requests on a GPU")
        if is_gguf(model):
            why = "the model is a GGUF file"
            return Candidate(_FILES, why), usual
        if gpu is False:
            quick = Candidate(_FILES, "there is no GPU, and it is the fastest without one")
            return quick, Candidate(DEFAULT_ENGINE, "no GGUF file of the model is known")
        return (usual,)

    def _for(self, model: Model | None) -> Engine:
        return registry.get(_FILES if model is not None and is_gguf(model) else DEFAULT_ENGINE)

    @property
    def _usual(self) -> Engine:
        return registry.get(DEFAULT_ENGINE)

    @property
    def probe(self) -> HostProbe:
        return self._usual.probe

    @property
    def readiness(self) -> Readiness:
        return self._usual.readiness

    @property
    def memory(self) -> Memory:
        return self._usual.memory

    def models(self) -> tuple[Model, ...]:
        return ()

    def capabilities(self, model: Model) -> Capabilities:
        return self._for(model).capabilities(model)

    def advice(self, model: Model) -> Advice:
        return self._for(model).advice(model)

    def knows(self, architecture: str) -> bool:
        return self._usual.knows(architecture)

    def check(self, spec: DeploymentSpec, model: Model, settings: Settings) -> None:
        self._for(model).check(spec, model, settings)

    def check_load(self, query: OfferQuery, model: Model) -> None:
        self._for(model).check_load(query, model)

    def least_cuda(
        self, settings: Settings, model: Model | None = None, query: OfferQuery | None = None
    ) -> float | None:
        return self._for(model).least_cuda(settings, model, query)

    def gpu_refusal(
        self,
        gpu: GpuKind,
        settings: Settings,
        model: Model | None = None,
        query: OfferQuery | None = None,
    ) -> str:
        if model is None and not registry.get(_FILES).gpu_refusal(gpu, settings):
            return ""  # what is chosen may be a file that it serves
        return self._for(model).gpu_refusal(gpu, settings, model, query)

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
        engine = registry.get(_FILES) if not host.has_gpu else self._for(model)
        return engine.plan(
            spec,
            host,
            model,
            settings,
            cpu_allowed=cpu_allowed,
            api_key=api_key,
            log_path=log_path,
            port=port,
        )

    def preview(self, driver: str, capability: str, settings: Settings) -> Preview:
        engine = registry.get(_FILES) if driver.strip().casefold() == "none" else self._usual
        return engine.preview(driver, capability, settings)

    def read_line(self, line: str) -> LogMark | None:
        return self._usual.read_line(line)

    def read_metrics(self, text: str) -> EngineMetrics:
        return self._usual.read_metrics(text)

    def rules(self) -> str:
        return ""
