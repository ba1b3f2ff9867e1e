"""Every manifest of the table is accepted, or refused in words that name the field and the fix."""

import pytest

from trainingjob_api.crd import mutability
from trainingjob_api.resource import TrainingJob
from trainingjob_api.spec.job import JobSpec
from trainingjob_cli.manifest import ManifestError, load, parse
from unit.api.manifests import CHANGES, INVALID, MALFORMED, MINIMAL, VALID, Change, Invalid, Malformed, Valid, dump


def _ids(case):
    return case.id


def test_the_table_is_worth_its_name():
    assert len(INVALID) + len(MALFORMED) >= 30
    for table in (VALID, INVALID, MALFORMED, CHANGES):
        assert len({case.id for case in table}) == len(table)


@pytest.mark.parametrize("case", VALID, ids=_ids)
def test_a_valid_manifest_is_read_and_its_spec_goes_through_json_unchanged(case: Valid):
    spec = parse(dump(case.body()), "job.yaml").spec

    assert JobSpec.model_validate_json(spec.to_json()) == spec
    assert JobSpec.model_validate(spec.model_dump()) == spec


@pytest.mark.parametrize("case", INVALID, ids=_ids)
def test_an_invalid_manifest_is_refused_naming_field_and_fix(case: Invalid):
    with pytest.raises(ManifestError) as caught:
        parse(dump(case.body()), "job.yaml")

    first, *lines = str(caught.value).splitlines()
    assert first == "job.yaml cannot be used:"
    assert len(lines) == 1, lines
    assert lines[0].startswith(f"  {case.field}: ")
    assert case.message in lines[0]


@pytest.mark.parametrize("case", MALFORMED, ids=_ids)
def test_a_text_that_is_no_trainingjob_is_refused_with_its_line(case: Malformed):
    with pytest.raises(ManifestError) as caught:
        parse(case.text, "job.yaml")

    assert case.message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("case", CHANGES, ids=_ids)
def test_a_change_is_accepted_or_refused_as_the_mutability_table_says(case: Change):
    old, new = (TrainingJob.from_object(body).spec for body in case.bodies())

    lines = mutability.refused(old, new)

    assert [line for line in lines if case.refused is None or not line.startswith(case.refused)] == []
    assert bool(lines) == (case.refused is not None)


def test_all_mistakes_of_a_manifest_are_told_at_once():
    text = MINIMAL.replace("epochs: 3", "epochs: 0").replace("name: digits", "name: Digits") + "  suspend: maybe\n"

    with pytest.raises(ManifestError) as caught:
        parse(text, "job.yaml")

    assert [line.split(":")[0].strip() for line in str(caught.value).splitlines()[1:]] == [
        "metadata.name",
        "spec.training.epochs",
        "spec.suspend",
    ]


def test_a_file_is_read(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text("\ufeff" + MINIMAL)

    assert load(path).metadata.name == "digits"


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "there is no such file"), (b"a: \xff", "line 1: is not UTF-8 text"), (b"#" * (1 << 21), "has 2097152 bytes")],
    ids=["missing", "not-utf-8", "too-long"],
)
def test_a_file_that_cannot_be_read_is_refused(tmp_path, content, message):
    path = tmp_path / "job.yaml"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ManifestError, match=message):
        load(path)


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(ManifestError, match="is a folder; name the manifest in it"):
        load(tmp_path)
