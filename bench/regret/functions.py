"""Public test functions, and a few that look like training."""

import hashlib
import json
import math

import numpy as np

from regret.problem import Problem, Values, floats, log_uniform, vector

__all__ = ["FUNCTIONS"]


def branin(config: Values) -> float:
    a, b = config["x0"], config["x1"]
    bowl = b - 5.1 / (4 * math.pi**2) * a * a + 5 / math.pi * a - 6
    return float(bowl * bowl + 10 * (1 - 1 / (8 * math.pi)) * math.cos(a) + 10)


_HARTMANN_ALPHA = np.array([1.0, 1.2, 3.0, 3.2])
# fmt: off
_HARTMANN_A = np.array([
    [10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14],
    [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14],
])
_HARTMANN_P = 1e-4 * np.array([
    [1312, 1696, 5569, 124, 8283, 5886], [2329, 4135, 8307, 3736, 1004, 9991],
    [2348, 1451, 3522, 2883, 3047, 6650], [4047, 8828, 8732, 5743, 1091, 381],
])
# fmt: on


def hartmann6(config: Values) -> float:
    return _hartmann(vector(config))


def _hartmann(x: np.ndarray) -> float:
    inner = (_HARTMANN_A * (x - _HARTMANN_P) ** 2).sum(axis=1)
    return float(-(_HARTMANN_ALPHA * np.exp(-inner)).sum())


_ACKLEY_SHIFT = np.array([6.3, -11.2, 3.7, 14.9, -2.4])


def shifted_ackley(config: Values) -> float:
    x = vector(config) - _ACKLEY_SHIFT
    root = math.sqrt(float((x * x).mean()))
    waves = float(np.cos(2 * math.pi * x).mean())
    return -20 * math.exp(-0.2 * root) - math.exp(waves) + 20 + math.e


def log_rosenbrock(config: Values) -> float:
    """Return log(1 + Rosenbrock's function) of the decimal logarithms: a curved, narrow valley."""
    u = np.log10(vector(config))
    return math.log1p(float((100 * (u[1:] - u[:-1] ** 2) ** 2 + (1 - u[:-1]) ** 2).sum()))


_LEVY_SHIFT = np.array([1.7, -2.2, 3.1, -0.6])


def levy(config: Values) -> float:
    w = 1 + (vector(config) - _LEVY_SHIFT) / 4
    waves = (w[:-1] - 1) ** 2 * (1 + 10 * np.sin(math.pi * w[:-1] + 1) ** 2)
    ends = (w[-1] - 1) ** 2 * (1 + math.sin(2 * math.pi * w[-1]) ** 2)
    return float(math.sin(math.pi * w[0]) ** 2 + waves.sum() + ends)


def noisy_levy(config: Values) -> float:
    """Return Levy's function with noise that hangs on nothing but the config."""
    text = json.dumps(sorted(config.items())).encode()
    seed = int.from_bytes(hashlib.sha256(text).digest()[:8], "big")
    return levy(config) + float(np.random.default_rng(seed).standard_normal())


_WIDE = np.random.default_rng(20)
_WIDE_PLACES = _WIDE.permutation(20)
_WIDE_CENTRES, _WIDE_WEIGHTS = _WIDE.random(14), 0.3 * _WIDE.random(14) ** 3


def wide(config: Values) -> float:
    """Return Hartmann's function of 6 of 20 parameters; the others matter little or not at all."""
    x = vector(config)[_WIDE_PLACES]
    return _hartmann(x[:6]) + float((_WIDE_WEIGHTS * (x[6:] - _WIDE_CENTRES) ** 2).sum())


def michalewicz(config: Values) -> float:
    x = vector(config)
    return float(-(np.sin(x) * np.sin(np.arange(1, 6) * x * x / math.pi) ** 20).sum())


def styblinski(config: Values) -> float:
    x = vector(config)
    return float(0.5 * (x**4 - 16 * x**2 + 5 * x).sum())


_RATES = {"sgd": -1.2, "momentum": -2.0, "adam": -3.0, "rmsprop": -3.6}
_LOSSES = {"sgd": 0.25, "momentum": 0.1, "adam": 0.0, "rmsprop": 0.3}
_DEPTHS = {"relu": 3, "gelu": 5, "silu": 6, "tanh": 2}


def mixed(config: Values) -> float:
    """Return a loss like that of training: the best rate hangs on optimizer, batch and depth.

    A rate that is ten times too high diverges: the loss is 3 whatever the rest. The lowest is 0.
    """
    failing = failing_mixed(config)
    return 3.0 if math.isnan(failing) else failing


def failing_mixed(config: Values) -> float:
    """Return `mixed`, NaN where it diverges."""
    batch, depth = math.log2(config["batch"]) - 6, config["layers"] - _DEPTHS[config["activation"]]
    rate = math.log10(config["rate"]) - _RATES[config["optimizer"]] - 0.2 * batch
    rate += 0.1 * (config["layers"] - 5)
    if rate > 1.0:
        return math.nan
    loss = _LOSSES[config["optimizer"]] + 0.05 * batch**2 + 0.6 * rate**2 + 0.06 * depth**2
    loss += {"relu": 0.1, "gelu": 0.0, "silu": 0.05, "tanh": 0.4}[config["activation"]]
    decay = math.log10(config["decay"]) + 4 + 10 * (config["dropout"] - 0.2)
    loss += 0.15 * decay**2 + 4 * (config["dropout"] - 0.2) ** 2
    return min(loss, 3.0)


def memory_bound(config: Values) -> float:
    """Return a loss that falls with the size of a model, NaN where it does not fit into memory.

    The best model lies close to what fits, so that the search has to learn where that is.
    """
    width, depth, batch = config["width"], config["depth"], config["batch"]
    used = width**2 * depth / 2e6 + width * depth * batch / 1e6 * (3 if config["full"] else 1.5)
    if used > 4.0:
        return math.nan
    rate = math.log10(config["rate"]) + 3 - 0.5 * math.log2(batch / 64) + math.log10(width / 256)
    capacity = math.log(width * width * depth)
    loss = 0.35 * (16 - capacity) ** 2 / 10 + 0.4 * rate**2 + 0.02 * (math.log2(batch) - 6.5) ** 2
    return loss + (0.0 if config["full"] else 0.05) + 0.02 * abs(depth - 9)


_MIXED = {
    "rate": log_uniform(1e-5, 1.0),
    "decay": log_uniform(1e-7, 1e-1),
    "optimizer": {"values": list(_RATES)},
    "activation": {"values": list(_DEPTHS)},
    "layers": {"min": 1, "max": 8},
    "batch": {"values": [16, 32, 64, 128, 256]},
    "dropout": {"min": 0.0, "max": 0.8},
}
_MEMORY = {
    "rate": log_uniform(1e-5, 1e-1),
    "width": {"min": 32, "max": 1024},
    "depth": {"min": 1, "max": 24},
    "batch": {"values": [16, 32, 64, 128, 256, 512]},
    "full": {"values": [True, False]},
}

FUNCTIONS = (
    Problem("branin", floats([(-5.0, 10.0), (0.0, 15.0)]), branin, 0.39788735772973816),
    Problem("hartmann6", floats([(0.0, 1.0)] * 6), hartmann6, -3.322368011391339),
    Problem("ackley5", floats([(-20.0, 20.0)] * 5), shifted_ackley, 0.0),
    Problem("mixed", _MIXED, mixed, 0.0),
    Problem(
        "rosenbrock4", {f"x{i}": log_uniform(1e-2, 1e2) for i in range(4)}, log_rosenbrock, 0.0
    ),
    Problem("noisy-levy4", floats([(-10.0, 10.0)] * 4), noisy_levy, 0.0, levy),
    Problem("wide20", floats([(0.0, 1.0)] * 20), wide, -3.322368011391339),
    Problem("mixed-failing", _MIXED, failing_mixed, 0.0),
    Problem("memory", _MEMORY, memory_bound, None),
    Problem("michalewicz5", floats([(0.0, math.pi)] * 5), michalewicz, -4.687658179088148),
    Problem("styblinski8", floats([(-5.0, 5.0)] * 8), styblinski, -8 * 39.16616570377142),
)
