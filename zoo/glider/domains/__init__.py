"""Explanations of what is no table: which parts of a text, an image, a graph, a sequence are on.

Each class says what on and off mean (see `zoo.glider.switches`). Walsh regression takes it in place
of `OnOff`, such as `walsh(scores, [instance], Replaced())`, where the black box `scores` is any
function from a tensor of inputs [N, ..] to N numbers.
"""
