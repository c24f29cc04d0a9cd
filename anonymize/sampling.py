"""Who is drawn into a safe sample: by the key, so that the same input, policy and key draw the same people."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

import pyarrow as pa

from anonymize.keys import Key

DRAWN = "__drawn"
_PURPOSE = "safe sampling"


@dataclass(frozen=True)
class Draw:
    """A subject is drawn where HMAC-SHA256 of her pseudonym, as a fraction of all its values, is under the share.

    Who has no key cannot tell this from chance. Source: Li, Qardaji and Su (2012), for what a random sample is good for.
    """

    key: Key
    share: float
    subject: str

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with `__drawn`: bool. A record of no subject is not drawn."""
        secret, bound = self.key.derive(_PURPOSE), int(self.share * 2**64)
        drawn = [
            who is not None and int.from_bytes(hmac.digest(secret, who.encode(), hashlib.sha256)[:8]) < bound
            for who in batch[self.subject].cast(pa.string()).to_pylist()
        ]
        return batch.append_column(DRAWN, pa.array(drawn, pa.bool_()))
