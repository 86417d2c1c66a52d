"""What a DHCP client of the test network runs when something happens to its lease.

One script for dhclient, udhcpc, dhcpcd and the testbed's own client. It sets the interface's address, as the
programs' usual scripts do, but leaves the machine's resolver and routes alone, and appends a line of JSON to
``events.jsonl`` in the client's directory. Started for each event, it imports the standard library only and stays
independent of the rest of the package.

    hook.py DIRECTORY PROGRAM [udhcpc's event]
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import sys
import time

EVENTS_FILE = "events.jsonl"
LOG_FILE = "log"  # what the programs print

_SIOCSIFADDR = 0x8916
_SIOCSIFNETMASK = 0x891C
_WITH_ADDRESS = frozenset({"BOUND", "RENEW", "REBIND", "REBOOT"})
_WITHOUT_ADDRESS = frozenset({"DECONFIG", "EXPIRE", "RELEASE", "FAIL", "STOP", "NAK"})


def _set_address(interface: str, address: str, netmask: str | None) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        for command, value in ((_SIOCSIFADDR, address), (_SIOCSIFNETMASK, netmask)):
            if value is not None:
                sockaddr = struct.pack("=HH4s8x", socket.AF_INET, 0, socket.inet_aton(value))
                fcntl.ioctl(handle, command, struct.pack("=16s16s8x", interface.encode(), sockaddr))


def _seconds(text: str | None) -> int | None:
    return int(text) if text else None


def main(arguments: list[str], environment: dict[str, str]) -> int:
    """Handle one event; the exit status for the DHCP client."""
    directory, program, *rest = arguments
    if program == "udhcpc":
        reason = rest[0].upper() if rest else ""
        names = ("ip", "subnet", "lease", "serverid")
    else:
        reason = environment.get("reason", "")
        names = ("new_ip_address", "new_subnet_mask", "new_dhcp_lease_time", "new_dhcp_server_identifier")
    address, netmask, lease_s, server = (environment.get(name) for name in names)
    interface = environment.get("interface", "")
    with_address = reason in _WITH_ADDRESS and address is not None
    if program != "dhcpcd" and interface:  # dhcpcd sets its interface up by itself
        if with_address and address is not None:
            _set_address(interface, address, netmask)
        elif reason in _WITHOUT_ADDRESS:
            _set_address(interface, "0.0.0.0", None)
    event = {
        "at": time.clock_gettime(time.CLOCK_BOOTTIME),
        "program": program,
        "reason": reason,
        "address": address if with_address else None,
        "lease_s": _seconds(lease_s) if with_address else None,
        "server": server if with_address else None,
        "log_bytes": os.path.getsize(os.path.join(directory, LOG_FILE)),
    }
    line = (json.dumps(event) + "\n").encode()
    fd = os.open(os.path.join(directory, EVENTS_FILE), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(fd, line)  # one write, so that a reader never sees half a line
    finally:
        os.close(fd)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], dict(os.environ)))
