"""What is asked: conversations of one turn or more, from a data set or made up."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gdl.domain.errors import UsageError
from gdl.loadgen.quality import load_prompts

BUILTIN, RANDOM = "builtin", "random"
USUAL_INPUT, USUAL_OUTPUT = 256, 128
_FILE_LIMIT = 2 * 2**30
_LONGEST = 1_000_000
_SEEDS, _PROMPTS_PER_SEED = 1000, 10_000

_TEXT = (
    "the of and to in that is was for on are with they be at one have this from by hot but some "
    "what there we can out other were all your when up use word how said an each she which do "
    "their time if will way about many then them would write like so these her long make thing "
    "see him two has look more day could go come did my sound no most number who over know water "
    "than call first people may down side been now find any new work part take get place made "
    "live where after back little only round man year came show every good me give our under"
)
_WORDS = _TEXT.split()
"""Words that are one token each, with the blank before them, for nearly every tokenizer."""


@dataclass(frozen=True, slots=True)
class Length:
    """Tokens: even from `low` to `high`, or around `low` with the standard deviation `std`."""

    low: int
    high: int
    std: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Length:
        """From "128", "100-200" or "128~30". Raises UsageError."""
        try:
            if "~" in text:
                mean, _, std = text.partition("~")
                found = cls(int(mean), int(mean), float(std))
            else:
                low, dash, high = text.partition("-")
                found = cls(int(low), int(high) if dash else int(low))
        except ValueError:
            found = cls(0, 0)
        sane = 1 <= found.low <= found.high <= _LONGEST and 0 <= found.std < math.inf
        if not sane:
            raise UsageError(f"not a length: {text!r}", "tokens: 128, 100-200, or 128~30")
        return found

    def draw(self, chance: random.Random) -> int:
        if self.std:
            return min(max(round(chance.gauss(self.low, self.std)), 1), _LONGEST)
        return chance.randint(self.low, self.high)


@dataclass(frozen=True, slots=True)
class Conversation:
    """turns: what the user says, and the tokens the answer may have. system: said before, ""
    without."""

    turns: tuple[tuple[str, int], ...]
    system: str = ""


@dataclass(frozen=True, slots=True)
class Workload:
    """dataset: "builtin", "random", or a file: lines of JSON (`prompt` or `messages`, and
    `output_tokens` if wanted), or ShareGPT's format. Lengths None: the data set's own or the usual
    ones. turns: of each conversation, at most. prefix: tokens that are the same in all prompts, or
    in as many groups as `prefixes` says. Made-up prompts count a word as a token, so their lengths
    are near the mark; the result tells the server's own count."""

    dataset: str = BUILTIN
    input_len: Length | None = None
    output_len: Length | None = None
    turns: int = 1
    prefix: int = 0
    prefixes: int = 1
    seed: int = 0

    def conversations(self, count: int) -> list[Conversation]:
        """`count` of them, always the same for the same seed. Raises UsageError for a file that
        cannot be read."""
        chance = random.Random(f"gdl {self.seed}")  # noqa: S311 - no secret
        if self.dataset == BUILTIN:
            source = self._builtin(chance)
        elif self.dataset == RANDOM:
            source = self._random(chance)
        else:
            source = self._from_file(Path(self.dataset), chance)
        shared = [_words(chance, self.prefix) for _ in range(self.prefixes)] if self.prefix else []
        found = []
        for number, one in zip(range(count), source, strict=False):
            prefix = shared[number % len(shared)] if shared else ""
            found.append(replace(one, system=f"{prefix} {one.system}".strip()))
        return found

    def _output(self, chance: random.Random, own: int | None = None) -> int:
        if self.output_len is not None:
            return self.output_len.draw(chance)
        return own or USUAL_OUTPUT

    def _builtin(self, chance: random.Random) -> Iterator[Conversation]:
        prompts, number = load_prompts(), self.seed % _SEEDS * _PROMPTS_PER_SEED
        while True:
            turns = []
            for _ in range(self.turns):
                turns.append((prompts.longer_prompt(number), self._output(chance)))
                number += 1
            yield Conversation(tuple(turns))

    def _random(self, chance: random.Random) -> Iterator[Conversation]:
        length = self.input_len or Length(USUAL_INPUT, USUAL_INPUT)
        while True:
            yield Conversation(
                tuple(
                    (_words(chance, length.draw(chance)), self._output(chance))
                    for _ in range(self.turns)
                )
            )

    def _from_file(self, path: Path, chance: random.Random) -> Iterator[Conversation]:
        """The file's conversations in a drawn order, from the start again when they run out."""
        read = read_conversations(path)
        chance.shuffle(read)
        while True:
            for one in read:
                turns = one.turns[: self.turns]
                if self.input_len is not None:
                    turns = tuple((_cut(text, self.input_len, chance), own) for text, own in turns)
                yield replace(
                    one, turns=tuple((text, self._output(chance, own)) for text, own in turns)
                )


def _words(chance: random.Random, count: int) -> str:
    return " ".join(chance.choices(_WORDS, k=count))


def _cut(text: str, length: Length, chance: random.Random) -> str:
    return " ".join(text.split()[: length.draw(chance)])


def read_conversations(path: Path) -> list[Conversation]:
    """From a JSONL file or one in ShareGPT's format. Entries without a question are skipped.
    Raises UsageError when none is left, or the file cannot be read."""
    try:
        if path.stat().st_size > _FILE_LIMIT:
            raise UsageError(f"{path} is too large", "use a part of it")
        text = path.read_text("utf-8")
        lines = path.suffix == ".jsonl" or not text.lstrip().startswith("[")
        entries = _json_lines(text) if lines else json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(
            f"cannot read the data set {path}: {error}",
            "builtin, random, a .jsonl file, or a .json file in ShareGPT's format",
        ) from None
    if not isinstance(entries, list):
        entries = []
    found = [c for entry in entries if (c := _conversation(entry)) is not None]
    if not found:
        raise UsageError(
            f"no questions in {path}", 'lines such as {"prompt": "...", "output_tokens": 128}'
        )
    return found


def _json_lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def _conversation(entry: Any) -> Conversation | None:
    if not isinstance(entry, dict):
        return None
    if isinstance(entry.get("prompt"), str):
        own = entry.get("output_tokens") or entry.get("max_tokens")
        tokens = own if isinstance(own, int) and 0 < own <= _LONGEST else 0
        return Conversation(((entry["prompt"], tokens),))
    said = entry.get("conversations") or entry.get("messages")
    if not isinstance(said, list):
        return None
    system, turns = "", []
    for number, one in enumerate(said):
        role, text = _said(one)
        if role == "system":
            system = text
        elif role == "user" and text.strip():
            turns.append((text, _tokens_of_answer(said, number)))
    return Conversation(tuple(turns), system) if turns else None


def _said(one: Any) -> tuple[str, str]:
    """(role, text) of one entry of a conversation, in either format."""
    if not isinstance(one, dict):
        return "", ""
    role = one.get("from") or one.get("role")
    text = one.get("value") or one.get("content")
    roles = {"human": "user", "user": "user", "system": "system", "gpt": "model"}
    return roles.get(str(role), "model"), text if isinstance(text, str) else ""


def _tokens_of_answer(said: list[Any], number: int) -> int:
    """About as many tokens as the recorded answer has: four for three words. 0 without one."""
    role, text = _said(said[number + 1]) if number + 1 < len(said) else ("", "")
    return math.ceil(len(text.split()) * 4 / 3) if role == "model" else 0
