"""One word for each thing (docs/glossary.md): the old ones do not come back.

Names are split into words (`OfferRows`, `offer_rows`: offer, rows) and held against a list. Texts
(strings, docstrings, comments, styles, scripts, pages) are held against phrases, as most of the old
words have an ordinary meaning, too.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src/gdl"

_WORDS = """
    asking blocked books bus carrier carriers chain chains experience faults house kinds lane lanes
    leftover leftovers looking lookout lost mend mended mender mending mends owners pace patience
    picture pictures refusals room rooms stories story vigil visit visiting visits vitals withdraw
    withdrawing withdrawn withdraws
"""
WORDS = frozenset(_WORDS.split())
"""No name of ours holds one of these as a word."""

SEVERAL = re.compile(
    r"(give|gives|given|giving|gave)_back|(leave|leaves|leaving|left)_out|"
    r"(bring|brings|bringing|brought)_back|other_half"
)
"""Nor any of these as a run of words."""

PHRASES = re.compile(
    r"""
    \b(
      blocked | books | bus | carriers? | chains? | house | lanes? | left[ ]?overs? | lookout |
      mend(s|ed|ing|er)? | owners | pace | patience | experience | rooms? | stor(y|ies) |
      vigils? | visit(s|ed|ing|ors?)? | vitals | withdr(aw\w*|ew) |
      faults | pictures? | other[ ]half | half[ ]of[ ]the[ ]class | lost[ ]answers? |
      answers?[ ](is|are|was|were|got|gets)[ ]lost |
      (giv(e|es|en|ing)|gave)[ ]([\w'-]+[ ]){0,5}back |
      (leav(e|es|ing)|left)[ ]([\w'-]+[ ]){0,4}out |
      (bring(s|ing)?|brought)[ ]([\w'-]+[ ]){0,4}back |
      let(s|ting)?[ ]([\w'-]+[ ]){0,5}in[ ]again
    )\b
    """,
    re.IGNORECASE | re.VERBOSE,
)

ORDINARY = re.compile(
    r"page faults|f(ell|allen) off the bus|bus error|chains? of exceptions|"
    r"pictures? of the (README|docs)|further information visit|"
    # Fields of files and prompts, in quotes or as they are sent.
    r'"carrier"|"pace"|"Books"|mended often',
    re.IGNORECASE,
)
"""The same words in their ordinary meaning."""

FORMATS: dict[str, str] = {
    "connection_lost": "a method of asyncio's protocols and of asyncssh's sessions",
}
"""Names that are not ours to choose, or that are written to disk or printed as JSON."""

SIMULATED_FAULTS = ("simulator/",)
"""Where a fault is what a scenario makes go wrong."""


def split(name: str) -> list[str]:
    """The words of a name, in lower case."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().strip("_").split("_")


def names(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every name that this module gives to something, with its line."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name, node.lineno
            case ast.arg():
                yield node.arg, node.lineno
            case ast.Name(ctx=ast.Store()):
                yield node.id, node.lineno
            case ast.Attribute(ctx=ast.Store()):
                yield node.attr, node.lineno
            case ast.alias(asname=str(name)):
                yield name, node.lineno
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)):
                yield name, node.lineno
            case _:
                pass


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a file that people read: of Python, its strings and comments."""
    source = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        yield from enumerate(source.partition("\n## Old words")[0].splitlines(), 1)
        return
    kinds = {tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", -1)}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in kinds:
            yield from enumerate(token.string.splitlines(), token.start[0])


def sources() -> list[Path]:
    """Everything in the package that somebody wrote as text. Logs are excerpts of real ones."""
    kinds = {".py", ".toml", ".sql", ".tcss", ".sh", ".awk", ""}
    files = [path for path in SOURCE.rglob("*") if path.is_file() and path.suffix in kinds]
    return sorted(path for path in files if "__pycache__" not in path.parts)


def pages() -> list[Path]:
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]


def found(path: Path, lines: Iterator[tuple[int, str]]) -> Iterator[str]:
    where = path.relative_to(ROOT)
    for number, line in lines:
        for match in PHRASES.finditer(ORDINARY.sub("", line)):
            if match[0].lower() == "faults" and any(f in str(where) for f in SIMULATED_FAULTS):
                continue
            yield f"{where}:{number}: {match[0]}: {line.strip()}"


def test_no_name_holds_an_old_word() -> None:
    wrong = []
    for path in SOURCE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for name, line in [(path.stem, 1), *names(tree)]:
            words = split(name)
            allowed = {"faults"} if any(f in str(path) for f in SIMULATED_FAULTS) else set()
            old = (WORDS - allowed).intersection(words) or SEVERAL.search("_".join(words))
            if old and name not in FORMATS:
                wrong.append(f"{path.relative_to(ROOT)}:{line}: {name}")
    assert wrong == []


def test_no_text_of_the_program_uses_an_old_word() -> None:
    assert [hit for path in sources() for hit in found(path, texts(path))] == []


def test_no_page_uses_an_old_word() -> None:
    assert [hit for path in pages() for hit in found(path, texts(path))] == []


def test_the_changelog_begins_in_the_words_of_today() -> None:
    newest = (ROOT / "CHANGELOG.md").read_text().partition("\n## 0.1.0")[0].splitlines()
    assert list(found(ROOT / "CHANGELOG.md", iter(enumerate(newest, 1)))) == []


def test_names_are_split_as_they_are_read() -> None:
    assert split("OfferRows") == ["offer", "rows"]
    assert split("_give_back") == ["give", "back"]
    assert split("HTTPConnection") == ["httpconnection"]


def test_phrases_are_told_from_ordinary_meanings() -> None:
    for old in ("gives the machine back", "left out until", "brings back", "a lost answer"):
        assert PHRASES.search(old), old
    for fine in ("the lost connection", "a kind of", "the file's owner", "gave up", "back off"):
        assert not PHRASES.search(fine), fine
