import contextlib
import io
import json
import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from opaque_jobs.cli.output import escape, print_code, print_json, print_record, print_rows, trust_text, visible

LONG = "run-" + "a" * 60
ROWS = [{"id": LONG, "name": "[bold]not markup[/]", "inputs": {"a": 1}, "extra": None}]


def test_rows_as_json_hold_every_key_also_those_not_shown(capsys):
    print_rows(ROWS, ["id"], as_json=True)
    assert json.loads(capsys.readouterr().out) == ROWS


def test_rows_in_a_pipe_are_never_folded_and_markup_in_values_is_text(capsys):
    print_rows(ROWS, ["id", "name", "inputs"], as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert LONG in lines[1]
    assert "[bold]not markup[/]" in lines[1]
    assert "a=1" in lines[1]


def test_no_rows_say_so(capsys):
    print_rows([], ["id"], as_json=False, empty="none yet")
    assert capsys.readouterr().out.strip() == "none yet"


RECORD = {"a_b": None, "c": True, "d": [], "e": "", "f": {}, "g": 0, "h": False}


def printed_lines(capsys):
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_record_leaves_out_what_is_empty_and_tells_truth_in_words(capsys):
    print_record(RECORD, as_json=False)
    assert printed_lines(capsys) == [["c", "yes"], ["g", "0"], ["h", "no"]]


def test_record_that_is_decided_on_shows_missing_values_as_a_dash(capsys):
    print_record({name: RECORD[name] for name in ("a_b", "c", "d")}, as_json=False, whole=True)
    assert printed_lines(capsys) == [["a", "b", "-"], ["c", "yes"], ["d", "-"]]


def test_record_as_json_is_whole(capsys):
    print_record(RECORD, as_json=True, listed=("d",))
    assert json.loads(capsys.readouterr().out) == RECORD


def test_record_shows_listed_values_one_a_line_and_none_as_two(capsys):
    print_record({"keys": {"a": 1, "bc": "x\ny"}, "members": ["anna", "ben"]}, as_json=False, listed=("keys", "members"))
    assert printed_lines(capsys) == [["keys", "a", "1"], ["bc", "x\\ny"], ["members", "anna"], ["ben"]]


def test_output_in_a_pipe_has_no_colours(capsys):
    print_record({"a": 1}, as_json=False, title="title")
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize("label", ["sev-snp", "tdx", "nitro"])
def test_trust_of_hardware_is_its_name_and_what_it_does_not_vouch_for(label):
    assert label in trust_text(label)
    assert "not for the enclave's runtime" in trust_text(label)
    assert "SIMULATED" not in trust_text(label)


def test_trust_of_simulated_says_what_it_means():
    assert "SIMULATED" in trust_text("simulated")
    assert "whoever runs the machine" in trust_text("simulated")


@pytest.mark.parametrize("hidden", ["\x1b[2K", "\x9b2K", "\r", "\x08", "\u202e", "\u2066", "\u200b", "\u2028", "\x00"])
def test_text_of_others_is_shown_with_nothing_that_a_terminal_obeys_or_hides(capsys, hidden):
    print_code(f"SELECT 1 -- {hidden}seen", "sql")
    print_record({"comment": f"a{hidden}b"}, as_json=False)
    print_rows([{"name": f"a{hidden}b"}], ["name"], as_json=False)
    shown = capsys.readouterr().out
    assert hidden not in shown
    assert shown.count("\\x") + shown.count("\\u") + shown.count("\\r") == 3


def test_code_keeps_its_lines_tabs_and_letters(capsys):
    print_code("def main():\n\treturn 'é 日本'\n", "python")
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()][:2] == ["def main():", "    return 'é 日本'"]


HIDING = ("Cc", "Cf", "Co", "Cs", "Zl", "Zp")
FILLERS = "\u034f\u115f\u1160\u17b4\u180b\u2800\u3164\ufe0f\uffa0\U000e0101"
HIDDEN = st.characters(categories=HIDING) | st.sampled_from(FILLERS)


def unseen(text: str) -> list[str]:
    return [each for each in text if each in FILLERS or (each != "\n" and unicodedata.category(each) in HIDING)]


@given(st.text(HIDDEN | st.characters(), max_size=40))
@example(FILLERS)
@example("Rates\u202esetaR")
@example("\ud800 \x7f \x9b \u200b \u2066 \U000e0041")
def test_json_has_no_character_that_hides_or_turns_text_and_says_the_same(text):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        print_json({text: [text, {"a": text}]})
    assert unseen(printed.getvalue()) == []
    assert json.loads(printed.getvalue()) == json.loads(json.dumps({text: [text, {"a": text}]}))


@given(st.text(HIDDEN | st.characters(), max_size=40))
@example(FILLERS)
def test_text_for_people_has_no_character_that_hides_or_turns_it(text):
    kept = text.replace("\n", "").replace("\t", "")
    assert unseen(visible(kept)) == []
    assert unseen(escape(kept)) == []


def test_json_keeps_letters_of_every_language_readable(capsys):
    print_json({"name": "é 日本 🙂"})
    assert "é 日本 🙂" in capsys.readouterr().out


def test_text_of_others_is_made_safe_in_one_place():
    folder = Path(__file__).parents[3] / "opaque_jobs" / "cli"
    knowing = [each.name for each in folder.glob("*.py") if re.search(r"(import |rich\.)markup", each.read_text())]
    assert knowing == ["output.py"]
