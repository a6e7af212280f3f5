"""What the user may write for a model of the hub: its id, its page, or one of its GGUF files."""

from __future__ import annotations

import re

from gdl.domain.errors import UsageError
from gdl.domain.lazy_dataclass import dataclass

_PART = r"[A-Za-z0-9](?:[\w.-]{0,94}[\w])?"
_ID = re.compile(rf"{_PART}/{_PART}", re.ASCII)
_QUANTIZATION = re.compile(r"[A-Za-z0-9][\w.-]{0,63}", re.ASCII)
_PAGE = re.compile(r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/|hf://(?:models/)?", re.I)
_MAIN = re.compile(r"/(?:tree|blob|resolve)/main(?:/.*)?$")
_NO_MODELS = {"datasets": "a dataset", "spaces": "a space", "collections": "a collection"}


@dataclass(frozen=True, slots=True)
class HubName:
    """A repository of the hub ("org/name") and, of a GGUF repository, the quantization meant."""

    id: str
    quantization: str = ""


def is_id(text: str) -> bool:
    """Whether this is the id of a repository, as the hub allows them: no path, no option."""
    return bool(_ID.fullmatch(text)) and ".." not in text and "--" not in text


def page_of_hub(typed: str) -> str | None:
    """What an address of a page of the hub names, such as "org/name"; None where it is none."""
    text = typed.strip()
    address = _PAGE.match(text)
    if address is None:
        return None
    return _MAIN.sub("", text[address.end() :].split("?")[0].split("#")[0].rstrip("/"))


def hub_name(typed: str) -> HubName | None:
    """Reads "org/name", "org/name:Q4_K_M", and the address of a page of the hub; None for anything
    else. Raises UsageError for what the hub has, but is no model."""
    text = page_of_hub(typed) or typed.strip()
    kind, _, rest = text.partition("/")
    if kind in _NO_MODELS and "/" in rest:
        raise UsageError(
            f"{ascii(rest)[1:61].rstrip(chr(39))} is {_NO_MODELS[kind]} of the hub, not a model",
            "name a model: `gdl-tui models WORDS` searches the hub",
        )
    ident, _, quantization = text.partition(":")
    if not is_id(ident):
        return None
    if ":" in text and not _QUANTIZATION.fullmatch(quantization):
        return None
    return HubName(ident, quantization)
