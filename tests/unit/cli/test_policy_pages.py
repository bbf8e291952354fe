"""What is written about TEE policies: each item has its row, with the value that it truly gets, and the examples are policies."""

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

from opaque_jobs.cli.tee_policy import policy_items, read_policies
from opaque_jobs.domain.tee_policy import NitroPolicy, QuoteTerms, SnpPlatform, SnpPolicy, TdxMeasurement, TdxPolicy

ROOT = Path(__file__).parents[3]
PAGES = (ROOT / "README.md", ROOT / "docs" / "tee-policy.md")
GIVEN = {"td_attributes", "xfam", "rt_mr0"}
"""Items that the example gives though they may be left out."""
ROW = re.compile(r"^\| `(\w+)` \| (.*?) \|", re.MULTILINE)


def example(page: Path, tmp_path: Path):
    """Give the policies of the example in a page, with digits put where it names how many."""
    text = next(each for each in page.read_text().split("```") if '"sev-snp"' in each)
    filled = re.sub(r"<[^>]*?(\d+) (?:hexadecimal )?digits>", lambda found: "ab" * (int(found[1]) // 2), text)
    (tmp_path / "policy.json").write_text(filled)
    return read_policies(tmp_path / "policy.json").policies


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_example_of_a_page_is_a_policy_for_every_kind_of_hardware(page, tmp_path):
    assert set(policy_items(example(page, tmp_path))) == {"sev-snp", "tdx", "nitro"}


def test_every_item_of_a_policy_has_its_row():
    snp, tdx, nitro = (dict(ROW.findall(part)) for part in PAGES[1].read_text().split("\n## ")[1:4])
    inner = {"line", "mr_td", "rt_mr1", "rt_mr2"}
    assert set(snp) == {each.name for kind in (SnpPolicy, SnpPlatform) for each in fields(kind)} - inner
    assert set(tdx) == {each.name for kind in (TdxPolicy, TdxMeasurement, QuoteTerms) for each in fields(kind)} - inner
    assert set(nitro) == {each.name for each in fields(NitroPolicy)}


def test_value_in_a_row_is_what_an_item_gets_that_is_left_out(tmp_path):
    shown = policy_items(example(PAGES[1], tmp_path))
    snp, tdx = (dict(ROW.findall(part)) for part in PAGES[1].read_text().split("\n## ")[1:3])
    compared = 0
    for items, rows in ((shown["sev-snp"], snp), (shown["tdx"], tdx)):
        named = {name.split()[-1]: value for name, value in items.items()}
        for item, stated in rows.items():
            if item in GIVEN or stated in {"needed", "as follows", "`minimum_tcb`"} or stated.startswith("refused"):
                continue
            value = json.loads(stated.strip("`"))
            assert named[item] == ("not demanded" if value is None else value), item
            compared += 1
    assert compared == 20
