"""Comments in Flask and plain SQLAlchemy: a save anywhere shows in every open page.

    FANOUT_KEY=… gunicorn --workers 4 --preload app:app

FANOUT_URL is where the hub is, FANOUT_REALM and FANOUT_KEY (base64) what it knows us by. Comments
are in DATABASE_URL, else in a SQLite file beside this one.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path

from flask import Flask, Response, jsonify, redirect, render_template_string, request
from sqlalchemy import create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

from hub.orm.declarations import tells
from hub.orm.sqlalchemy import Notifier
from hub.publisher import SyncPublisher

HUB = os.environ.get("FANOUT_URL", "http://127.0.0.1:8000")
DATABASE = os.environ.get("DATABASE_URL", f"sqlite:///{Path(__file__).with_name('example.sqlite3')}")

app = Flask(__name__)
engine = create_engine(DATABASE.replace("postgresql://", "postgresql+psycopg://", 1))
Session = sessionmaker(engine)
publisher = SyncPublisher(
    HUB, os.environ.get("FANOUT_REALM", "fanfare"), base64.b64decode(os.environ.get("FANOUT_KEY", ""))
)


class Base(DeclarativeBase):
    pass


class Comment(Base):
    __tablename__ = "comment"
    # The one line that makes pages follow.
    __hints__ = tells("comments", lambda comment: comment.id)

    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]


notify = Notifier(publisher)
notify.bind(Session)
Base.metadata.create_all(engine)
notify.create_outbox()

PAGE = """<!doctype html>
<html lang="en">
<title>Comments</title>
<ul id="comments">{% for text in comments %}<li>{{ text }}</li>{% endfor %}</ul>
<form method="post"><label>Comment <input name="text" required></label> <button>Send</button></form>
<script src="{{ hub }}/bayeux/static/fanout.js" data-url="{{ hub }}/bayeux" crossorigin="anonymous"></script>
<script>
  const list = document.querySelector('#comments');
  Fanout.subscribe('comments', async () => {
    const texts = await (await fetch('/comments.json')).json();
    list.replaceChildren(...texts.map((text) => {
      const item = document.createElement('li');
      item.textContent = text;
      return item;
    }));
  }, { position: {{ position|tojson }} });
</script>
"""


def texts() -> list[str]:
    with Session() as session:
        return list(session.scalars(select(Comment.text).order_by(Comment.id)))


@app.get("/")
def page() -> str:
    # Read before the comments: what is saved in between is told again, never missed.
    position = publisher.position("comments") or ""
    return render_template_string(PAGE, hub=HUB, position=position, comments=texts())


@app.get("/comments.json")
def comments() -> Response:
    return jsonify(texts())


@app.post("/")
def post() -> Response:
    with Session.begin() as session:
        session.add_all(Comment(text=line) for line in request.form["text"].splitlines())
    return redirect("/")  # type: ignore[return-value]  # werkzeug's response is a response
