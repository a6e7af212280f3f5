"""vLLM as an engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

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
from gdl.domain.engine_image import EngineImage
from gdl.domain.errors import DeployError, UsageError
from gdl.domain.host import HostFacts
from gdl.domain.model import Model
from gdl.domain.offers import OfferQuery
from gdl.domain.requirements.allocation import GpuKind
from gdl.domain.secret import Secret
from gdl.domain.spec import DeploymentSpec
from gdl.engines import checks
from gdl.engines.base import LogMark, Plan, Preview, Step
from gdl.engines.python import environment, model_files
from gdl.engines.python.versions import parse
from gdl.engines.spanning import Rank
from gdl.engines.vllm import (
    capacity,
    command,
    compat,
    launching,
    load_limits,
    log,
    metrics,
    plan,
    preview,
    ranks,
    ready_image,
    server_flags,
    templates,
)
from gdl.engines.vllm.compat import Choice
from gdl.engines.vllm.flags import TRUST
from gdl.engines.vllm.memory import VllmMemory
from gdl.engines.vllm.recipes import knows, recipe_of
from gdl.engines.vllm.release_limits import ANY, Limits, limits_of
from gdl.settings import Install, Settings

_INFO = EngineInfo(
    name="vllm",
    display_name="vLLM",
    log_title="vllm.log",
    default_log="/tmp/vllm.log",  # noqa: S108 - the name operators know, on the machine
    # Process, level, time and place.
    log_prefix=r"\s*(?:\(\w+ pid=\d+\)\s*)?(?:[A-Z]+ \d\d-\d\d [\d:]+ \[[^\]]*\]\s*)?",
    starting="python imports vLLM, then the model is loaded",
    runtimes=(Runtime.VENV, Runtime.CONTAINER),
    quantizations=load_limits.QUANTIZATIONS,
    caches=(
        CacheVariable("VLLM_CONFIG_ROOT", "vllm-config"),
        # Its notes about model classes, some KB: without them every start imports vLLM once more,
        # for about ten seconds.
        CacheVariable("VLLM_CACHE_ROOT", "vllm", lasting=True),
    ),
    spans_machines=True,
)
_PROBE = HostProbe(
    script="""\
for f in "$GDL_DIR"/venv/lib/python3*/site-packages/vllm; do
  if [ -d "$f" ]; then echo installed=1; fi
done
"""
    + ready_image.PROBE,
    index_page="vllm",
)


class VllmEngine:
    """Serves models with vLLM. Stateless."""

    info = _INFO
    probe = _PROBE
    readiness = Readiness(
        "/health",
        dead=frozenset({503}),
        at_work=("vllm:num_requests_running", "vllm:num_requests_waiting"),
        done=(
            "vllm:request_success_total",
            "vllm:prompt_tokens_total",
            "vllm:generation_tokens_total",
        ),
    )
    memory = VllmMemory()

    def models(self) -> tuple[Model, ...]:
        """None of its own."""
        return ()

    def check(self, spec: DeploymentSpec, model: Model, settings: Settings) -> None:
        """Raise UsageError for what cannot work on any machine, before money is spent."""
        users = (*settings.engine.args, *spec.engine_args)
        command.check_arguments(users)
        self.check_load(spec.query, model)
        ranks.check(spec.query, model, settings, server_flags.given(users))
        checks.check_remote_code(
            model,
            TRUST,
            needed=recipe_of(model).trust_remote_code,
            answered=spec.trust_remote_code is not None or TRUST in server_flags.given(users),
        )
        _check_release(limits_of(model, spec.query), settings.install.version)
        checks.check_token(model, settings)

    def check_load(self, query: OfferQuery, model: Model) -> None:
        """Raise UsageError for a context, concurrency or quantization that cannot be."""
        most, known = load_limits.MOST_AT_A_TIME, load_limits.QUANTIZATIONS
        checks.check_load(query, model, most=most, quantizations=known)

    def least_cuda(
        self, settings: Settings, model: Model | None = None, query: OfferQuery | None = None
    ) -> float | None:
        """The oldest CUDA version a machine's driver may support."""
        limits = ANY if model is None else limits_of(model, query or OfferQuery())
        return compat.least_cuda(settings.install, limits)

    def gpu_refusal(
        self,
        gpu: GpuKind,
        settings: Settings,
        model: Model | None = None,
        query: OfferQuery | None = None,
    ) -> str:
        """Why no release that would do runs on such a GPU, or ""."""
        limits = ANY if model is None else limits_of(model, query or OfferQuery())
        return compat.gpu_refusal(gpu, settings.install, limits)

    def image_for(
        self,
        gpu: GpuKind,
        cuda: float | None,
        settings: Settings,
        model: Model,
        query: OfferQuery,
    ) -> EngineImage | None:
        """The container image with the release that would be installed on such a machine."""
        return ready_image.image_for(gpu, cuda, settings.install, limits_of(model, query))

    def cuda_of_image(self, name: str) -> float | None:
        """The least CUDA version for one of vLLM's own images."""
        return ready_image.cuda_of(name)

    def capabilities(self, model: Model) -> Capabilities:
        """As the newest release can. A base model known to have no chat template is asked by
        completions; unknown models are taken to have one."""
        recipe = recipe_of(model)
        return Capabilities(
            chat=model.chat,
            tools=bool(recipe.tool_parser),
            reasoning=bool(recipe.reasoning_parser),
            tool_parser=recipe.tool_parser,
            reasoning_parser=recipe.reasoning_parser,
            remote_code=recipe.trust_remote_code,
        )

    def knows(self, architecture: str) -> bool:
        return knows(architecture)

    def advice(self, model: Model) -> Advice:
        """By its recipe."""
        recipe = recipe_of(model)
        return Advice(
            chat_template=recipe.chat_template,
            environment=recipe.environment,
            trust_remote_code=recipe.trust_remote_code,
            first_release=recipe.min_vllm,
            last_release=recipe.last_vllm,
            traps=recipe.traps,
        )

    def first_of_all(self, settings: Settings) -> Step | None:
        """A step that may run before anything is known of the machine."""
        return environment.first_of_all(settings)

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
        load_limits.require(spec.query, host)
        limits = limits_of(model, spec.query)
        own = ready_image.choose(host, settings, limits)
        choice = own or plan.choose(host, settings, cpu_allowed=cpu_allowed, limits=limits)
        capacity.require(host, model, choice, spec.query)

        def made(chosen: Choice) -> Plan:
            return _plan_of(
                *(spec, host, model, chosen, settings),
                api_key=api_key,
                log_path=log_path,
                port=port,
            )

        try:
            second: Choice | None
            if own is not None:
                second = plan.choose(host, settings, cpu_allowed=cpu_allowed, limits=limits)
                capacity.require_disk(host, model, second)
            else:
                second = plan.otherwise(host, model, choice, settings, limits)
            last = made(second) if second is not None else None
        except (DeployError, UsageError):
            # What only a container cannot do (mount a path with a comma) is no reason to stop.
            last = None
        return replace(made(choice), otherwise=last)

    def plan_rank(
        self,
        spec: DeploymentSpec,
        rank: Rank,
        model: Model,
        settings: Settings,
        *,
        cpu_allowed: bool,
        api_key: Secret,
        log_path: str,
        port: int,
    ) -> Plan:
        """The plan for one of several machines that serve the model together."""
        settings, limits = ranks.in_environment(settings), limits_of(model, spec.query)
        rank = ranks.even(rank, model)
        host = rank.hosts[rank.number]
        load_limits.require(spec.query, host)
        choice = ranks.choose(rank, settings, limits, cpu_allowed=cpu_allowed)
        ranks.require(rank, model, choice, spec.query)
        return _plan_of(
            *(spec, host, model, choice, settings),
            api_key=api_key,
            log_path=log_path,
            port=port,
            rank=rank,
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
        """What goes wrong with vLLM, its wheels and what they need."""
        folder = Path(__file__).with_name("rules")
        return "\n".join(path.read_text("utf-8") for path in sorted(folder.glob("*.toml")))


def _plan_of(
    spec: DeploymentSpec,
    host: HostFacts,
    model: Model,
    choice: Choice,
    settings: Settings,
    *,
    api_key: Secret,
    log_path: str,
    port: int,
    rank: Rank | None = None,
) -> Plan:
    """What is installed and started by a choice. rank: of one of several machines, whose launch is
    not handed to others."""
    flags = command.chosen_flags(spec, model, choice, settings)
    if choice.own:
        steps = ready_image.steps(choice, settings) + model_files.steps(model, settings)
    else:
        given = server_flags.given((*settings.engine.args, *spec.engine_args))
        steps = plan.steps(host, model, choice, settings, given)
    return Plan(
        summary=_summary(choice, flags.capabilities, settings),
        steps=steps
        + load_limits.steps(spec.query, choice, settings)
        + templates.steps(flags.template, choice, settings),
        server=command.command(
            *(spec, host, model, choice, settings),
            api_key=api_key,
            log_path=log_path,
            port=port,
            chosen=flags,
            rank=rank,
        ),
        capabilities=flags.capabilities,
        lessened=flags.lessened,
        notes=(*flags.notes, *_advice(model, choice)),
        launch=None
        if rank is not None
        else launching.launch(spec, host, model, choice, settings, port, flags),
    )


def _summary(choice: Choice, capabilities: Capabilities, settings: Settings) -> str:
    tool = "pip" if settings.install.installer == "pip" else "uv"
    build = f" (CUDA {choice.cuda})" if choice.on_gpu else ""
    way = f"in container {choice.image}" if choice.image else f"by {tool}"
    if choice.own:
        way = "of the machine's image"
    on = f"; {capabilities.words}" if capabilities.words else ""
    base = "" if capabilities.chat else "; a base model, used through completions"
    return f"{choice.distribution} {choice.version}{build} {way}{on}{base}"


def _advice(model: Model, choice: Choice) -> tuple[str, ...]:
    """What to know of a release that knows the model, and is older than recipes ask for."""
    advised = recipe_of(model).advised_vllm
    if parse(choice.version) >= parse(advised):
        return ()
    return (f"recipes ask for vLLM {advised} with {model.served_name}",)


def _check_release(limits: Limits, wanted: str) -> None:
    """Raises UsageError for a release that was asked for and cannot serve the model, and where no
    release can. wanted: "" for any."""
    if wanted and not limits.allow(wanted):
        raise UsageError(
            f"{limits.needed(wanted)}, install.version asks for {wanted}",
            "omit it: the newest release that a machine can run is taken",
        )
    if not wanted and compat.least_cuda(Install(), limits) is None:
        refused = limits.explained(None)
        raise UsageError(refused.message, refused.hint)
