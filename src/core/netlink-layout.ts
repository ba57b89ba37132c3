/** How netlink messages and their attributes lie in memory. Source: linux/netlink.h, linux/netfilter/nfnetlink.h. */

/** Bytes of `struct nlmsghdr`, of `struct nfgenmsg` behind it, and of `struct nlattr`. */
export const MESSAGE_HEADER = 16;
export const FAMILY_HEADER = 4;
export const ATTRIBUTE_HEADER = 4;
/** Of an attribute's type, without NLA_F_NESTED and NLA_F_NET_BYTEORDER. */
export const TYPE_MASK = 0x3fff;

/** What follows begins at a multiple of four bytes. */
export function aligned(length: number): number {
  return (length + 3) & ~3;
}
