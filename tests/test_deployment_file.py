"""`gdl-tui deploy -f FILE`: a deployment as a file, checked by the line, overridden by options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli_support import SCENARIOS, Scripted, offer, opener_of
from engine_support import gpu_host
from gdl.cli.app import run
from gdl.domain.errors import UsageError
from gdl.domain.fleet_spec import FleetSpec
from gdl.domain.offers import OfferQuery
from gdl.domain.spec import DeploymentSpec
from gdl.handover.targets import written
from gdl.settings import Settings, deployment_file
from handover_support import planned, state_of

pytestmark = pytest.mark.usefixtures("own_data")

WHOLE = """\
# The team's own.
model = "qwen3-8b"
backend = "shopper"
provider = "vastai"
exclude_provider = ["a", "b"]
max_price = 0.6
context = 8192
bench = false
after = "destroy"

[engine]
args = [
  "--seed",
  "7",
]
env = { GREETING = "hello" }

[install]
version = "0.33.0"

[guard]
idle_minutes = 30
"""


def deploying(path: Path, *arguments: str) -> tuple[int, DeploymentSpec | None, Settings | None]:
    """(exit code, what was to be deployed, the settings in force)."""
    scripted, seen = Scripted(SCENARIOS["destroy"]), []
    inner = opener_of(scripted)

    def opener(settings: Settings, **options: Any) -> Any:
        seen.append(settings)
        return inner(settings, **options)

    code = run(("deploy", "-f", str(path), *arguments), opener=opener)
    return code, scripted.spec, seen[0] if seen else None


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.toml"
    path.write_text(WHOLE)
    return path


def test_what_the_file_says_is_deployed(file: Path) -> None:
    code, spec, settings = deploying(file)
    assert code == 0 and spec is not None and settings is not None
    assert (spec.model, spec.after, spec.bench) == ("qwen3-8b", "destroy", False)
    query = spec.query
    assert (query.provider, query.max_price, query.context) == ("vastai", 0.6, 8192)
    assert query.exclude_providers == ("a", "b")
    assert spec.idle_minutes == 30
    assert settings.engine.args == ("--seed", "7") and settings.engine.env == {"GREETING": "hello"}
    assert settings.install.version == "0.33.0"


def test_an_option_comes_before_the_file_and_the_file_before_the_settings(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GDL_MAX_PRICE", "9")
    monkeypatch.setenv("GDL_INSTALL__RUNTIME", "venv")
    monkeypatch.setenv("GDL_GUARD__UNSEEN_HOURS", "3")
    _, spec, settings = deploying(
        file, "tinyllama", "--context", "4096", "--bench", "--keep", "--idle", "5",
        "--exclude-provider", "c", "--engine-arg", "--x",
    )  # fmt: skip
    assert spec is not None and settings is not None
    assert (spec.model, spec.query.context, spec.bench) == ("tinyllama", 4096, True)
    assert (spec.after, spec.query.exclude_providers) == ("keep", ("c",))
    assert spec.query.max_price == 0.6, "the file's, not the environment's"
    assert (spec.idle_minutes, spec.unseen_hours) == (5, 3), "table by table"
    assert (settings.install.runtime, settings.install.version) == ("venv", "0.33.0")
    assert spec.engine_args == ("--x",) and settings.engine.args == ("--seed", "7")


def test_a_switch_of_the_file_can_be_switched_off(tmp_path: Path) -> None:
    path = tmp_path / "m.toml"
    path.write_text('model = "qwen3-8b"\ninterruptible = true\nbid = 0.2\ntext_only = true\n')
    _, spec, _ = deploying(path)
    assert spec is not None and spec.query.interruptible and spec.query.text_only
    _, spec, _ = deploying(path, "--no-text-only")
    assert spec is not None and not spec.query.text_only


def test_another_place_on_the_command_line_is_another_place_whole(tmp_path: Path) -> None:
    path = tmp_path / "m.toml"
    path.write_text('model = "qwen3-8b"\nbackend = "vastai"\n')
    code, spec, _ = deploying(path, "--backend", "shopper")
    assert code == 0 and spec is not None and spec.backend == "shopper"
    code, spec, _ = deploying(path, "--host", "me@box")
    assert code == 0 and spec is not None and spec.backend == "ssh"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ('model = "m"\n\n[engine]\n# x\nargs = [\n "a",\n]\nnmae = "vllm"', "line 8: there is no "
         "engine.nmae", "engine.name?"),
        ('model = "m"\nmax_pirce = 1', "line 2: there is no max_pirce", "max_price"),
        ('modell = "m"', "line 1: there is no modell", "did you mean model?"),
        ('model = "m"\n[engine]\nversion = "1"', "line 3: there is no engine.version",
         "did you mean install.version?"),
        ('model = "m"\nengine.nmae = "x"', "line 2: there is no engine.nmae", "engine.name?"),
        ('model = "m"\n[guard]\nidle_minutes = 0', "line 3: guard.idle_minutes must be",
         "docs/configuration.md"),
        ('model = "m"\nmax_price = "x"', "line 2: max_price must be a number",
         "docs/configuration.md"),
        ('model = "m"\nbid = 1.0', "bid is for interruptible = true", ""),
        ('model = "m"\nhf_token = "x"', "line 2: hf_token is or holds a secret", "config.toml"),
        ('model = "m"\n[engine]\nargs = ["--admin-api-key", "x"]',
         "line 3: a secret is among them", "[engine.env]"),
        ('model = "m"\n[engine.env]\nMY_TOKEN = "x"', "line 3: 'MY_TOKEN' sounds like a secret",
         "config.toml"),
        ('model = "m"\nx = ', "is not valid TOML: Invalid value", "correct that line"),
        ("zzz = 1", "line 1: there is no zzz", "there are: model, backend"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_by_its_line(
    tmp_path: Path, text: str, message: str, hint: str
) -> None:
    path = tmp_path / "m.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as told:
        deployment_file.read(path)
    assert message in told.value.message and hint in told.value.hint, told.value.hint
    assert str(path) in told.value.message or "bid" in message


def test_files_that_are_none_are_told(tmp_path: Path) -> None:
    for path, said in (
        (tmp_path / "none.toml", "no deployment file"),
        (tmp_path, "Is a directory"),
    ):
        with pytest.raises(UsageError, match=said):
            deployment_file.read(path)
    binary = tmp_path / "b.toml"
    binary.write_bytes(b'model = "m"\n# \xff')
    with pytest.raises(UsageError, match="line 2: not UTF-8"):
        deployment_file.read(binary)
    binary.write_bytes(b"#" * 300_000)
    with pytest.raises(UsageError, match="too long"):
        deployment_file.read(binary)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('model = "qwen3-8bb"', "line 1: unknown model 'qwen3-8bb'"),
        ('model = "qwen3-8b"\nbackend = "vasta"', "line 2: unknown backend"),
        ('model = "qwen3-8b"\n[engine]\nname = "vlm"', "line 3: "),
    ],
)
def test_a_name_that_nobody_knows_is_told_by_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    path = tmp_path / "m.toml"
    path.write_text(text)
    code, spec, _ = deploying(path)
    out, err = capsys.readouterr()
    assert (code, spec, out) == (2, None, "") and f"{path}, {message}" in err, err
    assert deploying(path, "--json")[0] == 2
    assert json.loads(capsys.readouterr().out)["kind"] == "usage"


def test_several_machines_are_a_fleet(tmp_path: Path) -> None:
    path = tmp_path / "m.toml"
    path.write_text(
        'model = "qwen3-8b"\nreplicas = 3\nspread_markets = true\nif_short = "release"\n'
        '[fleet]\npolicy = "random"\n'
    )
    fleets = Fleets()
    assert fleets.deploying(path, "--yes") == 2, "it goes no further than the wish"
    (wish,) = fleets.wished
    assert (wish.replicas, wish.spread_markets, wish.if_short) == (3, True, "release")
    assert (wish.policy, wish.replica.model) == ("random", "qwen3-8b")
    fleets.deploying(
        path, "--yes", "--replicas", "2", "--no-spread-markets", "--policy", "round_robin"
    )
    assert (fleets.wished[1].replicas, fleets.wished[1].policy) == (2, "round_robin")
    assert not fleets.wished[1].spread_markets
    path.write_text('model = "qwen3-8b"\nreplicas = 1\nif_short = "release"\n')
    assert deploying(path)[0] == 0, "one machine needs no router"


class Fleets:
    """Takes a fleet's wish, and refuses it."""

    def __init__(self) -> None:
        self.wished: list[FleetSpec] = []

    def deploying(self, path: Path, *arguments: str) -> int:
        scripted = Scripted(SCENARIOS["destroy"], offered=(offer("o", 0.4),) * 9)

        async def deploy(spec: FleetSpec) -> str:
            self.wished.append(spec)
            raise UsageError("no", "no")

        scripted.fleets.deploy = deploy  # type: ignore[method-assign]
        return run(("deploy", "-f", str(path), *arguments), opener=opener_of(scripted))


def test_without_a_model_nothing_is_deployed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.toml"
    path.write_text("context = 4096\n")
    assert deploying(path)[0] == 2
    assert "name a MODEL" in capsys.readouterr().err
    code, spec, _ = deploying(path, "tinyllama")
    assert code == 0 and spec is not None and spec.query.context == 4096
    assert run(("deploy",), opener=opener_of(Scripted(SCENARIOS["keep"]))) == 2


def test_what_is_exported_deploys_the_same(tmp_path: Path) -> None:
    query = OfferQuery(
        model="qwen3-8b", provider="vastai", max_price=0.6, min_vram_gb=20, context=8192,
        concurrency=4, quantization="fp8", exclude_providers=("x",), interruptible=True, bid=0.2,
        order="price",
    )  # fmt: skip
    args = ('--note=a "b" é\n\x1b', "--seed", "7")
    events = planned(
        "qwen3-8b", gpu_host(), backend="shopper", query=query, hours=2, max_attempts=4,
        bench=False, after="keep", engine_args=args, auto_fix=False, max_spend=2.5, tools=False,
        idle_minutes=30.0, unseen_hours=4.0, include_providers=("y",),
        settings={"engine": {"env": {"A": "b $c"}}},
    )  # fmt: skip
    path = tmp_path / "model.toml"
    path.write_text(written(state_of(events), "toml"))
    code, spec, settings = deploying(path)
    assert code == 0 and spec is not None and settings is not None
    wanted = state_of(events).spec
    assert wanted is not None and spec.query == wanted.query
    for name in ("model", "backend", "hours", "max_attempts", "bench", "after", "auto_fix", "tools",
                 "max_spend", "idle_minutes", "unseen_hours", "include_providers"):  # fmt: skip
        assert getattr(spec, name) == getattr(wanted, name), name
    assert settings.engine.args == args and settings.engine.env == {"A": "b $c"}
    assert settings.install.version == "0.33.0", "held to the release that runs"
