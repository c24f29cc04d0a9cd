"""CDA: where documents lie (`finding.py`), XML as a tree that a mapping can walk (`elements.py`), the narrative as text (`narrative.py`), and
what a document says of whom (`document.py`)."""
