"""Training: the loss, a training step, the state, the loop, and the callbacks between steps."""
