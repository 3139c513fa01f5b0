"""Ready-made circuits and protocols of the paper, shared by tests, tutorials and the command line."""
