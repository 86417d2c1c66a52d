"""Option values and messages as text.

:func:`encode_option` reads what people write into a configuration, :func:`format_option` shows what is on the wire. For
a well-formed value of any option but 81 the second's text is one that the first takes, and gives the same bytes back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from . import constants as c
from ._message import Message
from ._names import FQDN_ENCODED, decode_fqdn, decode_names, encode_name
from ._nested import suboptions, vendor_identifying
from ._routes import decode_routes, encode_route
from ._table import OPTIONS, Kind, option_code, option_name

_ADDRESS_SIZE = 4


def message_type_name(message_type: int) -> str:
    """For example "DISCOVER"; "type 99" for what is none (rule I18)."""
    return c.MESSAGE_TYPE_NAMES.get(message_type, f"type {message_type}")


def _kind(code: int) -> Kind:
    info = OPTIONS.get(code)
    return info.kind if info is not None else Kind.BYTES


def printable(data: bytes) -> str:
    """Bytes from outside as text that is safe to log or show: one line, nothing but printable characters (rule I12)."""
    text = data.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(ch if ch.isprintable() else ch.encode("unicode_escape").decode() for ch in text)


# --- text to bytes ----------------------------------------------------------------------------------


def encode_option(option: int | str, value: object) -> bytes:
    """The bytes of an option's value from what a person wrote.

    ``option``: a name of :data:`OPTIONS` or a code. ``value``: as its :class:`Kind` tells: a number, a bool, a string,
    or a list of those; a string with commas does for a list. ``bytes`` are taken as they are, for any option. Raises
    ValueError with one line that names the option and what it takes.
    """
    code = option_code(option)
    if isinstance(value, bytes):
        return value
    kind = _kind(code)
    try:
        return _ENCODERS[kind](value)
    except ValueError as error:
        detail = f": {error}" if error.args else ""
        raise ValueError(f"option {option_name(code)} ({code}) takes {kind.value}{detail}") from None


def _items(value: object) -> list[object]:
    """The elements of a list, of a string with commas, or the one value there is; at least one."""
    items: list[object]
    if isinstance(value, str):
        items = [item.strip() for item in value.split(",")]
    elif isinstance(value, list | tuple):
        items = list(value)
    else:
        items = [value]
    if not items or "" in items:
        raise ValueError("nothing is given")
    return items


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not text")
    return value


def _encode_address(value: object) -> bytes:
    parts = _text(value).strip().split(".")
    if len(parts) != _ADDRESS_SIZE or not all(
        part.isascii() and part.isdecimal() and len(part) <= 3 and int(part) <= 255 for part in parts
    ):
        raise ValueError(f"{value!r} is not an IPv4 address")
    return bytes(map(int, parts))


def _encode_addresses(value: object) -> bytes:
    return b"".join(map(_encode_address, _items(value)))


def _encode_pairs(value: object) -> bytes:
    pairs = [_text(item).split() for item in _items(value)]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError("each entry has two addresses")
    return b"".join(_encode_address(address) for pair in pairs for address in pair)


def _number(value: object, low: int, high: int) -> int:
    if isinstance(value, str):
        digits = value.strip()
        if not digits.isascii() or not digits.removeprefix("-").isdecimal() or len(digits) > len(str(-(1 << 32))):
            raise ValueError(f"{value!r} is not a number")
        value = int(digits)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{value!r} is not a number")
    if not low <= value <= high:
        raise ValueError(f"{value} is out of range")
    return value


def _unsigned(size: int) -> Callable[[object], bytes]:
    high = (1 << 8 * size) - 1
    return lambda value: _number(value, 0, high).to_bytes(size, "big")


def _unsigned_list(size: int) -> Callable[[object], bytes]:
    one = _unsigned(size)
    return lambda value: b"".join(map(one, _items(value)))


def _encode_i32(value: object) -> bytes:
    return _number(value, -(1 << 31), (1 << 31) - 1).to_bytes(4, "big", signed=True)


_BOOLS: Mapping[object, bool] = {True: True, False: False, "true": True, "false": False}


def _bool(value: object) -> bool:
    if not isinstance(value, bool | str) or value not in _BOOLS:
        raise ValueError(f"{value!r} is neither")
    return _BOOLS[value]


def _encode_bool(value: object) -> bytes:
    return bytes((_bool(value),))


def _encode_flag(value: object) -> bytes:
    if not _bool(value):
        raise ValueError("leave the option out instead")
    return b""


def _encode_string(value: object) -> bytes:
    text = _text(value)
    if not text or "\0" in text:
        raise ValueError("it is empty" if not text else "it has a NUL character")
    return text.encode("utf-8", "surrogatepass")


def _encode_domain(value: object) -> bytes:
    return encode_name(_text(value))


def _encode_domains(value: object) -> bytes:
    return b"".join(map(_encode_domain, _items(value)))


def _encode_route(value: object) -> bytes:
    words = _text(value).split()
    if len(words) == 3 and words[1] == "via":
        del words[1]
    if len(words) != 2:
        raise ValueError(f"{value!r} is not a prefix and a gateway")
    prefix, _, length = words[0].partition("/")
    address, prefix_len = int.from_bytes(_encode_address(prefix), "big"), _number(length, 0, 32)
    if address & ((1 << 32 - prefix_len) - 1):
        raise ValueError(f"{words[0]} has bits set beyond its length")
    return encode_route(address, prefix_len, _encode_address(words[1]))


def _encode_routes(value: object) -> bytes:
    return b"".join(map(_encode_route, _items(value)))


def _encode_hex(value: object) -> bytes:
    try:
        return bytes.fromhex(_text(value).replace(":", " "))
    except ValueError:
        raise ValueError(f"{value!r} is not hexadecimal") from None


def _tagged(value: object, high: int) -> list[tuple[int, bytes]]:
    """Elements like ``1=0a0b`` as number and bytes."""
    found = []
    for item in _items(value):
        tag, equals, data = _text(item).partition("=")
        payload = _encode_hex(data)
        if not equals or len(payload) > 255:
            raise ValueError(f"{item!r} is not a number, = and up to 255 bytes")
        found.append((_number(tag, 0, high), payload))
    return found


def _encode_suboptions(value: object) -> bytes:
    return b"".join(bytes((tag, len(data))) + data for tag, data in _tagged(value, 255))


def _encode_vendor(value: object) -> bytes:
    tagged = _tagged(value, 0xFFFFFFFF)
    return b"".join(tag.to_bytes(4, "big") + bytes((len(data),)) + data for tag, data in tagged)


def _encode_message_type(value: object) -> bytes:
    for code, name in c.MESSAGE_TYPE_NAMES.items():
        if value == name:
            return bytes((code,))
    return bytes((_number(value, 0, 255),))


_ENCODERS: Mapping[Kind, Callable[[object], bytes]] = {
    Kind.ADDRESS: _encode_address,
    Kind.ADDRESSES: _encode_addresses,
    Kind.PAIRS: _encode_pairs,
    Kind.U8: _unsigned(1),
    Kind.U16: _unsigned(2),
    Kind.U32: _unsigned(4),
    Kind.I32: _encode_i32,
    Kind.U8S: _unsigned_list(1),
    Kind.U16S: _unsigned_list(2),
    Kind.BOOL: _encode_bool,
    Kind.FLAG: _encode_flag,
    Kind.STRING: _encode_string,
    Kind.DOMAIN: _encode_domain,
    Kind.DOMAINS: _encode_domains,
    Kind.ROUTES: _encode_routes,
    Kind.SUBOPTIONS: _encode_suboptions,
    Kind.VENDOR: _encode_vendor,
    Kind.MESSAGE_TYPE: _encode_message_type,
    Kind.FQDN: _encode_hex,
    Kind.BYTES: _encode_hex,
}


# --- bytes to text ----------------------------------------------------------------------------------


def format_option(code: int, data: bytes) -> str:
    """An option's value as text, in one line without control characters, whatever the bytes (rules I11, I12).

    What is not well-formed for its option is shown in hexadecimal.
    """
    try:
        return _FORMATTERS[_kind(code)](data)
    except ValueError:
        return _format_hex(data)


def format_message(message: Message) -> str:
    """A message in one line, for logs and traces: what it is, whose, which addresses, which options."""
    words = [message_type_name(message.message_type), f"xid={message.xid:#010x}"]
    words.append(f"chaddr={message.hardware_address.hex(':') or '-'}")
    for name in ("ciaddr", "yiaddr", "siaddr", "giaddr"):
        if address := getattr(message, name):
            words.append(f"{name}={_dotted(address.to_bytes(4, 'big'))}")
    if message.broadcast_flag:
        words.append("broadcast")
    words += [
        f"{option_name(code)}=[{format_option(code, value)}]"
        for code, value in message.options.items()
        if code != c.OPT_MESSAGE_TYPE
    ]
    return " ".join(words)


def _chunks(data: bytes, size: int) -> Iterable[bytes]:
    if not data or len(data) % size:
        raise ValueError
    return (data[start : start + size] for start in range(0, len(data), size))


def _dotted(data: bytes) -> str:
    if len(data) != _ADDRESS_SIZE:
        raise ValueError
    return ".".join(map(str, data))


def _format_addresses(data: bytes) -> str:
    return ", ".join(map(_dotted, _chunks(data, 4)))


def _format_pairs(data: bytes) -> str:
    return ", ".join(f"{_dotted(pair[:4])} {_dotted(pair[4:])}" for pair in _chunks(data, 8))


def _format_number(size: int, *, signed: bool = False) -> Callable[[bytes], str]:
    def format_number(data: bytes) -> str:
        if len(data) != size:
            raise ValueError
        return str(int.from_bytes(data, "big", signed=signed))

    return format_number


def _format_numbers(size: int) -> Callable[[bytes], str]:
    return lambda data: ", ".join(str(int.from_bytes(chunk, "big")) for chunk in _chunks(data, size))


def _format_bool(data: bytes) -> str:
    if data not in (b"\0", b"\1"):
        raise ValueError
    return "true" if data[0] else "false"


def _format_flag(data: bytes) -> str:
    if data:
        raise ValueError
    return "true"


def _format_name(labels: tuple[bytes, ...]) -> str:
    return ".".join(map(printable, labels)) or "."


def _format_domain(data: bytes) -> str:
    (labels,) = decode_names(data)
    return _format_name(labels)


def _format_domains(data: bytes) -> str:
    return ", ".join(map(_format_name, decode_names(data)))


def _format_routes(data: bytes) -> str:
    texts = []
    for address, prefix_len, gateway in decode_routes(data):
        texts.append(f"{_dotted(address.to_bytes(4, 'big'))}/{prefix_len} via {_dotted(gateway)}")
    return ", ".join(texts)


def _format_hex(data: bytes) -> str:
    return data.hex(":")


def _format_tagged(tagged: Mapping[int, bytes], encode: Callable[[object], bytes], data: bytes) -> str:
    """Numbers with their bytes, if that is all there is in ``data``."""
    text = ", ".join(f"{tag}={value.hex()}" for tag, value in tagged.items())
    if encode(text) != data:
        raise ValueError
    return text


def _format_suboptions(data: bytes) -> str:
    return _format_tagged(suboptions(data), _encode_suboptions, data)


def _format_vendor(data: bytes) -> str:
    return _format_tagged(vendor_identifying(data), _encode_vendor, data)


def _format_message_type(data: bytes) -> str:
    if len(data) != 1:
        raise ValueError
    return c.MESSAGE_TYPE_NAMES.get(data[0], str(data[0]))


def _format_fqdn(data: bytes) -> str:
    fqdn = decode_fqdn(data)
    if fqdn is None:
        raise ValueError
    flags = "".join(letter for bit, letter in ((1, "S"), (2, "O"), (FQDN_ENCODED, "E"), (8, "N")) if fqdn.flags & bit)
    return f"{flags or '-'} {_format_name(fqdn.labels) if fqdn.labels else '-'}"


_FORMATTERS: Mapping[Kind, Callable[[bytes], str]] = {
    Kind.ADDRESS: _dotted,
    Kind.ADDRESSES: _format_addresses,
    Kind.PAIRS: _format_pairs,
    Kind.U8: _format_number(1),
    Kind.U16: _format_number(2),
    Kind.U32: _format_number(4),
    Kind.I32: _format_number(4, signed=True),
    Kind.U8S: _format_numbers(1),
    Kind.U16S: _format_numbers(2),
    Kind.BOOL: _format_bool,
    Kind.FLAG: _format_flag,
    Kind.STRING: printable,
    Kind.DOMAIN: _format_domain,
    Kind.DOMAINS: _format_domains,
    Kind.ROUTES: _format_routes,
    Kind.SUBOPTIONS: _format_suboptions,
    Kind.VENDOR: _format_vendor,
    Kind.MESSAGE_TYPE: _format_message_type,
    Kind.FQDN: _format_fqdn,
    Kind.BYTES: _format_hex,
}
