"""A frozen dataclass that is cheap to define.

The standard library writes six functions for every dataclass and compiles each when the class is defined; for the facts
of this project that was a fifth of what a viewer did before its first picture. Fields, slots and defaults are still its
work here, but comparing, hashing and printing are shared, and `__init__` is compiled when there are more than a few
instances.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

__all__ = ["FEW", "dataclass"]

FEW = 8  # instances, which most classes do not exceed before the first picture

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    import dataclasses

    def dataclass(*, frozen, slots=False):
        """Define a class as `dataclasses.dataclass(frozen=True)` does; there is no other kind here."""
        assert frozen

        def define(cls):
            # Not called frozen there, since that alone compiles two functions; `_refuse` keeps it so.
            made = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots)(cls)
            names = tuple(f.name for f in dataclasses.fields(made))
            for name, what in _shared(names).items():
                if name not in vars(cls):
                    setattr(made, name, what)

            left = FEW

            def first(self, *given, **named):
                nonlocal left
                left -= 1
                if left < 0 or not _filled(self, dataclasses.fields(made), given, named):
                    made.__init__ = _initialiser(made)
                    made.__init__(self, *given, **named)  # and says what is wrong with the arguments

            made.__init__ = first
            return made

        return define

    def _shared(names):
        """The functions that need no compiling."""
        get = attrgetter(*names) if names else lambda self: ()
        values = get if len(names) != 1 else lambda self: (get(self),)  # one name gives no tuple

        def equal(self, other):
            return values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented

        def told(self):
            return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

        return {
            "__eq__": equal,
            "__hash__": lambda self: hash(values(self)),
            "__repr__": told,
            "__reduce__": lambda self: (type(self), values(self)),
            "__setattr__": _refuse,
            "__delattr__": _refuse,
        }

    def _refuse(self, name, value=None):
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")

    def _filled(self, fields, given, named):
        """Fill an instance field by field; False when the arguments do not fit."""
        values = {f.name: value for f, value in zip(fields, given, strict=False)}
        if len(values) < len(given) or values.keys() & named.keys():
            return False
        values |= named
        for f in fields:
            if f.name in values:
                value = values.pop(f.name)
            elif f.default is not dataclasses.MISSING:
                value = f.default
            elif f.default_factory is not dataclasses.MISSING:
                value = f.default_factory()
            else:
                return False
            object.__setattr__(self, f.name, value)
        return not values

    def _initialiser(cls):
        """`__init__`, as the standard library writes it; a slot is filled without being looked up."""
        given, body, known = ["self"], [], {"put": object.__setattr__, "missing": dataclasses.MISSING}
        for f in dataclasses.fields(cls):
            value = name = f.name
            if f.default is not dataclasses.MISSING:
                known[f"of_{name}"] = f.default
                given.append(f"{name}=of_{name}")
            elif f.default_factory is not dataclasses.MISSING:
                known[f"of_{name}"] = f.default_factory
                given.append(f"{name}=missing")
                value = f"of_{name}() if {name} is missing else {name}"
            else:
                given.append(name)
            if slot := getattr(getattr(cls, name, None), "__set__", None):
                known[f"put_{name}"] = slot
                body.append(f"    put_{name}(self, {value})\n")
            else:
                body.append(f"    put(self, {name!r}, {value})\n")
        source = f"def __init__({', '.join(given)}):\n{''.join(body) or '    pass'}"
        # Compiled first: a Ctrl-C within exec() of a string makes Python kill itself at its end, whoever caught it.
        exec(compile(source, f"<{cls.__name__}>", "exec"), known)  # noqa: S102 - our own fields
        return known["__init__"]
