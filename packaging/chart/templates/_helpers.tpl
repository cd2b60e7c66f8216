{{- /*
Values reach the manifests by toJson and flannel.yaml only: a quote, a line break or a word that YAML takes for a number
stays what it is.
*/ -}}

{{- /* As YAML. toYaml says nothing of what it cannot write, and returns an empty text. */ -}}
{{- define "flannel.yaml" -}}
{{- $text := toYaml . -}}
{{- if and . (not $text) }}{{ fail (printf "cannot be written as YAML: %s" (toJson .)) }}{{ end -}}
{{- $text -}}
{{- end }}

{{- define "flannel.labels" -}}
tier: node
app: flannel
k8s-app: flannel
{{- end }}

{{- define "flannel.image" -}}
{{- $by := ternary "@" ":" (hasPrefix "sha256:" .tag) -}}
{{- printf "%s%s%s" .repository $by .tag | toJson -}}
{{- end }}

{{- /* true or nothing, of a boolean or the word for it */ -}}
{{- define "flannel.isOn" -}}
{{- if eq (toString .) "true" }}true{{ end -}}
{{- end }}

{{- define "flannel.healthPort" -}}
{{- int64 (default 0 .Values.flannel.healthz.port) -}}
{{- end }}

{{- /* flannel's keys of the network configuration; a number that is 0 and a text that is empty are left to the daemon. */ -}}
{{- define "flannel.netConf" -}}
{{- $v := .Values.flannel -}}
{{- $type := lower $v.backend -}}
{{- $backend := dict "Type" $type -}}
{{- $numbers := dict -}}
{{- $switches := dict -}}
{{- $texts := dict -}}
{{- if eq $type "vxlan" -}}
{{- $numbers = dict "Port" $v.backendPort "VNI" $v.vni "MTU" $v.mtu -}}
{{- $switches = dict "GBP" $v.GBP "DirectRouting" $v.directRouting -}}
{{- $texts = dict "MacPrefix" $v.macPrefix -}}
{{- else if eq $type "wireguard" -}}
{{- $numbers = dict "ListenPort" $v.backendPort "ListenPortV6" $v.backendPortv6 "MTU" $v.mtu "PersistentKeepaliveInterval" $v.keepaliveInterval -}}
{{- $texts = dict "PSK" $v.psk "Mode" $v.tunnelMode -}}
{{- if (.Values.pskSecretRef).name -}}
{{- $texts = dict "PSKFile" "/etc/kube-flannel-psk/psk" "Mode" $v.tunnelMode -}}
{{- end -}}
{{- else if eq $type "udp" -}}
{{- $numbers = dict "Port" $v.backendPort -}}
{{- else if eq $type "ipip" -}}
{{- $switches = dict "DirectRouting" $v.directRouting -}}
{{- end -}}
{{- range $key, $number := $numbers -}}
{{- with int64 (default 0 $number) }}{{ $_ := set $backend $key . }}{{ end -}}
{{- end -}}
{{- range $key, $switch := $switches -}}
{{- if include "flannel.isOn" $switch }}{{ $_ := set $backend $key true }}{{ end -}}
{{- end -}}
{{- range $key, $text := $texts -}}
{{- with $text }}{{ $_ := set $backend $key (toString .) }}{{ end -}}
{{- end -}}
{{- $conf := dict "EnableNFTables" $v.enableNFTables "Backend" $backend -}}
{{- with .Values.podCidr }}{{ $_ := set $conf "Network" . }}{{ else }}{{ $_ := set $conf "EnableIPv4" false }}{{ end -}}
{{- with .Values.podCidrv6 }}{{ $_ := set (set $conf "IPv6Network" .) "EnableIPv6" true }}{{ end -}}
{{- $conf | toPrettyJson -}}
{{- end }}

{{- /* What --kube-annotation-prefix makes of the names, as the daemon completes it. */ -}}
{{- define "flannel.annotationPrefix" -}}
{{- $prefix := "flannel.alpha.coreos.com" -}}
{{- $isNext := false -}}
{{- range .Values.flannel.args -}}
{{- if $isNext }}{{ $prefix = . }}{{ end -}}
{{- $isNext = regexMatch "^--?kube-annotation-prefix$" . -}}
{{- if regexMatch "^--?kube-annotation-prefix=." . }}{{ $prefix = regexReplaceAll "^--?kube-annotation-prefix=" . "" }}{{ end -}}
{{- end -}}
{{- if not (contains "/" $prefix) }}{{ $prefix = printf "%s/" $prefix }}{{ end -}}
{{- if not (regexMatch "[/-]$" $prefix) }}{{ $prefix = printf "%s-" $prefix }}{{ end -}}
{{- $prefix -}}
{{- end }}

{{- /* Ends the rendering with what cannot be said by the schema. */ -}}
{{- define "flannel.refuse" -}}
{{- if not (or .Values.podCidr .Values.podCidrv6) -}}
{{- fail "podCidr and podCidrv6 are both empty: name the pod network of at least one family" -}}
{{- end -}}
{{- with (fromJson .Values.flannel.cniConf).Error -}}
{{- fail (printf "flannel.cniConf is not JSON, and no pod would start with it: %s" .) -}}
{{- end -}}
{{- if and .Values.flannel.psk (.Values.pskSecretRef).name -}}
{{- fail "flannel.psk and pskSecretRef.name are both given: keep the Secret and empty flannel.psk" -}}
{{- end -}}
{{- if and .Values.metrics.podMonitor.enabled (eq (include "flannel.healthPort" .) "0") -}}
{{- fail "metrics.podMonitor.enabled needs a port: flannel.healthz.port is 0" -}}
{{- end -}}
{{- end }}
