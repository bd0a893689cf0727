"""The base of every config: strict schemas, and *components*, the parts of a run that are chosen by name.

A component is one class in one file: its fields are what a config may set, its methods do the work.
Defining the class registers it, because every module of its package is imported when the run schema
(`repro.config`) is built. A new network, data set, augmentation or objective is therefore one new file.
"""

import importlib
import pkgutil
from types import ModuleType
from typing import Annotated, Any, ClassVar, Literal, Self, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, model_validator

from repro.errors import blamed_on


class Schema(BaseModel):
    """A frozen record that rejects unknown keys, wrong types, NaN and infinity.

    Defaults are checked like given values: an option `width: float = 1` is 1.0, as in its record, and so has one id.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True)

    later_fields: ClassVar[frozenset[str]] = frozenset()
    """Fields added after run ids were first assigned; their default is the behaviour from before they existed.

    Such a field is left out of the run id at its default, so that earlier records keep their ids. A subclass that
    adds some takes the union with its base's.
    """

    def corrections(self) -> list[str]:
        """Corrections of errors in earlier versions of this code that change what this config computes.

        They are part of the run id: records from before a correction no longer count for such runs, and all other
        records stay valid.
        """
        return []


class Component(Schema):
    """A part of a run chosen by its `name`.

    A direct subclass defines a *kind* of part (`Model`, `Dataset`, ...). A subclass of a kind that declares
    `name: Literal["x"] = "x"` is one choice of that kind and is added to the kind's `registry`.
    """

    registry: ClassVar[dict[str, type[Any]]] = {}

    @model_validator(mode="after")
    def _can_be_a_key(self) -> Self:
        """Configs are compared and looked up by their options, which therefore must never change."""
        for option in type(self).model_fields:
            try:
                hash(getattr(self, option))
            except TypeError as error:
                raise ValueError(f"{type(self).__name__}, option '{option}': {error}; declare it as a tuple") from error
        return self

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if Component in cls.__bases__:
            cls.registry = {}
            return
        if "name" not in cls.__annotations__:
            return  # an intermediate base class, not a choice of its own
        # As resolved by pydantic: with `from __future__ import annotations` it would be a string.
        annotation: Any = cls.model_fields["name"].annotation
        if get_origin(annotation) is not Literal:
            raise TypeError(f"{cls.__module__}.{cls.__name__} must state its name as a Literal, not {annotation}")
        (name,) = get_args(annotation)
        if (default := cls.model_fields["name"].default) != name:
            raise TypeError(f"{cls.__module__}.{cls.__name__}: its name is '{name}' by type and {default!r} by default")
        # Pydantic asks for fields without a value when an instance is made, but not for those of the class.
        missing = {field for field in cls.__class_vars__ if not hasattr(cls, field)} | cls.__abstractmethods__
        if missing:
            raise TypeError(f"{cls.__module__}.{cls.__name__} must define {', '.join(sorted(missing))}")
        known = cls.registry.get(name)
        if known is not None and known.__module__ != cls.__module__:
            raise TypeError(f"{cls.__module__} and {known.__module__} both define the component '{name}'")
        cls.registry[name] = cls


def choices(kind: type[Component]) -> Any:
    """The schema type "one of the registered components of this kind", discriminated by `name`."""
    members = tuple(kind.registry.values())
    if len(members) == 1:
        return members[0]
    return Annotated[Union[members], Field(discriminator="name")]  # noqa: UP007  (a union of a computed tuple)


def discover(package: ModuleType) -> None:
    """Import every module of `package`, so that the components defined there are registered.

    Raises BadInput if one of them, which may be the user's, cannot be imported.
    """
    for module in pkgutil.iter_modules(package.__path__, prefix=f"{package.__name__}."):
        with blamed_on(f"{module.name} cannot be imported"):
            importlib.import_module(module.name)
