{{/* The name of everything that belongs to this control plane; releases of other revisions have others. */}}
{{- define "hopgate.control" -}}
hopgate-control{{ with .Values.revision }}-{{ . }}{{ end }}
{{- end }}

{{/* The same, for objects without a namespace: two releases in two namespaces must not share them. */}}
{{- define "hopgate.cluster" -}}
{{ include "hopgate.control" . }}-{{ .Release.Namespace }}
{{- end }}

{{/* By what the pods of this control plane are selected. Must never change within a release. */}}
{{- define "hopgate.selector" -}}
app.kubernetes.io/name: hopgate
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: control
{{- end }}

{{- define "hopgate.labels" -}}
{{ include "hopgate.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
hopgate.dev/revision: {{ .Values.revision | default "default" }}
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
