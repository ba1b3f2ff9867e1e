"""`trainingjob plan`: the Kubernetes objects that a manifest would become. Effects: reads the manifest, prints."""

from __future__ import annotations

from datetime import UTC, datetime

from trainingjob_api.resource import TrainingJob
from trainingjob_cli.context import File, say
from trainingjob_cli.rendering.formats import Objects, ObjectsOption, as_json, as_list, as_yaml
from trainingjob_cli.run import Chosen, Overrides, StorageUri, Workers, launchable, requested
from trainingjob_operator.controllers.training_job.plan import preview
from trainingjob_operator.controllers.training_job.settings import Settings
from trainingjob_operator.engine.values import Manifest

REDACTED = "<made by the operator>"
_UID = "00000000-0000-0000-0000-000000000000"


def plan(
    file: File,
    workers: Workers = None,
    storage: StorageUri = None,
    settings: Overrides = None,
    name: Chosen = None,
    output: ObjectsOption = Objects.YAML,
) -> None:
    """Print the Kubernetes objects that the operator would make, without making any."""
    job, _ = requested(file, name, settings, workers, storage, stand_in)
    launchable(job)
    made = objects(job, Settings(), datetime.now(UTC))
    if output is Objects.NAME:
        print("\n".join(f"{each['kind'].lower()}/{each['metadata']['name']}" for each in made))
    elif output is Objects.JSON:
        print(as_json(as_list(made)), end="")
    else:
        print(f"# What the operator makes of {file} in namespace {job.metadata.namespace}: {len(made)} objects.")
        print("# Names carry a hash of the job's uid, which the API server gives; here it stands for uid 0. Secrets are left out.")
        print(as_yaml(made), end="")


def stand_in(namespace: str, name: str) -> str:
    """Return a URI in the place of the storage that the manifest does not name, and say so."""
    uri = f"s3://some-bucket/{namespace}/{name}"
    say(f"note: spec.checkpoint.storage is missing, which a cluster needs; {uri} stands for it here: name yours with --storage URI")
    return uri


def objects(job: TrainingJob, settings: Settings, now: datetime) -> list[Manifest]:
    """Everything that the operator would make for `job`, were it new. Pure."""
    metadata = job.metadata.model_copy(update={"uid": _UID, "generation": 1, "creation_timestamp": now})
    return [redacted(made) for made in preview(job.model_copy(update={"metadata": metadata}), settings, now)]


def redacted(manifest: Manifest) -> Manifest:
    """The manifest without what is secret in it, and without what only the API server can know."""
    metadata = {name: value for name, value in manifest["metadata"].items() if name != "ownerReferences"}
    secret: Manifest = {}
    if manifest["kind"] == "Secret":
        secret = {part: dict.fromkeys(manifest[part], REDACTED) for part in ("stringData", "data") if part in manifest}
    return {**manifest, "metadata": metadata, **secret}
