{{- define "vb365.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- /* At most 52 characters: pods of a StatefulSet have its name and a hash of 11 characters as a label, which has at most 63. */ -}}
{{- define "vb365.fullname" -}}
{{- $name := include "vb365.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "vb365.selectorLabels" -}}
app.kubernetes.io/name: {{ include "vb365.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "vb365.labels" -}}
{{ include "vb365.selectorLabels" . }}
{{ include "vb365.chartLabels" . }}
{{- end -}}

{{- define "vb365.chartLabels" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "vb365.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "vb365.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "vb365.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "vb365.sharded" -}}
{{- if gt (int .Values.shards) 1 }}true{{ end -}}
{{- end -}}

{{- define "vb365.configMap" -}}
{{- default (include "vb365.fullname" .) .Values.existingConfigMap -}}
{{- end -}}

{{- /* Combinations of values that the schema cannot reject. */ -}}
{{- define "vb365.check" -}}
{{- if not (or .Values.demo .Values.config .Values.existingConfigMap) -}}
{{- fail "config, existingConfigMap or demo: one of them is needed" -}}
{{- end -}}
{{- if and .Values.config .Values.existingConfigMap -}}
{{- fail "config and existingConfigMap: only one of them can be" -}}
{{- end -}}
{{- if and .Values.demo (include "vb365.sharded" .) -}}
{{- fail "demo: has one server, which shards cannot share" -}}
{{- end -}}
{{- range $number, $server := .Values.config.servers -}}
{{- range $key := list "password" "token" -}}
{{- if hasKey (default dict $server.auth) $key -}}
{{- fail (printf "config.servers[%d].auth.%s: a ConfigMap is no place for secrets, use %s_file and existingSecret" $number $key $key) -}}
{{- end -}}
{{- end -}}
{{- if regexMatch "//[^/]*@" (default "" $server.proxy_url) -}}
{{- fail (printf "config.servers[%d].proxy_url: a ConfigMap is no place for secrets, use proxy_from_environment and HTTPS_PROXY in extraEnv" $number) -}}
{{- end -}}
{{- end -}}
{{- if and (or .Values.webConfig.tls .Values.webConfig.probeAuthorization) (not .Values.webConfig.existingSecret) -}}
{{- fail "webConfig: tls and probeAuthorization mean nothing without existingSecret" -}}
{{- end -}}
{{- end -}}

{{- define "vb365.probe" -}}
{{- $web := .context.Values.webConfig -}}
{{- if $web.probeExec -}}
exec:
  command: [/opt/exporter/bin/python, -I, /opt/exporter/healthcheck.py]
timeoutSeconds: 10
{{- else -}}
httpGet:
  path: {{ .path }}
  port: http-metrics
  {{- if $web.tls }}
  scheme: HTTPS
  {{- end }}
  {{- with $web.probeAuthorization }}
  httpHeaders:
    - name: Authorization
      value: {{ . | quote }}
  {{- end }}
timeoutSeconds: 5
{{- end }}
{{- end -}}
