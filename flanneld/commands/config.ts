import { ConfigError, messageOf, UsageError } from '../../lib/errors.ts'
import type { SubnetOrigin } from '../../subnet/network-config.ts'
import { configValues, documentOf } from '../config/values.ts'
import { exitCodeOf } from '../exit-code.ts'
import { type Configuration, parseConfiguration } from '../node/configuration.ts'
import type { FlagValue } from '../options/go-flags.ts'
import type { Options } from '../options/options.ts'

interface ConfigCommandNeeds {
  /** The text of a file, or for `-` of the standard input. */
  readonly read: (path: string) => Promise<string>
  readonly print: (text: string) => void
  readonly complain: (text: string) => void
}

interface ConfigCommandWords {
  readonly file: string
  /** The command's own. */
  readonly flags: ReadonlyMap<string, FlagValue>
}

/**
 * `flanneld config validate`: 0 the daemon can use it, 78 it cannot. What it only warns of is said on the standard error output, and
 * is a fault with `--strict`. In Kubernetes mode (`--kube-subnet-mgr`) it is judged as there.
 *
 * @throws UsageError, or an Error when the file cannot be read
 */
export async function runConfigValidate(
  needs: ConfigCommandNeeds,
  options: Options,
  { file, flags }: ConfigCommandWords,
): Promise<number> {
  const isDocument = wantsDocument(flags)
  const text = await needs.read(file)
  const verdict = judge(text, nameOf(file), subnetsOf(options), flags.get('strict') === true)
  if (isDocument) needs.print(`${JSON.stringify(verdictDocument(verdict, file), null, 2)}\n`)
  else {
    for (const warning of verdict.warnings) needs.complain(`${nameOf(file)}: warning: ${warning}\n`)
    if (verdict.fault === undefined) needs.print(`${nameOf(file)}: valid: ${summaryOf(verdict.configuration)}\n`)
    else needs.complain(faultText(verdict.fault, file))
  }
  return verdict.fault === undefined ? 0 : exitCodeOf(verdict.fault)
}

/**
 * `flanneld config render`: the configuration with every default written out, which is one, too; with `-o json` a document that says
 * of each value where it comes from and what its default is.
 *
 * @throws UsageError, ConfigError, or an Error when the file cannot be read
 */
export async function runConfigRender(
  needs: ConfigCommandNeeds,
  options: Options,
  { file, flags }: ConfigCommandWords,
): Promise<number> {
  const isDocument = wantsDocument(flags)
  const subnets = subnetsOf(options)
  const text = await needs.read(file)
  try {
    const configuration = parseConfiguration(text, nameOf(file), subnets)
    const { warnings } = configuration
    const config = documentOf(configuration)
    if (!isDocument) for (const warning of warnings) needs.complain(`${nameOf(file)}: warning: ${warning}\n`)
    const values = () => configValues(text, nameOf(file), subnets)
    const whole = { apiVersion: API_VERSION, file, config, values: isDocument ? values() : [], warnings }
    needs.print(`${JSON.stringify(isDocument ? whole : config, null, 2)}\n`)
    return 0
  } catch (cause) {
    if (!(cause instanceof ConfigError)) throw cause
    needs.complain(faultText(cause, file))
    return exitCodeOf(cause)
  }
}

const API_VERSION = 'flannel.config/v1'

type Verdict = { readonly warnings: readonly string[] } & (
  | { readonly fault: ConfigError }
  | { readonly fault?: undefined; readonly configuration: Configuration }
)

function judge(text: string, name: string, subnets: SubnetOrigin, isStrict: boolean): Verdict {
  try {
    const configuration = parseConfiguration(text, name, subnets)
    const [first, ...others] = configuration.warnings
    if (!isStrict || first === undefined) return { configuration, warnings: configuration.warnings }
    const [path = '', ...why] = first.split(': ')
    return { fault: new ConfigError(path, why.join(': ')), warnings: others }
  } catch (cause) {
    if (cause instanceof ConfigError) return { fault: cause, warnings: [] }
    throw cause
  }
}

/** It only grows. */
function verdictDocument({ fault, warnings }: Verdict, file: string) {
  const { path, expected, value, message } = fault ?? {}
  const said = fault && { path, expected, ...(value !== undefined && { value }), text: message }
  return { apiVersion: API_VERSION, file, valid: fault === undefined, ...(said && { fault: said }), warnings }
}

function summaryOf({ network, backend }: Configuration): string {
  const families = Array.from(
    network.families.values(),
    ({ network: whole, subnetLen, subnetMin, subnetMax }) =>
      `${whole}, subnets /${subnetLen} from ${subnetMin} to ${subnetMax}`,
  )
  return [backend.type, ...families].join('; ')
}

function wantsDocument(flags: ReadonlyMap<string, FlagValue>): boolean {
  const output = flags.get('o') ?? ''
  if (output === '' || output === 'json') return output === 'json'
  throw new UsageError(`invalid value ${JSON.stringify(output)} for flag -o: must be json`)
}

// A fault of the document as a whole names the file itself.
function faultText({ path, message }: ConfigError, file: string): string {
  return path === nameOf(file) ? `${message}\n` : `${nameOf(file)}: ${message}\n`
}

function nameOf(file: string): string {
  return file === '-' ? 'standard input' : file
}

function subnetsOf({ kubeSubnetMgr }: Options): SubnetOrigin {
  return kubeSubnetMgr ? 'assigned' : 'leased'
}

/** @throws Error with a sentence for the operator */
export function unreadable(file: string, cause: unknown): Error {
  return new Error(`${nameOf(file)} cannot be read: ${messageOf(cause)}`, { cause })
}
