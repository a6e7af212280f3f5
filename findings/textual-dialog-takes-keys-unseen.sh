#!/usr/bin/env bash
# Version: textual==8.2.8
# Behaviour: Textual 8.2.8: a screen that was pushed takes keys before it is drawn for the first time.
#
# push_screen makes a modal screen the active one at once, and its bindings work from then on; its
# first frame comes later, after compose, mount, styles and layout. On a busy computer that takes
# tenths of a second. A key that the user typed for what was on the screen before answers a question
# that nobody has seen: "y" confirms it. So such a screen has to compare the time of a key with that
# of its first refresh.
#
# Seen, in this order (a callback after the first refresh, and the action of a key that was posted just
# behind push_screen):
#   answered, drawn
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q textual==8.2.8
cat > "$folder/dialog.py" <<'P'
import asyncio

from textual.app import App
from textual.events import Key
from textual.screen import ModalScreen
from textual.widgets import Button, Static


class Question(ModalScreen):
    BINDINGS = [("y", "yes", "Yes")]

    def compose(self):
        yield Static("Spend the money?")
        yield Button("No")

    def on_screen_resume(self):
        self.call_after_refresh(self.app.told.append, "drawn")

    def action_yes(self):
        self.app.told.append("answered")


class Asking(App):
    def __init__(self):
        super().__init__()
        self.told = []


async def main():
    app = Asking()
    async with app.run_test(size=(60, 12)) as pilot:
        app.push_screen(Question())
        app.post_message(Key("y", "y"))
        while len(app.told) < 2:
            await pilot.pause()
    print(", ".join(app.told))


asyncio.run(asyncio.wait_for(main(), 30))
P
seen=$("$folder/env/bin/python" "$folder/dialog.py")
echo "$seen"
[ "$seen" = "answered, drawn" ]
