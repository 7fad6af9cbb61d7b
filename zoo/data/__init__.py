"""The contract between data and models: fields, batches, and what a datamodule offers."""
