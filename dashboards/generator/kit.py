"""What all dashboards have in common: variables, selectors, and panels that cannot lack a unit,
thresholds or a description."""

import itertools
from dataclasses import dataclass, field

from grafana_foundation_sdk.builders import common as commons
from grafana_foundation_sdk.builders import dashboard as dashboards
from grafana_foundation_sdk.builders import heatmap, prometheus, stat, statetimeline, timeseries
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models import heatmap as heatmaps
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

# In expressions: @S selects the chosen pods, @N all pods of the chosen namespaces, for figures that
# every replica reports alike.
SELECT = 'namespace=~"$namespace", pod=~"$pod"'
SELECT_NAMESPACE = 'namespace=~"$namespace"'

DATASOURCE = common.DataSourceRef(type_val="prometheus", uid="${datasource}")

OK, WARN, BAD = "green", "orange", "red"
NEUTRAL = [(None, "blue")]


def above(warn: float, bad: float) -> list:
    """Thresholds of what should stay small."""
    return [(None, OK), (warn, WARN), (bad, BAD)]


def below(bad: float, warn: float) -> list:
    """Thresholds of what should stay large."""
    return [(None, BAD), (bad, WARN), (warn, OK)]


@dataclass
class Panel:
    """One panel. `thresholds` are [(from, colour)], the first of them from None."""

    title: str
    description: str
    unit: str
    thresholds: list
    queries: list = field(default_factory=list)  # (expression, legend)
    kind: str = "lines"  # lines, stacked, bars, stat, heatmap, states
    width: int = 8
    height: int = 8
    minimum: float | None = 0
    maximum: float | None = None
    mappings: list = field(default_factory=list)  # (value, text, colour)


def expression(text: str) -> str:
    return " ".join(text.replace("@S", SELECT).replace("@N", SELECT_NAMESPACE).split())


def quantiles(metric: str, by: str = "") -> list:
    """p50, p95 and p99 of a histogram."""
    group, legend = (f"{by}, le", "{{" + by + "}} ") if by else ("le", "")
    query = "histogram_quantile({}, sum by ({}) (rate({}_bucket{{@S}}[$__rate_interval])))"
    return [
        (query.format(q, group, metric), f"{legend}p{round(q * 100)}") for q in (0.5, 0.95, 0.99)
    ]


def heat(metric: str) -> list:
    """Observations by bucket and time."""
    return [(f"sum by (le) (rate({metric}_bucket{{@S}}[$__rate_interval]))", "{{le}}")]


def increase(metric: str, by: str, more: str = "") -> list:
    """How often something happened, by a label."""
    query = f"sum by ({by}) (increase({metric}{{@S{more}}}[$__rate_interval]))"
    return [(query, "{{" + by + "}}")]


def _thresholds(steps: list) -> dashboards.ThresholdsConfig:
    return (
        dashboards.ThresholdsConfig()
        .mode(dashboard.ThresholdsMode.ABSOLUTE)
        .steps([dashboard.Threshold(value=value, color=color) for value, color in steps])
    )


def _mappings(mappings: list) -> list:
    options = {
        str(value): dashboard.ValueMappingResult(text=text, color=color, index=index)
        for index, (value, text, color) in enumerate(mappings)
    }
    return [dashboard.ValueMap(options=options)]


def _lines(panel: Panel) -> timeseries.Panel:
    built = (
        timeseries.Panel()
        .line_width(1)
        .show_points(common.VisibilityMode.NEVER)
        .legend(
            commons.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs([])
        )
        .tooltip(
            commons.VizTooltipOptions()
            .mode(common.TooltipDisplayMode.MULTI)
            .sort(common.SortOrder.DESCENDING)
        )
    )
    if len(panel.thresholds) > 1:
        style = commons.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
        built.thresholds_style(style)
    if panel.kind in ("stacked", "bars"):
        built.fill_opacity(60).stacking(
            commons.StackingConfig().mode(common.StackingMode.NORMAL).group("A")
        )
    if panel.kind == "bars":
        built.draw_style(common.GraphDrawStyle.BARS)
    return built


def _stat(_: Panel) -> stat.Panel:
    return (
        stat.Panel()
        .color_mode(common.BigValueColorMode.VALUE)
        .graph_mode(common.BigValueGraphMode.AREA)
        .reduce_options(commons.ReduceDataOptions().calcs(["lastNotNull"]).fields("").values(False))
    )


def _heatmap(panel: Panel) -> heatmap.Panel:
    return (
        heatmap.Panel()
        .calculate(False)
        .y_axis(heatmap.YAxisConfig().unit(panel.unit).axis_placement(common.AxisPlacement.LEFT))
        .color(
            heatmap.HeatmapColorOptions()
            .mode(heatmaps.HeatmapColorMode.SCHEME)
            .scheme("Oranges")
            .steps(64)
        )
        .cell_values(heatmap.CellValues().unit("short"))
        .cell_gap(1)
    )


def _states(_: Panel) -> statetimeline.Panel:
    return (
        statetimeline.Panel()
        .show_value(common.VisibilityMode.AUTO)
        .merge_values(True)
        .row_height(0.8)
    )


_KINDS = {
    "lines": _lines,
    "stacked": _lines,
    "bars": _lines,
    "stat": _stat,
    "heatmap": _heatmap,
    "states": _states,
}


def build(panel: Panel):
    """The builder of a panel."""
    built = (
        _KINDS[panel.kind](panel)
        .title(panel.title)
        .description(panel.description)
        .datasource(DATASOURCE)
        .unit(panel.unit)
        .thresholds(_thresholds(panel.thresholds))
        .span(panel.width)
        .height(panel.height)
    )
    if panel.minimum is not None:
        built.min(panel.minimum)
    if panel.maximum is not None:
        built.max(panel.maximum)
    if panel.mappings:
        built.mappings(_mappings(panel.mappings))
    for ref, (text, legend) in zip("ABCDEFGH", panel.queries, strict=False):
        query = prometheus.Dataquery().expr(expression(text)).legend_format(legend).ref_id(ref)
        query.datasource(DATASOURCE).range()
        if panel.kind == "heatmap":
            query.format(PromQueryFormat.HEATMAP)
        built.with_target(query)
    return built


def _variable(name: str, label: str, query: str) -> dashboards.QueryVariable:
    return (
        dashboards.QueryVariable(name)
        .label(label)
        .datasource(DATASOURCE)
        .query({"query": query, "refId": name})
        .definition(query)
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        # Also where the targets have no such label.
        .all_value(".*")
        .current(dashboard.VariableOption(selected=True, text=["All"], value=["$__all"]))
    )


def make(uid: str, title: str, description: str, rows: list) -> dashboard.Dashboard:
    """A dashboard of rows, each [title, panel, ...]."""
    built = (
        dashboards.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags(["kube-node-manager"])
        .timezone("browser")
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .time("now-1h", "now")
        .refresh("30s")
        .editable()
        .with_variable(
            dashboards.DatasourceVariable("datasource").label("Data source").type("prometheus")
        )
        .with_variable(
            _variable("namespace", "Namespace", "label_values(knm_build_info, namespace)")
        )
        .with_variable(
            _variable("pod", "Pod", 'label_values(knm_build_info{namespace=~"$namespace"}, pod)')
        )
        .link(
            dashboards.DashboardLink("kube-node-manager")
            .type(dashboard.DashboardLinkType.DASHBOARDS)
            .tags(["kube-node-manager"])
            .include_vars(True)
            .keep_time(True)
        )
    )
    ids = itertools.count(1)
    for row_title, *panels in rows:
        built.with_row(dashboards.Row(row_title).id(next(ids)))
        for panel in panels:
            built.with_panel(build(panel).id(next(ids)))
    return built.build()
