"""How fast the whole road is, how it grows, and who is faster at what."""
