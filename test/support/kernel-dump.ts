/** All that the kernel holds of nftables in this network namespace, as its own netlink attributes; for comparing what was written in two ways. */
import type { NetlinkSocket } from '../../src/host/netlink-socket.ts';

type Attribute = readonly [type: number, value: Buffer];
interface Message {
  readonly family: number;
  readonly attributes: readonly Attribute[];
}

const SUBSYSTEM = 10;
const [GET_CHAINS, GET_RULES, GET_SETS, GET_ELEMENTS] = [4, 7, 10, 13];
const [DUMP, DONE, ERROR] = [0x301, 3, 2];

/** By kind: which attributes are of the moment (handles, positions, how many rules lead there, where the kernel's code is). */
const KINDS = [
  { name: 'chain', request: GET_CHAINS, skip: [2, 6, 8, 10] },
  { name: 'rule', request: GET_RULES, skip: [3, 6] },
  { name: 'set', request: GET_SETS, skip: [10, 12, 16, 19] },
] as const;

/**
 * Lines of text. Sets without names have the same one. `isExact`: else without what versions of nft differ in where they mean the same: a range
 * in one expression or in two, what is said of sets' keys, how many elements a set without a name will have.
 */
export async function dumpKernel(socket: NetlinkSocket, isExact: boolean): Promise<readonly string[]> {
  const lines: string[] = [];
  for (const { name, request, skip } of KINDS) {
    for (const { family, attributes } of await ask(socket, request)) {
      const unsaid = [...skip, ...(name === 'set' && !isExact ? SAID_OF_SETS : [])];
      const shown = attributes.filter(([type]) => !unsaid.includes(type));
      const text = `${name} ${family} ${shown.map((each) => textOf(name, each)).join(' ')}`;
      lines.push(isExact ? text : text.replace(RANGE, TWO_COMPARISONS));
    }
  }
  for (const { family, attributes } of await ask(socket, GET_SETS)) {
    const [table, set] = [1, 2].map((type) => attributes.find(([of]) => of === type)![1]) as [Buffer, Buffer];
    const answers = await ask(socket, GET_ELEMENTS, family, [
      [1, table],
      [2, set],
    ]);
    const elements = answers.flatMap((answer) => answer.attributes.filter(([type]) => type === 3));
    const keys = elements.flatMap(([, list]) => attributesIn(list).map(([, element]) => element.toString('hex')));
    lines.push(`elements of ${unnamed(set)}: ${keys.sort().join(' ')}`);
  }
  return lines;
}

const SAID_OF_SETS: readonly number[] = [9, 13];
const RANGE = /range 1=(\w+) 2=00000000 3=(\w+) 4=(\w+) /g;
const TWO_COMPARISONS = 'cmp 1=$1 2=00000005 3=$2 ; cmp 1=$1 2=00000003 3=$3 ';

/** nft 1.0.6 swaps the single byte of a protocol that is asked of ranges; later ones leave that out, as it changes nothing. */
const SWAPPED_BYTE = /^byteorder .*4=00000001 /;

function textOf(kind: string, [type, value]: Attribute): string {
  if (kind !== 'rule' || type !== 4) return `${type}=${unnamed(value)}`;
  return attributesIn(value)
    .map(([, expression]) => {
      const [[, name], data] = attributesIn(expression) as [Attribute, Attribute | undefined];
      const of = data ? attributesIn(data[1]) : [];
      const word = name.toString().replace('\0', '');
      return `${word} ${of.map(([at, each]) => `${at}=${unnamed(each)} `).join('')}`;
    })
    .filter((text) => !SWAPPED_BYTE.test(text))
    .join('; ');
}

function unnamed(value: Buffer): string {
  const text = value.toString('latin1');
  return text.startsWith('__set') ? '__set' : value.toString('hex');
}

async function ask(
  socket: NetlinkSocket,
  type: number,
  family = 0,
  attributes: readonly Attribute[] = [],
): Promise<readonly Message[]> {
  const body = Buffer.concat(attributes.map(attributeBytes));
  const head = Buffer.alloc(20);
  head.writeUInt32LE(head.length + body.length, 0);
  head.writeUInt16LE((SUBSYSTEM << 8) | type, 4);
  head.writeUInt16LE(DUMP, 6);
  head.writeUInt8(family, 16);
  const found: Message[] = [];
  for (const datagram of await socket.request(Buffer.concat([head, body]), 'this thread')) {
    const bytes = Buffer.from(datagram);
    for (let at = 0; at + 16 <= bytes.length; at += (bytes.readUInt32LE(at) + 3) & ~3) {
      const kind = bytes.readUInt16LE(at + 4);
      if (kind === ERROR) throw new Error(`the kernel refuses to list: ${bytes.readInt32LE(at + 16)}`);
      if (kind === DONE) return found;
      const end = at + bytes.readUInt32LE(at);
      found.push({ family: bytes.readUInt8(at + 16), attributes: attributesIn(bytes.subarray(at + 20, end)) });
    }
  }
  throw new Error('the kernel lists no end');
}

function attributesIn(bytes: Buffer): readonly Attribute[] {
  const found: Attribute[] = [];
  for (let at = 0; at + 4 <= bytes.length; ) {
    const length = bytes.readUInt16LE(at);
    if (length < 4) break;
    found.push([bytes.readUInt16LE(at + 2) & 0x3fff, bytes.subarray(at + 4, at + length)]);
    at += (length + 3) & ~3;
  }
  return found;
}

function attributeBytes([type, value]: Attribute): Buffer {
  const bytes = Buffer.alloc((4 + value.length + 3) & ~3);
  bytes.writeUInt16LE(4 + value.length, 0);
  bytes.writeUInt16LE(type, 2);
  value.copy(bytes, 4);
  return bytes;
}
