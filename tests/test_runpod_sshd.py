"""The command that brings an SSH server to a bare image: run by a real shell, with programs of its
image that stand in for the real ones."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from gdl.backends.runpod import sshd
from waiting import block_until

KEY = "ssh-ed25519 AAAAC3Nza $(touch pwned) `id` 'quoted' gdl"


class Image:
    """A container image in a folder: its programs note that they ran, and one pod of it."""

    def __init__(self, folder: Path) -> None:
        self.programs = folder / "bin"
        self.home = folder / "root"
        self.run = folder / "run/sshd"
        self.notes = folder / "notes"
        for each in (self.programs, self.home, self.run.parent):
            each.mkdir(parents=True)
        for name in ("sh", "mkdir", "chmod", "touch", "grep", "env", "cat", "printf", "rm"):
            (self.programs / name).symlink_to(shutil.which(name) or f"/bin/{name}")
        self.add("ssh-keygen")
        self.add("sleep", "case $1 in 3600) exec /bin/sleep 60;; *) exec /bin/sleep 0.05;; esac")

    def add(self, name: str, script: str = "") -> None:
        path = self.programs / name
        path.unlink(missing_ok=True)
        note = f'echo "{name} $*" >>{self.notes}'
        path.write_text(f"#!/bin/sh\n{note}\n{script}\n")
        path.chmod(0o755)

    def server(self) -> str:
        """The text of an SSH server, for a package that is installed."""
        return f'#!/bin/sh\necho "sshd $*" >>{self.notes}\nexec /bin/sleep 60\n'

    def start(self, unentered_s: float = 3600) -> subprocess.Popen[bytes]:
        home, run = str(self.home), str(self.run)
        (script,) = sshd.command(home=home, run=run, unentered_s=unentered_s)
        # What this computer has is not in the image.
        script = re.sub(r"/usr/(local/)?s?bin/sshd", f"{self.programs}/none", script)
        return subprocess.Popen(
            [*sshd.ENTRYPOINT, script],
            env={
                "PATH": str(self.programs),
                sshd.KEY_VARIABLE: KEY,
                sshd.END_VARIABLE: "http://runpod.test/v2/pods",
                "RUNPOD_API_KEY": "secret",
                "RUNPOD_POD_ID": "pod1",
            },
            cwd=self.home,
            start_new_session=True,
        )

    def ran(self) -> list[str]:
        lines = self.notes.read_text().splitlines() if self.notes.exists() else []
        return [line for line in lines if not line.startswith("sleep ")]


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return Image(tmp_path)


def served(image: Image) -> list[str]:
    """What ran until the server did."""
    pod = image.start()
    try:
        block_until(lambda: any(line.startswith("sshd ") for line in image.ran()), "sshd runs")
        assert pod.poll() is None
    finally:
        os.killpg(pod.pid, signal.SIGKILL)
        pod.wait()
    return image.ran()


def test_a_server_that_is_there_is_started_without_asking_anybody(image: Image) -> None:
    image.add("sshd", "exec /bin/sleep 60")
    image.add("apt-get")
    ran = served(image)
    assert "ssh-keygen -A" in ran and not any("apt-get" in line for line in ran)
    assert "PasswordAuthentication=no" in ran[-1] and "AllowTcpForwarding=yes" in ran[-1]
    # One key may enter, whatever is in it, and nobody else may write there.
    keys = image.home / ".ssh/authorized_keys"
    assert keys.read_text() == f"{KEY}\n"
    assert keys.stat().st_mode & 0o777 == 0o600 and keys.parent.stat().st_mode & 0o777 == 0o700
    assert not (image.home / "pwned").exists()
    # Sessions find the image's programs, and see nothing else of the container's environment.
    assert (image.home / ".ssh/environment").read_text() == f"PATH={image.programs}\n"


def test_a_restart_of_the_container_adds_no_second_key(image: Image) -> None:
    image.add("sshd", "exec /bin/sleep 60")
    served(image)
    image.notes.unlink()
    served(image)
    assert (image.home / ".ssh/authorized_keys").read_text() == f"{KEY}\n"


def test_a_package_that_cannot_be_had_at_first_is_asked_for_again(image: Image) -> None:
    image.add("dpkg")
    (image.home / "server").write_text(image.server())
    image.add(
        "apt-get",
        f"""case "$*" in *update) exit 100;; esac
[ "$(grep -c 'install -y' {image.notes})" -ge 3 ] || exit 100
/bin/cp {image.home}/server {image.programs}/sshd && chmod 755 {image.programs}/sshd""",
    )
    ran = served(image)
    assert sum("install -y" in line for line in ran) == 3
    assert all("DPkg::Lock::Timeout" in line for line in ran if line.startswith("apt-get"))


@pytest.mark.parametrize("manager", ["apk", "dnf", "microdnf", "yum"])
def test_other_distributions_bring_it_likewise(image: Image, manager: str) -> None:
    (image.home / "server").write_text(image.server())
    copied = f"/bin/cp {image.home}/server {image.programs}/sshd"
    image.add(manager, f"{copied} && chmod 755 {image.programs}/sshd")
    assert any(line.startswith(manager) and "openssh-server" in line for line in served(image))


def test_a_server_that_ends_is_started_again(image: Image) -> None:
    image.add("sshd", "exit 255")
    pod = image.start()
    try:
        block_until(lambda: sum("sshd " in line for line in image.ran()) >= 3, "sshd again")
    finally:
        os.killpg(pod.pid, signal.SIGKILL)
        pod.wait()


@pytest.mark.parametrize("program", ["curl", "python3"])
def test_a_pod_that_nobody_enters_ends_itself(image: Image, program: str) -> None:
    image.add("sshd", "exec /bin/sleep 60")
    image.add(program, f"exec /bin/cat >>{image.home}/said")
    pod = image.start(unentered_s=0.01)
    try:
        ending = f"{program} "
        block_until(lambda: any(line.startswith(ending) for line in image.ran()), "it ends itself")
        if program == "curl":
            said = image.home / "said"
            block_until(lambda: said.exists() and "secret" in said.read_text(), "with its key")
    finally:
        os.killpg(pod.pid, signal.SIGKILL)
        pod.wait()
    (first, *_) = [line for line in image.ran() if line.startswith(ending)]
    # Its own key alone, and where no other process sees it.
    assert "secret" not in first
    if program == "curl":
        assert "-X DELETE" in first and first.endswith("http://runpod.test/v2/pods/pod1")
        assert 'header = "Authorization: Bearer secret"' in (image.home / "said").read_text()


def test_a_pod_that_was_entered_goes_on(image: Image) -> None:
    # The SSH server runs ~/.ssh/rc for everybody who enters.
    image.add("sshd", f"/bin/sh {image.home}/.ssh/rc; exec /bin/sleep 60")
    image.add("curl")
    pod = image.start(unentered_s=0.3)
    try:
        block_until(lambda: (image.home / ".ssh/entered").exists(), "somebody has entered")
        block_until(lambda: "sleep 0.3" in image.notes.read_text(), "the hour has begun")
        with pytest.raises(subprocess.TimeoutExpired):
            pod.wait(1)
    finally:
        os.killpg(pod.pid, signal.SIGKILL)
        pod.wait()
    assert not any(line.startswith("curl") for line in image.ran())


def test_what_starts_with_the_machine_is_started(image: Image) -> None:
    image.add("sshd", "exec /bin/sleep 60")
    (image.home / "onstart.sh").write_text('echo "guard $HOME" >>../notes\n')
    assert f"guard {image.home}" in served(image)
