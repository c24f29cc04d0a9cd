"""k-anonymity without a policy, for a file: `one_file.py` does it, `command.py` is how it is asked for."""

from anonymize.flat import InputError
from anonymize.generalizing.one_file import Asked, Report, generalize

__all__ = ["Asked", "InputError", "Report", "generalize"]
