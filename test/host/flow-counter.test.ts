import assert from 'node:assert/strict';

import { openFlowCounter } from '../../src/host/flow-counter.ts';
import type { RawSocket } from '../../src/host/netlink-socket.ts';

const CARRIED = { value: 0x2000000, mask: 0xff000000 };
const [NEW_FLOW, ERROR, DONE] = [0x100, 2, 3];

/** Of one message; `mark` absent: the kernel names none. */
function message(type: number, sequence: number, mark?: number): number[] {
  const body = [2, 0, 0, 0, ...(mark === undefined ? [] : [8, 0, 8, 0, ...bigEndian(mark)])];
  return [
    ...littleEndian(16 + body.length),
    type & 255,
    type >> 8,
    2,
    0,
    ...littleEndian(sequence),
    0,
    0,
    0,
    0,
    ...body,
  ];
}

function bigEndian(value: number): number[] {
  return [24, 16, 8, 0].map((bits) => (value >>> bits) & 255);
}

function littleEndian(value: number): number[] {
  return bigEndian(value).reverse();
}

/** A kernel that answers a question by `answer`, given its sequence number, and takes no other before it was read or closed. */
function bench(answer: (sequence: number) => number[], sizes: (string | undefined)[] = ['262144']) {
  const kernel = { opened: 0, closed: 0, refuses: false, asked: [] as Uint8Array[] };
  let pending: number[] | undefined;
  const send = Object.assign(() => 0, {
    async: (_fd: unknown, datagram: unknown, length: unknown, _flags: unknown, done: unknown) => {
      const bytes = (datagram as Uint8Array).slice();
      assert.equal(pending, undefined, 'EBUSY: the answer before is not read');
      kernel.asked.push(bytes);
      if (!kernel.refuses) pending = answer(new DataView(bytes.buffer).getUint32(8, true));
      queueMicrotask(() =>
        (done as (error: null, sent: number) => void)(null, kernel.refuses ? -1 : (length as number)),
      );
    },
  });
  const receive = Object.assign(
    (_fd: unknown, into: unknown) => {
      const bytes = pending ?? [];
      pending = undefined;
      (into as Uint8Array).set(bytes);
      return bytes.length === 0 ? -1 : bytes.length;
    },
    { async: () => assert.fail() },
  );
  const open = (): RawSocket => {
    kernel.opened++;
    const close = (): void => {
      kernel.closed++;
      pending = undefined;
    };
    return { fd: 3, port: 7, send, receive, close };
  };
  const size = (): string | undefined => (sizes.length > 1 ? sizes.shift() : sizes[0]);
  return { kernel, counter: openFlowCounter(open, size) };
}

describe('flows that carry a mark, counted by netlink', () => {
  it('asks for those of one family, by mark and mask', async () => {
    const { kernel, counter } = bench((sequence) => message(DONE, sequence));
    assert.deepEqual(await counter.count(6, CARRIED), { flows: 0, mayMiss: false });
    assert.equal(
      Buffer.from(kernel.asked[0]!).toString('hex'),
      '2400000001010103010000000000000' + '00a000000' + '08000800' + '02000000' + '08001500' + 'ff000000',
    );
  });

  it('counts what carries it, and looks itself; the socket stays', async () => {
    const { kernel, counter } = bench((sequence) => [
      ...message(NEW_FLOW, sequence, 0x2000080),
      ...message(NEW_FLOW, sequence, 0x4000000),
      ...message(NEW_FLOW, sequence),
      ...message(NEW_FLOW, sequence, 0x2000000),
      ...message(DONE, sequence),
    ]);
    const counts = await Promise.all([counter.count(4, CARRIED), counter.count(4, CARRIED)]);
    assert.deepEqual(counts, [
      { flows: 2, mayMiss: false },
      { flows: 2, mayMiss: false },
    ]);
    assert.deepEqual([kernel.opened, kernel.closed], [1, 0]);
  });

  it('the beginning of a long list is enough; its rest ends with the socket', async () => {
    const { kernel, counter } = bench((sequence) => message(NEW_FLOW, sequence, 0x2000000));
    for (let each = 1; each <= 2; each++) {
      assert.deepEqual(await counter.count(4, CARRIED), { flows: 1, mayMiss: false });
      assert.deepEqual([kernel.opened, kernel.closed], [each, each]);
    }
  });

  it('fault: a table that is resized meanwhile, or of unknown size, may have hidden some', async () => {
    const resized = bench((sequence) => message(DONE, sequence), ['1024', '2048']);
    assert.deepEqual(await resized.counter.count(4, CARRIED), { flows: 0, mayMiss: true });
    const unknown = bench((sequence) => message(DONE, sequence), [undefined]);
    assert.deepEqual(await unknown.counter.count(4, CARRIED), { flows: 0, mayMiss: true });
  });

  it('fault: an answer that is none, a refusal, or a beginning without a flow of ours tells nothing; the next question has another socket', async () => {
    const answers: ((sequence: number) => number[])[] = [
      () => [],
      (sequence) => message(ERROR, sequence),
      (sequence) => message(DONE, sequence + 1),
      (sequence) => message(0x0a03, sequence),
      (sequence) => message(NEW_FLOW, sequence, 0x4000000),
      (sequence) => message(NEW_FLOW, sequence, 0x2000000).slice(0, -2),
    ];
    for (const answer of answers) {
      const { kernel, counter } = bench(answer);
      assert.equal(await counter.count(4, CARRIED), undefined);
      assert.equal(await counter.count(4, CARRIED), undefined);
      assert.deepEqual([kernel.opened, kernel.closed], [2, 2]);
    }
    const { kernel, counter } = bench((sequence) => message(DONE, sequence));
    kernel.refuses = true;
    assert.equal(await counter.count(4, CARRIED), undefined);
    kernel.refuses = false;
    assert.deepEqual(await counter.count(4, CARRIED), { flows: 0, mayMiss: false });
  });

  it('fault: where there is no such socket nothing is told', async () => {
    assert.equal(await openFlowCounter(() => undefined).count(4, CARRIED), undefined);
  });
});
