"""The diagnostics archive tells everything but the secrets."""

from __future__ import annotations

import json
import tarfile
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdl.domain import events as ev
from gdl.domain.errors import UsageError
from gdl.domain.events import Recorded
from gdl.domain.host import HostFacts
from gdl.domain.offers import OfferQuery
from gdl.domain.phase import Billing, Phase
from gdl.domain.rental import Rental
from gdl.domain.spec import DeploymentSpec
from gdl.journal.store import DeploymentRow, Journal
from gdl.orchestrator.support import bundle
from gdl.orchestrator.support.redact import REMOVED, Redactor
from gdl.settings import load

NOW = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)
IDENT = "20260506-070809-abcdef"
PEM = """-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW
PLANTEDpemLINEtwoQyNTUxOQAAACAplantedPEMbodyxxxxxxxxxxxxxxxxxxxxxxxxxxx
-----END OPENSSH PRIVATE KEY-----
"""
PLANTED = {
    "hf": "hf_plantedHubToken0123456789",
    "key": "gdl-plantedEndpointKey_abc-0123456789",
    "password": "plantedPa55@word",
    "env": "plantedEnvironmentSecret",
    "bearer": "plantedBearer.token.value",
    "cloud": "plantedCloudKeyWithoutAnyPrefix",
    "pem": "PLANTEDpemLINEtwo",
    "argument": "plantedArgumentValue",
    "query": "plantedQueryValue",
    "hook": "plantedHookPathOfATeam",
    "market": "plantedKeyOfTheMarketplace",
}
LOG = f"""starting
{PEM}Authorization: Bearer {PLANTED["bearer"]}
{{"authorization": "Basic cGxhbnRlZFBhNTVAd29yZA=="}}
Looking in indexes: https://someone:{PLANTED["password"]}@index.example/simple
downloading with token {PLANTED["hf"]} and VLLM_API_KEY={PLANTED["key"]}
GET https://hub.example/x?access_token={PLANTED["query"]}&n=1
MY_PASSWORD: {PLANTED["env"]}
non-default args: {{'max_num_batched_tokens': 2048, 'api_key': '{PLANTED["argument"]}'}}
GPU KV cache size: 12,345 tokens
ValueError: the root cause stays
"""


def content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    assert file is not None, member.name
    return file.read()


async def packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The files of an archive of a deployment that has secrets everywhere."""
    monkeypatch.setenv("VAST_API_KEY", PLANTED["cloud"])
    settings = load(
        data_dir=tmp_path,
        hf_token=PLANTED["hf"],
        vastai={"key": PLANTED["market"]},
        notify={"webhook": f"https://hooks.example/{PLANTED['hook']}"},
        shopper_url=f"http://u:{PLANTED['password']}@shopper.example:8080",
        install={"extra_index_url": (f"https://u:{PLANTED['password']}@pypi.example/simple",)},
        engine={
            "env": {"MY_PASSWORD": PLANTED["env"], "GREETING": "hello"},
            "args": ("--hf-token", PLANTED["argument"]),
        },
    )
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "a.api").write_text(PLANTED["key"] + "\n")
    (keys / "a.key").write_text(PEM)
    logs = settings.logs_dir / IDENT
    logs.mkdir(parents=True)
    (logs / "attempt-1-engine.log").write_text(LOG)
    (logs / "link.log").symlink_to(keys / "a.key")
    journal = await Journal.open(tmp_path / "journal.sqlite")
    await journal.add_deployment(DeploymentRow(IDENT, NOW, "m", "shopper", "failed", 0))
    await journal.save(
        Rental(
            *("i", IDENT, 1, "shopper", "vastai", "o-1", "me", 0.1, NOW, Billing.RELEASED),
            session_id="s-77",
            key_file=str(keys / "a.key"),
            api_key_file=str(keys / "a.api"),
        )
    )
    spec = DeploymentSpec(
        "tinyllama", "shopper", OfferQuery(), engine_args=("--api-key", PLANTED["argument"])
    )
    events: list[ev.Event] = [
        ev.DeploymentPlanned(spec, "hub/m", "m"),
        ev.AttemptStarted(1, "o-1", "vastai", "RTX 3090", 1, 24.0, 0.1),
        ev.HostInspected(1, HostFacts("Linux", "x86_64", 2, 4.0, 9.0)),
        ev.PhaseChanged(1, Phase.INSTALLING, "vllm 0.33.0 by uv"),
        ev.Noted(
            "info",
            f"told: Bearer {PLANTED['bearer']} and {PLANTED['cloud']}"
            f" https://hooks.example/{PLANTED['hook']} {PLANTED['market']}",
        ),
        ev.Diagnosed(1, "cause", "remedy", (f"HF_TOKEN={PLANTED['hf']}", PEM), "rule"),
    ]
    for number, event in enumerate(events, 1):
        await journal.append(Recorded(IDENT, number, NOW, event))
    path = await bundle.write(IDENT, tmp_path / "out.tar.gz", journal, settings)
    await journal.aclose()
    assert path.stat().st_mode & 0o777 == 0o600
    with tarfile.open(path) as archive:
        return {
            member.name.partition("/")[2]: content(archive, member).decode()
            for member in archive.getmembers()
        }


async def test_no_secret_is_in_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = await packed(tmp_path, monkeypatch)
    whole = "\n".join(files.values())
    for name, secret in PLANTED.items():
        assert secret not in whole, name
    for part in ("cGxhbnRlZ", "b3BlbnNzaC1rZXk", "plantedPEMbody"):
        assert part not in whole


async def test_what_helps_is_in_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = await packed(tmp_path, monkeypatch)
    assert set(files) == {
        *("README.txt", "summary.json", "facts.json", "events.jsonl", "settings.json"),
        *("rentals.json", "versions.json", "logs/attempt-1-engine.log"),
    }
    log = files["logs/attempt-1-engine.log"]
    assert "ValueError: the root cause stays" in log
    assert "'max_num_batched_tokens': 2048" in log and "12,345 tokens" in log
    assert "@index.example/simple" in log and "&n=1" in log
    assert len(log.splitlines()) == len(LOG.splitlines())
    events = [json.loads(line) for line in files["events.jsonl"].splitlines()]
    assert [e["seq"] for e in events] == [1, 2, 3, 4, 5, 6]
    summary = json.loads(files["summary.json"])
    assert summary["plans"] == ["vllm 0.33.0 by uv"]
    assert summary["diagnoses"][0]["rule"] == "rule"
    settings = json.loads(files["settings.json"])
    assert settings["engine"]["env"] == {"MY_PASSWORD": REMOVED, "GREETING": "hello"}
    assert settings["engine"]["args"] == ["--hf-token", REMOVED]
    assert json.loads(files["rentals.json"])[0]["session_id"] == "s-77"
    assert json.loads(files["facts.json"])[0]["os"] == "Linux"


async def test_nothing_is_overwritten_and_a_bad_place_is_told(tmp_path: Path) -> None:
    journal = await Journal.open(tmp_path / "journal.sqlite")
    settings = load(data_dir=tmp_path)
    taken = tmp_path / "taken"
    taken.write_text("mine")
    with pytest.raises(UsageError, match="already exists"):
        await bundle.write(IDENT, taken, journal, settings)
    assert taken.read_text() == "mine"
    with pytest.raises(UsageError, match="cannot write"):
        await bundle.write(IDENT, tmp_path / "no" / "folder.tar.gz", journal, settings)
    await journal.aclose()


def test_an_id_its_session_or_a_beginning_names_a_deployment() -> None:
    known = [("20260506-aa", "s-2"), ("20260505-bb", "s-1"), ("20260505-cc", "s-1")]
    assert bundle.find("20260506-aa", known) == "20260506-aa"
    assert bundle.find("20260506", known) == "20260506-aa"
    assert bundle.find("s-1", known) == "20260505-bb"
    for wrong in ("20260505", "s", "nothing"):
        with pytest.raises(UsageError):
            bundle.find(wrong, known)
    with pytest.raises(UsageError, match="no deployment yet"):
        bundle.find("x", [])


@pytest.mark.parametrize(
    "text",
    [
        "GPU KV cache size: 1,234 tokens, Maximum concurrency for 2,048 tokens per request: 1.0x",
        "max_num_batched_tokens=2048, eos_token_id=2, num_key_value_heads: 8",
        "the key is in a file; token by token",
        "ssh user@host:2222 and mailto me@example.com",
        "KeyError: 'model.layers.0.self_attn'",
    ],
)
def test_ordinary_words_stay(text: str) -> None:
    assert Redactor().text(text) == text


@given(
    st.text(alphabet="abcXYZ019-_@:/.", min_size=8, max_size=30).filter(lambda s: s.strip() == s),
    st.text(max_size=40),
    st.text(max_size=40),
)
def test_a_known_secret_never_passes(secret: str, before: str, after: str) -> None:
    shown = Redactor([secret]).text(before + secret + after)
    assert secret not in shown


S = "PLANTEDplanted0123456789"


@pytest.mark.parametrize(
    "line",
    [
        f'{{\\"token\\": \\"{S}\\"}}',
        f"https://b.example/x?X-Amz-Credential={S}&X-Amz-Signature={S}&n=1",
        f"https://c.example/x?Policy={S}&Signature={S}&Key-Pair-Id={S}",
        f"https://a.example/x?sv=1&sig={S}",
        f"https://{S}@git.example/x.git",
        f"Cookie: session={S}; other={S}",
        f"curl -u user:{S} https://x.example",
        f"machine x.example login me password {S}",
        f"RUNPOD_API_KEY {S}",
        f"Token {S}",
        f"callback?access_token%3D{S} and %22token%22%3A%22{S}%22",
        f"password '{S}'",
        f"pwd={S}",
        f"SecretStr('{S}')",
        f"http://h.example/?key={S}",
        f"X-Api-Key: {S}",
    ],
)
def test_secrets_in_many_guises(line: str) -> None:
    shown = Redactor().line(line)
    assert S not in shown and REMOVED in shown


@pytest.mark.parametrize(
    "text",
    ["PWD=/home/user/work", "TOKEN is not set", "unexpected key model.layers.0.mlp.gate_proj"],
)
def test_what_only_looks_like_one_stays(text: str) -> None:
    assert Redactor().line(text) == text


@pytest.mark.parametrize(
    "piece", ["a", "a-", "key", "http+", "a://@", "ecdsa-", "login ", "cookie:", "eyJa.b", '\\"']
)
def test_no_line_takes_for_ever(piece: str) -> None:
    """Processor time: a pattern that goes back and forth would take minutes."""
    line = piece * (64_000 // len(piece))
    begun = time.process_time()
    Redactor().line(line)
    assert time.process_time() - begun < 5


async def test_any_bytes_can_be_packed(tmp_path: Path) -> None:
    settings = load(data_dir=tmp_path)
    logs = settings.logs_dir / IDENT
    logs.mkdir(parents=True)
    (logs / "empty.log").touch()
    (logs / "binary.log").write_bytes(bytes(range(256)) * 200)
    (logs / "long.log").write_bytes(b"x" * 300_000 + f" token={S}\nlast\n".encode())
    cut = (b"word " * 13_107)[: 64 * 2**10 - 10] + f" token={S}\n".encode()
    (logs / "cut.log").write_bytes(cut)
    (logs / "folder").mkdir()
    journal = await Journal.open(tmp_path / "journal.sqlite")
    path = await bundle.write(IDENT, tmp_path / "out.tar.gz", journal, settings)
    await journal.aclose()
    with tarfile.open(path) as archive:
        files = {
            Path(member.name).name: content(archive, member) for member in archive.getmembers()
        }
    assert {"empty.log", "binary.log", "long.log", "cut.log"} <= set(files)
    assert files["empty.log"] == b"" and "folder" not in files
    assert files["long.log"].endswith(b"is omitted]\nlast\n") and len(files["long.log"]) < 70_000
    assert b"PLANTED" not in b"".join(files.values())
