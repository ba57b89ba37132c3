/** How netlink messages and their attributes lie in memory. Source: linux/netlink.h, linux/netfilter/nfnetlink.h. */

/** Bytes of `struct nlmsghdr`, of `struct nfgenmsg` behind it, and of `struct nlattr`. */
export const MESSAGE_HEADER = 16;
export const FAMILY_HEADER = 4;
export const ATTRIBUTE_HEADER = 4;
/** Without NLA_F_NESTED and NLA_F_NET_BYTEORDER. */
const TYPE_MASK = 0x3fff;

/** What follows begins at a multiple of four bytes. */
export function aligned(length: number): number {
  return (length + 3) & ~3;
}

export function attributeType(view: DataView, at: number): number {
  return view.getUint16(at + 2, true) & TYPE_MASK;
}

/** With its header. Throws where it does not end by `end`. */
export function attributeLength(view: DataView, at: number, end: number): number {
  const length = view.getUint16(at, true);
  if (length < ATTRIBUTE_HEADER || at + length > end) throw new Error('half a netlink attribute');
  return length;
}

/** Where the value of the first attribute of the type is, among those from `from` to `end`; undefined: there is none. Throws where one is cut off. */
export function attributeValue(
  view: DataView,
  from: number,
  end: number,
  type: number,
): { readonly from: number; readonly end: number } | undefined {
  for (let at = from; at + ATTRIBUTE_HEADER <= end; ) {
    const length = attributeLength(view, at, end);
    if (attributeType(view, at) === type) return { from: at + ATTRIBUTE_HEADER, end: at + length };
    at += aligned(length);
  }
  return undefined;
}

/** A string of ASCII, with the NUL that ends it. */
export function textAttribute(type: number, text: string): Uint8Array {
  const length = ATTRIBUTE_HEADER + text.length + 1;
  const bytes = Buffer.alloc(aligned(length));
  bytes.writeUInt16LE(length, 0);
  bytes.writeUInt16LE(type, 2);
  bytes.write(text, ATTRIBUTE_HEADER, 'latin1');
  return bytes;
}
