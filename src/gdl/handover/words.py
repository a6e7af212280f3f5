"""What several of the files have in common: the server's words, its environment, notes."""

from __future__ import annotations

from gdl.domain.launch import Launch
from gdl.handover.running import Running
from gdl.handover.writing import groups, shell_path, shell_word

BY_UV = """\
if ! command -v uv >/dev/null 2>&1; then
    python3 -m pip install --quiet --target ./uv uv ||
        curl -LsSf https://astral.sh/uv/install.sh | UV_UNMANAGED_INSTALL="$PWD/uv/bin" sh
    PATH="$PWD/uv/bin:$PATH"
fi
"""


def server(launch: Launch, *, image: bool, model: str, host: str, port: str) -> list[str]:
    """The parts of the command that starts the server, each for a line of its own, in words of a
    POSIX shell; so are model, host and port already."""
    extra = launch.arguments_in_image if image else launch.arguments_installed
    parts = [f"{launch.model_flag} {model}", f"--host {host} --port {port}"]
    parts += [" ".join(map(shell_word, group)) for group in groups((*launch.arguments, *extra))]
    if launch.key_flag:
        parts.append(f'{launch.key_flag} "${launch.key}"')
    return parts


def program(launch: Launch, *, image: bool) -> tuple[str, ...]:
    """The words that start the server, in its image or in an environment."""
    return (launch.program_in_image if image else ()) or launch.program


def start(launch: Launch, *, image: bool) -> str:
    """What begins the command."""
    return " ".join(("exec", *map(shell_word, program(launch, image=image))))


def model_word(launch: Launch) -> str:
    """The model as one word of a shell."""
    return shell_path(launch.model) if launch.local else shell_word(launch.model)


def environment_lines(run: Running, python: str, folder: str = "venv") -> list[str]:
    """Lines of a shell that make the environment and leave it active; or that look for a program
    which has to be there."""
    if not run.launch.install:
        name = shell_word(run.launch.program[0])
        said = shell_word(f"{run.launch.program[0]} is not installed here")
        return [f"command -v {name} >/dev/null || {{ echo {said} >&2; exit 127; }}"]
    # The headers that kernels are compiled with come with uv's own Pythons alone.
    managed = " --managed-python" if run.gpu_count else ""
    return [
        f"uv venv{managed} --python {python} {folder}",
        f". {folder}/bin/activate",
        *run.launch.install,
    ]


def exports(launch: Launch) -> list[str]:
    """The plain variables, as lines of a shell."""
    return [f"export {name}={shell_word(value)}" for name, value in launch.environment]


def notes(run: Running, *, rents: bool) -> list[str]:
    """What is to be known of every file. rents: the tool rents a machine for it."""
    told = [f"{name} is to be set to the endpoint's key; clients send it" for name in _key(run)]
    more = [name for name in run.launch.secrets if name != run.launch.key]
    if more:
        told.append(f"to be set as well: {', '.join(more)}")
    told += run.launch.notes
    if run.launch.local:
        told.append("the model is a folder of the machine that it ran on: bring it, or change it")
    if rents and run.ceiling is None:
        told.append("it ran on a machine of one's own, so no price is known: set one")
    if rents and run.hours is not None:
        told.append(f"it ends after {minutes(run.hours)} minutes, by --max-spend or --hours here")
    return [f"- {note}" for note in told]


def _key(run: Running) -> tuple[str, ...]:
    return (run.launch.key,) if run.launch.key else ()


def minutes(hours: float) -> int:
    """At least one."""
    return max(int(hours * 60), 1)
