"""A training program that goes wrong in every way that a user's does, as a text to write out."""

__all__ = ["HANGS", "KINDS", "PROGRAM"]

#: What it does -> the reason that its trial must end with, and a part of the message.
KINDS = {
    "fine": ("finished", None),
    "nan": ("diverged", "loss is NaN"),
    "nan once": ("finished", None),
    "inf": ("diverged", "infinite"),
    "raises": ("error", "ValueError: the rate is too high"),
    "exits 3": ("error", "3"),
    "no metric": ("no_metric", "nearest: 'losses'"),
    "metric is text": ("no_metric", "loss"),
    "metric is None": ("no_metric", "loss"),
    "never init": ("never_init", None),
    "init twice": ("finished", None),
    "other config": ("finished", None),
    "out of memory": ("oom", "CUDA out of memory"),
    "flood": ("finished", None),
    "segfault": ("error", None),
}
#: Those that hang -> the reason, where a sweep has a limit for silence.
HANGS = {"hangs": "timed_out", "hangs before init": "timed_out", "ticks": "finished"}
PROGRAM = """
import os, signal, sys, time
import wandb

import yaml
with open(os.environ["WANDB_SWEEP_PARAM_PATH"]) as file:
    kind = yaml.safe_load(file)["kind"]["value"]
if kind == "never init":
    sys.exit(0)
if kind == "hangs before init":
    time.sleep(600)
run = wandb.init()
if kind == "hangs":
    run.log({"loss": 1.0})
    time.sleep(600)
if kind == "ticks":
    for number in range(40):
        print(f"still here: {number}", flush=True)
        time.sleep(1)
if kind == "init twice":
    run = wandb.init()
if kind == "other config":
    run.config.update({"kind": "another", "more": [1, 2]}, allow_val_change=True)
if kind == "flood":
    for number in range(100_000):
        print(f"{number:06} " + "x" * 93)
values = {"nan": [1.0, float("nan")], "nan once": [float("nan"), 1.0], "inf": [float("inf")]}
for value in values.get(kind, [2.0, 1.0]):
    key = "losses" if kind == "no metric" else "loss"
    value = {"metric is text": "low", "metric is None": None}.get(kind, value)
    run.log({key: value, "epoch": 1})
if kind == "raises":
    raise ValueError("the rate is too high")
if kind == "exits 3":
    sys.exit(3)
if kind == "out of memory":
    raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")
if kind == "segfault":
    run.log({"loss": 0.5})
    os.kill(os.getpid(), signal.SIGSEGV)
run.finish()
"""
