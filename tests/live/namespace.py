"""Programs in a network of their own, which has loopback and nothing else: nothing that they start can reach out, and
the ports that they open meet nobody's."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SIOCGIFFLAGS, SIOCSIFFLAGS, UP = 0x8913, 0x8914, 0x1
"""linux/sockios.h, linux/if.h."""


def run(module: str, *arguments: str, timeout: float) -> subprocess.CompletedProcess[str]:
    """``python -m module arguments`` from the checkout, in a new network namespace (util-linux' ``unshare``; without
    root in a user namespace too). The program calls ``loopback_up()`` first. It sees no other processes than those that
    it started (``ray stop`` ends all that it sees), and what is left of them ends with it."""
    namespaces = ["--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    namespaces += [] if os.geteuid() == 0 else ["--map-root-user"]
    command = ["unshare", *namespaces, sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=timeout)


def loopback_up() -> None:
    """A new namespace has its loopback down; this is ``ip link set lo up``."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        flags = struct.unpack("16sh", fcntl.ioctl(control, SIOCGIFFLAGS, struct.pack("16sh", b"lo", 0)))[1]
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh", b"lo", flags | UP))
