"""What is said of a failure that no rule knows: what raised what, where, while doing what, how far
the start was, and what to try first."""

from __future__ import annotations

import re

from gdl.diagnosis.records import Log, Record
from gdl.domain.lazy_dataclass import dataclass

_SHARDS = re.compile(r"Completed \| (?P<done>\d+)/(?P<all>\d+)")
_REPORT = "`gdl-tui bundle ID` packs the whole log, and tells how to report it"


@dataclass(frozen=True, slots=True)
class Unexplained:
    """The cause and what to try first, a sentence or two each. remedy ends in how to report it."""

    cause: str
    remedy: str


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an error was raised: known by a text in its module's path."""

    path: str
    name: str
    first: str


_PLACES = (
    _Place(
        "model_loader", "the weights loader", "Download the model again, or try another release"
    ),
    _Place("quantization", "a quantized layer", "Try another quantization of the model"),
    _Place("fused_moe", "a layer of experts", "Try another --moe-backend or quantization"),
    _Place("attention", "an attention backend", "Try another attention backend"),
    _Place("flashinfer", "flashinfer", "Set VLLM_USE_FLASHINFER_SAMPLER=0"),
    _Place("spec_decode", "the speculative decoding", "Start it without --speculative-config"),
    _Place("lora", "the part for LoRA", "Start it without the adapter"),
    _Place("multimodal", "the part for images and audio", "Serve text alone"),
    _Place("structured_output", "the structured outputs", "Simplify the schema of the request"),
    _Place("/sample", "the sampler", "Lower --max-num-seqs"),
    _Place("distributed", "the exchange between GPUs", "Start it on one GPU, with NCCL_DEBUG=INFO"),
    _Place("compilation", "the compilation", "Start it with --enforce-eager"),
    _Place("_inductor", "torch's compiler", "Start it with --enforce-eager"),
    _Place("_dynamo", "torch's compiler", "Start it with --enforce-eager"),
    _Place("triton", "Triton's compiler", "Start it with --enforce-eager"),
    _Place("tool_parsers", "a tool parser", "Start it without the tool parser"),
    _Place("reasoning", "a reasoning parser", "Start it without the reasoning parser"),
    _Place("tokeniz", "the tokenizer", "Download the model again, or name another --tokenizer"),
    _Place("huggingface_hub", "the hub's client", "Check the model's name, HF_TOKEN and network"),
    _Place("transformers", "transformers", "Install into a fresh environment, or a newer release"),
    _Place("model_executor/models", "the model's class", "Try a newer release"),
    _Place("config", "the check of the options", "Correct the option that the error names"),
    _Place("arg_utils", "the check of the options", "Correct the option that the error names"),
    _Place("entrypoints", "the API server", "Correct the option that the error names"),
    _Place("executor", "a worker process", "Start it once more"),
    _Place("worker", "a worker process", "Start it once more"),
    _Place("engine", "the engine's loop", "Start it once more"),
)


def unexplained(
    log: Log, record: Record | None, said: str, stage: str, state: str, status: int | None
) -> Unexplained:
    """said: the root error in the log's own words. state: as of a Diagnosis."""
    if record is not None and said:
        return _of_an_error(log, record, said, stage)
    if state == "healthy":
        return Unexplained(
            "The log tells of no failure: the server came up and served to its end.",
            "There is nothing to repair; to explain a failure, give the log of its time.",
        )
    last = next((line.text.strip() for line in reversed(log.lines) if line.text.strip()), "")
    reached = f" It came as far as: {stage}." if stage else ""
    if last and not status:
        return Unexplained(
            f"The log ends without an error: it is cut off, or still goes on; the last line is: "
            f"{last}",
            f"Wait, or give the rest of the log.{reached}",
        )
    ended = "" if status is None else f" with status {status}"
    told = f"; the last line is: {last}" if last else " without a word"
    return Unexplained(
        f"Not a known failure; it ended{ended}{told}",
        f"Start it once more, and look for who ended it (dmesg, the provider's page).{reached} "
        f"Else {_REPORT}.",
    )


def _of_an_error(log: Log, record: Record, said: str, stage: str) -> Unexplained:
    who = "the engine" if log.program in log.engines else log.program or "the program"
    place = _place(record)
    where = f" in {place.name}" if place is not None else ""
    doing = f" while {_doing(log, record, stage)}" if stage else ""
    if record.error:
        cause = f"Not a known failure: {who} raised {record.error}{where}{doing}; it says: {said}"
    else:
        cause = f"Not a known failure{doing}; the last error is: {said}"
    first = place.first if place is not None else "Start it once more with fewer options"
    return Unexplained(cause, f"To try first: {first[0].lower()}{first[1:]}. Else {_REPORT}.")


def first_to_try(record: Record) -> str:
    """What often helps where this was raised; without a full stop."""
    place = _place(record)
    return place.first if place is not None else "Correct the option or file that the error names"


def _place(record: Record) -> _Place | None:
    """That of the innermost frame that is known."""
    for frame in reversed(record.frames):
        for place in _PLACES:
            if place.path in frame.path:
                return place
    return None


def _doing(log: Log, record: Record, stage: str) -> str:
    """The stage, and how many of the weights' files were loaded before the error."""
    if "weights" not in stage:
        return stage
    shards = None
    for line in log.lines:
        if line.number > record.line.number:
            break
        shards = _SHARDS.search(line.text) or shards
    return f"{stage} ({shards['done']} of {shards['all']} files were)" if shards else stage
