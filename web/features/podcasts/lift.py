"""What people with the same taste hear: podcasts that are picked together more often than by chance. Pure.

Lift is how many times more often two are in one list than if lists were drawn at random. Of rare podcasts it is huge
by accident, so each pair is drawn towards chance by some lists that were never made (shrinkage); and a pair that only
one list has is nobody's business: two at least.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

#: Lists that a pair must be in.
SUPPORT = 2

#: Lists, as chance would have them, that are added to each pair.
SHRINKAGE = 3.0


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A podcast to look at. because: the picked one that says so most, and `lists` in how many lists both are.

    Without a pair it is there for being picked often: because is None, lists how many have it.
    """

    podcast: int
    score: float
    because: int | None
    lists: int

    def reason(self, names: Mapping[int, str]) -> str:
        """In words: "in 7 lists with Planet Money"."""
        if self.because is None:
            return f"in {self.lists} lists"
        return f"in {self.lists} lists with {names[self.because]}"


def lift(together: int, one: int, other: int, lists: int) -> float:
    """The shrunken lift of a pair: 1 is chance. one, other: lists that have each; lists: all there are."""
    return (together + SHRINKAGE) / (one * other / max(lists, 1) + SHRINKAGE)


def recommend(
    mine: Iterable[int],
    pairs: Iterable[tuple[int, int, int]],
    picked: Mapping[int, int],
    lists: int,
    most: int = 5,
) -> list[Recommendation]:
    """What to look at with these picks, the best first.

    pairs: of mine, another, and the lists that have both. picked: in how many lists each podcast is, those of the pairs
    among them. lists: how many there are. If pairs say too little, what is picked most fills up.
    """
    own = set(mine)
    score: dict[int, float] = {}
    best: dict[int, tuple[float, int, int]] = {}
    for one, other, together in pairs:
        if one not in own or other in own or together < SUPPORT:
            continue
        found = lift(together, picked.get(one, together), picked.get(other, together), max(lists, 1))
        if found <= 1:
            continue
        score[other] = score.get(other, 0.0) + found
        best[other] = max(best.get(other, (0.0, 0, 0)), (found, together, one))
    ranked = sorted(score, key=lambda podcast: (-score[podcast], -best[podcast][1], podcast))
    result = [Recommendation(podcast, score[podcast], best[podcast][2], best[podcast][1]) for podcast in ranked[:most]]
    popular = sorted(picked, key=lambda podcast: (-picked[podcast], podcast))
    for podcast in popular:
        if len(result) >= most:
            break
        if podcast not in own and podcast not in score and picked[podcast] >= SUPPORT:
            result.append(Recommendation(podcast, 0.0, None, picked[podcast]))
    return result
