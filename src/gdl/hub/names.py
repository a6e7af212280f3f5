"""What was typed for a model, as a model: an alias, a hub id or a path, with what the catalogue or
the name itself tell of it. The hub is not asked.

A format may follow an alias or an id behind a colon: `qwen3-32b:fp8` is the variant that the
catalogue knows, `qwen3-8b:Q4_K_M` or `owner/name-GGUF:Q4_K_M` a file of a GGUF repository.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import replace

from gdl.domain.errors import UsageError
from gdl.domain.model import Model
from gdl.domain.model_facts import FactsSource, ModelFacts
from gdl.domain.requirements.shape import ModelShape
from gdl.hub import catalogue, gguf_files
from gdl.hub.catalogue import Entry, Variant

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)
_GGUF_FILE = re.compile(rf"({HUB_ID.pattern})/(.+\.gguf)", re.ASCII | re.IGNORECASE)
_GGUF_KIND = re.compile(r"(UD-)?(I?Q\d\w{0,12}|TQ\d_\d|MXFP4\w{0,6}|BF16|F16|F32)", re.IGNORECASE)
_GGUF_BITS = {
    "IQ2_XXS": 2.38, "IQ2_XS": 2.59, "IQ2_S": 2.74, "IQ2_M": 2.93, "IQ3_XXS": 3.25, "IQ3_XS": 3.50,
    "IQ3_S": 3.66, "IQ3_M": 3.76, "IQ4_XS": 4.46, "IQ4_NL": 4.68, "Q2_K_S": 2.97, "Q2_K": 3.16,
    "Q3_K_S": 3.64, "Q3_K_M": 4.00, "Q3_K_L": 4.30, "Q4_0": 4.66, "Q4_K_S": 4.67, "Q4_K_M": 4.89,
    "Q5_K_S": 5.57, "Q5_K_M": 5.70, "Q6_K": 6.56, "Q8_0": 8.50, "F16": 16.0, "BF16": 16.0,
    "F32": 16.0, "MXFP4": 4.25, "MXFP4_MOE": 4.25, "IQ1_S": 2.00, "IQ1_M": 2.15, "TQ1_0": 1.69,
    "TQ2_0": 2.06,
}  # fmt: skip
"""Bits a parameter of Llama-3.1-8B in each kind of file, as llama.cpp's tools/quantize/README.md
lists them; MXFP4: 4 for each and 8 for a block of 32."""
_FAMILY = re.compile(r"\D+(\d)")
_SIZE = re.compile(r"(?<![\w.])(?:(\d+)x)?(\d+(?:\.\d+)?)([bm])(?![a-z0-9])", re.IGNORECASE)
_FOUR_BITS = re.compile(r"awq|gptq|int4|4bit|w4a16|nf4|bnb|nvfp4|mxfp4", re.IGNORECASE)
_EIGHT_BITS = re.compile(r"fp8|int8|8bit|w8a8", re.IGNORECASE)
_LONGEST = 4096
_LIKELY = 0.75
"""How alike two names must be to speak of a slip, 0-1."""


def resolve(typed: str) -> Model:
    """An alias (any case), a hub id (any case, where the catalogue has it), or a path on the
    machine. Raises UsageError with suggestions."""
    name = typed.strip()
    if not name or len(name) > _LONGEST or any(ord(c) < 32 or ord(c) == 127 for c in name):
        raise UsageError(
            "the model's name is empty, too long or has control characters",
            "name an alias such as tinyllama, a hub id (org/name) or a path on the machine",
        )
    if name.startswith(("/", "~/")):
        return _path(name)
    plain, _, suffix = name.partition(":")
    entry = catalogue.by_alias().get(plain.casefold())
    if entry is not None:
        alias = plain.casefold()
        return _of_suffix(name, entry, alias, suffix) if suffix else of_entry(entry, alias)
    file = _GGUF_FILE.fullmatch(name)
    if file is not None:
        repository, path = file.groups()
        kind = gguf_files.quantization(path.removesuffix(".gguf")) or "Q4_K_M"
        raise UsageError(
            f"{ascii(path)[1:61].rstrip(chr(39))} is a file of {repository}, not a model's name",
            f"name the repository with its quantization: {repository}:{kind}",
        )
    if HUB_ID.fullmatch(plain) and ".." not in plain:
        return _hub_id(name, plain, suffix)
    raise unknown(name)


def known() -> tuple[Model, ...]:
    """The models known by alias, each by its first one."""
    return tuple(of_entry(entry, entry.alias) for entry in catalogue.entries())


def of_entry(entry: Entry, alias: str = "") -> Model:
    """A model of the catalogue. alias: what was typed, or "" for its hub id: it decides the name in
    the API, and whether the weights may come out of a package."""
    packaged = bool(entry.packaged and alias)
    return Model(
        typed=alias or entry.id,
        source="packaged" if packaged else "hub",
        location=f"models/{entry.alias}" if packaged else entry.id,
        served_name=alias or entry.id,
        shape=entry.shape(),
        gated=entry.gated,
        heads=entry.heads,
        chat=entry.chat,
        packaged=entry.packaged if packaged else "",
        facts=entry.facts(),
    )


def of_variant(typed: str, entry: Entry, variant: Variant, served_name: str) -> Model:
    return Model(
        typed=typed,
        source="hub",
        location=variant.id,
        served_name=served_name,
        shape=entry.shape(variant),
        heads=entry.heads,
        chat=entry.chat,
        base=entry.id,
        facts=entry.facts(variant),
    )


def _of_suffix(typed: str, entry: Entry, alias: str, suffix: str) -> Model:
    """`alias:suffix`. Raises UsageError for a variant that the catalogue does not know."""
    wanted = suffix.casefold()
    if wanted == entry.weights.name:
        return replace(of_entry(entry, alias), typed=typed)
    if (variant := entry.variant(wanted)) is not None:
        return of_variant(typed, entry, variant, f"{alias}-{wanted}")
    gguf = entry.variant("gguf")
    if gguf is not None and _GGUF_KIND.fullmatch(suffix):
        file = suffix.upper()
        return replace(_of_file(entry, gguf, file), typed=typed, served_name=f"{alias}-{file}")
    there = [entry.weights.name, *(each.format.name for each in entry.variants)]
    more = ", or a file of the GGUF one such as Q4_K_M" if gguf is not None else ""
    raise UsageError(
        f"no {ascii(suffix)[:40]} variant of {alias} is known",
        f"known: {', '.join(there)}{more}; or name the variant's own hub id",
    )


def _of_file(entry: Entry, variant: Variant, file: str) -> Model:
    """A file of a GGUF repository, its size by the bits that such files have for a parameter."""
    size = round(entry.parameters_b * file_bits(file) / 8, 2)
    variant = replace(variant, size_gb=size, derived=True)
    return replace(of_variant(variant.id, entry, variant, variant.id), file=file)


def file_bits(file: str) -> float:
    """Bits of a parameter in a GGUF file of that kind, once loaded. A kind that is not listed
    counts as the largest listed one of as many bits."""
    kind = file.upper().removeprefix("UD-")
    if kind in _GGUF_BITS:
        return _GGUF_BITS[kind]
    family = _FAMILY.match(kind)
    if family is None:
        return 16.0
    alike = [bits for name, bits in _GGUF_BITS.items() if name.startswith(family.group())]
    return max(alike, default=int(family.group(1)) + 1.0)


def _hub_id(typed: str, ident: str, suffix: str) -> Model:
    """An id of the hub, known or not; a suffix is a file of a GGUF repository."""
    if suffix and not _GGUF_KIND.fullmatch(suffix):
        found = catalogue.find(ident)
        if found is not None and found[1] is None:
            return _of_suffix(typed, found[0], found[0].id, suffix)
        raise UsageError(
            f"{ascii(suffix)[:40]} is not a file of a GGUF repository",
            "such as owner/name-GGUF:Q4_K_M; other variants have hub ids of their own",
        )
    file, found = suffix.upper(), catalogue.find(ident)
    if found is None:
        facts = ModelFacts(ident, FactsSource.NAME)
        model = Model(ident, "hub", ident, ident, guess_shape(ident), facts=facts)
    elif found[1] is None:
        model = of_entry(found[0])
    elif found[1].format.name == "gguf" and file:
        model = _of_file(found[0], found[1], file)
    else:
        model = of_variant(found[1].id, found[0], found[1], found[1].id)
    if not file:
        return model
    return replace(model, typed=typed, served_name=f"{model.location}:{file}", file=file)


def _path(name: str) -> Model:
    last = _path_name(name)
    return Model(
        name, "path", name, last, guess_shape(last), facts=ModelFacts(name, FactsSource.NAME)
    )


def suggestions(name: str, more: tuple[str, ...] = ()) -> list[str]:
    """What may have been meant, the likeliest first: aliases, hub ids of the catalogue, and
    `more`, such as what the hub's own search found."""
    wanted = name.casefold()
    words: dict[str, str] = {alias: alias for alias in catalogue.by_alias()}
    if "/" in wanted:
        words |= {each.casefold(): each for each in (*catalogue.ids(), *more)}
    close = difflib.get_close_matches(wanted, words, n=3, cutoff=0.5)
    likely = [each for each in close if _alike(wanted, each) >= _LIKELY]
    return [words[each] for each in (likely or close)]


def _alike(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other).ratio()


def unknown(name: str, more: tuple[str, ...] = ()) -> UsageError:
    """That nobody knows this name, with suggestions."""
    close = suggestions(name, more)
    meant = f"did you mean {' or '.join(close)}? " if close else ""
    shown = ascii(name if len(name) <= 60 else name[:57] + "...")
    return UsageError(
        f"unknown model {shown}",
        f"{meant}{'An' if meant else 'an'} alias (`gdl-tui models`), a hub id (org/name) or an"
        " absolute path will do",
    )


def _path_name(path: str) -> str:
    """A name for the API from a path's last part: letters, digits, `_`, `.` and `-`."""
    last = path.rstrip("/").rpartition("/")[2]
    return re.sub(r"[^\w.-]+", "-", last, flags=re.ASCII).strip("-.~") or "model"


def guess_shape(name: str) -> ModelShape | None:
    """Parameters and bytes per parameter as a name tells them ("7B", "8x7B", "135M", "AWQ");
    None where it tells no size. The last resort: names are often wrong."""
    found = _SIZE.search(name.rpartition("/")[2].replace("_", "-"))
    if found is None:
        return None
    times, size, unit = found.groups()
    parameters = float(size) * int(times or 1) / (1 if unit.lower() == "b" else 1000)
    bytes_each = 0.55 if _FOUR_BITS.search(name) else 1.05 if _EIGHT_BITS.search(name) else 2.0
    return ModelShape(parameters_b=parameters, bytes_per_parameter=bytes_each)
