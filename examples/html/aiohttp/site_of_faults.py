"""A site of pages with faults, in aiohttp."""

from pathlib import Path

import aiohttp_jinja2
import jinja2
from aiohttp import web

TEMPLATES = Path(__file__).parent / "templates"


async def page(request: web.Request) -> web.Response:
    """A page by its name."""
    name = request.match_info["name"]
    return aiohttp_jinja2.render_template(f"{name}.html", request, {"title": name})


def create_app() -> web.Application:
    """The site."""
    app = web.Application()
    aiohttp_jinja2.setup(app, loader=jinja2.FileSystemLoader(TEMPLATES))
    app.router.add_get("/{name}", page)
    return app
