"""The options of `gdl-tui bench`, in groups, as the command and the load generator take them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from gdl.cli.amounts import finite
from gdl.domain.lazy_dataclass import dataclass

_LENGTH = "tokens: N, LOW-HIGH, or MEAN~STD"


@dataclass(frozen=True, slots=True)
class EndpointOptions:
    """What is measured when it is no session, and which model of it."""

    url: Annotated[
        str | None,
        typer.Option("--url", metavar="URL", help="Any OpenAI endpoint, instead of a session."),
    ] = None
    api_key_env: Annotated[
        str | None,
        typer.Option(
            "--api-key-env", metavar="NAME", help="Environment variable that holds its key."
        ),
    ] = None
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="M", help="Model name; default: the first one listed."),
    ] = None
    cacert: Annotated[
        Path | None,
        typer.Option(
            "--cacert",
            metavar="FILE",
            help="Certificates to trust instead of the system's (or SSL_CERT_FILE).",
        ),
    ] = None
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Do not verify the server's certificate.")
    ] = False


@dataclass(frozen=True, slots=True)
class TrafficOptions:
    """How many requests, and when each is sent."""

    concurrency: Annotated[
        int | None,
        typer.Option(
            "--concurrency", metavar="N", min=1, max=4096, help="Requests at a time.  [default: 16]"
        ),
    ] = None
    rate: Annotated[
        str | None,
        typer.Option("--rate", metavar="R", help="Requests per second instead; 1..20 is a ramp."),
    ] = None
    burstiness: Annotated[
        float,
        typer.Option("--burstiness", metavar="B", help="With --rate: 1 is Poisson, inf is steady."),
    ] = 1.0
    sweep: Annotated[
        bool, typer.Option("--sweep", help="1, 2, 4 ... requests at a time, to find the best.")
    ] = False
    max_concurrency: Annotated[
        int,
        typer.Option(
            "--max-concurrency", metavar="N", min=1, max=4096, help="Upper end of --sweep."
        ),
    ] = 1024
    slo: Annotated[
        str | None,
        typer.Option("--slo", metavar="S", help="Limits in ms: ttft:500,tpot:50,e2el:9000."),
    ] = None
    requests: Annotated[
        int | None,
        typer.Option("--requests", metavar="N", min=1, help="Requests to send.  [default: 100]"),
    ] = None
    warmup: Annotated[
        int, typer.Option("--warmup", metavar="N", min=1, max=1024, help="Untimed requests first.")
    ] = 4
    processes: Annotated[
        int | None,
        typer.Option(
            "--processes",
            metavar="N",
            min=1,
            max=64,
            help="Number of sending processes.  [default: by load]",
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class PromptOptions:
    """What each request asks."""

    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            metavar="D",
            help="builtin, random, a .jsonl file, or a .json file in ShareGPT's format.",
        ),
    ] = None
    input_len: Annotated[
        str | None, typer.Option("--input-len", metavar="L", help=f"Prompts, {_LENGTH}.")
    ] = None
    output_len: Annotated[
        str | None, typer.Option("--output-len", metavar="L", help=f"Answers, {_LENGTH}.")
    ] = None
    turns: Annotated[
        int, typer.Option("--turns", metavar="N", min=1, max=100, help="Turns per conversation.")
    ] = 1
    prefix_len: Annotated[
        int,
        typer.Option(
            "--prefix-len",
            metavar="N",
            min=0,
            max=1_000_000,
            help="Length of a prefix shared by prompts.",
        ),
    ] = 0
    prefixes: Annotated[
        int,
        typer.Option(
            "--prefixes", metavar="N", min=1, max=10_000, help="Number of different prefixes."
        ),
    ] = 1
    ignore_eos: Annotated[
        bool,
        typer.Option("--ignore-eos", help="Full-length answers (not every engine supports this)."),
    ] = False
    completions: Annotated[
        bool, typer.Option("--completions", help="Plain completions instead of chat.")
    ] = False
    seed: Annotated[
        int, typer.Option("--seed", metavar="S", help="Seed for prompts and arrival times.")
    ] = 0


@dataclass(frozen=True, slots=True)
class LimitOptions:
    """How long it may take, in seconds."""

    timeout: Annotated[
        float,
        typer.Option(
            "--timeout", metavar="S", min=1, help="Time limit of one request, in seconds."
        ),
    ] = 600.0
    time_limit: Annotated[
        float,
        typer.Option(
            "--time-limit", metavar="S", min=1, help="Time limit of one load, in seconds."
        ),
    ] = 3600.0


@dataclass(frozen=True, slots=True)
class ResultOptions:
    """What the figures are set against, and where they go."""

    price: Annotated[
        float | None,
        typer.Option(
            "--price",
            metavar="USD",
            min=0,
            callback=finite,
            help="Price of the machine per hour.",
        ),
    ] = None
    save_result: Annotated[
        Path | None,
        typer.Option(
            "--save-result", metavar="FILE", help="Save JSON in the format of vllm bench serve."
        ),
    ] = None
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Save the figures as CSV.")
    ] = None
    markdown: Annotated[
        Path | None,
        typer.Option("--markdown", metavar="FILE", help="Save the figures as a Markdown table."),
    ] = None
    publish: Annotated[
        bool, typer.Option("--publish", help="Store it in cloud-gpu-shopper, for others to see.")
    ] = False


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """All that `bench` was asked for. ident: a session; "" for the endpoint's URL."""

    ident: str
    endpoint: EndpointOptions
    traffic: TrafficOptions
    prompts: PromptOptions
    limits: LimitOptions
    results: ResultOptions

    @property
    def names_a_load(self) -> bool:
        """Whether an option of the load generator was given."""
        given = (self.endpoint, self.traffic, self.prompts, self.limits,
                 replace(self.results, publish=False))  # fmt: skip
        return any(group != type(group)() for group in given)
