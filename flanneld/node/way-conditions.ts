import type { Way } from '../../backends/way.ts'
import type { ConfigError } from '../../lib/errors.ts'

/** A family that is enabled and not had. */
export function lackingConditions(texts: readonly string[]) {
  const remedy =
    'correct what is named, or turn the family off again; it is tried again by itself, and the other family goes on meanwhile'
  return texts.map((text) => ({
    code: 'family-not-had',
    severity: 'warning' as const,
    text: `the backend does not carry a family that is enabled: ${text}`,
    remedy,
  }))
}

/** The only way that is wanted cannot be had. */
export function stuckCondition({ backend }: Way, refusal: ConfigError | undefined) {
  return {
    code: 'backend-change-blocked',
    severity: 'warning' as const,
    text: `the configuration in use cannot be had on this host, which goes on with the ${backend.type} that it has: ${refusal?.message}`,
    remedy: 'remove the obstacle, which is looked for again and again, or write the earlier configuration again',
  }
}
