#compdef flanneld
_flanneld() {
  local -a own shared offered
  local command= operand= at
  shared=(
    '*--etcd-endpoints=[etcd servers, separated by commas]:etcd-endpoints: '
    '*--etcd-prefix=[key in etcd below which configuration and leases lie]:etcd-prefix: '
    '*--etcd-keyfile=[private key for TLS with etcd]:etcd-keyfile:_files'
    '*--etcd-certfile=[client certificate for TLS with etcd]:etcd-certfile:_files'
    '*--etcd-cafile=[certificate authority of etcd'\''s servers; enough by itself]:etcd-cafile:_files'
    '*--etcd-username=[user for etcd]:etcd-username: '
    '*--etcd-password=[user'\''s password for etcd]:etcd-password: '
    '*--kube-subnet-mgr[take leases from the Kubernetes API instead of etcd]'
    '*--kube-api-url=[Kubernetes API server; not needed inside a pod]:kube-api-url: '
    '*--kubeconfig-file=[kubeconfig; not needed inside a pod]:kubeconfig-file:_files'
    '*--kube-annotation-prefix=[prefix of the node annotations]:kube-annotation-prefix: '
    '*--net-config-path=[network configuration in Kubernetes mode]:net-config-path:_files'
    '*--iface=[interface for traffic between hosts; repeatable, the first that is found is taken]:iface: '
    '*--iface-regex=[as iface, by a Go regular expression over addresses, then names; tried after every iface]:iface-regex: '
    '*--iface-can-reach=[as iface, by the route that leads to this address]:iface-can-reach: '
    '*--public-ip=[IPv4 address that other hosts are told (default\: that of the interface)]:public-ip: '
    '*--public-ipv6=[IPv6 address that other hosts are told (default\: that of the interface)]:public-ipv6: '
    '*--subnet-file=[where this host'\''s subnet and MTU are written]:subnet-file:_files'
    '*--subnet-lease-renew-margin=[minutes before its expiry at which the lease is renewed, 1 to 1439]:subnet-lease-renew-margin: '
    '*--ip-masq[masquerade traffic that leaves the overlay network]'
    '*--ip-masq-fully-random-disable[masquerade without fully random ports]'
    '*--iptables-resync=[seconds between two checks of iptables rules]:iptables-resync: '
    '*--iptables-forward-rules[let overlay traffic through the FORWARD chain]'
    '*--ip-blackhole-route[drop what is sent to unused addresses of the own subnet (blackhole route)]'
    '*--healthz-ip=[address of the health and metrics server]:healthz-ip: '
    '*--healthz-port=[port of the health and metrics server; 0\: none]:healthz-port: '
    '*--set-node-network-unavailable[set the node'\''s condition NetworkUnavailable (Kubernetes mode)]'
    '*-v[log level; from 1 on with debug lines]:v: '
    '*--vmodule=[log level for messages whose code matches a pattern]:vmodule: '
    '*--log_backtrace_at=[add a stack trace to the log line with this source part]:log_backtrace_at: '
    '*--state-dir=[this host'\''s identity and what else must outlive a reboot; mode 0700]:state-dir:_files'
    '*--log-format=[form of the log lines]:log-format:(klog json logfmt)'
    '*--status-socket=[unix socket that answers `flanneld status`; empty\: none]:status-socket:_files'
    '*--hold=[minutes that peers are kept which vanished all at once]:hold: '
    '*--drain=[minutes after which a change of the backend that still waits for somebody is a warning]:drain: '
    '*--masq-exempt=[destinations that are not masqueraded; repeatable]:masq-exempt: '
    '*--guard-allow=[sources that the ingress guard lets in; repeatable]:guard-allow: '
    '*--ingress-guard=[packets into the overlay that no peer may send\: drop and count, count, or ignore]:ingress-guard:(on count off)'
    '*--protected-cidrs=[prefixes that no peer'\''s subnet may overlap, nor one that this node newly leases, separated by commas]:protected-cidrs: '
    '*--etcd-require-tls[refuse plain http to etcd beyond this host]'
    '*--allow-kubeconfig-exec[let the kubeconfig start programs]'
    '*--cni-conf-file=[CNI configuration (.conflist) that is written with the leased subnet; empty\: none]:cni-conf-file:_files'
    '*--cni-network=[name of the network in the CNI configuration]:cni-network: '
    '*--cni-bin-dir=[where the container runtime looks for CNI plugins]:cni-bin-dir:_files'
    '*--cni-plugins-from=[CNI plugins that are copied to cni-bin-dir where they are missing; empty\: none]:cni-plugins-from:_files'
    '*--version[print the version and exit]'
    '*--help[print the flags and exit]'
  )
  # Words that are no flags, nor values of flags.
  for ((at = 2; at < CURRENT; at++)); do
    case $words[at] in
      --wait|-o|--config|-o|-o|-o|-o|--etcd-endpoints|--etcd-prefix|--etcd-keyfile|--etcd-certfile|--etcd-cafile|--etcd-username|--etcd-password|--kube-api-url|--kubeconfig-file|--kube-annotation-prefix|--net-config-path|--iface|--iface-regex|--iface-can-reach|--public-ip|--public-ipv6|--subnet-file|--subnet-lease-renew-margin|--iptables-resync|--healthz-ip|--healthz-port|-v|--vmodule|--log_backtrace_at|--state-dir|--log-format|--status-socket|--hold|--drain|--masq-exempt|--guard-allow|--ingress-guard|--protected-cidrs|--cni-conf-file|--cni-network|--cni-bin-dir|--cni-plugins-from) ((at++)) ;;
      -*) ;;
      *) command="${command:+$command }$words[at]" ;;
    esac
  done
  case $command in
    'status') own=('*--wait=[ask again until all is well, at most this long (5m)]:wait: ' '*--brief[one line]' '*-o[print the status document itself]:o:(json)') ;;
    'plan') own=('*--config=[as if the network configuration were this one; - for the standard input]:config:_files' '*-o[print it as a document]:o:(json)') ;;
    'check') own=('*-o[print it as a document]:o:(json)') ;;
    'config validate') own=('*--strict[unknown keys are a fault]' '*-o[print it as a document]:o:(json)') ;;
    'config render') own=('*-o[of each value also where it comes from and its default]:o:(json)') ;;
    'switch') own=('*--finish[end a change of the backend now, whoever still needs the old one]') ;;
  esac
  case $command in
    'config validate'|'config render') operand=_files ;;
  esac
  case $command in
    '') offered=('status:show how the running daemon is; 0 ok, 1 degraded, 2 down, 3 cannot ask' 'plan:print what would be changed and change nothing' 'check:tell what on this host, in etcd or in Docker would keep the daemon from its work; 0 ok, 1 warnings, 2 failures' 'cleanup:remove every device, route and file of the daemon' 'hand-over:leave a stopped daemon'\''s host to flannel: what flannel takes over stays, all else goes' 'config:' 'switch:use the network configuration that the running daemon holds back because it was changed back and forth' 'version:print the version' 'completion:') ;;
    'config') offered=('validate:check a network configuration; 0 a daemon can use it, 78 it cannot' 'render:print a network configuration with every default written out') ;;
    'completion') offered=('bash:print the completion script for bash' 'zsh:print the completion script for zsh' 'fish:print the completion script for fish') ;;
  esac
  if [[ $PREFIX != -* ]] && (( $#offered )) && [[ $words[CURRENT-1] != (--etcd-endpoints|--etcd-prefix|--etcd-keyfile|--etcd-certfile|--etcd-cafile|--etcd-username|--etcd-password|--kube-api-url|--kubeconfig-file|--kube-annotation-prefix|--net-config-path|--iface|--iface-regex|--iface-can-reach|--public-ip|--public-ipv6|--subnet-file|--subnet-lease-renew-margin|--iptables-resync|--healthz-ip|--healthz-port|-v|--vmodule|--log_backtrace_at|--state-dir|--log-format|--status-socket|--hold|--drain|--masq-exempt|--guard-allow|--ingress-guard|--protected-cidrs|--cni-conf-file|--cni-network|--cni-bin-dir|--cni-plugins-from) ]]; then
    _describe command offered
    return
  fi
  _arguments $own $shared "*: :$operand"
}
if [[ $funcstack[1] == _flanneld ]]; then _flanneld "$@"; else compdef _flanneld flanneld; fi
