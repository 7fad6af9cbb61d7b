"""What a checkpoint does with rows: one file for each fact."""
