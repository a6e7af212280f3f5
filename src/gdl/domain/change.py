"""What a user changes of a deployment before it is tried again."""

from __future__ import annotations

from dataclasses import replace

from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.secret import Secret
from gdl.domain.spec import DeploymentSpec


@dataclass(frozen=True, slots=True)
class Change:
    """context, concurrency: None: the engine's usual. engine_args: all of the user's own, those of
    before included. token: of the model hub, in place of the one in force; None: that one. It is
    kept in memory alone."""

    context: int | None = None
    concurrency: int | None = None
    quantization: str = ""
    engine_args: tuple[str, ...] = ()
    token: Secret | None = None

    @classmethod
    def none_of(cls, spec: DeploymentSpec) -> Change:
        """As it is: nothing changed."""
        query = spec.query
        return cls(query.context, query.concurrency, query.quantization, spec.engine_args)

    def of(self, spec: DeploymentSpec) -> DeploymentSpec:
        query = replace(
            spec.query,
            context=self.context,
            concurrency=self.concurrency,
            quantization=self.quantization,
        )
        return replace(spec, query=query, engine_args=self.engine_args)

    def words(self, spec: DeploymentSpec) -> str:
        """What is other than in that spec: "context 8192, weights fp8, another token"."""
        before, told = Change.none_of(spec), []
        if self.context != before.context:
            told.append(f"context {self.context or 'as usual'}")
        if self.concurrency != before.concurrency:
            told.append(f"{self.concurrency or 'the usual'} requests at a time")
        if self.quantization != before.quantization:
            told.append(f"weights {self.quantization or 'as they are'}")
        if self.engine_args != before.engine_args:
            told.append(f"arguments {' '.join(self.engine_args) or 'none'}")
        if self.token is not None:
            told.append("another token")
        return ", ".join(told) or "nothing changed"
