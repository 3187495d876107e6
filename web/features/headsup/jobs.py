"""What is done later: a delivery is looked at, a notice is sent, old deliveries are forgotten.

`headsup push` writes, in the transaction that ends it, what the delivery told, the ledger, and a notice and its job for
each target: all of it once, whatever dies when. `headsup notice` sends one of them, at least once.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Table,
    and_,
    bindparam,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, undefer

from ...db.tables import columns_of, now
from ...pages import keys
from ...services.jobs.kinds import Every, GiveUp, Job, Kind, LeaseLost, TryAgain
from ...services.jobs.rows import New
from ...services.mail.postmen import AddressRefused
from . import judging, keeping
from .api import ApiAway, commits_of_tags, with_paths
from .cutting import cut
from .headsups import MAX_ENTRIES, HeadsUp, told
from .judging import Judged
from .limits import Day
from .models import (
    MAIL_KINDS,
    MAX_ERROR,
    MAX_NOTE,
    HeadsupAddress,
    HeadsupDelivery,
    HeadsupKept,
    HeadsupMention,
    HeadsupMessage,
    HeadsupNotice,
    HeadsupProject,
    HeadsupRefusal,
    HeadsupRule,
    HeadsupTarget,
)
from .payloads import BadPayload
from .projects import label_of, recognise, rule_of
from .pushes import Commit, Push, Repository
from .recipients import key_of
from .remark import read_remark
from .rules import AGAIN_DAYS, Entry, Plan, Rule, plan
from .settings import HeadsupSettings
from .targets import Gone, Waiting, deliver, load, refused_words

#: Of one statement: some milliseconds of the loop.
_BATCH = 200

#: Deliveries of tags that are looked through for those that were heard of.
_HEARD = 200

#: Rules by which a short delivery is looked at without a thread, if they have no patterns.
_FEW_RULES = 5

#: What a row of the ledger is found by.
_SHA, _SAMENESS = "sha", "sameness"

#: Remarks of one rule that wait for a tag: what never comes must not fill the database.
MAX_KEPT = 1_000

#: Commits of a rule that the log shows.
_SHOWN = 50


@dataclass(frozen=True, slots=True)
class _Given:
    delivery: int
    replay: bool = False


async def run_push(job: Job) -> None:
    """Look at a delivery by the rules of its project."""
    try:
        await _look(job)
    except LeaseLost:
        raise
    except Exception as error:
        if job.attempt >= PUSH.attempts:
            # Nobody looks at it again by itself: its people are told.
            async with job.app[keys.database].saving() as session:
                delivery = await session.get(HeadsupDelivery, job.data.delivery)
                if delivery is not None and delivery.state == "queued":
                    delivery.state = "done"
                    delivery.outcome = f"could not be looked at ({type(error).__name__}): send it again"
        raise


async def _look(job: Job) -> None:
    given: _Given = job.data
    async with job.app[keys.database].reading() as session:
        pair = (
            select(HeadsupDelivery, HeadsupProject)
            .join(HeadsupProject, HeadsupProject.id == HeadsupDelivery.project_id)
            .where(HeadsupDelivery.id == given.delivery)
            .options(undefer(HeadsupDelivery.body))
        )
        row = (await session.execute(pair)).one_or_none()
        if row is None or row[0].body is None:
            return
        delivery, project = row
        asked = select(HeadsupRule).where(HeadsupRule.project_id == project.id).order_by(HeadsupRule.id)
        rules = list(await session.scalars(asked))
    try:
        repository, judged, notes, remark = await _judge(job, delivery, project, rules)
    except BadPayload as error:
        async with job.saving() as session:
            await _end(job, session, delivery, str(error), "unreadable")
        return
    try:
        async with job.saving() as session:
            # One push of a project at a time: no key of a table tells that two commits have the same text.
            # The row's own key stays free, so that the hook may store deliveries meanwhile.
            locked = await session.get_one(HeadsupProject, project.id, with_for_update={"key_share": True})
            elsewhere = recognise(locked, repository)
            if elsewhere:
                await _end(job, session, delivery, elsewhere, "done")
                return
            writer = _Writer(
                job, session, locked, delivery, {rule.id: rule for rule in rules}, repository, given.replay
            )
            await writer.write(judged, notes)
            if remark:
                delivery.note = f"{delivery.note} {remark}".strip()[:MAX_NOTE]
    except IntegrityError:
        # Another delivery has told one of these commits meanwhile: look again.
        raise TryAgain("the ledger changed meanwhile", after=0.2) from None


async def _end(
    job: Job,
    session: AsyncSession,
    delivery: HeadsupDelivery,
    words: str,
    state: str,
    found: Sequence[Mapping[str, Any]] | None = None,
) -> None:
    """Write down what a delivery came to. From here on its body may be dropped."""
    # The row as it was read: what is not set here, its body and how often it came, is not written.
    session.add(delivery)
    delivery.outcome, delivery.state = words[:300], state
    if found is not None:
        delivery.found = json.dumps(found, ensure_ascii=False)
    await session.flush()
    await keeping.bound(session, delivery.project_id, job.app[keys.settings][HeadsupSettings].kept_bytes)


async def _judge(
    job: Job, delivery: HeadsupDelivery, project: HeadsupProject, rows: Sequence[HeadsupRule]
) -> tuple[Repository | None, list[Judged], Mapping[str, Sequence[str]], str]:
    """What the rules find, by ref what is to be said of how it was found, and what the project's people should know."""
    assert delivery.body is not None
    rules = [rule_of(row) for row in rows]
    known = (delivery.is_form, delivery.forge, delivery.event)
    if delivery.size > judging.PROMPT:
        answer = await job.in_process(judging.judge_packed, delivery.body, *known, rules, project.default_branch)
        if isinstance(answer, str):
            raise BadPayload(answer)
        repository, _, judged = answer
        return repository, judged, {}, ""
    body = judging.unpack(delivery.body)
    reading = partial(judging.read, body, is_form=delivery.is_form, forge=delivery.forge, event=delivery.event)
    read = reading() if judging.is_small(body) else await job.in_thread(reading)
    more: dict[str, Sequence[Commit]] = {}
    notes: dict[str, Sequence[str]] = {}
    remark = ""
    settings = job.app[keys.settings][HeadsupSettings]
    for push in read.pushes if read.repository is not None else ():
        if push.kind == "tag" and not push.deleted and any(row.tags_only for row in rows):
            asks = delivery.forge == "github" and settings.asks_api and any(row.asks_api for row in rows)
            if asks and read.repository is not None:
                heard = await _tags_heard(job, project.id)
                found = await commits_of_tags(job.app[keys.outbound], settings.api, read.repository.name, push, heard)
                more[push.ref], unknown = await _with_paths(job, read.repository.name, push, found.commits, rules)
                rest = [*([unknown] if unknown else []), *([] if found.is_whole else [_FROM_PUSHES])]
                notes[push.ref] = [*found.notes, *([found.words] if found.missed else []), *rest]
                remark = remark or found.words
    judge = partial(judging.judge, read, rules, project.default_branch, more)
    # Fifty patterns take 7 ms for a long path.
    has_patterns = len(rules) > _FEW_RULES or any(rule.paths or rule.branches or rule.tags for rule in rules)
    judged = await job.in_thread(judge) if more or has_patterns or not judging.is_small(body) else judge()
    return read.repository, judged, notes, remark


async def _with_paths(
    job: Job, name: str, push: Push, commits: Sequence[Commit], rules: Sequence[Rule]
) -> tuple[Sequence[Commit], str]:
    """Commits that GitHub has listed, with the files of those that a rule would tell; what is not known, in words."""
    asking = [rule for rule in rules if rule.asks_api and rule.tags_only and rule.paths]
    here = {each.id for each in (*push.commits, *([push.head] if push.head is not None else []))}

    def wanted() -> list[Commit]:
        return [
            each
            for each in commits
            if each.id not in here and any(read_remark(each.message, rule.words).text is not None for rule in asking)
        ]

    told = await job.in_thread(wanted) if asking else []
    if not told:
        return commits, ""
    settings = job.app[keys.settings][HeadsupSettings]
    try:
        asked = await with_paths(job.app[keys.outbound], settings.api, name, told)
    except ApiAway as error:
        return commits, f"Which files its commits touch could not be asked: {error}"
    known = {each.id: each for each in asked}
    unknown = sum(each.paths is None for each in asked)
    words = f"Of {unknown} of its commits GitHub was not asked which files they touch: they are not here."
    return [known.get(each.id, each) for each in commits], words if unknown else ""


async def _tags_heard(job: Job, project_id: int) -> set[str]:
    """Tags of which deliveries came, as far as the log goes back."""
    asked = (
        select(HeadsupDelivery.found)
        .where(HeadsupDelivery.project_id == project_id, HeadsupDelivery.found.contains('"ref": "refs/tags/'))
        .order_by(HeadsupDelivery.id.desc())
        .limit(_HEARD)
    )
    async with job.app[keys.database].reading() as session:
        rows = list(await session.scalars(asked))
    refs = [str(each.get("ref", "")) for row in rows for each in json.loads(row)]
    return {ref.removeprefix("refs/tags/") for ref in refs if ref.startswith("refs/tags/")}


_FROM_PUSHES = (
    "These are from what was pushed since this was set up, and from the tag itself; whether each is in the tag, and"
    " what was pushed before, only the forge knows."
)


#: Of a tag for which as many waited as may.
_FULL = f"More than {MAX_KEPT:,} may have waited for this tag; those beyond are in the log alone."

#: Of a tag whose commits GitHub has listed, when there are others that waited for one.
_AND_KEPT = (
    "Beside them is what was pushed to the rule's branches and waited for a tag; GitHub does not list it in this."
)


class _Writer:
    """Writes what a delivery came to, within the transaction that ends its job."""

    def __init__(
        self,
        job: Job,
        session: AsyncSession,
        project: HeadsupProject,
        delivery: HeadsupDelivery,
        rules: Mapping[int, HeadsupRule],
        repository: Repository | None,
        replay: bool,
    ) -> None:
        self._job, self._session = job, session
        self._project, self._delivery, self._rules = project, delivery, rules
        self._repository = repository
        self._replay = replay
        self._moment = now()
        self._settings: HeadsupSettings = job.app[keys.settings][HeadsupSettings]
        self._day: Day | None = None

    async def write(self, judged: Sequence[Judged], notes: Mapping[str, Sequence[str]]) -> None:
        found, count = [], 0
        for each in judged:
            rule = self._rules[each.rule_id]
            shown: dict[str, Any] = {"rule": rule.id, "label": label_of(rule), "ref": each.push.ref}
            if each.found.why:
                found.append(shown | {"why": each.found.why})
                continue
            if each.found.waits:
                left = await self._keep(each)
                why = "kept for the next tag" if each.found.entries else "told only when a tag is created"
                if left:
                    why += f", but for {left}: {MAX_KEPT:,} wait already"
                found.append(shown | {"why": why, "commits": _commits(each, Plan(each.found.entries, (), ()))})
                continue
            entries = list(each.found.entries)
            kept: Mapping[str, int] = {}
            if each.push.kind == "tag":
                entries, kept = await self._with_kept(rule.id, entries)
            decided = await self._decide(rule.id, entries, kept)
            if decided.told:
                count += len(decided.told)
                await self._tell(rule, each, decided, _notes_of(rule, each, kept, notes))
            found.append(shown | {"told": len(decided.told), "commits": _commits(each, decided)})
        await _end(self._job, self._session, self._delivery, _words(count, found), "done", found)

    async def _decide(self, rule_id: int, entries: Sequence[Entry], kept: Mapping[str, int]) -> Plan:
        """What of it is told; the ledger has it from here on, whether it is sent again or for the first time."""
        if not entries:
            return plan(entries, (), ())
        told: set[str] = set()
        recent: set[str] = set()
        known: set[str] = set()
        since = self._moment - timedelta(days=AGAIN_DAYS)
        columns = columns_of(HeadsupMention)
        is_told = or_(columns.entry.is_(None), columns.told_by.is_not(None))
        for at in range(0, len(entries), _BATCH):
            some = entries[at : at + _BATCH]
            same = columns.sameness.in_([entry.sameness for entry in some]) & (columns.at > since)
            # One question: it is asked while others wait for their turn to write.
            asked = union_all(
                select(literal(_SHA).label("what"), columns.sha.label("value"), is_told.label("told")).where(
                    columns.rule_id == rule_id, columns.sha.in_([entry.sha for entry in some])
                ),
                select(literal(_SAMENESS), columns.sameness, literal(True)).where(
                    columns.rule_id == rule_id, is_told, same
                ),
            )
            for what, value, is_told_before in await self._session.execute(asked):
                if what == _SAMENESS:
                    recent.add(value)
                else:
                    known.add(value)
                    if is_told_before:
                        told.add(value)
        # Who sends it again wants all of it, whatever was told before.
        decided = plan(entries, (), ()) if self._replay else plan(entries, told, recent)
        await self._note(rule_id, decided, known, kept)
        return decided

    async def _note(self, rule_id: int, decided: Plan, known: Collection[str], kept: Mapping[str, int]) -> None:
        """Write into the ledger that these are told. known: commits that it has.

        kept: those that waited for this tag, with their places among each other.
        """
        # What is not told again has no sameness there: AGAIN_DAYS go by what was told, or a text that comes each week
        # would never be told any more.
        shas = {entry.sha: "" for entry in decided.again}
        shas |= {sha: entry.sameness for entry in decided.told for sha in (entry.sha, *entry.others)}
        rows = [
            {"rule_id": rule_id, "sha": sha[:64], "sameness": sameness, "at": self._moment, "place": 0}
            for sha, sameness in shas.items()
            if sha not in known
        ]
        # No objects: of a push of 2,048 commits they would halt the loop for a tenth of a second.
        for batch in _batches_of(rows):
            await self._session.execute(insert(HeadsupMention), batch)
            await asyncio.sleep(0)
        taken, again = [], []
        for sha, sameness in shas.items():
            if sha in known:
                values = {"rule": rule_id, "commit": sha, "same": sameness, "moment": self._moment}
                if sha in kept:
                    taken.append(values | {"delivery": self._delivery.id, "order": kept[sha]})
                else:
                    again.append(values)
        for statement, some in ((_TAKEN, taken), (_AGAIN, again)):
            for batch in _batches_of(some):
                await self._execute(statement, batch)

    async def _execute(self, statement: Any, values: list[dict[str, Any]]) -> None:
        # Not by the session: to it these would be updates of objects by their keys, which have other names.
        await (await self._session.connection()).execute(statement, values)

    async def _keep(self, each: Judged) -> int:
        """Keep what was found in a branch for the next tag; of how many there was no room for."""
        entries = {entry.sha: entry for entry in each.found.entries}
        known: set[str] = set()
        for some in _batches(list(entries)):
            same = (HeadsupMention.rule_id == each.rule_id) & HeadsupMention.sha.in_(some)
            known |= set(await self._session.scalars(select(HeadsupMention.sha).where(same)))
        new = [entry for sha, entry in entries.items() if sha not in known]
        if not new:
            return 0
        waiting = (
            select(func.count())
            .select_from(HeadsupMention)
            .where(
                HeadsupMention.rule_id == each.rule_id,
                HeadsupMention.entry.is_not(None),
                HeadsupMention.told_by.is_(None),
            )
        )
        room = max(0, MAX_KEPT - int(await self._session.scalar(waiting) or 0))
        left, new = len(new[room:]), new[:room]
        self._session.add_all(
            HeadsupMention(
                rule_id=each.rule_id,
                sha=entry.sha[:64],
                sameness=entry.sameness,
                at=self._moment,
                place=place,
                entry=json.dumps(asdict(entry)),
            )
            for place, entry in enumerate(new)
        )
        await self._session.flush()
        return left

    async def _with_kept(self, rule_id: int, entries: list[Entry]) -> tuple[list[Entry], dict[str, int]]:
        """What was kept for this tag, before what the tag itself has; and of which commits, with their places."""
        columns = HeadsupMention
        is_waiting: ColumnElement[bool] = columns.told_by.is_(None)
        if self._replay:
            # What it told, and what waited when it came. What was kept since is the next tag's.
            is_waiting = or_(
                columns.told_by == self._delivery.id, and_(is_waiting, columns.at < self._delivery.received_at)
            )
        asked = select(columns.sha, columns.entry).where(
            columns.rule_id == rule_id, columns.entry.is_not(None), is_waiting
        )
        rows = (await self._session.execute(asked.order_by(columns.at, columns.place))).all()
        known = {entry.sha for entry in entries}
        kept = [_entry_of(row.entry) for row in rows if row.sha not in known]
        return [*kept, *entries], {row.sha: place for place, row in enumerate(rows)}

    async def _tell(self, rule: HeadsupRule, each: Judged, decided: Plan, notes: Sequence[str]) -> None:
        replay = 0
        if self._replay:
            asked = select(func.max(HeadsupMessage.replay)).where(
                HeadsupMessage.delivery_id == self._delivery.id,
                HeadsupMessage.rule_id == rule.id,
                HeadsupMessage.ref == each.push.ref,
            )
            replay = (await self._session.scalar(asked) or 0) + 1
        push, repository = each.push, self._repository
        more = list(notes)
        if push.moved:
            more.append("The tag was moved." if replay else "The tag was moved: what it told before is not repeated.")
        headsup = HeadsUp(
            repository=self._project.name,
            repository_url="" if repository is None else repository.url,
            kind=push.kind,
            ref=push.name,
            compare_url=push.compare_url,
            pusher=push.pusher,
            forced=push.forced,
            entries=tuple(told(entry) for entry in decided.told[:MAX_ENTRIES]),
            more=max(0, len(decided.told) - MAX_ENTRIES),
            again=len(decided.again),
            unseen=push.unseen,
            truncated=push.truncated,
            notes=tuple(more),
            replay=replay,
        )
        message = HeadsupMessage(
            project_id=self._project.id,
            delivery_id=self._delivery.id,
            rule_id=rule.id,
            ref=push.ref,
            replay=replay,
            is_public=repository is not None and repository.private is False,
            created_at=self._moment,
            data=json.dumps(headsup.as_data(), ensure_ascii=False),
        )
        self._session.add(message)
        await self._session.flush()
        await self._notify(rule, message)

    async def _notify(self, rule: HeadsupRule, message: HeadsupMessage) -> None:
        session = self._session
        asked = select(HeadsupTarget).where(HeadsupTarget.rule_id == rule.id).order_by(HeadsupTarget.id)
        targets = list(await session.scalars(asked))
        addresses = select(HeadsupAddress).where(HeadsupAddress.project_id == self._project.id)
        wants = {each.address: each for each in await session.scalars(addresses)}
        notices = []
        for target in targets:
            state, error = "waiting", ""
            if target.kind in MAIL_KINDS:
                state, error = await self._state_of(target, wants.get(key_of(target.address)))
            elif target.refused_at is not None:
                state, error = "refused", refused_words(target)
            notices.append(
                HeadsupNotice(
                    project_id=self._project.id,
                    message_id=message.id,
                    target_id=target.id,
                    kind=target.kind,
                    address=target.address,
                    name=target.name,
                    state=state,
                    error=error,
                    created_at=self._moment,
                    changed_at=self._moment,
                )
            )
        session.add_all(notices)
        await session.flush()
        due = [new_notice(each) for each in notices if each.state == "waiting"]
        await self._job.app[keys.jobs].add_many(session, due)

    async def _state_of(self, target: HeadsupTarget, address: HeadsupAddress | None) -> tuple[str, str]:
        if address is None or (address.confirmed_at is None and address.out_at is None):
            return "asked", "has not said yes yet"
        if address.out_at is not None:
            return "out", "wants no more"
        if target.refused_at is not None:
            return "refused", refused_words(target)
        if self._day is None:
            self._day = await Day.of(self._session, self._settings, self._project.id, self._moment)
        words = self._day.take(target.address)
        return ("limit", words) if words else ("waiting", "")


#: Of commits that the ledger has: they are told now, and those that were kept by the tag that is here.
_LEDGER = columns_of(HeadsupMention)
_TABLE: Table = HeadsupMention.metadata.tables[HeadsupMention.__tablename__]
_AGAIN = (
    update(_TABLE)
    .where(_LEDGER.rule_id == bindparam("rule"), _LEDGER.sha == bindparam("commit"))
    .values(sameness=bindparam("same"), at=bindparam("moment"))
)
_TAKEN = _AGAIN.values(told_by=bindparam("delivery"), place=bindparam("order"))


def _words(count: int, found: Sequence[Mapping[str, Any]]) -> str:
    if count:
        return "1 heads-up" if count == 1 else f"{count} heads-ups"
    if not found:
        return "there are no rules"
    reasons = list(dict.fromkeys(each.get("why") or _why_of(each["commits"]) for each in found))
    return f"nothing: {'; '.join(reasons)}"


def _why_of(commits: Sequence[Mapping[str, Any]]) -> str:
    reasons = list(dict.fromkeys(str(each["why"]) for each in commits))
    return ", ".join(reasons[:3]) if reasons else "no commits are listed"


def _commits(each: Judged, decided: Plan) -> list[dict[str, Any]]:
    """What the log shows of commits: those with remarks first."""
    groups = (("", decided.told), ("told before", decided.known), (f"again within {AGAIN_DAYS} days", decided.again))
    found = [(why, entry) for why, some in groups for entry in some][:_SHOWN]
    shown: list[dict[str, Any]] = [{"id": entry.sha, "text": cut(entry.text, 500), "why": why} for why, entry in found]
    missed: list[dict[str, Any]] = [{"id": sha, "text": None, "why": why} for sha, why in each.found.missed]
    return [*shown, *missed][:_SHOWN]


def _notes_of(
    rule: HeadsupRule, each: Judged, kept: Collection[str], notes: Mapping[str, Sequence[str]]
) -> Sequence[str]:
    """What a mail says of how its commits were found. notes: by ref, of what GitHub was asked by rules that may."""
    if each.push.kind != "tag":
        return ()
    said = notes.get(each.push.ref) if rule.asks_api else None
    full = (_FULL,) if len(kept) >= MAX_KEPT else ()
    if said is None:
        return (_FROM_PUSHES, *full)
    listed = {entry.sha for entry in each.found.entries}
    if _FROM_PUSHES not in said and any(sha not in listed for sha in kept):
        return (*said, _AND_KEPT, *full)
    return (*said, *full)


def _entry_of(text: str) -> Entry:
    values = json.loads(text)
    return Entry(**{**values, "others": tuple(values["others"])})


def _batches(values: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return _batches_of(list(dict.fromkeys(values)))


def _batches_of(rows: list[Any]) -> Iterable[list[Any]]:
    return [rows[at : at + _BATCH] for at in range(0, len(rows), _BATCH)]


def new_notice(notice: HeadsupNotice) -> New:
    """The job that sends a notice, which has its id."""
    # SQLite gives a notice's id once more when the last ones went with their project; a message's it does not.
    return New(NOTICE.name, {"notice": notice.id, "message": notice.message_id})


async def run_notice(job: Job) -> None:
    """Send a notice, and write down what became of it."""
    notice = await load(job, job.data.notice, job.data.message)
    if notice is None:
        return
    try:
        state = await deliver(job, notice)
        error = {"out": "wants no more", "refused": notice.refused}.get(state, "")
    except (AddressRefused, Gone) as refusal:
        words = str(refusal)
        job.end_with(lambda session: _remember(session, notice, job.attempt, words))
        return
    except GiveUp as refusal:
        state, error = "refused", str(refusal)
    except TryAgain as trouble:
        if job.attempt < NOTICE.attempts:
            async with job.app[keys.database].saving() as session:
                await session.run_sync(_note, notice.row, job.attempt, "waiting", str(trouble))
            raise
        state, error = "refused", f"tried {job.attempt} times: {trouble}"
    job.end_with(lambda session: _note(session, notice.row, job.attempt, state, error))


def _note(session: Session, notice: HeadsupNotice, attempt: int, state: str, error: str) -> None:
    # The row as it was read: what is not set here is not written. It costs no query, and many are one statement.
    session.add(notice)
    notice.state, notice.error = state, error[:MAX_ERROR]
    notice.attempts, notice.changed_at = attempt, now()


def _remember(session: Session, notice: Waiting, attempt: int, words: str) -> None:
    """Note that a target refuses for good, wherever the project sends to it."""
    _note(session, notice.row, attempt, "refused", words)
    for target in targets_like(session, notice.row.project_id, notice.row.kind, notice.row.address):
        if target.refused_at is None:
            target.refused_at, target.refusal = now(), words[:MAX_ERROR]


def targets_like(session: Session, project_id: int, kind: str, address: str) -> list[HeadsupTarget]:
    """The targets of a project that lead to this address."""
    kinds = MAIL_KINDS if kind in MAIL_KINDS else (kind,)
    asked = (
        select(HeadsupTarget)
        .join(HeadsupRule, HeadsupRule.id == HeadsupTarget.rule_id)
        .where(HeadsupRule.project_id == project_id, HeadsupTarget.kind.in_(kinds))
        .order_by(HeadsupTarget.id)
    )
    # Not compared by the database: SQLite knows the cases of ASCII only.
    return [each for each in session.scalars(asked) if is_same(kind, each.address, address)]


def is_same(kind: str, address: str, other: str) -> bool:
    """Whether two addresses of targets are one: mail takes any case."""
    return address == other or (kind in MAIL_KINDS and key_of(address) == key_of(other))


async def run_prune(job: Job) -> None:
    """Forget what is older than it is kept, and payloads beyond what a project may have."""
    settings: HeadsupSettings = job.app[keys.settings][HeadsupSettings]
    database = job.app[keys.database]
    before = now() - timedelta(seconds=settings.keep)
    async with database.saving() as session:
        await session.execute(delete(HeadsupDelivery).where(HeadsupDelivery.received_at < before))
        await session.execute(delete(HeadsupRefusal).where(HeadsupRefusal.last_at < before))
        # Left of projects that were deleted with their owner.
        gone = HeadsupRefusal.project_id.not_in(select(HeadsupProject.id))
        await session.execute(delete(HeadsupRefusal).where(HeadsupRefusal.project_id != 0, gone))
    await _forget_entries(job)
    async with database.reading() as session:
        projects = list(await session.scalars(select(HeadsupKept.project_id).order_by(HeadsupKept.project_id)))
    for project_id in projects:
        async with database.saving() as session:
            await keeping.recount(session, project_id, settings.kept_bytes)


async def _forget_entries(job: Job) -> None:
    """What tags have told is kept as long as they may be sent again."""
    has_entry = HeadsupMention.entry.is_not(None)
    replayed = select(HeadsupDelivery.id).where(HeadsupDelivery.kept > 0)
    asked = select(HeadsupMention.told_by).where(has_entry, HeadsupMention.told_by.not_in(replayed)).distinct()
    async with job.app[keys.database].reading() as session:
        tags = list(await session.scalars(asked))
    for some in _batches(tags):
        async with job.app[keys.database].saving() as session:
            mine = HeadsupMention.told_by.in_(some)
            await session.execute(update(HeadsupMention).where(mine, has_entry).values(entry=None))


@dataclass(frozen=True, slots=True)
class _GivenNotice:
    notice: int
    message: int | None


def _notice_data(data: Any) -> _GivenNotice:
    # Those that an earlier release added have no message.
    message = data.get("message")
    return _GivenNotice(int(data["notice"]), None if message is None else int(message))


def _push_data(data: Any) -> _Given:
    return _Given(int(data["delivery"]), bool(data.get("replay")))


PUSH = Kind(
    name="headsup push", run=run_push, parse=_push_data, limit=120.0, attempts=12, first=2.0, longest=600.0, at_once=4
)

#: As `MAIL`: a server that is away may be so for a day or two.
NOTICE = Kind(
    name="headsup notice",
    run=run_notice,
    parse=_notice_data,
    limit=180.0,
    attempts=18,
    first=60.0,
    longest=4 * 3600.0,
    at_once=5,
)

_PRUNE = Kind(name="headsup prune", run=run_prune, limit=300.0, attempts=3)

KINDS = (PUSH, NOTICE, _PRUNE)

PERIODIC = (Every(name="headsup prune", kind=_PRUNE.name, seconds=86400, offset=4 * 3600.0),)
