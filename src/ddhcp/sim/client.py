"""A model DHCP client (RFC 2131 4.4): it speaks real messages, repeats them with backoff, and has a life of its own.

What it holds is what the checkers go by: an address is a client's from the DHCPACK until the lease ends, or until it
releases or declines it, is refused it, or is acknowledged another one.
"""

from __future__ import annotations

import enum
import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..dhcp import Message
from ..dhcp import constants as c
from .engine import Timer

if TYPE_CHECKING:
    from .host import Host
    from .simulation import Simulation

CLIENT_DELAY_S = 0.001
FIRST_RETRY_S = 4.0
LONGEST_RETRY_S = 64.0
REBOOT_ATTEMPTS = 3  # unanswered INIT-REBOOT requests before the client starts over
SELECT_ATTEMPTS = 4
DECLINE_WAIT_S = 10.0  # RFC 2131 3.1.5
RESTART_AFTER_NAK_S = 1.0


class ClientState(enum.Enum):
    """RFC 2131 figure 5, with OFF for a machine that says nothing (it may hold a lease all the same)."""

    OFF = "off"
    SELECTING = "selecting"
    REQUESTING = "requesting"
    REBOOTING = "rebooting"
    BOUND = "bound"
    RENEWING = "renewing"
    REBINDING = "rebinding"


@dataclass(frozen=True, slots=True)
class Habits:
    """How one client behaves. Means are of exponential distributions, in seconds; infinity is never.

    ``roam_s``: between moves to another realm. ``sleep_s``/``asleep_s``: between sleeps, and how long they are.
    ``leave_s``/``away_s``: the same for leaving without a word; ``release_s``: for leaving with a RELEASE.
    ``forget_s``: between losses of memory. ``restart_share``: of arrivals that send DISCOVER though the client
    remembers its address; ``asks_for_old``: whether it names the old address then. ``decline_share``: of DHCPACKs that
    it answers with DECLINE. ``asks_twice``: it sends a second DISCOVER beside the first. ``new_mac``: it comes back
    under another hardware address. ``counts_from_request``: its lease runs from its request, not from the answer.
    """

    roam_s: float = math.inf
    sleep_s: float = math.inf
    asleep_s: float = 60.0
    leave_s: float = math.inf
    away_s: float = 60.0
    release_s: float = math.inf
    forget_s: float = math.inf
    restart_share: float = 0.0
    asks_for_old: bool = True
    decline_share: float = 0.0
    asks_twice: bool = False
    new_mac: bool = False
    counts_from_request: bool = True


def draw_habits(rng: random.Random, lease_s: float) -> Habits:
    """A client's habits, lively enough that each of them shows within a few leases."""

    def mean(share: float, leases: float) -> float:
        return lease_s * leases * (0.5 + rng.random()) if rng.random() < share else math.inf

    return Habits(
        roam_s=mean(0.6, 2.0),
        sleep_s=mean(0.3, 4.0),
        asleep_s=lease_s * rng.choice((0.2, 0.7, 1.5)),
        leave_s=mean(0.3, 5.0),
        away_s=lease_s * rng.choice((0.3, 1.2, 3.0)),
        release_s=mean(0.2, 5.0),
        forget_s=mean(0.2, 6.0),
        restart_share=rng.choice((0.0, 0.3, 1.0)),
        asks_for_old=rng.random() < 0.7,
        decline_share=0.05 if rng.random() < 0.1 else 0.0,
        asks_twice=rng.random() < 0.15,
        new_mac=rng.random() < 0.1,
        counts_from_request=rng.random() < 0.5,
    )


class Client:
    """One client. ``number``: in the simulation; ``host``: the node in whose realm it is."""

    def __init__(self, simulation: Simulation, number: int, rng: random.Random, habits: Habits) -> None:
        self.simulation = simulation
        self.engine = simulation.engine
        self.number = number
        self.rng = rng
        self.habits = habits
        self.host: Host | None = None
        self.state = ClientState.OFF
        self.chaddr = self._make_chaddr(0)
        self.address = 0
        self.lease_ends_at = -math.inf
        self.is_lively = True
        self.waiting_since: float | None = None
        self.discovered_at: float | None = None
        self._macs = 0
        self.old_address = 0
        self._xid = 0
        self._other_xid = 0
        self._asked_at = 0.0
        self._attempts = 0
        self._offered = 0
        self._server_id = 0
        self._t1_at = self._t2_at = math.inf
        self._timer = Timer(self.engine, self._on_timer)
        self._whim = Timer(self.engine, self._on_whim)

    def _make_chaddr(self, generation: int) -> bytes:
        """A locally administered hardware address that tells the client's number (last three bytes)."""
        return (b"\x02" + generation.to_bytes(2, "big") + self.number.to_bytes(3, "big")).ljust(16, b"\0")

    @property
    def holds_address(self) -> bool:
        """Whether an acknowledged lease of its runs."""
        return self.address != 0 and self.lease_ends_at > self.engine.now

    @property
    def is_served(self) -> bool:
        """Whether it has an address and nothing is wrong."""
        return self.state in (ClientState.BOUND, ClientState.RENEWING, ClientState.REBINDING)

    # --- coming and going -----------------------------------------------------------------------

    def join(self, host: Host) -> None:
        """Appear in the realm of ``host``: with a remembered lease ask to keep it, else for any."""
        self.host = host
        self.waiting_since = self.engine.now
        if self.is_lively:
            self._whim.set(self._next_whim())
        if self.address and not self.holds_address:
            self._drop()
        if (self.address or self.old_address) and self.rng.random() >= self.habits.restart_share:
            self._begin(ClientState.REBOOTING)
        else:
            self.discover()

    def discover(self) -> None:
        """Start over with a DISCOVER."""
        self.discovered_at = self.engine.now
        self._begin(ClientState.SELECTING)

    def go_off(self) -> None:
        """Say nothing from now on. A lease is kept to its end."""
        self.state = ClientState.OFF
        self.waiting_since = self.discovered_at = None
        self._timer.set(math.inf)

    def release(self) -> None:
        """Give the address up."""
        if self.holds_address and self.is_served:
            self._send(self._message(c.RELEASE, ciaddr=self.address, server_id=self._server_id), unicast=True)
            self._drop()
        self.go_off()

    def forget(self) -> None:
        """Lose all memory, as after a reinstallation, and start over. What was leased stays leased."""
        self.simulation.watch.trace.say(f"c{self.number} forgets")
        self.old_address = 0
        if self.habits.new_mac:
            self._come_as_another()
        if self.host is not None:
            self.waiting_since = self.engine.now
            self.discover()

    def give_way(self, host: Host) -> None:
        """A machine that nobody knows comes in its stead, to the realm of ``host``. What was leased stays leased."""
        self._come_as_another()
        self.old_address = 0
        self.join(host)

    def _come_as_another(self) -> None:
        self._drop()
        self._macs += 1
        self.simulation.rename(self, self._make_chaddr(self._macs))

    def _drop(self) -> None:
        """The address is not the client's any more; it is remembered as the one it would like."""
        if self.address:
            self.simulation.addresses.unbound(self.number, self.address)
            self.old_address, self.address = self.address, 0
            self.lease_ends_at = -math.inf

    # --- sending --------------------------------------------------------------------------------

    def _begin(self, state: ClientState) -> None:
        """Enter a state in which something is asked, and ask."""
        self.state = state
        self._attempts = 0
        self._xid = self.rng.getrandbits(32)
        self._ask()

    def _ask(self) -> None:
        now = self.engine.now
        self._attempts += 1
        self._asked_at = now
        self._timer.set(now + self._retry_delay_s())
        state = self.state
        if state is ClientState.SELECTING:
            wanted = (self.address or self.old_address) if self.habits.asks_for_old else 0
            self._send(self._message(c.DISCOVER, requested=wanted))
            if self.habits.asks_twice and self._attempts == 1:
                self._other_xid = self.rng.getrandbits(32)
                self._send(self._message(c.DISCOVER, xid=self._other_xid))
        elif state is ClientState.REQUESTING:
            self._send(self._message(c.REQUEST, requested=self._offered, server_id=self._server_id))
        elif state is ClientState.REBOOTING:
            self._send(self._message(c.REQUEST, requested=self.address or self.old_address))
        elif state is ClientState.RENEWING:
            self._send(self._message(c.REQUEST, ciaddr=self.address), unicast=True)
        else:
            self._send(self._message(c.REQUEST, ciaddr=self.address))

    def _retry_delay_s(self) -> float:
        """RFC 2131 4.1: 4, 8, 16 ... 64 s, a second more or less; half of what is left when renewing (4.4.5)."""
        if self.state is ClientState.RENEWING:
            return max(FIRST_RETRY_S, (self._t2_at - self.engine.now) / 2)
        if self.state is ClientState.REBINDING:
            return max(FIRST_RETRY_S, (self.lease_ends_at - self.engine.now) / 2)
        base_s = min(LONGEST_RETRY_S, FIRST_RETRY_S * 2.0 ** (self._attempts - 1))
        return base_s + self.rng.uniform(-1.0, 1.0)

    def _message(
        self, kind: int, *, xid: int | None = None, ciaddr: int = 0, requested: int = 0, server_id: int = 0
    ) -> Message:
        options = {c.OPT_MESSAGE_TYPE: bytes((kind,))}
        if requested:
            options[c.OPT_REQUESTED_ADDRESS] = requested.to_bytes(4, "big")
        if server_id:
            options[c.OPT_SERVER_ID] = server_id.to_bytes(4, "big")
        secs = int(self.engine.now - self.waiting_since) & 0xFFFF if self.waiting_since is not None else 0
        return Message(
            xid=self._xid if xid is None else xid, secs=secs, ciaddr=ciaddr, chaddr=self.chaddr, options=options
        )

    def _send(self, message: Message, *, unicast: bool = False) -> None:
        host = self.host
        if host is None:
            return
        self.simulation.watch.client_sent(self.number, host.number, message)
        destination = self._server_id if unicast else c.BROADCAST_ADDRESS
        self.engine.at(
            self.engine.now + CLIENT_DELAY_S, host.receive_dhcp, message.encode(), message.ciaddr, destination
        )

    # --- receiving ------------------------------------------------------------------------------

    def receive(self, host: Host, message: Message, granter: int) -> None:
        """A reply in the realm of ``host``, on the word of node ``granter``."""
        if host is not self.host:
            return
        kind = message.message_type
        if kind == c.OFFER:
            if self.state is ClientState.SELECTING and message.xid in (self._xid, self._other_xid):
                self._on_offer(message)
            return
        if message.xid != self._xid or self.state in (ClientState.OFF, ClientState.SELECTING, ClientState.BOUND):
            return
        if kind == c.ACK:
            self._on_ack(host, message, granter)
        elif kind == c.NAK:
            self._on_nak(host)

    def _on_offer(self, message: Message) -> None:
        self.simulation.offered(self)
        self.discovered_at = None
        self._offered = message.yiaddr
        self._server_id = message.server_identifier or 0
        self.state = ClientState.REQUESTING
        self._xid = message.xid
        self._attempts = 0
        self._ask()

    def _on_ack(self, host: Host, message: Message, granter: int) -> None:
        now = self.engine.now
        lease_s = message.lease_time_s or 0
        address = message.yiaddr or self.address
        if address != self.address:
            self._drop()
        why = self.state.value
        starts_at = self._asked_at if self.habits.counts_from_request else now
        self.address, self.lease_ends_at = address, starts_at + lease_s
        self._server_id = message.server_identifier or self._server_id
        t1_s, t2_s = message.t1_s, message.t2_s
        self._t1_at = starts_at + (t1_s or lease_s * 0.5)
        self._t2_at = starts_at + (t2_s or lease_s * 0.875)
        self.state = ClientState.BOUND
        self._timer.set(self._t1_at)
        self.simulation.addresses.bound(self.number, address, self.lease_ends_at, host, granter, why)
        self.simulation.acknowledged(self)
        self.waiting_since = None
        if self.habits.decline_share and self.is_lively and self.rng.random() < self.habits.decline_share:
            self._decline()

    def _decline(self) -> None:
        self._send(self._message(c.DECLINE, requested=self.address, server_id=self._server_id))
        self.simulation.refusals.declined(self.address)
        self._drop()
        self.old_address = 0
        self.state = ClientState.SELECTING
        self._attempts = 0
        self.waiting_since = self.engine.now
        self._timer.set(self.engine.now + DECLINE_WAIT_S)

    def _on_nak(self, host: Host) -> None:
        address = self.address or self.old_address
        self.simulation.refused(self, address, host, self.state is not ClientState.REQUESTING and self.holds_address)
        if self.state is not ClientState.REQUESTING:
            self._drop()
            self.old_address = 0
        self.waiting_since = self.engine.now
        self.state = ClientState.SELECTING
        self._attempts = 0
        self._timer.set(self.engine.now + RESTART_AFTER_NAK_S)

    # --- time -----------------------------------------------------------------------------------

    def _on_timer(self) -> None:
        now = self.engine.now
        state = self.state
        if state is ClientState.OFF:
            return
        if self.address and self.lease_ends_at <= now:
            self._drop()
            if state in (ClientState.BOUND, ClientState.RENEWING, ClientState.REBINDING):
                self.waiting_since = now
                self.discover()
                return
        if state is ClientState.BOUND:
            self._begin(ClientState.RENEWING if now < self._t2_at else ClientState.REBINDING)
        elif state is ClientState.RENEWING and now >= self._t2_at - 1.0:
            self._begin(ClientState.REBINDING)
        elif state is ClientState.REBINDING and now >= self.lease_ends_at - 1.0:
            self._timer.set(self.lease_ends_at)
        elif (state is ClientState.REBOOTING and self._attempts >= REBOOT_ATTEMPTS) or (
            state is ClientState.REQUESTING and self._attempts >= SELECT_ATTEMPTS
        ):
            self.discover()
        else:
            if state is ClientState.SELECTING and self.discovered_at is None:
                self.discovered_at = now
            self._ask()

    # --- a life of its own ----------------------------------------------------------------------

    def _next_whim(self) -> float:
        habits = self.habits
        rates = [
            1 / mean
            for mean in (habits.roam_s, habits.sleep_s, habits.leave_s, habits.release_s, habits.forget_s)
            if mean < math.inf
        ]
        return self.engine.now + self.rng.expovariate(sum(rates)) if rates else math.inf

    def _on_whim(self) -> None:
        """Do one of the things this client does now and then."""
        if not self.is_lively:
            return
        habits, rng = self.habits, self.rng
        choices = {
            "roam": habits.roam_s, "sleep": habits.sleep_s, "leave": habits.leave_s, "release": habits.release_s,
            "forget": habits.forget_s,
        }  # fmt: skip
        names = [name for name, mean in choices.items() if mean < math.inf]
        (what,) = rng.choices(names, [1 / choices[name] for name in names])
        self.simulation.watch.trace.say(f"c{self.number} . {what}")
        if what == "roam":
            self.join(self.simulation.random_host(rng, self.host))
            return
        if what == "forget":
            self.forget()
            self._whim.set(self._next_whim())
            return
        away_s = rng.expovariate(1 / (habits.asleep_s if what == "sleep" else habits.away_s))
        if what == "release":
            self.release()
        else:
            self.go_off()
        self._whim.set(math.inf)
        self.engine.after(away_s, self._come_back, what == "sleep")

    def _come_back(self, is_same_place: bool) -> None:
        if self.state is not ClientState.OFF:
            return
        host = self.host
        if host is None or not is_same_place or host.number in self.simulation.gone:
            host = self.simulation.random_host(self.rng, host)
        self.join(host)

    def calm_down(self) -> None:
        """Act no more, but renew: the network is to come to rest."""
        self.is_lively = False
        self._whim.set(math.inf)
