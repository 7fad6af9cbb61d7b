"""Mistakes on the command line or in a config, reported in one sentence."""

import inspect
import re
import sys
from collections.abc import Mapping
from difflib import get_close_matches
from pydoc import locate
from typing import Any, NoReturn, get_args, get_type_hints

from jsonargparse import ArgumentParser, Namespace

import zoo
from zoo.data.errors import ZooError, shortened
from zoo.run.trust import refusal

# lines that jsonargparse adds where an option may also be null
NOISE = re.compile(r"Does not validate|Subtypes:|Errors:|Expected a <class 'NoneType'>|Given value")
KEY = re.compile(r'Parser key "([\w.]+)"')
NOT_NEGATIVE = re.compile(r"Not of type NonNegativeInt: .*restriction v>=0")
CHOICES = re.compile(r"typing\.Literal\[([^\]]*)\]")
OTHERS = {"int": "a whole number", "bool": "true or false"}  # types beside words that are given
GIVEN = re.compile(r"(?:Given|Got) value: (\S+)$", re.MULTILINE)
OF_MAPPING = re.compile(r"(Unexpected|Missing required) keys: \{([^}]*)\}")
GIVEN_MAPPING = re.compile(r"Given value: (\{.*\})$", re.MULTILINE)
NOT_ACCEPTED = re.compile(r"Option '([\w.]+)' is not accepted")
NOT_OF_SUBCOMMAND = re.compile(r"Subcommand '(\w+)' does not accept option '([\w.]+)'")
UNRECOGNIZED = re.compile(r"unrecognized arguments: --([\w.]+)")
NOT_A_SUBCLASS = re.compile(
    r"(?:Expected a path but (\S+) .*\s.*|Import path (\S+) .*)subclass of (\w+)", re.DOTALL
)
# not where the class is found and its own module imports a missing one
NO_CLASS = re.compile(
    r"dot import path string: (\S+)"
    r"|class_path '((\w+)[\w.]*)':[-\s]+(?:module|No module named) '\3(?:\.[\w.]+)?'"
)


class ZooParser(ArgumentParser):
    """A parser that takes no abbreviations and names a misspelt option, without the usage.

    Attributes:
        bases: For each option that takes a class, the class that it must be a subclass of.
    """

    bases: Mapping[str, type] = {}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Exits with status 2; raises where jsonargparse goes on to try another type."""
        if not self.exit_on_error:
            super().error(message, ex)
        self.exit(2, f"error: {shortened(self._sentence(message))}\n")

    def _sentence(self, message: str) -> str:
        """What jsonargparse says, shortened."""
        key = KEY.search(message)
        if key and NOT_NEGATIVE.search(message):
            return f"{key[1]} must be a whole number that is not negative"
        denied = refusal(message, key and key[1])
        if denied:
            return denied
        option = NOT_ACCEPTED.search(message)
        if key and option:
            before = message[: option.start()]  # the options that lead to it, and their classes
            owners = re.findall(r"class_path '([\w.]+)'", before)
            if owners and option[1].startswith("recommend"):
                return (
                    f"data.{option[1]}: {owners[-1].rpartition('.')[2]} has no users and items to "
                    "recommend from; datamodules.MovieLens has"
                )
            known = _options_of(owners[-1]) if owners else []
            return _unknown(".".join(KEY.findall(before)), option[1], known)
        name = NO_CLASS.search(message)
        if key and name and key[1] in self.bases:
            return _no_class(key[1], name[1] or name[2], _names(self.bases[key[1]]))
        other = NOT_A_SUBCLASS.search(message)
        if key and key[1] in self.bases and other:
            return f"{key[1]}: {other[1] or other[2]} is not a subclass of zoo.{other[3]}"
        option = UNRECOGNIZED.search(message)
        if option:
            return self._unrecognized(option[1])
        option = NOT_OF_SUBCOMMAND.search(message)  # of a config
        if option and self._subcommands_action:
            return self._subcommands_action._name_parser_map[option[1]]._unrecognized(option[2])
        given = GIVEN.search(message)
        choices = [name for found in CHOICES.findall(message) for name in found.split(", ")]
        tried = [kind for kind in OTHERS if f"Expected a <class '{kind}'>" in message]
        if key and given and choices:
            names = {name.strip("'") for name in choices}
            return _no_choice(
                ".".join(KEY.findall(message)), given[1], names, [OTHERS[kind] for kind in tried]
            )
        keys = OF_MAPPING.search(message)  # of an option that is a mapping of some keys
        if key and keys:
            names, given = keys[2].replace("'", ""), GIVEN_MAPPING.search(message)
            said = f"unknown key {names}" if keys[1] == "Unexpected" else f"it has no {names}"
            return f"{'.'.join(KEY.findall(message))}: {said}{f', got {given[1]}' if given else ''}"
        lines = [line.strip(" -") for line in message.splitlines()]
        return " ".join(line for line in lines if not NOISE.match(line))

    def _unrecognized(self, option: str) -> str:
        parent, _, name = option.rpartition(".")
        prefix = f"{parent}." if parent else ""
        known = [a.dest.removeprefix(prefix) for a in self._actions if a.dest.startswith(prefix)]
        return _unknown(parent, name, known)


def _no_choice(key: str, given: str, known: set[str], others: list[str]) -> str:
    close = get_close_matches(given, sorted(known), 1)
    if others and not close and len(known) < 4:  # of many, the list is what helps
        return f"{key} takes {' or '.join([*others, *sorted(known)])}, got {given}"
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(sorted(known))}"
    return f"{key}: no {key.rpartition('.')[2]} {given}; {hint}"


def check_nulls(section: Any, key: str) -> None:
    """Refuses null as an option that cannot be null, which jsonargparse lets through.

    Args:
        section: Class path and arguments of a model or a datamodule.
        key: The option that holds them, `model` or `data`.
    """
    found = locate(section.class_path) if section.class_path.rpartition(".")[0] else None
    for name, value in vars(section.get("init_args") or Namespace()).items():
        if name == "schema" or value is not None or not isinstance(found, type):
            continue  # the data give the model its schema
        if not _takes_null(found, name):
            raise ZooError(f"{key}.{name} is null, which it cannot be: leave it out")


def _takes_null(owner: type, name: str) -> bool:
    """Whether an argument of a constructor, or of one that it passes it on to, may be None."""
    for base in owner.__mro__:
        given = inspect.signature(base).parameters.get(name) if "__init__" in vars(base) else None
        if given is not None:
            hint = get_type_hints(base.__init__).get(name, Any)
            return hint is Any or given.default is None or type(None) in get_args(hint)
    return True


def _unknown(parent: str, option: str, known: list[str]) -> str:
    prefix = f"{parent}." if parent else ""
    close = get_close_matches(option, known, 1)
    hint = f"did you mean {prefix}{close[0]}?" if close else "--help lists all options"
    return f"unknown option {prefix}{option}; {hint}"


def _no_class(key: str, name: str, known: list[str]) -> str:
    close = get_close_matches(name.rpartition(".")[2], known, 1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(sorted(set(known)))}"
    return f"{key}: no class and no file {name}; {hint}"


def _names(base: type) -> list[str]:
    """The classes below a base, as far as they are imported: all but those that are bases alone."""
    names = []
    for child in base.__subclasses__():
        below = _names(child)
        exported = getattr(sys.modules.get(child.__module__.partition(".")[0]), "__all__", ())
        if not below or (child.__name__ in exported and child.__name__ not in zoo.BASES):
            names.append(child.__name__)
        names += below
    return names


def _options_of(class_path: str) -> list[str]:
    parser = ArgumentParser()
    # what a message names is loaded already; `locate` would import any other module
    found = locate(class_path) if class_path.rpartition(".")[0] in sys.modules else None
    return parser.add_class_arguments(found, fail_untyped=False) if isinstance(found, type) else []
