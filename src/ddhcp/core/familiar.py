"""What renewing clients sent before: a client's renewals are alike, byte for byte, but for the transaction's number and
the seconds since it began. Such a message need not be read again, nor its answer built again."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from ..dhcp import Message, ReplyTemplate
from ..values import dataclass
from .effects import Log, RunHook
from .terms import Terms

MAX_FAMILIAR: Final = 4096  # messages, the first remembered forgotten first; some 9 MB with their answers
MAX_SIZE: Final = 576  # bytes of a message; longer ones are not remembered
_XID_AT: Final = 4
_FLAGS_AT: Final = 10  # behind xid (4 bytes) and secs (2)


@dataclass(slots=True, init=False)
class Familiar:
    """A message and what was made of it. ``key``, ``hostname``: its client's identity, and what the client calls
    itself. ``answer`` acknowledges ``address`` for ``lease_s`` seconds by ``terms``; None as long as the message has
    not been answered so. ``told``: what tells others of that, None if it has not been told yet."""

    request: Message
    key: bytes
    hostname: bytes
    terms: Terms | None
    address: int
    lease_s: int
    answer: ReplyTemplate | None
    told: tuple[RunHook, Log] | None

    def __init__(self, request: Message, key: bytes) -> None:
        self.request = request
        self.key = key
        self.hostname = request.hostname
        self.terms = None
        self.address = 0
        self.lease_s = 0
        self.answer = None
        self.told = None

    def find_answer(self, terms: Terms, address: int, lease_s: int) -> ReplyTemplate | None:
        """The answer with these contents, if that is the one known."""
        return self.answer if terms is self.terms and address == self.address and lease_s == self.lease_s else None

    def learn(self, terms: Terms, address: int, lease_s: int, payload: bytes) -> None:
        """The message was acknowledged with ``payload``."""
        self.terms, self.address, self.lease_s = terms, address, lease_s
        self.answer, self.told = ReplyTemplate(payload), None

    def again(self, data: bytes) -> Message:
        """``data`` as a message: what :meth:`Familiars.find` found it to be, with a transaction of its own."""
        xid = data[4] << 24 | data[5] << 16 | data[6] << 8 | data[7]
        return self.request.repeated(xid, data[8] << 8 | data[9])


class Familiars:
    """Messages by all of their bytes that are the same each time."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, Familiar] = OrderedDict()  # see decisions.py

    def __len__(self) -> int:
        return len(self._known)

    def find(self, data: bytes) -> Familiar | None:
        """What is known of a message like ``data``."""
        return self._known.get(data[:_XID_AT] + data[_FLAGS_AT:])

    def remember(self, data: bytes, familiar: Familiar) -> None:
        """Know ``data`` again from now on."""
        if len(data) > MAX_SIZE:
            return
        if len(self._known) >= MAX_FAMILIAR:
            self._known.popitem(last=False)
        self._known[data[:_XID_AT] + data[_FLAGS_AT:]] = familiar
