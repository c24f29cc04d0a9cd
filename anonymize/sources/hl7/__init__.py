"""HL7 v2: how messages stand in files (`framing.py`), how one is written (`er7.py`), and what belongs to what in it (`groups.py`)."""
