import type { PeerStatus, StatusDocument } from '../../flanneld/status/status.ts'

export function peerStatus(id: string, more: Partial<PeerStatus> = {}): PeerStatus {
  return {
    id,
    node: '',
    subnets: { ipv4: `10.5.${id}.0/24` },
    publicIps: { ipv4: `192.168.0.${id}` },
    path: 'tunnel',
    state: 'ok',
    reason: '',
    ...more,
  }
}

/** A healthy node with one peer. */
export function exampleStatus(more: Partial<StatusDocument> = {}): StatusDocument {
  return {
    apiVersion: 'flannel.status/v1',
    version: '1.2.3',
    pid: 4711,
    startedAt: '2026-11-21T09:00:00.000Z',
    now: '2026-11-21T09:01:00.000Z',
    state: 'ok',
    ready: true,
    notReady: [],
    nodeId: '0123456789abcdef0123456789abcdef',
    subnetFile: '/run/flannel/subnet.env',
    external: {
      interface: 'eth0',
      mtu: 1500,
      addresses: { ipv4: '192.168.0.1' },
      publicIps: { ipv4: '192.168.0.1' },
      reason: 'the default route leads over it',
    },
    network: { ipv4: '10.5.0.0/16' },
    lease: { id: '10.5.1.0-24', subnets: { ipv4: '10.5.1.0/24' }, expiresAt: '2026-11-22T09:00:00.000Z' },
    backend: { type: 'vxlan', mtu: 1450, devices: ['flannel.1'] },
    conditions: [],
    peers: [peerStatus('2')],
    rejected: [],
    counters: {
      driftRepaired: { route: 2 },
      adopted: {},
      reconcileErrors: {},
      netlinkOverruns: 0,
      leaseRenewals: { ok: 1 },
      datastoreResyncs: { start: 1 },
      backendChanges: { finished: 2, moves: 9, fallBacks: 1, probesAnswered: 40, probesUnanswered: 3, seconds: 10.5 },
    },
    dataPlane: null,
    guard: null,
    backendChange: null,
    endingConnections: null,
    datastore: { up: true, endpoint: 'http://127.0.0.1:2379', lastSuccess: '2026-11-21T09:00:59.000Z', error: null },
    ...more,
  }
}
