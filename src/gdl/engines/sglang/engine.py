"""SGLang as an engine."""

from __future__ import annotations

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
from gdl.domain.errors import UsageError
from gdl.domain.host import HostFacts
from gdl.domain.model import Model
from gdl.domain.offers import OfferQuery
from gdl.domain.requirements.allocation import GpuKind
from gdl.domain.secret import Secret
from gdl.domain.spec import DeploymentSpec
from gdl.engines import checks
from gdl.engines.base import LogMark, Plan, Preview, Step
from gdl.engines.python import environment
from gdl.engines.sglang import (
    command,
    launching,
    log,
    metrics,
    plan,
    preview,
    releases,
    server_flags,
)
from gdl.engines.sglang.recipes import knows, recipe_of
from gdl.settings import Settings

_QUANTIZATIONS = {"fp8": 1.05, "bitsandbytes": 0.55}
"""What SGLang can make of 16-bit weights while it loads them: bytes per parameter, scales and the
layers that stay as they are included."""
_MOST_AT_A_TIME = 4096
_INFO = EngineInfo(
    name="sglang",
    display_name="SGLang",
    # Time, and which of several processes says it.
    log_prefix=r"\s*(?:\[\d{4}-\d\d-\d\d [\d:]+(?: [A-Z0-9 ]+)?\]\s*)?(?:[A-Z]{4,8}:\s+)?",
    starting="python imports SGLang, then the model is loaded",
    runtimes=(Runtime.VENV,),
    quantizations=_QUANTIZATIONS,
    # Kernels that it compiles on the machine.
    caches=(CacheVariable("SGLANG_CACHE_DIR", "sglang", lasting=True),),
)
_PROBE = HostProbe(
    script="""\
for f in "$GDL_DIR"/venv/lib/python3*/site-packages/sglang; do
  if [ -d "$f" ]; then echo installed=1; fi
done
""",
    index_page="sglang-kernel",
)


class SglangEngine:
    """Serves models with SGLang. Stateless."""

    info = _INFO
    probe = _PROBE
    # `/health` lets the model generate, for a second at least; this path tells at once. It says 503
    # while the server starts or is paused; a server that died answers nothing.
    readiness = Readiness(
        command.READY,
        dead=frozenset(),
        metrics=command.METRICS,
        at_work=(metrics.RUNNING, metrics.WAITING),
        done=(metrics.REQUESTS, metrics.PROMPTED, metrics.GENERATED),
    )
    memory = plan.MEMORY

    def models(self) -> tuple[Model, ...]:
        """None of its own."""
        return ()

    def capabilities(self, model: Model) -> Capabilities:
        """By its recipe."""
        recipe = recipe_of(model)
        return Capabilities(
            chat=model.chat,
            tools=bool(recipe.tool_parser),
            reasoning=bool(recipe.reasoning_parser),
            tool_parser=recipe.tool_parser,
            reasoning_parser=recipe.reasoning_parser,
            remote_code=recipe.trust_remote_code,
        )

    def advice(self, model: Model) -> Advice:
        """By its recipe."""
        recipe = recipe_of(model)
        return Advice(trust_remote_code=recipe.trust_remote_code, traps=recipe.traps)

    def knows(self, architecture: str) -> bool:
        return knows(architecture)

    def check(self, spec: DeploymentSpec, model: Model, settings: Settings) -> None:
        """Raise UsageError for what cannot work on any machine, before money is spent."""
        users = (*settings.engine.args, *spec.engine_args)
        releases.wanted(settings.install)
        command.check_arguments(users, settings.install.version)
        self.check_load(spec.query, model)
        if model.file or (model.facts is not None and model.facts.gguf is not None):
            raise UsageError(
                f"SGLang is not asked to read GGUF files such as {model.served_name}",
                "name the original model, or use --engine llamacpp",
            )
        checks.check_remote_code(
            model,
            command.TRUST,
            needed=recipe_of(model).trust_remote_code,
            answered=spec.trust_remote_code is not None
            or command.TRUST in server_flags.given(users),
        )
        checks.check_token(model, settings)

    def check_load(self, query: OfferQuery, model: Model) -> None:
        """Raise UsageError for a context, concurrency or quantization that cannot be."""
        checks.check_load(query, model, most=_MOST_AT_A_TIME, quantizations=_QUANTIZATIONS)

    def least_cuda(
        self, settings: Settings, model: Model | None = None, query: OfferQuery | None = None
    ) -> float | None:
        """The oldest CUDA version a machine's driver may support: a driver runs every toolkit of
        its major version."""
        major = releases.wanted(settings.install).cuda.partition(".")[0]
        return float(major)

    def gpu_refusal(
        self,
        gpu: GpuKind,
        settings: Settings,
        model: Model | None = None,
        query: OfferQuery | None = None,
    ) -> str:
        """Why it does not run on such a GPU, or ""."""
        if gpu.capability is None:
            return ""
        has, least = float("{}.{}".format(*gpu.capability)), releases.least_capability()
        return f"compute capability {has}; SGLang needs {least}" if has < least else ""

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
        environment.check_python_setting(settings.install.python)
        release = releases.choose(host, settings.install)
        given = server_flags.given((*settings.engine.args, *spec.engine_args))
        plan.require(host, model, spec.query, given)
        chosen = command.choose(spec, model, settings)
        tool = "pip" if settings.install.installer == "pip" else "uv"
        on = f"; {chosen.capabilities.words}" if chosen.capabilities.words else ""
        base = "" if chosen.capabilities.chat else "; a base model, used through completions"
        return Plan(
            summary=f"sglang {release.version} (CUDA {release.cuda}) by {tool}{on}{base}",
            steps=plan.steps(host, model, release, settings, spec.query, given),
            server=command.command(
                spec,
                host,
                model,
                settings,
                api_key=api_key,
                log_path=log_path,
                port=port,
                chosen=chosen,
            ),
            capabilities=chosen.capabilities,
            lessened=chosen.lessened,
            notes=chosen.notes,
            launch=launching.launch(spec, host, model, release, settings, port, chosen),
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
        """What goes wrong with SGLang, its kernels and what they need."""
        return Path(__file__).with_name("rules.toml").read_text("utf-8")
