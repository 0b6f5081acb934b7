"""Train one image classifier and log it to W&B: what the sample definitions name as `program`.

    python trainer/train.py --learning_rate=0.01 --dataset=mnist --slice=5
    python trainer/train.py --help          every parameter with its default, unit and range

In a sweep the parameters come from the sweep, by the same names. A sweep optimises `val_accuracy`;
the test images are touched once, at the end, with the weights of the best epoch. The epochs
themselves are in `sweepd_trainer/fitting.py`, one step in `sweepd_trainer/step.py`.
"""

import sys
from collections.abc import Mapping
from typing import Any

from sweepd_trainer.checkpoint import image_header
from sweepd_trainer.config import read_config
from sweepd_trainer.data import Data, load
from sweepd_trainer.fitting import Job, Learner, run_trial
from sweepd_trainer.images import Normalise, augmentation
from sweepd_trainer.models import build_model
from sweepd_trainer.tracking import run_script


def main(values: Mapping[str, Any] | None = None) -> float:
    """Train one model; return its test accuracy.

    Args:
        values: fields of `Config`; the rest keeps its default, and a sweep's values win.
    """
    fitted = run_trial(read_config(values or {}).to_dict(), job)
    assert fitted.test is not None, "a data set of images has test images"
    assert fitted.test.accuracy is not None, "and classes"
    return fitted.test.accuracy


def job(values: Mapping[str, Any], data: Data | None = None) -> Job:
    """Return what the config of a run says is to be done.

    Args:
        values: the config.
        data: the data set, if it is loaded already.
    """
    config = read_config(values)
    data = load(config.dataset, every=config.slice) if data is None else data
    spec = data.spec
    assert spec is not None, "a data set of images says what they are"
    learner = Learner(
        build=lambda: build_model(spec, config),
        prepare=Normalise(spec),
        augment=augmentation(config),
        header=image_header(config, spec),
    )
    return Job(config, data, learner, config.to_dict())


if __name__ == "__main__":
    sys.exit(run_script(main, sys.argv[1:]))
