"""The account at RunPod: its key, what it was charged, its volumes, what `doctor` says."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr

from gdl.backends import base
from gdl.backends.base import BackendContext
from gdl.backends.runpod import discovery, keys
from gdl.backends.runpod.entry import ENTRY
from gdl.domain.errors import BackendError, BackendRefused, GdlError, UsageError
from gdl.domain.money import Charge
from gdl.domain.offers import Offer, OfferQuery
from gdl.domain.session import RentRequest
from gdl.settings import Runpod, Settings
from runpod_support import KEY, FakeRunpod, answer, cut, gpu_row, pod_row, problem

OTHER = "rpa_OTHERKEY987654321"


@pytest.fixture
def runpod(tmp_path: Path) -> FakeRunpod:
    return FakeRunpod(tmp_path)


# -- the key


def configured(home: Path, text: str) -> Path:
    (home / ".runpod").mkdir()
    (home / ".runpod/config.toml").write_text(text)
    return home


def found(key: str = "", environment: str = "", home: Path = Path("/nowhere")) -> tuple[str, str]:
    settings = Settings(runpod=Runpod(key=SecretStr(key) if key else None))
    told = keys.find(settings, {"RUNPOD_API_KEY": environment}, home)
    return ("", "") if told is None else (told.key.reveal(), told.source)


def test_the_settings_come_before_the_environment_and_that_before_files(tmp_path: Path) -> None:
    home = configured(tmp_path, f'[default]\napi_key = "{KEY}"\n')
    assert found("rpa_settings", OTHER, home) == ("rpa_settings", "the settings")
    assert found("", f" {OTHER}\n", home) == (OTHER, "RUNPOD_API_KEY")
    assert found("", "", home) == (KEY, "~/.runpod/config.toml")
    assert found() == ("", "")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (f"apikey = '{KEY}'\napiurl = 'https://api.runpod.io/graphql'\n", KEY),
        (f'apiKey = "{KEY}"\n', KEY),
        (f'[other]\napi_key = "{KEY}"\n', ""),
        ("default = 7\n", ""),
        ("[default]\napi_key = 7\n", ""),
        ("not toml", ""),
        ("\x00", ""),
    ],
)
def test_the_files_of_runpods_own_clients(tmp_path: Path, text: str, key: str) -> None:
    assert found(home=configured(tmp_path, text))[0] == key


def test_a_file_that_is_none_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / ".runpod/config.toml").mkdir(parents=True)
    assert found(home=tmp_path) == ("", "")


@pytest.mark.parametrize("text", ["short", "rpa_with a blank", "rpa_ümlaut000", "x" * 600])
def test_what_cannot_be_a_key_is_said_without_showing_it(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        found(environment=text)
    assert "RUNPOD_API_KEY" in caught.value.message and text not in caught.value.message


def test_without_a_key_there_is_no_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNPOD_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UsageError, match="no API key of RunPod") as caught:
        ENTRY.create(BackendContext(Settings(data_dir=tmp_path), "me"))
    assert "RUNPOD_API_KEY" in caught.value.hint


async def test_what_is_found_of_it_on_this_computer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = Settings(runpod=Runpod(url="http://127.0.0.1:9"))
    monkeypatch.delenv("RUNPOD_API_KEY", raising=False)
    without = await discovery.discover(settings, "me")
    assert (without.usable, without.detail) == (False, "no API key: set RUNPOD_API_KEY")
    monkeypatch.setenv("RUNPOD_API_KEY", KEY)
    away = await discovery.discover(settings, "me")
    assert not away.usable and "nothing answers" in away.detail
    monkeypatch.setenv("RUNPOD_API_KEY", "short")
    wrong = await discovery.discover(settings, "me")
    assert not wrong.usable and "is not a valid key" in wrong.detail


# -- doctor


async def test_what_doctor_says(runpod: FakeRunpod) -> None:
    runpod.pods = {"a": pod_row("a"), "b": pod_row("b", env={})}
    runpod.gpus.append(gpu_row(""))
    told = await runpod.backend().check()
    assert [(f.name, f.status) for f in told] == [
        ("runpod", "ok"),
        ("runpod offers", "ok"),
        ("runpod balance", "info"),
    ]
    assert "2 pods, 1 of them ours" in told[0].detail
    assert (
        told[1].detail
        == "8 kinds of machines, 8 of them available, 1 more without a plausible price or id"
    )
    # Its interface does not tell the balance, so that it is no capability either.
    assert not isinstance(runpod.backend(), base.TellsBalance)


async def test_doctor_on_a_wrong_key_and_an_empty_catalogue(runpod: FakeRunpod) -> None:
    runpod.next("GET", "/v2/pods", problem(401, "invalid bearer token"))
    (only,) = await runpod.backend().check()
    assert only.status == "fail" and "HTTP 401" in only.detail and "RUNPOD_API_KEY" in only.hint
    runpod.gpus = []
    told = {finding.name: finding.status for finding in await runpod.backend().check()}
    assert told["runpod offers"] == "warn"
    runpod.next("GET", "/v2/catalog/gpus", *[answer(200, {"gpus": None})] * 8)
    told = {finding.name: finding.status for finding in await runpod.backend().check()}
    assert told["runpod offers"] == "fail"


# -- another key

RENTED = RentRequest(
    Offer("runpod-secure-1x-NVIDIA_GeForce_RTX_4090", "runpod", "runpod", "RTX 4090", 1, 24, 0.7),
    "me",
    1,
    "org/model",
    label="gdl-one",
)


async def test_another_accounts_key_proves_no_absence(runpod: FakeRunpod) -> None:
    pod = (await runpod.backend().rent(RENTED)).session.id
    theirs, runpod.pods = runpod.pods, {}
    other = runpod.backend(OTHER)
    # Neither by its id nor by its label, whatever is asked.
    for ask in (
        lambda: other.absent(pod, "gdl-one"),
        lambda: other.absent("", "gdl-one"),
        lambda: other.labelled("gdl-one"),
        lambda: other.session(pod),
        lambda: other.release(pod),
    ):
        with pytest.raises(BackendRefused, match="another key"):
            await ask()
    # What this program did not rent is another matter.
    assert await other.absent("gone", "gdl-two")
    assert await other.labelled("gdl-two") == ()
    runpod.pods = theirs
    await runpod.backend().release(pod)
    assert await runpod.backend().absent(pod, "gdl-one")


async def test_a_new_key_of_the_same_account_is_known_by_what_it_lists(runpod: FakeRunpod) -> None:
    pod = (await runpod.backend().rent(RENTED)).session.id
    renewed = runpod.backend(OTHER)
    assert [session.id for session in await renewed.sessions()] == [pod]
    await renewed.release(pod)
    assert await renewed.absent(pod, "gdl-one")


async def test_a_new_key_that_could_end_a_pod_is_its_accounts(runpod: FakeRunpod) -> None:
    pod = (await runpod.backend().rent(RENTED)).session.id
    renewed = runpod.backend(OTHER)
    await renewed.release(pod)
    assert await renewed.absent(pod)


async def test_nothing_is_rented_without_a_note_of_the_key(
    runpod: FakeRunpod, tmp_path: Path
) -> None:
    runpod.data_dir = tmp_path / "file"
    runpod.data_dir.write_text("")
    with pytest.raises(GdlError, match="cannot write"):
        await runpod.backend().rent(RENTED)
    assert runpod.pods == {}


# -- charges


async def test_what_was_charged_for_each_pod(runpod: FakeRunpod) -> None:
    def record(pod: str, hour: int, gpu: float, disk: float, total: float) -> dict[str, object]:
        times = {f"{name}Time": f"2026-11-28T{hour + late:02}:00:00Z" for name, late in
                 (("start", 0), ("end", 1))}  # fmt: skip
        amounts = {"totalAmount": total, "gpuAmount": gpu, "cpuAmount": 0, "diskAmount": disk}
        return {**times, **amounts, "podId": pod}

    runpod.records = [
        record("b", 13, 0.7, 0.01, 0.71),
        record("a", 12, 0.5, 0.0, 0.6),
        record("old", 9, 9.0, 0.0, 9.0),
        {"podId": "untimed", "totalAmount": 1.0},
    ]
    since = datetime(2026, 11, 28, 12, tzinfo=UTC)
    charged = await runpod.backend().charges(since)
    noon, one, two = (datetime(2026, 11, 28, hour, tzinfo=UTC) for hour in (12, 13, 14))
    assert [(c.session_id, round(c.amount, 4), c.since, c.until, c.kind) for c in charged] == [
        ("a", 0.5, noon, one, "gpu"),
        ("a", 0.1, noon, one, "other"),
        ("b", 0.7, one, two, "gpu"),
        ("b", 0.01, one, two, "disk"),
    ]
    assert isinstance(charged[0], Charge)
    (asked,) = runpod.asked("GET", "/v2/billing/pods")
    assert dict(asked.url.params) == {
        "startTime": "2026-11-28T12:00:00+00:00",
        "bucketSize": "hour",
    }
    costs = await base.costs(runpod.backend())
    assert costs.total == pytest.approx(11.31) and costs.session_count == 4
    assert "all pods of the account" in costs.note
    runpod.next("GET", "/v2/billing/pods", answer(200, {"metadata": {}}))
    with pytest.raises(BackendError, match="records missing"):
        await runpod.backend().charges(since)


# -- volumes


async def any_offer(runpod: FakeRunpod, cloud: str = "secure") -> Offer:
    offers = await runpod.backend().offers(OfferQuery(gpu_count=1))
    return next(offer for offer in offers if offer.location == f"{cloud} cloud")


async def test_a_volume_is_made_where_the_offers_machines_and_volumes_are(
    runpod: FakeRunpod,
) -> None:
    backend = runpod.backend()
    assert isinstance(backend, base.KeepsVolumes)
    offer = await any_offer(runpod)
    made = await backend.make_volume(offer, "weights", 1500)
    # Kansas has more of the kind, but no volumes.
    assert (made.place, made.size_gb, made.name) == ("EU-RO-1", 1500, "weights")
    assert made.price_per_hour == pytest.approx((1000 * 0.07 + 500 * 0.05) / 720)
    assert await backend.volumes() == (made,)
    # From now on offers of that data centre are listed, and a volume for one of them is there.
    tied = next(o for o in await backend.offers(OfferQuery(gpu_count=1)) if o.location == "EU-RO-1")
    assert (await backend.make_volume(tied, "second", 10)).place == "EU-RO-1"
    await backend.delete_volume(made.id)
    await backend.delete_volume(made.id)
    assert [volume.name for volume in await backend.volumes()] == ["second"]


async def test_volumes_that_cannot_be_made(runpod: FakeRunpod) -> None:
    backend = runpod.backend()
    offer = await any_offer(runpod)
    for size in (9, 4097):
        with pytest.raises(UsageError, match="10 to 4096 GB"):
            await backend.make_volume(offer, "w", size)
    with pytest.raises(UsageError, match="mount no volume of RunPod's"):
        await backend.make_volume(await any_offer(runpod, "community"), "w", 10)
    runpod.gpus = [gpu_row(dataCenters=[{"id": "US-KS-2", "availability": "HIGH"}])]
    with pytest.raises(UsageError, match="no data centre with volumes has RTX 4090"):
        await backend.make_volume(offer, "w", 10)
    runpod.gpus = [gpu_row()]
    runpod.next("POST", "/v2/network-volumes", problem(402, "insufficient balance"))
    with pytest.raises(BackendError, match="not enough credit"):
        await backend.make_volume(offer, "w", 10)
    assert runpod.volumes == {}


async def test_a_volume_whose_answer_did_not_arrive_is_found_and_not_made_twice(
    runpod: FakeRunpod,
) -> None:
    backend = runpod.backend()
    offer = await any_offer(runpod)
    first = await backend.make_volume(offer, "weights", 10)
    for said in (cut, answer(502, text="x"), answer(201, text="<html>"), answer(201, {"size": 1})):
        before = len(runpod.asked("POST", "/v2/network-volumes"))
        runpod.next("POST", "/v2/network-volumes", said, made=True)
        made = await backend.make_volume(offer, "weights", 10)
        assert made.name == "weights" and made.id != first.id
        assert len(runpod.asked("POST", "/v2/network-volumes")) == before + 1
    runpod.next("POST", "/v2/network-volumes", cut)
    with pytest.raises(BackendError, match="not answered") as caught:
        await backend.make_volume(offer, "weights", 10)
    assert "costs money until it is deleted" in caught.value.hint
