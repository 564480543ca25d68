{{/* The ConfigMap with `config`, unless somebody else keeps it. */}}
{{- define "onvif-uplink-lib.configMap" -}}
{{- if not .values.existingConfigMap -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "onvif-uplink-lib.configMapName" . }}
  namespace: {{ include "onvif-uplink-lib.namespace" . }}
  labels:
    {{- include "onvif-uplink-lib.labels" . | nindent 4 }}
  {{- with .values.configMapAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
data:
  {{ .values.configKey }}: |
    {{- .values.config | default (dict "devices" list) | toYaml | nindent 4 }}
{{- end -}}
{{- end -}}

{{/* An empty ConfigMap for the status: made here, so that the sidecar needs no right to create any. */}}
{{- define "onvif-uplink-lib.statusConfigMap" -}}
{{- if .values.status.configMap -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "onvif-uplink-lib.statusName" . }}
  namespace: {{ include "onvif-uplink-lib.namespace" . }}
  labels:
    {{- include "onvif-uplink-lib.labels" . | nindent 4 }}
{{- end -}}
{{- end -}}

{{- define "onvif-uplink-lib.serviceAccount" -}}
{{- if .values.serviceAccount.create -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "onvif-uplink-lib.serviceAccountName" . }}
  namespace: {{ include "onvif-uplink-lib.namespace" . }}
  labels:
    {{- include "onvif-uplink-lib.labels" . | nindent 4 }}
  {{- with .values.serviceAccount.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end -}}
{{- end -}}

{{/* The rules that the options need, each for the named objects alone where the API allows it. */}}
{{- define "onvif-uplink-lib.rules" -}}
{{- $v := .values -}}
{{- if eq $v.source "api" }}
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: [{{ include "onvif-uplink-lib.configMapName" . }}]
  verbs: [get, list, watch{{ if $v.writeBack }}, patch{{ end }}]
{{- end }}
{{- if eq $v.secrets.mode "api" }}
{{- with include "onvif-uplink-lib.secretNames" . | splitList "\n" | compact }}
- apiGroups: [""]
  resources: [secrets]
  resourceNames:
    {{- toYaml . | nindent 4 }}
  verbs: [get, list, watch]
{{- end }}
{{- end }}
{{- if $v.events }}
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
{{- if $v.status.configMap }}
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: [{{ include "onvif-uplink-lib.statusName" . }}]
  verbs: [patch]
{{- end }}
{{- if $v.status.annotation }}
- apiGroups: [""]
  resources: [pods]
  verbs: [patch]
{{- end }}
{{- end -}}

{{/* Role and RoleBinding; nothing when no option needs the API. */}}
{{- define "onvif-uplink-lib.rbac" -}}
{{- $rules := include "onvif-uplink-lib.rules" . | trim -}}
{{- if and .values.rbac.create $rules -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ include "onvif-uplink-lib.name" . }}
  namespace: {{ include "onvif-uplink-lib.namespace" . }}
  labels:
    {{- include "onvif-uplink-lib.labels" . | nindent 4 }}
rules:
  {{- $rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ include "onvif-uplink-lib.name" . }}
  namespace: {{ include "onvif-uplink-lib.namespace" . }}
  labels:
    {{- include "onvif-uplink-lib.labels" . | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ include "onvif-uplink-lib.name" . }}
subjects:
  - kind: ServiceAccount
    name: {{ include "onvif-uplink-lib.serviceAccountName" . }}
    namespace: {{ include "onvif-uplink-lib.namespace" . }}
{{- end -}}
{{- end -}}

{{/* All objects beside the pod in one stream, for charts that include this library. */}}
{{- define "onvif-uplink-lib.objects" -}}
{{- range $part := list "configMap" "statusConfigMap" "serviceAccount" "rbac" }}
{{- with include (printf "onvif-uplink-lib.%s" $part) $ }}
---
{{ . }}
{{- end }}
{{- end }}
{{- end -}}
