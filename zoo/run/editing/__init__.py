"""Which terms of a glass box are added to its logit: the command `edit`, and the same in Python."""
