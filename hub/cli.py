"""The hub's commands. `python -m hub` has these; `fanfare` has them with the site's.

Exit codes: 0 done, 1 it could not be done now, 2 it was asked wrongly (arguments, settings, input),
130 interrupted. An error is one line on standard error; a traceback is a bug.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import dataclasses
import errno
import importlib.util
import json
import logging
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from . import banner, logs, top, workers
from .caller import Caller
from .checkup import Finding as Finding
from .checkup import check_hub, check_key, check_redis, check_served
from .errors import BrokerError, HubError, ProtocolError, SettingsError
from .listener import Heard, Listener, Refused, parse_since
from .protocol import tokens
from .publisher import Item, encoded
from .realms import PREFIX, settings_of
from .settings import SECONDS, SIZE, Setting, Settings, describe, near_misses, new_key, read
from .siblings import Siblings

logger = logging.getLogger(__name__)

Environ = Mapping[str, str]

DONE, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130


class Wrong(HubError):
    """The command was asked wrongly; the message says how to ask."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command: `run` gets the parsed arguments and the environment, and returns the exit code."""

    name: str
    help: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, Environ], int]
    epilog: str = ""
    #: Whether it parses its own arguments; they are then `arguments`, a list.
    raw: bool = False


def group(name: str, help: str, commands: Sequence[Command]) -> Command:
    """Commands as those of one, such as `fanfare lab joins`; none of them is raw."""

    def arguments(parser: argparse.ArgumentParser) -> None:
        choices = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
        for command in commands:
            _add(choices, command, "one")

    def run(found: argparse.Namespace, environ: Environ) -> int:
        one: Command = found.one
        return one.run(found, environ)

    return Command(name, help, arguments, run)


def _add(choices: Any, command: Command, name: str) -> None:
    """Add a command to a parser's. name: of the argument that says afterwards that it is this one."""
    parser = choices.add_parser(
        command.name,
        help=command.help,
        description=command.help[0].upper() + command.help[1:] + ".",
        epilog=command.epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.arguments(parser)
    parser.set_defaults(**{name: command})


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m hub`: the hub alone; without a command it serves."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in {"-h", "--help", "--version"}):
        arguments.insert(0, "serve")
    return run("python -m hub", "A real-time hub. Without a command it serves.", HUB_COMMANDS, arguments)


def run(
    prog: str,
    description: str,
    commands: Sequence[Command],
    argv: Sequence[str],
) -> int:
    """Parse arguments and run a command; errors become one line and an exit code."""
    parser = argparse.ArgumentParser(prog=prog, description=description, epilog=f"`{prog} COMMAND --help` says more.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {_version()}")
    choices = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in commands:
        _add(choices, command, "command")
    raw = next((command for command in commands if command.raw and list(argv[:1]) == [command.name]), None)
    try:
        if raw is None:
            found = parser.parse_args(argv)
        else:
            found = argparse.Namespace(command=raw, arguments=list(argv[1:]))
    except SystemExit as stop:
        # argparse has said what is wrong.
        return stop.code if isinstance(stop.code, int) else WRONG
    try:
        code: int = found.command.run(found, dict(os.environ))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read us, `head` for one, has had enough. Python would complain once more at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except (SettingsError, Wrong, ProtocolError) as error:
        return _say_error(prog, _words(error), WRONG)
    except HubError as error:
        mend = "; no hub runs there: --url, HUB_URL or PORT say where one does" * str(error).endswith(
            ": connection refused"
        )
        return _say_error(prog, f"{error}{mend}", FAILED)
    except OSError as error:
        return _say_error(prog, _os_words(error), FAILED)
    return code


def _say_error(prog: str, text: str, code: int) -> int:
    print(f"{prog}: {shown(' '.join(text.split()))}", file=sys.stderr)
    return code


def shown(text: str) -> str:
    """A line as a terminal may be given it: what can't be printed stands as JSON escapes it.

    Another's words may have orders to the terminal in them: a hub's, and those of whoever publishes there.
    """
    return (
        text if text.isprintable() else "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in text)
    )


def _words(error: HubError) -> str:
    if isinstance(error, ProtocolError):
        return f"{error.text}: {', '.join(error.params)}" if error.params else error.text
    return str(error)


def _os_words(error: OSError) -> str:
    words = (error.strerror or str(error)).lower()
    return f"{error.filename}: {words}" if error.filename else words


def _version() -> str:
    try:
        return version("fanfare")
    except PackageNotFoundError:
        return "(not installed)"


# serve


def serve_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that stand for PORT, HOST and WEB_CONCURRENCY."""
    parser.add_argument("--port", metavar="N", help="TCP port; 0 takes a free one (PORT, else 8000)")
    parser.add_argument("--host", metavar="ADDRESS", help="address to listen on (HOST, else 127.0.0.1)")
    parser.add_argument("--workers", metavar="N", help="processes on that port (WEB_CONCURRENCY, else 1)")


def with_arguments(found: argparse.Namespace, environ: Environ) -> dict[str, str]:
    """The environment as `serve_arguments` change it."""
    given = {"PORT": found.port, "HOST": found.host, "WEB_CONCURRENCY": found.workers}
    return {**environ, **{name: value for name, value in given.items() if value is not None}}


def _serve(found: argparse.Namespace, environ: Environ) -> int:
    # Here, as in `serve_with`, because only a server needs them: `publish` starts in half the time.
    from aiohttp import web

    from .app import Hub, serve

    given = Settings.from_environ(with_arguments(found, environ))
    settings = given.with_key()

    async def work(place: Place) -> None:
        app = web.Application()
        hub = Hub(settings, siblings=place.siblings, keep=True)
        hub.setup(app)
        await serve(app, hub, place.announce, place.sock)

    def announce(url: str) -> None:
        known = banner.facts(settings, url, kept_key=given.key is None)
        print(*banner.lines(f"hub on {url}, realm {settings.realm}", known, settings.log_format), sep="\n", flush=True)

    return serve_with(settings, work, announce, environ)


@dataclass(frozen=True, slots=True)
class Place:
    """A worker's: where it listens, None for a socket of its own; whom to tell so, if anybody; the other workers."""

    sock: socket.socket | None
    announce: Callable[[str], None] | None
    siblings: Siblings | None


def serve_with(
    settings: Settings,
    work: Callable[[Place], Any],
    announce: Callable[[str], None],
    environ: Environ,
    sockets: list[socket.socket] | None = None,
) -> int:
    """Run `work`, a coroutine that serves, in this process or in several.

    announce: called once, with the URL, when the first of them listens. environ: warned of where a name in it is
    nearly a setting's. sockets: one for each worker, where they listen already; else they are opened here. Raises what
    `work` raises.
    """
    import uvloop

    logs.configure(settings.log_level, settings.log_format)
    for words in near_misses(environ):
        logger.warning(words)
    if settings.workers == 1:
        with _bind_errors(settings):
            uvloop.run(work(Place(sockets[0] if sockets else None, announce, None)))
        return DONE

    def check() -> None:
        from .app import check_files

        check_files(settings)

    # Once for them all, instead of by each of them.
    check()
    if sockets is None:
        with _bind_errors(settings):
            sockets = workers.listen(settings.host, settings.port, settings.workers, shared=settings.shared_port)

    # Only its owner may enter it.
    folder = Path(tempfile.mkdtemp(prefix="fanfare-"))

    def worker(number: int, sock: socket.socket, again: bool) -> int:
        try:
            siblings = Siblings(folder, number, settings.workers)
            uvloop.run(work(Place(sock, announce if number == 0 and not again else None, siblings)))
        except HubError as error:
            return _say_error(f"worker {number}", _words(error), FAILED)
        return DONE

    # The workers have `drain_timeout` for themselves, and some time to notice.
    try:
        return workers.supervise(sockets, worker, patience=settings.drain_timeout + 5, check=check)
    finally:
        for sock in sockets:
            sock.close()
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _bind_errors(settings: Settings) -> Any:
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        words = _os_words(error)
        if error.errno == errno.EADDRINUSE:
            # asyncio's words have the address once more.
            words = f"another server is there; stop it, or take another port, such as PORT={settings.port + 1}"
            if settings.workers > 1:
                words += "; if that is a hub which this one replaces, HUB_SHARED_PORT=true"
        raise BrokerError(f"PORT: can't listen on {settings.host}:{settings.port}: {words}") from None


# publish


def _publish_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("channel", metavar="CHANNEL", help="such as comments-17")
    parser.add_argument("data", metavar="JSON", help="any JSON value; - reads it from standard input")
    parser.add_argument("--text", action="store_true", help="publish JSON's argument as text, not as JSON")
    parser.add_argument("--id", help="idempotency key: a repeat within ten minutes changes nothing")
    parser.add_argument("--hint", action="store_true", help="only the newest matters to a slow reader")
    _realm_argument(parser)
    parser.add_argument("--url", help="the hub's (HUB_URL, else HOST and PORT say it)")


def _realm_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--realm", metavar="NAME", help="one of the file HUB_REALMS; else FANOUT_REALM's")


def _publish(found: argparse.Namespace, environ: Environ) -> int:
    settings = settings_of(Settings.from_environ(environ), found.realm)
    text = sys.stdin.read() if found.data == "-" else found.data
    item = encoded(Item(found.channel, _data(text, found.text), id=found.id, hint=found.hint))
    caller = _caller(settings, found.url)
    try:
        [told] = caller.publish([item])
    finally:
        caller.close()
    words = ["published"] if told.position is None else [f"published at {told.position}"]
    if told.subscribers == 0:
        words.append(
            "(nobody is subscribed)" if settings.redis_url is None else "(nobody is subscribed at that worker)"
        )
    print(*words)
    return DONE


def _data(text: str, plain: bool) -> object:
    if plain:
        return text.removesuffix("\n")
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        shown = text.strip()[:40]
        raise Wrong(f"not JSON: {shown!r}; say --text to publish it as text") from None


def _no_constant(name: str) -> object:
    raise ValueError(name)


def _caller(settings: Settings, url: str | None) -> Caller:
    settings = with_kept_key(settings)
    assert settings.key is not None
    try:
        return Caller(settings.hub_url if url is None else url, settings.realm, settings.key)
    except ValueError as error:
        raise Wrong(str(error)) from None


def with_kept_key(settings: Settings) -> Settings:
    """Settings with the key the hub uses; one that no hub has yet would open nothing."""
    if settings.key is None and not (settings.var / "fanout.key").exists():
        raise SettingsError(
            f"FANOUT_KEY: is not set, and no hub has made {(settings.var / 'fanout.key').absolute()} yet;"
            " HUB_VAR names another folder"
        )
    return settings.with_key()


# subscribe


def _subscribe_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("channels", metavar="CHANNEL", nargs="+", help="such as comments-17, or a pattern: 'news/*'")
    parser.add_argument("--count", type=int, metavar="N", help="end after so many publications")
    parser.add_argument("--since", action="append", default=[], metavar="CHANNEL=POSITION", help="recover from there")
    parser.add_argument("--realm", metavar="NAME", help="a realm of the hub; else the one of its host name")
    parser.add_argument("--url", help="the hub's (HUB_URL, else HOST and PORT say it)")


def _subscribe(found: argparse.Namespace, environ: Environ) -> int:
    url = found.url or Settings.from_environ(environ).hub_url
    try:
        listener = Listener(
            url if found.realm is None else f"{url.rstrip('/')}{PREFIX}{quote(found.realm, safe='')}",
            found.channels,
            since=dict(parse_since(text) for text in found.since),
            on_pause=lambda reason, seconds: print(f"{shown(reason)}; again in {seconds:.0f} s", file=sys.stderr),
        )
    except ValueError as error:
        raise Wrong(str(error)) from None
    left = found.count
    try:
        for heard in listener.listen(once=True):
            if isinstance(heard, Heard):
                line = {"channel": heard.channel, "data": heard.data, "position": heard.position}
                print(shown(json.dumps(line, ensure_ascii=False, separators=(",", ":"))), flush=True)
                if left is not None:
                    left -= 1
                    if left <= 0:
                        break
            else:
                print(f"{shown(heard.channel)}: publications may be missing here", file=sys.stderr)
    except Refused as error:
        raise Wrong(str(error)) from None
    finally:
        listener.close()
    return DONE


# token


def _token_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--life", type=float, default=tokens.LIFE_SECONDS, metavar="SECONDS", help="default 600")
    parser.add_argument(
        "--channel", action="append", default=[], metavar="CHANNEL", help="for a listener: may subscribe there"
    )
    parser.add_argument(
        "--publish", action="append", default=[], metavar="CHANNEL", help="for a listener: may publish there"
    )
    parser.add_argument("--user", help="for a listener: who it is")
    _realm_argument(parser)
    parser.add_argument("--new-key", action="store_true", help="print a new realm key instead, for FANOUT_KEY")


def _token(found: argparse.Namespace, environ: Environ) -> int:
    if found.new_key:
        print(base64.b64encode(new_key()).decode())
        return DONE
    if not 0 < found.life < 10 * 365 * 86400:
        raise Wrong("--life: seconds, more than 0 and less than ten years")
    settings = with_kept_key(settings_of(Settings.from_environ(environ), found.realm))
    assert settings.key is not None
    claims: dict[str, object] = {}
    if found.channel or found.publish:
        claims = {"channels": found.channel, "publish": found.publish}
    if found.user is not None:
        claims["sub"] = found.user
    print(tokens.sign(settings.realm, settings.key, time.time(), life=found.life, **claims))
    return DONE


# settings


def _settings_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--markdown", action="store_true", help="as a table for the docs, defaults only")


def settings_command(tables: Callable[[], Sequence[tuple[str, type[Any]]]]) -> Command:
    """The command that lists these tables of settings, each setting once."""

    def run(found: argparse.Namespace, environ: Environ) -> int:
        seen: set[str] = set()
        for title, table in tables():
            rows = [row for row in describe(table) if row.variable not in seen]
            seen |= {row.variable for row in rows}
            if found.markdown:
                print(markdown(rows))
            else:
                values = read(table, environ)
                print(f"{title}\n")
                for row in rows:
                    print(_shown(row, getattr(values, row.field)))
                print()
        return DONE

    return Command("settings", "list every setting, its value here and what it means", _settings_arguments, run)


def _shown(row: Setting, value: object) -> str:
    changed = "" if value == row.default else f"   (default {row.show(row.default) or 'none'})"
    return f"{row.variable}={row.show(value)}{changed}\n    {row.help} [{row.kind.name}]"


def markdown(rows: Sequence[Setting]) -> str:
    """Settings as a Markdown table."""
    lines = ["| variable | kind | default | what |", "|---|---|---|---|"]
    for row in rows:
        kind = row.kind.name.replace("|", "or")
        default = f"`{row.show(row.default)}`" if row.show(row.default) else ""
        lines.append(f"| `{row.variable}` | {kind} | {default} | {row.help} |")
    return "\n".join(lines)


# check


def _check_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "about", nargs="*", metavar="channel NAME", help="say instead which rule decides about a channel or a pattern"
    )
    parser.add_argument(
        "--token",
        help="with `channel NAME`: what this token changes; - reads it from standard input, as everybody on the machine"
        " may read arguments",
    )
    _realm_argument(parser)
    parser.add_argument("--url", help="the running hub to ask (HUB_URL, else HOST and PORT say it); not with `channel`")


def check_command(others: Callable[[Environ], list[Finding]] | None = None) -> Command:
    """The command that looks whether everything this needs is there. others: more to look at."""

    def run(found: argparse.Namespace, environ: Environ) -> int:
        if found.about and (len(found.about) != 2 or found.about[0] != "channel"):
            raise Wrong("check what? `check` alone, or `check channel NAME`")
        # If an option were ignored, it would seem to have been checked.
        if found.token is not None and not found.about:
            raise Wrong("--token: for which channel? say `check channel NAME --token …`")
        if found.url is not None and found.about:
            raise Wrong("--url: `check channel NAME` reads the settings here and asks no running hub")
        default = Settings.from_environ(environ)
        settings = settings_of(default, found.realm)
        if found.about:
            token = sys.stdin.readline().strip() if found.token == "-" else found.token
            for line in _explain(settings, found.about[1], token, listed=settings.realm != default.realm):
                print(line)
            return DONE
        findings: list[Finding] = [("settings", True, "every variable is known and parses")]
        findings += [("settings", False, words) for words in near_misses(environ)]
        try:
            settings = with_kept_key(settings)
            findings.append(check_key(settings))
        except SettingsError as error:
            findings.append(("key", False, str(error)))
        if settings.rules is not None:
            findings.append(_check_rules(settings, listed=settings.realm != default.realm))
        if settings.realms is not None:
            findings.append(_check_realms(settings))
        if settings.redis_url is not None:
            findings.append(check_redis(settings.redis_url))
        if others is not None:
            findings.extend(others(environ))
        url = (found.url or settings.hub_url).rstrip("/")
        findings += check_hub(url, settings, own=found.url is None and settings.url is None)
        if settings.realm != default.realm:
            findings.append(check_served(url, settings.realm))
        for name, well, text in findings:
            print(f"{'ok  ' if well else 'FAIL'}  {name}: {text}")
        return DONE if all(well for _, well, _ in findings) else FAILED

    return Command(
        "check", "try all that the hub needs: settings, key, Redis, and the running hub", _check_arguments, run
    )


def _explain(settings: Settings, name: str, token: str | None, *, listed: bool) -> list[str]:
    """What a realm's rules say of a channel or pattern, a line for each action, and what is kept of a channel.

    listed: the realm is of the file HUB_REALMS.
    """
    from .app import new_access, new_histories
    from .protocol.access import ACTIONS, NOBODY, Who
    from .protocol.channels import from_fanout, is_wild, to_fanout

    pattern = from_fanout(name)
    access = new_access(settings if token is None else with_kept_key(settings), listed=listed)
    who = NOBODY if token is None else Who(grant=access.grant(token, time.time()))
    lines = []
    for action in ACTIONS:
        decision = access.decide(action, pattern, who)
        lines.append(f"{action:<10} {'yes' if decision.allowed else 'no ':<4} {decision.why}   [{decision.rule}]")
    if is_wild(pattern):
        lines.extend(f"but not heard with it: {what}" for what in access.unheard(pattern))
    else:
        histories = new_histories(settings, listed=listed)
        keep, rule = histories.of(pattern), histories.rule_of(pattern)
        kept = f"{keep.count} publications, {SECONDS.show(keep.seconds)}, {SIZE.show(keep.bytes)}"
        lines.append(f"{'kept':<10} {kept}   [{rule or 'HUB_HISTORY_…'}]")
    return [f"{to_fanout(pattern)}", *lines]


def _check_rules(settings: Settings, *, listed: bool) -> Finding:
    from .app import new_access, new_histories

    try:
        access = new_access(settings, listed=listed)
        new_histories(settings, listed=listed)
    except SettingsError as error:
        return "rules", False, str(error)
    written = sum(str(settings.rules) in rule.source for rule in access.rules)
    return "rules", True, f"{written} in {settings.rules}"


def _check_realms(settings: Settings) -> Finding:
    """Whether the hub would take the realms of HUB_REALMS, each with its rules."""
    from .app import check_realms

    try:
        entries = check_realms(settings)
    except SettingsError as error:
        return "realms", False, str(error)
    names = [f"{entry.name} ({', '.join((f'{entry.name}.*', *entry.hosts))})" for entry in entries]
    return "realms", True, f"{len(entries)} in {settings.realms}: {'; '.join(names)}" if names else "none"


# top, trace


def _top_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="print it once, and end")
    parser.add_argument("--json", action="store_true", help="what the hub says, as one line of JSON each time")
    parser.add_argument("--every", type=float, default=2.0, metavar="SECONDS", help="between looks; default 2")
    parser.add_argument("--seconds", type=int, default=900, help="how far the small pictures go back; default 900")
    parser.add_argument("--url", help="the hub's (HUB_URL, else HOST and PORT say it)")


def _top(found: argparse.Namespace, environ: Environ) -> int:
    if not found.every >= 1:
        raise Wrong("--every: a second or more; looking is not free")
    caller = _caller(Settings.from_environ(environ), found.url)
    is_screen = sys.stdout.isatty() and not found.json and not found.once
    style = top.Style(colours=sys.stdout.isatty() and "NO_COLOR" not in environ)
    try:
        while True:
            now = _looked(caller.look("now"))
            if found.json:
                print(json.dumps(now, ensure_ascii=False), flush=True)
            else:
                history = _looked(caller.look("history", seconds=str(found.seconds)))
                size = shutil.get_terminal_size((100, 40))
                lines = top.screen(now, history, size.columns, style)
                if is_screen:
                    # Home, each line with what is left of it cleared, and all below.
                    lines = lines[: size.lines - 1]
                    print("\x1b[H" + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J", end="", flush=True)
                else:
                    print(*lines, sep="\n", flush=True)
            if found.once:
                return DONE
            time.sleep(found.every)
    finally:
        caller.close()


def _looked(answer: Any) -> Any:
    if not isinstance(answer, dict):
        raise BrokerError(
            "what answers says nothing of itself: a hub of an earlier release, or one with HUB_INSIDE=false"
        )
    return answer


def _trace_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("channel", metavar="CHANNEL", help="such as comments-17")
    parser.add_argument("--offset", metavar="N", help="which message: its number, or its position; else the newest")
    parser.add_argument("--json", action="store_true", help="as one line of JSON")
    parser.add_argument("--url", help="the hub's (HUB_URL, else HOST and PORT say it)")


def _trace(found: argparse.Namespace, environ: Environ) -> int:
    caller = _caller(Settings.from_environ(environ), found.url)
    query = {"channel": found.channel} | ({} if found.offset is None else {"offset": found.offset})
    try:
        way = _looked(caller.look("trace", **query))
    finally:
        caller.close()
    if found.json:
        print(json.dumps(way, ensure_ascii=False))
    else:
        style = top.Style(colours=sys.stdout.isatty() and "NO_COLOR" not in environ)
        for line in top.way(way, style):
            # The message's data may have orders to the terminal in it; our own colours are on the first line alone.
            print(line if line.startswith("\x1b") else shown(line))
    return DONE if way["workers"] else FAILED


# doctor


def _doctor_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "url", metavar="URL", nargs="?", help="as browsers have it (HUB_URL, else HOST and PORT say it)"
    )
    parser.add_argument(
        "--origin", action="append", default=[], metavar="ORIGIN", help="of pages that must get in; may be repeated"
    )
    parser.add_argument(
        "--hold", type=float, metavar="SECONDS", help="how long polls and idle sockets are tried; else as the hub holds"
    )
    parser.add_argument("--json", action="store_true", help="a line of JSON for each finding")
    _realm_argument(parser)


def _doctor(found: argparse.Namespace, environ: Environ) -> int:
    from .doctor import Doctor

    settings = settings_of(Settings.from_environ(environ), found.realm)
    with contextlib.suppress(SettingsError):
        settings = with_kept_key(settings)
    if found.hold is not None and not 1 <= found.hold <= 600:
        raise Wrong("--hold: seconds, from 1 to 600")
    try:
        doctor = Doctor(found.url or settings.hub_url, settings, origins=found.origin, hold=found.hold)
    except ValueError as error:
        raise Wrong(str(error)) from None
    faults = 0
    for finding in doctor.look():
        faults += finding.state == "fault"
        if found.json:
            print(json.dumps(dataclasses.asdict(finding), ensure_ascii=False), flush=True)
            continue
        label = {"ok": "ok   ", "note": "note ", "fault": "FAULT"}[finding.state]
        print(shown(f"{label} {finding.name}: {finding.words}"))
        if finding.mend:
            print(shown(f"      mend: {finding.mend}"))
        sys.stdout.flush()
    if not found.json:
        print("Nothing is wrong." if not faults else f"{faults} fault{'' if faults == 1 else 's'}.")
    return FAILED if faults else DONE


# bench


def _bench(found: argparse.Namespace, environ: Environ) -> int:
    if importlib.util.find_spec("hub.bench") is None:
        raise Wrong("this installation has no bench")
    if found.arguments[:1] == ["saves"]:
        code: int = importlib.import_module("hub.bench_saves").main(found.arguments[1:], environ)
    else:
        code = importlib.import_module("hub.bench").main(found.arguments)
    return code


SERVE = Command("serve", "serve the hub", serve_arguments, _serve)

#: Commands that work on any hub, running here or elsewhere.
COMMON = (
    Command(
        "publish",
        "publish to a channel of a running hub",
        _publish_arguments,
        _publish,
        epilog="example: publish comments-17 '{\"id\": 3}'",
    ),
    Command(
        "subscribe",
        "print what is published to channels, one JSON object a line, until interrupted",
        _subscribe_arguments,
        _subscribe,
        epilog="Recovers what it misses while the hub is away; what can't be recovered is said on standard error.",
    ),
    Command("token", "print a token that may publish, one for a listener, or a new key", _token_arguments, _token),
    Command(
        "top",
        "show what a running hub is doing, until interrupted: health, lateness, channels, workers",
        _top_arguments,
        _top,
        epilog="example: top --once",
    ),
    Command(
        "trace",
        "show the way of one message: who published it, who heard it, to how many it was written",
        _trace_arguments,
        _trace,
        epilog="example: trace comments-17 --offset 12",
    ),
    Command(
        "doctor",
        "look at a running hub through the address that browsers use, and say what is in its way",
        _doctor_arguments,
        _doctor,
        epilog="example: doctor https://hub.example.org --origin https://www.example.org",
    ),
    Command(
        "bench",
        "measure a hub (`bench URL`), or what a hint costs a save (`bench saves`)",
        lambda parser: None,
        _bench,
        raw=True,
    ),
)

HUB_COMMANDS = (SERVE, *COMMON, check_command(), settings_command(lambda: [("Hub", Settings)]))
