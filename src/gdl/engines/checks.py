"""What engines refuse alike before money is spent. Everything raises UsageError."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from gdl.domain.engine import EngineInfo
from gdl.domain.errors import RemoteCodeNotAllowed, UsageError
from gdl.domain.model import Model
from gdl.domain.offers import OfferQuery
from gdl.settings import Settings

_LEAST_CONTEXT = 16
"""Tokens. A chat template alone takes about as many."""


def check_runtime(info: EngineInfo, settings: Settings) -> None:
    """A way of running that this engine does not have."""
    wanted = settings.install.runtime
    if wanted != "auto" and wanted not in info.runtimes:
        raise UsageError(
            f"{info.display_name} does not run as {wanted}",
            f"install.runtime is auto or one of {', '.join(info.runtimes)}",
        )


def check_arguments(
    arguments: Iterable[str], given: Collection[str], ours: Mapping[str, str]
) -> None:
    """Server arguments with what the deployment decides itself, or with NUL bytes. given: their
    flags by full name. ours: flag -> what to do instead."""
    for flag, hint in ours.items():
        if flag in given:
            raise UsageError(f"the server argument {flag} cannot be given", hint)
    if any("\0" in argument for argument in arguments):
        raise UsageError("a server argument holds a NUL byte", "remove it")


def check_load(
    query: OfferQuery, model: Model, *, most: int, quantizations: Collection[str] = ()
) -> None:
    """A context, concurrency or quantization that cannot be. most: requests at a time.
    quantizations: what weights of 16 bits can be made into while they are loaded."""
    name, shape = query.quantization, model.shape
    if name and name not in quantizations:
        raise UsageError(
            f"unknown quantization {ascii(name)[:40]}", f"one of {', '.join(quantizations)}"
        )
    if name and shape is not None and not shape.stored_bytes:
        raise UsageError(f"{model.served_name} is quantized already", "omit the quantization")
    longest = shape.max_context if shape is not None else 0
    if query.context is not None and query.context < _LEAST_CONTEXT:
        raise UsageError(
            f"a context of {query.context} is too short for a question and its answer",
            f"give at least {_LEAST_CONTEXT} tokens",
        )
    if query.context is not None and query.context > (longest or query.context):
        raise UsageError(
            f"{model.served_name} takes {longest:,} tokens at most, {query.context:,} asked for",
            "ask for a shorter context, or choose another model",
        )
    if query.concurrency is not None and not 1 <= query.concurrency <= most:
        raise UsageError(
            f"{query.concurrency} requests at a time are not possible", f"choose 1 to {most}"
        )


def check_token(model: Model, settings: Settings) -> None:
    """A gated model without a token for the hub."""
    if model.gated and settings.hf_token is None:
        raise UsageError(
            f"{model.location} is gated: it needs a Hugging Face token",
            "accept its licence on the hub, then set HF_TOKEN",
        )


def check_remote_code(model: Model, flag: str, *, needed: bool, answered: bool) -> None:
    """A model whose own code would have to run, where nobody was asked. flag: allows it."""
    if needed and not answered:
        raise RemoteCodeNotAllowed(
            f"{model.location} is served by running Python code from its own repository on the "
            "machine, with its tokens and its network",
            f"{flag} allows it, if you trust its authors; --no-trust-remote-code tries without",
        )
