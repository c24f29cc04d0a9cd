"""How well PHI is found in free text, and how fast: ours and its peers, on the same notes in the same run."""
