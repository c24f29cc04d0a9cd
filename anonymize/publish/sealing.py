"""Columns that only readers with a key can read: Parquet modular encryption (github.com/apache/parquet-format, Encryption.md), AES-GCM.

Each column's data key is made anew for each file, wrapped (AES Key Wrap, RFC 3394) under the column's own key and stored in the file beside
the key's name. Keys come from the environment or from Airflow's secrets; no file, manifest or log holds one. Footers stay readable (and are
signed), so that whoever lacks a key reads the other columns with any Parquet reader.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from anonymize.engine.files import replace_folder
from anonymize.errors import KeyMissing
from anonymize.keys import resolve

if TYPE_CHECKING:
    import pyarrow.dataset as ds

Secrets = Callable[[str], bytes]
"""A key's name -> its secret; raises KeyMissing."""


def seal(stage: Path, sealed: Path, columns: Mapping[str, Mapping[str, str]], footer: str) -> None:
    """Write the tables of a stage anew, with encrypted columns, into a folder that appears in one step; it stays as it is where it stands.

    columns: table -> published column -> reference of its key (`env:NAME`, `airflow:NAME`); footer: of the key that signs the files' footers.
    Data keys are drawn by chance, so the same records encrypted again are other bytes: what is signed and published is this one folder.
    Raises KeyMissing.
    """
    if sealed.is_dir():
        return
    references = {name_of(one): one for one in [footer, *(key for table in columns.values() for key in table.values())]}
    with replace_folder(sealed) as fresh:
        for folder in sorted(path for path in stage.iterdir() if path.is_dir()):
            (fresh / folder.name).mkdir()
            for file in sorted(folder.glob("*.parquet")):
                asked = columns.get(folder.name, {})
                if asked:
                    _encrypt(file, fresh / folder.name / file.name, asked, footer, lambda name: resolve(references[name]))
                else:
                    shutil.copyfile(file, fresh / folder.name / file.name)


def _encrypt(source: Path, target: Path, columns: Mapping[str, str], footer: str, secrets: Secrets) -> None:
    import pyarrow.parquet.encryption as pe

    by_key: dict[str, list[str]] = {}
    for column, reference in columns.items():
        by_key.setdefault(name_of(reference), []).append(column)
    asked = pe.EncryptionConfiguration(
        footer_key=name_of(footer), column_keys=by_key, plaintext_footer=True, double_wrapping=False, data_key_length_bits=256
    )
    properties = _factory(secrets).file_encryption_properties(pe.KmsConnectionConfig(), asked)
    file = pq.ParquetFile(source)
    with pq.ParquetWriter(target, file.schema_arrow, compression="zstd", encryption_properties=properties) as writer:
        for group in range(file.num_row_groups):
            writer.write_table(file.read_row_group(group))


def unseal(source: Path, target: Path, references: Mapping[str, str]) -> None:
    """Write an encrypted file anew as plain Parquet, row group by row group. references: of the keys that it needs, by their names.

    Raises KeyMissing where one is not known or not there.
    """
    import pyarrow.parquet.encryption as pe

    def known(name: str) -> bytes:
        if name not in references:
            raise KeyMissing(f"encrypted under the key '{name}', which release.encryption of the policy does not name")
        return resolve(references[name])

    properties = _factory(known).file_decryption_properties(pe.KmsConnectionConfig(), pe.DecryptionConfiguration())
    file = pq.ParquetFile(source, decryption_properties=properties)
    with pq.ParquetWriter(target, file.schema_arrow, compression="zstd", write_statistics=True) as writer:
        for group in range(file.num_row_groups):
            writer.write_table(file.read_row_group(group))


def name_of(reference: str) -> str:
    """A key's name, as files and manifests have it: what stands after `env:` or `airflow:`."""
    return reference.partition(":")[2]


def reading(names: Sequence[str], given: Mapping[str, str | bytes] | None = None) -> ds.ParquetFileFormat:
    """Parquet as a reader with keys reads it. names: of the keys that are needed; given: secrets by name, before the environment's.

    Raises KeyMissing with every name that has no secret.
    """
    import pyarrow.dataset as ds
    import pyarrow.parquet.encryption as pe

    secrets, missing = {}, []
    for name in names:
        said = (given or {}).get(name)
        try:
            secrets[name] = (said.encode() if isinstance(said, str) else said) if said is not None else resolve(f"env:{name}")
        except KeyMissing:
            missing.append(name)
    if missing:
        raise KeyMissing(f"encrypted: {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set in the environment")

    def known(name: str) -> bytes:
        if name not in secrets:
            raise KeyMissing(f"encrypted under the key '{name}', which was not given")
        return secrets[name]

    asked = ds.ParquetDecryptionConfig(_factory(known), pe.KmsConnectionConfig(), pe.DecryptionConfiguration())
    return ds.ParquetFileFormat(default_fragment_scan_options=ds.ParquetFragmentScanOptions(decryption_config=asked))


def _factory(secrets: Secrets) -> Any:
    import pyarrow.parquet.encryption as pe
    from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

    class Wrapping(pe.KmsClient):
        """Wraps data keys here and now: there is no server to ask."""

        def __init__(self, _: Any) -> None:
            super().__init__()

        def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> bytes:
            return base64.b64encode(aes_key_wrap(_wrapping_key(secrets(master_key_identifier)), key_bytes))

        def unwrap_key(self, wrapped_key: bytes, master_key_identifier: str) -> bytes:
            try:
                return aes_key_unwrap(_wrapping_key(secrets(master_key_identifier)), base64.b64decode(wrapped_key))
            except InvalidUnwrap:
                raise KeyMissing(f"the key '{master_key_identifier}' is not the one that these files were encrypted under") from None

    return pe.CryptoFactory(Wrapping)


def _wrapping_key(secret: bytes) -> bytes:
    """32 bytes of a secret of any length; another purpose than pseudonyms', should one secret serve for both."""
    return hmac.new(secret, b"anonymize\x00parquet column key", hashlib.sha256).digest()
