"""Values in the languages of files: quoted strings, YAML, words of a shell, comments."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gdl.domain.text import one_line

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./@+-]*")
_WORDS_OF_YAML = frozenset(
    {"yes", "no", "on", "off", "true", "false", "null", "y", "n"}
)  # fmt: skip
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]+"
)
"""Controls but line ends and tabs, marks of direction and width, halves of characters."""
_TAKEN = re.compile(r"\$(?=\$|\{\{)")
_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}
_WIDTH = 96


def quoted(text: str) -> str:
    """A string in double quotes, as TOML and YAML both read it."""
    return '"' + "".join(_escaped(character) for character in text) + '"'


def _escaped(character: str) -> str:
    if character in _SHORT:
        return _SHORT[character]
    if character.isprintable():
        return character
    code = ord(character)
    if 0xD800 <= code <= 0xDFFF:  # half of a character, which no file can hold
        code = 0xFFFD
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def yaml(value: Mapping[str, Any], indent: str = "") -> list[str]:
    """A mapping of strings, numbers, truth values, None, lists and mappings as lines of YAML."""
    lines: list[str] = []
    for key, item in value.items():
        lines += _entry(f"{indent}{_scalar(key)}:", item, indent)
    return lines


def _entry(head: str, item: Any, indent: str) -> list[str]:
    deeper = f"{indent}  "
    if isinstance(item, Mapping) and item:
        return [head, *yaml(item, deeper)]
    if isinstance(item, list | tuple) and item:
        return [head, *(line for each in item for line in _item(each, deeper))]
    if isinstance(item, str) and _is_block(item):
        lines = item.removesuffix("\n").split("\n")
        sign = "|" if item.endswith("\n") else "|-"
        return [f"{head} {sign}", *(f"{deeper}{line}" if line else "" for line in lines)]
    return [f"{head} {_scalar(item)}".rstrip()]


def _item(item: Any, indent: str) -> list[str]:
    if isinstance(item, Mapping) and item:
        first, *rest = yaml(item, f"{indent}  ")
        return [f"{indent}- {first.lstrip()}", *rest]
    return _entry(f"{indent}-", item, indent)


def _is_block(text: str) -> bool:
    """Whether a text of several lines can stand as it is, for people to read."""
    lines = text.split("\n")
    readable = all(line.replace("\t", "").isprintable() for line in lines) and not text.endswith(
        "\n\n"
    )
    return len(lines) > 1 and readable and bool(lines[0]) and not lines[0].startswith(" ")


def _scalar(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"{value:.6g}" if isinstance(value, float) else str(value)
        case {} | [] | ():
            return "{}" if isinstance(value, Mapping) else "[]"
    text = str(value)
    plain = _PLAIN.fullmatch(text) and text.lower() not in _WORDS_OF_YAML
    return text if plain else quoted(text)


def comment(*sentences: str) -> list[str]:
    """Lines of a comment, whatever the text is."""
    lines: list[str] = []
    for sentence in sentences:
        line = "#"
        for word in one_line(sentence, 600).split():
            if len(line) + len(word) + 1 > _WIDTH and line != "#":
                lines.append(line)
                line = "#  "
            line += f" {word}"
        lines.append(line)
    return lines


def groups(words: Iterable[str]) -> list[list[str]]:
    """Arguments by their flags: each with the values that follow it."""
    found: list[list[str]] = []
    for word in words:
        if not found or (word.startswith("-") and not word[1:2].isdigit()):
            found.append([])
        found[-1].append(word)
    return found


def command(first: str, parts: Sequence[str], indent: str = "    ") -> str:
    """A command over several lines, a part on each."""
    return f" \\\n{indent}".join((first, *parts))


def shell_word(text: str) -> str:
    """One word of a POSIX shell. `$$` and `${{`, which some tools take for their own before any
    shell sees them, are torn apart; what a terminal would obey is written in octal."""
    parts = _UNSEEN.split(text)
    words = [shlex.quote(part) if part or len(parts) == 1 else "" for part in parts]
    unseen = [f"\"$(printf '{_octal(found)}')\"" for found in _UNSEEN.findall(text)]
    word = "".join(part for pair in zip(words, [*unseen, ""], strict=True) for part in pair)
    return _TAKEN.sub("$''", word)


def _octal(text: str) -> str:
    return "".join(f"\\{byte:03o}" for byte in text.encode("utf-8", "replace"))


def shell_path(path: str) -> str:
    """A path as one word; `~/` at its beginning is the home folder."""
    if path.startswith("~/"):
        return f'"$HOME"/{shell_word(path[2:])}'
    return shell_word(path)
