"""vLLM as an engine."""

from __future__ import annotations

from gdl.domain.errors import UsageError
from gdl.domain.host import HostFacts
from gdl.domain.offers import OfferQuery
from gdl.domain.secret import Secret
from gdl.domain.spec import DeploymentSpec
from gdl.engines import catalog
from gdl.engines.base import LogMark, Model, Plan, Step
from gdl.engines.vllm import capacity, command, compat, load_limits, log, plan
from gdl.engines.vllm.compat import Choice
from gdl.settings import Settings


class VllmEngine:
    """Serves models with vLLM. Stateless."""

    name = "vllm"

    def resolve(self, model: str) -> Model:
        """Alias, hub id or path to a Model. Raises UsageError with suggestions."""
        return catalog.resolve(model)

    def models(self) -> tuple[Model, ...]:
        """The models known by alias."""
        return catalog.known()

    def check(self, spec: DeploymentSpec, model: Model, settings: Settings) -> None:
        """Raise UsageError for what cannot work on any machine, before money is spent."""
        command.check_arguments((*settings.engine.args, *spec.engine_args))
        load_limits.check(spec.query, model)
        if model.gated and settings.hf_token is None:
            raise UsageError(
                f"{model.location} is gated: it needs a Hugging Face token",
                "accept its licence on the hub, then set HF_TOKEN",
            )

    def check_load(self, query: OfferQuery, model: Model) -> None:
        """Raise UsageError for a context, concurrency or quantization that cannot be."""
        load_limits.check(query, model)

    def least_cuda(self, settings: Settings) -> float | None:
        """The oldest CUDA version a machine's driver may support."""
        return compat.least_cuda(settings.install)

    def has_chat_template(self, model: Model) -> bool:
        """False for a base model known to have none: ask it by completions. Unknown models are
        taken to have one."""
        entry = catalog.entry_of(model)
        return entry is None or entry.chat

    def first_of_all(self, settings: Settings) -> Step | None:
        """A step that may run before anything is known of the machine."""
        return plan.first_of_all(settings)

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
        choice = plan.choose(host, settings, cpu_allowed=cpu_allowed)
        load_limits.require(spec.query, host, choice)
        capacity.require(host, model, choice)

        def made(chosen: Choice, other: Plan | None) -> Plan:
            return Plan(
                summary=self._summary(chosen, model, settings),
                steps=plan.steps(host, model, chosen, settings)
                + load_limits.steps(spec.query, chosen, settings),
                server=command.command(
                    spec,
                    host,
                    model,
                    chosen,
                    settings,
                    api_key=api_key,
                    log_path=log_path,
                    port=port,
                ),
                otherwise=other,
            )

        second = plan.otherwise(host, model, choice, settings)
        try:
            last = made(second, None) if second is not None else None
        except UsageError:
            # What only a container cannot do (mount a path with a comma) is no reason to stop.
            last = None
        return made(choice, last)

    def _summary(self, choice: Choice, model: Model, settings: Settings) -> str:
        tool = "pip" if settings.install.installer == "pip" else "uv"
        build = f" (CUDA {choice.cuda})" if choice.on_gpu else ""
        way = f"in container {choice.image}" if choice.image else f"by {tool}"
        base = "" if self.has_chat_template(model) else "; a base model, asked by completions"
        return f"{choice.distribution} {choice.version}{build} {way}{base}"

    def read_line(self, line: str) -> LogMark | None:
        """The mark a line of the server's log makes, if any."""
        return log.read_line(line)
