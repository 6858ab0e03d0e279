import pytest

from history.grouping import failure_id, place, without_particulars

TRACEBACK = """Traceback (most recent call last):
  File "/srv/tasks/reports.py", line 12, in build
    parse(text)
  File "/srv/tasks/parse.py", line 40, in parse
    raise ValueError(text)
ValueError: bad row 17 in 'a.csv'
"""


def test_numbers_and_quoted_parts_do_not_tell_failures_apart():
    assert without_particulars("bad row 17 in 'a.csv'") == "bad row # in '…'"
    one = failure_id("reports.build", "ValueError", "bad row 17 in 'a.csv'", TRACEBACK)
    other = failure_id("reports.build", "ValueError", "bad row 4 in 'b.csv'", TRACEBACK)

    assert one == other
    assert len(one) == 16


@pytest.mark.parametrize(
    ("message", "same"),
    [
        ("no user 64f1a2b3c4d5e6f7a8b9c0d1", "no user #"),
        ("commit DEADBEEF1 of cus_9f86d081884c7d65", "commit # of cus_#"),
        ("a=00000000-0000-4000-8000-0000deadbeef.", "a=#"),
        ("0e37df36f698e4ea6d8bb35ff8b7e5a2: gone", "#: gone"),
        ("0xfeedface at abcdef1", "# at abcdef#"),  # too short
        ("the defaced facade deadbeef", "the defaced facade deadbeef"),  # words
        ("step12345678 ab12cd34ef56gh", "step# ab#cd#ef#gh"),  # of other letters, too
        ("12345678 of ２", "# of #"),
    ],
)
def test_ids_of_hexadecimal_digits_are_numbers(message, same):
    assert without_particulars(message) == same


def test_the_line_does_not_count_and_the_function_does():
    assert place(TRACEBACK) == "/srv/tasks/parse.py:parse"
    moved = TRACEBACK.replace("line 40", "line 41")
    elsewhere = TRACEBACK.replace("in parse", "in parse_row")
    ids = [failure_id("t", "E", "m", text) for text in (TRACEBACK, moved, elsewhere, None)]

    assert ids[0] == ids[1]
    assert len(set(ids)) == 3
