"""Whether browsers see progress, and how soon."""

from .kit import BAD, NEUTRAL, OK, WARN, Panel, above, heat, increase, make, quantiles

STATES = [
    (1, "lost", BAD),
    (2, "connecting", WARN),
    (3, "verifying", "yellow"),
    (4, "live", OK),
    (5, "polling by configuration", "blue"),
]
_WORDS = {1: "lost", 2: "connecting", 3: "verifying", 4: "live", 5: "disabled"}
STATE = "sum by (pod, instance) (%s)" % " or ".join(
    f'knm_relay_listener_state{{@S, state="{word}"}} * {value}' for value, word in _WORDS.items()
)
# A relay that polls by configuration has no heartbeats.
HEARTBEAT_AGE = """
max by (pod, instance) (time() - (knm_relay_listener_last_heartbeat_timestamp_seconds{@S} > 0))
"""

LISTENER = [
    "Listener",
    Panel(
        "State",
        "What each relay's LISTEN connection is doing. Live means proven: heartbeats sent over another "
        "connection come back on it. Otherwise progress is read every poll_interval.",
        "none",
        NEUTRAL,
        [(STATE, "{{pod}} {{instance}}")],
        kind="states",
        width=16,
        mappings=STATES,
        minimum=None,
    ),
    Panel(
        "Heartbeat age",
        "Time since a heartbeat last came back; there is one every 5 seconds. Alert: over 30 seconds "
        "while the state says live.",
        "s",
        above(15, 30),
        [(HEARTBEAT_AGE, "{{pod}} {{instance}}")],
    ),
    Panel(
        "Connection failures by reason",
        "Attempts of the LISTEN connection that failed, and connections that were lost. Alert: more "
        "than 3 within 10 minutes.",
        "none",
        above(1, 3),
        increase("knm_relay_listener_connect_failures_total", "reason"),
        kind="bars",
    ),
    Panel(
        "Reconnects",
        "Attempts to connect after the first.",
        "none",
        above(1, 10),
        increase("knm_relay_listener_reconnects_total", "pod"),
        kind="bars",
    ),
    Panel(
        "Notifications by result",
        "ok: taken as they were. Everything else leads to a read: unconfirmed came from a session that "
        "is not known to be ours; unknown_version from a newer release; unparseable from a stranger.",
        "ops",
        NEUTRAL,
        [
            (
                "sum by (result) (rate(knm_relay_notifications_total{@S}[$__rate_interval]))",
                "{{result}}",
            )
        ],
        kind="stacked",
    ),
]

LATENCY = [
    "Latency",
    Panel(
        "Commit to relay",
        "From the writing statement to the receipt of its notification, the commit included. The guide "
        "asks for less than 100 ms.",
        "s",
        above(0.1, 1),
        quantiles("knm_relay_notify_latency_seconds"),
    ),
    Panel(
        "Commit to browser",
        "From the writing statement to the moment that a browser's socket has taken the frame; only "
        "for those that were following when the change was made.",
        "s",
        above(0.1, 1),
        quantiles("knm_relay_delivery_latency_seconds"),
    ),
    Panel(
        "Heartbeat round trip",
        "From sending a heartbeat to its return: what PostgreSQL and the network cost by themselves.",
        "s",
        above(0.1, 1),
        quantiles("knm_relay_notify_round_trip_seconds"),
    ),
    Panel(
        "Commit to relay, all of them",
        "How many notifications took how long.",
        "s",
        NEUTRAL,
        heat("knm_relay_notify_latency_seconds"),
        kind="heatmap",
    ),
    Panel(
        "Commit to browser, all of them",
        "How many frames took how long.",
        "s",
        NEUTRAL,
        heat("knm_relay_delivery_latency_seconds"),
        kind="heatmap",
    ),
    Panel(
        "Heartbeat round trip, all of them",
        "How many heartbeats took how long.",
        "s",
        NEUTRAL,
        heat("knm_relay_notify_round_trip_seconds"),
        kind="heatmap",
    ),
]

REPAIRS = [
    "Repairs",
    Panel(
        "Gaps",
        "Notifications that did not continue what the relay knew, so that it read the rows. Nothing is "
        "lost. Some are normal after a lost connection; alert: more than 10 within 10 minutes.",
        "none",
        above(3, 10),
        increase("knm_relay_gaps_total", "pod"),
        kind="bars",
    ),
    Panel(
        "Resyncs by reason",
        "Times that clients were sent everything again. epoch and diverged: the database continues "
        "another history (failover, restore). cursor_ahead, foreign_cursor: one client's cursor was of "
        "no use.",
        "none",
        above(1, 50),
        increase("knm_relay_resyncs_total", "reason"),
        kind="bars",
    ),
    Panel(
        "Audit repairs",
        "Tasks that the comparison with the rows every 30 seconds found behind. Should stay 0 while "
        "the listener is live.",
        "none",
        above(1, 5),
        increase("knm_relay_audit_repairs_total", "pod"),
        kind="bars",
    ),
    Panel(
        "Reads",
        "Reads of one task's rows, for whoever comes, for gaps and while polling.",
        "ops",
        NEUTRAL,
        [("sum by (pod) (rate(knm_relay_read_seconds_count{@S}[$__rate_interval]))", "{{pod}}")],
    ),
    Panel(
        "Read time",
        "How long those reads take, waiting for a connection included.",
        "s",
        above(0.5, 2),
        quantiles("knm_relay_read_seconds"),
    ),
    Panel(
        "Read failures",
        "Reads without an answer; they are repeated.",
        "none",
        above(1, 20),
        increase("knm_relay_read_failures_total", "pod"),
        kind="bars",
    ),
]

CLIENTS = [
    "Clients",
    Panel(
        "Sockets",
        "Open WebSockets. relay.max_connections is the most, 12,000 unless configured.",
        "none",
        above(10_000, 12_000),
        [("sum by (pod) (knm_relay_websocket_connections{@S})", "{{pod}}")],
        kind="stacked",
    ),
    Panel(
        "Queue depth",
        "The deepest backlog: notifications held for a task, or steps that a client is behind. A slow "
        "client gets fewer and larger steps and delays nobody. Alert: over 100 for a minute.",
        "none",
        above(50, 100),
        [("max by (pod) (knm_relay_queue_depth{@S})", "{{pod}}")],
    ),
    Panel(
        "Frames",
        "Frames written, all clients together.",
        "ops",
        NEUTRAL,
        [("sum by (pod) (rate(knm_relay_frames_total{@S}[$__rate_interval]))", "{{pod}}")],
    ),
    Panel(
        "Closed by code",
        "Connections that the relay ended. 1012: it was stopping. 4401: session over. 4408: took "
        "nothing for a minute. 4429: too many. 1002 to 1009: what a client sent was wrong.",
        "none",
        NEUTRAL,
        increase("knm_relay_closed_total", "code"),
        kind="bars",
    ),
    Panel(
        "Refused by status",
        "Requests that did not become a WebSocket: 401 not signed in, 403 a foreign page, 503 no room "
        "or no database.",
        "none",
        above(10, 100),
        increase("knm_relay_refused_total", "code"),
        kind="bars",
    ),
    Panel(
        "Bad input by cause",
        "What clients did wrong. The log has one line a cause and minute.",
        "none",
        above(10, 100),
        increase("knm_relay_bad_input_total", "cause"),
        kind="bars",
    ),
]


def dashboard():
    return make(
        "knm-relay",
        "kube-node-manager / Relay",
        "Whether browsers see progress, and how soon.",
        [LISTENER, LATENCY, REPAIRS, CLIENTS],
    )
