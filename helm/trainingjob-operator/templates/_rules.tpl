{{/* Generated from trainingjob_operator/kinds.py by `make generate`; do not edit. */}}

{{/* What the operator may do where it looks after jobs. Children are only watched, never read one by one; Secrets are never read. */}}
{{- define "trainingjob-operator.rules" -}}
# It follows every job, and deletes a finished one after ttlSecondsAfterFinished.
- apiGroups: [batch.trainingjob.dev]
  resources: [trainingjobs]
  verbs: [get, list, watch, delete]
# What it decides is written to the status before it takes effect.
- apiGroups: [batch.trainingjob.dev]
  resources: [trainingjobs/status]
  verbs: [patch]
# Owner references with blockOwnerDeletion, on clusters with the admission plugin OwnerReferencesPermissionEnforcement.
- apiGroups: [batch.trainingjob.dev]
  resources: [trainingjobs/finalizers]
  verbs: [update]
# Workers and rendezvous: made by POST, replaced under a new name, never changed.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, create, delete]
# The Service before a job's rendezvous, by server-side apply: its selector follows the epoch.
- apiGroups: [""]
  resources: [services]
  verbs: [list, watch, create, patch]
# Who may talk to a job's pods, by server-side apply.
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [list, watch, create, patch]
# The immutable record of what a job was resolved to.
- apiGroups: [apps]
  resources: [controllerrevisions]
  verbs: [list, watch, create]
# A job's keys and tokens: made by POST, immutable, and never read back.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
# A job's story in `kubectl describe`.
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{/* What the operator makes for jobs, as the resources of an admission policy. */}}
{{- define "trainingjob-operator.children" -}}
- apiGroups: [""]
  apiVersions: ["*"]
  operations: [CREATE, UPDATE, DELETE]
  resources: [pods, services, secrets]
- apiGroups: [networking.k8s.io]
  apiVersions: ["*"]
  operations: [CREATE, UPDATE, DELETE]
  resources: [networkpolicies]
- apiGroups: [apps]
  apiVersions: ["*"]
  operations: [CREATE, UPDATE, DELETE]
  resources: [controllerrevisions]
{{- end }}

{{/* The one thing that it is to know of no namespace. */}}
{{- define "trainingjob-operator.nodeRules" -}}
# A worker on a node that is lost, or about to be, is replaced.
- apiGroups: [""]
  resources: [nodes]
  verbs: [list, watch]
{{- end }}
