"""What a sweep searches: options of a fit, and the values that each may have."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from zoo.data.errors import ZooError
from zoo.data.plain import read_yaml

KEYS = ("low", "high", "step", "log", "values", "when")
# what all trials have in common
FIXED = ("config", "ckpt_path", "monitor", "name", "runs")
MOST_CHECKED = 200  # combinations of classes and conditions


@dataclass(frozen=True)
class Parameter:
    """An option and its values.

    Attributes:
        name: The option, as on the command line.
        values: The values of a choice; empty for a range.
        low: Lowest value of a range.
        high: Highest value of a range.
        step: Distance of the values of a range; None for any real number.
        log: Whether a range is drawn from on a logarithmic scale.
        when: For other options, the values with which this one is searched.
    """

    name: str
    values: tuple[Any, ...] = ()
    low: float = 0
    high: float = 0
    step: float | None = None
    log: bool = False
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    @property
    def labels(self) -> list[Any]:
        """The values of a choice as Optuna stores them: lists and mappings as JSON."""
        return [v if _is_scalar(v) else json.dumps(v) for v in self.values]

    def suggest(self, trial: Any) -> Any:
        """The value that a trial of Optuna has for this option."""
        if self.values:
            drawn = trial.suggest_categorical(self.name, self.labels)
            return self.values[self.labels.index(drawn)]
        if isinstance(self.low, int) and isinstance(self.high, int):
            step = int(self.step or 1)
            return trial.suggest_int(self.name, self.low, self.high, step=step, log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, step=self.step, log=self.log)

    def count(self) -> float:
        """The number of its values."""
        if self.values:
            return len(self.values)
        if self.step is None:
            return math.inf
        return math.floor((self.high - self.low) / self.step + 1e-8) + 1

    def probes(self) -> Sequence[Any]:
        """Values that stand for all in a check of their type."""
        return self.values or (self.low, self.high)


@dataclass(frozen=True)
class Space:
    """The options that a sweep searches.

    Attributes:
        path: File that they are from.
        parameters: The options, in the order of the file.
    """

    path: Path
    parameters: tuple[Parameter, ...]

    def suggest(self, trial: Any) -> dict[str, Any]:
        """The options of a trial of Optuna."""
        found: dict[str, Any] = {}
        for parameter in self.parameters:
            if _holds(parameter, found):
                found[parameter.name] = parameter.suggest(trial)
        return found

    def count(self, most: int) -> int:
        """The number of combinations; of more than `most`, `most`."""
        found, deciding = 0.0, self._deciding()
        for chosen in self._decisions():
            others = (p for p in self.parameters if p not in deciding and _holds(p, chosen))
            found += math.prod(p.count() for p in others)
            if found >= most:
                return most
        return int(found)

    def first(self) -> dict[str, Any]:
        """The first combination."""
        found: dict[str, Any] = {}
        for parameter in self.parameters:
            if _holds(parameter, found):
                found[parameter.name] = parameter.probes()[0]
        return found

    def check(self, parse: Callable[[list[str]], Any]) -> None:
        """Parses each value once, with each class and condition.

        Args:
            parse: Parses the options of a fit.

        Raises:
            ZooError: where the fit takes no such option, or not the value.
        """
        deciding = self._deciding()
        for i, chosen in enumerate(self._decisions()):
            if i == MOST_CHECKED:
                return
            others = [p for p in self.parameters if p not in deciding and _holds(p, chosen)]
            rounds = max((len(p.probes()) for p in others), default=1)
            for j in range(rounds):
                drawn = {p.name: p.probes()[min(j, len(p.probes()) - 1)] for p in others}
                self._parse(parse, chosen, drawn)

    def _parse(
        self, parse: Callable[[list[str]], Any], chosen: dict[str, Any], drawn: dict[str, Any]
    ) -> None:
        try:
            parse(arguments_of({**chosen, **drawn}))
        except ZooError as error:
            parse(arguments_of(chosen))  # which fails where the config is wrong
            for name, value in drawn.items():  # which of them
                try:
                    parse(arguments_of({**chosen, name: value}))
                except ZooError as alone:
                    with_ = "".join(f", with {k}={shown(v)}" for k, v in chosen.items())
                    raise ZooError(f"{self.path}: {name}={shown(value)}{with_}: {alone}") from error
            raise ZooError(f"{self.path}: {error}") from error

    def _deciding(self) -> list[Parameter]:
        """Choices that decide which other options there are: classes, and those of conditions."""
        named = {name for p in self.parameters for name in p.when}
        return [
            p
            for p in self.parameters
            if p.name in named
            or (p.values and any(q.name.startswith(f"{p.name}.") for q in self.parameters))
        ]

    def _decisions(self) -> Iterator[dict[str, Any]]:
        """All combinations of the values of these."""

        def walk(left: list[Parameter], chosen: dict[str, Any]) -> Iterator[dict[str, Any]]:
            if not left:
                yield chosen
            elif not _holds(left[0], chosen):
                yield from walk(left[1:], chosen)
            else:
                for value in left[0].values:
                    yield from walk(left[1:], {**chosen, left[0].name: value})

        yield from walk(self._deciding(), {})

    def infinite(self) -> str | None:
        """Name of an option with any real number; None where the combinations can be listed."""
        return next((p.name for p in self.parameters if p.count() == math.inf), None)

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            p.name: {
                **({"values": [*p.values]} if p.values else {"low": p.low, "high": p.high}),
                **{k: v for k, v in (("step", p.step), ("log", p.log)) if v},
                **({"when": {k: [*v] for k, v in p.when.items()}} if p.when else {}),
            }
            for p in self.parameters
        }


def arguments_of(values: Mapping[str, Any]) -> list[str]:
    """Options as words of a command line; a class comes before its options."""
    return [
        f"--{name}={values[name] if isinstance(values[name], str) else json.dumps(values[name])}"
        for name in sorted(values, key=lambda name: name.count("."))
    ]


def shown(value: Any) -> str:
    """A value as a person reads it."""
    if isinstance(value, float):
        return f"{value:.5g}"
    return value if isinstance(value, str) else json.dumps(value)


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def _holds(parameter: Parameter, chosen: Mapping[str, Any]) -> bool:
    return all(
        any(_same(chosen.get(name, ...), value) for value in values)
        for name, values in parameter.when.items()
    )


def _same(one: Any, other: Any) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)


# Reading


def read_space(path: Path) -> Space:
    """Reads the file of a search space.

    Raises:
        ZooError: where something in it is no option with values.
    """
    content = read_yaml(path)
    if not isinstance(content, dict) or not content:
        raise ZooError(f"{path} (--space) holds no options with values: see docs/sweep.md")
    found: list[Parameter] = []
    for name, spec in content.items():
        where = f"{path}: {name}"
        if not isinstance(name, str):
            raise ZooError(f"{where} is no name of an option")
        if name in FIXED:
            raise ZooError(f"{where} cannot be searched: it is the same for all trials")
        found.append(_parameter(name.removeprefix("--"), spec, where, found))
    return Space(path, tuple(found))


def _parameter(name: str, spec: Any, where: str, before: Sequence[Parameter]) -> Parameter:
    if isinstance(spec, list):
        spec = {"values": spec}
    if not isinstance(spec, dict):
        raise ZooError(
            f"{where} has the one value {spec!r}: give a list of values, or low and high; a value "
            "that all trials have belongs on the command line or in the config"
        )
    for key in spec:
        if key not in KEYS:
            close = get_close_matches(str(key), KEYS, 1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(KEYS)}"
            raise ZooError(f"{where}: unknown key {key}; {hint}")
    when = _conditions(spec.get("when", {}), where, before)
    if "values" in spec:
        others = [key for key in spec if key not in ("values", "when")]
        if others:
            raise ZooError(f"{where} has values, and so no {others[0]}")
        return Parameter(name, _values(spec["values"], where), when=when)
    return Parameter(name, when=when, **_range(spec, where))


def _values(values: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(values, list) or not values:
        raise ZooError(f"{where}: its values must be a list that is not empty, got {values!r}")
    for i, value in enumerate(values):
        if any(_same(value, other) for other in values[:i]):
            raise ZooError(f"{where} lists {shown(value)} twice")
    return tuple(values)


def _range(spec: Mapping[str, Any], where: str) -> dict[str, Any]:
    low, high = (_number(spec, key, where) for key in ("low", "high"))
    step = _number(spec, "step", where) if spec.get("step") is not None else None
    log = spec.get("log", False)
    if not isinstance(log, bool):
        raise ZooError(f"{where}: log must be true or false, got {log!r}")
    if not low < high:
        raise ZooError(f"{where}: low must be below high, got {low} and {high}")
    if log and (low <= 0 or step is not None):
        reason = "low must be positive" if low <= 0 else "there can be no step"
        raise ZooError(f"{where}: on a logarithmic scale {reason}")
    if step is not None and not 0 < step <= high - low:
        raise ZooError(f"{where}: step must be positive and fit between low and high, got {step}")
    whole = all(isinstance(x, int) for x in (low, high, step) if x is not None)
    if whole:
        return {"low": low, "high": high, "step": step or 1, "log": log}
    # Optuna takes the same kind of number for all three
    return {
        "low": float(low),
        "high": float(high),
        "step": None if step is None else float(step),
        "log": log,
    }


def _number(spec: Mapping[str, Any], key: str, where: str) -> int | float:
    if key not in spec:
        raise ZooError(f"{where} has no {key}: give a list of values, or low and high")
    value = spec[key]
    if isinstance(value, str):  # YAML takes 1e-4 for a text, as it has no point
        with suppress(ValueError):
            value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ZooError(f"{where}: {key} must be a number, got {value!r}")
    return value


def _conditions(when: Any, where: str, before: Sequence[Parameter]) -> dict[str, tuple[Any, ...]]:
    if not isinstance(when, dict):
        raise ZooError(f"{where}: when must name other options and their values, got {when!r}")
    known = {p.name: p for p in before}
    found = {}
    for name, values in when.items():
        if name not in known or not known[name].values:
            raise ZooError(
                f"{where}: when names {name}, which must be an option with a list of values that "
                "stands above in the file"
            )
        values = values if isinstance(values, list) else [values]
        for value in values:
            if not any(_same(value, other) for other in known[name].values):
                raise ZooError(f"{where}: when names {name}={shown(value)}, which it never is")
        found[name] = tuple(values)
    return found
