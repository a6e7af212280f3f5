"""One repository, read from the hub: two round trips, the second one several requests at a time.

The first answer names every file with its size, so nothing is asked for that is not there, and
nothing read that is too long.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import quote

from gdl.domain.errors import HubAway, ModelRefused, UnknownModel, UsageError
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.model_facts import PICKLED, WEIGHTS, GgufFacts, ModelFacts
from gdl.domain.model_names import HubName
from gdl.hub import answers, gguf_config, gguf_files, gguf_header
from gdl.hub.answers import CHECK_NAME
from gdl.hub.http import Answer, HubHttp, TooLarge

_MB = 1 << 20
_LIMITS = {
    "config.json": 8 * _MB,
    "tokenizer_config.json": 16 * _MB,
    "chat_template.jinja": _MB,
    "chat_template.json": _MB,
    "generation_config.json": _MB,
    "hf_quant_config.json": 8 * _MB,
    "quantize_config.json": _MB,
    "adapter_config.json": _MB,
    "params.json": _MB,
}
"""Files that are read, with the most bytes that they may have."""
_LONGEST_LIST = 4096
_LONGEST = dict.fromkeys(("config.json", "hf_quant_config.json", "quantize_config.json"), 200_000)
"""Items of a list that is kept: a quantization may name every expert of every layer."""
_INFO_LIMIT = 32 * _MB
_HEADER_BYTES = (_MB // 4, 2 * _MB, 8 * _MB, 32 * _MB)
"""Of a GGUF file: as much is read until the header's settings, or all of it, are there."""
_MISSING = frozenset({"RepoNotFound", "RevisionNotFound"})
_WITHHELD = frozenset({401, 403})


@dataclass(frozen=True, slots=True)
class RepositoryReader:
    """Reads from one hub. token: it is asked with one."""

    http: HubHttp
    clock: Callable[[], datetime]
    token: bool = False

    async def read(self, name: HubName, kept: ModelFacts | None = None) -> ModelFacts:
        """What the hub says now. kept: an earlier answer, whose files are taken where the revision
        is still the same.

        Raises UnknownModel, ModelRefused, UsageError for a token that is refused, HubAway.
        """
        path = f"/api/models/{quote(name.id)}"
        answer = await self.http.get(path, {"blobs": "true"}, limit=_INFO_LIMIT)
        facts = answers.model_facts(self._info(answer, name.id), name.id, self.clock())
        if kept is not None and kept.revision == facts.revision != "" and not kept.withheld:
            return _with_files_of(kept, facts)
        facts = await self._with_files(facts)
        return await self._with_gguf(facts, name.quantization)

    # -- the repository --------------------------------------------------------------------------

    def _info(self, answer: Answer, ident: str) -> Mapping[str, Any]:
        if answer.ok:
            data = answer.json()
            if isinstance(data, dict) and ("id" in data or "modelId" in data):
                return data
            raise HubAway("the model hub does not answer as one", "check HF_ENDPOINT")
        if answer.status == 401 and "invalid credentials" in answer.message.lower():
            raise UsageError(
                "the model hub does not accept HF_TOKEN",
                "renew the token on the hub's settings page, or unset it",
            )
        if "disabled" in answer.message.lower():
            raise ModelRefused(f"{ident} has been disabled by the hub", "choose another copy of it")
        if answer.code in _MISSING or (answer.status == 401 and _is_json(answer)):
            whose = "HF_TOKEN's account may not see it" if self.token else "it is private"
            more = "" if self.token else "; a private one needs HF_TOKEN"
            raise UnknownModel(f"no model {ident} on the hub, or {whose}", f"{CHECK_NAME}{more}")
        if answer.code == "GatedRepo":
            raise ModelRefused(
                f"{ident} is gated, and the hub shows nothing about it",
                f"ask for access at https://huggingface.co/{ident}, then set HF_TOKEN",
            )
        if answer.status in (400, 404) and _is_json(answer):
            raise UnknownModel(f"no model {ident} on the hub", CHECK_NAME)
        said = f": {answer.message}" if answer.message else ""
        raise HubAway(
            f"the model hub refuses to answer (HTTP {answer.status}{said})",
            "check HF_ENDPOINT, HF_TOKEN's permissions, and proxies in between",
        )

    # -- its files -------------------------------------------------------------------------------

    async def _with_files(self, facts: ModelFacts) -> ModelFacts:
        there = {each.path: each.size_bytes for each in facts.files}
        wanted = [name for name in _LIMITS if name in there]
        if there.get("config.json", 0) > _LIMITS["config.json"]:
            raise _too_long(facts.id, there["config.json"])
        # One that is too long tells nothing that is needed: a config.json of that size is refused.
        wanted = [name for name in wanted if there[name] <= _LIMITS[name]]
        told = await asyncio.gather(
            *(self._file(facts, name) for name in wanted), return_exceptions=True
        )
        for each in told:
            if isinstance(each, BaseException):
                raise each
        read = {
            name: each for name, each in zip(wanted, told, strict=True) if isinstance(each, bytes)
        }
        withheld = tuple(n for n, each in zip(wanted, told, strict=True) if each is _NOT_GIVEN)
        return _with_read(replace(facts, withheld=withheld), read)

    async def _file(self, facts: ModelFacts, name: str) -> bytes | object | None:
        """The file's bytes, None where it is not there, or _NOT_GIVEN."""
        path = f"/{quote(facts.id)}/resolve/{quote(facts.revision or 'main')}/{quote(name)}"
        try:
            answer = await self.http.get(path, limit=_LIMITS[name])
        except TooLarge:
            if name == "config.json":
                raise _too_long(facts.id) from None
            return None
        if answer.ok:
            if "html" in answer.content_type:
                answer.json()
            return answer.body
        if answer.status in _WITHHELD:
            return _NOT_GIVEN
        if answer.status == 404:
            return None
        raise _refused(answer)

    # -- GGUF ------------------------------------------------------------------------------------

    async def _with_gguf(self, facts: ModelFacts, wanted: str) -> ModelFacts:
        found = gguf_files.variants(facts.files)
        others = any(each.path.endswith((*WEIGHTS, *PICKLED)) for each in facts.weight_files)
        if not wanted and (others or len(found) != 1):
            return facts
        chosen = gguf_files.meant(found, wanted)
        if chosen is None:
            names = ", ".join(facts.variants)
            raise ModelRefused(
                f"{facts.id} has no GGUF file of the quantization {wanted}",
                f"it has {names}" if names else f"it has none at all: name {facts.id} alone",
            )
        if not chosen.complete:
            raise ModelRefused(
                f"{facts.id} lacks parts of its {chosen.quantization} files",
                "choose another quantization: " + ", ".join(facts.variants),
            )
        try:
            header = await self._header(facts, chosen.paths[0])
        except gguf_header.HeaderError as error:
            raise ModelRefused(f"{facts.id}: {error.message}", error.hint) from None
        if header is None:
            return replace(facts, withheld=(*facts.withheld, chosen.paths[0]))
        config = facts.config or gguf_config.config_of(header.metadata)
        return replace(facts, config=config, gguf=_gguf_facts(chosen, header))

    async def _header(self, facts: ModelFacts, path: str) -> gguf_header.Header | None:
        """By reads of the file's beginning, each longer than the one before; None where the file is
        withheld. Raises HeaderError."""
        where = f"/{quote(facts.id)}/resolve/{quote(facts.revision or 'main')}/{quote(path)}"
        size, seen = 0, gguf_header.Header(0)
        for most in _HEADER_BYTES:
            if most < size:
                continue
            answer = await self.http.get(where, limit=most, first_bytes=most)
            if not answer.ok:
                if answer.status in _WITHHELD:
                    return None
                raise _refused(answer)
            try:
                return await asyncio.to_thread(gguf_header.read, answer.body)
            except gguf_header.NeedMore as more:
                size = more.size
            seen = gguf_header.read(answer.body, enough=True)
            if _tells_shape(seen):
                return seen
            if len(answer.body) < most:
                raise gguf_header.HeaderError(
                    "the GGUF file ends inside its header", "choose another file"
                )
        return seen


_NOT_GIVEN = object()
"""In place of a file that is there, for those with access."""


def _tells_shape(header: gguf_header.Header) -> bool:
    """Whether what decides the memory has been read: the rest is vocabulary and tensors."""
    kind = header.metadata.get("general.architecture")
    needed = ("block_count", "embedding_length", "attention.head_count", "context_length")
    after = any(str(key).startswith("tokenizer.") for key in header.metadata)
    return after and all(f"{kind}.{name}" in header.metadata for name in needed)


def _gguf_facts(chosen: gguf_files.GgufVariant, header: gguf_header.Header) -> GgufFacts:
    told = gguf_files.FILE_TYPES.get(header.metadata.get("general.file_type", -1), "")
    # A list of tokens is known to be long, and a template is kept where templates are.
    kept = {k: v for k, v in header.metadata.items() if not k.startswith("tokenizer.ggml.")}
    kept.pop("tokenizer.chat_template", None)
    return GgufFacts(
        paths=chosen.paths,
        quantization=chosen.quantization if chosen.quantization_told else told or "unknown",
        size_bytes=chosen.size_bytes,
        version=header.version,
        metadata=kept,
        tensor_bytes=header.tensor_bytes if len(chosen.paths) == 1 else 0,
        parameters=header.parameters if len(chosen.paths) == 1 else 0,
    )


def _with_files_of(kept: ModelFacts, facts: ModelFacts) -> ModelFacts:
    """The hub's new answer, with what the files of the same revision said."""
    return replace(
        facts,
        config=kept.config,
        tokenizer_config=kept.tokenizer_config,
        chat_template=kept.chat_template,
        generation_config=kept.generation_config,
        quantization_config=kept.quantization_config,
        adapter_config=kept.adapter_config,
        mistral_params=kept.mistral_params,
        gguf=kept.gguf,
    )


def _with_read(facts: ModelFacts, read: Mapping[str, bytes]) -> ModelFacts:
    def table(name: str) -> Mapping[str, Any]:
        return _table(facts.id, name, read[name]) if name in read else {}

    config, tokenizer = table("config.json"), table("tokenizer_config.json")
    own = config.get("quantization_config")
    quantization = own if isinstance(own, dict) else {}
    template = _text(read.get("chat_template.jinja"))
    template = template or answers.chat_template(table("chat_template.json"))
    return replace(
        facts,
        # What the hub itself says of it counts only where the file is there, and not given.
        config=config or (facts.config if "config.json" in facts.withheld else {}),
        tokenizer_config={k: v for k, v in tokenizer.items() if k != "chat_template"},
        chat_template=template or answers.chat_template(tokenizer) or facts.chat_template,
        generation_config=table("generation_config.json"),
        quantization_config=quantization
        or table("hf_quant_config.json")
        or table("quantize_config.json"),
        adapter_config=table("adapter_config.json"),
        mistral_params=table("params.json"),
    )


def _table(ident: str, name: str, body: bytes) -> Mapping[str, Any]:
    """Raises ModelRefused for a config.json that is none; another such file tells nothing."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        data = None
    if isinstance(data, dict):
        table: Mapping[str, Any] = answers.trimmed(data, _LONGEST.get(name, _LONGEST_LIST))
        return table
    if name != "config.json":
        return {}
    raise ModelRefused(
        f"config.json of {ident} cannot be read: it is not a JSON object",
        "choose another copy of the model, or tell its owner",
    )


def _text(body: bytes | None) -> str | None:
    return None if body is None else body.decode("utf-8", "replace")


def _refused(answer: Answer) -> HubAway:
    return HubAway(f"the model hub refuses a file (HTTP {answer.status})", "try again later")


def _is_json(answer: Answer) -> bool:
    return "json" in answer.content_type


def _too_long(ident: str, size: int = 0) -> ModelRefused:
    told = f"has {size / 1e6:.0f} MB" if size else "is too long"
    return ModelRefused(
        f"config.json of {ident} {told}: not the configuration of a model",
        "choose another copy of the model",
    )
