"""Functions with options: compared by options, for `jit` and `pickle`, and printed as written."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Partial:
    """`functools.partial` with keywords only, compared by value and not by identity.

    >>> half = Partial.of(round, ndigits=1)
    >>> half(0.25), half == Partial.of(round, ndigits=1), half
    (0.2, True, round(ndigits=1))
    """

    function: Callable
    options: tuple[tuple[str, Any], ...]
    name: str = dataclasses.field(default="", compare=False)

    @classmethod
    def of(cls, function: Callable, name: str = "", **options: Any) -> "Partial":
        return cls(function, tuple(options.items()), name)

    def __call__(self, *args: Any) -> Any:
        return self.function(*args, **dict(self.options))

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self.options)
        return f"{self.name or self.function.__name__}({options})"


def written(make: Callable, **options: Any) -> str:
    """The options of a call that are not the defaults.

    >>> def make(size=1, name=None): ...
    >>> written(make, size=2, name=None)
    'size=2'
    """
    defaults = {name: given.default for name, given in inspect.signature(make).parameters.items()}
    shown = [f"{name}={value!r}" for name, value in options.items() if value != defaults[name]]
    return ", ".join(shown)
