"""What is read from a checkpoint alone: one file for each fact."""
