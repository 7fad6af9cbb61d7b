"""Data that several test files share."""

import json
import os
import shutil
import signal
import tempfile
from collections import Counter
from pathlib import Path
from unittest import mock

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch starts as many threads as there are cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from support.crossing import CRITEO, SHARE
from support.fitting import fit
from support.listening import logs_of, tracks_of
from support.preparation import prepared, ready
from support.ratings import MOVIES, RATINGS, USERS, write_zip
from support.small_checkpoints import fitted, small

from datamodules import Avazu, Criteo, MovieLens, SkipSessions
from datamodules.prepared.engine import Engine
from datamodules.synthetic.clicks import PlantedClicks
from datamodules.synthetic.ratings import PlantedRatings
from datamodules.synthetic.sessions import PlantedSessions
from datamodules.tabular.cross_folders import prepare_cross

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"
AVAZU_COLUMNS = (
    "id,click,hour,C1,banner_pos,site_id,site_domain,site_category,app_id,app_domain,"
    "app_category,device_id,device_ip,device_model,device_type,device_conn_type,"
    "C14,C15,C16,C17,C18,C19,C20,C21"
)
# files that take long for their number of tests: they begin first, so that none is left to one
# process at the end, while the others wait
FIRST = (
    "tests/run/test_demo.py",
    "tests/docs/test_notebooks.py",
    "tests/docs/test_site.py",
    "tests/export/test_rows.py",
    "tests/models/test_exchange.py",
    "tests/house/test_packaging.py",
)
# Tuesday to Sunday, in time order, for shares of 30, 30, 20, 10 and 10 % of the rows
HOURS = {"14102100": 3, "14102113": 3, "14102207": 2, "14102512": 1, "14102623": 1}


def pytest_configure():
    """Ctrl-C works, which shells ignore in what they start in the background, and tables are as
    wide as where no shell has said how wide its terminal is."""
    os.environ.pop("COLUMNS", None)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config, items):
    """Tests on the real samples exist only where these lie beside the repository. Files are in the
    order of `FIRST`, then of their number of tests, in which xdist gives them to its processes."""
    if not SHARED.is_dir():
        absent = [item for item in items if "shared_data" in item.fixturenames]
        items[:] = [item for item in items if item not in absent]
        config.hook.pytest_deselected(items=absent)
    counts = Counter(item.path for item in items)
    first = {ROOT / file: i for i, file in enumerate(FIRST)}
    items.sort(key=lambda item: (first.get(item.path, len(first)), -counts[item.path]))


@pytest.fixture(scope="session")
def shared_data():
    """The folder of the real samples, read-only."""
    return SHARED


@pytest.fixture(scope="session")
def criteo_file(tmp_path_factory):
    """20,000 generated rows in Criteo's raw format, the truth and the logits beside them."""
    path = tmp_path_factory.mktemp("criteo") / "train.txt"
    PlantedClicks(rows=20_000).write(path)
    return path


@pytest.fixture(scope="session")
def criteo_lines(criteo_file):
    """The first 1,000 lines of `criteo_file`, as text."""
    with open(criteo_file) as file:
        return [next(file).rstrip("\n") for _ in range(1000)]


@pytest.fixture(scope="session")
def avazu_lines():
    """3,001 lines in Avazu's raw format, header first, of the five `HOURS`."""
    random = np.random.default_rng(7)
    n = 3000
    hours = np.repeat(list(HOURS), [n // 10 * tenths for tenths in HOURS.values()])
    # skewed, so that each column holds frequent values, rare ones and single ones
    values = (random.pareto(0.8, (n, 21)) * 3).astype(np.int64) % 10_000
    clicks = random.random(n) < np.where(values[:, 0] == 0, 0.4, 0.1)
    rows = [
        f"{10**19 + i},{int(click)},{hour}," + ",".join(f"{v:x}" for v in value)
        for i, (click, hour, value) in enumerate(zip(clicks, hours, values, strict=True))
    ]
    return [AVAZU_COLUMNS, *rows]


@pytest.fixture(scope="session")
def avazu_file(tmp_path_factory, avazu_lines):
    """3,000 rows in Avazu's raw format, in time order."""
    path = tmp_path_factory.mktemp("avazu") / "train.csv"
    path.write_text("\n".join(avazu_lines) + "\n")
    return path


@pytest.fixture
def make_file(tmp_path):
    """Writes lines (text or bytes) to a new file and gives its path."""

    def make(lines, name="train.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(
            b"".join(line.encode() + b"\n" if isinstance(line, str) else line for line in lines)
        )
        return path

    return make


@pytest.fixture
def criteo(tmp_path, make_file):
    """A `Criteo` of lines or of a path, with its prepared folder among the test's files."""

    def make(source, **options):
        path = source if isinstance(source, Path) else make_file(source)
        return Criteo(str(path), **{"prepared": str(tmp_path / "prepared"), **options})

    return make


@pytest.fixture
def avazu(tmp_path, make_file):
    """An `Avazu` of lines or of a path, with its prepared folder among the test's files."""

    def make(source, **options):
        path = source if isinstance(source, Path) else make_file(source, "train.csv")
        return Avazu(str(path), **{"prepared": str(tmp_path / "prepared"), **options})

    return make


@pytest.fixture(scope="session")
def prepared_criteo(criteo_file, tmp_path_factory):
    """The 20,000 generated rows, prepared: (cells of the file, arrays of the splits, folder)."""
    datamodule = Criteo(str(criteo_file), prepared=str(tmp_path_factory.mktemp("prepared")))
    cells = [line.split("\t") for line in criteo_file.read_text().split("\n")[:-1]]
    return cells, prepared(datamodule), datamodule.folder


@pytest.fixture(scope="session")
def shared_criteo(criteo_file, prepared_criteo):
    """A `Criteo` of the 20,000 rows that are prepared already: a test must not change them."""

    def make(**options):
        return Criteo(str(criteo_file), prepared=str(prepared_criteo[2].parent), **options)

    return make


@pytest.fixture(scope="session")
def shared_avazu(avazu_file, tmp_path_factory):
    """An `Avazu` of `avazu_file`, prepared once: a test must not change it."""
    return ready(Avazu(str(avazu_file), prepared=str(tmp_path_factory.mktemp("prepared"))))


@pytest.fixture(scope="session")
def prepared_avazu(shared_avazu):
    """The arrays of `avazu_file`."""
    return prepared(shared_avazu)


@pytest.fixture(scope="session")
def prepared_lines(criteo_lines, tmp_path_factory):
    """The arrays of the first 1,000 rows."""
    folder = tmp_path_factory.mktemp("lines")
    (folder / "train.txt").write_text("\n".join(criteo_lines) + "\n")
    return prepared(Criteo(str(folder / "train.txt"), prepared=str(folder / "prepared")))


@pytest.fixture(scope="session")
def engine(tmp_path_factory):
    """DuckDB with 1 GB."""
    with Engine(tmp_path_factory.mktemp("engine"), "1GB") as engine:
        yield engine


@pytest.fixture(scope="session")
def planted_sessions(tmp_path_factory):
    """The folder of 400 generated sessions of 300 tracks."""
    root = tmp_path_factory.mktemp("sessions") / "root"
    PlantedSessions(sessions=400, tracks=300).write(root)
    return root


@pytest.fixture(scope="session")
def logs(planted_sessions):
    """Rows of the generated logs, as text, cut to sessions of all lengths from 2 to 20."""
    rows = logs_of(planted_sessions)
    sessions = rows.session_id.drop_duplicates()
    lengths = dict(zip(sessions, np.resize(np.arange(2, 21), len(sessions)), strict=True))
    rows["session_length"] = np.minimum(
        rows.session_length.astype(int), rows.session_id.map(lengths)
    ).astype(str)
    return rows[rows.session_position.astype(int) <= rows.session_length.astype(int)].copy()


@pytest.fixture(scope="session")
def tracks(planted_sessions):
    """The generated track table, as text."""
    return tracks_of(planted_sessions)


@pytest.fixture(scope="session")
def shared_sessions(logs, tracks, tmp_path_factory):
    """A `SkipSessions` of `logs` and `tracks`, prepared once: a test must not change it."""
    folder = tmp_path_factory.mktemp("shared_sessions")
    logs.to_csv(folder / "log.csv", index=False)
    tracks.to_csv(folder / "tf.csv", index=False)
    paths = (str(folder / "log.csv"), str(folder / "tf.csv"))
    return ready(SkipSessions(*paths, prepared=str(folder / "prepared"), batch_size=64))


@pytest.fixture
def sessions(tmp_path, logs, tracks, shared_sessions):
    """A `SkipSessions` of rows, with its files and prepared folder among the test's."""

    def make(rows=logs, table=tracks, **options):
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        parts = ((rows, logs, "log.csv"), (table, tracks, "tf.csv"))
        for frame, same, name in parts:
            if frame is same:  # copying is faster than writing
                shutil.copy(Path(shared_sessions.path).with_name(name), folder)
            else:
                frame.to_csv(folder / name, index=False)
        default = {"prepared": str(folder / "prepared"), "batch_size": 64}
        paths = (str(folder / "log.csv"), str(folder / "tf.csv"))
        return SkipSessions(*paths, **{**default, **options})

    return make


@pytest.fixture
def crosses_file(tmp_path):
    """Writes lists of fields, or any content, to interactions.json and gives its path."""

    def make(content, name="interactions.json"):
        if isinstance(content, list):
            interactions = [{"fields": fields, "count": 9} for fields in content]
            content = {"format": 1, "interactions": interactions}
        text = content if isinstance(content, bytes) else json.dumps(content).encode()
        (tmp_path / name).write_bytes(text)
        return str(tmp_path / name)

    return make


@pytest.fixture
def crossed(criteo, criteo_file, crosses_file, prepared_criteo):
    """A `Criteo` of 20,000 rows, prepared where the options allow it, with crosses yet to make."""

    def make(fields=CRITEO, **options):
        options = {"crosses": crosses_file(fields), "cross_min_share": SHARE, **options}
        datamodule = criteo(criteo_file, **options)
        base = prepared_criteo[2]
        if datamodule.folder.name == base.name and not datamodule.folder.exists():
            shutil.copytree(base, datamodule.folder)
        return datamodule

    return make


@pytest.fixture(scope="session")
def shared_crossed(criteo_file, prepared_criteo, tmp_path_factory):
    """The `Criteo` of `crossed`, prepared once: a test must not change it."""
    folder = tmp_path_factory.mktemp("crossed")
    file = folder / "interactions.json"
    interactions = [{"fields": fields} for fields in CRITEO]
    file.write_text(json.dumps({"format": 1, "interactions": interactions}))
    shutil.copytree(prepared_criteo[2], folder / "prepared" / prepared_criteo[2].name)
    made = {"prepared": str(folder / "prepared"), "crosses": str(file), "cross_min_share": SHARE}
    return ready(Criteo(str(criteo_file), **made))


@pytest.fixture
def made_crosses():
    """The members of the crosses that are prepared during a test."""
    with mock.patch("datamodules.tabular.cross_folders.prepare_cross", wraps=prepare_cross) as work:
        yield lambda: [call.kwargs["wanted"].members for call in work.call_args_list]


@pytest.fixture
def movielens(tmp_path):
    """A `MovieLens` of ratings, or of a path, with its prepared folder among the test's files."""

    def make(ratings=RATINGS, users=USERS, movies=MOVIES, **options):
        path = ratings
        if not isinstance(ratings, Path):
            path = tmp_path / f"{len(list(tmp_path.iterdir()))}.zip"
            lines = [f"{u}::{i}::3::{t}" if not isinstance(u, str) else u for u, i, t in ratings]
            write_zip(path, {"ratings.dat": lines, "users.dat": users, "movies.dat": movies})
        small = {"eval_negatives": 1, "prepared": str(tmp_path / "prepared")}
        return MovieLens(str(path), **{**small, **options})

    return make


@pytest.fixture(scope="session")
def planted_ratings(tmp_path_factory):
    """A generated zip of 300 users and 220 movies."""
    path = tmp_path_factory.mktemp("movielens") / "ml.zip"
    PlantedRatings(users=300, items=220).write(path)
    return path


@pytest.fixture
def deepfm(tmp_path):
    """A small checkpoint of a DeepFM, which a test may change."""
    return fitted(small("DeepFM"), tmp_path / "model.ckpt")


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """The current folder, which is the test's own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def fitted_once(tmp_path_factory, criteo_file):
    """The folder in which a DeepFM was fitted on generated Criteo rows: `runs/`, `prepared/`."""
    folder = tmp_path_factory.mktemp("fitted")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        fit(criteo_file, "--trainer.max_epochs=2")
    return folder


@pytest.fixture
def prepared_rows(fitted_once, workplace):
    """The rows of `criteo_file` lie prepared in the current folder, as a fit needs them."""
    shutil.copytree(fitted_once / "prepared", workplace / "prepared")


@pytest.fixture
def run(fitted_once, workplace, prepared_rows):
    """The run directory of a short fit of a DeepFM on generated Criteo rows, the test's own."""
    shutil.copytree(fitted_once / "runs", workplace / "runs")
    return Path("runs/t/version_0")
