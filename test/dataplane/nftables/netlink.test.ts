/** Commands become the messages that the kernel knows, or are left to nft; its answers are read as what they are about. */
import assert from 'node:assert/strict';
import type { NetlinkSocket } from '../../../src/host/netlink-socket.ts';
import { versionedMap } from '../../../src/core/versioned-map.ts';
import { ElementWriter } from '../../../src/dataplane/nftables/kernel/element-writer.ts';
import { NftFailed } from '../../../src/dataplane/nftables/kernel/kernel.ts';
import { readAnswers, writeBatch } from '../../../src/dataplane/nftables/table/write-netlink.ts';
import { stampingChain } from '../../../src/dataplane/nftables/render/entry-chains.ts';
import type { NftSet } from '../../../src/dataplane/nftables/table/table.ts';
import { type Command, TableWriter } from '../../../src/dataplane/nftables/table/write-table.ts';

const WRITER = new TableWriter('t');

function set(type: string, more: Partial<NftSet> = {}): NftSet {
  return { name: 's', type, elements: versionedMap(), ...more };
}

function add(type: string, element: string, verdict: true | string = true, more: Partial<NftSet> = {}): Command[] {
  return WRITER.addElements(set(type, more), [[element, verdict]]);
}

/** Of the first message behind the batch's beginning, from its attributes on. */
function hexOf(commands: readonly Command[]): string | undefined {
  const batch = writeBatch('t', commands, 7);
  if (!batch) return undefined;
  const [begin, header] = [20, 20];
  const length = new DataView(batch.bytes.buffer, begin).getUint32(0, true);
  return Buffer.from(batch.bytes.subarray(begin + header, begin + length)).toString('hex');
}

/** NLMSG_ERROR of the message with this number. */
function answer(sequence: number, errno: number): Uint8Array {
  const bytes = new Uint8Array(36);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 36, true);
  view.setUint16(4, 2, true);
  view.setUint32(8, sequence, true);
  view.setInt32(16, -errno, true);
  return bytes;
}

describe('nftables: netlink messages', () => {
  it('hold the bytes of each type of element', () => {
    const names = '06000100740000000600020073000000';
    const element = (key: string): string => {
      const value = key.padEnd(Math.ceil(key.length / 8) * 8, '0');
      const length = (bytes: number): string => Buffer.from([bytes & 255, bytes >> 8]).toString('hex');
      const padded = value.length / 2;
      const own = key.length / 2 + 4;
      return `${names}${length(padded + 16)}0380${length(padded + 12)}0180${length(padded + 8)}0180${length(own)}0100${value}`;
    };
    const cases: readonly (readonly [string, string, string])[] = [
      ['ipv4_addr', '10.0.0.1', '0a000001'],
      ['ipv6_addr', '2001:db8::1', '20010db8000000000000000000000001'],
      ['ipv4_addr . inet_proto . inet_service', '10.0.0.1,6:80', '0a0000010600000000500000'],
      ['ipv4_addr . ipv4_addr', '10.0.0.1 . 10.0.0.1', '0a0000010a000001'],
      ['mark', '0x06000000', '00000006'],
      ['nf_proto', 'ipv6', '0a'],
      ['ifname . ipv4_addr', '"eth0" . 10.0.0.9', '657468300000000000000000000000000a000009'],
    ];
    for (const [type, text, key] of cases) assert.equal(hexOf(add(type, text)), element(key), `${type} ${text}`);
  });

  it('hold verdicts, and one batch what belongs together', () => {
    const hex = hexOf(add('ipv4_addr', '10.0.0.1', 'goto c', { isMap: true }))!;
    assert.ok(hex.endsWith(`18000280140002800800010${'0fffffffc'}0600020063000000`), hex);
    const chain = stampingChain(3, { mask: 0xff000000 });
    const commands = [
      WRITER.addChain(chain),
      ...WRITER.addRules(chain),
      ...add('ipv4_addr', '10.0.0.1'),
      ...WRITER.deleteElements(set('ipv4_addr'), ['10.0.0.2']),
    ];
    const { bytes } = writeBatch('t', commands, 7)!;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const messages: (readonly [type: number, flags: number, sequence: number])[] = [];
    for (let at = 0; at < bytes.length; at += view.getUint32(at, true))
      messages.push([view.getUint16(at + 4, true), view.getUint16(at + 6, true), view.getUint32(at + 8, true)]);
    // Only the last command asks for an answer.
    const expected = [
      [0x10, 1, 6],
      [0xa03, 0x401, 7],
      [0xa06, 0xc01, 8],
      [0xa0c, 0x401, 9],
      [0xa0e, 5, 10],
      [0x11, 1, 11],
    ];
    assert.deepEqual(messages, expected);
  });

  it('are made of nothing else: rules, sets, ranges, and what another set would hold are left to nft', () => {
    const others: readonly (readonly Command[])[] = [
      WRITER.addRules({ name: 'c', hook: '', lines: ['drop'], rules: [{ matches: [], target: { kind: 'drop' } }] }),
      [WRITER.addSet(set('ipv4_addr'))],
      [WRITER.addChain({ name: 'c', hook: 'type filter hook input priority mangle;', lines: [] })],
      add('ipv4_addr', '10.0.0.0/8', true, { isInterval: true }),
      add('ipv6_addr', '::ffff:10.0.0.1'),
      add('ipv4_addr', '2001:db8::1'),
      add('ifname', '"eth*"'),
      add('ifname', '"a-name-of-16-chr"'),
      add('ipv4_addr', '10.0.0.1', 'return', { isMap: true }),
      add('ether_addr', '02:00:00:00:00:01'),
    ];
    for (const commands of others) {
      assert.equal(writeBatch('t', commands, 7), undefined, commands[0]!.text);
      assert.equal(writeBatch('t', [...add('ipv4_addr', '10.0.0.1'), ...commands], 7), undefined, commands[0]!.text);
    }
  });

  it('answers: done, refused and by which command, or none of this batch', () => {
    const batch = { first: 7, count: 3 };
    assert.deepEqual(readAnswers(batch, [answer(9, 0)]), { kind: 'done' });
    assert.deepEqual(readAnswers(batch, [answer(8, 2), answer(9, 0)]), { kind: 'refused', failed: 1, errno: 2 });
    assert.deepEqual(readAnswers(batch, [answer(6, 1)]), { kind: 'refused', failed: 0, errno: 1 });
    for (const others of [[], [answer(8, 0)], [answer(12, 0), answer(12, 2)], [new Uint8Array(7)]])
      assert.deepEqual(readAnswers(batch, others), { kind: 'unanswered' });
  });
});

describe('nftables: who writes elements', () => {
  const commands = add('ipv4_addr', '10.0.0.1');
  let opened: number;
  const writer = (request: NetlinkSocket['request'] | undefined): ElementWriter => {
    opened = 0;
    return new ElementWriter(() => {
      opened++;
      return request && { request, close: () => {} };
    });
  };
  const lastOf = (bytes: Uint8Array): number => new DataView(bytes.buffer).getUint32(20 + 8, true);

  it('the socket, as long as it answers; the same one for every transaction', async () => {
    const sent: number[] = [];
    const own = writer(async (bytes) => {
      sent.push(lastOf(bytes));
      return [answer(lastOf(bytes), 0)];
    });
    assert.deepEqual([await own.write('t', commands), await own.write('t', commands), opened], [true, true, 1]);
    assert.ok(sent[1]! > sent[0]!, 'an answer to the one before would be taken for its own');
  });

  it('nft, where there is no socket, which is asked for once; and what was refused, not sent, or is too long', async () => {
    const none = writer(undefined);
    assert.deepEqual([await none.write('t', commands), await none.write('t', commands), opened], [false, false, 1]);
    const refusing = writer(async (bytes) => [answer(lastOf(bytes), 17)]);
    assert.equal(await refusing.write('t', commands), false);
    const broken = writer(() => Promise.reject(new Error('no buffer')));
    assert.deepEqual([await broken.write('t', commands), await broken.write('t', commands), opened], [false, false, 2]);
    const many = Array.from({ length: 5_000 }, (_, n) => [`10.0.${n >> 8}.${n & 255}`, true] as const);
    assert.equal(await refusing.write('t', WRITER.addElements(set('ipv4_addr'), many)), false);
  });

  it('nobody knows, where the kernel does not answer: the table has to be read', async () => {
    const silent = writer(async () => []);
    await assert.rejects(
      silent.write('t', commands),
      (error) => error instanceof NftFailed && error.reason === 'unavailable',
    );
    await assert.rejects(silent.write('t', commands), NftFailed);
    assert.equal(opened, 2);
  });
});
