"""Training: the loss and one step, the state, the loop, and what happens between steps."""
