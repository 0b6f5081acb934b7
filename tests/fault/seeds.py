"""The seeds of the faults: three in CI, as many as `bench/faults.py` asks for elsewhere."""

import os

__all__ = ["SEEDS"]

SEEDS = [int(seed) for seed in os.environ.get("SWEEPD_SEEDS", "0,1,2").split(",")]
