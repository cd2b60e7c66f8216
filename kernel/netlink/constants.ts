// Sources: linux/netlink.h, linux/rtnetlink.h. Constants that only one message needs stand beside it.

export const NLMSG_ERROR = 2
export const NLMSG_DONE = 3

export const NLM_F_REQUEST = 0x1
export const NLM_F_ACK = 0x4
/** Of an answer: the table changed while it was dumped. */
export const NLM_F_DUMP_INTR = 0x10
export const NLM_F_REPLACE = 0x100
export const NLM_F_EXCL = 0x200
export const NLM_F_CREATE = 0x400
export const NLM_F_DUMP = 0x300

/**
 * `create` fails where something is there, `replace` where nothing is: either way the mirror was wrong and is read again.
 * (`ip ... change` sends the latter; `ip ... replace` would create.)
 */
export const WRITE_FLAGS = { create: NLM_F_CREATE | NLM_F_EXCL, replace: NLM_F_REPLACE } as const
export type WriteMode = keyof typeof WRITE_FLAGS

export const RTM_NEWLINK = 16
export const RTM_DELLINK = 17
export const RTM_GETLINK = 18
export const RTM_NEWADDR = 20
export const RTM_DELADDR = 21
export const RTM_GETADDR = 22
export const RTM_NEWROUTE = 24
export const RTM_DELROUTE = 25
export const RTM_GETROUTE = 26
export const RTM_NEWNEIGH = 28
export const RTM_DELNEIGH = 29
export const RTM_GETNEIGH = 30
export const RTM_NEWRULE = 32
export const RTM_DELRULE = 33
export const RTM_GETRULE = 34
export const RTM_NEWNETCONF = 80
export const RTM_NEWNEXTHOP = 104
export const RTM_DELNEXTHOP = 105
export const RTM_GETNEXTHOP = 106

/** Flag of a route's or nexthop's gateway: no route need lead to it. */
export const RTNH_F_ONLINK = 0x4

/** AF_* of an address family. */
export const ADDRESS_FAMILY = { 4: 2, 6: 10 } as const
