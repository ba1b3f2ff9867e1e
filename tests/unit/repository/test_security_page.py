"""docs/security.md says of limits and fields what the code has."""

from __future__ import annotations

import re

import pytest
from ruamel.yaml import YAML

from local_job import ROOT
from operator_builders import SETTINGS, make_job
from trainingjob_api.contract.intent import MAX_REPORT_BYTES
from trainingjob_api.contract.messages import MAX_MESSAGE_BYTES
from trainingjob_api.contract.strict import LONGEST_NUMBER
from trainingjob_api.status import MAX_STATUS_BYTES
from trainingjob_operator.controllers.training_job.children.metadata import OUTSIDE_MESHES
from trainingjob_operator.controllers.training_job.children.names import KEY_LABEL
from trainingjob_operator.controllers.training_job.children.network_policy import network_policy
from trainingjob_operator.controllers.training_job.pods import MAX_WORDS
from trainingjob_operator.engine.cluster.key import NAME
from trainingjob_rendezvous.connection import MOST_QUEUED_BYTES
from trainingjob_rendezvous.quorum.members import MOST_PROCESSES
from trainingjob_rendezvous.server import MOST_WAITING, MOST_WAITING_BYTES
from trainingjob_rendezvous.store import MOST_BYTES

PAGE = (ROOT / "docs/security.md").read_text()
LIMITS = {
    "a report": f"{MAX_REPORT_BYTES >> 10} KiB, strict types, whole numbers of {LONGEST_NUMBER} digits",
    "last words": f"{MAX_WORDS >> 10} KiB",
    "the status": f"below {MAX_STATUS_BYTES >> 10} KiB",
    "an agent's message": f"{MAX_MESSAGE_BYTES >> 20} MiB",
    "what an agent can make the rendezvous keep": f"{MOST_PROCESSES} processes, {MOST_WAITING:,} requests of {MOST_WAITING_BYTES >> 20} MiB"
    f" together, {MOST_BYTES >> 20} MiB of store, answers of {MOST_QUEUED_BYTES >> 20} MiB",
}


@pytest.mark.parametrize("what", LIMITS)
def test_the_limits_on_the_page_are_the_codes(what: str) -> None:
    (row,) = re.findall(rf"^\| {re.escape(what)} \|(.*)$", PAGE, re.MULTILINE)
    assert LIMITS[what] in row


def test_what_the_page_lists_for_a_jobs_network_is_valid() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    network = YAML(typ="safe").load(block)["spec"]["network"]
    policy = network_policy(make_job(network=network), SETTINGS)
    assert len(policy["spec"]["egress"]) == 2 + len(network["egress"]) == 4


def test_the_names_on_the_page_are_the_codes() -> None:
    assert f"`{NAME}`" in PAGE
    assert f"`{KEY_LABEL}`" in PAGE
    for part in OUTSIDE_MESHES.values():
        for key, value in part.items():
            assert re.search(rf'`{re.escape(key)}: "?{value}"?`', PAGE)
