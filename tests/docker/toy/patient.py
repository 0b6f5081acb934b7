"""A training program that trains until it is told to end; begun again, it does the rest."""

import time

import wandb

with wandb.init(resume="allow") as run:
    begin = run.starting_step
    for step in range(begin, begin + 3 if begin else 10**9):
        run.log({"loss": 1 / (step + 1)})
        time.sleep(0.05)
