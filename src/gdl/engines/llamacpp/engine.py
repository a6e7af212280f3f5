"""llama.cpp's server as an engine: GGUF files, on GPUs, on processors and on Macs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from gdl.domain.engine import (
    Advice,
    Capabilities,
    EngineInfo,
    EngineMetrics,
    HostProbe,
    Readiness,
    Runtime,
)
from gdl.domain.errors import DeployError, UsageError
from gdl.domain.host import HostFacts
from gdl.domain.model import Model
from gdl.domain.offers import OfferQuery
from gdl.domain.requirements.allocation import GpuKind
from gdl.domain.secret import Secret
from gdl.domain.spec import DeploymentSpec
from gdl.engines import checks
from gdl.engines.base import LogMark, Plan, Preview, Step
from gdl.engines.llamacpp import (
    arguments,
    builds,
    command,
    container,
    environment,
    fitting,
    launching,
    log,
    metrics,
    model_files,
    preview,
)
from gdl.engines.llamacpp.memory import LlamaCppMemory
from gdl.settings import Settings

_INFO = EngineInfo(
    name="llamacpp",
    display_name="llama.cpp",
    log_title="llamacpp.log",
    # Seconds since its start, and level.
    log_prefix=r"\s*(?:\d+\.\d\d\.\d{3}\.\d{3} [A-Z] )?",
    starting="the library is loaded, then the model",
    runtimes=(Runtime.VENV, Runtime.CONTAINER),
)
_PREFERRED = ("Q4_K_M", "UD-Q4_K_XL", "Q4_K_S", "Q4_0", "MXFP4", "Q5_K_M", "Q8_0")
"""The files that most people take, of those there are."""
_MOST_SLOTS = 256


class LlamaCppEngine:
    """Serves GGUF models with llama.cpp. Stateless."""

    info = _INFO
    probe = HostProbe(environment.PROBE, index_page=builds.PACKAGE)
    # 503 says that it is loading: at the start, or once more.
    readiness = Readiness(
        "/health",
        dead=frozenset(),
        at_work=("llamacpp:requests_processing", "llamacpp:requests_deferred"),
        done=("llamacpp:n_decode_total", "llamacpp:tokens_predicted_total"),
    )
    memory = LlamaCppMemory()

    def models(self) -> tuple[Model, ...]:
        """None of its own."""
        return ()

    def file_of(self, variants: Sequence[str]) -> str:
        """The file of a GGUF repository to take where nobody names one; () where it is not known
        which there are."""
        there = {name.upper(): name for name in variants}
        for wanted in _PREFERRED:
            if wanted in there:
                return there[wanted]
        return variants[0] if variants else _PREFERRED[0]

    def check(self, spec: DeploymentSpec, model: Model, settings: Settings) -> None:
        """Raise UsageError for what cannot work on any machine, before money is spent."""
        arguments.check((*settings.engine.args, *spec.engine_args))
        model_files.check(model)
        self.check_load(spec.query, model)
        builds.version_of(settings)
        if settings.install.runtime == "container":
            container.check(model)
        checks.check_token(model, settings)

    def check_load(self, query: OfferQuery, model: Model) -> None:
        """Raise UsageError for a context, concurrency or quantization that cannot be."""
        if query.quantization:
            raise UsageError(
                "llama.cpp quantizes nothing while it loads a model",
                f"name the file: {model.typed.partition(':')[0]}:Q4_K_M",
            )
        checks.check_load(query, model, most=_MOST_SLOTS)

    def least_cuda(
        self, settings: Settings, model: Model | None = None, query: OfferQuery | None = None
    ) -> float | None:
        """The oldest CUDA version a machine's driver may support."""
        return builds.LEAST_CUDA

    def gpu_refusal(
        self,
        gpu: GpuKind,
        settings: Settings,
        model: Model | None = None,
        query: OfferQuery | None = None,
    ) -> str:
        """Why no build runs on such a GPU, or ""."""
        return builds.gpu_refusal(gpu.capability)

    def capabilities(self, model: Model) -> Capabilities:
        """By its chat template, which the server reads calls of tools and thoughts by."""
        template = _template(model)
        return Capabilities(
            chat=model.chat,
            tools=model.chat and "tools" in template,
            reasoning=model.chat and ("<think>" in template or "enable_thinking" in template),
        )

    def knows(self, architecture: str) -> bool:
        """A GGUF file tells its own architecture; config.json's class is no matter."""
        return True

    def advice(self, model: Model) -> Advice:
        return Advice()

    def first_of_all(self, settings: Settings) -> Step | None:
        """None: what comes first depends on the machine's pip."""
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
        """The plan for this machine. Raises DeployError when nothing can run there, UsageError
        for settings or arguments that cannot be."""
        build = builds.choose(host, settings, cpu_allowed=cpu_allowed)
        first = self._plan(spec, host, model, settings, build, api_key, log_path, port)
        try:
            if build.image or settings.install.runtime != "auto":
                return first
            container.check(model)
            image = builds.in_container(host)
            second = self._plan(spec, host, model, settings, image, api_key, log_path, port)
        except (DeployError, UsageError):
            return first
        return replace(first, otherwise=second)

    def _plan(
        self,
        spec: DeploymentSpec,
        host: HostFacts,
        model: Model,
        settings: Settings,
        build: builds.Build,
        api_key: Secret,
        log_path: str,
        port: int,
    ) -> Plan:
        users = (*settings.engine.args, *spec.engine_args)
        fits = fitting.fitting(host, model, build, spec.query, settings, users)
        can = self.capabilities(model)
        can = can if spec.tools else _without_tools(can)
        return Plan(
            summary=_summary(build, model, fits, can),
            steps=container.steps(host, model, build, settings)
            if build.image
            else (
                *environment.steps(host, build, settings),
                *model_files.steps(model, fits.file, settings),
            ),
            server=command.command(
                spec,
                host,
                model,
                build,
                fits,
                settings,
                api_key=api_key,
                log_path=log_path,
                port=port,
            ),
            capabilities=can,
            notes=fits.notes,
            launch=launching.launch(spec, model, build, fits, settings, port),
        )

    def preview(self, driver: str, capability: str, settings: Settings) -> Preview:
        """The plan for a machine that nobody has looked at."""
        return preview.preview(driver, capability, settings)

    def read_line(self, line: str) -> LogMark | None:
        """The mark a line of the server's log makes, if any."""
        return log.read_line(line)

    def read_metrics(self, text: str) -> EngineMetrics:
        """The figures at /metrics."""
        return metrics.read_metrics(text)

    def rules(self) -> str:
        """What goes wrong with llama.cpp, its files and its builds."""
        return Path(__file__).with_name("rules.toml").read_text("utf-8")


def _template(model: Model) -> str:
    facts = model.facts
    if facts is None:
        return ""
    own = facts.gguf.metadata.get("tokenizer.chat_template") if facts.gguf is not None else None
    return str(own or facts.chat_template or "")


def _without_tools(can: Capabilities) -> Capabilities:
    return Capabilities(chat=can.chat, reasoning=can.reasoning)


def _summary(build: builds.Build, model: Model, fits: fitting.Fitting, can: Capabilities) -> str:
    file = f"; {model.file}" if model.file else ""
    length = f" of {fits.context} tokens" if fits.context else ""
    layers = f"; {fits.layers} of {fits.of_layers} layers on the GPU" if fits.layers else ""
    slots = f"; {fits.slots} slots{length}"
    on = f"; {can.words}" if can.words else ""
    release = f" {build.release}" if build.release else ""
    way = f" in container {build.image}" if build.image else ""
    return f"llama.cpp{release} for {build.words}{way}{file}{slots}{layers}{on}"
