/**
 * Reads request bodies in Kubernetes' protobuf form, which kubectl uses for `create namespace`, `create deployment` and the like.
 * Fields the tables do not name are skipped. Answers are always JSON, which such clients accept as well. Pure.
 */
import { badRequest } from './errors.ts';
import { type Message, MESSAGES, type ProtoType } from './protobuf-messages.ts';

/** The four bytes in front of every such body. */
const MAGIC = Buffer.from('k8s\0');

const MAX_DEPTH = 32;

interface WireField {
  readonly number: number;
  /** Varint or fixed value as a number, or the bytes of a length-delimited field. */
  readonly value: number | Buffer;
}

/** Decodes a whole body into the JSON form of the object. Throws 400 for what cannot be read, 400 for a kind without table. */
export function decodeProtobuf(body: Buffer): Record<string, unknown> {
  if (!body.subarray(0, MAGIC.length).equals(MAGIC)) throw badRequest('the protobuf body does not start with k8s\\0');
  const envelope = readFields(body.subarray(MAGIC.length));
  const typeMeta = readFields(bytesOf(envelope, 1));
  const apiVersion = bytesOf(typeMeta, 1).toString('utf8');
  const kind = bytesOf(typeMeta, 2).toString('utf8');
  const message = MESSAGES[kind];
  if (!message) throw badRequest(`this server reads ${kind} in JSON only, not in protobuf`);
  return { apiVersion, kind, ...readMessage(bytesOf(envelope, 2), message, 0) };
}

function bytesOf(fields: readonly WireField[], number: number): Buffer {
  const found = fields.find((field) => field.number === number)?.value;
  return Buffer.isBuffer(found) ? found : Buffer.alloc(0);
}

/** Splits a message into its fields, in the order written. */
function readFields(bytes: Buffer): readonly WireField[] {
  const fields: WireField[] = [];
  let offset = 0;
  const varint = (): number => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = bytes[offset];
      if (byte === undefined) throw badRequest('the protobuf body ends within a number');
      offset += 1;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return Number(BigInt.asIntN(64, value));
    }
    throw badRequest('the protobuf body holds a number that is too long');
  };
  const take = (length: number): Buffer => {
    if (length < 0 || offset + length > bytes.length) throw badRequest('the protobuf body ends within a field');
    offset += length;
    return bytes.subarray(offset - length, offset);
  };
  while (offset < bytes.length) {
    const tag = varint();
    const number = Math.floor(tag / 8);
    switch (tag % 8) {
      case 0:
        fields.push({ number, value: varint() });
        break;
      case 1:
        fields.push({ number, value: take(8) });
        break;
      case 2:
        fields.push({ number, value: take(varint()) });
        break;
      case 5:
        fields.push({ number, value: take(4) });
        break;
      default:
        throw badRequest(`the protobuf body has a field of unknown wire type ${tag % 8}`);
    }
  }
  return fields;
}

function readMessage(bytes: Buffer, message: Message, depth: number): Record<string, unknown> {
  if (depth > MAX_DEPTH) throw badRequest('the protobuf body is nested too deeply');
  const result: Record<string, unknown> = {};
  for (const { number, value } of readFields(bytes)) {
    const field = message[number];
    if (!field) continue;
    const [name, type] = field;
    readInto(result, name, type, value, depth);
  }
  return result;
}

/** Go writes fields nobody set as zero values; only types with a `?` keep those. */
function readInto(
  result: Record<string, unknown>,
  name: string,
  type: ProtoType,
  value: number | Buffer,
  depth: number,
): void {
  if (typeof type === 'string') {
    const plain = plainValue(type, value);
    if (plain !== undefined) result[name] = plain;
  } else if ('list' in type) {
    const items = (result[name] ?? []) as unknown[];
    result[name] = [...items, itemOf(type.list, value, depth)];
  } else if ('map' in type) {
    const entry = readFields(asBytes(value));
    const content = bytesOf(entry, 2);
    const text = content.toString(type.map === 'bytes' ? 'base64' : 'utf8');
    result[name] = { ...(result[name] as object | undefined), [bytesOf(entry, 1).toString('utf8')]: text };
  } else {
    const read = readMessage(asBytes(value), type.message, depth + 1);
    if (type.optional || Object.keys(read).length > 0) result[name] = read;
  }
}

function itemOf(type: ProtoType, value: number | Buffer, depth: number): unknown {
  if (type === 'string') return asBytes(value).toString('utf8');
  const holder: Record<string, unknown> = {};
  readInto(holder, 'item', type, value, depth);
  return holder.item ?? {};
}

function plainValue(type: Extract<ProtoType, string>, value: number | Buffer): unknown {
  switch (type) {
    case 'string':
      return asBytes(value).toString('utf8') || undefined;
    case 'int':
      return value === 0 ? undefined : value;
    case 'int?':
      return value;
    case 'bool':
      return value === 0 ? undefined : true;
    case 'bool?':
      return value !== 0;
    case 'int-or-string':
      return intOrString(readFields(asBytes(value)));
  }
}

/** {type: 0 number, 1 string; number; string}. */
function intOrString(fields: readonly WireField[]): number | string {
  const number = (wanted: number): number => {
    const found = fields.find((field) => field.number === wanted)?.value;
    return typeof found === 'number' ? found : 0;
  };
  return number(1) === 1 ? bytesOf(fields, 3).toString('utf8') : number(2);
}

function asBytes(value: number | Buffer): Buffer {
  if (typeof value === 'number') throw badRequest('the protobuf body has a number where a message is expected');
  return value;
}
