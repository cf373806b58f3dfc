"""stub"""

NAMES = {16: "bool", 20: "int8", 21: "int2", 23: "int4", 25: "text"}


def type_name(oid: int) -> str:
    return NAMES.get(oid, str(oid))


def decode(oid: int, value: bytes, encoding: str) -> tuple[str, bool]:
    if oid in (20, 21, 23):
        return str(int.from_bytes(value, "big", signed=True)), False
    if oid in (25,):
        return value.decode(encoding), False
    return value.hex(), True


def decodable(oid: int) -> bool:
    return oid in NAMES
