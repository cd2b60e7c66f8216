/** Why a running node does not use a configuration that is good in itself. */
export interface Objection {
  /** As in a ConfigError. */
  readonly path: string
  readonly text: string
  readonly remedy: string
}
