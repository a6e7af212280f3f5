"""Lines to paste: quoted whatever they name, and without the key."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from gdl.domain.client_snippets import FORMATS, QUESTION, Call
from gdl.domain.id_matching import matching

HOSTILE = 'org/it\'s; touch pwned; $(x) `y` "z"'


@pytest.fixture
def call(tmp_path: Path) -> Call:
    key_file = tmp_path / "it's a key.api"
    key_file.write_text("gdl-secret\n")
    return Call("http://127.0.0.1:1/v1", HOSTILE, str(key_file))


@pytest.mark.parametrize("form", FORMATS)
def test_no_line_holds_the_key(form: str, call: Call) -> None:
    text = call.lines(form)
    assert "gdl-secret" not in text and call.url in text
    if form in ("python", "litellm"):
        compile(text, form, "exec")


def run(script: str, folder: Path) -> list[str]:
    """What a shell prints, split at NULs. `curl` is a function that prints its arguments."""
    shown = "curl() { for word; do printf '%s\\0' \"$word\"; done; }\n"
    done = subprocess.run(
        ["sh", "-c", shown + script], capture_output=True, text=True, check=True, cwd=folder
    )
    assert not (folder / "pwned").exists()
    return done.stdout.split("\0")[:-1]


def test_exports_work_in_a_shell(call: Call, tmp_path: Path) -> None:
    names = '"$OPENAI_BASE_URL" "$OPENAI_MODEL" "$OPENAI_API_KEY"'
    assert run(f"{call.lines('sh')}\ncurl {names}", tmp_path) == [call.url, HOSTILE, "gdl-secret"]


def test_curl_asks_what_it_is_told_to(call: Call, tmp_path: Path) -> None:
    asked = [{"role": "user", "content": HOSTILE}]
    words = run(call.lines("curl", asked), tmp_path)
    assert words[0] == f"{call.url}/chat/completions"
    assert words[2] == "Authorization: Bearer gdl-secret"
    assert json.loads(words[-1]) == {"model": HOSTILE, "messages": asked}


def test_without_a_key_file_the_environment_has_it() -> None:
    call = Call("http://127.0.0.1:1/v1", "m")
    assert "$OPENAI_API_KEY" in call.lines("curl") and "OPENAI_API_KEY" not in call.lines("sh")
    assert 'os.environ["OPENAI_API_KEY"]' in call.lines("python")
    assert QUESTION[0]["content"] in call.lines("litellm")


@pytest.mark.parametrize(
    ("ident", "found"),
    [
        ("abcd-1", ["abcd-1"]),
        ("abcd", ["abcd-1", "abcd-12"]),
        ("abcd-12", ["abcd-12"]),
        ("abc", []),
        ("d-77", ["wxyz-9"]),
        ("nothing", []),
    ],
)
def test_an_id_or_its_beginning_names_rows(ident: str, found: list[str]) -> None:
    rows = [("abcd-1", None), ("abcd-12", "d-76"), ("wxyz-9", "d-77")]
    assert [row[0] for row in matching(ident, rows, lambda row: row)] == found
