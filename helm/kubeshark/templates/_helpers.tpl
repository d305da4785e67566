{{- /* The beginning of every object's name. */ -}}
{{- define "kubeshark.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "kubeshark.hub" -}}{{ include "kubeshark.fullname" . }}-hub{{- end -}}
{{- define "kubeshark.worker" -}}{{ include "kubeshark.fullname" . }}-worker{{- end -}}
{{- define "kubeshark.settings" -}}{{ include "kubeshark.fullname" . }}-settings{{- end -}}

{{- /* Objects that no namespace holds carry the namespace in their name: there may be a Kubeshark in another one. */ -}}
{{- define "kubeshark.clusterwide" -}}{{ .Release.Namespace }}-{{ include "kubeshark.fullname" . }}{{- end -}}

{{- define "kubeshark.home" -}}
kubeshark.io/namespace: {{ .Release.Namespace }}
{{- end -}}

{{- define "kubeshark.secret" -}}
{{- if .Values.auth.existingSecret -}}
{{- .Values.auth.existingSecret -}}
{{- else -}}
{{- include "kubeshark.fullname" . }}-token
{{- end -}}
{{- end -}}

{{- /* The Secrets with what each side of the link shows and wants to be shown. */ -}}
{{- define "kubeshark.hubLink" -}}{{ default (printf "%s-link-hub" (include "kubeshark.fullname" .)) .Values.link.hubSecret }}{{- end -}}
{{- define "kubeshark.workerLink" -}}{{ default (printf "%s-link-worker" (include "kubeshark.fullname" .)) .Values.link.workerSecret }}{{- end -}}

{{- define "kubeshark.linkArgs" -}}
- --link-ca=/etc/kubeshark/link/ca.crt
- --link-cert=/etc/kubeshark/link/tls.crt
- --link-key=/etc/kubeshark/link/tls.key
{{- end -}}

{{- define "kubeshark.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- /* What a selector matches: it can never change. */ -}}
{{- define "kubeshark.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "kubeshark.labels" -}}
{{ include "kubeshark.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
app.kubernetes.io/part-of: kubeshark
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "kubeshark.annotations" -}}
{{- with .Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "kubeshark.priorityClassName" -}}
{{- if .own -}}
{{- .own -}}
{{- else if .root.Values.priorityClass.create -}}
{{- include "kubeshark.clusterwide" .root -}}
{{- end -}}
{{- end -}}

{{- define "kubeshark.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- end -}}

{{- /* The binary says GiB as G, Kubernetes says it as Gi. */ -}}
{{- define "kubeshark.size" -}}{{ . | trimSuffix "i" }}{{- end -}}
