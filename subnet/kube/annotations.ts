/** Names of flannel's node annotations below one prefix (compatibility contract §4), and ours behind them. */
export interface AnnotationNames {
  readonly prefix: string
  readonly managed: string
  readonly backendType: string
  readonly nodeId: string
  readonly accepts: string
  readonly sends: string
  readonly families: Readonly<Record<4 | 6, FamilyAnnotations>>
}

export interface FamilyAnnotations {
  readonly data: string
  readonly publicIp: string
  readonly overwrite: string
  readonly nodePublicIp: string
  readonly tunnelIp: string
}

/** @param prefix ends in `/` or `-` */
export function annotationNames(prefix: string): AnnotationNames {
  const family = (data: string, suffix: string): FamilyAnnotations => ({
    data: `${prefix}backend-${data}`,
    publicIp: `${prefix}public-ip${suffix}`,
    overwrite: `${prefix}public-ip${suffix}-overwrite`,
    nodePublicIp: `${prefix}node-public-ip${suffix}`,
    tunnelIp: `${prefix}tunnel-ip${suffix}`,
  })
  return {
    prefix,
    managed: `${prefix}kube-subnet-manager`,
    backendType: `${prefix}backend-type`,
    nodeId: `${prefix}node-id`,
    accepts: `${prefix}accepts`,
    sends: `${prefix}sends`,
    families: { 4: family('data', ''), 6: family('v6-data', 'v6') },
  }
}
