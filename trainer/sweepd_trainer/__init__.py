"""The training function that the sample definitions share."""
