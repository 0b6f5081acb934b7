"""A sweep's definition: YAML text -> `Definition`, every check, the space, the metric's sign."""

from sweepd.spec.changes import changes_of, must_stay
from sweepd.spec.conditions import Condition
from sweepd.spec.constraints import Constraint
from sweepd.spec.definition import Budget, Definition, EarlyTerminate, Metric, OwnBlock, Timeout
from sweepd.spec.distributions import (
    Array,
    Categorical,
    Constant,
    Distribution,
    IntUniform,
    canonical,
    is_number,
)
from sweepd.spec.goals import Goal, check_rule, reduce_curve, sign, signed
from sweepd.spec.numeric import Beta, LogNormal, LogUniform, Normal, Numeric, Uniform
from sweepd.spec.outcomes import Bounds, Outcome, bounds_in, judge
from sweepd.spec.reading import Parsed, read_definition
from sweepd.spec.space import Config, Parameter, Space, grid_size
from sweepd.spec.values import read_value, set_value
from sweepd.spec.words import nearest

__all__ = [
    "Array",
    "Beta",
    "Bounds",
    "Budget",
    "Categorical",
    "Condition",
    "Config",
    "Constant",
    "Constraint",
    "Definition",
    "Distribution",
    "EarlyTerminate",
    "Goal",
    "IntUniform",
    "LogNormal",
    "LogUniform",
    "Metric",
    "Normal",
    "Numeric",
    "Outcome",
    "OwnBlock",
    "Parameter",
    "Parsed",
    "Space",
    "Timeout",
    "Uniform",
    "bounds_in",
    "canonical",
    "changes_of",
    "check_rule",
    "grid_size",
    "is_number",
    "judge",
    "must_stay",
    "nearest",
    "read_definition",
    "read_value",
    "reduce_curve",
    "set_value",
    "sign",
    "signed",
]
