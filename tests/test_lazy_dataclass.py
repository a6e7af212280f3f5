"""Our `dataclass` makes what the standard library's makes, for each way that we use it."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from dataclasses import field, fields, replace
from typing import Any

import pytest
from pydantic import TypeAdapter

from gdl.domain.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Point:
    """A place, and its marks."""

    x: int
    y: int = 2
    marks: list[str] = field(default_factory=list, compare=False)
    note: str = field(default="", repr=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Place(Point):
    """A point that has a name."""

    name: str = "here"

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("no name")


@dataclass(frozen=True, slots=True)
class Alike:
    """Equal to whatever is as long."""

    text: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Alike) and len(self.text) == len(other.text)


@dataclass(frozen=True, slots=True)
class Empty:
    """Of no fields."""


@dataclasses.dataclass(frozen=True, slots=True)
class Theirs:
    """As `Point`, by the standard library."""

    x: int
    y: int = 2
    marks: list[str] = field(default_factory=list, compare=False)
    note: str = field(default="", repr=False, kw_only=True)


Make = Callable[..., Any]


@pytest.mark.parametrize("make", [Point, Theirs])
def test_it_behaves_as_the_standard_librarys(make: Make) -> None:
    one = make(1, note="n")
    assert (one.x, one.y, one.marks, one.note) == (1, 2, [], "n")
    assert one.marks is not make(1).marks
    assert one == make(1, marks=["other"], note="n") and one != make(2, note="n")
    assert hash(one) == hash(make(1, note="n")) == hash((1, 2, "n"))
    assert repr(one) == f"{make.__name__}(x=1, y=2, marks=[])"
    assert replace(one, y=5) == make(1, 5, note="n")
    assert dataclasses.asdict(one) == {"x": 1, "y": 2, "marks": [], "note": "n"}
    assert [each.name for each in fields(one)] == ["x", "y", "marks", "note"]
    assert copy.deepcopy(one) == copy.copy(one) == pickle.loads(pickle.dumps(one)) == one
    assert TypeAdapter(type(one)).validate_python({"x": "3", "note": "n"}) == make(3, note="n")
    assert make.__match_args__ == ("x", "y", "marks")  # type: ignore[attr-defined]
    assert not hasattr(one, "__dict__")


@pytest.mark.parametrize("make", [Point, Theirs])
def test_what_is_frozen_stays_as_it_is(make: Make) -> None:
    one = make(1)
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'x'"):
        one.x = 2
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot delete field 'x'"):
        del one.x
    with pytest.raises((AttributeError, TypeError)):
        one.other = 2
    assert one.x == 1


@pytest.mark.parametrize("make", [Point, Theirs])
def test_wrong_arguments_are_told_as_ever(make: Make) -> None:
    for _ in range(2):  # the first call compiles, the second does not
        with pytest.raises(TypeError, match=rf"{make.__name__}.__init__\(\) missing 1 required"):
            make()
        with pytest.raises(TypeError, match="unexpected keyword argument 'z'"):
            make(1, z=2)
        with pytest.raises(TypeError, match="positional argument"):
            make(1, 2, [], "note")


def test_a_class_may_inherit_and_bring_methods_of_its_own() -> None:
    place = Place(1, name="there", note="n")
    assert (place.x, place.name, place.note) == (1, "there", "n")
    assert place != Point(1, note="n")
    with pytest.raises(ValueError, match="no name"):
        Place(1, name="")
    with pytest.raises(dataclasses.FrozenInstanceError):
        place.x = 2  # type: ignore[misc]
    assert Alike("ab") == Alike("cd") != Alike("abc")
    assert hash(Alike("ab")) == hash(("ab",))
    assert Empty() == Empty() and repr(Empty()) == "Empty()" and hash(Empty()) == hash(())
