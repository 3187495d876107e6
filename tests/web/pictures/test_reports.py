"""What makers of thumbnails have got wrong elsewhere, by their public reports, and which test has it right here; and
sorl's rules, which sites know.

So that no test of these goes without somebody noticing: each of the tables' tests has to be there.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

#: Public reports, the first of each kind: what would show it here.
REPORTS = {
    "sorl 88": "orientation_is_turned_into_pixels, real_and_noop_tell_the_same_sizes_and_files_have_them,"
    " picture_on_its_side_is_measured_upright, crops_are_of_the_turned_picture",
    "Pillow 4215": "broken_exif_says_nothing",
    "Pillow 4537": "mirrored_ones_are_turned_once_and_the_right_way, heic_is_read_and_turned,"
    " nothing_of_the_files_words_goes_out",
    "sorl 599": "any_mode_goes_out_in_any_format, see_through_is_on_white_where_a_format_has_none,"
    " jpegs_of_any_mode_come_out_as_rgb, hidden_colors_stay_hidden",
    "easy-thumbnails 471": "palettes_are_scaled_by_colors",
    "Pillow 2574": "sixteen_bits_don_t_turn_white",
    "thumbor 750": "profile_becomes_srgb_and_a_broken_one_nothing, another_profile_changes_colors,"
    " profile_leaves_what_can_be_seen_through",
    "immich 4438": "nothing_of_the_files_words_goes_out",
    "sorl 687": "of_an_animation_the_first_frame_is_taken, animation_stays_one, what_does_not_stay_an_animation,"
    " large_frames_do_not_stay_an_animation",
    "Pillow 4657": "picture_before_an_animation_is_no_frame",
    "Pillow PR 674": "bombs_are_refused_by_their_header, what_would_take_too_much_memory_is_refused_by_its_header,"
    " frame_that_is_larger_than_its_screen_is_not_unpacked, bytes_of_the_file_count_too,"
    " what_phones_send_is_taken",
    "Pillow 2445": "bomb_in_a_profile_is_refused",
    "Pillow 1347": "cut_files_are_not_valid",
    "image-rs 1109": "result, real_and_noop_tell_the_same_sizes_and_files_have_them",
    "imgproxy 420": "what_is_too_long_for_a_format_comes_as_another, forms_of_what_is_tall_are_narrower",
    "imgproxy 1658": "what_is_no_picture_is_refused_with_a_word",
    "shimmie2 631": "what_is_no_picture_is_refused_with_a_word, every_engine_refuses_what_is_no_picture",
    "shimmie2, HTML": "what_is_no_picture_is_refused_with_a_word, what_hides_behind_a_picture_does_not_go_out,"
    " picture_is_sent_made_and_shown",
    "physionet 1103": "every_engine_refuses_what_is_no_picture, photo_of_two_is_taken",
    "sorl 162": "two_at_once_leave_the_same_whole_files",
    "directus 5485": "full_disk_leaves_no_piece_of_a_file,"
    " pieces_that_a_killed_process_left_go_at_once_and_strangers_stay",
    "sorl 312": "picture_that_is_replaced_has_other_addresses, old_picture_is_not_made_for_the_new_one,"
    " files_of_a_picture_that_nobody_has_go_a_day_later",
    "wagtail 12133": "names_do_not_count",
    "wagtail 1066": "picture_that_breaks_later_says_so_to_who_sent_it, no_request_touches_an_engine",
    "bolt 5016": "what_is_no_form, no_request_touches_an_engine",
    "thumbor names": "names_do_not_count, what_is_no_form",
}

#: What sorl does with a picture, and what its author's engine that makes nothing has to do: the tests of it.
SORL = {
    "the factor is the larger one to crop, the smaller one to fit": "result",
    "not made larger unless that is wanted": "result",
    "no crop where there is nothing to cut": "result",
    "crops keep what is to be seen": "what_is_cut_keeps_the_focus, crops_keep_the_focus",
    "turned, then colours, then scaled, then cut": "crops_are_of_the_turned_picture, another_profile_changes_colors",
    "its geometry": "sizes_are_read, what_is_no_size",
    "every engine has every method": "engine_has_all_of_the_protocol",
    "sizes that are asked for are those that are told": "real_and_noop_tell_the_same_sizes_and_files_have_them",
    "the same bytes each time": "noop_is_the_same_each_time_and_no_picture",
    "valid is not what has bytes": "every_engine_refuses_what_is_no_picture",
    "no call of Pillow": "no_request_touches_an_engine",
}

_FILES = tuple(Path(__file__).parent.glob("test_*.py"))


@pytest.fixture(scope="module")
def there() -> frozenset[str]:
    """Names of tests that there are, without their test_."""
    named = re.compile(r"^(?:async )?def test_(\w+)", re.MULTILINE)
    return frozenset(name for path in _FILES for name in named.findall(path.read_text()))


def test_all_are_in_the_tables() -> None:
    assert (len(REPORTS), len(SORL)) == (26, 11)


@pytest.mark.parametrize("tests", [*REPORTS.values(), *SORL.values()], ids=[*REPORTS, *SORL])
def test_each_has_its_tests(tests: str, there: frozenset[str]) -> None:
    assert [name for name in re.split(r",\s*", tests) if name not in there] == []
