"""Inference: starting values, E-step, M-step, particle filter and the EM loop around them."""
