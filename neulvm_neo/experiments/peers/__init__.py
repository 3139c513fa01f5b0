"""What one would use instead, as scripts that stand alone: each runs in the environment of its own peer."""
