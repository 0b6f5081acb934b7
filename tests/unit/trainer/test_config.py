"""What a run is told, and what it refuses."""

from dataclasses import fields

import pytest

from sweepd.errors import InvalidInput
from sweepd.names import DATASETS, MODELS
from sweepd_trainer.config import HELP, Config, read_config, read_flags


def test_absent_fields_keep_their_defaults():
    assert read_config({}) == Config()


def test_flags_are_read_as_wandb_spells_them():
    flags = ["--kernels=[8, 16]", "--learning_rate=1e-3", "--optimizer=sgd", "--epochs", "2"]

    config = read_config(read_flags(flags))

    assert config.kernels == (8, 16)
    assert config.learning_rate == 0.001
    assert config.optimizer == "sgd"
    assert config.epochs == 2


def test_a_number_is_one_hidden_layer():
    assert read_config({"hidden": 64}).hidden == (64,)


def test_a_whole_float_is_a_whole_number():
    batch_size = read_config({"batch_size": 64.0}).batch_size

    assert batch_size == 64
    assert isinstance(batch_size, int)


def test_a_number_that_yaml_left_as_text_is_read():
    assert read_config({"weight_decay": "1e-5"}).weight_decay == 1e-5


def test_config_survives_its_own_dictionary():
    config = read_config({"kernels": [4, 8], "hidden": [32, 16], "seed": 7})

    assert read_config(config.to_dict()) == config


@pytest.mark.parametrize(
    ("values", "said"),
    [
        pytest.param({"lerning_rate": 1}, "did you mean learning_rate?", id="misspelt"),
        pytest.param({"learning_rate": 0}, "must be a number > 0", id="rate zero"),
        pytest.param({"learning_rate": float("nan")}, "must be a number", id="nan"),
        pytest.param({"learning_rate": "fast"}, "not 'fast'", id="text for number"),
        pytest.param({"epochs": 2.5}, "must be a whole number", id="half an epoch"),
        pytest.param({"epochs": True}, "must be a whole number", id="bool"),
        pytest.param({"dropout": 1}, "≤ 0.95", id="drops everything"),
        pytest.param({"optimizer": "adm"}, "did you mean adam?", id="unknown optimiser"),
        pytest.param({"model": ["convnet"]}, "must be one of", id="list for name"),
        pytest.param({"kernels": [16]}, "two numbers", id="one kernel"),
        pytest.param({"kernels": "16,32"}, "must be a list", id="text for list"),
        pytest.param({"hidden": []}, "must be a list", id="no layers"),
        pytest.param({"hidden": [0]}, "≥ 1", id="empty layer"),
    ],
)
def test_wrong_values_are_refused_in_words(values, said):
    with pytest.raises(InvalidInput) as caught:
        read_config(values)

    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_problem_is_named_at_once():
    with pytest.raises(InvalidInput) as caught:
        read_config({"epochs": 0, "momentum": 2, "colour": "red"})

    assert all(word in str(caught.value) for word in ("epochs", "momentum", "colour"))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        pytest.param(["0.1"], "expected --name=value", id="no flag"),
        pytest.param(["--lr=0.1"], "unknown parameter 'lr'", id="unknown"),
        pytest.param(["--epochs"], "needs a value", id="no value"),
        pytest.param(["--"], "expected --name=value", id="dashes"),
    ],
)
def test_wrong_flags_are_refused_in_words(flags, said):
    with pytest.raises(InvalidInput, match=said):
        read_flags(flags)


def test_help_names_every_field_and_choice():
    for field in fields(Config):
        assert f"--{field.name}=" in HELP
    for name in (*MODELS, *DATASETS):
        assert name in HELP
