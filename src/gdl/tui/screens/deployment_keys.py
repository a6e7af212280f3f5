"""The keys of a deployment."""

from __future__ import annotations

from textual.binding import Binding, BindingType

BINDINGS: list[BindingType] = [
    Binding(
        "r", "retry", "Retry", id="deployment.retry",
        tooltip="Take the same offer again; once it is over, deploy it again",
    ),
    Binding(
        "n", "next_offer", "Next", id="deployment.next", tooltip="Take the next offer"
    ),
    Binding(
        "x", "exclude", "Exclude", id="deployment.exclude",
        tooltip="Take the next offer that is not from this provider",
    ),
    Binding(
        "f", "fix", "Fix", id="deployment.fix",
        tooltip="Apply the fix on this machine, and continue there",
    ),
    Binding(
        "m", "change", "Change", id="deployment.change",
        tooltip="Change context, arguments, token or weights, and retry, here while it is kept",
    ),
    Binding(
        "u", "include", "Include", id="deployment.bring_back",
        tooltip="Include a provider that is excluded from this deployment",
    ),
    Binding(
        "a", "automatic", "Auto", id="deployment.automatic",
        tooltip="Automatic failover on or off: whether the next offer is taken without "
                "asking",
    ),
    Binding(
        "y", "copy", "Copy", id="deployment.copy",
        tooltip="Copy export OPENAI_BASE_URL=... and where its key is; or everything about"
                " a failure",
    ),
    Binding(
        "c", "copy_curl", "Copy curl", show=False, id="deployment.curl",
        tooltip="Copy a curl command that asks the model something",
    ),
    Binding(
        "R", "release", "Release", id="deployment.release",
        tooltip="Stop serving and release the machine",
    ),
    Binding(
        "K", "keep", "Keep", id="deployment.keep",
        tooltip="Close the tunnel; the machine keeps serving (and billing)",
    ),
    Binding("t", "talk", "Talk", id="deployment.talk", tooltip="Ask the model something"),
    Binding("b", "health", "Health", id="deployment.health", tooltip="Health and benchmark"),
    Binding("s", "shell", "Shell", id="deployment.shell",
            tooltip="Open a shell on the machine; exit returns here"),
    Binding(
        "l", "next_pane", "Logs", id="deployment.pane",
        tooltip="Next pane: installation, server, timeline",
    ),
    Binding(
        "ctrl+x", "cancel", "Cancel", id="deployment.cancel",
        tooltip="Stop this deployment and release its machine",
    ),
    Binding("comma", "attempt(-1)", "Attempts", id="deployment.earlier",
            tooltip="Look at an earlier attempt: its log, cause and evidence"),
    Binding("full_stop", "attempt(1)", "Later attempt", show=False, id="deployment.later",
            tooltip="Look at a later attempt"),
    Binding("left_square_bracket", "step(-1)", "Previous deployment", show=False,
            id="deployment.previous", tooltip="Previous deployment of this run"),
    Binding("right_square_bracket", "step(1)", "Next deployment", show=False,
            id="deployment.following", tooltip="Next deployment of this run"),
    Binding("escape", "app.show('offers')", "Back", show=False, id="deployment.back",
            tooltip="Go to the offers"),
]  # fmt: skip
