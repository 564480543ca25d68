{{- define "onvif-uplink-gateway.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 53 | trimSuffix "-" -}}
{{- else if contains (include "onvif-uplink-gateway.name" .) .Release.Name -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "onvif-uplink-gateway.name" .) | trunc 53 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "onvif-uplink-gateway.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 53 | trimSuffix "-" -}}
{{- end -}}

{{- define "onvif-uplink-gateway.selectorLabels" -}}
app.kubernetes.io/name: {{ include "onvif-uplink-gateway.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "onvif-uplink-gateway.labels" -}}
{{ include "onvif-uplink-gateway.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: gateway
app.kubernetes.io/part-of: onvif-uplink
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Names, labels and the namespace of an object: `metadata` for all of this chart. Takes a dict of root and, if wanted, suffix, labels, annotations. */}}
{{- define "onvif-uplink-gateway.metadata" -}}
name: {{ include "onvif-uplink-gateway.fullname" .root }}{{ .suffix }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "onvif-uplink-gateway.labels" .root | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "onvif-uplink-gateway.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "onvif-uplink-gateway.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- define "onvif-uplink-gateway.tlsSecret" -}}
{{- .Values.tls.existingSecret | default (printf "%s-tls" (include "onvif-uplink-gateway.fullname" .)) -}}
{{- end -}}

{{- define "onvif-uplink-gateway.clientSecret" -}}
{{- .Values.clientCA.existingSecret | default (printf "%s-clients" (include "onvif-uplink-gateway.fullname" .)) -}}
{{- end -}}

{{- define "onvif-uplink-gateway.frontSecret" -}}
{{- .Values.front.existingSecret | default (printf "%s-front" (include "onvif-uplink-gateway.fullname" .)) -}}
{{- end -}}
