"""Recorded learning curves, and searches simulated on them: the parts of `bench/fidelity.py`."""
