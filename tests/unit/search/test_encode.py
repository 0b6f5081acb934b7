"""Configs as points."""

import numpy as np
import pytest

from sweepd.search.encode import Encoder

PARAMETERS = {
    "lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-1},
    "layers": {"min": 1, "max": 4},
    "size": {"distribution": "q_uniform", "min": 0, "max": 100, "q": 25},
    "batch": {"values": [32, 128, 64]},
    "opt": {"values": ["sgd", None, False, 0.5]},
    "fixed": {"value": [1, 2]},
}


@pytest.fixture
def encoder(space_of):
    return Encoder(space_of(PARAMETERS))


def test_points_become_the_configs_they_came_from(encoder, rng):
    points = encoder.sample(50, rng)

    configs = [encoder.decode(point) for point in points]

    np.testing.assert_allclose(encoder.encode(configs), points, atol=1e-12)
    assert all(encoder.space.contains(config) for config in configs)
    assert all(config["fixed"] == [1, 2] for config in configs)


def test_only_values_that_will_run_have_points(encoder, rng):
    points = encoder.sample(500, rng)
    column = {parameter.name: i for i, parameter in enumerate(encoder.space.searched)}

    distinct = {name: len(np.unique(points[:, i])) for name, i in column.items()}

    assert distinct == {"lr": 500, "layers": 4, "size": 5, "batch": 3, "opt": 4}


def test_unordered_values_are_categories_and_numbers_are_not(encoder):
    is_category = dict(
        zip((p.name for p in encoder.space.searched), encoder.is_category, strict=True)
    )

    assert is_category == {
        "lr": False,
        "layers": False,
        "size": False,
        "batch": False,
        "opt": True,
    }


def test_config_that_is_not_of_the_space_has_no_point(encoder):
    config = encoder.decode(np.full(5, 0.5))

    points = encoder.encode([config, config | {"opt": "adam"}, {"lr": 0.1}])

    assert np.isfinite(points[0]).all()
    assert np.isnan(points[1:]).all()


def test_a_step_moves_some_coordinates_to_other_values(encoder, rng):
    points = encoder.sample(400, rng)

    moved = encoder.step(points, 0.01, rng)

    changed = moved != points
    assert 0.8 < changed.any(axis=1).mean() <= 1.0
    assert 0.2 < changed.mean() < 0.8
    configs = [encoder.decode(point) for point in moved]
    np.testing.assert_allclose(encoder.encode(configs), moved, atol=1e-12)
