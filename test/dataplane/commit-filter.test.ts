/** What the kernel is told to keep from us: the program is run here as the kernel runs it, and drops nothing that a reader finds anything in. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { commitFilter } from '../../src/dataplane/commit-filter.ts';
import { readCommitMessages } from '../../src/dataplane/commit-messages.ts';
import {
  type Attribute,
  committedBy,
  FLUSH,
  joined,
  message,
  NEW_CHAIN,
  NEW_ELEMENT,
  NEW_RULE,
} from '../support/commit-messages.ts';

/** Classic BPF over a packet. A load from beyond its end drops it. Fails at an instruction it does not know. */
function isHandedOver(program: Uint8Array, packet: Uint8Array): boolean {
  const view = new DataView(program.buffer, program.byteOffset, program.byteLength);
  const data = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
  const memory: number[] = [];
  let [a, x] = [0, 0];
  for (let at = 0; ; at++) {
    assert.ok(at * 8 < program.length, 'the program has no end');
    const [code, jt, jf] = [view.getUint16(at * 8, true), view.getUint8(at * 8 + 2), view.getUint8(at * 8 + 3)];
    const k = view.getUint32(at * 8 + 4, true);
    try {
      switch (code) {
        case 0x80:
          a = packet.length;
          break;
        case 0x40:
          a = data.getUint32(x + k);
          break;
        case 0x48:
          a = data.getUint16(x + k);
          break;
        case 0x50:
          a = data.getUint8(x + k);
          break;
        case 0x02:
          memory[k] = a;
          break;
        case 0x03:
          memory[k] = x;
          break;
        case 0x61:
          x = memory[k]!;
          break;
        case 0x07:
          x = a;
          break;
        case 0x04:
          a = (a + k) >>> 0;
          break;
        case 0x0c:
          a = (a + x) >>> 0;
          break;
        case 0x1c:
          a = (a - x) >>> 0;
          break;
        case 0x54:
          a = (a & k) >>> 0;
          break;
        case 0x64:
          a = (a << k) >>> 0;
          break;
        case 0x15:
          at += a === k ? jt : jf;
          break;
        case 0x35:
          at += a >= k ? jt : jf;
          break;
        case 0x06:
          return k > 0;
        default:
          assert.fail(`instruction ${code}`);
      }
    } catch (error) {
      if (error instanceof RangeError) return false;
      throw error;
    }
  }
}

const [INET, IP, BRIDGE, IP6] = [1, 2, 7, 10];
const IP_MANGLE = commitFilter('mangle', [IP]);
const OURS = commitFilter('portcullis', [INET, BRIDGE]);

describe('which messages about nf_tables the kernel hands over', () => {
  it('those of a table of ours, whatever stands before, and all that end a transaction', () => {
    const rows: readonly (readonly [
      datagrams: readonly Uint8Array[],
      mangle: readonly boolean[],
      ours: readonly boolean[],
    ])[] = [
      [NEW_CHAIN, [true, true], [false, true]],
      [NEW_RULE, [false, true], [false, true]],
      [NEW_ELEMENT, [false, true], [true, true]],
      [FLUSH, [false, true], [true, true]],
    ];
    for (const [datagrams, mangle, ours] of rows) {
      assert.deepEqual(
        datagrams.map((each) => isHandedOver(IP_MANGLE, each)),
        mangle,
      );
      assert.deepEqual(
        datagrams.map((each) => isHandedOver(OURS, each)),
        ours,
      );
    }
  });

  it('those that it cannot read, or of which there are too many to look at', () => {
    const other = message(12, INET, [
      [1, 'other'],
      [2, 'a-set'],
    ]);
    assert.ok(!isHandedOver(OURS, joined(...Array.from({ length: 23 }, () => other))));
    assert.ok(isHandedOver(OURS, joined(...Array.from({ length: 30 }, () => other))));
    for (const odd of [
      message(12, INET, [
        [2, 'portcullis'],
        [1, 'portcullis'],
      ]),
      new Uint8Array(20),
    ])
      assert.ok(isHandedOver(OURS, odd));
  });

  it('fits where a socket of older kernels keeps its program', () => {
    for (const program of [IP_MANGLE, OURS]) assert.ok(program.length < 12_000, `${program.length} bytes`);
  });

  it('for any messages: never fewer than those in which the reader finds something of ours', () => {
    const name = fc.constantFrom(
      'mangle',
      'portcullis',
      'portcullis-probe',
      'mangl',
      'nat',
      'm',
      'portculli',
      'filter',
    );
    const attributes = fc.oneof(
      {
        weight: 5,
        arbitrary: name.map((table): Attribute[] => [
          [1, table],
          [3, 'PCL-X'],
        ]),
      },
      {
        weight: 1,
        arbitrary: name.map((table): Attribute[] => [
          [4, 'x'],
          [1, table],
        ]),
      },
    );
    const family = fc.constantFrom(INET, IP, BRIDGE, IP6);
    const change = fc
      .tuple(fc.constantFrom(0, 2, 3, 5, 6, 8, 12), family, attributes)
      .map((parts) => message(...parts));
    const one = fc.oneof({ weight: 8, arbitrary: change }, { weight: 1, arbitrary: fc.constant(committedBy('nft')) });
    let dropped = 0;
    fc.assert(
      fc.property(fc.array(one, { minLength: 1, maxLength: 30 }), (messages) => {
        const datagram = joined(...messages);
        for (const [program, table, families] of [
          [IP_MANGLE, 'mangle', [IP]],
          [OURS, 'portcullis', [INET, BRIDGE]],
        ] as const) {
          let concerns = false;
          readCommitMessages(datagram, (each) => {
            const isOther =
              each.kind === 'changed' && (each.table !== table || !families.some((own) => own === each.family));
            concerns ||= !isOther;
          });
          const isThrough = isHandedOver(program, datagram);
          if (concerns) assert.ok(isThrough);
          if (!isThrough) dropped++;
        }
      }),
      { numRuns: 500 },
    );
    assert.ok(dropped > 20, `${dropped} dropped`);
  });
});
