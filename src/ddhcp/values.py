"""``dataclass``, made for a program that waits for a hundred of them when it starts.

The standard library writes and compiles up to six functions for each class, which is half of what importing the daemon
takes. Here equality, hash and representation are functions that look the fields up, and only the constructor is written
for the class. That nobody changes a frozen instance is for the type checker to see, to which this is the standard
``dataclass``: constructors need not go around a guard then, which more than halves what they cost.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass", "field", "replace"]


def _nothing(instance: object) -> tuple[()]:
    return ()


def _look_up(names: list[str]) -> Callable[[Any], Any]:
    return attrgetter(*names) if names else _nothing


def _add_comparison(cls: type, names: list[str], *, is_hashed: bool) -> None:
    values = _look_up(names)

    def is_equal(self: Any, other: Any) -> Any:
        return values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented

    def hash_value(self: Any) -> int:
        result: int = values(self).__hash__()
        return result

    methods = {"__eq__": is_equal, "__hash__": hash_value if is_hashed else None}
    if "__eq__" not in vars(cls):
        for name, method in methods.items():
            setattr(cls, name, method)


def _add_representation(cls: type, names: list[str]) -> None:
    def represent(self: Any) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{self.__class__.__qualname__}({shown})"

    if "__repr__" not in vars(cls):
        cls.__repr__ = represent  # type: ignore[method-assign, assignment]


if not TYPE_CHECKING:

    def dataclass(cls=None, /, *, init=True, repr=True, eq=True, frozen=False, slots=False):
        """As :func:`dataclasses.dataclass`, but for what is said above. No class may inherit from another one."""

        def make(cls):
            names = list(inspect.get_annotations(cls))
            special = {name: vars(cls).get(name) for name in names}
            special = {name: value for name, value in special.items() if isinstance(value, dataclasses.Field)}
            if eq:
                compared = [name for name in names if name not in special or special[name].compare]
                _add_comparison(cls, compared, is_hashed=frozen)
            if repr:
                _add_representation(cls, [name for name in names if name not in special or special[name].repr])
            return dataclasses.dataclass(init=init, repr=False, eq=False, slots=slots)(cls)

        return make if cls is None else make(cls)
