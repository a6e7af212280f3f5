"""Where the load generator's figures go: a table or JSON on stdout, and files."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gdl.cli.bench_options import ResultOptions
from gdl.cli.output import Output, columns_of
from gdl.cli.tables import named_values
from gdl.domain.errors import UsageError
from gdl.loadgen import charts, result_files
from gdl.loadgen.load import Outcome
from gdl.loadgen.result_files import Context
from gdl.loadgen.sweep import Swept
from gdl.presentation.lines import plain


def check(wanted: ResultOptions) -> None:
    """Raises UsageError for files that cannot be written, before minutes go by."""
    for path in (wanted.save_result, wanted.csv, wanted.markdown):
        if path is not None and not path.parent.is_dir():
            raise UsageError(f"no folder {path.parent}", "create it first, or name another file")
        if path is not None and path.is_dir():  # so is an empty name
            raise UsageError(f"{path} is a folder", "name a file")


def load(outcome: Outcome, wanted: ResultOptions, context: Context, output: Output) -> None:
    """Of one load."""
    _write(wanted, [outcome], context, result_files.vllm_json(outcome, context))
    if output.as_json:
        output.json(result_files.vllm_json(outcome, context, details=False))
    else:
        _print(outcome, context, output)


def swept(found: Swept, wanted: ResultOptions, context: Context, output: Output) -> None:
    """Of all the loads of a sweep."""
    outcomes = [point.middle for point in found.points]
    _write(wanted, outcomes, context, _swept_json(found, context, details=True))
    if output.as_json:
        output.json(_swept_json(found, context, details=False))
        return
    heads, rows = result_files.sweep_table(outcomes, context)
    output.table(tuple(f">{head}" for head in heads), rows)
    if any(outcome.strain.limited for outcome in outcomes):
        output.prose(result_files.MARKED)
    output.line("")
    output.lines(charts.throughputs(outcomes))
    output.prose(f"ended: {plain(found.ended, 300)}")
    if found.best is not None:
        best = found.best
        sure = "sure" if found.sure else f"not sure: {plain(found.doubt, 300)}"
        output.prose(
            f"best: {best.concurrency} at a time, {best.throughput:.1f} output tokens per "
            f"second (windows differ by {best.spread:.1%}; {sure})"
        )
        _print(best.middle, context, output)
    elif found.at_least is not None:
        best = found.at_least
        output.prose(
            f"at least {best.throughput:.1f} output tokens per second, at {best.concurrency} at a "
            f"time; {plain(found.doubt, 300)}"
        )
        output.line("measure again when this computer is idle, or from another one")


def _print(outcome: Outcome, context: Context, output: Output) -> None:
    rows = result_files.rows(outcome, context)
    told = [(name, plain(text, 300)) for name, text in rows]
    output.lines(named_values(told, columns_of(sys.stdout)))
    output.lines(charts.distributions(outcome))


def _swept_json(found: Swept, context: Context, *, details: bool) -> dict[str, Any]:
    return {
        "best_concurrency": found.best.concurrency if found.best else None,
        "sure": found.sure,
        "doubt": found.doubt or None,
        "at_least_concurrency": found.at_least.concurrency if found.at_least else None,
        "ended": found.ended,
        "points": [
            {
                "concurrency": point.concurrency,
                "output_throughput": point.throughput,
                "spread": point.spread,
                "kept_limits": point.kept,
                "result": result_files.vllm_json(point.middle, context, details=details),
            }
            for point in found.points
        ],
    }


def _write(wanted: ResultOptions, outcomes: Sequence[Outcome], context: Context, all_: Any) -> None:
    """The files that were asked for. Raises UsageError when one cannot be written."""
    import json

    texts: tuple[tuple[Path | None, Callable[[], str]], ...] = (
        (wanted.save_result, lambda: json.dumps(all_)),
        (wanted.csv, lambda: result_files.csv_text(outcomes, context)),
        (wanted.markdown, lambda: result_files.markdown(outcomes, context)),
    )
    for path, text in texts:
        if path is None:
            continue
        try:
            path.write_text(text(), encoding="utf-8")
        except OSError as error:
            raise UsageError(
                f"cannot write {path}: {error.strerror}", "name another file"
            ) from None
