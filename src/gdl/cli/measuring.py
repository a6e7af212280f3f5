"""The `bench` subcommand: its options and help. What it does is imported when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gdl.cli.options import BackendOption, HostOption, IdentityOption, JsonOption, cli_of
from gdl.cli.runtime import Target

_LENGTH = "tokens: N, LOW-HIGH, or MEAN~STD"


def bench(
    context: typer.Context,
    ident: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID]",
            help="Session or deployment id, or its beginning; or use --url.",
            show_default=False,
        ),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option("--url", metavar="URL", help="Any OpenAI endpoint, in place of a session."),
    ] = None,
    api_key_env: Annotated[
        str | None,
        typer.Option("--api-key-env", metavar="NAME", help="Environment variable with its key."),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="M", help="Default: the first it lists.")
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(
            "--concurrency", metavar="N", min=1, max=4096, help="Requests at a time.  [default: 16]"
        ),
    ] = None,
    rate: Annotated[
        str | None,
        typer.Option("--rate", metavar="R", help="Requests a second instead; 1..20 is a ramp."),
    ] = None,
    burstiness: Annotated[
        float,
        typer.Option("--burstiness", metavar="B", help="With --rate: 1 Poisson, inf steady."),
    ] = 1.0,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="1, 2, 4 ... at a time, to find the best.")
    ] = False,
    most: Annotated[
        int,
        typer.Option("--max-concurrency", metavar="N", min=1, max=4096, help="With --sweep."),
    ] = 1024,
    slo: Annotated[
        str | None,
        typer.Option("--slo", metavar="S", help="Limits in ms: ttft:500,tpot:50,e2el:9000."),
    ] = None,
    requests: Annotated[
        int | None,
        typer.Option("--requests", metavar="N", min=1, help="Requests to send.  [default: 100]"),
    ] = None,
    warmup: Annotated[
        int, typer.Option("--warmup", metavar="N", min=1, max=1024, help="Untimed ones before.")
    ] = 4,
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            metavar="D",
            help="builtin, random, a .jsonl file, or a .json file as ShareGPT's.",
        ),
    ] = None,
    input_len: Annotated[
        str | None, typer.Option("--input-len", metavar="L", help=f"Prompts, {_LENGTH}.")
    ] = None,
    output_len: Annotated[
        str | None, typer.Option("--output-len", metavar="L", help=f"Answers, {_LENGTH}.")
    ] = None,
    turns: Annotated[
        int, typer.Option("--turns", metavar="N", min=1, max=100, help="Of each conversation.")
    ] = 1,
    prefix_len: Annotated[
        int,
        typer.Option("--prefix-len", metavar="N", min=0, max=1_000_000, help="Shared by prompts."),
    ] = 0,
    prefixes: Annotated[
        int, typer.Option("--prefixes", metavar="N", min=1, max=10_000, help="So many of them.")
    ] = 1,
    ignore_eos: Annotated[
        bool, typer.Option("--ignore-eos", help="Full-length answers (a vLLM option).")
    ] = False,
    completions: Annotated[
        bool, typer.Option("--completions", help="Plain completions instead of chat.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", metavar="S", help="Prompts and arrivals.")] = 0,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="S", min=1, help="Seconds for one request.")
    ] = 600.0,
    limit: Annotated[
        float, typer.Option("--time-limit", metavar="S", min=1, help="Seconds for one load.")
    ] = 3600.0,
    price: Annotated[
        float | None,
        typer.Option("--price", metavar="USD", min=0, help="What the machine costs an hour."),
    ] = None,
    save_result: Annotated[
        Path | None,
        typer.Option("--save-result", metavar="FILE", help="JSON as of vllm bench serve."),
    ] = None,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Figures as CSV.")
    ] = None,
    markdown_file: Annotated[
        Path | None, typer.Option("--markdown", metavar="FILE", help="Figures as a table.")
    ] = None,
    publish: Annotated[
        bool, typer.Option("--publish", help="Leave it with cloud-gpu-shopper, for others to see.")
    ] = False,
    backend: BackendOption = None,
    host: HostOption = None,
    identity: IdentityOption = None,
    as_json: JsonOption = False,
) -> None:
    """Benchmark a session, or any OpenAI endpoint by --url.

    A session by ID alone is asked the quality prompts and a few longer ones. With options for the
    load, or with --url, the load generator measures.
    """
    cli = cli_of(context)
    if (ident is None) == (url is None):
        raise typer.BadParameter("name a session, or an endpoint with --url (one of them)")
    if sum((concurrency is not None, rate is not None, sweep)) > 1:
        raise typer.BadParameter("--concurrency, --rate and --sweep exclude each other")
    if publish and ident is None:
        raise typer.BadParameter("--publish is for sessions: name one")
    target = Target(backend, host, identity)
    wanted = (concurrency, rate, slo, requests, dataset, input_len, output_len, price, model)
    files = (save_result, csv_file, markdown_file)
    flags = (sweep, ignore_eos, completions, turns > 1, prefix_len > 0)
    plain_run = not any(flags) and all(value is None for value in (*wanted, *files))
    if ident is not None and plain_run:
        from gdl.cli import machines

        machines.bench(cli, target, ident, publish, as_json)
    from gdl.cli import bench as implementation

    order = implementation.BenchOptions(
        url=url,
        ident=ident,
        api_key_env=api_key_env,
        model=model or "",
        concurrency=concurrency or 16,
        rate=rate,
        burstiness=burstiness,
        sweep=sweep,
        most=most,
        slo=slo,
        requests=requests or 100,
        warmup=warmup,
        dataset=dataset or "builtin",
        input_len=input_len,
        output_len=output_len,
        turns=turns,
        prefix=prefix_len,
        prefixes=prefixes,
        ignore_eos=ignore_eos,
        completions=completions,
        seed=seed,
        timeout_s=timeout,
        limit_s=limit,
        price=price,
        save_result=save_result,
        csv_file=csv_file,
        markdown_file=markdown_file,
        publish=publish,
        as_json=as_json,
    )
    implementation.bench(cli, target, order)
