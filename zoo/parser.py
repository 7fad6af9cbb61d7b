"""Mistakes on the command line or in a config, told in one sentence."""

import re
from difflib import get_close_matches
from pydoc import locate
from typing import Any, NoReturn

from jsonargparse import ArgumentParser

# lines that jsonargparse adds where an option may also be null
NOISE = re.compile(r"Does not validate|Subtypes:|Errors:|Expected a <class 'NoneType'>|Given value")
NOT_ACCEPTED = re.compile(r"Option '([\w.]+)' is not accepted")
UNRECOGNIZED = re.compile(r"unrecognized arguments: --([\w.]+)")


class ZooParser(ArgumentParser):
    """A parser that takes no abbreviations and names a misspelt option, without the usage."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Exits with status 2; raises where jsonargparse goes on to try another type."""
        if not self.exit_on_error:
            super().error(message, ex)
        self.exit(2, f"error: {self._sentence(message)}\n")

    def _sentence(self, message: str) -> str:
        """What jsonargparse says, shortened."""
        key = re.search(r'Parser key "([\w.]+)"', message)
        option = NOT_ACCEPTED.search(message)
        if key and option:
            owner = re.search(r"class_path '([\w.]+)'", message)
            known = _options_of(owner[1]) if owner else []
            return _unknown(key[1], option[1], known)
        option = UNRECOGNIZED.search(message)
        if option:
            parent, _, name = option[1].rpartition(".")
            prefix = f"{parent}." if parent else ""
            known = [
                a.dest.removeprefix(prefix) for a in self._actions if a.dest.startswith(prefix)
            ]
            return _unknown(parent, name, known)
        lines = [line.strip(" -") for line in message.splitlines()]
        return " ".join(line for line in lines if not NOISE.match(line))


def _unknown(parent: str, option: str, known: list[str]) -> str:
    prefix = f"{parent}." if parent else ""
    close = get_close_matches(option, known, 1)
    hint = f"did you mean {prefix}{close[0]}?" if close else "--help lists all options"
    return f"unknown option {prefix}{option}; {hint}"


def _options_of(class_path: str) -> list[str]:
    parser = ArgumentParser()
    return parser.add_class_arguments(locate(class_path), fail_untyped=False)
