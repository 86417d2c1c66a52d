"""How the readers of this package refuse."""

from __future__ import annotations


class DecodeError(ValueError):
    """A datagram that is not for us or not well formed; ``reason`` is a stable name to count it under:
    ``too-short``, ``too-long``, ``foreign-swarm``, ``unknown-command`` or ``length-mismatch``; for an extension
    ``unknown-extension``, ``extension-too-new``, ``extension-too-short`` or ``extension-malformed``."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
