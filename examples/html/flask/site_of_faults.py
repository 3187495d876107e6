"""A site of pages with faults, in Flask."""

from pathlib import Path

from flask import Flask, render_template

TEMPLATES = Path(__file__).parent / "templates"
app = Flask(__name__)


@app.get("/<name>")
def page(name):
    """A page by its name."""
    return render_template(f"{name}.html", title=name)
