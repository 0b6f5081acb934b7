"""Train one image classifier and log it to W&B: what the sample definitions name as `program`.

    python trainer/train.py --learning_rate=0.01 --dataset=mnist --slice=5
    python trainer/train.py --help          every parameter with its default, unit and range

In a sweep the parameters come from the sweep, by the same names. A sweep optimises `val_accuracy`;
the test images are touched once, at the end, with the weights of the best epoch.
"""

import math
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import wandb

from sweepd_trainer.checkpoint import CHECKPOINT, Best
from sweepd_trainer.config import Config, read_config
from sweepd_trainer.data import load
from sweepd_trainer.device import device_name, pick_device, seed_everything
from sweepd_trainer.loop import Diverged, Trainer
from sweepd_trainer.models import build_model
from sweepd_trainer.optim import build_optimizer
from sweepd_trainer.tracking import Stop, Stopped, as_wandb, run_script, start
from sweepd_trainer.watch import Watcher


def main(values: Mapping[str, Any] | None = None) -> float:
    """Train one model; return its test accuracy.

    Args:
        values: fields of `Config`; the rest keeps its default, and a sweep's values win.
    """
    config = read_config(values or {})
    with start(config.to_dict()) as run, Stop().on_sigterm() as stop:
        return train(run, read_config(run.config), stop)


def train(run: wandb.Run, config: Config, stop: Stop) -> float:
    """Do what `config` says, log it to `run`, and return the test accuracy."""
    device = pick_device()
    order = seed_everything(config.seed)

    data = load(config.dataset, every=config.slice).to(device)
    model = build_model(data.spec, config).to(device, memory_format=torch.channels_last)
    optimizer = build_optimizer(model, config)
    trainer = Trainer(
        model,
        optimizer,
        images=data.train,
        spec=data.spec,
        config=config,
        order=order,
        should_stop=stop,
    )
    watcher = Watcher(model)
    best = Best(Path(run.dir) / CHECKPOINT, config=config, spec=data.spec)

    try:
        for epoch in range(1, config.epochs + 1):
            for progress in trainer.epoch():
                run.log(asdict(progress))
            if stop():
                raise Stopped(f"stopped by SIGTERM in epoch {epoch} of {config.epochs}")
            score = trainer.evaluate(data.validation)
            best.offer(model, epoch=epoch, score=score)
            run.log(
                {
                    "epoch": epoch,
                    "examples": trainer.examples,
                    "train_loss": trainer.epoch_loss,
                    "val_loss": score.loss,
                    "val_accuracy": score.accuracy,
                    **as_wandb(watcher.histograms()),
                }
            )
            print(
                f"epoch {epoch}: train_loss {trainer.epoch_loss:.4f}, "
                f"val_loss {score.loss:.4f}, val_accuracy {score.accuracy:.4f}"
            )
    except Diverged:
        run.log({"examples": trainer.examples, "val_loss": math.nan, "val_accuracy": math.nan})
        raise
    finally:
        if best.epoch:
            run.save(best.path, base_path=run.dir, policy="now")

    best.restore(model)
    test = trainer.evaluate(data.test)
    run.log(
        {
            "examples": trainer.examples,
            "test_loss": test.loss,
            "test_accuracy": test.accuracy,
        }
    )
    run.summary.update(
        {
            "best_epoch": best.epoch,
            "val_loss": best.score.loss,  # the best epoch's, as the checkpoint is
            "val_accuracy": best.score.accuracy,
            "device": device_name(device),
        }
    )
    print(
        f"best epoch {best.epoch} of {config.epochs}: "
        f"val_accuracy {best.score.accuracy:.4f}, test_accuracy {test.accuracy:.4f}"
    )
    return test.accuracy


if __name__ == "__main__":
    sys.exit(run_script(main, sys.argv[1:]))
