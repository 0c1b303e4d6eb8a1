{{/*
The configuration file of the control plane: everything that `hopgate control` reads, in one place. Files that it names
stand beside it in the same ConfigMap; see control-config.yaml.
*/}}
{{- define "hopgate.config" -}}
{{- $service := include "hopgate.control" . -}}
{{- $names := list }}
{{- range list "" (printf ".%s" .Release.Namespace) (printf ".%s.svc" .Release.Namespace) (printf ".%s.svc.cluster.local" .Release.Namespace) }}
{{- $names = append $names (print $service .) }}
{{- end -}}
trustDomain: {{ .Values.trustDomain | quote }}
listen: "{{ .Values.control.address }}:15012"
admin: { listen: "{{ .Values.control.address }}:15014" }
# Empty at the start of each pod: what must last is in the Secret below. The operator's socket is here.
directory: /run/hopgate/control
serverNames: {{ concat $names .Values.control.serverNames | toJson }}
leafLifetime: {{ .Values.authority.leafLifetime }}
jwtSvidLifetime: {{ .Values.authority.jwtSvidLifetime }}
authority:
  secret: { namespace: {{ .Release.Namespace }}, name: {{ .Values.authority.secret }} }
  {{- with .Values.authority.certManager }}
  {{- if .issuer }}
  certManager:
    issuerRef: {{ toJson .issuer }}
    duration: {{ .duration }}
    {{- if .roots }}
    roots: issuer-roots.pem
    {{- end }}
  {{- end }}
  {{- end }}
# Resources of this namespace are for the whole mesh.
resources: { rootNamespace: {{ .Release.Namespace }} }
attest:
  kubernetes: { audience: {{ .Values.tokenAudience | quote }} }
{{- with .Values.authority.dnsNames }}
dnsNames: {{ toJson . }}
{{- end }}
{{- with .Values.authority.limits }}
limits: {{ toJson . }}
{{- end }}
injection:
  revision: {{ include "hopgate.revision" . }}
  image: {{ include "hopgate.image" . | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  control: https://{{ include "hopgate.host" . }}:15012
  {{- with .Values.injection }}
  envoyImage: {{ .envoyImage | quote }}
  capture: {{ .capture }}
  outbound: {{ .outbound }}
  unguarded: {{ .unguarded }}
  logLevel: {{ .logLevel }}
  trustConfigMap: {{ .trustConfigMap }}
  tokenLifetime: {{ .tokenLifetime }}
  envoyConcurrency: {{ .envoyConcurrency }}
  stopDelay: {{ .stopDelay }}
  resources: {{ toJson .resources }}
  exclude: {{ toJson .exclude }}
  {{- end }}
{{- if .Values.webhooks.enabled }}
webhooks:
  listen: "{{ .Values.control.address }}:15017"
  serverNames: [{{ include "hopgate.host" . }}]
  configurations: { mutating: [{{ include "hopgate.cluster" . }}], validating: [{{ include "hopgate.cluster" . }}] }
{{- end }}
{{- with .Values.federation }}
{{- if or .endpoint.enabled .with }}
federation:
  {{- if .endpoint.enabled }}
  endpoint: { listen: "{{ $.Values.control.address }}:{{ .endpoint.port }}", profile: https_spiffe }
  {{- end }}
  {{- if .with }}
  with:
    {{- range $index, $other := .with }}
    - trustDomain: {{ .trustDomain | quote }}
      url: {{ .url | quote }}
      profile: {{ .profile }}
      {{- with .spiffeId }}
      spiffeId: {{ . | quote }}
      {{- end }}
      {{- if .bundle }}
      bundleFile: federation-{{ $index }}-bundle.json
      {{- end }}
      {{- if .roots }}
      caFile: federation-{{ $index }}-roots.pem
      {{- end }}
      {{- with .maxAge }}
      maxAge: {{ . }}
      {{- end }}
    {{- end }}
  {{- end }}
{{- end }}
{{- end }}
{{- end }}
