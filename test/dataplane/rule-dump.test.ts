/** What the kernel tells of rules is read as it is, and what is no answer, or one of two halves, is not believed. */
import assert from 'node:assert/strict';
import { runSync } from '../../src/core/sliced.ts';
import { type DumpedRules, type DumpRequest, RuleDumps, ruleRequest } from '../../src/dataplane/rule-dump.ts';
import type { DumpSocket } from '../../src/host/netlink-dump.ts';

const NEW_RULE = 0xa06;
const DONE = 3;
const ERROR = 2;
const INTERRUPTED = 0x10;

function attribute(type: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const content = Buffer.concat(parts);
  const bytes = Buffer.alloc((4 + content.length + 3) & ~3);
  bytes.writeUInt16LE(4 + content.length, 0);
  bytes.writeUInt16LE(type, 2);
  content.copy(bytes, 4);
  return bytes;
}

const text = (type: number, value: string): Uint8Array => attribute(type, Buffer.from(`${value}\0`));
const big = (type: number, value: bigint): Uint8Array => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(value);
  return attribute(type, bytes);
};
const expression = (name: string, ...data: readonly Uint8Array[]): Uint8Array =>
  attribute(0x8001, text(1, name), attribute(0x8002, ...data));
const counter = (packets: number | bigint, bytes: number | bigint): Uint8Array =>
  expression('counter', big(1, BigInt(bytes)), big(2, BigInt(packets)));

interface Message {
  readonly type: number;
  readonly flags?: number;
  readonly content: Uint8Array;
}

function rule(chain: string, handle: number, ...expressions: readonly Uint8Array[]): Message {
  const content = [
    Buffer.from([2, 0, 0, 0]),
    text(1, 'mangle'),
    text(2, chain),
    big(3, BigInt(handle)),
    attribute(0x8004, expression('cmp', attribute(1, Buffer.alloc(4))), ...expressions, expression('immediate')),
    attribute(7, Buffer.from('a comment\0')),
  ];
  return { type: NEW_RULE, content: Buffer.concat(content) };
}

const end = (errno = 0, type = DONE): Message => {
  const content = Buffer.alloc(4);
  content.writeInt32LE(-errno);
  return { type, content };
};
const interrupted = (message: Message): Message => ({ ...message, flags: INTERRUPTED });

function datagram(sequence: number, ...messages: readonly Message[]): Uint8Array {
  return Buffer.concat(
    messages.map(({ type, flags = 2, content }) => {
      const bytes = Buffer.alloc((16 + content.length + 3) & ~3);
      bytes.writeUInt32LE(16 + content.length, 0);
      bytes.writeUInt16LE(type, 4);
      bytes.writeUInt16LE(flags, 6);
      bytes.writeUInt32LE(sequence, 8);
      Buffer.from(content).copy(bytes, 16);
      return bytes;
    }),
  );
}

type Answer = (sequence: number, chain: string) => readonly Uint8Array[];

/** A kernel that answers each request in turn with the next of these. */
class FakeKernel {
  readonly asked: string[] = [];
  sockets = 0;
  open = 0;
  readonly #answers: Answer[];

  constructor(...answers: readonly Answer[]) {
    this.#answers = [...answers];
  }

  readonly socket = (): DumpSocket => {
    this.sockets++;
    this.open++;
    let queued: Uint8Array[] = [];
    return {
      send: (request) => {
        const bytes = Buffer.from(request);
        const chain = /PCL-[A-Z]+/.exec(bytes.toString('latin1'))![0];
        this.asked.push(chain);
        queued = [...this.#answers.shift()!(bytes.readUInt32LE(8), chain)];
      },
      next: () => {
        const next = queued.shift();
        if (!next) throw new Error('no answer');
        return next;
      },
      close: () => void this.open--,
    };
  };
}

const REQUEST: DumpRequest = { family: 'ip', table: 'mangle', chains: ['PCL-A'] };

function read(kernel: FakeKernel, request: Partial<DumpRequest> = {}): DumpedRules | undefined {
  return runSync(new RuleDumps(kernel.socket).read({ ...REQUEST, ...request }));
}

describe('rules as the kernel tells them', () => {
  it('are asked for as linux/netfilter/nf_tables.h has it', () => {
    const hex = Buffer.from(ruleRequest('ip6', 'mangle', 'PCL-A', 7)).toString('hex');
    const header = '2c000000070a01030700000000000000';
    assert.equal(hex, `${header}0a000000${'0b0001006d616e676c650000'}${'0a00020050434c2d41000000'}`);
  });

  it('are in order, with handle and counter, in however many datagrams', () => {
    const kernel = new FakeKernel((sequence) => [
      datagram(sequence, rule('PCL-A', 3, counter(5, 6_000_000_000)), rule('PCL-A', 9)),
      datagram(sequence, rule('PCL-A', 12, counter(2n ** 40n, 1))),
      datagram(sequence, end()),
    ]);
    assert.deepEqual(
      [...read(kernel)!],
      [['PCL-A', { handles: [3, 9, 12], packets: [5, -1, 2 ** 40], bytes: [6_000_000_000, -1, 1] }]],
    );
  });

  it('are asked for chain by chain', () => {
    const answer: Answer = (sequence, chain) => {
      return [datagram(sequence, ...(chain === 'PCL-B' ? [] : [rule('PCL-A', 1)]), end())];
    };
    const kernel = new FakeKernel(answer, answer, answer);
    assert.deepEqual([...read(kernel, { chains: ['PCL-A', 'PCL-B', 'PCL-C'] })!.keys()], ['PCL-A', 'PCL-C']);
    assert.deepEqual(kernel.asked, ['PCL-A', 'PCL-B', 'PCL-C']);
    assert.deepEqual([...read(new FakeKernel(), { chains: [] })!], []);
  });

  it('give others a turn between datagrams, and end where the socket was closed meanwhile', () => {
    const kernel = new FakeKernel((sequence) => [
      datagram(sequence, rule('PCL-A', 1)),
      datagram(sequence, rule('PCL-A', 2), end()),
    ]);
    const dumps = new RuleDumps(kernel.socket);
    const reading = dumps.read(REQUEST);
    assert.equal(reading.next().done, false);
    dumps.stop();
    assert.deepEqual(reading.next(), { done: true, value: undefined });
    assert.equal(kernel.open, 0);
  });

  it('fault: somebody commits while they are read: they are read again, but not without end', () => {
    const broken: Answer = (sequence) => [
      datagram(sequence, rule('PCL-A', 1, counter(1, 1))),
      datagram(sequence, interrupted(rule('PCL-A', 1, counter(1, 1))), end()),
    ];
    const atTheEnd: Answer = (sequence) => [
      datagram(sequence, rule('PCL-A', 1)),
      datagram(sequence, interrupted(end())),
    ];
    const whole: Answer = (sequence) => [datagram(sequence, rule('PCL-A', 1, counter(2, 2)), end())];
    const kernel = new FakeKernel(broken, atTheEnd, whole);
    assert.deepEqual(read(kernel)!.get('PCL-A')!.packets, [2]);
    assert.equal(kernel.sockets, 1);
    assert.equal(read(new FakeKernel(broken, atTheEnd, broken, atTheEnd, whole)), undefined);
  });

  const half = (sequence: number): Uint8Array => datagram(sequence, rule('PCL-A', 1, counter(1, 1)));
  const faults: Readonly<Record<string, Answer>> = {
    'an error': (sequence) => [datagram(sequence, end(1, ERROR))],
    'an end with an error': (sequence) => [datagram(sequence, rule('PCL-A', 1), end(12))],
    'no end': (sequence) => [datagram(sequence, rule('PCL-A', 1))],
    'half a message': (sequence) => [half(sequence).subarray(0, 40)],
    'half an attribute': (sequence) => {
      const bytes = Buffer.from(half(sequence));
      bytes.writeUInt16LE(4_000, 20);
      return [bytes, datagram(sequence, end())];
    },
    'an answer to another question': (sequence) => [datagram(sequence + 1, rule('PCL-A', 1), end())],
    'a rule without a handle': (sequence) => [
      datagram(sequence, { type: NEW_RULE, content: Buffer.from([2, 0, 0, 0]) }, end()),
    ],
  };
  for (const [what, answer] of Object.entries(faults))
    it(`fault: ${what} is no answer, and the next reading has another socket`, () => {
      const kernel = new FakeKernel(answer, (sequence) => [datagram(sequence, end())]);
      const dumps = new RuleDumps(kernel.socket);
      assert.equal(runSync(dumps.read(REQUEST)), undefined);
      assert.equal(kernel.open, 0);
      assert.deepEqual([...runSync(dumps.read(REQUEST))!], []);
      assert.deepEqual([kernel.sockets, kernel.open], [2, 1]);
    });

  it('fault: where there is no socket nothing is known, and none is asked for again', () => {
    let asked = 0;
    const dumps = new RuleDumps(() => {
      asked++;
      return undefined;
    });
    for (let time = 0; time < 3; time++) assert.equal(runSync(dumps.read(REQUEST)), undefined);
    assert.equal(asked, 1);
  });
});
