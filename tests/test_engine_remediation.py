"""What fixes an environment, in a real shell. Package managers stand in as small scripts."""

from __future__ import annotations

from pathlib import Path

import pytest

from diagnosis_support import diagnose, rules
from engine_support import cpu_host, gpu_host, make_plan
from gdl.diagnosis.rules import Rule
from gdl.domain.remedies import RemedyKind
from gdl.engines.base import Plan
from gdl.settings import Install
from test_engine_scripts import FAKE_UV, program, run, step

NOTES = 'echo "$(basename "$0") $*" >> "$HOME/calls"\n'


def repair(plan: Plan, name: str) -> str:
    return dict(plan.server.repairs)[name]


def older() -> Plan:
    """A release that has three builds for this driver."""
    install = Install(version="0.14.0", installer="uv")
    return make_plan("phi-2", gpu_host(driver="580.65.06"), install=install)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "a work folder"
    folder.mkdir()
    (folder / "pipconf.py").write_text("")
    program(folder / "uv/bin/uv", FAKE_UV)
    program(folder / "venv/bin/python", "#!/bin/sh\necho 3.12\n")
    return folder


def test_every_repair_that_a_rule_names_exists() -> None:
    groups = {"free": "20", "total": "24", "length": "8", "number": "8"}
    named = {r.action(groups).name for r in rules if r.action(groups).kind is RemedyKind.REPAIR}
    assert named == set(dict(older().server.repairs))


def test_another_build_leaves_out_all_wheels_of_the_one_that_did_not_run(work: Path) -> None:
    plan = older()
    install = step(plan, "install").script

    def tried() -> list[str]:
        done = run(install, work)
        assert done.returncode == 0, done.stdout + done.stderr
        return [line for line in done.stdout.splitlines() if "trying" in line]

    assert tried() == ["[gdl] trying uv: vllm==0.14.0 with PyTorch for cu129"]
    for following in ("vllm==0.14.0", "vllm-0.14.0+cu130-cp38-abi3-manylinux1_x86_64.whl"):
        assert run(repair(plan, "another-build"), work).returncode == 0
        assert not (work / "venv").exists()
        assert [line.split()[3] for line in tried()] == [following]
    assert run(repair(plan, "another-build"), work).returncode == 0
    done = run(install, work)
    assert done.returncode == 1 and "[gdl] trying" not in done.stdout
    assert done.stdout.count("skipped, because it did not run on this machine") == 6


def test_with_another_driver_it_may_run(work: Path) -> None:
    plan = older()
    assert run(step(plan, "install").script, work).returncode == 0
    assert run(repair(plan, "another-build"), work).returncode == 0
    again = make_plan(
        "phi-2",
        gpu_host(driver="590.44"),
        install=Install(version="0.14.0", installer="uv"),
    )
    assert "trying uv: vllm==0.14.0 with" in run(step(again, "install").script, work).stdout


def test_where_there_is_one_build_there_is_no_other() -> None:
    assert "another-build" not in dict(make_plan("phi-2", gpu_host()).server.repairs)
    assert "another-build" not in dict(
        make_plan("smollm2-135m", cpu_host(), cpu_allowed=True).server.repairs
    )


@pytest.mark.parametrize(
    ("user", "sudo", "calls"),
    [
        ("0", "exit 1\n", ["apt-get -o DPkg::Lock::Timeout=300 update"]),
        ("1000", NOTES + 'shift; exec "$@"\n', ["sudo -n true"]),
    ],
)
def test_headers_are_installed_by_root_or_by_who_may_become_it(
    work: Path, user: str, sudo: str, calls: list[str]
) -> None:
    tools = work.parent / "tools"
    program(tools / "id", f"#!/bin/sh\necho {user}\n")
    program(tools / "sudo", "#!/bin/sh\n" + sudo)
    program(tools / "apt-get", "#!/bin/sh\n" + NOTES + 'case "$*" in *3.12-dev*) exit 100;; esac\n')
    done = run(repair(older(), "python-headers"), work, PATH=f"{tools}:/usr/bin:/bin")
    assert done.returncode == 0, done.stderr
    told = (work.parent / "calls").read_text().splitlines()
    assert told[: len(calls)] == calls
    by_apt = [line for line in told if line.startswith("apt-get")]
    lock = "apt-get -o DPkg::Lock::Timeout=300"
    assert by_apt == [
        f"{lock} update",
        f"{lock} install -y gcc libc6-dev python3.12-dev",
        f"{lock} install -y gcc libc6-dev python3-dev",
    ]


def test_headers_are_left_alone_by_who_may_not(work: Path) -> None:
    tools = work.parent / "tools"
    program(tools / "id", "#!/bin/sh\necho 1000\n")
    program(tools / "sudo", "#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n")
    program(tools / "apt-get", "#!/bin/sh\n" + NOTES)
    done = run(repair(older(), "python-headers"), work, PATH=f"{tools}:/usr/bin:/bin")
    assert done.returncode == 1 and "only root can" in done.stderr
    assert not (work.parent / "calls").exists()


# -- the remedies that name them -----------------------------------------------------------------

FREE = (
    "ValueError: Free memory on device cuda:0 ({free}/23.64 GiB) on startup is less than desired "
    "GPU memory utilization (0.9, 21.28 GiB)."
)


@pytest.mark.parametrize(
    ("free", "share"),
    [("18.44", "0.76"), ("23.64", "0.98"), ("3.2", ""), ("0.0", ""), ("9.9.9", ""), ("99", "")],
)
def test_a_gpu_that_others_use_in_part_is_used_for_the_rest(free: str, share: str) -> None:
    found = diagnose([FREE.format(free=free)])
    assert found.rule == "gpu-occupied"
    assert found.action.value == share
    assert (found.action.kind is RemedyKind.FLAG) == bool(share)


def test_a_missing_compiler_is_told_as_missing_headers_are() -> None:
    found = diagnose(["RuntimeError: Failed to find C compiler. Please specify via CC."])
    assert found.action is not None
    assert (found.rule, found.action.name) == ("python-headers", "python-headers")


@pytest.mark.parametrize("rule", rules, ids=lambda r: r.id)
def test_a_wait_says_for_how_long(rule: Rule) -> None:
    if rule.kind == "wait":
        assert int(rule.action({}).value) > 0
