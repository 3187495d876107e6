"""What readers of feeds have got wrong elsewhere, by their public reports, and which test has it right here.

So that no test of these goes without somebody noticing: each of the tables' tests has to be there.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

#: What a reader of feeds has to do, P1 to P24: the tests of it.
BEHAVIOURS = {
    1: "one_bad_value_never_costs_the_item, each_item_is_one_thing_and_each_episode_at_most_one_item",
    2: "text_of_a_feed_is_seconds_or_unknown, a_second_for_a_large_file_stands_for_what_nobody_knew",
    3: "it_says_what_it_is_made_of, unknown_is_not_zero",
    4: "the_newest_of_the_window_are_probed_within_the_budget, a_feed_without_lengths_has_its_files_asked",
    5: "an_item_that_is_said_twice_counts_once, the_guid_says_which_it_is, without_guids_all_are_kept",
    6: "episodes_are_changed_in_place_and_what_leaves_the_feed_stays, a_feed_without_items_changes_nothing",
    7: "a_feed_that_is_not_well_formed_is_mended_and_says_how, p7_what_could_not_be_read_is_kept_until_something_can",
    8: "only_rss_own_title_is_the_title, a_live_item_is_no_item_and_nobodys_title",
    9: "namespaces_are_known_by_their_uri_in_any_case, elements_may_be_in_rss_namespaces_of_old",
    10: "the_first_that_plays_is_the_enclosure, relative_addresses_are_of_the_feed,"
    " enclosures_are_resolved_and_escaped",
    11: "text_of_a_feed_is_a_time_in_utc_or_unknown, a_date_of_the_future_counts_as_when_it_was_first_seen",
    12: "nothing_known_is_zero, a_new_podcast_changes_nothing_of_the_others,"
    " the_window_is_300_days_or_since_the_first_episode_and_at_least_a_gap",
    13: "validators_go_back_as_they_came_and_never_after_a_failure, once_a_week_the_whole_feed_is_asked_for,"
    " both_validators_are_renewed_on_each_reply_a_304_too",
    14: "a_permanent_move_is_believed_after_three_fetches_over_two_days, a_move_that_is_for_now_is_never_believed,"
    " p14_only_permanent_moves_count_and_none_from_https_to_http, one_podcast_at_two_addresses_is_one",
    15: "each_class_of_failure_has_its_least_pause, each_status_has_its_pause, our_own_outage_counts_against_no_feed",
    16: "p16_limits_are_these_numbers, items_beyond_the_bound_are_left_out_and_said,"
    " an_endless_feed_and_a_bomb_end_at_their_bounds",
    17: "a_reader_that_takes_too_long_is_cut_off, what_a_process_imports_before_a_call_is_not_the_calls_time",
    18: "addresses_that_are_not_public_are_not_asked_at_any_hop,"
    " a_file_at_an_address_that_is_not_public_is_not_asked, private_feeds_are_not_listed_and_their_secrets_not_told",
    19: "a_cookie_that_a_redirect_sets_comes_back_once_and_to_nobody_else, it_says_who_asks_and_for_what",
    20: "pages_are_read_once_and_a_circle_or_a_404_ends_them",
    21: "trailers_do_not_count_and_bonus_does, private_and_blocked_podcasts_are_not_found",
    22: "it_is_asked_so_often_a_minute, that_nothing_was_found_is_kept_too, one_feed_has_one_spelling",
    23: "titles_are_shown_without_tags_and_with_entities_decoded_once_more, slugs_are_never_empty,"
    " names_of_any_direction_and_length_are_shown",
    24: "p24_columns_take_whatever_feeds_say, sums_go_beyond_32_bits",
}

#: Public reports, the first of each kind: what would show it here.
REPORTS = {
    "ampache 2777": "text_of_a_feed_is_seconds_or_unknown, p24_columns_take_whatever_feeds_say",
    "poca 63": "a_second_for_a_large_file_stands_for_what_nobody_knew",
    "PinePods 479": "unknown_is_not_zero, it_says_what_it_is_made_of",
    "AntennaPod PR 570": "text_of_a_feed_is_seconds_or_unknown, any_text_is_seconds_of_a_day_or_unknown",
    "podcast-old 188": "text_of_a_feed_is_seconds_or_unknown",
    "a duration of NaN": "text_of_a_feed_is_seconds_or_unknown",
    "cliamp PR 474": "what_the_feed_says_wins_over_what_its_file_has_said",
    "AntennaPod 545": "text_of_a_feed_is_a_time_in_utc_or_unknown",
    "AntennaPod 2269": "text_of_a_feed_is_a_time_in_utc_or_unknown",
    "podgrab 10": "text_of_a_feed_is_a_time_in_utc_or_unknown",
    "greg 87": "text_of_a_feed_is_a_time_in_utc_or_unknown",
    "NetNewsWire 2109": "text_of_a_feed_is_a_time_in_utc_or_unknown",
    "feedparser 33": "text_of_a_feed_is_a_time_in_utc_or_unknown",
    "gpodder 230": "text_of_a_feed_is_a_time_in_utc_or_unknown, a_date_of_the_future_counts_as_when_it_was_first_seen",
    "sn-spec 58": "a_date_of_the_future_counts_as_when_it_was_first_seen",
    "AntennaPod 2342": "episodes_of_one_moment_keep_their_order",
    "AntennaPod 3275": "a_publisher_that_changes_all_guids_doubles_nothing",
    "PodFetch 1581": "a_token_in_the_enclosure_that_changes_daily_doubles_nothing",
    "audiobookshelf 2986": "an_item_that_is_said_twice_counts_once",
    "gpodder 847": "without_guids_all_are_kept",
    "this-american-life-archive 8": "without_a_guid_the_title_and_date_say_so_when_the_enclosure_moves",
    "spotifeed 14": "episodes_are_changed_in_place_and_what_leaves_the_feed_stays",
    "gpodder 231": "pages_are_read_once_and_a_circle_or_a_404_ends_them",
    "gpodder 836": "gzip_that_nobody_said_is_unpacked, gzip_is_unpacked_by_its_header_and_by_its_magic",
    "node-feedparser 209": "body_is_as_it_was_packed, whatever_comes_is_unpacked_or_refused",
    "SoundWaves 17": "latin_1_is_latin_1, a_charset_of_the_answer_counts_where_the_feed_says_none,"
    " a_feed_that_is_not_well_formed_is_mended_and_says_how",
    "gpodder 696": "a_feed_that_is_not_well_formed_is_mended_and_says_how",
    "BabDev 223": "a_feed_that_is_not_well_formed_is_mended_and_says_how",
    "ampache 3182": "names_of_any_direction_and_length_are_shown, a_list_goes_out_and_comes_back",
    "FreshRSS 1020": "304_for_ever_is_asked_for_the_whole_once_a_week, once_a_week_the_whole_feed_is_asked_for",
    "miniflux-legacy 218": "both_validators_are_renewed_on_each_reply_a_304_too",
    "AntennaPod 686": "only_changes_are_asked_for_with_the_servers_own_words",
    "AntennaPod PR 6332": "a_304_never_hides_what_could_not_be_read",
    "gpodder 231, later": "validators_go_back_as_they_came_and_never_after_a_failure",
    "miniflux 149": "failures_wait_twice_as_long_each_time_up_to_a_week_and_a_success_ends_that,"
    " our_own_outage_counts_against_no_feed",
    "FreshRSS 7571": "retry_after_is_never_cut_short, 429_pauses_the_whole_host,"
    " a_host_that_asks_for_less_gets_nothing_and_then_one_at_a_time, manners_are_towards_who_has_registered_the_name",
    "miniflux 3130": "what_is_due_gets_its_jobs_once_spread_over_the_time_until_the_next,"
    " a_worker_fetches_what_is_due_two_at_once",
    "AntennaPod 2252": "a_server_that_says_nothing_costs_its_own_fetch_only",
    "podgrab 303": "it_says_who_asks_and_for_what",
    "miniflux 1512": "a_cookie_that_a_redirect_sets_comes_back_once_and_to_nobody_else",
    "RssBandit 1374": "a_move_is_believed_after_three_fetches_over_two_days,"
    " a_portal_that_redirects_to_another_feed_changes_nothing",
    "AntennaPod 1393": "a_move_that_is_for_now_is_never_believed,"
    " a_feed_that_says_where_it_has_gone_is_followed_if_the_same_podcast_is_there",
    "FreshRSS PR 3561": "410_is_gone_at_once_and_asking_again_brings_it_back",
    "ruTorrent 1024": "a_login_page_with_200_changes_nothing",
    "audiobookshelf 2266": "addresses_that_are_not_public_are_not_asked_at_any_hop",
    "xml-feed 15": "what_is_no_feed_says_why, what_is_no_list_says_why",
    "AntennaPod 2074": "an_episode_has_something_to_play, the_first_that_plays_is_the_enclosure",
    "gpodder 1445": "enclosures_are_resolved_and_escaped",
    "AntennaPod 3394": "what_has_no_feed_or_no_name_is_left_out, it_is_asked_so_often_a_minute",
    "vocal 249": "one_feed_has_one_spelling",
    "podcast-namespace 167": "an_address_that_lets_in_who_has_it_is_private,"
    " private_feeds_are_not_listed_and_their_secrets_not_told",
    "AntennaPod 2162": "it_says_what_it_is_made_of, week_and_month_and_speed",
    "vod2pod-rss 375": "a_file_says_how_long_it_is_by_its_beginning_and_its_size,"
    " a_header_of_variable_bit_rate_counts_its_frames",
    "feedparser 599": "what_makes_other_parsers_raise_is_told, any_bytes_are_a_feed_or_say_why",
}

_TESTS = Path(__file__).parent
_FILES = (*_TESTS.glob("test_*.py"), *(_TESTS.parent / "services").glob("test_*.py"))


@pytest.fixture(scope="module")
def there() -> frozenset[str]:
    """Names of tests that there are, without their test_."""
    named = re.compile(r"^(?:async )?def test_(\w+)", re.MULTILINE)
    return frozenset(name for path in _FILES for name in named.findall(path.read_text()))


def test_all_are_in_the_tables() -> None:
    assert sorted(BEHAVIOURS) == list(range(1, 25))
    assert len(REPORTS) == 54


@pytest.mark.parametrize("of", [*BEHAVIOURS, *REPORTS])
def test_each_has_its_tests(of: int | str, there: frozenset[str]) -> None:
    tests = BEHAVIOURS[of] if isinstance(of, int) else REPORTS[of]
    assert [name for name in re.split(r",\s*", tests) if name not in there] == []
