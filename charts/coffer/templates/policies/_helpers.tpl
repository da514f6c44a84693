{{/* A policy's binding: everything that breaks it is refused. Call with (dict "root" $ "name" "coffer-…"). */}}
{{- define "coffer.policyBinding" -}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ .name }}
  labels:
    {{- include "coffer.labels" . | nindent 4 }}
spec:
  policyName: {{ .name }}
  validationActions: [Deny]
{{- end }}

{{/* CEL: the author at this path of the object is who sends the request. A uid or groups may be absent. */}}
{{- define "coffer.isCaller" -}}
{{ . }}.?username.orValue('') == request.userInfo.username
&& {{ . }}.?uid.orValue('') == request.userInfo.?uid.orValue('')
&& {{ . }}.?groups.orValue([]) == request.userInfo.?groups.orValue([])
{{- end }}

{{/* CEL: the request's user is one of .Values.restoreUsers. */}}
{{- define "coffer.isRestoreUser" -}}
request.userInfo.username in {{ .Values.restoreUsers | toJson }}
{{- end }}
