"""Classes that an option names as plain data: a name, or a class path and arguments.

optimizer: adamw
optimizer: {class_path: torch.optim.AdamW, init_args: {betas: [0.9, 0.99]}}
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from zoo.data.errors import ZooError
from zoo.models.installed import is_installed

ClassSpec = str | dict[str, Any]


def checked_spec(option: str, given: Any) -> ClassSpec:
    """What an option names, as plain data that a checkpoint can hold.

    Args:
        option: Name of the option, for messages.
        given: Its value.

    Raises:
        ZooError: where it is neither a name nor a class path with arguments.
    """
    if isinstance(given, str):
        return given
    if not isinstance(given, Mapping) or not isinstance(given.get("class_path"), str):
        raise ZooError(
            f"model.{option} must be a name, or a class_path with init_args, got {given!r}"
        )
    arguments = given.get("init_args") or {}
    if not isinstance(arguments, Mapping) or not all(isinstance(name, str) for name in arguments):
        raise ZooError(f"model.{option}.init_args must be names with values, got {arguments!r}")
    # an argument beside class_path is one too: so the command line gives --model.optimizer.betas
    others = {str(name): given[name] for name in given if name not in ("class_path", "init_args")}
    arguments = {**others, **arguments}
    plain = {name: _plain(f"{option}.{name}", value) for name, value in arguments.items()}
    return {"class_path": given["class_path"], "init_args": plain}


def _plain(option: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(f"{option}.{name}", item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(option, item) for item in value]
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise ZooError(
        f"model.{option} is a {type(value).__name__}: a checkpoint holds plain data alone, which "
        "are numbers, texts, lists and mappings"
    )


def parts_of(spec: ClassSpec) -> tuple[str, dict[str, Any]]:
    """The name of a class, and the arguments that are given to it."""
    return (spec, {}) if isinstance(spec, str) else (spec["class_path"], spec["init_args"])


def same_class(one: ClassSpec | None, other: ClassSpec | None) -> bool:
    """Whether two options name the same class with the same arguments, such as adam and Adam."""
    if one is None or other is None:
        return one is other
    found = [parts_of(spec) for spec in (one, other)]
    (name, arguments), (named, given) = found
    last = [text.rpartition(".")[2].lower() for text in (name, named)]
    return last[0] == last[1] and arguments == given


def check_name(option: str, spec: ClassSpec, known: Mapping[str, type]) -> None:
    """Refuses a name without a module that is none of the known ones; nothing is imported."""
    name, _ = parts_of(spec)
    if "." not in name and name.lower() not in known:
        raise ZooError(
            f"model.{option} must be one of {', '.join(sorted(known))}, or a class_path such as "
            f"my_package.Mine, got {name!r}"
        )


def class_of(
    option: str,
    spec: ClassSpec,
    known: Mapping[str, type],
    base: type,
    beside: Iterable[Path] = (),
) -> Any:
    """The class that an option names.

    Only what is installed is imported (see `zoo.models.installed`), and what is loaded already.

    Args:
        option: Name of the option, for messages.
        spec: Its value.
        known: Classes that go by a name without a module, in small letters.
        base: What it must be a subclass of.
        beside: Folders of the config that names it, from which no code is taken.

    Raises:
        ZooError: where there is no such class, or its module is not installed.
    """
    check_name(option, spec, known)
    name, _ = parts_of(spec)
    module, _, attribute = name.rpartition(".")
    if not module:
        return known[name.lower()]
    if module not in sys.modules and not is_installed(module, beside):
        raise ZooError(
            f"model.{option} names {name}, whose module is not installed: install its package, or "
            "name a folder that you trust in PYTHONPATH"
        )
    try:
        found = getattr(import_module(module), attribute, None)
    except ImportError as error:
        raise ZooError(f"model.{option}: {name} cannot be imported: {error}") from error
    if not isinstance(found, type) or not issubclass(found, base):
        raise ZooError(
            f"model.{option}: {name} is no {base.__name__} of torch; see "
            f"{base.__module__.removesuffix('.optimizer')}"
        )
    return found


def classes_of(module: ModuleType, base: type, but: Iterable[str] = ()) -> dict[str, type]:
    """The classes of a module, by their names in small letters.

    Args:
        module: A module of torch.
        base: What they are subclasses of.
        but: Names of those that are left out.
    """
    classes = {k: v for k, v in vars(module).items() if isinstance(v, type) and k[0] != "_"}
    return {
        name.lower(): found
        for name, found in classes.items()
        if issubclass(found, base) and found is not base and name not in but
    }


@contextmanager
def arguments_of(option: str, found: type, arguments: Mapping[str, Any]) -> Iterator[None]:
    """Reports what a class of torch or of somebody else says of its arguments.

    Args:
        option: Name of the option that names it.
        found: The class.
        arguments: Its arguments.

    Raises:
        ZooError: with what it says.
    """
    try:
        yield
    except Exception as error:  # whatever such a class raises
        given = ", ".join(f"{name}={value!r}" for name, value in arguments.items()) or "none"
        reason = " ".join(str(error).split())
        raise ZooError(
            f"model.{option}: {found.__name__} cannot train with its arguments ({given}): {reason}"
        ) from error
