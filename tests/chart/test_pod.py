"""The operator's pod: its program's contract, the restricted Pod Security Standard, probes, and what an administrator may choose."""

import pytest

from chart.charts import Helm, Objects

DIGEST = "sha256:" + "a" * 64


def test_the_program_is_started_and_told_where_it_is(rendered: Objects):
    container = rendered.container()

    assert container["command"] == ["python", "-m", "trainingjob_operator"]
    assert {each["name"]: each.get("value") or each["valueFrom"]["fieldRef"]["fieldPath"] for each in container["env"]} == {
        "TRAININGJOB_OPERATOR_CONFIG": "/etc/trainingjob/config.json",
        "TRAININGJOB_OPERATOR_PORT": "8080",
        "TRAININGJOB_OPERATOR_LOG_LEVEL": "info",
        "TRAININGJOB_OPERATOR_LEASE": "trainingjob-operator",
        "POD_NAMESPACE": "metadata.namespace",
        "POD_NAME": "metadata.name",
    }


def test_the_configuration_lies_where_the_program_looks_for_it(rendered: Objects):
    (mount,) = [each for each in rendered.container()["volumeMounts"] if each["mountPath"] == "/etc/trainingjob"]
    (volume,) = [each for each in rendered.pod()["spec"]["volumes"] if each["name"] == mount["name"]]

    assert volume["configMap"]["name"] == rendered.one("ConfigMap")["metadata"]["name"]
    assert "config.json" in rendered.one("ConfigMap")["data"]


def test_the_pod_passes_the_restricted_pod_security_standard(rendered: Objects):
    pod, container = rendered.pod()["spec"], rendered.container()

    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC", "initContainers"}
    assert all(volume.keys() - {"name"} <= {"configMap", "emptyDir"} for volume in pod["volumes"])


def test_only_tmp_can_be_written_to(rendered: Objects):
    mounts = {each["mountPath"]: each.get("readOnly", False) for each in rendered.container()["volumeMounts"]}

    assert mounts == {"/etc/trainingjob": True, "/tmp": False}


def test_a_cluster_may_choose_the_user(helm: Helm):
    context = helm.render({"runAsUser": None}).pod()["spec"]["securityContext"]

    assert context == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


def test_root_is_refused(helm: Helm):
    assert "runAsUser" in helm.refusal({"runAsUser": 0})


def test_each_probe_asks_what_it_is_for(rendered: Objects):
    container = rendered.container()

    assert {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")} == {
        "startup": {"path": "/healthz", "port": "http"},
        "liveness": {"path": "/healthz", "port": "http"},
        "readiness": {"path": "/readyz", "port": "http"},
    }
    assert [(each["name"], each["containerPort"]) for each in container["ports"]] == [("http", 8080)]


def test_a_slow_operator_is_not_restarted_for_two_minutes(rendered: Objects):
    for name in ("startup", "liveness"):
        probe = rendered.container()[f"{name}Probe"]
        assert probe["periodSeconds"] * probe["failureThreshold"] >= 120


def test_the_metrics_service_finds_the_pod(rendered: Objects):
    service, labels = rendered.one("Service")["spec"], rendered.pod()["metadata"]["labels"]

    assert service["selector"].items() <= labels.items()
    assert service["publishNotReadyAddresses"] is True, "its figures say that it is not ready"
    assert service["ports"] == [{"name": "http", "port": 8080, "targetPort": "http", "protocol": "TCP"}]


def test_the_metrics_service_takes_annotations(helm: Helm):
    objects = helm.render({"service": {"annotations": {"prometheus.io/scrape": "true"}}})

    assert objects.one("Service")["metadata"]["annotations"] == {"prometheus.io/scrape": "true"}


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ({}, "ghcr.io/trainingjob/operator:0.1.0"),
        ({"repository": "registry.example.com:5000/operator"}, "registry.example.com:5000/operator:0.1.0"),
        ({"tag": "1.2.3"}, "ghcr.io/trainingjob/operator:1.2.3"),
        ({"digest": DIGEST}, f"ghcr.io/trainingjob/operator@{DIGEST}"),
        ({"tag": "1.2.3", "digest": DIGEST}, f"ghcr.io/trainingjob/operator@{DIGEST}"),
    ],
    ids=["default", "repository", "tag", "digest", "digest and tag"],
)
def test_the_image_is_as_asked(helm: Helm, image: dict[str, str], expected: str):
    assert helm.render({"image": image}).container()["image"] == expected


def test_what_an_administrator_chooses_reaches_the_pod(helm: Helm):
    chosen = {
        "imagePullSecrets": [{"name": "registry"}],
        "resources": {"requests": {"cpu": 1}},
        "terminationGracePeriodSeconds": 45,
        "nodeSelector": {"pool": "system"},
        "tolerations": [{"key": "system", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}},
        "priorityClassName": "system-cluster-critical",
    }
    objects = helm.render(chosen | {"image": {"pullPolicy": "Always"}})
    spec = objects.pod()["spec"] | {"resources": objects.container()["resources"]}

    expected = chosen | {"resources": {"requests": {"cpu": 1, "memory": "128Mi"}, "limits": {"memory": "512Mi"}}}
    assert {name: spec[name] for name in chosen} == expected
    assert objects.container()["imagePullPolicy"] == "Always"


def test_what_nobody_chose_is_left_to_the_cluster(rendered: Objects):
    left = {"imagePullSecrets", "nodeSelector", "tolerations", "affinity", "priorityClassName"}

    assert not rendered.pod()["spec"].keys() & left
    assert rendered.container()["resources"] == {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}}


def test_a_proxy_reaches_the_programs_environment(helm: Helm):
    variable = {"name": "HTTPS_PROXY", "value": "http://proxy.example.com:3128"}

    assert variable in helm.render({"extraEnv": [variable]}).container()["env"]


@pytest.mark.parametrize("name", ["POD_NAMESPACE", "POD_NAME", "TRAININGJOB_OPERATOR_CONFIG", "TRAININGJOB_OPERATOR_LOG_LEVEL"])
def test_the_charts_own_variables_are_not_overwritten(helm: Helm, name: str):
    assert "extraEnv" in helm.refusal({"extraEnv": [{"name": name, "value": "x"}]})


def test_annotations_and_labels_of_the_pod(helm: Helm):
    metadata = helm.render({"podAnnotations": {"a": "1"}, "podLabels": {"team": "ml", "app.kubernetes.io/name": "mine"}}).pod()["metadata"]

    assert metadata["annotations"]["a"] == "1"
    assert metadata["labels"].items() >= {"team": "ml", "app.kubernetes.io/name": "trainingjob-operator"}.items()
