{{- define "onvif-uplink.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 53 | trimSuffix "-" -}}
{{- else if contains (include "onvif-uplink.name" .) .Release.Name -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "onvif-uplink.name" .) | trunc 53 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "onvif-uplink.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 53 | trimSuffix "-" -}}
{{- end -}}

{{- define "onvif-uplink.selectorLabels" -}}
app.kubernetes.io/name: {{ include "onvif-uplink.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "onvif-uplink.labels" -}}
{{ include "onvif-uplink.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: camera
app.kubernetes.io/part-of: onvif-uplink
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Names, labels and the namespace of an object: `metadata` for all of this chart. Takes a dict of root and, if wanted, suffix, labels, annotations. */}}
{{- define "onvif-uplink.metadata" -}}
name: {{ include "onvif-uplink.fullname" .root }}{{ .suffix }}
namespace: {{ .root.Values.namespaceOverride | default .root.Release.Namespace }}
labels:
  {{- include "onvif-uplink.labels" .root | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* What the library's templates take, as JSON: the sidecar's values with the configuration and the pod's period of this chart. */}}
{{- define "onvif-uplink.sidecarValues" -}}
{{- $values := deepCopy .Values.sidecar -}}
{{- $_ := set $values "config" (.Values.config | default dict) -}}
{{- $_ := set $values "terminationGracePeriodSeconds" .Values.terminationGracePeriodSeconds -}}
{{- if .Values.certificate.enabled -}}
{{- $_ := set $values.secrets "names" (append $values.secrets.names (include "onvif-uplink.certificateSecret" .)) -}}
{{- end -}}
{{- $values | toJson -}}
{{- end -}}

{{- define "onvif-uplink.certificateSecret" -}}
{{- .Values.certificate.secretName | default (printf "%s-tls" (include "onvif-uplink.fullname" .)) -}}
{{- end -}}
