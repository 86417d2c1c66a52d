"""How often somebody may do something: token buckets, in bounded memory."""

from __future__ import annotations

MAX_BUCKETS = 8192  # hardware addresses remembered by one limiter; whoever is forgotten begins with a full bucket


class RateLimiter:
    """Events by key: each key may have ``burst`` at once and ``per_s`` a second after that, all keys together
    ``total_burst`` and ``total_per_s``. A rate of 0 is no limit."""

    __slots__ = ("_buckets", "_burst", "_per_s", "_total_at", "_total_burst", "_total_per_s", "_total_tokens")

    def __init__(self, per_s: float, burst: float, total_per_s: float = 0, total_burst: float = 0) -> None:
        self._per_s, self._burst = per_s, max(1.0, burst)
        self._total_per_s, self._total_burst = total_per_s, max(1.0, total_burst)
        self._total_tokens, self._total_at = self._total_burst, 0.0
        self._buckets: dict[bytes, tuple[float, float]] = {}  # tokens, and when they were counted

    def __len__(self) -> int:
        return len(self._buckets)

    def allows(self, key: bytes, now: float) -> bool:
        """Whether ``key`` may once more, which is then counted."""
        if self._per_s:
            tokens = self._burst
            bucket = self._buckets.get(key)
            if bucket is not None:
                del self._buckets[key]
                tokens = min(tokens, bucket[0] + (now - bucket[1]) * self._per_s)
            if tokens < 1:
                self._buckets[key] = (tokens, now)
                return False
            self._buckets[key] = (tokens - 1, now)  # now the most recent one
            if len(self._buckets) > MAX_BUCKETS:
                del self._buckets[next(iter(self._buckets))]
        return self._allows_all(now)

    def _allows_all(self, now: float) -> bool:
        if not self._total_per_s:
            return True
        gained = (now - self._total_at) * self._total_per_s
        self._total_tokens, self._total_at = min(self._total_burst, self._total_tokens + gained), now
        if self._total_tokens < 1:
            return False
        self._total_tokens -= 1
        return True
