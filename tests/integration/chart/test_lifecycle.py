"""Install, upgrade, roll back and uninstall by Helm, while there are jobs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from chart.charts import CRDS, OPERATOR
from integration.chart.release import JOBS, Release
from integration.installation import DEFINITIONS
from integration.rest import Rest
from trainingjob_operator.engine.cluster.key import NAME as KEY


def test_an_operator_is_installed_upgraded_rolled_back_and_uninstalled_and_jobs_and_key_stay(
    release: Callable[[], Release], rest: Rest, job: str
):
    made = release()
    deployment = f"/apis/apps/v1/namespaces/{made.namespace}/deployments/{made.name}-trainingjob-operator"
    secrets = f"/api/v1/namespaces/{made.namespace}/secrets"
    digits = f"{JOBS.format(team=job)}/digits"
    before = rest("GET", digits).body

    assert f"rollout status deployment/{made.name}-trainingjob-operator" in made("install", str(OPERATOR))
    assert rest("POST", secrets, {"metadata": {"name": KEY}}).ok
    first = rest("GET", deployment).body
    made("upgrade", str(OPERATOR), "--set", "image.tag=9.9.9,podLabels.team=ml,config.rendezvousPort=30000")
    second = rest("GET", deployment).body
    made("rollback", "1")
    third = rest("GET", deployment).body

    assert {each["metadata"]["uid"] for each in (first, second, third)} == {first["metadata"]["uid"]}
    assert second["spec"]["template"] != first["spec"]["template"]
    assert third["spec"]["template"] == first["spec"]["template"]
    made("uninstall")
    assert rest("GET", deployment).code == 404
    assert rest("GET", f"{secrets}/{KEY}").ok
    assert rest("GET", digits).body == before


def test_two_releases_of_the_definition_are_refused_and_uninstalling_it_keeps_every_job(
    release: Callable[[], Release], rest: Rest, definition: dict[str, Any], job: str
):
    path = f"{DEFINITIONS}/{definition['metadata']['name']}"
    made, other = release(), release()

    made("install", str(CRDS), "--take-ownership")
    refused = other.helm.run("install", other.name, str(CRDS), "--namespace", other.namespace, "--kubeconfig", str(other.kubeconfig))
    made("upgrade", str(CRDS))
    said = made("uninstall")

    assert f'must equal "{other.name}"' in refused.stderr
    assert "kept due to the resource policy" in said
    assert rest("GET", path).body["spec"] == definition["spec"]
    assert rest("GET", path).body["metadata"]["uid"] == definition["metadata"]["uid"]
    assert rest("GET", f"{JOBS.format(team=job)}/digits").ok
    assert "STATUS: deployed" in made("install", str(CRDS)), "under its own name it takes the definition over"
    made("uninstall")


def test_a_values_mistake_is_refused_before_anything_is_changed(release: Callable[[], Release], rest: Rest):
    made = release()
    values = json.dumps({"config": {"progresSeconds": 5}})

    where = ("--namespace", made.namespace, "--kubeconfig", str(made.kubeconfig))
    ended = made.helm.run("install", made.name, str(OPERATOR), "--values", "-", *where, given=values)

    assert "'progresSeconds' not allowed" in ended.stderr
    accounts = rest("GET", f"/api/v1/namespaces/{made.namespace}/serviceaccounts").body["items"]
    assert [each["metadata"]["name"] for each in accounts] == ["default"]
