import assert from 'node:assert/strict';
import { decodeProtobuf } from '../../../lab/api/protobuf.ts';

// A tiny writer, independent of the reader: tag, length, content.
const varint = (value: number): number[] => (value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...varint(value >>> 7)]);
const bytes = (number: number, content: Buffer | string): Buffer => {
  const data = Buffer.from(content);
  return Buffer.concat([Buffer.from([...varint(number * 8 + 2), ...varint(data.length)]), data]);
};
const int = (number: number, value: number): Buffer => Buffer.from([...varint(number * 8), ...varint(value)]);
const join = (...parts: Buffer[]): Buffer => Buffer.concat(parts);
const envelope = (apiVersion: string, kind: string, raw: Buffer): Buffer =>
  join(
    Buffer.from('k8s\0'),
    bytes(1, join(bytes(1, apiVersion), bytes(2, kind))),
    bytes(2, raw),
    bytes(3, ''),
    bytes(4, ''),
  );

describe('protobuf bodies', () => {
  it('read a namespace as kubectl create writes it, with all the empty fields of Go', () => {
    const metadata = join(
      bytes(1, 'foo'),
      bytes(2, ''),
      bytes(3, ''),
      int(7, 0),
      bytes(8, ''),
      bytes(11, join(bytes(1, 'a'), bytes(2, ''))),
    );
    const raw = join(bytes(1, metadata), bytes(2, ''), bytes(3, bytes(1, '')));
    assert.deepEqual(decodeProtobuf(envelope('v1', 'Namespace', raw)), {
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: 'foo', labels: { a: '' } },
    });
  });

  it('keep zeros and empty messages where they mean something', () => {
    const deployment = envelope('apps/v1', 'Deployment', bytes(2, join(int(1, 0), bytes(4, bytes(1, '')), int(5, 0))));
    assert.deepEqual(decodeProtobuf(deployment).spec, { replicas: 0 });
    const peer = join(bytes(2, ''), bytes(3, join(bytes(1, '203.0.113.0/24'), bytes(2, '203.0.113.7/32'))));
    const port = join(bytes(1, 'TCP'), bytes(2, join(int(1, 1), int(2, 0), bytes(3, 'web'))));
    const range = join(bytes(2, join(int(1, 0), int(2, 300), bytes(3, ''))), int(3, 400));
    const rule = join(bytes(1, port), bytes(1, range), bytes(2, peer));
    const policy = envelope(
      'networking.k8s.io/v1',
      'NetworkPolicy',
      bytes(2, join(bytes(1, ''), bytes(2, rule), bytes(4, 'Ingress'))),
    );
    assert.deepEqual(decodeProtobuf(policy).spec, {
      podSelector: {},
      ingress: [
        {
          ports: [
            { protocol: 'TCP', port: 'web' },
            { port: 300, endPort: 400 },
          ],
          from: [{ namespaceSelector: {}, ipBlock: { cidr: '203.0.113.0/24', except: ['203.0.113.7/32'] } }],
        },
      ],
      policyTypes: ['Ingress'],
    });
  });

  it('write secrets in base64', () => {
    const raw = bytes(2, join(bytes(1, 'k'), bytes(2, Buffer.from([0, 255]))));
    assert.deepEqual(decodeProtobuf(envelope('v1', 'Secret', raw)).data, { k: 'AP8=' });
  });

  for (const [why, body] of [
    ['without the magic bytes', Buffer.from('{}')],
    ['cut short', envelope('v1', 'Namespace', bytes(1, 'x')).subarray(0, 20)],
    ['with an endless number', join(Buffer.from('k8s\0'), Buffer.alloc(12, 0xff))],
    ['of an unknown kind', envelope('v1', 'Mystery', Buffer.alloc(0))],
    ['with a group, which proto3 does not have', join(Buffer.from('k8s\0'), Buffer.from([0x0b]))],
    ['with a number for a message', envelope('v1', 'Namespace', int(1, 5))],
  ] as const) {
    it(`are refused with 400 ${why}`, () => assert.throws(() => decodeProtobuf(body), { code: 400 }));
  }
});
