"""Live problems: small models that are really trained, on data that scikit-learn ships.

Each is deterministic and takes milliseconds, so that twenty seeds of every engine can be afforded.
"""

import math
from functools import cache
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from regret.problem import Function, Problem, Values, log_uniform

__all__ = ["LIVE"]

Data = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@cache
def _data(name: str, n_train: int, n_valid: int) -> Data:
    """Return train and validation inputs and targets, shuffled by a fixed seed."""
    from sklearn import datasets

    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    train, valid = order[:n_train], order[n_train : n_train + n_valid]
    return x[train], y[train], x[valid], y[valid]


def _one_hot(labels: np.ndarray) -> np.ndarray:
    return np.eye(10)[labels]


def _softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


# An MLP on digits

_ACTIVATIONS = {
    "relu": (lambda z: np.maximum(z, 0.0), lambda z: (z > 0.0).astype(float)),
    "tanh": (np.tanh, lambda z: 1.0 - np.tanh(z) ** 2),
    "identity": (lambda z: z, np.ones_like),
    "sine": (np.sin, np.cos),
}


def digits_mlp(config: Values) -> float:
    """Return the validation loss of a one-layer MLP after four epochs; NaN if it diverges."""
    x, labels, valid, valid_labels = _data("digits", 192, 500)
    x, valid, y = x / 16.0, valid / 16.0, _one_hot(labels)
    rng = np.random.default_rng(1)
    hidden, batch = config["hidden"], config["batch"]
    scale = config["init"]
    weights = [
        scale * rng.standard_normal((64, hidden)) / 8.0,
        np.zeros(hidden),
        scale * rng.standard_normal((hidden, 10)) / math.sqrt(hidden),
        np.zeros(10),
    ]
    act, slope = _ACTIVATIONS[config["activation"]]
    update = _Optimizer(config["optimizer"], config["rate"], weights)
    with np.errstate(all="ignore"):
        for _ in range(4):
            order = rng.permutation(len(x))
            for start in range(0, len(x), batch):
                rows = order[start : start + batch]
                kept = rng.random((len(rows), hidden)) >= config["dropout"]
                kept = kept / (1.0 - config["dropout"])
                z = x[rows] @ weights[0] + weights[1]
                h = act(z) * kept
                error = (_softmax(h @ weights[2] + weights[3]) - y[rows]) / len(rows)
                back = (error @ weights[2].T) * slope(z) * kept
                gradients = [x[rows].T @ back, back.sum(0), h.T @ error, error.sum(0)]
                for i in (0, 2):
                    gradients[i] = gradients[i] + config["decay"] * weights[i]
                update(gradients)
        out = act(valid @ weights[0] + weights[1]) @ weights[2] + weights[3]
        p = _softmax(out)[np.arange(len(valid)), valid_labels]
    loss = float(-np.log(np.maximum(p, 1e-12)).mean())
    return loss if math.isfinite(loss) and loss < 8.0 else math.nan


class _Optimizer:
    """Changes weights in place: plain, with momentum, or Adam."""

    def __init__(self, name: str, rate: float, weights: list[np.ndarray]) -> None:
        self.name, self.rate, self.weights, self.step = name, rate, weights, 0
        self.first = [np.zeros_like(w) for w in weights]
        self.second = [np.zeros_like(w) for w in weights]

    def __call__(self, gradients: list[np.ndarray]) -> None:
        self.step += 1
        for i, (weight, g) in enumerate(zip(self.weights, gradients, strict=True)):
            if self.name == "sgd":
                weight -= self.rate * g
            elif self.name == "momentum":
                self.first[i] = 0.9 * self.first[i] + g
                weight -= self.rate * self.first[i]
            else:
                self.first[i] = 0.9 * self.first[i] + 0.1 * g
                self.second[i] = 0.99 * self.second[i] + 0.01 * g * g
                mean = self.first[i] / (1 - 0.9**self.step)
                root = np.sqrt(self.second[i] / (1 - 0.99**self.step))
                weight -= self.rate * mean / (root + 1e-8)


# Kernel ridge regression of digits


def digits_kernel(config: Values) -> float:
    """Return the validation Brier score of kernel ridge classification in principal components."""
    x, labels, valid, valid_labels = _data("digits", 180, 400)
    if config["scaling"] == "standard":
        mean, std = x.mean(0), x.std(0) + 1.0
        x, valid = (x - mean) / std, (valid - mean) / std
    elif config["scaling"] == "root":
        x, valid = np.sqrt(x), np.sqrt(valid)
    centre = x.mean(0)
    axes = np.linalg.svd(x - centre, full_matrices=False)[2][: config["components"]]
    a, b = (x - centre) @ axes.T, (valid - centre) @ axes.T
    unit = math.sqrt(float((a * a).sum(1).mean()))
    a, b = a / unit, b / unit
    width, kernel = config["width"], config["kernel"]

    def gram(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        if kernel == "gauss":
            return np.exp(-cdist(left, right, "sqeuclidean") / (2 * width**2))
        if kernel == "laplace":
            return np.exp(-cdist(left, right) / width)
        return np.asarray((1.0 + left @ right.T / width**2) ** config["degree"])

    k = gram(a, a)
    k_scale = float(k.diagonal().mean())
    with np.errstate(all="ignore"):
        ridge = k / k_scale + config["ridge"] * np.eye(len(k))
        coefficients = np.linalg.solve(ridge, _one_hot(labels) - 0.1)
        out = gram(b, a) / k_scale @ coefficients + 0.1
    score = float(((out - _one_hot(valid_labels)) ** 2).sum(1).mean())
    return min(score, 5.0)


# Trees and kernels of scikit-learn


def diabetes_boosting(config: Values) -> float:
    """Return the validation R², negated, of gradient boosting on the diabetes data."""
    from sklearn.ensemble import GradientBoostingRegressor

    x, y, valid, valid_y = _data("diabetes", 120, 292)
    model = GradientBoostingRegressor(
        learning_rate=config["rate"],
        n_estimators=config["trees"],
        max_depth=config["depth"],
        min_samples_leaf=config["leaf"],
        subsample=config["subsample"],
        max_features=config["features"],
        loss=config["loss"],
        random_state=0,
    )
    return -float(model.fit(x, y).score(valid, valid_y))


def cancer_svm(config: Values) -> float:
    """Return the validation logistic loss of a support vector machine's margins."""
    from sklearn.svm import SVC

    x, y, valid, valid_y = _data("breast_cancer", 200, 369)
    if config["scaling"] != "none":
        use_log = config["scaling"] == "log"
        x, valid = (np.log1p(x), np.log1p(valid)) if use_log else (x, valid)
        mean, std = x.mean(0), x.std(0)
        x, valid = (x - mean) / std, (valid - mean) / std
    model = SVC(
        kernel=config["kernel"],
        C=config["c"],
        gamma=config["gamma"],
        coef0=config["shift"],
        degree=config["degree"],
        class_weight={0: config["weight"], 1: 1.0},
        max_iter=3000,
    ).fit(x, y)
    margins = np.clip(model.decision_function(valid), -30, 30) * (2 * valid_y - 1)
    return float(np.logaddexp(0.0, -2.0 * margins).mean())


def diabetes_fourier(config: Values) -> float:
    """Return the validation error of ridge regression on random features, in the target's σ."""
    x, y, valid, valid_y = _data("diabetes", 250, 192)
    mean, std = x.mean(0), x.std(0)
    x, valid = (x - mean) / std, (valid - mean) / std
    rng = np.random.default_rng(3)
    frequencies = rng.standard_normal((10, 300))[:, : config["features"]] / config["scale"]
    if config["tails"]:
        frequencies = frequencies / np.sqrt(rng.chisquare(3, 300)[: config["features"]] / 3)
    shifts = rng.random(300)[: config["features"]] * 2 * math.pi

    def features(points: np.ndarray) -> np.ndarray:
        waves = np.sqrt(2.0 / len(shifts)) * np.cos(points @ frequencies + shifts)
        return np.hstack([waves, config["linear"] * points, np.ones((len(points), 1))])

    target = {"plain": y, "log": np.log(y), "root": np.sqrt(y)}[config["target"]]
    a, b = features(x), features(valid)
    gram = a.T @ a + config["ridge"] * np.eye(a.shape[1])
    out = b @ np.linalg.solve(gram, a.T @ target)
    with np.errstate(all="ignore"):
        out = {"plain": out, "log": np.exp(out), "root": out**2}[config["target"]]
    error = float(np.sqrt(((out - valid_y) ** 2).mean()) / valid_y.std())
    return min(error, 3.0) if math.isfinite(error) else 3.0


def _live(name: str, function: Function, **parameters: dict[str, Any]) -> Problem:
    return Problem(name, parameters, function, None)


LIVE = (
    _live(
        "digits-mlp",
        digits_mlp,
        rate=log_uniform(1e-4, 10.0),
        optimizer={"values": ["sgd", "momentum", "adam"]},
        activation={"values": list(_ACTIVATIONS)},
        hidden={"min": 4, "max": 64},
        batch={"values": [32, 64, 128]},
        init=log_uniform(0.1, 10.0),
        decay=log_uniform(1e-6, 1e-1),
        dropout={"min": 0.0, "max": 0.6},
    ),
    _live(
        "digits-kernel",
        digits_kernel,
        kernel={"values": ["gauss", "laplace", "polynomial"]},
        scaling={"values": ["none", "standard", "root"]},
        width=log_uniform(0.03, 30.0),
        ridge=log_uniform(1e-8, 10.0),
        components={"min": 2, "max": 60},
        degree={"min": 1, "max": 6},
    ),
    _live(
        "diabetes-boosting",
        diabetes_boosting,
        rate=log_uniform(1e-3, 1.0),
        trees={"min": 2, "max": 12},
        depth={"min": 1, "max": 5},
        leaf={"min": 1, "max": 30},
        subsample={"min": 0.3, "max": 1.0},
        features={"min": 0.1, "max": 1.0},
        loss={"values": ["squared_error", "huber"]},
    ),
    _live(
        "cancer-svm",
        cancer_svm,
        kernel={"values": ["rbf", "poly", "sigmoid", "linear"]},
        scaling={"values": ["none", "standard", "log"]},
        c=log_uniform(1e-3, 1e3),
        gamma=log_uniform(1e-5, 1e1),
        shift={"min": -2.0, "max": 2.0},
        degree={"min": 1, "max": 5},
        weight=log_uniform(0.1, 10.0),
    ),
    _live(
        "diabetes-fourier",
        diabetes_fourier,
        features={"min": 5, "max": 300},
        scale=log_uniform(0.1, 100.0),
        ridge=log_uniform(1e-6, 1e3),
        linear=log_uniform(1e-3, 1e1),
        target={"values": ["plain", "log", "root"]},
        tails={"values": [False, True]},
    ),
)
