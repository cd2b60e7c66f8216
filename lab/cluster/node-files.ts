/** containerd's configuration on a node. The sandbox image is the lab's own: no registry can be reached. */
export function containerdConfig(sandboxImage: string): string {
  const cri = 'plugins."io.containerd.grpc.v1.cri"'
  return [
    'version = 2',
    `[${cri}]`,
    `sandbox_image = "${sandboxImage}"`,
    // Root may lack CAP_SYS_RESOURCE, without which no process can be given a lower score than its parent's.
    'restrict_oom_score_adj = true',
    `[${cri}.cni]`,
    'bin_dir = "/opt/cni/bin"',
    'conf_dir = "/etc/cni/net.d"',
    `[${cri}.containerd.runtimes.runc]`,
    'runtime_type = "io.containerd.runc.v2"',
    '',
  ].join('\n')
}

export function kubeletConfig(cgroup: string): string {
  return JSON.stringify({
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    authentication: { anonymous: { enabled: true }, webhook: { enabled: false } },
    authorization: { mode: 'AlwaysAllow' },
    containerRuntimeEndpoint: 'unix:///run/containerd/containerd.sock',
    cgroupDriver: 'cgroupfs',
    cgroupRoot: `/${cgroup}`,
    enforceNodeAllocatable: [],
    failSwapOn: false,
    failCgroupV1: false,
    protectKernelDefaults: true,
    localStorageCapacityIsolation: false,
    // A full disk or busy memory of the machine is not the node's.
    imageGCHighThresholdPercent: 100,
    evictionHard: { 'memory.available': '0%', 'nodefs.available': '0%', 'imagefs.available': '0%' },
    // The smallest kubelet takes: a changed ConfigMap is to be seen on the nodes soon.
    syncFrequency: '5s',
    configMapAndSecretChangeDetectionStrategy: 'Watch',
  })
}

export function kubeconfig(options: { readonly server: string; readonly ca: string; readonly token: string }): string {
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'lab',
    clusters: [{ name: 'lab', cluster: { server: options.server, 'certificate-authority': options.ca } }],
    users: [{ name: 'lab', user: { token: options.token } }],
    contexts: [{ name: 'lab', context: { cluster: 'lab', user: 'lab' } }],
  })
}
