"""Additive models, whose logit is a sum of functions of few fields each."""
