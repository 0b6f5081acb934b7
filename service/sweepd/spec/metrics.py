"""Several metrics at once: what a definition with `metrics` may say."""

from collections.abc import Sequence

from sweepd.spec.definition import Metric
from sweepd.spec.problems import Problems

__all__ = ["ONE_CURVE", "check_metrics"]

#: Why no rule that stops trials early can stand beside `metrics`.
ONE_CURVE = (
    "compares runs by one curve, which several metrics are not: write metric, or leave it out"
)

#: More than this many make nearly every trial one of the front.
_MOST = 8


def check_metrics(metrics: Sequence[Metric], problems: Problems, *, method: str | None) -> None:
    """Note what is wrong or without effect in a list of metrics.

    Args:
        metrics: those that could be read, in the definition's order.
        problems: takes what is wrong.
        method: of the sweep, None if it is not known.
    """
    if len(metrics) > _MOST:
        problems.error(("metrics",), f"at most {_MOST} metrics, not {len(metrics)}")
    names = [metric.name for metric in metrics]
    for i, metric in enumerate(metrics):
        if metric.name in names[:i]:
            problems.error(("metrics", i, "name"), f"{metric.name} is named twice")
        for key in ("impute", "impute_while_running"):
            if key in metric.model_fields_set:
                words = "has no effect beside other metrics: a trial tells all of them or none"
                problems.warn(("metrics", i, key), words)
    if method == "cmaes":
        words = "cmaes searches by one metric: for several write method: nsga2, tpe or bayes"
        problems.error(("metrics",), words)
