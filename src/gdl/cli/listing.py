"""Subcommands that list: offers, sessions, costs, models, doctor."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NoReturn

from gdl.cli import exit_codes
from gdl.cli.output import say
from gdl.cli.render import table
from gdl.cli.runtime import Cli, Session, Target, execute
from gdl.domain.errors import NoSuitableOffer
from gdl.domain.findings import Finding
from gdl.domain.money import dollars
from gdl.domain.offers import OfferQuery, RankedOffer
from gdl.domain.ranking import why_none
from gdl.domain.serialization import to_plain
from gdl.orchestrator.api.views import ModelRow, SessionRow
from gdl.presentation.durations import hours_left
from gdl.presentation.hardware import machine
from gdl.presentation.lines import plain
from gdl.presentation.money import hourly


def offers(
    cli: Cli, target: Target, query: OfferQuery, max_price: float | None, as_json: bool
) -> NoReturn:
    """List offers; raises NoSuitableOffer after the list when none suits."""

    async def body(session: Session) -> int:
        asked = replace(query, max_price=session.settings.max_price)
        ranked = await session.orchestrator.market.offers(asked)
        if as_json:
            for row in ranked:
                session.output.json(offer_to_plain(row))
        elif ranked:
            for line in _offer_lines(ranked):
                session.output.line(line)
        if all(row.excluded is not None for row in ranked):
            raise NoSuitableOffer(*why_none(ranked, asked))
        return exit_codes.OK

    execute(cli, body, target=target, as_json=as_json, flags={"max_price": max_price})


def offers_and_what_next(cli: Cli) -> NoReturn:
    """The terminal UI's first screen as lines, and the commands that stand for its others: for
    screen readers, and for terminals that cannot draw."""
    say("gdl-tui deploy MODEL rents the first of these and serves it; gdl-tui models names some")
    say("gdl-tui sessions, costs, attach, destroy, health, bench: what the other screens do")
    offers(cli, Target(), OfferQuery(), None, False)


def offer_to_plain(row: RankedOffer) -> dict[str, Any]:
    """The offer's own fields, then what ranking says of it; `excluded_until` in ISO 8601."""
    return {
        **to_plain(row.offer),
        "excluded": row.excluded,
        "exclusion": row.exclusion,
        "headroom_gb": row.headroom_gb,
        "excluded_until": to_plain(row.until),
        "session_cost": row.session_cost,
        "usd_per_million": row.usd_per_million,
    }


def _offer_lines(ranked: Any) -> list[str]:
    """Speeds are known for some GPUs at best: without any, their column is left out."""
    speeds = any(row.usd_per_million is not None for row in ranked)
    rows = []
    for row in ranked:
        offer = row.offer
        per_million = "" if row.usd_per_million is None else dollars(row.usd_per_million)
        rows.append(
            (
                hourly(offer.price_per_hour),
                "" if row.session_cost is None else dollars(row.session_cost),
                *((per_million,) if speeds else ()),
                machine(offer, offer.vram_gb),
                "" if row.headroom_gb is None else f"{row.headroom_gb:+.0f} GB",
                offer.provider,
                offer.location,
                "" if offer.reliability is None else f"{offer.reliability:.1%}",
                offer.id,
                "" if row.excluded is None else f"- {row.excluded}",
            )
        )
    return table(
        (
            ">PRICE",
            ">SESSION",
            *((">PER 1M",) if speeds else ()),
            "MACHINE",
            ">SPARE",
            "PROVIDER",
            "LOCATION",
            ">RELIABLE",
            "OFFER",
            "EXCLUDED",
        ),
        rows,
    )


def sessions(cli: Cli, target: Target, as_json: bool) -> NoReturn:
    """List sessions, the ended ones too."""

    async def body(session: Session) -> int:
        rows = await session.orchestrator.sessions.rows()
        if as_json:
            for row in rows:
                session.output.json(session_to_plain(row))
        elif rows:
            for line in _session_lines(rows):
                session.output.line(line)
            for row in rows:
                if row.public is not None:
                    say(f"warning: {plain(row.session.id)} is public: {plain(row.public)}")
        else:
            say("no sessions")
        return exit_codes.OK

    execute(cli, body, target=target, as_json=as_json)


def session_to_plain(row: SessionRow) -> dict[str, Any]:
    """The session's own fields, then what we know of it."""
    return {
        **to_plain(row.session),
        "ours": row.ours,
        "deployment_id": row.deployment_id,
        "model": row.model,
        "endpoint": row.endpoint,
        "public": row.public,
        "cost": row.cost,
        "billing": row.billing,
    }


def _session_lines(rows: Any) -> list[str]:
    now = datetime.now(UTC)
    return table(
        (
            "SESSION",
            "STATUS",
            "BILLING",
            "PROVIDER",
            "MACHINE",
            ">PRICE",
            ">COST",
            ">ENDS IN",
            "MODEL",
            "OURS",
        ),
        [
            (
                row.session.id,
                row.session.status.value,
                row.billing,
                row.session.provider,
                machine(row.session),
                hourly(row.session.price_per_hour),
                dollars(row.cost),
                _ends_in(row, now),
                row.model or "",
                "yes" if row.ours else "no",
            )
            for row in rows
        ],
    )


def _ends_in(row: SessionRow, now: datetime) -> str:
    expires = row.session.expires_at
    if expires is None or row.session.terminal:
        return ""
    return hours_left(expires, now)


def costs(cli: Cli, target: Target, as_json: bool) -> NoReturn:
    """What the backend says was spent."""

    async def body(session: Session) -> int:
        report = await session.orchestrator.market.costs()
        if as_json:
            session.output.json(to_plain(report))
            return exit_codes.OK
        rows: list[tuple[str, str]] = [
            (provider, dollars(spent)) for provider, spent in sorted(report.by_provider.items())
        ]
        rows.append(("total", f"{dollars(report.total)} {report.currency}"))
        for line in table(("PROVIDER", ">COST"), rows):
            session.output.line(line)
        session.output.line(f"{report.session_count} sessions, {report.hours_used:.2f} hours")
        if report.note:
            say(plain(report.note))
        return exit_codes.OK

    execute(cli, body, target=target, as_json=as_json)


def models(cli: Cli, as_json: bool) -> NoReturn:
    """The models known by alias."""

    async def body(session: Session) -> int:
        rows = session.orchestrator.market.models()
        if as_json:
            for row in rows:
                session.output.json(to_plain(row))
            return exit_codes.OK
        headings = ("ALIAS", ">PARAMETERS", ">VRAM", ">DISK", "TOKEN", "MODEL")
        for line in table(headings, [_model_cells(row) for row in rows]):
            session.output.line(line)
        say("any other hub id (owner/name) or path on the machine is taken as well")
        return exit_codes.OK

    execute(cli, body, target=Target(), as_json=as_json)


def _model_cells(row: ModelRow) -> tuple[str, ...]:
    return (
        row.alias,
        "" if row.parameters_b is None else f"{row.parameters_b:.2f} B",
        "" if row.vram_gb is None else f"{row.vram_gb:.1f} GB",
        "" if row.disk_gb is None else f"{row.disk_gb} GB",
        "needed" if row.gated else "",
        row.location,
    )


def doctor(cli: Cli, target: Target, as_json: bool) -> NoReturn:
    """Findings; exit 7 when one of them is a failure."""

    async def body(session: Session) -> int:
        findings = await session.orchestrator.support.doctor()
        if as_json:
            for finding in findings:
                session.output.json(to_plain(finding))
        else:
            for line in _finding_lines(findings):
                session.output.line(line)
        failed = any(finding.status == "fail" for finding in findings)
        return exit_codes.BACKEND_FAILED if failed else exit_codes.OK

    execute(cli, body, target=target, as_json=as_json)


def _finding_lines(findings: Any) -> list[str]:
    rows: list[tuple[str, str, str]] = []
    finding: Finding
    for finding in findings:
        rows.append((finding.status, finding.name, finding.detail))
        if finding.hint and finding.status in ("warn", "fail"):
            rows.append(("", "", f"hint: {finding.hint}"))
    return table(("STATUS", "CHECK", "FINDING"), rows)
