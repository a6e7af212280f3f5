"""What README and docs name is there: commands, options, settings, files, modules, links.

Commands are parsed by the real command line, without being run.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import typer
from pydantic import BaseModel

from gdl.cli.app import build
from gdl.settings import Settings, SshHost
from gdl.tui import keymap_check
from gdl.tui.app import GdlApp

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/*.md")]
)
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

COMMAND = re.compile(r"(?<![\w./-])(?:\.venv/bin/)?gdl-tui(?= |$)")
PLACEHOLDERS = {"N": "1", "HOURS": "1", "X": "1", "USD": "1", "TOKENS": "1", "DRIVER": "570.124"}
"""What stands for a number in a page. Other capitals are texts, which any text replaces."""
FOREIGN_OPTIONS = {
    *("--snapshot-update", "--max-model-len", "--tool-strict-level", "--sse-keep-alive-interval"),
    *("--find-links", "--extra-index-url"),
}
"""Options of other programs that pages name without their program."""

EAGER = {"--help", "--install-completion", "--show-completion", "--version"}
"""Options that do their work as soon as they are read."""

# Typer brings its own click: what is used of it here has the same shape in both.
code: Any = typer.main.get_command(build())


def prose_and_blocks(text: str) -> tuple[str, list[str]]:
    """A page without its code blocks, and the lines of these."""
    prose: list[str] = []
    lines: list[str] = []
    fenced = False
    for line in text.splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            lines.append(line)
        else:
            prose.append(line)
    return "\n".join(prose), lines


def spans(text: str) -> list[str]:
    """The inline code of a page."""
    prose, _ = prose_and_blocks(text)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]


def command_lines(text: str) -> Iterator[str]:
    """Every command line of ours on a page, without the program's name."""
    _, block = prose_and_blocks(text)
    for piece in [*spans(text), *(part for line in block for part in line.split("&&"))]:
        for found in COMMAND.finditer(piece):
            rest = piece[found.end() :].split(")")[0]
            yield re.sub(r"\s#.*", "", rest).replace("[", "").replace("]", "").strip()


def options(command: Any) -> set[str]:
    """All the option names of a command and its subcommands."""
    names = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
    if hasattr(command, "commands"):
        names = names.union(*(options(sub) for sub in command.commands.values()))
    return names | {"--help"}


def parse(command: Any, arguments: list[str], parent: Any) -> None:
    """Read the arguments as the program would, and run nothing. Raises the parser's own error."""
    for place, word in enumerate(arguments):
        if word in getattr(command, "commands", {}):
            context = command.make_context(command.name, arguments[:place], parent=parent)
            # A command that is only named may lack its arguments.
            if arguments[place + 1 :]:
                parse(command.commands[word], arguments[place + 1 :], context)
            return
    if arguments and arguments[0] in EAGER:
        return
    command.make_context(command.name, arguments, parent=parent)


@pytest.mark.parametrize("name", NAMES)
def test_every_command_line_parses(name: str) -> None:
    wrong = []
    for line in command_lines((ROOT / name).read_text()):
        words = [PLACEHOLDERS.get(word, word).split("|")[0] for word in shlex.split(line)]
        try:
            parse(code, words, None)
        except Exception as error:
            wrong.append(f"gdl-tui {line}: {error}")
    assert wrong == []


@pytest.mark.parametrize("name", NAMES)
def test_every_option_is_one_of_the_commands_it_stands_by(name: str) -> None:
    wrong = []
    # By the commands of its section; in the changelog by those of its item.
    apart = r"^- " if name == "CHANGELOG.md" else r"^#+ "
    for section in re.split(apart, (ROOT / name).read_text(), flags=re.M):
        named = {
            c for c in code.commands if re.search(rf"`(gdl-tui )?{c}[` ]|gdl-tui {c}\b", section)
        }
        known = options(code)
        if named:
            known = {param for param in code.params for param in param.opts}.union(
                *(options(code.commands[c]) for c in named)
            )
        for span in spans(section):
            option = re.match(r"(--[a-z][\w-]*)", span)
            if option and option[1] not in known | FOREIGN_OPTIONS:
                wrong.append(f"{option[1]} ({', '.join(sorted(named)) or 'any command'})")
    assert wrong == []


def fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting by its dotted name, with its default."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from fields(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field.get_default(call_default_factory=True)


SETTINGS = dict(fields(Settings))
SECTIONS = {name.partition(".")[0] for name in SETTINGS if "." in name}
KEY_IDS = {
    binding.id
    for place in keymap_check.places(GdlApp)
    for binding in keymap_check.own_bindings(place)
}
"""Of the terminal UI's bindings, some of which begin as a section of the settings does."""


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_and_variable_exists(name: str) -> None:
    text = (ROOT / name).read_text()
    named = {
        span for span in spans(text) if re.fullmatch(r"[a-z]+\.[a-z_0-9]+", span)
    }  # as `timeouts.stall`
    dotted = {key for key in named if key.partition(".")[0] in SECTIONS} - KEY_IDS
    variables = {
        found.lower().replace("__", ".") for found in re.findall(r"\bGDL_([A-Z][A-Z_0-9]+)\b", text)
    }
    assert (dotted | variables) - set(SETTINGS) == set()


@pytest.mark.parametrize("name", NAMES)
def test_every_toml_example_is_accepted(name: str) -> None:
    for example in re.findall(r"^```toml\n(.*?)^```", (ROOT / name).read_text(), re.M | re.S):
        if "[project" in example:
            continue
        settings = Settings(**tomllib.loads(example))
        assert keymap_check.problems(GdlApp, settings.keys) == []


def test_configuration_names_every_setting_with_its_default() -> None:
    text = (ROOT / "docs/configuration.md").read_text()
    rows = re.findall(r"^\| (`[^|]+`) \|([^|]*)\|", text, re.M)
    defaults = {
        key: default.strip() for keys, default in rows for key in re.findall(r"`([^`]+)`", keys)
    }
    hosts = set(SshHost.model_fields)
    assert set(defaults) - {"hosts"} == (set(SETTINGS) - {"hosts"}) | hosts
    shown = {
        key: default.strip("`")
        for key, default in defaults.items()
        if re.fullmatch(r"`[^`]*`|[\d.]+|true|false", default) and key not in hosts
    }
    del shown["hf_token"]  # taken from that variable
    for key, default in shown.items():
        value = SETTINGS[key]
        plain = {(): "[]"}.get(value, value) if isinstance(value, tuple) else value
        text = str(plain).lower() if isinstance(plain, bool) else str(plain)
        assert default in (text, text.removesuffix(".0")), key
    assert len(shown) > 30


@pytest.mark.parametrize("name", NAMES)
def test_every_link_and_picture_leads_somewhere(name: str) -> None:
    page = ROOT / name
    prose, _ = prose_and_blocks(page.read_text())
    links = re.findall(r"\]\(([^)\s]+)\)", prose)
    inside = [unquote(link.partition("#")[0]) for link in links if "://" not in link]
    assert [link for link in inside if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_file_and_module_exists(name: str) -> None:
    found = spans((ROOT / name).read_text())
    paths = {s for s in found if re.fullmatch(r"(src|tests|docs|bench|snapshots|\.ci)/[\w./-]+", s)}
    modules = {s for s in found if re.fullmatch(r"gdl(\.[a-z_]+)+", s)}
    missing = [path for path in paths if not (ROOT / path).exists()]
    missing += [module for module in modules if not _importable(module)]
    assert missing == []


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def test_the_readme_is_a_way_in_and_not_a_manual() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 130
    setup = "    python3 -m venv .venv && .venv/bin/pip install -q"
    assert f"{setup} -e '.[test]' && .venv/bin/pytest" in lines
    first = "gdl-tui deploy smollm2-135m --backend local --bench --destroy"
    assert f"{setup} . && .venv/bin/{first}" in lines


def test_the_pages_are_all_linked_from_the_readme() -> None:
    text = (ROOT / "README.md").read_text() + (ROOT / "CONTRIBUTING.md").read_text()
    # The site's first page is for the site alone.
    pages = set(ROOT.glob("docs/*.md")) - {ROOT / "docs/index.md"}
    missing = [page.name for page in pages if f"docs/{page.name}" not in text]
    assert missing == []


def test_the_architecture_page_names_every_package() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    source = ROOT / "src/gdl"
    packages = [
        ".".join(("gdl", *folder.parent.relative_to(source).parts))
        for pattern in ("*/__init__.py", "orchestrator/*/__init__.py")
        for folder in source.glob(pattern)
    ]
    assert len(packages) > 20
    assert [package for package in packages if f"`{package}`" not in text] == []
