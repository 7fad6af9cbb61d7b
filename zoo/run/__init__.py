"""The command line, the trainer, the run directory."""
