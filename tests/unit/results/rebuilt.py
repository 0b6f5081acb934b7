"""A model with what is to prove it, as whoever rebuilds one returns it."""

from types import SimpleNamespace


def made_of(model, inputs, labels=None, *, outputs=None):
    return SimpleNamespace(
        model=model.eval(),
        inputs=inputs,
        labels=labels,
        input_name="input",
        output_name="output",
        metadata={},
        outputs=outputs,
    )
