"""sweepd: a hyperparameter search service that speaks W&B's protocol."""

__version__ = "0.1.0"
