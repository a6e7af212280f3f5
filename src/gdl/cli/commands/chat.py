"""`gdl-tui chat`: talk to a served model."""

from __future__ import annotations

import sys
from io import TextIOWrapper
from typing import Annotated, NoReturn

import typer

from gdl.cli.id_arguments import SessionArgument
from gdl.cli.option_groups import may_be_empty
from gdl.cli.options import JsonOption, MachineTarget
from gdl.cli.runtime import Cli, Session, execute
from gdl.domain.chat import ChatOptions


def chat(
    cli: Cli,
    *,
    ident: SessionArgument,
    system: Annotated[
        str | None,
        typer.Option("--system", metavar="TEXT", help="The system prompt.", callback=may_be_empty),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option("--temperature", metavar="T", help="Sampling temperature, 0 to 2."),
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option("--top-p", metavar="P", help="Nucleus sampling (top-p), above 0, up to 1."),
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            "--max-tokens", metavar="N", help="Maximum tokens of an answer; default: no limit."
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", help="Seed for reproducible answers.")
    ] = None,
    go_on: Annotated[
        str | None,
        typer.Option(
            "--continue", metavar="CONVERSATION", help="Continue a saved conversation, by its id."
        ),
    ] = None,
    target: MachineTarget,
    as_json: JsonOption = False,
) -> NoReturn:
    """Talk to a served model: type questions, and read the answers as they arrive.

    Input from a pipe is one question: its answer goes to stdout, nothing is saved, and the exit
    code is 6 if there is no answer. Conversations are saved in the data folder (save_chats).
    """
    given = ChatOptions(system or "", temperature, top_p, max_tokens, seed)

    async def body(session: Session) -> int:
        return await _chat(session, ident, given, go_on)

    execute(cli, body, target=target, as_json=as_json, rented=True)


async def _chat(session: Session, ident: str, given: ChatOptions, go_on: str | None) -> int:
    import asyncio

    from gdl.cli.chat_lines import LineChat, checked_options
    from gdl.cli.line_reader import aside
    from gdl.conversations.files import ConversationFiles
    from gdl.domain.conversation import Conversation

    files = ConversationFiles(session.settings.data_dir)
    options = checked_options(given)
    one = Conversation() if go_on is None else await asyncio.to_thread(files.load, go_on)
    one.options = options.over(one.options)
    piped = not sys.stdin.isatty()
    if isinstance(sys.stdin, TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")  # what is no UTF-8 cannot be sent
    question = await aside(_piped) if piped else ""
    async with session.orchestrator.endpoints.chat(ident) as partner:
        keeps = session.settings.save_chats and not piped
        chats = LineChat(partner, session.output, files if keeps else None, one)
        return await (chats.once(question) if piped else chats.converse())


def _piped() -> str:
    """What came by the pipe; a character more than is sent, at most."""
    from gdl.domain.conversation import TEXT_KEPT

    return sys.stdin.read(TEXT_KEPT + 1).strip()
