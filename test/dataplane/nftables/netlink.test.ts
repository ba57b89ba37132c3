/** Commands become the messages that nft makes of them, or are left to nft; the kernel's answers are read as what they are about. */
import assert from 'node:assert/strict';
import type { Caller, NetlinkSocket } from '../../../src/host/netlink-socket.ts';
import { versionedMap } from '../../../src/core/versioned-map.ts';
import { NetlinkWriter, type NetlinkWriterOptions } from '../../../src/dataplane/nftables/kernel/netlink-writer.ts';
import { NftFailed } from '../../../src/dataplane/nftables/kernel/kernel.ts';
import { readAnswers, writeBatch } from '../../../src/dataplane/nftables/table/write-netlink.ts';
import { stampingChain } from '../../../src/dataplane/nftables/render/entry-chains.ts';
import type { Rule } from '../../../src/dataplane/nftables/table/rule.ts';
import { chainOf, type NftSet } from '../../../src/dataplane/nftables/table/table.ts';
import { type Command, TableWriter } from '../../../src/dataplane/nftables/table/write-table.ts';

const WRITER = new TableWriter('t');
const RETURN = { kind: 'return' } as const;
const ACK = 4;
const COUNTED = { action: 'deny', direction: 'ingress', flow: 'invalid', of: { kind: 'closed' } } as const;
const range = (first: number, last = first) => ({ first, last });

/** `strace -e write=3 nft -f`, by message: type, flags, attributes. */
const OF_NFT = [
  'a00 1 06000100740000000800020000000000',
  'a03 401 06000100740000000c000300666f7277617264000b00070066696c7465720000080005000000000114000480080001000000000208000200ffffff6a',
  'a03 401 06000100740000000600030063000000',
  'a09 401 060001007400000006000200730000000800030000000084080004000000830d080005000000001808000a00000000012c000980280002800c00018008000100000000100c00018008000100000000010c000180080001000000000214000d00000400000000030800040d0000000100',
  'a09 401 0600010074000000060002007000000008000300000000000800040000000007080005000000000408000a00000000020a000d000004020000000000',
  'a09 401 0600010074000000060002006d0000000800030000000008080004000000002908000500000000100800060000000017080007000000000408000a000000000316000d000004010000000104010000000604000000000000',
  'a06 c01 06000100740000000600020063000000d80004802000018007000100637400001400028008000200000000000800010000000001440001800c0001006269747769736500340002800800010000000001080002000000000108000300000000040c00048008000100010000000c00058008000100000000002c00018008000100636d700020000280080001000000000108000200000000010c0003800800010000000000140001800c000100636f756e7465720004000280300001800e000100696d6d6564696174650000001c0002800800010000000000100002800c0002800800010000000000',
  'a06 c01 06000100740000000600020063000000e400048024000180090001006d6574610000000014000280080002000000001008000100000000012c00018008000100636d700020000280080001000000000108000200000000000c0003800500010011000000340001800c0001007061796c6f6164002400028008000100000000010800020000000002080003000000000208000400000000022c00018008000100636d700020000280080001000000000108000200000000000c0003800600010000350000300001800e000100696d6d6564696174650000001c0002800800010000000000100002800c00028008000100fffffffb0c0007000006782f61203000',
  'a09 401 06000100740000000c0002005f5f7365742564000800030000000007080004000000000d080005000000000208000a00000000040c000980080001000000000526000d000004020000000204010000000314000407000000010c00040a0000000104010000000000',
  'a0c 401 06000100740000000c0002005f5f73657425640008000400000000046c0003801800018008000300000000010c0001800600010000000000100002800c00018006000100005000001800038008000300000000010c0001800600010000510000100004800c0001800600010001bb00001800058008000300000000010c0001800600010001be0000',
  'a06 c01 06000100740000000600020063000000f000048024000180090001006d6574610000000014000280080002000000001008000100000000012c00018008000100636d700020000280080001000000000108000200000000000c0003800500010084000000340001800c0001007061796c6f616400240002800800010000000001080002000000000208000300000000000800040000000002300001800b0001006c6f6f6b757000002000028008000200000000010c0001005f5f7365742564000800040000000004380001800e000100696d6d656469617465000000240002800800010000000000180002801400028008000100fffffffc0600020063000000',
  'a06 c01 060001007400000006000200630000006802048024000180090001006d6574610000000014000280080002000000000f08000100000000012c00018008000100636d700020000280080001000000000108000200000000000c000380050001000a000000340001800c0001007061796c6f6164002400028008000100000000010800020000000001080003000000000808000400000000105c0001800c00010062697477697365004c0002800800010000000001080002000000000108000300000000101800048014000100ffc000000000000000000000000000001800058014000100000000000000000000000000000000003800018008000100636d70002c000280080001000000000108000200000000001800038014000100fe800000000000000000000000000000340001800c0001007061796c6f6164002400028008000100000000010800020000000001080003000000001808000400000000103800018008000100636d70002c000280080001000000000108000200000000001800038014000100ff02000000000000000000000001000224000180090001006d6574610000000014000280080002000000001008000100000000012c00018008000100636d700020000280080001000000000108000200000000000c0003800500010011000000340001800c0001007061796c6f6164002400028008000100000000010800020000000002080003000000000008000400000000042c00018008000100636d700020000280080001000000000108000200000000000c0003800800010002220223300001800e000100696d6d6564696174650000001c0002800800010000000000100002800c00028008000100fffffffb',
  'a06 c01 06000100740000000600020063000000d800048024000180090001006d6574610000000014000280080002000000000608000100000000012c00018008000100636d700020000280080001000000000108000200000000000c00038007000100657468002800018008000100666962001c0002800800030000000001080002000000000308000100000000012c00018008000100636d700020000280080001000000000108000200000000000c0003800800010002000000300001800e000100696d6d6564696174650000001c0002800800010000000000100002800c00028008000100fffffffb',
  'a06 c01 060001007400000006000200630000006c000480440001800a0001006c696d6974000000340002800c000100000000000000000a0c000200000000000000000108000300000000140800040000000000080005000000000024000180080001006c6f6700180002800b00020064656e69656400000600010000070000',
  'a08 1 06000100740000000600020063000000',
  'a05 1 06000100740000000600030063000000',
  'a0b 1 06000100740000000600020070000000',
  'a02 1 0600010074000000',
];

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

interface Message {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  /** From its attributes on. */
  readonly hex: string;
}

/** All of a batch, its beginning and end included. */
function messagesOf(commands: readonly Command[]): readonly Message[] {
  const { bytes } = writeBatch('t', commands, 7)!;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found: Message[] = [];
  for (let at = 0; at < bytes.length; at += view.getUint32(at, true)) {
    const end = at + view.getUint32(at, true);
    found.push({
      type: view.getUint16(at + 4, true),
      flags: view.getUint16(at + 6, true),
      sequence: view.getUint32(at + 8, true),
      hex: Buffer.from(bytes.subarray(at + 20, end)).toString('hex'),
    });
  }
  return found;
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
      ['classid', '8000:1', '01000080'],
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
    const messages = messagesOf(commands).map(({ type, flags, sequence }) => [type, flags, sequence]);
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

  it('are those of nft 1.0.6, byte for byte', () => {
    const rules: readonly Rule[] = [
      { matches: [{ kind: 'state', states: ['invalid'] }], target: { kind: 'drop' }, counts: COUNTED },
      {
        matches: [{ kind: 'ports', protocol: 'UDP', end: 'destination', ranges: [{ first: 53, last: 53 }] }],
        target: { kind: 'return' },
        comment: 'x/a 0',
      },
      {
        matches: [{ kind: 'ports', protocol: 'SCTP', end: 'source', ranges: [range(80), range(443, 445)] }],
        target: { kind: 'goto', chain: 'c' },
      },
      { matches: [{ kind: 'dhcp', family: 6, message: 'request' }], target: { kind: 'return' } },
      {
        matches: [
          { kind: 'interface', end: 'source', name: 'eth', isPrefix: true },
          { kind: 'local', end: 'source' },
        ],
        target: { kind: 'return' },
      },
      {
        matches: [{ kind: 'limit', perSecond: 10, burst: 20 }],
        target: { kind: 'log', group: 7, prefix: 'denied' },
      },
    ];
    const sets = [
      set('ipv6_addr . inet_proto . inet_service', { isInterval: true }),
      set('ipv4_addr', { name: 'p' }),
      set('ifname : classid', { name: 'm', isMap: true }),
    ];
    const chain = chainOf('c', rules);
    const commands = [
      WRITER.addTable('inet'),
      WRITER.addChain(chainOf('forward', [], { hook: 'type filter hook forward priority mangle; policy accept;' })),
      WRITER.addChain(chain),
      ...sets.map((each) => WRITER.addSet(each)),
      ...WRITER.addRules(chain),
      WRITER.flushChain('c'),
      WRITER.deleteChain('c'),
      WRITER.deleteSet(sets[1]!),
      WRITER.deleteTable('inet'),
    ];
    const made = messagesOf(commands)
      .slice(1, -1)
      .map(({ type, flags, hex }) => `${type.toString(16)} ${(flags & ~ACK).toString(16)} ${hex}`);
    assert.deepEqual(made, OF_NFT);
  });

  it('leave to nft what none is known for, with all that goes with it', () => {
    const others: readonly (readonly Command[])[] = [
      WRITER.addRules({ name: 'c', hook: '', lines: ['drop'] }),
      WRITER.addRules(
        chainOf('c', [{ matches: [{ kind: 'interface', end: 'source', name: 'a-name-of-16-chr' }], target: RETURN }]),
      ),
      WRITER.addRules(
        chainOf('c', [{ matches: [{ kind: 'block', family: 4, end: 'source', cidr: 'fd00::/8' }], target: RETURN }]),
      ),
      WRITER.addRules(chainOf('c', [{ matches: [], target: { kind: 'set-mark', mask: 0, bits: 0 } }])),
      WRITER.addRules(chainOf('c', [{ matches: [], target: { kind: 'set-tag', tag: 'none of ours' } }])),
      [WRITER.addSet(set('ether_addr'))],
      [WRITER.addSet(set('ifname : ether_addr', { isMap: true }))],
      [WRITER.addChain({ name: 'c', hook: 'type filter hook input priority mangle;', lines: [] })],
      [WRITER.addChain({ name: 'c', hook: 'type nat hook input priority mangle; policy accept;', lines: [] })],
      [
        WRITER.addChain({
          name: 'bridge c',
          hook: 'type filter hook input priority dstnat; policy accept;',
          lines: [],
        }),
      ],
      [{ text: 'add chain inet t c', object: 'c' }],
      add('classid', '8000:1', true, { isInterval: true }),
      add('ipv6_addr', '::ffff:10.0.0.0/104', true, { isInterval: true }),
      add('ipv6_addr', '::ffff:10.0.0.1'),
      add('ipv4_addr', '2001:db8::1'),
      add('ifname', '"eth*"'),
      add('ifname', '"a-name-of-16-chr"'),
      add('ipv4_addr', '10.0.0.1', 'queue', { isMap: true }),
      add('ether_addr', '02:00:00:00:00:01'),
    ];
    for (const commands of others) {
      assert.equal(writeBatch('t', commands, 7), undefined, commands[0]!.text);
      assert.equal(writeBatch('t', [...add('ipv4_addr', '10.0.0.1'), ...commands], 7), undefined, commands[0]!.text);
    }
  });

  it('are more than one for a command with more elements than a message holds', () => {
    const elements = Array.from({ length: 1_000 }, (_, n) => [`fd00::${n.toString(16)}:0/112,6:80`, true] as const);
    const ranges = set('ipv6_addr . inet_proto . inet_service', { isInterval: true });
    const commands = [...add('ipv4_addr', '10.0.0.1'), ...WRITER.addElements(ranges, elements)];
    const { bytes, of } = writeBatch('t', commands, 7)!;
    assert.deepEqual(of, [0, 1, 1]);
    assert.ok(bytes.length > 65_535);
    assert.deepEqual(readAnswers({ first: 7, of }, [answer(9, 17)]), { kind: 'refused', failed: 1, errno: 17 });
  });

  it('answers: done, refused and by which command, or none of this batch', () => {
    const batch = { first: 7, of: [0, 1, 2] };
    assert.deepEqual(readAnswers(batch, [answer(9, 0)]), { kind: 'done' });
    assert.deepEqual(readAnswers(batch, [answer(8, 2), answer(9, 0)]), { kind: 'refused', failed: 1, errno: 2 });
    assert.deepEqual(readAnswers(batch, [answer(6, 1)]), { kind: 'refused', failed: 0, errno: 1 });
    for (const others of [[], [answer(8, 0)], [answer(12, 0), answer(12, 2)], [new Uint8Array(7)]])
      assert.deepEqual(readAnswers(batch, others), { kind: 'unanswered' });
  });
});

describe('nftables: who writes transactions', () => {
  const commands = add('ipv4_addr', '10.0.0.1');
  let opened: number;
  let closed: number;
  const writer = (
    request: NetlinkSocket['request'] | undefined,
    options: Omit<NetlinkWriterOptions, 'open'> = {},
  ): NetlinkWriter => {
    [opened, closed] = [0, 0];
    const open: NetlinkWriterOptions['open'] = () => {
      opened++;
      return request && { request, close: () => closed++ };
    };
    return new NetlinkWriter({ open, ...options });
  };
  /** The message that asks for an answer. */
  const lastOf = (bytes: Uint8Array): number => {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    for (let at = 0; at < bytes.length; at += view.getUint32(at, true))
      if ((view.getUint16(at + 6, true) & 0x4) !== 0) return view.getUint32(at + 8, true);
    return assert.fail('no message asks for an answer');
  };

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
    const many = Array.from({ length: 50_000 }, (_, n) => [`10.0.${n >> 8}.${n & 255}`, true] as const);
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

  it('fault: the kernel does not come to a transaction: nothing is read or written until it has', async () => {
    const { promise: comes, resolve: come } = Promise.withResolvers<void>();
    const sent: Uint8Array[] = [];
    const long = [...commands, WRITER.deleteChain('c')];
    const waiting = writer(
      async (bytes) => {
        sent.push(bytes);
        if (sent.length === 1) await comes;
        return [answer(lastOf(bytes), 0)];
      },
      { patienceMs: 20 },
    );
    const unknown = (error: unknown): boolean => error instanceof NftFailed && error.reason === 'unavailable';
    await assert.rejects(waiting.write('t', long), unknown);
    assert.throws(() => waiting.settled(), unknown);
    await assert.rejects(waiting.write('t', long), unknown);
    // The call that goes on has the socket still.
    assert.deepEqual([sent.length, closed], [1, 0]);
    come();
    await new Promise(setImmediate);
    waiting.settled();
    assert.equal(await waiting.write('t', long), true);
    assert.deepEqual([sent.length, opened, closed], [2, 2, 1]);
  });

  it('what is brief is waited for in this thread, until somebody else makes it long', async () => {
    const by: Caller[] = [];
    let [nowMs, tookMs] = [0, 1];
    const own = writer(
      async (bytes, caller) => {
        by.push(caller);
        nowMs += tookMs;
        return [answer(lastOf(bytes), 0)];
      },
      { now: () => nowMs },
    );
    const written = async (all: readonly Command[]): Promise<Caller | undefined> => {
      assert.equal(await own.write('t', all), true);
      return by.at(-1);
    };
    assert.equal(await written(commands), 'this thread');
    // The kernel waits for packets that are in what goes.
    for (const gone of [
      WRITER.flushChain('c'),
      WRITER.deleteChain('c'),
      WRITER.deleteSet(set('ipv4_addr')),
      WRITER.deleteTable('inet'),
    ])
      assert.equal(await written([...commands, gone]), 'another', gone.text);
    const many = Array.from({ length: 5_000 }, (_, n) => [`10.0.${n >> 8}.${n & 255}`, true] as const);
    assert.equal(await written(WRITER.addElements(set('ipv4_addr'), many)), 'another');
    tookMs = 200;
    assert.equal(await written(commands), 'this thread');
    assert.equal(await written(commands), 'another');
    tookMs = 1;
    nowMs += 60_000;
    assert.equal(await written(commands), 'this thread');
  });

  it('nft alone, once it is known to print otherwise what is written by netlink', async () => {
    const own = writer(async (bytes) => [answer(lastOf(bytes), 0)]);
    assert.equal(await own.write('t', commands), true);
    own.giveUp();
    assert.equal(await own.write('t', commands), false);
  });
});
