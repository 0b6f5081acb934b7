"""A training program without torch: it logs a value that comes closer to its optimum."""

import time

import wandb

with wandb.init() as run:
    x = float(run.config["x"])
    for epoch in range(5):
        run.log({"loss": (x - 0.3) ** 2 + 1 / (epoch + 1)})
        time.sleep(float(run.config["pause"]))
