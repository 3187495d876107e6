"""Projects and their rules as rows: made, changed, found."""

from __future__ import annotations

from collections.abc import Sequence

from .globs import split_patterns
from .models import HeadsupProject, HeadsupRule
from .names import key_of
from .pushes import Repository
from .remark import Words
from .rules import Rule


def rule_of(row: HeadsupRule) -> Rule:
    """A rule of its row."""
    words = tuple(word for word in row.words.split("\n") if word)
    return Rule(
        id=row.id,
        words=Words(words, row.case_sensitive, row.strict, row.breaking),
        branches=split_patterns(row.branches),
        tags_only=row.tags_only,
        tags=split_patterns(row.tags),
        paths=split_patterns(row.paths),
        asks_api=row.asks_api,
    )


def label_of(row: HeadsupRule) -> str:
    """What a rule is called in the log: its words."""
    words = [word for word in row.words.split("\n") if word]
    return ", ".join([*words, *(["BREAKING CHANGE"] if row.breaking else [])])


def recognise(project: HeadsupProject, repository: Repository | None) -> str:
    """Take over what a verified delivery says of its repository; words if it is another one than the project's.

    The first delivery of the name says the id; from then on the id counts, whatever the repository is called.
    """
    if repository is None:
        return ""
    same_name = key_of(repository.name) == project.name_key
    if project.repository_id == repository.id:
        if repository.name != project.name:
            project.name, project.name_key = repository.name, key_of(repository.name)
    elif same_name:
        # Also when it was deleted and made anew: who has the secret says so.
        project.repository_id = repository.id
        project.name = repository.name
    else:
        return f"another repository: {repository.name}"
    if repository.default_branch and project.default_branch != repository.default_branch[:255]:
        project.default_branch = repository.default_branch[:255]
    return ""


def words_text(words: Sequence[str]) -> str:
    """Words as a row has them."""
    return "\n".join(words)
