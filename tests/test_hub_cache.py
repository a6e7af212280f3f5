"""What the hub said is kept whole: by several processes, in spoilt files, under hostile names."""

from __future__ import annotations

import asyncio
import json
import stat
import subprocess
import sys
import textwrap
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gdl.domain.model_facts import FactsSource, GgufFacts, ModelFacts, RepoFile
from gdl.hub.facts_cache import FactsCache
from hub_server import SimulatedHub, running_hub, text_model

HUB = "https://huggingface.co"
FACTS = ModelFacts(
    id="Qwen/Qwen3-8B",
    source=FactsSource.HUB,
    revision="0123abc" * 5 + "01234",
    told_at=datetime(2026, 11, 3, 12, tzinfo=UTC),
    config={"architectures": ["Qwen3ForCausalLM"], "rope_scaling": None, "nested": {"a": [1, 2]}},
    files=(RepoFile("model.safetensors", 16_381_470_720), RepoFile("README.md")),
    chat_template="{% for m in messages %}…",
    safetensors={"BF16": 8_190_735_360},
    gguf=GgufFacts(("a.gguf",), "Q4_K_M", 5, metadata={"general.architecture": "llama"}),
    variants=("Q4_K_M",),
    gated=True,
    license="apache-2.0",
    last_modified=datetime(2026, 1, 2, tzinfo=UTC),
    downloads=7,
    tags=("a", "b"),
    base_models=(("quantized", "Qwen/Qwen3-8B-Base"),),
    withheld=("config.json",),
)


def test_what_was_put_is_got_with_its_date(tmp_path: Path) -> None:
    cache = FactsCache(tmp_path, HUB)
    assert cache.get("Qwen/Qwen3-8B") is None
    cache.put(FACTS)
    kept = FactsCache(tmp_path, HUB).get("qwen/qwen3-8b")
    assert kept == replace(FACTS, source=FactsSource.CACHED)
    assert kept is not None
    assert kept.source_words == "the last answer from the hub, of 3 Nov 2026"
    # The same object, so that what was derived of it counts as well.
    assert cache.get("Qwen/Qwen3-8B") is cache.get("Qwen/Qwen3-8B")
    cache.put(replace(FACTS, downloads=8))
    again = cache.get("Qwen/Qwen3-8B")
    assert again is not None and again.downloads == 8


def test_a_quantization_and_another_hub_are_kept_apart(tmp_path: Path) -> None:
    cache = FactsCache(tmp_path, HUB)
    cache.put(replace(FACTS, downloads=1))
    cache.put(replace(FACTS, downloads=2), "Q4_K_M")
    FactsCache(tmp_path, "https://user:secret@mirror.example:8443/hub").put(
        replace(FACTS, downloads=3)
    )
    got = [cache.get(FACTS.id), cache.get(FACTS.id, "q4_k_m")]
    assert [each.downloads for each in got if each] == [1, 2]
    assert not any("secret" in str(path) for path in tmp_path.rglob("*"))
    cache.drop(FACTS.id)
    cache.drop(FACTS.id)
    assert cache.get(FACTS.id) is None
    assert cache.get(FACTS.id, "Q4_K_M") is not None


def test_names_cannot_leave_the_folder(tmp_path: Path) -> None:
    cache = FactsCache(tmp_path / "hub", HUB)
    idents = ("../../x/y", "a/" + "b" * 300, "con/aux", "a/b--c", "a--b/c", "ä/ö", "a\x00/b")
    for ident in idents:
        cache.put(replace(FACTS, id=ident))
    paths = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(paths) == len(idents)
    assert all(path.is_relative_to(tmp_path / "hub") for path in paths)
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o600}


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '{"format": 2, "facts": {}}', '{"format": 1}', "\x00" * 100,
     '{"format": 1, "facts": {"id": "a/b", "source": "hub", "files": [1]}}'],
)  # fmt: skip
def test_a_spoilt_file_counts_as_none(tmp_path: Path, content: str) -> None:
    cache = FactsCache(tmp_path, HUB)
    cache.put(FACTS)
    cache.path(FACTS.id).write_text(content)
    assert cache.get(FACTS.id) is None
    cache.put(FACTS)
    assert cache.get(FACTS.id) is not None


def test_a_file_of_another_version_is_understood(tmp_path: Path) -> None:
    """Fields that are new are passed over, and missing ones get their default."""
    cache = FactsCache(tmp_path, HUB)
    cache.put(FACTS)
    path = cache.path(FACTS.id)
    told = json.loads(path.read_text())
    told["facts"]["of_tomorrow"] = 1
    del told["facts"]["variants"], told["facts"]["downloads"], told["facts"]["trouble"]
    path.write_text(json.dumps(told))
    kept = cache.get(FACTS.id)
    assert kept is not None
    assert (kept.variants, kept.downloads, kept.config) == ((), None, FACTS.config)


def test_a_folder_that_cannot_be_written_to_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "hub").write_text("in the way")
    cache = FactsCache(tmp_path / "hub", HUB)
    cache.put(FACTS)
    assert cache.get(FACTS.id) is None


WRITER = textwrap.dedent(
    """
    import sys
    from dataclasses import replace
    from pathlib import Path
    from test_hub_cache import FACTS, HUB
    from gdl.hub.facts_cache import FactsCache

    cache = FactsCache(Path(sys.argv[1]), HUB)
    for number in range(200):
        cache.put(replace(FACTS, chat_template=sys.argv[2] * 20_000))
    """
)


async def test_two_processes_write_and_a_third_reads_whole_files(tmp_path: Path) -> None:
    FactsCache(tmp_path, HUB).put(replace(FACTS, chat_template="a" * 20_000))
    writers = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", WRITER, str(tmp_path), letter, cwd=Path(__file__).parent
        )
        for letter in "ab"
    ]
    ended = asyncio.gather(*(each.wait() for each in writers))
    seen = set()
    while not ended.done():
        kept = FactsCache(tmp_path, HUB).get(FACTS.id)
        assert kept is not None and kept.chat_template is not None
        assert len(set(kept.chat_template)) == 1 and len(kept.chat_template) == 20_000
        seen.add(kept.chat_template[0])
        await asyncio.sleep(0)
    assert await ended == [0, 0]
    assert seen <= {"a", "b"}
    assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".json"]


def test_what_is_kept_is_told_without_a_library_for_the_network() -> None:
    script = "import sys, gdl.hub.lookup; print('httpx' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


_ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.just("2026-11-03T12:00:00"),
    st.just([{"path": 3}]),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=3), st.none(), max_size=2),
)


def _places(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where anything is inside a JSON value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    found = [here]
    for key, each in inside:
        more = isinstance(each, dict | list)
        found += _places(each, (*here, key)) if more else [(*here, key)]
    return found


@given(data=st.data())
@settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200
)
def test_a_file_with_anything_in_any_place_is_read_whole_or_counts_as_none(
    tmp_path: Path, data: st.DataObject
) -> None:
    cache = FactsCache(tmp_path, HUB)
    cache.put(FACTS)
    path = cache.path(FACTS.id)
    kept = json.loads(path.read_text())
    *way, last = data.draw(st.sampled_from([each for each in _places(kept) if each]))
    inside = kept
    for step in way:
        inside = inside[step]
    inside[last] = data.draw(_ODD)
    path.write_text(json.dumps(kept))
    facts = FactsCache(tmp_path, HUB).get(FACTS.id)
    if facts is not None:
        # What a program does with it: its age, its size, its words, and keeping it again.
        assert facts.told_at is None or facts.told_at <= datetime.max.replace(tzinfo=UTC)
        assert facts.weights_bytes >= 0 and facts.download_bytes >= 0
        assert facts.source_words.isprintable() and facts.license.isprintable()
        cache.put(facts)
        assert FactsCache(tmp_path, HUB).get(facts.id) is not None
    cache.put(FACTS)
    assert FactsCache(tmp_path, HUB).get(FACTS.id) == replace(FACTS, source=FactsSource.CACHED)


@pytest.mark.parametrize(
    "spoilt", [{"told_at": "2026-11-03T12:00:00"}, {"files": [{"path": 3}]}, {"id": 7}]
)
async def test_a_file_of_other_types_is_asked_for_anew(
    tmp_path: Path, spoilt: dict[str, Any]
) -> None:
    hub = SimulatedHub.of([text_model("Qwen/Qwen3-0.6B")])
    async with running_hub(hub, tmp_path) as running:
        good = await running.facts("Qwen/Qwen3-0.6B")
        path = running.client().cache.path(good.id)
        kept = json.loads(path.read_text())
        kept["facts"] |= spoilt
        path.write_text(json.dumps(kept))
        again = await running.facts(good.id)
        assert (again.source, again.files) == (FactsSource.HUB, good.files)
        assert (await running.facts(good.id)).source is FactsSource.CACHED
