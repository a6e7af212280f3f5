"""The prompts of the benchmark, and how their answers are judged."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from gdl.domain.benchmark import QualityAnswer
from gdl.domain.text import block
from gdl.endpoint.protocol import StreamResult
from gdl.loadgen.stats import tokens_per_s

ANSWER_LIMIT = 2000
"""Characters of an answer that are kept."""


@dataclass(frozen=True, slots=True)
class QualityPrompt:
    """A question; its answer passes when any of the `expected` words is in it."""

    category: str
    prompt: str
    expected: tuple[str, ...]
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Prompts:
    """longer: a task with `{subject}` in it; each of the `subjects` in turn takes its place."""

    quality: tuple[QualityPrompt, ...]
    longer: str
    subjects: tuple[str, ...]

    def longer_prompt(self, index: int) -> str:
        """The longer task number `index`, from 0. Differs from its neighbours from its first
        word on, so that a server's prefix cache has no part in the figures."""
        round_, place = divmod(index, len(self.subjects))
        subject = self.subjects[place] + (f" (part {round_ + 1})" if round_ else "")
        return self.longer.replace("{subject}", subject)


@cache
def load_prompts() -> Prompts:
    """The prompts of `quality.toml`."""
    data = tomllib.loads(files(__package__).joinpath("quality.toml").read_text("utf-8"))
    quality = tuple(
        QualityPrompt(q["category"], q["prompt"], tuple(q["expected"]), q["max_tokens"])
        for q in data["quality"]
    )
    return Prompts(quality, data["longer"]["prompt"], tuple(data["longer"]["subjects"]))


def passes(answer: str, expected: tuple[str, ...]) -> bool:
    """True when any expected word is in the answer as a word of its own, in any case."""
    return any(re.search(rf"(?<!\w){re.escape(w)}(?!\w)", answer, re.IGNORECASE) for w in expected)


def judge(prompt: QualityPrompt, result: StreamResult) -> QualityAnswer:
    """The answer to one quality prompt; a failed request never passes."""
    return QualityAnswer(
        category=prompt.category,
        prompt=prompt.prompt,
        answer=block(result.answer.strip(), ANSWER_LIMIT),
        expected=prompt.expected,
        passed=result.ok and passes(result.answer, prompt.expected),
        ttft_ms=result.ttft_ms,
        tokens_per_s=tokens_per_s(result),
        output_tokens=result.output_tokens or 0,
        error=result.error,
    )
