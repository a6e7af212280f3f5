#!/usr/bin/env bash
# Version: textual==8.2.8
# Behaviour: Textual 8.2.8: Alt and a digit come as a character, Alt and a letter are typed, too.
#
# Most terminals send an escape and the digit for Alt+1. Textual's table has these for what Option
# and the digit type on a Mac: a binding to alt+1 is never run there, and a TextArea gets an inverted
# exclamation mark. Alt and a letter come as alt+a, but as printable: a focused TextArea types the
# letter, and the binding is not run either.
#
# Seen, with bindings to alt+1 and alt+a on the app and a TextArea in focus:
#   '\x1b1' ['inverted_exclamation_mark'] typed '\xa1'
#   '\x1ba' ['alt+a'] typed 'a'
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q textual==8.2.8
cat > "$folder/keys.py" <<'P'
import asyncio

from textual._xterm_parser import XTermParser
from textual.app import App
from textual.widgets import TextArea


class Shown(App):
    BINDINGS = [("alt+1", "told", "One"), ("alt+a", "told", "A")]
    told = ""

    def compose(self):
        yield TextArea()

    def action_told(self):
        self.told = "bound"


async def main():
    for sent in ("\x1b1", "\x1ba"):
        app = Shown()
        async with app.run_test() as pilot:
            parser = XTermParser()
            # As the driver does: what came, then that nothing more comes.
            keys = [*parser.feed(sent), *parser.feed("")]
            for key in keys:
                app.post_message(key)
            await pilot.pause(0.2)
            typed = app.query_one(TextArea).text
            print(repr(sent), [key.key for key in keys], app.told or f"typed {ascii(typed)}")


asyncio.run(main())
P
said=$("$folder/env/bin/python" "$folder/keys.py")
echo "$said"
diff <(echo "$said") - <<'E'
'\x1b1' ['inverted_exclamation_mark'] typed '\xa1'
'\x1ba' ['alt+a'] typed 'a'
E
echo "as described"
