import { inParallel } from '../../lab/build.ts'
import { Lab } from '../../lab/lab.ts'

/** So many hosts on one segment, which know each other's hardware address. */
export async function rack(count: number, backend: Record<string, unknown>): Promise<Lab> {
  const hosts = Array.from({ length: count }, (_unused, index) => `h${index + 1}`)
  const lab = await Lab.create({
    segments: [{ name: 'lan', subnet: '192.168.64.0/24', hosts }],
    netConf: { Network: '10.5.0.0/16', Backend: backend },
  })
  await introduce(lab)
  return lab
}

// All namespaces of a machine share one ARP table of 1,024 entries, less than these hosts' pairs; permanent ones do not count.
async function introduce(lab: Lab): Promise<void> {
  const known = await Promise.all(
    lab.hosts.map(async (host) => {
      const [link] = await host.ipJson('link', 'show', 'eth0')
      return `neigh replace ${host.address} lladdr ${link.address} dev eth0 nud permanent`
    }),
  )
  await inParallel(lab.hosts, 4, async (host) => {
    await host.ipBatch(known.filter((line) => !line.includes(` ${host.address} `)))
  })
}
