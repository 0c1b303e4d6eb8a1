{{/* The name of everything that belongs to this control plane; releases of other revisions have others. */}}
{{- define "hopgate.control" -}}
hopgate-control{{ with .Values.revision }}-{{ . }}{{ end }}
{{- end }}

{{/* The same, for objects without a namespace: two releases in two namespaces must not share them. */}}
{{- define "hopgate.cluster" -}}
{{ include "hopgate.control" . }}-{{ .Release.Namespace }}
{{- end }}

{{/* As namespaces and pods name it. */}}
{{- define "hopgate.revision" -}}
{{ .Values.revision | default "default" }}
{{- end }}

{{/* The address under which sidecars and the API server call it. */}}
{{- define "hopgate.host" -}}
{{ include "hopgate.control" . }}.{{ .Release.Namespace }}.svc
{{- end }}

{{/* By what the pods of this control plane are selected. Must never change within a release. */}}
{{- define "hopgate.selector" -}}
app.kubernetes.io/name: hopgate
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: control
{{- end }}

{{- define "hopgate.labels" -}}
{{ include "hopgate.sharedLabels" . }}
hopgate.dev/revision: {{ include "hopgate.revision" . }}
{{- end }}

{{/* Of what serves all revisions. */}}
{{- define "hopgate.sharedLabels" -}}
{{ include "hopgate.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "hopgate.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{/* What every container of hopgate is held to: the profile `restricted` of the Pod Security Standards. */}}
{{- define "hopgate.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{- define "hopgate.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{/*
How the API server calls a webhook at a path. There is no caBundle: the control plane writes it, and replaces it when its
root changes.
*/}}
{{- define "hopgate.webhook" -}}
{{- $root := index . 0 -}}
clientConfig:
  service:
    name: {{ include "hopgate.control" $root }}
    namespace: {{ $root.Release.Namespace }}
    path: {{ index . 1 }}
    port: 443
admissionReviewVersions: [v1]
timeoutSeconds: {{ $root.Values.webhooks.timeoutSeconds }}
{{- end }}

{{- define "hopgate.injecting" -}}
{{ include "hopgate.webhook" (list . "/inject") }}
# Events tell why a pod has no gate; not where it is only tried.
sideEffects: NoneOnDryRun
# Others may add containers, whose probes are then rewritten as well.
reinvocationPolicy: IfNeeded
rules:
  - operations: [CREATE]
    apiGroups: [""]
    apiVersions: [v1]
    resources: [pods]
    scope: Namespaced
# A pod that could not be judged would run unguarded.
failurePolicy: Fail
{{- end }}
