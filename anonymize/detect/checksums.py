"""Numbers that carry their own proof: what a check digit confirms is no measurement."""

from __future__ import annotations

from collections.abc import Callable

_VIN_VALUES = dict(zip("ABCDEFGHJKLMNPRSTUVWXYZ", (1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 7, 9, 2, 3, 4, 5, 6, 7, 8, 9), strict=True))
_VIN_WEIGHTS = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)


def luhn(number: str) -> bool:
    """Whether the digits end in their Luhn check digit (ISO/IEC 7812-1, annex B): payment cards of 13 to 19 digits."""
    digits = [int(sign) for sign in number if sign.isdigit()]
    return 13 <= len(digits) <= 19 and _luhn(digits)


def npi(number: str) -> bool:
    """Whether ten digits are a National Provider Identifier (45 CFR 162.406: ISO check digit over the prefix 80840)."""
    digits = [int(sign) for sign in number if sign.isdigit()]
    return len(digits) == 10 and digits[0] in (1, 2) and _luhn([8, 0, 8, 4, 0, *digits])


def ssn(number: str) -> bool:
    """Whether nine digits can be a Social Security number: areas 000, 666 and 9xx, group 00 and serial 0000 are not (SSA, 2011)."""
    digits = "".join(sign for sign in number if sign.isdigit())
    return len(digits) == 9 and digits[:3] not in ("000", "666") and digits[0] != "9" and digits[3:5] != "00" and digits[5:] != "0000"


def vin(number: str) -> bool:
    """Whether 17 signs are a vehicle identification number (49 CFR 565.15, check digit in place 9)."""
    signs = number.upper()
    if len(signs) != 17 or not signs.isalnum() or set(signs) & set("IOQ") or not any(sign.isdigit() for sign in signs):
        return False
    total = sum((int(s) if s.isdigit() else _VIN_VALUES[s]) * weight for s, weight in zip(signs, _VIN_WEIGHTS, strict=True))
    return signs[8] == "0123456789X"[total % 11]


def iban(number: str) -> bool:
    """Whether letters and digits are an International Bank Account Number (ISO 13616: the whole is 1 modulo 97)."""
    bare = "".join(sign for sign in number if sign.isalnum()).upper()
    if not 15 <= len(bare) <= 34 or not bare.isascii():
        return False
    return int("".join(str(int(sign, 36)) for sign in bare[4:] + bare[:4])) % 97 == 1


def _luhn(digits: list[int]) -> bool:
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


CHECKS: dict[str, Callable[[str], bool]] = {"luhn": luhn, "npi": npi, "ssn": ssn, "vin": vin, "iban": iban}
"""The names by which rules ask for a check."""
