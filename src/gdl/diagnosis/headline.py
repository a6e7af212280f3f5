"""The root error of a log, in its own words, wherever it stands."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from gdl.diagnosis.records import Level, Log, Record

_VICTIMS = re.compile(
    r"EngineDeadError|\w*ExceptionGroup|CancelledError|KeyboardInterrupt|SystemExit|BrokenPipeError|GeneratorExit|"
    r"ConnectionResetError|BrokenProcessPool|WorkerDiedError|ActorDiedError|RayTaskError|"
    r"ChildFailedError|CalledProcessError|EOFError|ProcessRaisedException|ProcessExitedException"
)
"""What is raised because something else has failed before."""
_COMPLAINT = re.compile(
    r"^(?:error|fatal|panic|abort(?:ed)?|failed|cannot|could not|unable|[×✗⨯])\b|[×✗⨯] |"
    r"\b(?:error|fatal|FAILED|ERROR|FATAL|Error|Fatal)\b ?:|\bfailed\b|\bcannot\b|\bdenied\b|"
    r"\b[Ee]rror \d+\b|not found\b|No such file|\bError response from daemon|"
    r"\b(?:CUDA|Cuda|HIP|ROCm|NCCL) (?:error|failure)\b",
)
_SITE = re.compile(r".*(?:site-packages|dist-packages)/|.*/lib/python[\d.]+/")


def root(log: Log, wrappers: Collection[int]) -> Record | None:
    """The error to show: of the earliest incident that says something of its own, the record from
    which the others followed. wrappers: id() of records that say only that something failed."""
    errors = [each for each in log.records if each.level is Level.ERROR]
    raised = [each for each in errors if each.error and not each.part]
    told = [e for e in errors if id(e) not in wrappers and not e.raised and not e.part]
    for several in (
        [each for each in raised if not _hollow(each, wrappers)],
        [each for each in told if _COMPLAINT.search(each.text)],
        [each for each in told if each.line.level is Level.ERROR],
        [each for each in raised if id(each) not in wrappers],
    ):
        if several:
            first = several[0]
            # A tool's complaint of several lines stands beside its own first line.
            same = [each for each in several if each.line is first.line]
            return _deepest(max(same, key=lambda each: each.last.number), several)
    cut_off = [each for each in errors if each.raised]
    return max(cut_off, key=lambda each: len(each.frames), default=None)


def _deepest(first: Record, several: Sequence[Record]) -> Record:
    """Of the incident of `first`: an error raised while another was handled says more than that
    one; an error raised from another says less."""
    chosen = first
    for each in several:
        if each.incident == first.incident and each.context is chosen:
            chosen = each
    return chosen


def _hollow(record: Record, wrappers: Collection[int]) -> bool:
    return id(record) in wrappers or _VICTIMS.fullmatch(record.error) is not None


def headline(record: Record | None) -> str:
    return "" if record is None else record.head or record.text


def where(record: Record | None) -> str:
    """The module that raised it, as "vllm.model_executor.layers.linear:load"; "" when unknown."""
    if record is None or not record.frames:
        return ""
    last = record.frames[-1]
    path = _SITE.sub("", last.path).removesuffix(".py").strip("/")
    return f"{path.replace('/', '.')}:{last.function}" if path else last.function
