"""A page: what was found as one HTML file, which opens offline and asks the network for nothing.

`content` says what a page is made of, `html` makes it, `parts` and `prose` are pieces of it. How it
looks and behaves is in `style.css` and the scripts beside it, which are written into each page.
"""

from zoo.inspect.page.content import GREY, Card, Figure, Head, Part, Section
from zoo.inspect.page.html import page

__all__ = ["GREY", "Card", "Figure", "Head", "Part", "Section", "page"]
