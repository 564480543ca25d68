{{/* Where the sidecar finds its files. The ConfigMap is mounted as a directory: a subPath would never be updated. */}}
{{- define "onvif-uplink-lib.volumeMounts" -}}
{{- $v := .values -}}
{{- if eq $v.source "file" }}
- { name: uplink-config, mountPath: /etc/onvif-uplink/config, readOnly: true }
{{- end }}
{{- if eq $v.secrets.mode "api" }}
- { name: uplink-secrets, mountPath: /etc/onvif-uplink/secrets }
{{- else }}
{{- range $name := include "onvif-uplink-lib.secretNames" . | splitList "\n" | compact }}
- { name: {{ include "onvif-uplink-lib.secretVolume" $name }}, mountPath: /etc/onvif-uplink/secrets/{{ $name }}, readOnly: true }
{{- end }}
{{- end }}
{{- if $v.proxy.existingSecret }}
- { name: uplink-proxy, mountPath: /etc/onvif-uplink/proxy, readOnly: true }
{{- end }}
{{- if include "onvif-uplink-lib.usesApi" . }}
- { name: uplink-token, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true }
{{- end }}
{{- with $v.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* A volume's name is a label of 63 characters; the name of a Secret may be longer and have full stops. */}}
{{- define "onvif-uplink-lib.secretVolume" -}}
{{- printf "uplink-secret-%s" (sha256sum . | trunc 12) -}}
{{- end -}}

{{/*
A list for the pod's `volumes`. What is missing (`optional`) does not keep the camera from starting: the sidecar says what it lacks,
and takes it as soon as it is there.
*/}}
{{- define "onvif-uplink-lib.volumes" -}}
{{- $v := .values -}}
{{- if eq $v.source "file" }}
- name: uplink-config
  configMap: { name: {{ include "onvif-uplink-lib.configMapName" . }}, optional: true }
{{- end }}
{{- if eq $v.secrets.mode "api" }}
# Memory: Secrets never reach a disk. 1 MiB is the size limit of one.
- name: uplink-secrets
  emptyDir: { medium: Memory, sizeLimit: 16Mi }
{{- else }}
{{- range $name := include "onvif-uplink-lib.secretNames" . | splitList "\n" | compact }}
- name: {{ include "onvif-uplink-lib.secretVolume" $name }}
  secret: { secretName: {{ $name }}, optional: true }
{{- end }}
{{- end }}
{{- with $v.proxy.existingSecret }}
- name: uplink-proxy
  secret: { secretName: {{ . }}, optional: true }
{{- end }}
{{- if include "onvif-uplink-lib.usesApi" . }}
# The token goes to this container alone; the pod's own automount is off.
- name: uplink-token
  projected:
    sources:
      - serviceAccountToken: { path: token, expirationSeconds: 3607 }
      - configMap: { name: kube-root-ca.crt, items: [{ key: ca.crt, path: ca.crt }] }
      - downwardAPI: { items: [{ path: namespace, fieldRef: { fieldPath: metadata.namespace } }] }
{{- end }}
{{- with $v.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}
