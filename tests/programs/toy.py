"""A training program without torch: four rows of a parabola, and a file."""

import pathlib
import time

import wandb

with wandb.init() as run:
    x = float(run.config["x"])
    for epoch in range(4):
        run.log({"epoch": epoch, "loss": (x - 0.3) ** 2 + 1 / (epoch + 1)})
        time.sleep(float(run.config.get("pause", 0)))
    print(f"the loss at {x} is known")
    note = pathlib.Path(run.dir, "note.txt")
    note.write_text(f"x was {x}\n")
    run.save(str(note), base_path=run.dir, policy="now")
