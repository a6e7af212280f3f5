#!/usr/bin/env bash
# Version: textual==8.2.8
# Behaviour: Textual 8.2.8: keys that come together are not taken in their order: Ctrl+U in an Input deletes what is typed behind it.
#
# A focused Input takes characters when the key arrives. The keys of its bindings (Ctrl+U, Backspace,
# the arrows) bubble up to the app first, whose queue runs the action later. When several keys are
# read at once, as from a paste, a script, or a computer that was busy for a moment, the characters
# overtake: "Ctrl+U 2048" leaves an empty field, and "12 Backspace 3" leaves "12".
#
# Seen, each begun with 8192 in the field and its cursor at the end:
#   ctrl+u 2 0 4 8: ''
#   1 2 backspace 3: '819212'
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q textual==8.2.8
cat > "$folder/keys.py" <<'P'
import asyncio

from textual.app import App
from textual.events import Key
from textual.widgets import Input


class Typed(App):
    def compose(self):
        yield Input("8192", select_on_focus=False)


async def main():
    for keys in ("ctrl+u 2 0 4 8", "1 2 backspace 3"):
        app = Typed()
        async with app.run_test() as pilot:
            line = app.query_one(Input)
            line.focus()
            line.cursor_position = 4
            await pilot.pause()
            for key in keys.split():
                app.post_message(Key(key, key if len(key) == 1 else None))
            for _ in range(10):
                await pilot.pause()
            print(f"{keys}: {line.value!r}")


asyncio.run(main())
P
seen=$("$folder/env/bin/python" "$folder/keys.py")
echo "$seen"
[ "$seen" = "ctrl+u 2 0 4 8: ''
1 2 backspace 3: '819212'" ]
