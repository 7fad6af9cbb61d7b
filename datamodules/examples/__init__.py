"""Tables of real data, made of packages that one pip install brings."""
