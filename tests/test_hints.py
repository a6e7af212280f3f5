"""What a hint tells the user to do can be done: every option that it names exists."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import gdl
from gdl.domain.judging import Exclusions
from gdl.domain.offers import Offer, OfferQuery
from gdl.domain.ranking import rank, why_none
from test_docs import code, options

SOURCE = Path(gdl.__file__).parent
TOLD = ("domain", "orchestrator", "cli", "tui", "backends", "presentation", "journal", "keyring")
"""Packages whose texts are told to the user. The others write commands for machines."""
OPTION = re.compile(r"(?<![\w-])(--[a-z][a-z0-9-]+)")

OTHER_PROGRAMS = {
    *("--dtype", "--max-model-len", "--gpu-memory-utilization", "--max-num-seqs"),
    *("--tensor-parallel-size", "--chat-template"),  # vLLM's, through --engine-arg
    *("--user", "--proxy-user", "--max-time"),  # curl's
    *("--no-autoupdate", "--grace-period", "--query-gpu"),  # cloudflared's, nvidia-smi's
    "--profile",  # codex's
    *("--app-name", "--urgency"),  # notify-send's
    *("--configure", "--no-install-recommends", "--no-cache"),  # of the machines' package managers
    *("--index-strategy", "--native-tls", "--prerelease", "--torch-backend"),  # uv's
    *("--default-timeout", "--no-build-isolation", "--pre", "--retries"),  # pip's
    *("--index-url", "--extra-index-url", "--find-links"),  # pip's
    *("--dns", "--ipc", "--pids-limit", "--shm-size", "--ulimit", "--device"),  # docker's
    *(
        "--cpus",
        "--memory",
        "--network",
        "--privileged",
        "--cap-add",
        "--security-opt",
    ),  # docker's, too
    *("--ignore-installed", "--upgrade"),  # pip's
    *("--from-literal", "--show-labels"),  # kubectl's
    *("--dist-init-addr", "--mem-fraction-static", "--speculative-algorithm"),  # SGLang's
    *("--no-enable-prefix-caching", "--no-async-scheduling"),  # vLLM's, as they are switched off
    "--merge",  # of llama.cpp's program for files in parts
    *("--tags", "--python"),  # git's, uv's
    *("--local-dir", "--num-gpus"),  # those of the hub's client and of Ray
}


COMMANDS = {
    *(Path(f"orchestrator/fleet/{name}.py") for name in ("dialects", "router_install")),
    Path("domain/fleet_router.py"),
}
"""Where other programs are started: their options are tried with these programs themselves."""


def texts() -> Iterator[tuple[str, str]]:
    """(where, text) of what is said: strings that are no docstring, and the remedies of rules."""
    for package in TOLD:
        for path in (SOURCE / package).rglob("*.py"):
            if path.relative_to(SOURCE) in COMMANDS:
                continue
            tree = ast.parse(path.read_text(encoding="utf-8"))
            docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
            for node in ast.walk(tree):
                if not isinstance(node, ast.Constant) or id(node) in docs:
                    continue
                if isinstance(node.value, str):
                    yield f"{path.relative_to(SOURCE)}:{node.lineno}", node.value
    for path in SOURCE.glob("**/rules/*.toml"):
        for rule in tomllib.loads(path.read_text(encoding="utf-8")).get("rule", ()):
            yield f"{path.relative_to(SOURCE)}: {rule['id']}", rule.get("remedy", "")


def servers_flags() -> set[str]:
    table = SOURCE / "engines" / "vllm" / "server_flags.toml"
    return set(tomllib.loads(table.read_text(encoding="utf-8"))["flag"])


def sglang_flags() -> set[str]:
    table = SOURCE / "engines" / "sglang" / "server.toml"
    return set(re.findall(r'"(--[a-z0-9-]+)"', table.read_text(encoding="utf-8")))


def test_a_flag_that_a_remedy_sets_is_one_of_the_servers() -> None:
    for path in SOURCE.glob("engines/vllm/rules/*.toml"):
        for rule in tomllib.loads(path.read_text(encoding="utf-8")).get("rule", ()):
            apply = rule.get("apply", {})
            if apply.get("kind") == "flag":
                assert apply["name"].removesuffix("=") in servers_flags(), rule["id"]


def test_every_option_named_in_a_text_exists() -> None:
    known = options(code) | OTHER_PROGRAMS | servers_flags() | sglang_flags()
    wrong = [
        f"{where}: {option}"
        for where, text in texts()
        for option in OPTION.findall(text)
        if option not in known
    ]
    assert not wrong, "\n".join(wrong)


def test_what_helps_against_an_excluded_provider_is_an_option_of_deploy() -> None:
    offers = [Offer("a-1", "shopper", "vastai", "RTX 3090", 1, 24.0, 0.1)]
    excluded = Exclusions(providers={"vastai": "SSH failed on 3 hosts"})
    query = OfferQuery()
    _, hint = why_none(rank(offers, query, exclusions=excluded), query)
    assert OPTION.findall(hint) == ["--include-provider"]
    assert "--include-provider" in options(code.commands["deploy"])
