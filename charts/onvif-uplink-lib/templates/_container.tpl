{{/* The sidecar as a native one: a list for `initContainers`, or nothing in the other mode. Put it first, so that it outlives all others. */}}
{{- define "onvif-uplink-lib.initContainer" -}}
{{- if eq .values.mode "native" -}}
- restartPolicy: Always
  {{- include "onvif-uplink-lib.spec" . | nindent 2 }}
{{- end -}}
{{- end -}}

{{/* The sidecar as a plain container: a list for `containers`, or nothing in the other mode. */}}
{{- define "onvif-uplink-lib.container" -}}
{{- if eq .values.mode "container" -}}
-
  {{- include "onvif-uplink-lib.spec" . | nindent 2 }}
{{- end -}}
{{- end -}}

{{- define "onvif-uplink-lib.spec" -}}
{{- $v := .values -}}
name: {{ $v.containerName }}
image: {{ include "onvif-uplink-lib.image" . | quote }}
imagePullPolicy: {{ $v.image.pullPolicy }}
args:
  - run
  {{- include "onvif-uplink-lib.args" . | nindent 2 }}
env:
  {{- include "onvif-uplink-lib.env" . | nindent 2 }}
{{- with $v.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
ports:
  - { name: uplink-admin, containerPort: {{ $v.admin.port }}, protocol: TCP }
{{- range $probe := list "startupProbe" "livenessProbe" "readinessProbe" }}
{{- with get $v $probe }}
{{ $probe }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- if $v.drain }}
lifecycle:
  preStop:
    httpGet: { path: /drain, port: uplink-admin }
{{- end }}
{{- with $v.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $v.securityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumeMounts:
  {{- include "onvif-uplink-lib.volumeMounts" . | nindent 2 }}
{{- end -}}

{{- define "onvif-uplink-lib.args" -}}
{{- $v := .values -}}
{{- if eq $v.source "api" }}
- --configmap={{ include "onvif-uplink-lib.namespace" . }}/{{ include "onvif-uplink-lib.configMapName" . }}/{{ $v.configKey }}
{{- else }}
- --config=/etc/onvif-uplink/config/{{ $v.configKey }}
{{- end }}
- --secrets={{ $v.secrets.mode }}
- --threads={{ int $v.threads }}
{{- with $v.gracePeriod }}
- --grace-period={{ . }}
{{- end }}
{{- with $v.onvif }}
- --onvif={{ . }}
{{- end }}
{{- if $v.events }}
- --events=pod
{{- end }}
{{- if $v.status.configMap }}
- --status-configmap={{ include "onvif-uplink-lib.statusName" . }}
{{- end }}
{{- if $v.status.annotation }}
- --status-annotation
{{- end }}
{{- if $v.writeBack }}
{{- if ne $v.source "api" }}{{ fail "writeBack changes the ConfigMap over the API: set source to api as well" }}{{ end }}
- --write-back
{{- end }}
{{- if $v.readyRequiresUplink }}
- --ready-requires-uplink
{{- end }}
{{- if $v.drain }}
- --drain-endpoint
{{- end }}
{{- if $v.exitOnInvalid }}
- --exit-on-invalid
{{- end }}
{{- if $v.proxy.existingSecret }}
- --proxy-credentials-file=/etc/onvif-uplink/proxy/{{ $v.proxy.key }}
{{- end }}
- --log-format={{ $v.log.format }}
{{- with $v.log.level }}
- --log-level={{ . }}
{{- end }}
{{- range $v.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end -}}

{{/* The admin address is a variable, so that `kubectl exec … /onvif-uplink status` finds it too. */}}
{{- define "onvif-uplink-lib.env" -}}
{{- $v := .values -}}
- { name: ONVIF_UPLINK_ADMIN, value: {{ printf "%s:%d" $v.admin.address (int $v.admin.port) | quote }} }
- { name: TERMINATION_GRACE_PERIOD_SECONDS, value: {{ int $v.terminationGracePeriodSeconds | quote }} }
- { name: POD_NAME, valueFrom: { fieldRef: { fieldPath: metadata.name } } }
- { name: POD_NAMESPACE, valueFrom: { fieldRef: { fieldPath: metadata.namespace } } }
- { name: POD_UID, valueFrom: { fieldRef: { fieldPath: metadata.uid } } }
- { name: NODE_NAME, valueFrom: { fieldRef: { fieldPath: spec.nodeName } } }
{{- with $v.proxy.url }}
- { name: HTTPS_PROXY, value: {{ . | quote }} }
{{- end }}
{{- with $v.proxy.noProxy }}
- { name: NO_PROXY, value: {{ . | quote }} }
{{- end }}
{{- with $v.otlpEndpoint }}
- { name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ . | quote }} }
{{- end }}
{{- with $v.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}
