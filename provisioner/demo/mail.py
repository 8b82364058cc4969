"""
The demo's mail server: takes every message on loopback and keeps it as a file. Touches one port and one folder.

`python -m provisioner.demo.mail --folder mail` prints its address as its first line.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Container, Sequence
from dataclasses import dataclass
from email import policy
from email.parser import BytesParser
from pathlib import Path

#: Longest line and longest message that are taken.
LINE_MOST, MESSAGE_MOST = 4096, 1_000_000


@dataclass(frozen=True)
class Mail:
    """One message as it was taken."""

    to: str
    subject: str
    text: str
    id: str
    references: str
    file: Path


def read(folder: Path, after: Container[str] = ()) -> Sequence[Mail]:
    """Return the messages in *folder*, oldest first, but for the files named in *after*."""
    found = []
    for file in sorted(file for file in folder.glob("*.eml") if file.name not in after):
        message = BytesParser(policy=policy.default).parsebytes(file.read_bytes())
        body = message.get_body()
        found.append(
            Mail(
                to=str(message["To"]),
                subject=str(message["Subject"]).strip(),
                text=body.get_content() if body is not None else "",
                id=str(message["Message-ID"]),
                references=str(message["References"] or ""),
                file=file,
            )
        )
    return found


class Sink:
    """Speaks as much of RFC 5321 as a client needs to hand over a message."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = len(list(folder.glob("*.eml")))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take the messages of one connection."""
        try:
            await self._converse(reader, writer)
        except (OSError, ValueError, asyncio.IncompleteReadError):
            pass  # it went away, or sent what is no mail
        finally:
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        recipients = 0
        writer.write(b"220 mail sink\r\n")
        while line := await reader.readline():
            verb = line[:4].upper().rstrip()
            if verb in (b"EHLO", b"HELO", b"MAIL", b"RSET", b"NOOP"):
                recipients = 0
                writer.write(b"250 yes\r\n")
            elif verb == b"RCPT":
                recipients += 1
                writer.write(b"250 yes\r\n")
            elif verb == b"DATA" and recipients:
                writer.write(b"354 go on, end with a dot\r\n")
                self._keep(await _message(reader))
                writer.write(b"250 taken\r\n")
            elif verb == b"QUIT":
                writer.write(b"221 bye\r\n")
                await writer.drain()
                return
            else:
                writer.write(b"503 not now\r\n" if verb == b"DATA" else b"502 not here\r\n")
            await writer.drain()

    def _keep(self, message: bytes) -> None:
        """Write a message under the next number; whoever lists the folder sees whole ones only."""
        self._count += 1
        part = self._folder / f"{self._count:04}.part"
        part.write_bytes(message)
        part.rename(part.with_suffix(".eml"))


async def _message(reader: asyncio.StreamReader) -> bytes:
    """Read up to the line with a dot; a dot that begins a line was doubled."""
    taken = bytearray()
    while (line := await reader.readline()) not in (b".\r\n", b""):
        taken += line.removeprefix(b".") if line.startswith(b"..") else line
        if len(taken) > MESSAGE_MOST:
            raise ValueError
    return bytes(taken)


async def _run(folder: Path, port: int) -> None:
    server = await asyncio.start_server(Sink(folder).serve, "127.0.0.1", port, limit=LINE_MOST)
    end = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end.set)
    sys.stdout.write(f"smtp+plain://127.0.0.1:{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    async with server:
        await end.wait()


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m provisioner.demo.mail")
    parser.add_argument("--folder", type=Path, required=True, help="where the messages go, one .eml each")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    asyncio.run(_run(given.folder, given.port))


if __name__ == "__main__":
    main()
