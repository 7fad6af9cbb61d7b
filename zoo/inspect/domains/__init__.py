"""Pages of what is no table: what a model has made of texts, images, graphs and sequences.

`page` puts explained instances under each other, each with its picture: `texts.HighlightedText`,
`images.OutlinedImage`, `graphs.Neighbourhood`, `sequences.Logo`. They take plain numbers, such as
`zoo.glider.domains.found.shown` makes of a `WalshExplanation`.
"""
