import type { Failure } from '../desired.ts'
import type { Required } from '../objects.ts'

/** Of the failures those without which the node is not ready: nothing that is in place makes up for them. */
export function unmetRequirements(failures: Iterable<Failure>): readonly Failure[] {
  const required: { readonly failure: Failure; readonly role: Required }[] = []
  for (const failure of failures) {
    const { role } = failure.object
    if (role.class === 'required') required.push({ failure, role })
  }
  const broken = new Set(required.map(({ role }) => role.family))
  return required.flatMap(({ failure, role }) => (role.instead?.some((family) => !broken.has(family)) ? [] : [failure]))
}
