"""Whether the installation does its work."""

from .kit import BAD, NEUTRAL, OK, Panel, above, below, heat, increase, make, quantiles

# Of the last hour, as the guide's alert judges it: without dry runs and cancelled tasks.
COMPLETION = """
sum(increase(knm_api_tasks_finished_total{@N, status="completed", dry_run="false"}[1h]))
/ sum(increase(knm_api_tasks_finished_total{@N, status=~"completed|failed", dry_run="false"}[1h]))
"""


def database_wide(metric: str, by: str = "") -> str:
    """Every replica reports the same figure, so only one of each installation counts."""
    inner, outer = (f"namespace, {by}", f" by ({by})") if by else ("namespace", "")
    return f"sum{outer} (max by ({inner}) ({metric}))"


NOW = [
    "Now",
    Panel(
        "Alerts",
        "Alerts of the chosen namespaces that fire. Each has a section in dashboards/README.md.",
        "none",
        above(1, 5),
        [('count(ALERTS{alertname=~"Knm.+", alertstate="firing", @N}) or vector(0)', "firing")],
        kind="stat",
        width=4,
        height=4,
    ),
    Panel(
        "Completion rate",
        "Of the tasks that ended within the last hour, how many were completed. Dry runs and cancelled "
        "tasks are left out. The alert needs 20 tasks and less than 95 %. Empty when none ended.",
        "percentunit",
        below(0.9, 0.95),
        [(COMPLETION, "completed")],
        kind="stat",
        width=4,
        height=4,
        maximum=1,
    ),
    Panel(
        "Unfinished tasks",
        "Tasks that are queued, running or paused, in the whole database.",
        "none",
        NEUTRAL,
        [(database_wide("knm_api_tasks{@N}", "status"), "{{status}}")],
        kind="stat",
        width=6,
        height=4,
    ),
    Panel(
        "Oldest queued",
        "How long the oldest task that nobody works on has been waiting. Alert: over 10 minutes.",
        "s",
        above(300, 600),
        [("max(knm_api_oldest_queued_seconds{@N})", "waiting")],
        kind="stat",
        width=3,
        height=4,
    ),
    Panel(
        "Stuck tasks",
        "Running tasks whose holder is gone and that nobody has taken over. Alert: any, for a minute.",
        "none",
        above(1, 1.5),
        [(database_wide("knm_api_stalled_tasks{@N}"), "stuck")],
        kind="stat",
        width=3,
        height=4,
    ),
    Panel(
        "Listeners live",
        "The share of relays that receive notifications. Those that poll by configuration count as "
        "live. Below 100 %, some browsers see progress late.",
        "percentunit",
        below(0.99, 0.999),
        [
            (
                'sum(knm_relay_listener_state{@S, state=~"live|disabled"})'
                " / sum(knm_relay_listener_state{@S})",
                "live",
            )
        ],
        kind="stat",
        width=4,
        height=4,
        maximum=1,
    ),
]

TASKS = [
    "Tasks",
    Panel(
        "Tasks by status",
        "Unfinished tasks in the database.",
        "none",
        NEUTRAL,
        [(database_wide("knm_api_tasks{@N}", "status"), "{{status}}")],
        kind="stacked",
    ),
    Panel(
        "Tasks ended",
        "Tasks that ended, by their final status; dry runs are left out.",
        "none",
        NEUTRAL,
        increase("knm_api_tasks_finished_total", "status", ', dry_run="false"'),
        kind="bars",
    ),
    Panel(
        "Completion rate",
        "As above, over time. Below the line, the alert fires once 20 tasks have ended.",
        "percentunit",
        below(0.9, 0.95),
        [(COMPLETION, "completed, last hour")],
        maximum=1,
    ),
    Panel(
        "Oldest queued",
        "The wait of the oldest task that nobody works on. It rises when all replicas are busy, or "
        "none claims.",
        "s",
        above(300, 600),
        [("max(knm_api_oldest_queued_seconds{@N})", "waiting")],
    ),
    Panel(
        "Tasks held",
        "Tasks that each replica works on. One that holds none while others are full has just started "
        "or has no connection.",
        "none",
        NEUTRAL,
        [("sum by (pod) (knm_api_tasks_held{@S})", "{{pod}}")],
    ),
    Panel(
        "Takeovers and lost leases",
        "Taken over: from a holder that had died; normal after a node failure. Lost: taken away from a "
        "holder that lived, which stood still or could not reach PostgreSQL.",
        "none",
        above(1, 10),
        [
            ("sum(increase(knm_api_takeovers_total{@S}[$__rate_interval]))", "taken over"),
            ("sum(increase(knm_api_lease_lost_total{@S}[$__rate_interval]))", "lost"),
        ],
        kind="bars",
    ),
]

NODES = [
    "Nodes",
    Panel(
        "Nodes per second by result",
        "Nodes whose work ended.",
        "ops",
        NEUTRAL,
        [("sum by (result) (rate(knm_api_items_total{@S}[$__rate_interval]))", "{{result}}")],
        kind="stacked",
    ),
    Panel(
        "Nodes per second by operation",
        "Nodes whose work ended.",
        "ops",
        NEUTRAL,
        [("sum by (action) (rate(knm_api_items_total{@S}[$__rate_interval]))", "{{action}}")],
        kind="stacked",
    ),
    Panel(
        "Failures by reason",
        "Nodes that failed: refused or not found by the API server; unavailable or conflict until "
        "patience ran out; unfit for what was asked; pods that a drain must not touch; an eviction "
        "that failed; a drain's timeout; unstorable.",
        "none",
        above(1, 50),
        increase("knm_api_item_failures_total", "reason"),
        kind="bars",
    ),
    Panel(
        "Time per node",
        "From the start of a node's work to its end. Drains wait for pods to leave; the others take a "
        "call or two.",
        "s",
        above(60, 300),
        quantiles("knm_api_item_duration_seconds"),
    ),
    Panel(
        "Time per node, all of them",
        "How many nodes took how long.",
        "s",
        NEUTRAL,
        heat("knm_api_item_duration_seconds"),
        kind="heatmap",
    ),
    Panel(
        "Drains that wait",
        "Nodes whose drain waits for a PodDisruptionBudget. Alert: any, for 15 minutes.",
        "none",
        above(1, 20),
        [("sum by (pod) (knm_api_drains_blocked{@S})", "{{pod}}")],
    ),
]

SURROUNDINGS = [
    "Kubernetes and HTTP",
    Panel(
        "Calls to Kubernetes by answer",
        "HTTP status; none: no answer; fenced: not sent, because the lease had run out. 409 and 429 "
        "are tried again.",
        "reqps",
        NEUTRAL,
        [("sum by (code) (rate(knm_api_kube_requests_total{@S}[$__rate_interval]))", "{{code}}")],
        kind="stacked",
    ),
    Panel(
        "Clusters left alone, webhooks",
        "Times that all tasks left a cluster alone for a while, because it answered 429 or 5xx, or not at "
        "all; and tries to tell somebody of a task's end that were in vain.",
        "none",
        above(1, 20),
        [
            ("sum(increase(knm_api_kube_backoffs_total{@S}[$__rate_interval]))", "left alone"),
            *increase("knm_api_webhooks_total", "result", ', result!="delivered"'),
        ],
        kind="bars",
    ),
    Panel(
        "Nodes known",
        "Nodes of each cluster as its watch last told.",
        "none",
        NEUTRAL,
        [("max by (cluster) (knm_api_kube_nodes{@S})", "{{cluster}}")],
    ),
    Panel(
        "Watches",
        "Whether each replica's list of nodes is kept up to date. Alert: not for 5 minutes.",
        "bool_on_off",
        [(None, BAD), (1, OK)],
        [("min by (cluster, pod) (knm_api_kube_watch_live{@S})", "{{cluster}} {{pod}}")],
        maximum=1,
    ),
    Panel(
        "HTTP requests by status",
        "Answers of the api. 5xx are its own faults or a database that is away.",
        "reqps",
        NEUTRAL,
        [
            (
                "sum by (code) "
                "(rate(knm_api_http_request_duration_seconds_count{@S}[$__rate_interval]))",
                "{{code}}",
            )
        ],
        kind="stacked",
    ),
    Panel(
        "HTTP time",
        "From a request's head to its answer's head.",
        "s",
        above(0.5, 2),
        quantiles("knm_api_http_request_duration_seconds"),
    ),
    Panel(
        "HTTP connections",
        "Open connections to the api, event streams and tunnelled WebSockets among them.",
        "none",
        NEUTRAL,
        [
            ("sum by (pod) (knm_api_http_connections{@S})", "{{pod}}"),
            ("sum(knm_api_relay_tunnels{@S})", "tunnelled WebSockets"),
        ],
    ),
]

INSTALLATION = [
    "Installation",
    Panel(
        "Versions",
        "Containers by version. More than one for longer than a rolling update is an alert.",
        "none",
        NEUTRAL,
        [("count by (version, component) (knm_build_info{@S})", "{{component}} {{version}}")],
        width=12,
    ),
    Panel(
        "Configurations",
        "How many different configuration files are in use. All containers should read the same one.",
        "none",
        above(1.5, 3),
        [
            (
                "count by (namespace) (count by (namespace, sha) (knm_config_info{@S}))",
                "{{namespace}} configurations",
            )
        ],
    ),
    Panel(
        "Relays as their apis see them",
        "Whether each api's relay answers, and whether it receives notifications.",
        "bool_on_off",
        [(None, BAD), (1, OK)],
        [
            ("min by (pod) (knm_api_relay_up{@S})", "{{pod}} answers"),
            ("min by (pod) (knm_api_relay_live{@S})", "{{pod}} is live"),
        ],
        width=4,
        maximum=1,
    ),
]

ROWS = [NOW, TASKS, NODES, SURROUNDINGS, INSTALLATION]


def dashboard():
    return make(
        "knm-overview",
        "kube-node-manager / Overview",
        "Whether tasks get done: what waits, what fails and why.",
        ROWS,
    )
