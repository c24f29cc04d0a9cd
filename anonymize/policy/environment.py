"""Values of the environment in a policy's paths and URLs: `${NAME}`."""

from __future__ import annotations

import os
import re

from anonymize.errors import AnonymizeError


def expand(text: str, where: str) -> str:
    """Put the environment's values in the place of `${NAME}`. Raises AnonymizeError that names what is not set, and where it stands."""

    def value(match: re.Match[str]) -> str:
        found = os.environ.get(match[1])
        if found is None:
            raise AnonymizeError(f"{where}: ${{{match[1]}}} is not set in the environment. Set it: export {match[1]}=…")
        return found

    return re.sub(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", value, text)
