"""`fanfare bench`: a load on one running server, and what it cost.

The load generator is a small C program (bench.c), compiled on first use with the system's `cc` and run as a
process of its own, on another core than the server where there is one. This module says what to do and when,
and reads the server's CPU time and memory before and after.

A load counts only when everything sent arrived, once and in order; otherwise LoadFailed is raised. The server
may be anything with one of these transports: Bayeux over WebSocket, long-polling or EventSource, or a plain
WebSocket or event stream, such as Nchan's. Server and generator must share a machine for its CPU time to be read.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from .errors import HubError
from .protocol import tokens
from .settings import Settings, read

Transport = Literal["bayeux-websocket", "bayeux-long-polling", "bayeux-eventsource", "websocket", "eventsource"]
Publish = Literal["bayeux-websocket", "websocket", "http"]

#: How long one command to the generator may take beyond the time it was told to publish for, in seconds.
PATIENCE = 120.0

#: Seconds for which a generator that has a core to itself stays awake after something came. A send to a sleeping
#: process pays for waking it, several microseconds and more on a virtual machine: a cost of sharing a machine
#: with one's clients, and none of the server's.
SPIN = 0.0005

#: The flags that the generator is compiled with; part of the name it is kept under.
_FLAGS = ("-std=c11", "-O2")

_TICKS = os.sysconf("SC_CLK_TCK")


class LoadFailed(HubError):
    """The load could not be made, or what was sent did not all arrive once and in order."""


@dataclass(frozen=True, slots=True)
class Load:
    """Where to connect and how to publish.

    `host` is an IPv4 address. In `path`, `publish_path` and `form` the word @CHANNEL@ becomes a channel's name,
    nine characters. `form` is what publishes: the text of a WebSocket message, or a whole HTTP request. In it
    @CLIENT@ becomes the publisher's clientId, @MESSAGE eight characters that differ each time, and each `marker()`
    the data of one message. `first` is the number of the first channel. Without a delivery for `stall` seconds,
    what is outstanding counts as lost.
    """

    host: str
    port: int
    transport: Transport
    path: str
    publish: Publish
    publish_path: str
    form: str
    payload: int = 100
    channels: int = 1
    each: int = 1
    first: int = 0
    publishers: int = 1
    opening: int = 64
    positions: bool = False
    stall: float = 10.0

    def arguments(self) -> list[str]:
        values = asdict(self)
        values["positions"] = int(self.positions)
        values["publish_form"] = values.pop("form")
        return [f"{name}={value}" for name, value in values.items()]


@dataclass(frozen=True, slots=True)
class Phase:
    """One command's outcome. Times are in seconds, latencies in microseconds.

    `cpu` is what the server spent, None when its processes are not known; `generator_cpu` what we did.
    """

    seconds: float
    generator_cpu: float
    subscribers: int
    messages: int
    expected: int
    deliveries: int
    duplicates: int
    gaps: int
    refused: int
    reads: int
    received_bytes: int
    connects: int
    peak_in_flight: int
    p50_us: float = 0.0
    p90_us: float = 0.0
    p99_us: float = 0.0
    max_us: float = 0.0
    cpu: float | None = None

    @property
    def generator_load(self) -> float:
        """The part of one core that the generator used. Near 1, the wall-clock figures are the generator's."""
        return self.generator_cpu / self.seconds if self.seconds else 0.0


def marker(payload: int) -> str:
    """`payload` characters that the generator fills in and knows again; no JSON escape is needed in them."""
    head = "~" + "@" * 16
    return head + "x" * max(0, payload - len(head))


def http_request(host: str, path: str, body: str, headers: Sequence[str] = ()) -> str:
    """A POST as bytes on the wire would have it. Everything in `body` keeps its length when filled in."""
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: {host}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *headers,
        "",
        body,
    ]
    return "\r\n".join(lines)


def bayeux_publish(payload: int) -> str:
    """What a Bayeux client sends on its WebSocket to publish one message."""
    return json.dumps(
        [{"channel": "/@CHANNEL@", "data": marker(payload - 2), "clientId": "@CLIENT@", "id": "@MESSAGE"}],
        separators=(",", ":"),
    )


def fanout_publish(host: str, realm: str, key: bytes, payload: int, *, batch: int = 1, life: float = 3600.0) -> str:
    """A publish as Fanout's libraries send it: a JWT and a list of items."""
    items = [{"channel": "@CHANNEL@", "json-object": marker(payload - 2)} for _ in range(batch)]
    token = tokens.sign(realm, key, time.time(), life=life)
    body = json.dumps({"items": items}, separators=(",", ":"))
    return http_request(host, f"/realm/{realm}/publish/", body, [f"Authorization: Bearer {token}"])


class Server:
    """The processes of a server on this machine: what they have spent and what they hold.

    `pid` is the parent; its descendants count too.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def processes(self) -> list[int]:
        children: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                    children.setdefault(parent, []).append(int(entry.name))
        found = [self.pid]
        for pid in found:
            found.extend(children.get(pid, ()))
        return found

    def cpu(self) -> float:
        """User and system seconds of all processes and their threads."""
        return sum(_process_cpu(pid) for pid in self.processes())

    def resident(self) -> int:
        """Bytes of resident memory of all processes, pages they share counted in each."""
        total = 0
        for pid in self.processes():
            with contextlib.suppress(OSError):
                total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return total

    def settle(self, *, limit: float = 15.0) -> None:
        """Wait until the server has hardly worked for a quarter of a second, at most `limit` seconds."""
        end = time.monotonic() + limit
        calm, before = 0, self.cpu()
        while calm < 3 and time.monotonic() < end:
            time.sleep(0.1)
            now = self.cpu()
            calm = calm + 1 if now - before < 0.012 else 0
            before = now


def _process_cpu(pid: int) -> float:
    """Seconds a process has run.

    The scheduler's own count is in nanoseconds; where the kernel does not keep it, `stat` counts hundredths.
    """
    total = 0
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                total += int((task / "schedstat").read_text().split()[0])
        if total:
            return total / 1e9
    except OSError:
        pass
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / _TICKS


def server_at(host: str, port: int) -> Server | None:
    """The process that listens on a port of this machine, or None when it is not to be seen."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                words = line.split()
                if words[3] == "0A" and int(words[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{words[9]}]")
    pids = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if any(os.readlink(link) in inodes for link in (entry / "fd").iterdir()):
                    pids.append(int(entry.name))
    return Server(min(pids)) if pids else None


def compiled(source: Path, *, libraries: Sequence[str] = ()) -> Path:
    """The program of a C file, compiled unless that was done before. Raises LoadFailed without a compiler."""
    text = source.read_bytes()
    name = f"{source.stem}-{hashlib.sha256(text + repr((_FLAGS, libraries)).encode()).hexdigest()[:12]}"
    cache = os.environ.get("XDG_CACHE_HOME")  # noqa: TID251  # a folder of the user's, not a setting of the hub
    folder = (Path(cache) if cache else Path.home() / ".cache") / "fanfare"
    program = folder / name
    if program.exists():
        return program
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise LoadFailed("bench needs a C compiler: install gcc, or clang")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="fanfare-bench-"))
        program = folder / name
    # Compiled beside and then renamed, so that two benches never run half a program.
    with tempfile.TemporaryDirectory(dir=folder) as beside:
        made = Path(beside) / name
        result = subprocess.run(
            [compiler, *_FLAGS, "-o", str(made), str(source), *libraries],
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode:
            raise LoadFailed(f"{source.name} did not compile: {result.stderr[-2000:]}")
        made.replace(program)
    return program


def cores() -> tuple[int, int]:
    """A core for the server and one for the generator: the same when there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[-1]


class Generator:
    """The running load generator. Use it as a context manager; each method is one command.

    alone: whether nothing else that is measured runs on `core`.
    """

    def __init__(self, load: Load, server: Server | None, *, core: int | None = None, alone: bool = True) -> None:
        self.load = load
        self.server = server
        program = compiled(Path(__file__).with_name("bench.c"))
        spin = SPIN if alone and core is not None and len(os.sched_getaffinity(0)) > 1 else 0.0
        self._process = subprocess.Popen(
            [str(program), *load.arguments(), f"spin={spin}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        if core is not None:
            os.sched_setaffinity(self._process.pid, {core})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.kill()
        self._process.communicate()

    def open(self, count: int) -> Phase:
        """Open `count` more subscribers. Their CPU time is that of the whole way to the first connect."""
        return self._run(f"open {count}", settle=True)

    def give_way(self) -> None:
        """From now on take only what others leave of the core."""
        os.sched_setscheduler(self._process.pid, os.SCHED_IDLE, os.sched_param(0))

    def open_publisher(self) -> Phase:
        return self._run("publisher", settle=True)

    def reconnect(self, on: bool) -> None:
        """Whether an answered /meta/connect is followed by the next at once, as clients do."""
        self._run("reconnect on" if on else "reconnect off")

    def hold(self) -> Phase:
        """Send the connects that `reconnect(False)` kept back."""
        return self._run("hold", settle=True)

    def wait(self, seconds: float) -> Phase:
        return self._run(f"wait {seconds}", seconds=seconds)

    def flood(self, in_flight: int, seconds: float, messages: int = 0) -> Phase:
        """Publish as fast as at most `in_flight` messages allow that have not reached every subscriber."""
        return self._checked(self._run(f"flood {in_flight} {seconds} {messages}", seconds=seconds, settle=True))

    def pace(self, rate: float, seconds: float) -> Phase:
        """Publish `rate` messages a second, evenly; latency counts from when each was due."""
        return self._checked(self._run(f"pace {rate} {seconds}", seconds=seconds, settle=True))

    def _checked(self, phase: Phase) -> Phase:
        if not phase.messages:
            raise LoadFailed("Nothing was published")
        if phase.deliveries != phase.expected or phase.duplicates or phase.gaps or phase.refused:
            raise LoadFailed(
                f"The run does not count: {phase.deliveries} of {phase.expected} deliveries, "
                f"{phase.duplicates} twice, {phase.gaps} missing in order, {phase.refused} publishes refused"
            )
        return phase

    def _run(self, command: str, *, seconds: float = 0.0, settle: bool = False) -> Phase:
        before = self.server.cpu() if self.server else None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(command + "\n")
            self._process.stdin.flush()
        with _deadline(self._process, seconds + PATIENCE):
            line = self._process.stdout.readline()
        if not line:
            raise LoadFailed(f"The load generator ended during {command!r}")
        outcome: dict[str, Any] = json.loads(line)
        if "error" in outcome:
            raise LoadFailed(f"{command!r}: {outcome['error']}")
        cpu = None
        if self.server and before is not None:
            if settle:
                # What the server still does for these messages is part of their cost.
                self.server.settle()
            cpu = self.server.cpu() - before
        return Phase(**outcome, cpu=cpu)


@contextlib.contextmanager
def _deadline(process: subprocess.Popen[str], seconds: float) -> Iterator[None]:
    """Ends the generator, and with it the read of its answer, when the time is up."""
    timer = threading.Timer(seconds, process.kill)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `fanfare bench`."""
    parser.add_argument("url", nargs="?", default="http://127.0.0.1:8000/bayeux", help="where the server is")
    parser.add_argument(
        "--transport",
        choices=["bayeux-websocket", "bayeux-long-polling", "bayeux-eventsource", "websocket", "eventsource"],
        default="bayeux-websocket",
        help="how subscribers connect; the last two without Bayeux, the channel at @CHANNEL@ in the URL",
    )
    parser.add_argument("--subscribers", type=_positive, default=1000, metavar="N")
    parser.add_argument(
        "--in-flight", type=_positive, default=64, metavar="N", help="messages not yet delivered to all"
    )
    parser.add_argument("--rate", type=float, metavar="N", help="publish N messages a second instead")
    parser.add_argument("--seconds", type=float, default=5.0, metavar="S")
    parser.add_argument("--payload", type=_positive, default=100, metavar="BYTES", help="the data of one message")
    parser.add_argument(
        "--publish",
        choices=["http", "bayeux-http", "bayeux-websocket"],
        default="http",
        help="http: the Fanout API with FANOUT_REALM and FANOUT_KEY; bayeux: as a client (HUB_CLIENT_PUBLISH, …_RATE)",
    )
    parser.add_argument(
        "--publish-url", metavar="URL", help="POST messages as they are to this, such as Nchan's publisher"
    )
    parser.add_argument(
        "--publishers", type=_positive, default=16, metavar="N", help="connections that publish by HTTP"
    )
    parser.add_argument(
        "--pid", type=_positive, help="the server's process; found by its port when it is on this machine"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


def load_of(args: argparse.Namespace, realm: str, key: bytes | None) -> Load:
    """The load that the arguments ask for. Raises LoadFailed when they do not go together."""
    parts = urlsplit(args.url)
    if parts.scheme != "http" or not parts.hostname:
        raise LoadFailed("bench speaks http:// only; give it the server itself, not a proxy with TLS")
    try:
        host = socket.getaddrinfo(parts.hostname, None, socket.AF_INET)[0][4][0]
    except OSError as error:
        raise LoadFailed(f"{parts.hostname}: {error}") from None
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    publish: Publish = "http"
    publish_path = path
    if args.publish_url:
        target = urlsplit(args.publish_url)
        publish_path = target.path + (f"?{target.query}" if target.query else "")
        form = http_request(parts.netloc, publish_path, marker(args.payload))
    elif args.publish == "http":
        if key is None:
            raise LoadFailed("FANOUT_KEY is not set: set the server's, or use --publish")
        form = fanout_publish(parts.netloc, realm, key, args.payload)
    elif args.publish == "bayeux-http":
        body = json.dumps([{"channel": "/@CHANNEL@", "data": marker(args.payload - 2)}], separators=(",", ":"))
        form = http_request(parts.netloc, path, body)
    else:
        publish = "bayeux-websocket"
        form = bayeux_publish(args.payload)
    return Load(
        host=str(host),
        port=parts.port or 80,
        transport=args.transport,
        path=path or "/",
        publish=publish,
        publish_path=publish_path,
        form=form,
        payload=args.payload,
        publishers=args.publishers if publish == "http" else 1,
    )


def main(arguments: Sequence[str], environ: Mapping[str, str] | None = None) -> int:
    """`fanfare bench`: make one load and print what it cost. Returns the exit code.

    FANOUT_REALM and FANOUT_KEY come from `environ`, by default the process's own. Raises SettingsError and
    LoadFailed.
    """
    parser = argparse.ArgumentParser(
        prog="fanfare bench",
        description=__doc__.partition("\n\n")[0],
        epilog="`fanfare bench saves` measures what a declared hint costs a save.",
    )
    add_arguments(parser)
    args = parser.parse_args(arguments)
    settings = read(Settings, os.environ if environ is None else environ)  # noqa: TID251  # this is a command
    figures = measure(args, settings.realm, settings.key)
    if args.json:
        sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    else:
        for name, figure in figures.items():
            sys.stdout.write(f"{name.replace('_', ' '):28} {figure:>14,}\n")
    return 0


def measure(args: argparse.Namespace, realm: str, key: bytes | None) -> dict[str, float]:
    """The figures of one load. Raises LoadFailed."""
    load = load_of(args, realm, key)
    server = Server(args.pid) if args.pid else server_at(load.host, load.port)
    resident = server.resident() if server else 0
    with Generator(load, server, core=cores()[1]) as generator:
        opened = generator.open(args.subscribers)
        held = server.resident() - resident if server else None
        generator.open_publisher()
        if args.rate:
            sent = generator.pace(args.rate, args.seconds)
        else:
            sent = generator.flood(args.in_flight, args.seconds)
    return _figures(opened, sent, held)


def _figures(opened: Phase, sent: Phase, held: int | None) -> dict[str, float]:
    figures: dict[str, float] = {
        "subscribers": opened.subscribers,
        "connects_per_second": round(opened.subscribers / opened.seconds),
    }
    if opened.cpu:
        figures["connects_per_cpu_second"] = round(opened.subscribers / opened.cpu)
    if held is not None:
        figures["bytes_per_connection"] = round(held / opened.subscribers)
    figures |= {
        "messages": sent.messages,
        "deliveries": sent.deliveries,
        "deliveries_per_second": round(sent.deliveries / sent.seconds),
    }
    if sent.cpu:
        figures["deliveries_per_cpu_second"] = round(sent.deliveries / sent.cpu)
    for part in ("p50", "p90", "p99", "max"):
        figures[f"latency_{part}_ms"] = round(getattr(sent, f"{part}_us") / 1000, 3)
    figures["generator_load"] = round(sent.generator_load, 2)
    return figures
