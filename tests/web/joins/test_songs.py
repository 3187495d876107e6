"""Artists and songs are always the same."""

from __future__ import annotations

from collections import Counter

from web.features.joins.songs import all_artists, all_songs, artist, artists_of, song


def test_a_number_always_has_the_same_song_and_artist() -> None:
    assert song(1234, 100) == song(1234, 100)
    assert artist(12) == artist(12)


def test_every_song_has_an_artist_that_there_is() -> None:
    artists = {id for id, _ in all_artists(1000)}
    songs = list(all_songs(1000))
    assert [each[0] for each in songs] == list(range(1, 1001))
    assert {each[3] for each in songs} <= artists
    assert len(artists) == artists_of(1000) == 100


def test_songs_are_spread_over_artists() -> None:
    count = Counter(each[3] for each in all_songs(20_000))
    assert len(count) > 1600
    assert max(count.values()) < 40


def test_words_fit_their_columns() -> None:
    assert max(len(each[1]) for each in all_songs(5000)) < 60
    assert max(len(name) for _, name in all_artists(50_000)) < 50


def test_no_two_are_alike() -> None:
    titles = [each[1] for each in all_songs(5000)]
    assert len(set(titles)) == len(titles)
