import { type NodePlan, Planner } from '../../../flanneld/node/planner.ts'

/** The plan of a planner that remembers nothing. */
export function planNode(input: Parameters<Planner['plan']>[0]): NodePlan {
  return new Planner().plan(input)
}
