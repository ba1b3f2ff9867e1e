"""TrainingJobs of one namespace, over the API server's own protocol."""

from __future__ import annotations

from typing import Any

from integration.rest import MERGE, Answer, Rest
from trainingjob_api import resource


class Jobs:
    """What one user does with them."""

    def __init__(self, rest: Rest, namespace: str) -> None:
        self.path = f"/apis/{resource.API_VERSION}/namespaces/{namespace}/{resource.PLURAL}"
        self._rest = rest

    def create(self, body: dict[str, Any], **query: str) -> Answer:
        """Create one; unknown fields are dropped unless the query says fieldValidation="Strict"."""
        return self._rest("POST", self.path, body, **query)

    def made(self, body: dict[str, Any]) -> dict[str, Any]:
        """Create one that must be accepted."""
        answer = self.create(body)
        assert answer.ok, answer.message
        assert answer.warnings == ()
        found: dict[str, Any] = answer.body
        return found

    def get(self, name: str) -> dict[str, Any]:
        """It, as it is now."""
        found: dict[str, Any] = self._rest("GET", f"{self.path}/{name}").body
        return found

    def patch(self, name: str, change: dict[str, Any], **query: str) -> Answer:
        """Change what `change` has; null removes."""
        return self._rest("PATCH", f"{self.path}/{name}", change, MERGE, **query)

    def replace(self, body: dict[str, Any]) -> Answer:
        """Put this in its place."""
        return self._rest("PUT", f"{self.path}/{body['metadata']['name']}", body)

    def patch_status(self, name: str, change: dict[str, Any]) -> Answer:
        """Change its status, as the operator does."""
        return self._rest("PATCH", f"{self.path}/{name}/status", change, MERGE)
