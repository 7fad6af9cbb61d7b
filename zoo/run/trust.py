"""What configs may import: installed packages, and what the user names on the command line.

A config that somebody sent runs no code of its own. jsonargparse imports by name wherever an option
takes a class or a function, also in files that a config names in turn; it asks its own list of
import paths each time, and that list is made here.
"""

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, get_loader, set_loader, set_parsing_settings
from jsonargparse import _common as jsonargparse_settings
from yaml import YAMLError

from zoo.data.errors import ZooError
from zoo.data.plain import check_yaml
from zoo.models.installed import below, folders_of, installed_packages

FILES = ("--config", "-c", "--ckpt_path", "--space")  # whose values are files
NAMES = re.compile(r"(?<![\w./\\-])[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+(?![\w./\\-])")
CHECKPOINTS = re.compile(r"[^\s,\[\]'\"]+\.ckpt")  # several of them, as of detect's --also
NOT_ALLOWED = re.compile(r"Importing '([\w.]+)' is not allow")
# they install and run what a config would name
NEVER = {*sys.stdlib_module_names, "jsonargparse", "pip", "pkg_resources", "setuptools"}
# of the command that runs: its configs with their text, and the folders of what may be foreign
_configs: dict[Path, str] = {}
_folders: list[Path] = []


@contextmanager
def restricted_imports(arguments: Iterable[str], files: Iterable[Path] = ()) -> Iterator[None]:
    """While it lasts, configs import what is installed, loaded, or named in a command line.

    Args:
        arguments: The command line; the values of `--config` and `--ckpt_path` are files, unless
            they are YAML, which names as the rest of the line does.
        files: Further files that may have come with code, such as checkpoints.
    """
    before = dict(jsonargparse_settings.parsing_settings)  # which has no public reader
    configs, checkpoints, named = _parts(arguments)
    sent = (*configs, *checkpoints, *files)
    _folders[:] = [folder for path in sent for folder in folders_of(path)]
    allowed, denied = _paths(_folders, named)
    set_parsing_settings(
        import_path_denylist=["*", *denied],
        import_path_allowlist=[*allowed],
        instantiate_subclass_spec_in_any=False,  # whatever its class, in an option of any type
    )
    _configs.update({path: path.read_text(errors="replace") for path in configs})
    try:
        with _bounded_values():
            yield
    finally:
        jsonargparse_settings.parsing_settings.update(before)
        _configs.clear()
        _folders.clear()


@contextmanager
def _bounded_values() -> Iterator[None]:
    """While it lasts, no file that a config names fills the memory (see `check_yaml`)."""
    ArgumentParser(parser_mode="omegaconf").parse_string("{}")  # which makes that loader
    before = {mode: get_loader(mode) for mode in ("yaml", "omegaconf")}
    try:
        for mode, loader in before.items():
            set_loader(mode, _bounded(loader), (YAMLError,))
        yield
    finally:
        for mode, loader in before.items():
            set_loader(mode, loader, (YAMLError,))


def _bounded(loader: Callable[[str], Any]) -> Callable[[str], Any]:
    def load(text: str) -> Any:
        if "*" in text or "[" in text or "{" in text or ":" in text:  # most values are a word
            try:
                check_yaml(text)
            except YAMLError:
                raise  # it is a text, such as a path
            except ValueError as error:
                raise ZooError(f"a file that a config names, or a value: {error}") from error
        return loader(text)

    return load


def foreign_folders() -> list[Path]:
    """The folders of the configs and checkpoints of the command that runs."""
    return _folders


def refusal(message: str, key: str | None) -> str | None:
    """Why a config may not import a name; None where that is not what jsonargparse says.

    Args:
        message: What jsonargparse says.
        key: The option whose value it is, where that is known.
    """
    denied = NOT_ALLOWED.search(message)
    if not denied:
        return None
    name = denied[1]
    files = [path for path, text in _configs.items() if name in text]
    where = f"{files[0]}: " if files else ""
    option = f"--{key}={name}" if key else "as the value of its option"
    return (
        f"{where}{key or 'an option'} names {name}, which is not imported: its module is not "
        f"installed, and a config may have come with code of somebody else; if you trust it, "
        f"install its package, name its folder in PYTHONPATH, or name it on the command line "
        f"({option})"
    )


def _parts(arguments: Iterable[str]) -> tuple[list[Path], list[Path], set[str]]:
    """The configs and checkpoints of a command line, and the names that it holds."""
    configs, checkpoints, named = list[Path](), list[Path](), set[str]()
    for option, value in _values(arguments):
        if option in FILES and len(value) < 4096 and Path(value).is_file():
            (checkpoints if option == "--ckpt_path" else configs).append(Path(value))
        else:
            checkpoints += map(Path, filter(os.path.isfile, CHECKPOINTS.findall(value)))
            named |= {name for name in NAMES.findall(value) if not name.endswith(".ckpt")}
    return configs, checkpoints, named


def _values(arguments: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The options of a command line with their values, and values without an option."""
    option = ""
    for argument in arguments:
        if argument.startswith("-"):
            option, equals, value = argument.partition("=")
            if equals:
                yield option, value
                option = ""
        else:
            yield option, argument
            option = ""


def _paths(folders: Iterable[Path], named: set[str]) -> tuple[set[str], set[str]]:
    """Import paths that are allowed, and more specific ones that are not."""
    hidden = below(folders)
    loaded = {name.partition(".")[0] for name in [*sys.modules]}
    allowed = (installed_packages(folders) | loaded) - hidden
    for name in named:  # of what lies beside a file, that module alone
        package, module = name.partition(".")[0], name.rpartition(".")[0]
        beside = any(f"{module}.".startswith(f"{path}.") for path in hidden)
        allowed.add(module if beside else package)
    allowed = {path for path in allowed if path.partition(".")[0] not in NEVER}
    return {*filter(_is_dotted, allowed)}, {*filter(_is_dotted, hidden)}


def _is_dotted(path: str) -> bool:
    return all(part.isidentifier() for part in path.split("."))
