"""Training: the lockstep loop and what it is made of."""
