"""Reading a log, before any rule: what is its root error, in which wrapping it may ever stand."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable, Iterable

import pytest

from diagnosis_support import Scanner, diagnose
from gdl.diagnosis.reading import read
from gdl.diagnosis.records import Level, Record
from gdl.diagnosis.rule_engine import explain

CORE = "(EngineCore_DP0 pid=512) ERROR 11-01 10:00:00 [core.py:710] "
RAW = "(EngineCore_DP0 pid=512) "
API = "(APIServer pid=1) "


def records(text: str) -> list[Record]:
    return read(enumerate(text.splitlines(), 1)).records


def raised(text: str) -> list[Record]:
    return [record for record in records(text) if record.raised]


def headline(lines: Iterable[str]) -> str:
    return diagnose(list(lines)).headline


def trace(error: str, *functions: str, file: str = "vllm/flux.py") -> list[str]:
    lines = ["Traceback (most recent call last):"]
    for number, function in enumerate(functions or ("run",), 7):
        lines += [
            f'  File "/venv/lib/python3.12/site-packages/{file}", line {number}, in {function}',
            f"    self.{function}(config)",
            "    ^^^^^^^^^^^^^^^^",
        ]
    return [*lines, *error.splitlines()]


def prefixed(prefix: str, lines: Iterable[str]) -> list[str]:
    return [prefix + line for line in lines]


FLUX = trace("ValueError: the flux of 192 is no multiple of 128", "load_model", "create_weights")


def frame_of_v1(inner: list[str]) -> list[str]:
    """What vLLM puts around a failure of its engine: general words before and after, and all of
    it twice."""
    start = "/usr/lib/python3/dist-packages/vllm/v1/engine/core.py"
    head = [
        "EngineCore failed to start.",
        "Traceback (most recent call last):",
        f'  File "{start}", line 701, in run_engine_core',
        "    engine_core = EngineCoreProc(*args, **kwargs)",
    ]
    again = ["Process EngineCore_DP0:", *inner]
    end = trace(
        "RuntimeError: Engine core initialization failed. See root cause above. "
        "Failed core proc(s): {}",
        "wait_for_engine_startup",
    )
    return [*prefixed(CORE, [*head, *inner[1:]]), *prefixed(RAW, again), *prefixed(API, end)]


def test_the_frame_around_a_failed_start_hides_nothing() -> None:
    found = diagnose(frame_of_v1(FLUX))
    assert found.headline == "ValueError: the flux of 192 is no multiple of 128"
    assert found.where == "vllm.flux:create_weights"
    assert found.program == "vllm"


def test_of_an_error_raised_from_another_the_first_is_the_root() -> None:
    said = "The above exception was the direct cause of the following exception:"
    outer = trace("RuntimeError: Worker failed with error 'look above'", "collective_rpc")
    assert headline([*FLUX, "", said, "", *outer]) == FLUX[-1]
    assert headline(prefixed(CORE, [*FLUX, "", said, "", *outer])) == FLUX[-1]


def test_of_an_error_raised_while_another_was_handled_the_later_says_more() -> None:
    said = "During handling of the above exception, another exception occurred:"
    looked = trace("KeyError: 'flux'", "lookup")
    assert headline([*looked, "", said, "", *FLUX]) == FLUX[-1]


def test_the_status_of_the_hub_is_in_the_chain_below_its_general_words() -> None:
    said = "The above exception was the direct cause of the following exception:"
    refused = trace("requests.exceptions.HTTPError: 429 Client Error: Too Many Requests for url: x")
    general = trace(
        "OSError: We couldn't connect to the hub to load the files.\n"
        "Check your internet connection or see how to run in offline mode."
    )
    found = raised("\n".join([*refused, "", said, "", *general]))
    assert [record.error for record in found] == ["HTTPError", "OSError"]
    assert found[1].cause is found[0] and found[0].incident == found[1].incident
    assert found[1].text.endswith("offline mode.")
    assert "429" in headline([*refused, "", said, "", *general])


def test_groups_of_exceptions_are_opened() -> None:
    lines = """\
  + Exception Group Traceback (most recent call last):
  |   File "/venv/lib/python3.12/site-packages/anyio/_backends/_asyncio.py", line 772, in __aexit__
  |     raise BaseExceptionGroup(
  | ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception)
  +-+---------------- 1 ----------------
    | Traceback (most recent call last):
    |   File "/venv/lib/python3.12/site-packages/vllm/flux.py", line 3, in pump
    |     raise FluxError("dry")
    | vllm.flux.FluxError: dry
    +------------------------------------
""".splitlines()
    found = raised("\n".join(lines))
    assert [record.text for record in found] == [
        "ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception)",
        "vllm.flux.FluxError: dry",
    ]
    assert headline(lines) == "vllm.flux.FluxError: dry"


def test_pydantic_tells_the_error_of_the_value() -> None:
    lines = """\
pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig
  Value error, The flux is not supported. [type=value_error, input_value=ArgsKwargs((), {'a': {}}), input_type=ArgsKwargs]
    For further information visit https://errors.pydantic.dev/2.11/v/value_error
"""  # noqa: E501
    (found,) = raised(lines)
    assert (found.text, found.error) == ("ValueError: The flux is not supported.", "ValueError")
    other = lines.replace(
        "Value error, The flux is not supported", "flux\n  Input should be 1 or 2"
    )
    assert (
        headline(other.splitlines()) == "ValidationError: ModelConfig: flux Input should be 1 or 2."
    )


def test_a_traceback_may_begin_in_the_middle_of_a_line_or_of_itself() -> None:
    middle = ["[2025-01-01 10:00:00 TP1] Scheduler hit an exception: " + FLUX[0], *FLUX[1:]]
    (found,) = raised("\n".join(middle))
    assert (found.text, found.stream, len(found.frames)) == (FLUX[-1], "TP1", 2)
    for cut in range(1, len(FLUX)):
        assert headline(FLUX[cut:]) == FLUX[-1]
    cut_path = ['in/site-packages/vllm/flux.py", line 7, in create_weights', *FLUX[5:]]
    assert diagnose(cut_path).where.endswith("vllm.flux:create_weights")


def test_a_traceback_without_its_end_shows_how_far_it_came() -> None:
    assert headline(FLUX[:-1]) == "self.create_weights(config)"


def interleaved(several: list[list[str]], seed: int) -> list[str]:
    chance, queues, lines = random.Random(seed), [list(each) for each in several], []
    while any(queues):
        lines.append(chance.choice([queue for queue in queues if queue]).pop(0))
    return lines


@pytest.mark.parametrize("seed", range(6))
def test_workers_that_write_between_each_other_are_read_apart(seed: int) -> None:
    well = ["INFO 11-01 10:00:00 [gpu_worker.py:99] all is well here"] * 20
    lines = interleaved(
        [
            prefixed("(Worker_TP0 pid=10) ERROR 11-01 10:00:00 [multiproc_executor.py:1] ", FLUX),
            prefixed("(Worker_TP1 pid=11) ERROR 11-01 10:00:00 [multiproc_executor.py:1] ", FLUX),
            prefixed("(Worker_TP2 pid=12) ", well),
        ],
        seed,
    )
    found = raised("\n".join(lines))
    assert [record.text for record in found] == [FLUX[-1]] * 2
    assert {record.stream for record in found} == {"Worker_TP0 pid=10", "Worker_TP1 pid=11"}
    assert all(
        [frame.function for frame in r.frames] == ["load_model", "create_weights"] for r in found
    )
    assert headline(lines) == FLUX[-1]


STAMP = "2025-11-28T19:31:02.123456789Z"
WRAPPINGS: dict[str, Callable[[str], str]] = {
    "docker": lambda x: json.dumps({"log": x + "\n", "stream": "stderr", "time": STAMP}),
    "a JSON logger": lambda x: json.dumps({"level": "error", "ts": 1.5, "message": x}),
    "compose": lambda x: f"vllm-1  | {x}",
    "compose, of a named container": lambda x: f"server    | {x}",
    "a step of an image's build": lambda x: f"#12 0.759 {x}",
    "a step, short": lambda x: f"12.059 {x}",
    "kubectl": lambda x: f"{STAMP} {x}",
    "kubectl --prefix": lambda x: f"[pod/vllm-0/server] {x}",
    "CRI": lambda x: f"{STAMP} stderr F {x}",
    "journald": lambda x: f"Nov 28 19:31:02 gpu-host python3[1234]: {x}",
    "journald, ISO": lambda x: f"2025-11-28T19:31:02+0000 gpu-host vllm[12]: {x}",
    "colours": lambda x: f"\x1b[1;36m(EngineCore pid=9)\x1b[0;0m \x1b[31m{x}\x1b[0m",
    "Ray": lambda x: f"\x1b[36m(RayWorkerWrapper pid=1, ip=10.0.0.2)\x1b[0m {x} "
                     "[repeated 7x across cluster] (Ray deduplicates logs by default.)",
    "torchrun": lambda x: f"[rank3]: {x}",
    "numbers of ranks": lambda x: f"[0] [0] {x}",
    "Google": lambda x: f"INFO {STAMP} [resource.labels.containerName: vllm] {x}",
    "glog": lambda x: f"E 11-28 19:31:02 replica.py:121] {x}",
    "Python": lambda x: f"2025-11-28 19:31:02,123 - engine.core - ERROR - {x}",
    "Python, plain": lambda x: f"ERROR:engine.core:{x}",
    "loguru": lambda x: f"2025-11-28 19:31:02.123 | ERROR    | core:run:12 - {x}",
    "an older vLLM": lambda x: f"ERROR 02-22 00:01:41 engine.py:400] {x}",
    "the newest vLLM": lambda x: f"(Worker pid=7) ERROR 02-22 00:01:41 [v1/engine/core.py:4] {x}",
    "all at once": lambda x: f"Nov 28 19:31:02 host run[1]: [rank0]: 2025-11-28 19:31:02 "
                             f"(EngineCore pid=9) ERROR 02-22 00:01:41 [core.py:4] {x}",
}  # fmt: skip


@pytest.mark.parametrize("name", WRAPPINGS)
def test_whatever_stands_before_the_lines(name: str) -> None:
    lines = [WRAPPINGS[name](line) for line in FLUX]
    found = diagnose(lines)
    assert (found.headline, found.where) == (FLUX[-1], "vllm.flux:create_weights")


def test_a_json_logger_may_put_a_traceback_into_one_line() -> None:
    line = json.dumps({"level": "ERROR", "message": "it failed", "exc_info": "\n".join(FLUX)})
    assert headline([line]) == FLUX[-1]


def test_packed_and_wide_files_are_read_in_pieces_of_any_size() -> None:
    text = "\r\n".join(FLUX)
    for data in (
        gzip.compress(text.encode()),
        gzip.compress(text[:200].encode()) + gzip.compress(text[200:].encode()),
        gzip.compress(text.encode() * 2)[:-9],
        text.encode("utf-16"), text.encode("utf-16-be"), text.encode("utf-16-le"),
        text.encode("utf-8-sig"),
    ):  # fmt: skip
        for size in (1, 5, 4096):
            scanner = Scanner()
            for at in range(0, len(data), size):
                scanner.feed(data[at : at + size])
            assert explain(scanner).headline == FLUX[-1], (data[:9], size)


def test_a_damaged_archive_is_read_as_far_as_it_goes() -> None:
    scanner = Scanner()
    scanner.feed(b"\x1f\x8b" + b"no archive at all " * 9)
    assert explain(scanner).rule == "unknown"


def test_what_is_only_a_warning_is_no_error() -> None:
    levels = [(r.level, r.text) for r in records("""\
WARNING 11-01 10:00:00 [config.py:1] the flux is low
/venv/torch/cuda/__init__.py:61: FutureWarning: the flux will go
W1101 10:00:00.1 12 flux.cc:3] low
warning: flux
ERROR 11-01 10:00:00 [config.py:1] no flux
no flux at all
""")]  # fmt: skip
    assert [level for level, _ in levels] == [Level.WARNING] * 4 + [Level.ERROR] * 2
    assert all("flux" in text or text == "low" for _, text in levels)


COMPLAINTS = {
    "error: Request failed after 3 retries: Connection refused (os error 111)": """\
error: Request failed after 3 retries
  cause: Failed to fetch: http://index.example/simple/six/
  cause: error sending request for url (http://index.example/simple/six/)
  cause: Connection refused (os error 111)
""",
    "× Failed to download `flux==1.2`: Failed to download distribution due to network timeout. "
    "Try increasing UV_HTTP_TIMEOUT (current value: 30s).": """\
 Downloading onnx
  × Failed to download `flux==1.2`
  ├─▶ Failed to extract archive
  ╰─▶ Failed to download distribution due to network timeout. Try increasing
      UV_HTTP_TIMEOUT (current value: 30s).
""",
    "nvidia-container-cli: initialization error: nvml error: driver not loaded: unknown": """\
docker: Error response from daemon: failed to create shim task: OCI runtime create failed: runc
  create failed: unable to start container process: error running hook #0, stderr: Auto-detected
nvidia-container-cli: initialization error: nvml error: driver not loaded: unknown
""",
}


@pytest.mark.parametrize("wanted", COMPLAINTS)
def test_complaints_of_several_lines_are_one(wanted: str) -> None:
    lines = COMPLAINTS[wanted].splitlines()
    assert headline(lines) == wanted
    (whole,) = [r for r in records(COMPLAINTS[wanted]) if r.head == wanted]
    assert all(line.split()[-1] in whole.text for line in lines[1:])
    worker = prefixed("(Worker_TP1 pid=11) ", ["INFO 11-01 10:00:00 [x.py:1] well"] * 9)
    assert headline(interleaved([lines, worker], 3)) == wanted


def test_crashes_of_other_languages_are_errors_too() -> None:
    thrown = """\
[rank3]:[E321 02:07:08.408271257 ProcessGroupNCCL.cpp:607] [Rank 3] Watchdog caught collective
terminate called after throwing an instance of 'c10::DistBackendError'
  what():  [PG 1 Rank 6] Process group watchdog thread terminated with exception: timed out
Exception raised from checkTimeout at ../torch/ProcessGroupNCCL.cpp:609 (most recent call first):
frame #0: c10::Error::Error(c10::SourceLocation, std::string) + 0x96 (0x7f3b6d41df86 in libc10.so)
"""
    (found,) = raised(thrown)
    assert (found.error, found.module) == ("DistBackendError", "c10")
    assert found.text.endswith("with exception: timed out")
    (panic,) = raised(
        "thread 'main' (12) panicked at src/flux.rs:3:9:\nno flux left\nnote: run with"
    )
    assert panic.text.startswith("Panic: no flux left")
    (fatal,) = raised("""\
Fatal Python error: Segmentation fault

Current thread 0x00007f01 (most recent call first):
  File "/venv/site-packages/vllm/flux.py", line 12 in pump
  File "/venv/site-packages/vllm/main.py", line 3 in run
""")
    assert fatal.text == "FatalPythonError: Segmentation fault"
    assert [frame.function for frame in fatal.frames] == ["run", "pump"]


def test_errors_that_follow_from_others_are_not_the_root() -> None:
    victims = [
        *trace("vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue."),
        *trace("KeyboardInterrupt"),
    ]
    assert headline([*victims[:4], *victims, *FLUX]) == FLUX[-1]


def test_a_terminal_may_have_broken_a_line_in_a_word() -> None:
    first = (
        "RuntimeError: " + "it is most likely that the flux of an earlier run " * 2 + "has been cor"
    )
    (found,) = raised(first + "\nrupted by it.")
    assert "corrupted by it" in found.text


@pytest.mark.parametrize(
    "goes_on",
    [
        "Downloading numpy-2.3.5-cp312-cp312-manylinux_2_28_x86_64.whl (16.6 MB)",
        "Requirement already satisfied: pip in ./venv/lib/python3.12/site-packages (25.3)",
        "Resolved 161 packages in 1.27s",
        "Fetching 12 files:   8%|8         | 1/12 [00:00<00:07,  1.42it/s]",
    ],
)
def test_an_installer_that_goes_on_is_no_part_of_the_message(goes_on: str) -> None:
    text = "\n".join((*trace("AssertionError"), goes_on))
    assert [record.text for record in raised(text)] == ["AssertionError"]
    text = "\n".join((*trace("ValueError: the first\n  and the second line"), goes_on))
    assert [record.text for record in raised(text)] == ["ValueError: the first and the second line"]


def test_what_a_message_announces_is_part_of_it() -> None:
    text = "\n".join((*trace("OSError: cannot go on:"), "Downloading the weights failed: HTTP 403"))
    said = "OSError: cannot go on: Downloading the weights failed: HTTP 403"
    assert [record.text for record in raised(text)] == [said]


def test_an_error_without_a_colon_has_no_message() -> None:
    text = "\n".join((*trace("AssertionError"), "Triton is installed, but cannot be used."))
    assert [record.text for record in raised(text)] == ["AssertionError"]


@pytest.mark.parametrize("said", ["ValueError: the flux is odd", "ValueError: the flux is odd\n"])
def test_a_loggers_line_ends_the_message_of_an_error_without_a_prefix(said: str) -> None:
    after = "[2026-11-01 10:00:00] Received sigquit from a child process: killed"
    text = "\n".join((*trace(said), after))
    assert [record.text for record in raised(text)] == ["ValueError: the flux is odd"]


def test_how_far_it_came_and_how_it_ended() -> None:
    begun = [
        "(APIServer pid=1) INFO 11-01 10:00:00 [api_server.py:1] vLLM API server version 0.11.0",
        "(APIServer pid=1) INFO 11-01 10:00:00 [utils.py:1] non-default args: {}",
        "(EngineCore pid=2) INFO 11-01 10:00:00 [gpu.py:1] Starting to load model x...",
    ]
    found = diagnose([*begun, *frame_of_v1(FLUX)])
    assert (found.program, found.version, found.state) == ("vllm", "0.11.0", "failed")
    assert found.stage == "loading the model"
    assert diagnose(begun).state == "unfinished"
    ready = "(APIServer pid=1) INFO:     Application startup complete."
    assert diagnose([*begun, ready]).state == "healthy"


@pytest.mark.parametrize(
    "line",
    [
        "ValueError(\"the tide is 'out'\")",
        "ERROR 06-24 19:02:15 [engine.py:165] ValueError(\"the tide is 'out'\")",
        '{"object":"error","message":"the tide is \'out\'","type":"ValueError","code":400}',
        '{"error":{"code":400,"message":"the tide is \'out\'","type":"ValueError"}}',
    ],
)
def test_an_error_is_told_alike_as_python_shows_it_and_as_a_server_answers_it(line: str) -> None:
    (record,) = records(line)
    assert (record.level, record.error) == (Level.ERROR, "ValueError")
    assert record.text == "ValueError: the tide is 'out'"


def test_words_printed_amid_a_traceback_are_no_source_line() -> None:
    lines = [*FLUX[:2], "The tide must be asked for its consent.", "EOFError: nobody answers"]
    assert "The tide must be asked for its consent." in [
        each.text for each in records("\n".join(lines))
    ]


def test_what_cuda_prints_by_itself_is_an_error_of_its_own() -> None:
    line = "CUDA error (/src/flux_launch.h:188): invalid argument"
    assert headline([line, "RuntimeError: Engine core initialization failed."]) == line


def test_a_line_that_says_itself_that_it_does_not_matter_is_no_error() -> None:
    told = diagnose(["E flux: failed to initialize the tide (this is normal during fitting)"])
    assert (told.known, told.headline) == (False, "")


def test_an_error_as_pytest_shows_it_is_one() -> None:
    found = diagnose(["    assert flux", "E       AssertionError: the flux is off", "x.py:5: E"])
    assert found.headline == "AssertionError: the flux is off"


def test_what_one_process_hands_on_of_another_is_told_without_the_frame() -> None:
    handed = "RuntimeError: Worker failed with error ''Flux' object has no attribute 'x'', please "
    found = diagnose([f"{handed}check the stack trace above for the root cause"])
    assert found.headline == "AttributeError: 'Flux' object has no attribute 'x'"


def test_frames_of_windows_are_read_as_others_are() -> None:
    lines = [
        FLUX[0],
        '  File "C:\\venv\\Lib\\site-packages\\vllm\\flux.py", line 2, in f',
        "    x()",
    ]
    assert diagnose([*lines, FLUX[-1]]).where == "vllm.flux:f"


@pytest.mark.parametrize(
    "typed",
    [
        "$ uv sync --prerelease=allow",
        "(venv) user@host:~/models$ VLLM_USE_MODELSCOPE=true vllm serve some/model",
        "export UV_HTTP_TIMEOUT=300",
        "docker run --gpus all some/image --enforce-eager",
    ],
)
def test_a_command_that_the_log_repeats_is_no_error(typed: str) -> None:
    assert [record.level for record in records(typed)] == [Level.INFO]


def test_what_a_logger_breaks_off_after_its_prefix_has_its_level() -> None:
    broken = (
        "(EngineCore pid=7) WARNING 07-09 01:59:44 [compilation.py:1405]\n  a mode is not supported"
    )
    told = [record for record in records(broken) if "mode" in record.text]
    assert [record.level for record in told] == [Level.WARNING]


def test_an_error_before_a_traceback_that_is_cut_off_is_its_headline() -> None:
    cut = [
        f"{CORE}Exception in worker A while it loads: the disk is upside down, {FLUX[0]}",
        *prefixed(CORE, FLUX[1:3]),
    ]
    assert headline(cut) == "Exception in worker A while it loads: the disk is upside down"
