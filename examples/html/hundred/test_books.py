"""A hundred pages, a test each: each makes the rows that its page shows."""

import pytest
from django.db import connection, transaction
from django.test import Client
from library import Book, Chapter


@pytest.fixture(scope="session", autouse=True)
def _tables():
    with connection.schema_editor() as editor:
        editor.create_model(Book)
        editor.create_model(Chapter)


@pytest.fixture(autouse=True)
def _taken_back(_tables):
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


@pytest.mark.parametrize("number", range(1, 101))
def test_book_shows_its_chapters_and_leads_to_the_others(number):
    others = [Book.objects.create(pk=1000 + n, title=f"Another book, {n}") for n in range(15)]
    book = Book.objects.create(pk=number, title=f"Book {number}", before=others[0])
    for n in range(1, 21):
        Chapter.objects.create(book=book, number=n, title=f"Chapter {n} of book {number}")
    response = Client().get(f"/books/{number}")
    assert response.status_code == 200
    assert response.content.count(b"<section") == 20
    assert response.content.count(b'href="/books/10') >= 15
