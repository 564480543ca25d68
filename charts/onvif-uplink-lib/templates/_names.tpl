{{/*
All templates take a dict: `root` (the chart's own context, `$`), `values` (the library's values, usually `.Values.ALIAS`) and, if
objects are not to be called after the release, `name`.
*/}}

{{/* The name of the ConfigMap, ServiceAccount and Role. */}}
{{- define "onvif-uplink-lib.name" -}}
{{- .name | default (printf "%s-uplinks" (.root.Release.Name | trunc 55 | trimSuffix "-")) -}}
{{- end -}}

{{- define "onvif-uplink-lib.labels" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | default .root.Chart.Version | quote }}
app.kubernetes.io/component: uplink
app.kubernetes.io/part-of: onvif-uplink
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "onvif-uplink-lib.namespace" -}}
{{- .root.Values.namespaceOverride | default .root.Release.Namespace -}}
{{- end -}}

{{- define "onvif-uplink-lib.configMapName" -}}
{{- .values.existingConfigMap | default (include "onvif-uplink-lib.name" .) -}}
{{- end -}}

{{- define "onvif-uplink-lib.statusName" -}}
{{- printf "%s-status" (include "onvif-uplink-lib.name" .) -}}
{{- end -}}

{{- define "onvif-uplink-lib.serviceAccountName" -}}
{{- if .values.serviceAccount.create -}}
{{- .values.serviceAccount.name | default (include "onvif-uplink-lib.name" .) -}}
{{- else -}}
{{- .values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- define "onvif-uplink-lib.image" -}}
{{- $image := .values.image -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- /* The version of the program, which the library knows: the chart around it has a version of its own. */ -}}
{{- printf "%s:%s" $image.repository ($image.tag | default (include "onvif-uplink-lib.appVersion" .)) -}}
{{- end -}}
{{- end -}}

{{/* The same as appVersion in Chart.yaml; a test compares them, for a library cannot read its own Chart.yaml. */}}
{{- define "onvif-uplink-lib.appVersion" -}}0.1.0{{- end -}}

{{/* "true" if the sidecar asks the API server for anything: only then it gets a token. */}}
{{- define "onvif-uplink-lib.usesApi" -}}
{{- $v := .values -}}
{{- if or (eq $v.source "api") (eq $v.secrets.mode "api") $v.events $v.status.configMap $v.status.annotation -}}true{{- end -}}
{{- end -}}

{{/* Names of the Secrets that the configuration names and of those in secrets.names, one a line, sorted, each once. */}}
{{- define "onvif-uplink-lib.secretNames" -}}
{{- $names := .values.secrets.names -}}
{{- if not .values.existingConfigMap -}}
{{- $config := .values.config | default dict -}}
{{- range $section := list "certificates" "certPathValidationPolicies" "authorizationServers" -}}
{{- range $id, $entry := get $config $section | default dict -}}
{{- with $entry.secretName }}{{ $names = append $names . }}{{ end -}}
{{- end -}}
{{- end -}}
{{- range $config.accounts -}}
{{- with .secretName }}{{ $names = append $names . }}{{ end -}}
{{- end -}}
{{- range $config.devices -}}
{{- range $level, $account := .credentials | default dict -}}
{{- with $account.secretName }}{{ $names = append $names . }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $names | uniq | sortAlpha | join "\n" -}}
{{- end -}}
