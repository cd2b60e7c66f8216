import { readFileSync } from 'node:fs'

/** NETLINK_ROUTE, and its groups as a mask: links and nothing else. Source: linux/netlink.h, linux/rtnetlink.h. */
const LINKS_ONLY = /^\S+ 0 \S+ 00000001 /

/**
 * How many sockets of this network namespace hear of links and of nothing else. flannel's vxlan of today keeps one as long as it runs, also
 * in a container of its own; this program's hear of more.
 */
export function countLinkSockets(proc = '/proc'): number {
  try {
    const lines = readFileSync(`${proc}/self/net/netlink`, 'utf8').split('\n')
    return lines.filter((line) => LINKS_ONLY.test(line.replace(/\s+/g, ' '))).length
  } catch {
    return 0
  }
}
