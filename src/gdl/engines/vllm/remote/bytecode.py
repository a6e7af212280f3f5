"""Compiles what a program will import: `python bytecode.py RECORD MODULE...`, on the machine.

Without byte code the first start of vLLM compiles some 5 000 files one after the other, on one
processor; here all of them do, beside the download of what is still missing. Nothing is imported:
each file is read as an import would read it, which writes its byte code, and names what it imports
when it is imported itself. Modules that are not there are skipped. What cannot be compiled or
written is left to the import, which tells of it. RECORD: a file with what an earlier run has done,
and what it looked for in vain; it is written anew.
"""

import dis
import json
import multiprocessing
import os
import sys
import sysconfig
from importlib.machinery import SourceFileLoader
from pathlib import Path

SITE = Path(sysconfig.get_path("purelib"))
MOST_AT_ONCE = 8
CHUNK = 8
UNSAID = ("EXTENDED_ARG", "CACHE", "NOP", "TO_BOOL", "NOT_TAKEN")


def places(name):
    """(file, whether it is a package) of each package on the way to a module, and of itself."""
    folder = SITE
    for part in name.split("."):
        folder = folder / part
        package, module = folder / "__init__.py", folder.with_name(part + ".py")
        if package.is_file():
            yield str(package), True
        elif module.is_file():
            yield str(module), False
            return
        elif not folder.is_dir():
            return


def module_of(path):
    """The name of the module in a file."""
    parts = Path(path).relative_to(SITE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(code, package):
    """The modules that a module's code imports at its top level, and what may be modules of them,
    without what is there for type checkers alone. package: that relative names start from."""
    before, after = [None, None], 0
    for instruction in dis.get_instructions(code):
        if instruction.offset < after or instruction.opname in UNSAID:
            continue
        if before[1] == "TYPE_CHECKING" and "JUMP" in instruction.opname:
            after = instruction.argval
        if instruction.opname == "IMPORT_NAME":
            level, names = before
            name = instruction.argval
            if level:
                above = package.split(".")[: len(package.split(".")) - level + 1]
                name = ".".join([*above, name] if name else above)
            yield name
            for each in names or ():
                yield name + "." + each
        before = [before[1], instruction.argval]


def compiled(place):
    """Compile one file unless that was done; what it imports."""
    path, is_package = place
    name = module_of(path)
    try:
        code = SourceFileLoader(name, path).get_code(name)
        return set(imported(code, name if is_package else name.rpartition(".")[0]))
    except Exception:
        return set()


def main(record, roots):
    try:
        done, missing = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        done, missing = [], []
    names, known, files, absent = {*roots, *missing}, set(), {*done}, set()
    count = min(len(os.sched_getaffinity(0)), MOST_AT_ONCE)
    with multiprocessing.get_context("fork").Pool(count) as pool:
        while names:
            known |= names
            wave = set()
            for name in names:
                found = list(places(name))
                wave.update(found)
                if not found:
                    absent.add(name)
            fresh = sorted(place for place in wave if place[0] not in files)
            files.update(path for path, _ in fresh)
            names = set().union(*pool.imap_unordered(compiled, fresh, CHUNK)) - known
    print("[gdl] byte code of " + str(len(files)) + " modules is there")
    record.write_text(json.dumps([sorted(files), sorted(absent)]), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
