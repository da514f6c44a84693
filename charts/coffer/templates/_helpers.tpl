{{/* Labels of every object. Call with (dict "root" $ "component" "operator"), component may be absent, or with $. */}}
{{- define "coffer.labels" -}}
{{- $root := .root | default . -}}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/part-of: coffer
{{ include "coffer.selectorLabels" . }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Labels that select a component's pods. They can never change. */}}
{{- define "coffer.selectorLabels" -}}
{{- $root := .root | default . -}}
app.kubernetes.io/name: coffer
app.kubernetes.io/instance: {{ $root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{/* Labels of a component's pods. */}}
{{- define "coffer.podLabels" -}}
{{ include "coffer.labels" . }}
{{- with mergeOverwrite (dict) .root.Values.podLabels (index .root.Values .component).podLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The metadata of a component's pods. */}}
{{- define "coffer.podMetadata" -}}
labels:
  {{- include "coffer.podLabels" . | nindent 2 }}
{{- with mergeOverwrite (dict) .root.Values.podAnnotations (index .root.Values .component).podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The image of a component. */}}
{{- define "coffer.image" -}}
{{- $own := (index .root.Values .component).image -}}
{{- $own | default (printf "%s/%s:%s" .root.Values.image.registry .component (.root.Values.image.tag | default .root.Chart.AppVersion)) -}}
{{- end }}

{{/* The API server's name for a component's ServiceAccount. */}}
{{- define "coffer.user" -}}
{{- printf "system:serviceaccount:%s:coffer-%s" .root.Release.Namespace .component -}}
{{- end }}

{{/* Who the garbage collector and the namespace controller are, as a CEL list. The last name is theirs
     where the controller manager runs without one ServiceAccount per controller. */}}
{{- define "coffer.collectors" -}}
['system:serviceaccount:kube-system:generic-garbage-collector', 'system:serviceaccount:kube-system:namespace-controller', 'system:kube-controller-manager']
{{- end }}

{{/* Fields of a pod spec that every component shares, the node driver's security context aside. */}}
{{- /* The groups that may break glass, for whoever decides. */}}
{{- define "coffer.breakGlassArgs" -}}
{{- range .Values.breakGlass.groups }}
- --break-glass-group
- {{ . | quote }}
{{- end }}
{{- end }}

{{- define "coffer.podCommon" -}}
{{- $values := index .root.Values .component -}}
serviceAccountName: coffer-{{ .component }}
enableServiceLinks: false
terminationGracePeriodSeconds: 30
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Replicas lie on different nodes and in different zones where there are any. */}}
{{- define "coffer.spread" -}}
topologySpreadConstraints:
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "coffer.selectorLabels" $ | nindent 8 }}
{{- end }}
{{- end }}

{{/* The pod's half of the restricted Pod Security profile. */}}
{{- define "coffer.podSecurityContext" -}}
securityContext:
  runAsNonRoot: true
  {{- range $field := list "runAsUser" "runAsGroup" "fsGroup" }}
  {{- $id := index $.root.Values.podSecurityContext $field }}
  {{- if not (kindIs "invalid" $id) }}
  {{ $field }}: {{ int64 $id }}
  {{- end }}
  {{- end }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{/* The container's half of the restricted Pod Security profile. */}}
{{- define "coffer.containerSecurityContext" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{/* What every container has: image, environment, admin port, probes, resources. */}}
{{- define "coffer.containerCommon" -}}
{{- $values := index .root.Values .component -}}
image: {{ include "coffer.image" . }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
env:
  - name: POD_NAME
    valueFrom: {fieldRef: {fieldPath: metadata.name}}
  - name: POD_NAMESPACE
    valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
  - name: NODE_NAME
    valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
  - name: RUST_LOG
    value: {{ .root.Values.logLevel | quote }}
  {{- if eq .component "operator" }}
  # It keeps many small objects and is in no hurry: one arena for all threads needs a fifth less memory.
  - name: MALLOC_ARENA_MAX
    value: "1"
  {{- end }}
  {{- with $values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
livenessProbe:
  httpGet: {path: /healthz, port: admin}
  periodSeconds: 10
  timeoutSeconds: 3
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: admin}
  periodSeconds: 3
  timeoutSeconds: 3
  failureThreshold: 2
resources:
  {{- toYaml $values.resources | nindent 2 }}
{{- end }}

{{/* A PodDisruptionBudget of one at a time; a pod that is not ready never blocks a drain. */}}
{{- define "coffer.podDisruptionBudget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: coffer-{{ .component }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "coffer.labels" . | nindent 4 }}
spec:
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "coffer.selectorLabels" . | nindent 6 }}
{{- end }}

{{/* A NetworkPolicy: the admin port for metricsFrom, the ports in .open for everyone, nothing else. */}}
{{- define "coffer.networkPolicy" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: coffer-{{ .component }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "coffer.labels" . | nindent 4 }}
spec:
  podSelector:
    matchLabels:
      {{- include "coffer.selectorLabels" . | nindent 6 }}
  policyTypes: [Ingress]
  ingress:
    - ports:
        - {port: admin, protocol: TCP}
      {{- with .root.Values.networkPolicy.metricsFrom }}
      from:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    {{- with .open }}
    - ports:
        {{- range . }}
        - {port: {{ . }}, protocol: TCP}
        {{- end }}
    {{- end }}
{{- end }}

{{/* A ServiceAccount without a token of its own: pods that talk to the API server ask for one. */}}
{{- define "coffer.serviceAccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: coffer-{{ .component }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "coffer.labels" . | nindent 4 }}
automountServiceAccountToken: false
{{- end }}

{{/* Binds a component's ClusterRole, and its Role when .role is set, to its ServiceAccount. */}}
{{- define "coffer.bindings" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: coffer-{{ .component }}
  labels:
    {{- include "coffer.labels" . | nindent 4 }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: coffer-{{ .component }}}
subjects:
  - {kind: ServiceAccount, name: coffer-{{ .component }}, namespace: {{ .root.Release.Namespace }}}
{{- if .role }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: coffer-{{ .component }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "coffer.labels" . | nindent 4 }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: coffer-{{ .component }}}
subjects:
  - {kind: ServiceAccount, name: coffer-{{ .component }}, namespace: {{ .root.Release.Namespace }}}
{{- end }}
{{- end }}

{{/* Annotations of a webhook configuration: whose CA cert-manager's injector writes into caBundle. */}}
{{- define "coffer.trust" -}}
{{- if .Values.certManager.enabled }}
annotations:
  cert-manager.io/inject-ca-from: {{ .Release.Namespace }}/coffer-webhook-tls
{{- end }}
{{- end }}
