"""Extraction that lasts: what is new at the source, of whom, who is one person, what is kept between runs, what waits to be mended."""
