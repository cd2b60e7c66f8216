/** Each node writes its lease some four times during a change of the backend; so many ms for each node of the cluster, or all would write at once. */
const PER_NODE_MS = 4

/** How long a node waits before it does what all nodes have learned at the same moment. `random`: from 0 to below 1. */
export function spreadMs(random: () => number, nodes: number): number {
  return random() * nodes * PER_NODE_MS
}
