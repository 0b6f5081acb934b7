"""The tutorial's work done by the training function, to be compared with the tutorial's code."""

from typing import TYPE_CHECKING

from sweepd_trainer.config import read_config
from sweepd_trainer.data import Data, DataSpec, Rows
from sweepd_trainer.fitting import Job, Learner
from sweepd_trainer.fitting import train as train_job
from sweepd_trainer.images import Normalise
from sweepd_trainer.models import build_model
from sweepd_trainer.tracking import Stop

if TYPE_CHECKING:
    import wandb

__all__ = ["train"]


def train(
    run: "wandb.Run", trained: Rows, tested: Rows, spec: DataSpec, *, epochs: int
) -> float | None:
    """Train, log to `run` and evaluate on `tested` after each epoch; return the best accuracy."""
    config = read_config({"epochs": epochs, "learning_rate": 0.005, "batch_size": 128})
    learner = Learner(build=lambda: build_model(spec, config), prepare=Normalise(spec))
    data = Data(trained, validation=tested)
    fitted = train_job(run, Job(config, data, learner, config.to_dict()), stop=Stop())
    return fitted.validation.accuracy
