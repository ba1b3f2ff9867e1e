{{/* The common start of all names: the release's, with the chart's unless that is in it; a DNS label. */}}
{{- define "trainingjob-operator.fullname" -}}
{{- $both := printf "%s-%s" .Release.Name .Chart.Name -}}
{{- $name := ternary .Release.Name $both (contains .Chart.Name .Release.Name) -}}
{{- $label := .Values.fullnameOverride | default $name | replace "." "-" | trunc 63 | trimSuffix "-" -}}
{{- if regexMatch "^[0-9]" $label -}}
{{- fail (printf "a Service's name may not begin with a digit: name the release otherwise than %s, or set fullnameOverride" .Release.Name) -}}
{{- end -}}
{{- $label -}}
{{- end }}

{{/* The name with a suffix, (list . "metrics"): still a DNS label, and still with the whole name of the release in it. */}}
{{- define "trainingjob-operator.suffixed" -}}
{{- $room := sub 62 (len (last .)) | int -}}
{{- printf "%s-%s" (include "trainingjob-operator.fullname" (first .) | trunc $room | trimSuffix "-") (last .) -}}
{{- end }}

{{- define "trainingjob-operator.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (ternary (include "trainingjob-operator.fullname" .) "default" .Values.serviceAccount.create) -}}
{{- end }}

{{/* What a Deployment selects by, for ever. */}}
{{- define "trainingjob-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/* What every object has, the pod too: nothing in it changes with the version. */}}
{{- define "trainingjob-operator.lastingLabels" -}}
{{ include "trainingjob-operator.selectorLabels" . }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: trainingjob
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "trainingjob-operator.ownLabels" -}}
{{ include "trainingjob-operator.lastingLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "trainingjob-operator.labels" -}}
{{- merge (include "trainingjob-operator.ownLabels" . | fromYaml) .Values.commonLabels | toYaml -}}
{{- end }}

{{/* The pod's labels: the chart's own win over the user's, and what the jobs' network policies ask for must be among them. */}}
{{- define "trainingjob-operator.podLabels" -}}
{{- $labels := merge (include "trainingjob-operator.lastingLabels" . | fromYaml) .Values.podLabels .Values.commonLabels -}}
{{- range $name, $value := .Values.config.operatorPodLabels -}}
{{- if ne $value (get $labels $name | toString) -}}
{{- fail (printf "config.operatorPodLabels: %s=%s is not a label of the operator's pod; add it to podLabels, or jobs cannot be reached" $name $value) -}}
{{- end -}}
{{- end -}}
{{- toYaml $labels -}}
{{- end }}

{{/* An image as repository@digest or repository:tag, of (list . .Values.image). */}}
{{- define "trainingjob-operator.image" -}}
{{- $image := last . -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository ($image.tag | default (first .).Chart.AppVersion) -}}
{{- end -}}
{{- end }}

{{/* The operator's configuration, as JSON. */}}
{{- define "trainingjob-operator.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- if not $config.interface -}}
{{- $config = omit $config "interface" -}}
{{- end -}}
{{- range $field := list "rendezvousRequests" "rendezvousLimits" -}}
{{- $quantities := dict -}}
{{- range $resource, $quantity := get $config $field -}}
{{- $_ := set $quantities $resource (toString $quantity) -}}
{{- end -}}
{{- $_ := set $config $field $quantities -}}
{{- end -}}
{{- $_ := set $config "defaultImage" (include "trainingjob-operator.image" (list . .Values.trainerImage)) -}}
{{- $_ := set $config "rendezvousImage" (include "trainingjob-operator.image" (list . .Values.image)) -}}
{{- $_ := set $config "namespaces" .Values.watchNamespaces -}}
{{- $_ := set $config "watchNodes" .Values.watchNodes -}}
{{- toPrettyJson $config -}}
{{- end }}

{{/* What a monitor scrapes; of its own values. A job's figures keep the label `namespace`, which is the job's. */}}
{{- define "trainingjob-operator.scraping" -}}
- port: http
  path: /metrics
  honorLabels: true
  {{- with .interval }}
  interval: {{ . }}
  {{- end }}
{{- end }}

{{/* Not empty if an admission policy is wanted, of (list . .Values.admissionPolicies.operator). */}}
{{- define "trainingjob-operator.guards" -}}
{{- if eq "auto" (last . | toString) -}}
{{- semverCompare ">=1.30.0-0" (first .).Capabilities.KubeVersion.Version | ternary "yes" "" -}}
{{- else -}}
{{- last . | ternary "yes" "" -}}
{{- end -}}
{{- end }}

{{/* Metadata of a cluster's object with a suffix, (list . "pods"). */}}
{{- define "trainingjob-operator.clusterwide" -}}
name: {{ include "trainingjob-operator.suffixed" . }}
labels:
  {{- include "trainingjob-operator.labels" (first .) | nindent 2 }}
{{- end }}

{{/* The condition that a request is the operator's own. */}}
{{- define "trainingjob-operator.byOperator" -}}
- name: by-the-operator
  expression: request.userInfo.username == 'system:serviceaccount:{{ .Release.Namespace }}:{{ include "trainingjob-operator.serviceAccountName" . }}'
{{- end }}

{{/* The binding of the policy with a suffix. */}}
{{- define "trainingjob-operator.denies" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  {{- include "trainingjob-operator.clusterwide" . | nindent 2 }}
spec:
  policyName: {{ include "trainingjob-operator.suffixed" . }}
  validationActions: [Deny]
{{- end }}

{{/* How the pods are spread: as chosen, with the chart's own selector where none is given; else rather two on one node than one alone. */}}
{{- define "trainingjob-operator.spread" -}}
{{- $chosen := .Values.topologySpreadConstraints -}}
{{- if not $chosen -}}
{{- $chosen = list (dict "maxSkew" 1 "topologyKey" "kubernetes.io/hostname" "whenUnsatisfiable" "ScheduleAnyway") -}}
{{- end -}}
{{- $own := dict "labelSelector" (dict "matchLabels" (include "trainingjob-operator.selectorLabels" . | fromYaml)) -}}
{{/* Only pods of one revision are counted: those of the last one are about to go. */}}
{{- $_ := set $own "matchLabelKeys" (list "pod-template-hash") -}}
{{- $spread := list -}}
{{- range $chosen -}}
{{- $spread = append $spread (ternary . (merge (deepCopy .) $own) (hasKey . "labelSelector")) -}}
{{- end -}}
{{- toYaml $spread -}}
{{- end }}
