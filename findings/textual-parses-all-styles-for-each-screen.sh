#!/usr/bin/env bash
# Version: textual==8.2.8
# Behaviour: Textual 8.2.8 parses every style sheet again whenever a mode's screen is shown first.
#
# One would think that style sheets are parsed once, and again when a theme brings new variables. But a
# new screen counts as one that is behind the application's styles, so App.refresh_css is called for
# it, which sets the variables (the same ones), empties the cache of parsed sheets by that, and parses
# all of them: the application's, and the default styles of each class of widget met so far. The more
# an application has, the longer each of its screens takes to open for the first time; here it was half
# of the processor time. A Stylesheet whose set_variables does nothing when they are the same parses
# none of them.
#
# Seen (how often a sheet was parsed for each of three screens, when it was shown first; "all" means as
# often as there are sheets, or more; and for one that was shown before):
#   second: all, third: all, second again: 0
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q textual==8.2.8
cat > "$folder/modes.py" <<'P'
import asyncio

import textual.css.stylesheet as sheets
from textual.app import App
from textual.screen import Screen
from textual.widgets import Static

parsed = []
original = sheets.parse


def counted(scope, css, read_from, **more):
    parsed.append(read_from)
    return original(scope, css, read_from, **more)


sheets.parse = counted


class Same(Screen):
    """All three are alike: nothing new is to be parsed for any of them."""

    def compose(self):
        yield Static("here")


class Modes(App):
    CSS = "Static { color: $primary; }"
    MODES = {name: Same for name in ("first", "second", "third")}
    DEFAULT_MODE = "first"


async def main():
    app = Modes()
    told = []
    async with app.run_test() as pilot:
        for name in ("second", "third", "second"):
            parsed.clear()
            app.switch_mode(name)
            await pilot.pause()
            count = "all" if len(parsed) >= len(app.stylesheet.source) else len(parsed)
            told.append(f"{name}{' again' if len(told) == 2 else ''}: {count}")
    print(", ".join(told))


asyncio.run(asyncio.wait_for(main(), 60))
P
seen=$("$folder/env/bin/python" "$folder/modes.py")
echo "$seen"
[ "$seen" = "second: all, third: all, second again: 0" ]
