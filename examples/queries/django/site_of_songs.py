"""A site of songs and artists, in Django. Some of its views ask for their rows one by one."""

from pathlib import Path

import django
from django.conf import settings

TEMPLATES = Path(__file__).parent / "templates"

if not settings.configured:
    settings.configure(
        SECRET_KEY="not a secret: this is an example",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        INSTALLED_APPS=[__name__],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": [TEMPLATES]}],
    )
    django.setup()

from django.db import connection, models  # noqa: E402
from django.http import HttpResponse  # noqa: E402
from django.shortcuts import render  # noqa: E402
from django.urls import path  # noqa: E402


class Artist(models.Model):
    name = models.CharField(max_length=60)

    class Meta:
        app_label = __name__


class Song(models.Model):
    title = models.CharField(max_length=60)
    artist = models.ForeignKey(Artist, on_delete=models.CASCADE, related_name="songs")

    class Meta:
        app_label = __name__


class Playlist(models.Model):
    title = models.CharField(max_length=60)
    songs = models.ManyToManyField(Song)

    class Meta:
        app_label = __name__


def fill(count):
    """Make the tables, and put rows into them."""
    with connection.schema_editor() as editor:
        for model in (Artist, Song, Playlist):
            editor.create_model(model)
    for number in range(count):
        artist = Artist.objects.create(name=f"Artist {number}")
        songs = [Song.objects.create(title=f"Song {number}-{each}", artist=artist) for each in range(2)]
        Playlist.objects.create(title=f"Playlist {number}").songs.set(songs)


def songs_by_row(request):
    """A query for each song's artist, asked by the view."""
    songs = Song.objects.order_by("title")
    return _list(f"{song.title} by {song.artist.name}" for song in songs)


def songs(request):
    """The same with one query."""
    return _list(f"{song.title} by {song.artist.name}" for song in Song.objects.select_related("artist"))


def artists_by_row(request):
    """A query for each artist's songs, asked by the template."""
    return render(request, "artists.html", {"artists": Artist.objects.all()})


def artists(request):
    """The same with two queries."""
    return render(request, "artists.html", {"artists": Artist.objects.prefetch_related("songs")})


def counts_by_row(request):
    """A query for each artist's number of songs."""
    return _list(f"{artist.name}: {artist.songs.count()}" for artist in Artist.objects.all())


def counts(request):
    """The same with one query."""
    found = Artist.objects.annotate(count=models.Count("songs"))
    return _list(f"{artist.name}: {artist.count}" for artist in found)


def playlists_by_row(request):
    """A query for each playlist's songs."""
    lines = []
    for playlist in Playlist.objects.all():
        titles = [song.title for song in playlist.songs.all()]
        lines.append(f"{playlist.title}: {', '.join(titles)}")
    return _list(lines)


def playlists(request):
    """The same with two queries."""
    found = Playlist.objects.prefetch_related("songs")
    return _list(f"{each.title}: {', '.join(song.title for song in each.songs.all())}" for each in found)


def looked_up_by_row(request):
    """A query for each song, written by hand."""
    return _list(Song.objects.get(pk=number).title for number in range(1, 6))


def looked_up(request):
    """The same with one query."""
    found = Song.objects.in_bulk(range(1, 6))
    return _list(found[number].title for number in range(1, 6))


def _list(lines):
    return HttpResponse("\n".join(lines), content_type="text/plain")


PAIRS = [
    (songs_by_row, songs),
    (artists_by_row, artists),
    (counts_by_row, counts),
    (playlists_by_row, playlists),
    (looked_up_by_row, looked_up),
]
urlpatterns = [path(view.__name__, view) for pair in PAIRS for view in pair]
