"""The CustomResourceDefinition as a whole: bounds, defaults, immutability, columns; and that what is checked in is current."""

import re
from pathlib import Path

import pytest

from trainingjob_api import resource
from trainingjob_api.crd import mutability
from trainingjob_api.crd.definition import definition, schema
from trainingjob_api.crd.reference import reference
from trainingjob_api.resource import TrainingJob
from trainingjob_api.spec.job import JobSpec
from trainingjob_api.spec.patterns import FORMS
from trainingjob_api.status import Status
from trainingjob_cli.generate.__main__ import definition_text, main
from trainingjob_operator.controllers.training_job.status.phase import JobPhase
from unit.api.manifests import VALID, Valid, yaml

ROOT = Path(__file__).parents[3]


def walk(found, path=""):
    """Every schema in a schema, with its path."""
    yield path, found
    for name, child in found.get("properties", {}).items():
        yield from walk(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in found:
            yield from walk(found[key], f"{path}[]")


def defaulted(value, found):
    """`value` with the schema's defaults filled in, as the API server does it."""
    if isinstance(value, dict) and "properties" in found:
        result = dict(value)
        for name, child in found["properties"].items():
            if name not in result and "default" in child:
                result[name] = child["default"]
            if name in result:
                result[name] = defaulted(result[name], child)
        return result
    if isinstance(value, dict) and "additionalProperties" in found:
        return {name: defaulted(entry, found["additionalProperties"]) for name, entry in value.items()}
    if isinstance(value, list) and "items" in found:
        return [defaulted(entry, found["items"]) for entry in value]
    return value


def test_every_text_list_and_map_is_bounded():
    unbounded = [
        path
        for path, found in walk(schema())
        if (found.get("type") == "string" and "maxLength" not in found and "enum" not in found)
        or (found.get("x-kubernetes-int-or-string") and "maxLength" not in found)
        or (found.get("type") == "array" and "maxItems" not in found)
        or ("additionalProperties" in found and "maxProperties" not in found)
    ]
    assert unbounded == []


def test_every_number_of_the_spec_has_a_range():
    numbers = [(path, found) for path, found in walk(schema()["properties"]["spec"]) if found.get("type") == "integer"]

    assert [path for path, found in numbers if "minimum" not in found or "maximum" not in found] == []


def test_only_task_parameters_are_without_a_schema():
    free = [path for path, found in walk(schema()) if "x-kubernetes-preserve-unknown-fields" in found]

    assert free == [".spec.training.task.parameters[]"]


def test_no_status_of_a_newer_operator_is_refused_for_a_value():
    strict = ("enum", "minimum", "maximum", "pattern", "minLength", "minItems", "default")

    assert [path for path, found in walk(schema()["properties"]["status"]) if any(key in found for key in strict)] == []


def test_every_field_is_described():
    undescribed = [
        f"{path}.{name}"
        for part in ("spec", "status")
        for path, found in walk(schema()["properties"][part], part)
        for name, child in found.get("properties", {}).items()
        if not child.get("description")
    ]
    assert undescribed == []


def test_every_form_of_a_text_is_explained_to_a_person():
    assert {found["pattern"] for _, found in walk(schema()) if "pattern" in found} <= set(FORMS)


@pytest.mark.parametrize("case", VALID, ids=lambda case: case.id)
def test_the_api_servers_defaults_are_the_models(case: Valid):
    body = case.body()

    served = defaulted(body["spec"], schema()["properties"]["spec"])

    assert served == TrainingJob.from_object(body).spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert JobSpec.model_validate(served) == TrainingJob.from_object(body).spec


def test_every_field_of_the_spec_has_a_line_in_the_mutability_table():
    fields = [path.lstrip(".") for path, found in walk(schema()["properties"]["spec"]) if path and "properties" not in found]

    assert [path for path in fields if mutability.of(path.replace("[]", "")) is None] == []


def test_the_mutability_table_names_fields_that_exist():
    fields = {path.lstrip(".") for path, _ in walk(schema()["properties"]["spec"])}

    assert [path for path in mutability.TABLE if path not in fields] == []


def test_what_may_change_when_the_job_is_complete_is_pinned_where_the_status_is_seen():
    rules = {rule["fieldPath"]: rule for rule in schema()["x-kubernetes-validations"] if "oldSelf" in rule["rule"]}
    at_rest = [path for path, kind in mutability.TABLE.items() if kind is mutability.Mutability.AT_REST]

    assert rules.keys() == {f".spec.{path}" for path in at_rest}
    for path in at_rest:
        rule = rules[f".spec.{path}"]["rule"]
        assert f"self.spec.{path} == oldSelf.spec.{path}" in rule
        assert "|| oldSelf.spec.suspend || " in rule
        assert "oldSelf.status.phase == 'Succeeded'" in rule
    assert JobPhase.SUCCEEDED == mutability.COMPLETE_PHASE


def test_a_field_is_pinned_where_its_absence_is_seen_and_no_higher_than_it_must():
    spec = schema()["properties"]["spec"]
    absentable = {
        f"{path}.{name}".lstrip(".")
        for path, found in walk(spec)
        for name, child in found.get("properties", {}).items()
        if name not in found.get("required", ()) and "default" not in child
    }
    found = {
        f"{path}{rule.get('fieldPath', '')}".lstrip("."): (path.lstrip("."), rule["rule"])
        for path, child in walk(spec)
        for rule in child.get("x-kubernetes-validations", ())
        if "oldSelf" in rule["rule"]
    }
    elsewhere = (mutability.Mutability.ALWAYS, mutability.Mutability.AT_REST)
    pinned = {path: kind for path, kind in mutability.TABLE.items() if kind not in elsewhere}

    assert found.keys() == pinned.keys()
    for path, kind in pinned.items():
        place, rule = found[path]
        if kind is mutability.Mutability.WHILE_SUSPENDED:
            assert place == ""
            assert rule.endswith(" || oldSelf.suspend")
        below = path.removeprefix(place).lstrip(".")
        parts = [part for part in below.split(".") if part]
        assert f"self{''.join('.' + part for part in parts)} == oldSelf" in rule
        for length in range(len(parts)):
            name = ".".join(parts[: length + 1])
            assert (f"has(self.{name})" in rule) == (f"has(oldSelf.{name})" in rule) == (f"{place}.{name}".lstrip(".") in absentable), rule
        if place:
            assert not any(f"{place}.".startswith(f"{name}.") for name in absentable), "the rule goes with what may be taken away"
        if kind is mutability.Mutability.NEVER:
            assert not below or f"{place}.{parts[0]}".lstrip(".") in absentable


def test_a_rule_names_no_field_that_does_not_exist():
    for path, found in walk(schema()["properties"]["spec"]):
        for rule in found.get("x-kubernetes-validations", ()):
            for name in re.findall(r"\b(?:self|oldSelf)\.([A-Za-z]+)", rule["rule"]):
                assert name in found["properties"], (path, rule)
            assert rule.get("fieldPath", ".").lstrip(".").split(".")[0] in ("", *found.get("properties", ()))


def test_the_columns_are_the_designs_and_show_fields_that_exist():
    version = definition()["spec"]["versions"][0]
    columns = version["additionalPrinterColumns"]

    names = " ".join(column["name"].upper() for column in columns if not column.get("priority"))
    assert names == "PHASE WORKERS STEP PROGRESS LOSS CHECKPOINT RESTARTS GOODPUT AGE"
    assert [column["name"].upper() for column in columns if column.get("priority")] == ["SAVED"], "only with --output wide"
    paths = {path for path, _ in walk(schema())}
    assert [column["jsonPath"] for column in columns if column["jsonPath"] not in paths | {".metadata.creationTimestamp"}] == []
    assert version["subresources"].keys() == {"status", "scale"}


def test_scaling_changes_the_number_of_workers_and_reads_how_many_train():
    scale = definition()["spec"]["versions"][0]["subresources"]["scale"]

    paths = {path for path, _ in walk(schema())}
    assert scale == {"specReplicasPath": ".spec.workers.replicas", "statusReplicasPath": ".status.readyWorkers"}
    assert set(scale.values()) <= paths


def test_the_definition_is_named_as_the_resource():
    spec = definition()["spec"]

    assert definition()["metadata"]["name"] == "trainingjobs.batch.trainingjob.dev"
    assert f"{spec['group']}/{spec['versions'][0]['name']}" == resource.API_VERSION
    assert spec["names"]["shortNames"] == ["tj"]


def test_the_definition_fits_into_kubectls_last_applied_annotation():
    assert len(definition_text().encode()) < 256 << 10


def test_what_is_written_reads_back_as_it_was():
    assert yaml(definition_text()) == definition()


def test_the_checked_in_files_are_current(tmp_path):
    paths = [str(tmp_path / "trainingjob.yaml"), str(tmp_path / "api.md")]

    assert main(paths) == 0
    assert Path(paths[0]).read_text() == (ROOT / "crds" / "trainingjob.yaml").read_text(), "run make generate"
    assert Path(paths[1]).read_text() == (ROOT / "docs" / "api.md").read_text(), "run make generate"


def test_the_generator_says_how_it_is_used(capsys):
    assert main([]) == 2
    assert "usage: " in capsys.readouterr().err


def test_the_reference_has_every_field_of_spec_and_status():
    text = reference()

    for path, found in walk(schema()["properties"]["spec"], "spec"):
        for name in found.get("properties", {}):
            section = text.split(f"## {path}\n", 1)[1].split("\n#", 1)[0]
            assert f"| `{name}` |" in section
    assert len(Status.model_fields) == len(re.findall(r"^\| `", text.split("\n## status\n")[1].split("\n#", 1)[0], re.MULTILINE))
