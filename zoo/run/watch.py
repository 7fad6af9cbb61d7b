"""Processes that watch each other: where one has failed, the others end too, and say how to go on.

Without it they would wait for the failed one in their next exchange: for half an hour with NCCL.

Each process keeps a connection to the first, which its system closes when the process ends, however
it ends. A machine that is gone is noticed by the system too, within 20 seconds. Lines of text go
over them: who leaves says so, and the first process passes it on.
"""

import os
import secrets
import selectors
import socket
import sys
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from zoo.run.mistakes import ProcessLost, is_lost_connection
from zoo.run.signals import TERMINATED

GRACE = 10.0  # seconds in which a process may end by itself, when another has ended
CONNECTING = 20.0  # seconds that it may take to connect
DONE, STOPPED, FAILED, GONE = "done", "stopped", "failed", "gone"  # how a process leaves
ENDED = {
    FAILED: "has failed",
    GONE: "has ended at once, as by `kill -9` or a lack of memory",
}
# seconds until a machine that answers no more is taken for gone, and between questions; how many
KEEPALIVE = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}


class Watch(Callback):
    """Ends this process where another one of the same command has failed.

    Args:
        last: Checkpoint that the command can be repeated from; None where it writes none.

    Attributes:
        lost: What is said of the process that has failed; None as long as none has.
    """

    def __init__(self, last: Path | None = None) -> None:
        self.last = last
        self.lost: str | None = None
        self._peers: dict[int, socket.socket] = {}
        self._impossible = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Connects the processes."""
        if trainer.world_size == 1 or self._impossible:
            return
        self._trainer, self._rank = trainer, trainer.global_rank
        self._told, self._leaving = threading.Event(), threading.Event()
        server, told = None, ("", 0, "", None)
        if self._rank == 0:
            host = _host(trainer)
            server = _server(host)
            told = host, server.getsockname()[1], secrets.token_hex(16), self.last
        host, port, secret, self.last = trainer.strategy.broadcast(told)
        try:
            if server is not None:
                self._peers = _accepted(server, trainer.world_size - 1, secret)
            else:
                self._peers = {0: _connected(host, port, f"{secret} {self._rank}")}
        except OSError as error:
            self._impossible = True
            message = f"processes cannot watch each other ({host}, port {port}): {error}"
            print(message, file=sys.stderr, flush=True)
            return
        threading.Thread(target=self._listen, name="watch", daemon=True).start()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leaves the others in peace."""
        self._leave(DONE)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Says that this process ends; where another one's end is why, waits to learn which."""
        if not self._peers:
            return
        if isinstance(exception, KeyboardInterrupt):
            self._leave(STOPPED)
        elif not (is_lost_connection(exception) and self._told.wait(GRACE / 2)):
            self._leave(FAILED)

    def reason(self, error: BaseException) -> ProcessLost | None:
        """Why a connection was lost; None where an error is of another kind, or none has failed."""
        lost = self.lost is not None and is_lost_connection(error)
        return ProcessLost(str(self.lost)) if lost else None

    def _leave(self, how: str) -> None:
        peers, self._peers = self._peers, {}
        for peer in peers.values():
            with suppress(OSError):  # it has left before
                peer.sendall(f"{self._rank} {how}\n".encode())
        if peers:
            self._leaving.set()  # not before: who listens then closes the connections
        for peer in peers.values():
            with suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)  # which wakes who listens

    def _listen(self) -> None:
        """Waits for what the others say, or for their end."""
        peers = self._peers
        with selectors.DefaultSelector() as selector, ExitStack() as open_:
            for rank, peer in peers.items():
                open_.enter_context(peer)
                selector.register(peer, selectors.EVENT_READ, rank)
            while selector.get_map() and not self._leaving.is_set():
                for key, _ in selector.select():
                    selector.unregister(key.fileobj)
                    line = _line(key.fileobj) or f"{key.data} {GONE}"
                    if not line.endswith(DONE):
                        return self._lose(line, peers if self._rank == 0 else {})
            self._leaving.wait()  # who leaves first must not be taken for gone

    def _lose(self, line: str, peers: dict[int, socket.socket]) -> None:
        """Passes on who has left, and ends this process, unless it ends by itself."""
        if self._leaving.is_set():
            return
        for peer in peers.values():
            with suppress(OSError):
                peer.sendall(f"{line}\n".encode())
        rank, how = line.split()
        # where all fail alike, such as by a training that diverges, each says so itself
        if how == FAILED and self._leaving.wait(1.0):
            return
        if how in ENDED:
            self.lost = self._sentence(int(rank), how)
            if self._speaks(int(rank)):
                print(f"error: {self.lost}", file=sys.stderr, flush=True)
        self._told.set()
        time.sleep(GRACE)
        os._exit(1 if how in ENDED else TERMINATED)

    def _sentence(self, rank: int, how: str) -> str:
        found = f"process {rank + 1} of {self._trainer.world_size} {ENDED[how]}"
        if self.last is not None and self.last.is_file():
            found += f"; to go on, repeat the command with --ckpt_path {self.last}"
        return found

    def _speaks(self, lost: int) -> bool:
        """Whether this process says it: the first, or where that is lost one of each machine."""
        if lost != 0:
            return self._rank == 0
        local, node = (getattr(self._trainer, name) for name in ("local_rank", "node_rank"))
        return local == (1 if node == 0 else 0)


def _host(trainer: Trainer) -> str:
    environment = getattr(trainer.strategy, "cluster_environment", None)
    return environment.main_address if environment is not None else "127.0.0.1"


def _server(host: str) -> socket.socket:
    if host.startswith(("127.", "localhost")):  # all processes are on this machine
        return socket.create_server((host, 0))
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", 0))


def _accepted(server: socket.socket, count: int, secret: str) -> dict[int, socket.socket]:
    """The connections of all other processes, by their ranks."""
    found: dict[int, socket.socket] = {}
    with server:
        server.settimeout(CONNECTING)
        while len(found) < count:
            peer = server.accept()[0]
            peer.settimeout(CONNECTING)
            said = _line(peer).split()
            if len(said) != 2 or not secrets.compare_digest(said[0], secret):
                peer.close()  # somebody else
                continue
            found[int(said[1])] = _kept_alive(peer)
    return found


def _connected(host: str, port: int, hello: str) -> socket.socket:
    peer = socket.create_connection((host, port), timeout=CONNECTING)
    peer.sendall(f"{hello}\n".encode())
    return _kept_alive(peer)


def _kept_alive(peer: socket.socket) -> socket.socket:
    peer.settimeout(GRACE)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE.items():
        if hasattr(socket, name):  # not on all systems
            peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return peer


def _line(peer: Any) -> str:
    """A line that a process has sent; empty where its connection has ended."""
    found = b""
    with suppress(OSError):
        while not found.endswith(b"\n") and len(found) < 100:
            byte = peer.recv(1)
            if not byte:
                return ""
            found += byte
    return found.decode(errors="replace").strip()
