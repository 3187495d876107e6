"""docs/django.md: the site that it says is written, in an empty project, and two browsers look at it."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from test_examples import KEY, ROOT, environment, hub_for, process, run

PAGE = (ROOT / "docs" / "django.md").read_text(encoding="utf-8")
FENCES = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)

#: By the path in the first line of each.
FILES = {found[1]: code for _, code in FENCES if (found := re.match(r"(?:#|<!--) ((?:mysite|comments)/[\w/.]+)", code))}


def written(folder: Path, hub: str) -> None:
    """The project, as the page says it, for this hub."""
    subprocess.run([sys.executable, "-m", "django", "startproject", "mysite", "."], cwd=folder, check=True)
    subprocess.run([sys.executable, "manage.py", "startapp", "comments"], cwd=folder, check=True)
    (folder / "comments" / "templates").mkdir()
    key = folder / "fanout.key"
    key.write_text(f"{base64.b64encode(KEY).decode()}\n")
    for name, code in FILES.items():
        code = code.replace("http://127.0.0.1:8000", hub).replace("/path/to/fanfare/var/fanout.key", str(key))
        with (folder / name).open("a" if name.endswith("settings.py") else "w", encoding="utf-8") as file:
            file.write(code)


def without_key(hub: str) -> dict[str, str]:
    env = environment(hub)
    del env["FANOUT_KEY"], env["FANOUT_URL"], env["FANOUT_REALM"]
    return env


async def test_the_site_of_the_page_shows_one_browser_what_another_wrote(
    chromium: Any, unused_tcp_port: int, tmp_path: Path
) -> None:
    assert len(FILES) == 5
    site = f"http://127.0.0.1:{unused_tcp_port}"
    async with hub_for(site, realm="fanfare") as hub:
        written(tmp_path, hub)
        env = without_key(hub)
        [commands] = (code for language, code in FENCES if language == "sh" and "runserver" in code)
        serve, *others = reversed(commands.splitlines())
        assert serve == "python manage.py runserver 8001"
        for line in reversed(others):
            done = await run("sh", "-c", line.replace("python ", f"{sys.executable} "), cwd=tmp_path, env=env)
        assert "took a publication" in done
        command = (sys.executable, "manage.py", "runserver", "--noreload", str(unused_tcp_port))
        async with process(*command, cwd=tmp_path, env=env, url=f"{site}/1/"):
            pages = [await (await chromium.new_context()).new_page() for _ in range(2)]
            for page in pages:
                await page.goto(f"{site}/1/")
                await page.wait_for_function("Fanout.status == 'websocket'")
            reader, writer = pages
            # No comment is there yet, so the text can only come by the script.
            await writer.fill("[name=text]", "written elsewhere")
            await writer.click("button")
            await reader.wait_for_selector("#comments li:has-text('written elsewhere')")


def test_a_site_needs_two_packages_of_those_of_the_hub(tmp_path: Path) -> None:
    """docs/django.md says so; the hub itself needs some thirty."""
    assert "pip install --no-deps /path/to/fanfare PyJWT orjson" in PAGE
    written(tmp_path, "http://127.0.0.1:1")
    asked = re.search(r"install_requires =\n((?: .*\n)+)", (ROOT / "setup.cfg").read_text(encoding="utf-8"))
    assert asked is not None
    names = {re.split(r"[\[>=;]", line.strip())[0].lower().replace("-", "_") for line in asked[1].splitlines()}
    assert {"pyjwt", "orjson", "aiohttp"} < names
    # A finder in front of all others, as if they were not installed. PyStemmer and the like have other names to import;
    # what needs them is behind one of these.
    refuse = (
        "import sys\n"
        "class Refuse:\n"
        f"    names = {sorted(names - {'pyjwt', 'orjson'})!r}\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0].lower() in self.names: raise ImportError(name + ' is not of the two')\n"
        "sys.meta_path.insert(0, Refuse())\n"
    )
    (tmp_path / "sitecustomize.py").write_text(refuse)
    env = without_key("") | {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    code = (
        "from comments.models import Article\n"
        "from django.template import Context, Template\n"
        "article = Article.objects.create(title='x'); article.comment_set.create(text='y')\n"
        "text = '{% load fanfare %}{% fanout_script %}{% position \"comments-\" 1 %}'\n"
        "print(Template(text).render(Context()))\n"
        "from hub.orm.django.models import Outbox; print(Outbox.objects.count(), 'waiting')\n"
    )
    for command in (["makemigrations", "comments"], ["migrate"], ["check"], ["shell", "-c", code]):
        done = subprocess.run(
            [sys.executable, "manage.py", *command], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert "fanout.js" in done.stdout
    assert "1 waiting" in done.stdout
