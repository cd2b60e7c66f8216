import assert from 'node:assert/strict'
import { Histogram, renderMetrics } from '../../flanneld/status/metrics.ts'
import { exampleStatus, peerStatus } from './status-example.ts'

describe('metrics', () => {
  it('are in the text format, with the names of the conventions', () => {
    const reconcileDuration = new Histogram([0.01, 0.1])
    for (const seconds of [0.001, 0.05, 0.05, 7]) reconcileDuration.observe(seconds)
    const status = exampleStatus({
      peers: [peerStatus('2'), peerStatus('3', { state: 'held' })],
      rejected: [
        { id: 'x', reason: 'a"b\\c\nd', text: '' },
        { id: 'y', reason: 'a"b\\c\nd', text: '' },
        // In both families, and a peer in one of them.
        { id: 'z', family: 4, reason: 'overlap', text: '' },
        { id: 'z', family: 6, reason: 'overlap', text: '' },
        { id: '2', family: 6, reason: 'overlap', text: '' },
      ],
      dataPlane: {
        packets: { in: 3, out: 4 },
        bytes: { in: 300, out: 400 },
        drops: { 'inner-source': 2, stranger: 0 },
        deaths: 1,
      },
      guard: { mode: 'count', refused: { 'outer-source': 3, container: 0 }, offenders: [] },
    })
    const text = renderMetrics({
      status,
      reconcileDuration,
      eventLoopLagSeconds: 0.002,
      process: { cpuSeconds: 1.5, residentBytes: 60e6, startTimeSeconds: 1e9 },
    })
    for (const line of [
      'flannel_build_info{version="1.2.3"} 1',
      'flannel_ready 1',
      'flannel_leases{state="own"} 1',
      'flannel_leases{state="accepted"} 1',
      'flannel_leases{state="held"} 1',
      'flannel_leases{state="rejected"} 3',
      'flannel_peers_rejected{reason="overlap"} 2',
      'flannel_lease_expiry_timestamp_seconds 1795338000',
      'flannel_lease_renewals_total{result="ok"} 1',
      'flannel_peers_rejected{reason="a\\"b\\\\c\\nd"} 2',
      'flannel_datastore_up 1',
      'flannel_datastore_resyncs_total{cause="start"} 1',
      'flannel_reconcile_duration_seconds_bucket{le="0.01"} 1',
      'flannel_reconcile_duration_seconds_bucket{le="0.1"} 3',
      'flannel_reconcile_duration_seconds_bucket{le="+Inf"} 4',
      'flannel_reconcile_duration_seconds_count 4',
      'flannel_drift_repaired_total{kind="route"} 2',
      'flannel_netlink_overruns_total 0',
      'flannel_dataplane_packets_total{direction="out"} 4',
      'flannel_dataplane_bytes_total{direction="in"} 300',
      'flannel_dataplane_drops_total{reason="inner-source"} 2',
      'flannel_dataplane_deaths_total 1',
      'flannel_guard_dropped_packets_total{rule="outer-source",mode="count"} 3',
      'flannel_guard_dropped_packets_total{rule="container",mode="count"} 0',
      'flannel_event_loop_lag_seconds 0.002',
      'process_resident_memory_bytes 60000000',
    ]) {
      assert.ok(text.split('\n').includes(line), `${line} in\n${text}`)
    }
    for (const line of text.trimEnd().split('\n')) {
      assert.match(line, /^(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{([a-z]+="([^"\\]|\\.)*",?)+\})? [-+\d.eE]+)$/)
    }
    assert.ok(text.endsWith('\n'))
  })
})
