"""Content for the first run: a town's calendar, told relative to now, and what people say about it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select

from ...db.database import Database
from ...db.tables import now
from ..comments.models import Comment
from .models import Category, Event, Status


async def fill(database: Database) -> list[str]:
    """Demo content for an empty calendar, and what to say of it."""
    count = await load(database)
    return [f"demo content: {count} events"] if count else []


async def load(database: Database) -> int:
    """Fill an empty calendar with events and comments; how many events were made.

    What exists already is left alone, so it is safe to call at each start. Of two processes doing
    so at once one does the work.
    """
    async with database.saving() as session:
        if await session.scalar(select(func.count()).select_from(Category)):
            return 0
        categories = {name: Category(name=name, slug=name.lower()) for name in CATEGORIES}
        session.add_all(categories.values())
        await session.flush()
        moment = now()
        for entry in EVENTS:
            event = Event(
                title=entry.title,
                slug=entry.slug,
                description=entry.description,
                starts_at=entry.starts_at(moment),
                status=entry.status,
                category_id=categories[entry.category].id,
                edition=1,
            )
            session.add(event)
            await session.flush()
            # Spread backwards from now, so that the newest is a few minutes old.
            for age, (name, text) in zip(
                _ages(len(entry.comments), event.starts_at - moment), entry.comments, strict=True
            ):
                session.add(Comment(thread_id=event.thread_id, name=name, text=text, posted_at=moment - age))
                await session.flush()
    return len(EVENTS)


def _ages(count: int, starts: timedelta) -> list[timedelta]:
    last = max(-starts - timedelta(hours=2), timedelta(0))
    return [last + timedelta(minutes=4 + 11 * step) for step in reversed(range(count))]


@dataclass(frozen=True, slots=True)
class Entry:
    """An event of the demo. day: from today on. hour: of the clock, UTC; of what is live now, hours from now."""

    title: str
    slug: str
    category: str
    status: Status
    day: int
    hour: float
    description: str
    comments: tuple[tuple[str, str], ...] = ()

    def starts_at(self, moment: datetime) -> datetime:
        """When it starts, seen from the moment of loading."""
        if self.status is Status.LIVE:
            moment += timedelta(hours=self.hour)
            return moment.replace(minute=moment.minute // 15 * 15, second=0, microsecond=0)
        midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
        return midnight + timedelta(days=self.day, hours=self.hour)


CATEGORIES = ("Community", "Film", "Music", "Science", "Sport", "Technology")

EVENTS = (
    Entry(
        "Brass on the Quay",
        "brass-on-the-quay",
        "Music",
        Status.LIVE,
        0,
        -1.25,
        "Three brass bands, one harbour wall, and the tide as metronome. The Saltmarsh Seven open with marches,"
        " the youth band answers from the ferry, and everyone who brought an instrument joins the last number.\n\n"
        "If it rains we move under the fish market roof, where it is louder anyway.",
        (
            ("Ines", "Can hear you from the other bank. Is that the ferry band already?"),
            ("Tobias", "It is! They are on the upper deck, horns over the rail."),
            ("Marguerite", "Best seat: the steps next to the crane. Bring a cushion."),
            ("Ola", "Is the last number the same as last year? My trumpet and I need to know."),
            ("Ruth (Saltmarsh Seven)", "Same tune, up a third. You have half an hour to practise."),
            ("Ines", "Somebody’s dog is howling in key. Give that dog a solo."),
        ),
    ),
    Entry(
        "Night of the Comet: Live from the Observatory",
        "night-of-the-comet",
        "Science",
        Status.LIVE,
        0,
        -0.5,
        "The dome is open, the sky is clear in the south-west, and the 60 cm reflector is on the comet. Dr. Amara"
        " Nwosu explains what we see while we see it, and reads your questions from below.",
        (
            ("Pelle", "What is the second, fainter tail?"),
            ("Dr. Nwosu", "Ions! They go straight away from the Sun; the dust lags behind in the curve you see."),
            ("Kim", "My daughter asks whether it makes a sound."),
            (
                "Dr. Nwosu",
                "Not one we could hear out there. But we have turned its light curve into notes; wait for it.",
            ),
            ("Jo", "Clouds here. Thank you for having a sky."),
        ),
    ),
    Entry(
        "Harbour Town v Northgate Rovers",
        "harbour-town-northgate-rovers",
        "Sport",
        Status.LIVE,
        0,
        -1,
        "League, matchday 14. Town are unbeaten at home since August, Rovers have the best goalkeeper of the"
        " division. Radio commentary from the stand, the score and every card here.",
        (
            ("Sanne", "1:0! From the corner, of course."),
            ("Dmitri", "That was never a corner."),
            ("Sanne", "It was as much a corner as my kitchen has four."),
            ("Radio Quay", "Half-time. Pie queue: eleven minutes. Tea queue: three."),
        ),
    ),
    Entry(
        "Repair Café: Bring What Is Broken",
        "repair-cafe",
        "Community",
        Status.SCHEDULED,
        1,
        14,
        "Toasters, trousers, bicycles, radios. Volunteers with solder and patience help you mend it yourself."
        " What can’t be mended is taken apart, so at least we know why.",
        (
            ("Agnes", "Will someone be there for sewing machines? Mine only goes backwards."),
            ("Hamid", "I will. Bring the pedal too, it is nearly always the pedal."),
        ),
    ),
    Entry(
        "How Our Trams Learned to Wait",
        "how-our-trams-learned-to-wait",
        "Technology",
        Status.SCHEDULED,
        2,
        18.5,
        "The signalling team of the tramway on a year of teaching timetables about people: what they measured, what"
        " they got wrong at the Mill Street crossing, and why the best fix was eight seconds long.",
        (("Line 4 regular", "Mill Street! I have opinions. Will there be a microphone?"),),
    ),
    Entry(
        "Quartet for Four Accordions",
        "quartet-for-four-accordions",
        "Music",
        Status.SCHEDULED,
        3,
        19.5,
        "New works by Liisa Ahonen and a Bach fugue that nobody asked for and everybody will hum. In the reading room"
        " of the library, which has never been less quiet.",
        (
            ("Wim", "Four? Is the room big enough?"),
            ("Librarian", "The room is. We are less sure about the windows."),
        ),
    ),
    Entry(
        "Open-Air Film: The Lighthouse Keeper’s Bicycle",
        "lighthouse-keepers-bicycle",
        "Film",
        Status.SCHEDULED,
        5,
        20.25,
        "A silent comedy from 1926, found in a loft in Northgate and restored frame by frame. With live piano, and"
        " blankets for those who come without.",
    ),
    Entry(
        "The River, Counted: What Lives in Our Water",
        "the-river-counted",
        "Science",
        Status.SCHEDULED,
        8,
        17,
        "Two hundred people took samples in spring. The biologists have finished counting and bring the results, a"
        " microscope for everyone, and one very patient crayfish.",
    ),
    Entry(
        "Half Marathon Around the Lagoon",
        "half-marathon-lagoon",
        "Sport",
        Status.SCHEDULED,
        12,
        9,
        "21.1 km, flat, windy on the dyke. Starts at the boathouse. The course is closed to cars and, as every year,"
        " not to geese.",
        (("Bea", "The geese won in my age group last year."),),
    ),
    Entry(
        "Council Questions, Answered Aloud",
        "council-questions",
        "Community",
        Status.ENDED,
        -2,
        18,
        "The mayor and two councillors on the swimming hall, the market square and the buses after nine. Everything"
        " that was asked, in the order it was asked.",
        (
            ("Yusuf", "So the swimming hall opens in March after all?"),
            ("Town hall", "In March, yes. The roof is done, the water is not."),
            ("Greta", "Thank you for answering the one about the buses. Not a good answer, but an answer."),
        ),
    ),
    Entry(
        "Hack the Greenhouse",
        "hack-the-greenhouse",
        "Technology",
        Status.ENDED,
        -4,
        9,
        "A weekend of sensors, pumps and tomatoes at the school garden. Seven teams, one flood, and a watering"
        " controller that the caretaker has asked to keep.",
        (
            ("Team Drip", "Our flood was educational."),
            ("Caretaker", "The mop is educational too. See you next year."),
        ),
    ),
    Entry(
        "Short Films from the Coast",
        "short-films-from-the-coast",
        "Film",
        Status.ENDED,
        -9,
        20,
        "Eleven films under eleven minutes by people who live within sight of the sea. The audience’s prize went to"
        " “Ebb”, four minutes about a lost boot.",
        (("Noor", "“Ebb” deserved it. I still think about the boot."),),
    ),
    Entry(
        "Choir of Everyone",
        "choir-of-everyone",
        "Music",
        Status.ENDED,
        -15,
        16,
        "Three hundred people who don’t sing, singing. No audience, no rehearsal, two songs, one conductor with"
        " nerves of steel.",
        (
            ("Second row, left", "I was told I can’t sing. I can’t. It was wonderful."),
            ("Conductor", "You were all a quarter-tone flat together. That is called harmony."),
        ),
    ),
)
