"""The study of a sweep: where it is stored, and whether it is the one of this sweep."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from zoo.data.errors import ZooError
from zoo.inspect.table import flat_options, short

ABOUT = "interpretable-zoo"  # attribute of a study: what its trials have in common
FORMAT = 1
# options that change nothing of what a trial comes to
OF_NO_EFFECT = (
    *("name", "runs", "report", "trainer.enable_progress_bar", "trainer.enable_model_summary"),
    *("trainer.logger", "trainer.default_root_dir", "trainer.log_every_n_steps"),
)


@contextmanager
def stored(given: str | None, folder: Path) -> Iterator[BaseStorage]:
    """The storage that `--storage` names.

    Args:
        given: Value of the option.
        folder: Folder of the study's files.

    Raises:
        ZooError: where it cannot be opened.
    """
    if given is not None and "://" not in given:
        yield _journal(Path(given))
        return
    url = given or f"sqlite:///{folder / 'study.db'}"
    try:
        waiting = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}
        storage = RDBStorage(url, waiting)
    except (SQLAlchemyError, ImportError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ZooError(f"--storage: {_without_password(url)} cannot be opened: {reason}") from error
    try:
        yield storage
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise ZooError(f"the storage {_without_password(url)} failed: {reason}") from error
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _journal(path: Path) -> BaseStorage:
    if path.suffix != ".log":
        raise ZooError(
            f"--storage: {path} is neither the URL of a database, such as sqlite:///{path}, nor a "
            "file *.log"
        )
    if not path.absolute().parent.is_dir():
        raise ZooError(f"--storage: there is no folder {path.absolute().parent}")
    return JournalStorage(JournalFileBackend(str(path)))


def _without_password(url: str) -> str:
    try:
        return make_url(url).render_as_string(hide_password=True)
    except SQLAlchemyError:
        return url


def open_study(
    storage: BaseStorage, name: str, direction: StudyDirection, about: Mapping[str, Any]
) -> optuna.Study:
    """The study of that name, which is made where there is none.

    Args:
        storage: Where it is.
        name: Its name.
        direction: Whether the lowest or the highest value of a trial is the best.
        about: What its trials have in common: `monitor`, `space` and `config`.

    Raises:
        ZooError: where the study of that name is of another sweep.
    """
    study = optuna.create_study(
        storage=storage, study_name=name, direction=direction, load_if_exists=True
    )
    before = study.user_attrs.get(ABOUT)
    if before is None:
        if study.get_trials(deepcopy=False):
            raise ZooError(f"the study {name} is not one of sweep: give --study another name")
        study.set_user_attr(ABOUT, {"format": FORMAT, **about})
    else:
        _compare(name, before, about)
    return study


def _compare(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    if before["monitor"] != now["monitor"]:
        found: tuple[str, Any, Any] | None = "--monitor", before["monitor"], now["monitor"]
    else:
        found = next(_differing(before["space"], now["space"], "space"), None) or next(
            _differing(plain_options(before["config"]), plain_options(now["config"]), None), None
        )
    if found is None:
        return
    what, there, here = found
    raise ZooError(
        f"the study {name} has another {what}: {short(there)} there, {short(here)} here; give "
        "--study another name, or the options of before"
    )


def _differing(
    before: Mapping[str, Any], now: Mapping[str, Any], kind: str | None
) -> Iterator[tuple[str, Any, Any]]:
    for key in {**before, **now}:
        if kind is None and (key not in before or key not in now):
            continue  # an option of another version of this project
        if before.get(key) != now.get(key):
            yield (f"{kind} of {key}" if kind else key), before.get(key), now.get(key)


def plain_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """The options that decide what a trial comes to, by their names."""
    return {
        name: value
        for name, value in flat_options(config)
        if not any(name == no or name.startswith((f"{no}.", f"{no}[")) for no in OF_NO_EFFECT)
    }
