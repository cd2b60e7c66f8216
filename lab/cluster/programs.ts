import { access, constants } from 'node:fs/promises'
import { UsageError } from '../../lib/errors.ts'

/** Paths of Kubernetes' programs, which no Debian package brings. */
export interface ClusterPrograms {
  readonly apiServer: string
  readonly controllerManager: string
  readonly scheduler: string
  readonly kubelet: string
  readonly kubeProxy: string
  readonly kubectl: string
}

/** The variables that name them. */
export const programVariables: Readonly<Record<keyof ClusterPrograms, string>> = {
  apiServer: 'KUBE_APISERVER',
  controllerManager: 'KUBE_CONTROLLER_MANAGER',
  scheduler: 'KUBE_SCHEDULER',
  kubelet: 'KUBELET',
  kubeProxy: 'KUBE_PROXY',
  kubectl: 'KUBECTL',
}

/** @throws UsageError naming the variables that are missing or name nothing that can be run */
export async function programsFrom(
  environment: Readonly<Record<string, string | undefined>>,
): Promise<ClusterPrograms> {
  const wrong: string[] = []
  const paths: [string, string][] = []
  for (const [program, variable] of Object.entries(programVariables)) {
    const path = environment[variable] ?? ''
    paths.push([program, path])
    await access(path, constants.X_OK).catch(() => wrong.push(variable))
  }
  if (wrong.length > 0) throw new UsageError(`a program of Kubernetes is to be named by each of ${wrong.join(', ')}`)
  return Object.fromEntries(paths) as unknown as ClusterPrograms
}
