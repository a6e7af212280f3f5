"""gdl-tui: a large language model on a rented GPU, from the terminal."""

__version__ = "0.1.0"


def commit() -> str:
    """The commit that this was built from, abbreviated, with a plus where files differed from it;
    in a checkout the one that is checked out. Empty where neither is known.

    A wheel holds it in a file (hatch_build.py); of a checkout git's own files are read, as asking
    git would take longer than all else that `--version` does.
    """
    here = __file__.rpartition("/")[0] or "."
    if told := _first_line(f"{here}/commit.txt"):
        return told
    git = f"{here}/../../.git"
    head = _first_line(f"{git}/HEAD")
    if head.startswith("ref: "):
        name = head.removeprefix("ref: ")
        head = _first_line(f"{git}/{name}") or _packed(f"{git}/packed-refs", name)
    return head[:9]


def version_line() -> str:
    """What `--version` says."""
    built_from = commit()
    return f"gdl-tui {__version__}" + (f" ({built_from})" if built_from else "")


def _first_line(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:  # noqa: PTH123 - pathlib takes longer to import
            return file.readline(200).strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _packed(path: str, name: str) -> str:
    """Of a reference that git keeps with others in one file."""
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123
            lines = (line.split() for line in file)
            return next((words[0] for words in lines if words[1:] == [name]), "")
    except (OSError, UnicodeDecodeError):
        return ""
