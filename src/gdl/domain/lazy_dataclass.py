"""The standard library's `dataclass`, but frozen ones get their methods when first called.

`dataclasses` writes six functions for each frozen class and compiles them one by one, which takes
0.6 ms a class, or a third of a short command's time: a program of hundreds of them uses few in one
run. Here a frozen class with slots gets methods that need no compiling, and an `__init__` that is
compiled at the first instance. `fields`, `replace`, `asdict`, pickling and pattern matching work as
ever. Not supported, as nothing here needs it: `InitVar`, and frozen classes of the standard
library's that inherit from these.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(cls: type | None = None, /, **options: Any) -> Any:
        """As `dataclasses.dataclass`."""
        if cls is None and options == {"frozen": True, "slots": True}:
            return _frozen
        return dataclasses.dataclass(cls, **options)


_FACTORY = object()
"""The default of a parameter whose field has a `default_factory`."""


def _frozen(cls: type) -> type:
    """What `dataclass(frozen=True, slots=True)` makes of a class."""
    written = set(cls.__dict__)
    made: Any = dataclasses.dataclass(init=False, repr=False, eq=False, slots=True)(cls)
    fields = dataclasses.fields(made)
    names = tuple(field.name for field in fields)

    def init(self: Any, *args: Any, **values: Any) -> None:
        compiled = _compiled_init(made, fields)
        setattr(made, "__init__", compiled)  # noqa: B010 - a method, to the type checker
        compiled(self, *args, **values)

    def set_attribute(self: Any, name: str, value: Any) -> None:
        if type(self) is made or name in names:
            raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
        super(made, self).__setattr__(name, value)

    def delete_attribute(self: Any, name: str) -> None:
        if type(self) is made or name in names:
            raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
        super(made, self).__delattr__(name)

    def get_state(self: Any) -> list[Any]:
        return [getattr(self, name) for name in names]

    def set_state(self: Any, state: list[Any]) -> None:
        for name, value in zip(names, state, strict=True):
            object.__setattr__(self, name, value)

    methods = {
        "__init__": init,
        "__setattr__": set_attribute,
        "__delattr__": delete_attribute,
        "__getstate__": get_state,
        "__setstate__": set_state,
        **_comparing(fields),
    }
    for name, method in methods.items():
        # Who writes `__eq__` alone gets a `__hash__` of None from Python: this one instead.
        if name not in written or (name == "__hash__" and made.__hash__ is None):
            method.__name__, method.__qualname__ = name, f"{made.__qualname__}.{name}"
            setattr(made, name, method)
    found: type = made
    return found


def _comparing(fields: tuple[dataclasses.Field[Any], ...]) -> dict[str, Callable[..., Any]]:
    """`__repr__`, `__eq__` and `__hash__`, over the fields that are to be shown and compared."""
    shown = [field.name for field in fields if field.repr]
    compared = _values([field.name for field in fields if field.compare])
    hashed = _values([f.name for f in fields if (f.compare if f.hash is None else f.hash)])

    def represent(self: Any) -> str:
        inside = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
        return f"{self.__class__.__qualname__}({inside})"

    def equal(self: Any, other: object) -> Any:
        if other.__class__ is self.__class__:
            return compared(self) == compared(other)
        return NotImplemented

    def hash_of(self: Any) -> int:
        return hash(hashed(self))

    return {"__repr__": represent, "__eq__": equal, "__hash__": hash_of}


def _values(names: list[str]) -> Callable[[Any], Any]:
    """Gives the values of those fields as a tuple."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda one: tuple(getattr(one, name) for name in names)


def _compiled_init(made: type, fields: tuple[dataclasses.Field[Any], ...]) -> Callable[..., None]:
    """The class's own `__init__`, as the standard library would write it."""
    known: dict[str, Any] = {"_factory": _FACTORY}
    positional: list[str] = []
    by_name: list[str] = []
    body: list[str] = []
    for field in fields:
        name, value = field.name, field.name
        known[f"_set_{name}"] = getattr(made, name).__set__
        parameter = name
        if field.default is not dataclasses.MISSING:
            known[f"_default_{name}"] = field.default
            parameter = f"{name}=_default_{name}"
            value = name if field.init else f"_default_{name}"
        elif field.default_factory is not dataclasses.MISSING:
            known[f"_new_{name}"] = field.default_factory
            parameter = f"{name}=_factory"
            value = f"_new_{name}()"
            if field.init:
                value += f" if {name} is _factory else {name}"
        elif not field.init:
            continue
        if field.init:
            (by_name if field.kw_only else positional).append(parameter)
        body.append(f"_set_{name}(self, {value})")
    if hasattr(made, "__post_init__"):
        body.append("self.__post_init__()")
    parameters = ", ".join(["self", *positional, *(["*", *by_name] if by_name else [])])
    text = "\n    ".join([f"def __init__({parameters}):", *(body or ["pass"])])
    exec(text, known)  # noqa: S102 - names of our own fields, as `dataclasses` does it
    compiled: Callable[..., None] = known["__init__"]
    compiled.__qualname__ = f"{made.__qualname__}.__init__"
    return compiled
