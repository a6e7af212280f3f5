"""Every rule finds its own excerpt, no other's, and the engine stays polite with anything else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diagnosis_support import ALL, by_id, diagnose, rules
from gdl.diagnosis import rule_engine
from gdl.diagnosis.rules import Rule
from gdl.domain.remedies import RemedyKind
from gdl.engines.sglang import server_flags
from log_excerpts import LOGS

STARTED_WELL = Path(__file__).parent / "data" / "engine" / "start-cpu.log"
KINDS = {"next", "exclude", "fix", "change", "wait", "stop"}


def excerpt(name: str) -> list[str]:
    return (LOGS / f"{name}.log").read_text().splitlines()


SHOWN = {path.stem for path in LOGS.glob("*.log")}
"""Rules whose excerpt the simulated servers print; of all others there are cases in the corpus."""


@pytest.mark.parametrize("rule", [r for r in rules if r.id in SHOWN], ids=lambda r: r.id)
def test_each_rule_wins_on_its_own_excerpt(rule: Rule) -> None:
    found = diagnose(excerpt(rule.id), exit_status=1)
    assert found.rule == rule.id
    assert found.evidence
    assert "{" not in found.cause + found.remedy
    assert rule.pattern is not None
    assert any(rule.pattern.search(line) for line in excerpt(rule.id))


@pytest.mark.parametrize("rule", rules, ids=lambda r: r.id)
def test_rules_are_complete_sentences_of_a_known_kind(rule: Rule) -> None:
    assert rule.kind in KINDS
    assert rule.cause.endswith(".") and rule.remedy.endswith(".")


def test_a_good_start_has_no_cause() -> None:
    found = diagnose(STARTED_WELL.read_text().splitlines())
    assert (found.rule, found.known) == ("unknown", False)


def test_numbers_reach_the_remedy() -> None:
    assert diagnose(excerpt("context-does-not-fit")).remedy == "Add --max-model-len 24464."
    assert diagnose(excerpt("too-many-sequences")).remedy.startswith(
        "Lower --max-num-seqs well under 1024"
    )
    assert diagnose(excerpt("context-too-long")).remedy == "Lower --max-model-len to 2048."
    assert "CUDA 12.8 or older" in diagnose(excerpt("driver-too-old")).remedy


def test_a_line_without_the_number_still_makes_a_sentence() -> None:
    found = diagnose(
        ["ValueError: To serve at least one request with the models's max seq len (9)"]
    )
    assert found.remedy == "Add --max-model-len with a smaller number."


def test_the_earliest_specific_match_wins_over_later_and_generic_ones() -> None:
    lines = [*excerpt("gpu-occupied"), *excerpt("port-in-use"), *excerpt("engine-dead")]
    assert diagnose(lines).rule == "gpu-occupied"
    assert diagnose([*excerpt("engine-start"), *excerpt("no-space")]).rule == "no-space"


@pytest.mark.parametrize(
    ("error", "rule"),
    [
        ("ModuleNotFoundError: No module named 'vllm'", "no-vllm"),
        ("ModuleNotFoundError: No module named 'torch'", "torch-missing"),
        ("ModuleNotFoundError: No module named 'torch.flux'", "module-part-missing"),
        ("RuntimeError: CUDA error: operation not permitted", "cuda-not-supported"),
        ("RuntimeError: Error Internal", "no-quantized-kernel"),
        ("KeyError: 'mrope_section'", "plain-key"),
    ],
)
@pytest.mark.parametrize("after", [[], ["Downloading package-1.0-py3-none-any.whl (1 kB)"]])
def test_a_line_of_another_program_after_an_error_hides_nothing(
    error: str, rule: str, after: list[str]
) -> None:
    assert diagnose([error, *after], exit_status=1).rule == rule


def test_a_broad_match_yields_to_a_later_specific_one() -> None:
    found = diagnose([*excerpt("gpu-memory"), *excerpt("too-many-sequences")])
    assert found.rule == "too-many-sequences"


def test_a_generic_line_shows_the_error_above_it_with_low_confidence() -> None:
    found = diagnose(excerpt("engine-start"))
    assert "RuntimeError: worker 0 ended its turn with 17" in found.cause
    assert found.confidence == "low"


def test_connection_rules_are_silent_once_the_machine_is_entered() -> None:
    lines = excerpt("ssh-not-up")
    assert diagnose(lines, phase="CONNECTING").rule == "ssh-not-up"
    assert diagnose(lines, phase="LOADING").rule == "unknown"


@pytest.mark.parametrize("status", [-9, 137])
def test_a_kill_without_words_is_probably_memory(status: int) -> None:
    found = diagnose(["Loading weights"], exit_status=status)
    assert found.rule == "signal-9"
    assert "memory" in found.cause


def test_words_beat_the_signal() -> None:
    assert diagnose(excerpt("gated-model"), exit_status=-15).rule == "gated-model"


def test_the_unknown_is_said_to_be_unknown_with_the_last_error() -> None:
    lines = ["Traceback (most recent call last):", "  x", "foo.BarError: the flux is off", "bye"]
    found = diagnose(lines, exit_status=1)
    assert found.rule == "unknown"
    assert found.cause == (
        "Not a known failure: the program raised BarError; it says: foo.BarError: the flux is off"
    )
    assert found.confidence == "low"
    assert "bye" in found.evidence


def test_the_unknown_without_an_error_shows_the_last_line_or_the_status() -> None:
    assert "the last line is: all quiet" in diagnose(["all quiet", "", "  "]).cause
    assert "status 3 without a message" in diagnose([], exit_status=3).cause
    assert "ends without an error" in diagnose(["Loading weights"]).cause


def test_an_unknown_error_of_the_engine_is_told_with_its_place_stage_and_a_first_try() -> None:
    mark = "(EngineCore pid=1) ERROR 01-01 00:00:01 [core.py:1] "
    found = diagnose(
        [
            "(EngineCore pid=1) INFO 01-01 00:00:00 [gpu_model_runner.py:1] Starting to load model",
            "Loading safetensors checkpoint shards:  25% Completed | 2/8 [00:03<00:09,  1.5s/it]",
            f"{mark}Traceback (most recent call last):",
            f'{mark}  File "/v/site-packages/vllm/model_executor/model_loader/b.py", line 3, in f',
            f"{mark}    raise ValueError",
            f"{mark}ValueError: the flux is off",
        ]
    )
    assert found.rule == "unknown"
    assert "the engine raised ValueError in the weights loader" in found.cause
    assert "while loading the weights (2 of 8 files were)" in found.cause
    assert found.remedy.startswith("To try first: see whether this release supports this model")
    assert found.action.kind is RemedyKind.STOP


def test_a_healthy_log_is_called_so() -> None:
    found = diagnose(STARTED_WELL.read_text().splitlines())
    assert (found.rule, found.state) == ("unknown", "healthy")
    assert "shows no failure" in found.cause


def test_evidence_is_bounded_and_without_control_characters() -> None:
    lines = ["\x1b[31mx\x1b[0m" * 50, "No space left on device " + "y" * 5000, *["z"] * 50]
    found = diagnose(lines)
    assert found.rule == "no-space"
    assert len(found.evidence) <= 5
    assert all(len(line) <= 300 and line.isprintable() for line in found.evidence)


def test_what_a_log_says_is_no_template() -> None:
    found = diagnose(["x: error: unrecognized arguments: --{what}{0}%s"])
    assert "--{what}{0}%s" in found.cause


@settings(deadline=None)  # the first call makes the rules ready; speed is asked below
@given(st.lists(st.text(max_size=80), max_size=8), st.none() | st.integers(-70, 300))
def test_any_log_gets_an_answer(lines: list[str], status: int | None) -> None:
    found = diagnose(lines, exit_status=status)
    assert found.cause and found.remedy
    assert len(found.evidence) <= 5


def test_a_long_log_is_read_quickly() -> None:
    import time

    lines = STARTED_WELL.read_text().splitlines() * 30
    begun = time.process_time()
    diagnose(lines)
    assert time.process_time() - begun < 2.0


def test_diagnoses_told_by_behaviour_are_had_by_id() -> None:
    assert by_id("slow-download", ["1.2 MB/s"]).evidence == ("1.2 MB/s",)
    with pytest.raises(KeyError):
        by_id("no-such-rule")


BY_THE_MARKET = {
    "offer-taken": "stale",
    "no-nodes": "no-nodes",
    "rate-limited": "shopper-429",
    "never-reachable": "ssh-never",
    "key-never-arrived": "auth-failed",
    "machine-died": "dies-provisioning",
    "ssh-key-refused": "key-never",
    "no-driver": "no-driver",
    "driver-rebuilding": "driver-rebuilding",
}
"""Rules whose failure a scenario plays without a log: the market or the machine itself does it."""
REPLAYED = {
    "host-key-changed": "no simulated machine changes its key",
    "ssh-not-up": "told by the excerpt alone",
    "nothing-listens": "told by the excerpt alone",
    "no-model-at-path": "the scenarios deploy a model of the hub",
    "step-time-limit": "takes as long as the limit",
    "slow-download": "takes a minute; see test_download_rate.py",
    "dead-while-running": "takes longer; see test_engine_killed.py",
}


def test_every_rule_has_a_scenario_or_a_reason_why_not() -> None:
    from gdl.simulator import scenario

    played = set(BY_THE_MARKET)
    for name in scenario.names():
        loaded = scenario.load(name)
        for fault in loaded.fault:
            played.update(scenario.named_logs(fault))
        if loaded.expect is not None:
            played.add(loaded.expect.diagnosed)
    assert set(BY_THE_MARKET.values()) <= set(scenario.names())
    told_by_behaviour = {rule.id for rule in rules if rule.pattern is None}
    assert (SHOWN | told_by_behaviour) - played == set(REPLAYED)


def test_a_killed_engine_in_the_words_of_each_release() -> None:
    for line in (
        "[core_client.py:817] [shutdown] MPClient: engine core exited unexpectedly; starting",
        "[core_client.py:564] Engine core proc EngineCore_DP0 died unexpectedly, shutting down",
        "Worker proc VllmWorker-1 died unexpectedly (exit code: -9), shutting down executor.",
        "RuntimeError: Engine core initialization failed. See root cause above. "
        "Failed core proc(s): {'EngineCore_DP0': -9}",
    ):
        assert diagnose([line]).rule == "engine-killed"


def test_a_remedy_names_the_options_of_the_engine_whose_log_it_is() -> None:
    error = "RuntimeError: CUDA error: operation not permitted when stream is capturing"
    own = rule_engine.diagnose(ALL, ["(EngineCore pid=7) vllm/v1/engine", error], exit_status=1)
    other = rule_engine.diagnose(ALL, ["Scheduler hit an exception:", error], exit_status=1)
    assert other.rule == own.rule
    assert own.action.name == "--enforce-eager" and "--enforce-eager" in own.remedy
    assert other.action.name == "--disable-cuda-graph"
    assert "--disable-cuda-graph" in other.remedy and "--enforce-eager" not in other.remedy


def test_an_option_that_the_engine_does_not_have_is_not_applied_to_it() -> None:
    error = "CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate_v2(&handle)"
    vllm = rule_engine.diagnose(
        ALL, ["(EngineCore pid=7) vllm/v1/engine", f"RuntimeError: {error}"]
    )
    llama = rule_engine.diagnose(
        ALL, ["ggml_cuda_init: found 1 CUDA devices:", f"CUDA error: {error}"]
    )
    assert vllm.rule == llama.rule == "cublas"
    assert vllm.action.words == "start again with --gpu-memory-utilization 0.85"
    assert llama.action.kind is RemedyKind.STOP
    assert "llama.cpp: -c or -ngl" in llama.remedy


def test_what_is_applied_to_sglang_is_an_option_of_sglang() -> None:
    spelled, flags = ALL.spelled("sglang"), server_flags.flags()
    applied = {rule.apply["name"] for rule in ALL.rules if rule.apply.get("kind") == "flag"}
    told = {name: spelled.get(name, name) for name in applied}
    assert {name: other for name, other in told.items() if other and other not in flags} == {}


def test_no_variable_of_vllm_is_set_for_sglang() -> None:
    """It would be started again for nothing, on a machine that is paid for."""
    variables = {rule.apply["name"] for rule in ALL.rules if rule.apply.get("kind") == "env"}
    told = {ALL.spelled("sglang").get(name, name) for name in variables}
    assert [name for name in told if name.startswith("VLLM_")] == []
