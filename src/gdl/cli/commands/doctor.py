"""`gdl-tui doctor`: what would stand in the way of a deployment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from gdl.cli import exit_codes
from gdl.cli.options import EngineOption, JsonOption, MachineTarget, RuntimeOption
from gdl.cli.runtime import Cli, Session, execute

if TYPE_CHECKING:
    from gdl.domain.findings import Finding


def doctor(
    cli: Cli,
    *,
    plan: Annotated[
        str | None,
        typer.Option(
            "--plan",
            metavar="DRIVER",
            help="Show what would be installed with this NVIDIA driver instead.",
        ),
    ] = None,
    engine: EngineOption = None,
    engine_version: Annotated[
        str | None,
        typer.Option(
            "--engine-version", "--vllm", metavar="X", help="With --plan: the engine's release."
        ),
    ] = None,
    gpu: Annotated[
        str | None,
        typer.Option("--gpu", metavar="CC", help="With --plan: compute capability, such as 8.6."),
    ] = None,
    runtime: RuntimeOption = None,
    target: MachineTarget,
    as_json: JsonOption = False,
) -> NoReturn:
    """Check for anything that would prevent a deployment."""
    if plan is not None:
        from gdl.cli import install_preview

        wanted = install_preview.PlanOptions(plan, gpu or "", engine, engine_version, runtime)
        install_preview.show(cli, wanted, as_json)
    if any(given is not None for given in (engine, engine_version, gpu, runtime)):
        raise typer.BadParameter("--engine, --engine-version, --gpu and --runtime go with --plan")

    async def body(session: Session) -> int:
        findings = await session.orchestrator.support.doctor()
        if as_json:
            for finding in findings:
                session.output.json(finding)
        else:
            session.output.table(("STATUS", "CHECK", "FINDING"), _rows(findings))
        failed = any(finding.status == "fail" for finding in findings)
        return exit_codes.BACKEND_FAILED if failed else exit_codes.OK

    execute(cli, body, target=target, as_json=as_json)


def _rows(findings: Sequence[Finding]) -> list[tuple[str, str, str]]:
    rows: list[tuple[str, str, str]] = []
    for finding in findings:
        rows.append((finding.status, finding.name, finding.detail))
        if finding.hint and finding.status in ("warn", "fail"):
            rows.append(("", "", f"hint: {finding.hint}"))
    return rows
