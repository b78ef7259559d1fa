"""What kube-node-manager asks of PostgreSQL, and what it gets."""

from .kit import NEUTRAL, Panel, above, heat, increase, make, quantiles


def pool(metric: str) -> list:
    return [(f"sum by (state) ({metric}{{@S}})", "{{state}}")]


SERVER = [
    "Server",
    Panel(
        "Connections by application",
        "Open connections to the database by application_name: the api's pool, its writer and its "
        "claims; the relay's pool and its LISTEN; other: everybody else. Every relay sees the same.",
        "none",
        NEUTRAL,
        [
            (
                "sum by (application) (max by (namespace, application) "
                "(knm_relay_pg_connections{@N}))",
                "{{application}}",
            )
        ],
        kind="stacked",
    ),
    Panel(
        "Notification queue",
        "How full PostgreSQL's queue of notifications is. It fills while a session that listens keeps "
        "a transaction open; full, every NOTIFY of the server fails. Alert: over 10 % for 5 minutes.",
        "percentunit",
        above(0.05, 0.1),
        [("max by (namespace) (knm_relay_pg_notification_queue_usage{@N})", "{{namespace}} used")],
        maximum=1,
    ),
    Panel(
        "Connection failures by reason",
        "Attempts to connect that failed, of all connections. authentication and tls mean a wrong or "
        "expired password or certificate, and are an alert.",
        "none",
        above(1, 10),
        increase("knm_pg_connect_failures_total", "reason"),
        kind="bars",
    ),
]

WRITER = [
    "Progress writer",
    Panel(
        "Flush time",
        "One flush of progress rows, from sending to the answer of its commit. Under load the batch "
        "grows instead.",
        "s",
        above(0.05, 0.5),
        quantiles("knm_api_flush_seconds"),
    ),
    Panel(
        "Flush size",
        "Item changes in one flush. It grows with the load: that is how throughput grows.",
        "none",
        NEUTRAL,
        quantiles("knm_api_flush_items"),
    ),
    Panel(
        "Flushes and changes per second",
        "Commits of the writer, and the item changes in them.",
        "ops",
        NEUTRAL,
        [
            ("sum(rate(knm_api_flush_seconds_count{@S}[$__rate_interval]))", "flushes"),
            ("sum(rate(knm_api_flush_items_sum{@S}[$__rate_interval]))", "changes"),
        ],
    ),
    Panel(
        "Flush time, all of them",
        "How many flushes took how long.",
        "s",
        NEUTRAL,
        heat("knm_api_flush_seconds"),
        kind="heatmap",
    ),
    Panel(
        "Flush size, all of them",
        "How many flushes had how many changes.",
        "none",
        NEUTRAL,
        heat("knm_api_flush_items"),
        kind="heatmap",
    ),
    Panel(
        "Flushes repeated, by reason",
        "no_answer: the connection broke. lock_timeout, locked: somebody holds a row. data: an item "
        "that cannot be stored. queue_full: stored without its notification.",
        "none",
        above(1, 20),
        increase("knm_api_flush_retries_total", "reason"),
        kind="bars",
    ),
    Panel(
        "Stored without notification",
        "Flushes whose notification the server refused because its queue is full. Alert: any.",
        "none",
        above(1, 10),
        increase("knm_api_notify_failures_total", "pod"),
        kind="bars",
    ),
]

POOLS = [
    "Pools",
    Panel(
        "Pool of the apis",
        "Connections of the pools of requests and claims, all replicas together. waiting: callers for "
        "whom there was none; should be 0.",
        "none",
        NEUTRAL,
        pool("knm_api_db_pool"),
    ),
    Panel(
        "Pool of the relays",
        "The same for the relays' reads.",
        "none",
        NEUTRAL,
        pool("knm_relay_db_pool"),
    ),
]


def dashboard():
    return make(
        "knm-database",
        "kube-node-manager / Database",
        "What kube-node-manager asks of PostgreSQL, and what it gets.",
        [SERVER, WRITER, POOLS],
    )
