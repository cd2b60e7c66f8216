import type { DaemonOptions } from '../../lab/daemon.ts'

/** One of the two programs that are compared. */
export interface Side {
  readonly name: 'ours' | 'flannel'
  readonly daemon: DaemonOptions
}

/** What one repetition found, by the name of a figure. */
export type Sample = Readonly<Record<string, number>>

/** How a figure is shown and judged. Of what has a goal, smaller is better. */
export interface Figure {
  /** Key in the samples. */
  readonly key: string
  readonly title: string
  readonly unit: string
  readonly digits: number
  /** Undefined: shown only. */
  readonly goal?: Goal
}

/** A bound that does not depend on the peer, or a share of the peer's own figure. */
export type Goal = { readonly under: number } | { readonly timesPeer: number }

export interface Measurement {
  /** As given to `npm run bench -- NAME`. */
  readonly name: string
  readonly rounds: number
  readonly figures: readonly Figure[]
  /** The peer has nothing to compare with. */
  readonly oursOnly?: true
  /** Builds what all rounds share, and returns the way to take one sample. `defer` is called in reverse order at the end. */
  prepare(defer: (work: () => Promise<void>) => void): Promise<(side: Side) => Promise<Sample>>
}

/** Takes the samples in turns: ours, peer, ours, peer. What else runs on the machine meets both alike. */
export async function measure(
  measurement: Measurement,
  sides: readonly Side[],
  options: { rounds: number; onSample: (side: Side, sample: Sample) => void },
): Promise<ReadonlyMap<Side['name'], readonly Sample[]>> {
  const measured = sides.filter(({ name }) => name === 'ours' || !measurement.oursOnly)
  const samples = new Map<Side['name'], Sample[]>(measured.map(({ name }) => [name, []]))
  const deferred: (() => Promise<void>)[] = []
  try {
    const take = await measurement.prepare((work) => deferred.push(work))
    for (let round = 0; round < options.rounds; round += 1) {
      for (const side of measured) {
        const sample = await take(side)
        samples.get(side.name)?.push(sample)
        options.onSample(side, sample)
      }
    }
  } finally {
    for (const work of deferred.reverse()) await work()
  }
  return samples
}
