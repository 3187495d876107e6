"""The embedded engine's folders: what a restart finds, and what it does with what it can't use."""

from __future__ import annotations

import shutil
from pathlib import Path

import orjson
import pytest
from engines import Corpus, Finding, fill

from web.features.search import folders
from web.features.search.embedded import Embedded
from web.features.search.engine import Changes


@pytest.fixture(params=["quick", "slow"])
def quick(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path | None:
    """Memory that outlives a process, where there is some."""
    found = tmp_path / "quick"
    monkeypatch.setattr(folders, "QUICK", found)
    monkeypatch.setattr(folders, "ROOM", 0)
    if request.param == "slow":
        return None
    found.mkdir()
    return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "search"


async def _begun(root: Path) -> tuple[Embedded, Corpus]:
    engine, corpus = Embedded(root), Corpus()
    assert await engine.open() is None
    await fill(engine, [corpus.enter("a", title="Firefox", text="Zanzibar.")], "e.17")
    return engine, corpus


async def _reopened(root: Path) -> tuple[str | None, int, list[str]]:
    said: list[str] = []
    engine = Embedded(root, say=said.append)
    cursor = await engine.open()
    count = await engine.count()
    await engine.close()
    return cursor, count, said


def _restart(quick: Path) -> None:
    """The machine's restart: memory is empty."""
    shutil.rmtree(quick)
    quick.mkdir()


def _left(quick: Path) -> list[str]:
    return [each.name for each in quick.iterdir()]


def _kill(engine: Embedded) -> None:
    """As far as files go: nothing is written any more, and others may have the folder."""
    shelf, found = engine._shelf, engine._folders
    assert shelf is not None
    assert found is not None
    shelf.close()
    found.close(None)


async def test_a_restart_goes_on_from_the_cursor_with_all_words(quick: Path | None, root: Path) -> None:
    engine, _ = await _begun(root)
    await engine.close()
    # Nothing is left in memory by who ends in peace.
    assert quick is None or _left(quick) == []
    engine, corpus = Embedded(root), Corpus()
    corpus.enter("a", title="Firefox")
    assert await engine.open() == "e.17"
    assert await Finding(engine, corpus).urls("firefix") == ["a"]
    await engine.close()


async def test_one_that_is_killed_has_all_that_it_committed(quick: Path | None, root: Path) -> None:
    engine, corpus = await _begun(root)
    await fill(engine, [corpus.enter("b", title="Falcon")], "e.18")
    _kill(engine)
    assert await _reopened(root) == ("e.18", 2, [])


async def test_killed_between_a_commit_and_its_note_it_hears_the_last_step_again(
    quick: Path | None, root: Path
) -> None:
    engine, corpus = await _begun(root)
    await fill(engine, [corpus.enter("b", title="Falcon")])
    _kill(engine)
    assert await _reopened(root) == ("e.17", 2, [])


async def test_after_a_restart_of_the_machine_the_copy_is_taken(quick: Path | None, root: Path) -> None:
    engine, corpus = await _begun(root)
    found = engine._folders
    assert found is not None
    if quick is not None:
        assert engine._noted is not None
        found.copy(engine._noted)
        await fill(engine, [corpus.enter("b", title="Falcon")], "e.18")
        _kill(engine)
        _restart(quick)
    else:
        _kill(engine)
    assert await _reopened(root) == ("e.17", 1, [])


async def test_many_commits_and_merges_are_copied_whole(
    quick: Path | None, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "COPY", 0.0)
    engine, corpus = await _begun(root)
    for number in range(40):
        await fill(engine, [corpus.enter(f"n{number}", title=f"Falcon {number}")], f"e.{20 + number}")
    await engine.apply(Changes(drop=["post-1"], cursor="e.99"))
    _kill(engine)
    if quick is not None:
        _restart(quick)
    assert await _reopened(root) == ("e.99", 40, [])


async def test_file_that_was_copied_while_it_was_made_is_copied_again(quick: Path | None, root: Path) -> None:
    """A merge had made the file and written nothing yet; the copy kept that, and could not be read after a restart."""
    engine, _ = await _begun(root)
    found, notes = engine._folders, engine._noted
    assert found is not None
    assert notes is not None
    found.copy(notes)
    if quick is None:
        _kill(engine)
        return
    [store] = (found.slot / str(notes.number)).glob("*.store")
    whole = store.read_bytes()
    store.write_bytes(b"")
    found.copy(notes)
    assert store.read_bytes() == whole
    _kill(engine)


async def test_two_at_once_have_a_folder_each(quick: Path | None, root: Path) -> None:
    engine, _ = await _begun(root)
    await engine.close()
    first, second = Embedded(root), Embedded(root)
    assert await first.open() == "e.17"
    assert await second.open() is None
    await first.close()
    await second.close()


async def test_a_new_generation_takes_the_old_ones_place_on_disk(quick: Path | None, root: Path) -> None:
    engine, corpus = await _begun(root)
    generation = await engine.begin()
    await generation.apply(Changes([corpus.enter("b", title="Falcon"), corpus.enter("c", title="Fox")]))
    await engine.take(generation, "e.40")
    await fill(engine, [corpus.enter("d", title="Owl")], "e.41")
    await engine.close()
    assert [each.name for each in (root / "0").iterdir() if each.is_dir()] == ["2"]
    assert await _reopened(root) == ("e.41", 3, [])


async def test_killed_while_another_is_built_it_has_the_old_one(quick: Path | None, root: Path) -> None:
    engine, corpus = await _begun(root)
    generation = await engine.begin()
    await generation.apply(Changes([corpus.enter("b", title="Falcon")]))
    await fill(engine, [corpus.enter("c", title="Fox")], "e.18")
    _kill(engine)
    assert await _reopened(root) == ("e.18", 2, [])


class TestWhatCantBeUsed:
    """It is built anew, which is said once."""

    @pytest.fixture(autouse=True)
    async def _kept(self, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(folders, "QUICK", tmp_path / "nowhere")
        engine, _ = await _begun(root)
        await engine.close()

    async def test_of_another_version(self, root: Path) -> None:
        notes = root / "0" / "state.json"
        notes.write_bytes(orjson.dumps(orjson.loads(notes.read_bytes()) | {"version": ["0", "0.1"]}))
        assert await _reopened(root) == (None, 0, [f"{root / '0'}: was written by another version"])

    async def test_with_damaged_notes(self, root: Path) -> None:
        (root / "0" / "state.json").write_bytes(b"{")
        assert await _reopened(root) == (None, 0, [f"{root / '0'}: its notes can't be read"])

    async def test_damaged(self, root: Path) -> None:
        for each in (root / "0" / "1").glob("*"):
            each.write_bytes(b"damaged")
        cursor, count, said = await _reopened(root)
        assert (cursor, count, len(said)) == (None, 0, 1)
        assert said[0].startswith(f"{root / '0'}: ")

    async def test_lost(self, root: Path) -> None:
        for each in (root / "0" / "1").glob("*"):
            each.unlink()
        assert await _reopened(root) == (None, 0, [f"{root / '0'}: has no documents of 1"])
