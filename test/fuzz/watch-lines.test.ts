/**
 * What an API server, a proxy or a cable makes of a watch: broken JSON, half lines, lines run together, huge ones, errors, ends.
 * The agent never falls over, hears everything that was said properly, and a proper list afterwards puts everything else right.
 */
import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { API_KINDS } from '../../src/cluster/kinds.ts';
import { projectPolicy } from '../../src/cluster/project.ts';
import { Reflector } from '../../src/cluster/reflector.ts';
import { ObjectStore } from '../../src/cluster/store.ts';
import type { ApiRequest, ApiResponse, Transport } from '../../src/cluster/transport.ts';
import type { Policy } from '../../src/policy/model.ts';
import { VirtualClock } from '../support/virtual-clock.ts';
import { runs } from '../property/runs.ts';
import { badText, hostilePolicy } from './hostile.ts';

interface Stored {
  readonly name: string;
  readonly value: number;
}

function policyObject({ name, value }: Stored, version: number): object {
  return {
    metadata: { namespace: 'x', name, uid: name, resourceVersion: `${version}` },
    spec: { podSelector: {}, ingress: [{ ports: [{ port: value }] }] },
  };
}

/** What happens on the server, and what is sent besides. */
type Act =
  | { readonly kind: 'put'; readonly stored: Stored }
  | { readonly kind: 'delete'; readonly name: string }
  | { readonly kind: 'noise'; readonly bytes: Buffer }
  | { readonly kind: 'end'; readonly how: 'end' | 'break' | 'half-line' | 'expired' };

const stored = fc.record({ name: fc.constantFrom('a', 'b', 'c'), value: fc.integer({ min: 1, max: 9 }) });
const line = (value: unknown): Buffer => Buffer.from(`${JSON.stringify(value)}\n`);
const noise = fc.oneof(
  badText.map((text) => Buffer.from(`${text}\n`)),
  fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.concat([bytes, Buffer.from('\n')])),
  fc.jsonValue({ maxDepth: 3 }).map(line),
  fc
    .tuple(fc.constantFrom('ADDED', 'MODIFIED', 'DELETED', 'BOOKMARK', 'added', null), fc.jsonValue({ maxDepth: 2 }))
    .map(([type, object]) => line({ type, object })),
  fc.constant(Buffer.from('\n\n\r\n')),
  fc.constant(
    Buffer.from(
      `${JSON.stringify({ type: 'ADDED', object: policyObject({ name: 'a', value: 7 }, 5) }).slice(0, 60)}\n`,
    ),
  ),
  fc.constant(Buffer.from(`{"type":"ADDED","object":{"metadata":{"x":"${'y'.repeat(200_000)}"}}}\n`)),
);
/** Said properly, by objects that are hardly any. Under other names, so that what is expected of a, b and c stays known. */
const strangeEvent = fc
  .tuple(fc.constantFrom('ADDED', 'MODIFIED'), hostilePolicy)
  .map(([type, object]) => ({
    type,
    object: JSON.parse(JSON.stringify({ ...object, metadata: { namespace: 'x', name: 'strange' } })),
  }))
  .map(line);

const act: fc.Arbitrary<Act> = fc.oneof(
  { weight: 5, arbitrary: stored.map((value): Act => ({ kind: 'put', stored: value })) },
  { weight: 2, arbitrary: fc.constantFrom('a', 'b', 'c').map((name): Act => ({ kind: 'delete', name })) },
  { weight: 3, arbitrary: noise.map((bytes): Act => ({ kind: 'noise', bytes })) },
  { weight: 1, arbitrary: strangeEvent.map((bytes): Act => ({ kind: 'noise', bytes })) },
  {
    weight: 1,
    arbitrary: fc
      .constantFrom('end', 'break', 'half-line', 'expired')
      .map((how): Act => ({ kind: 'end', how: how as 'end' })),
  },
);

/** A server that plays the acts one after the other over as many watches as it takes; then it behaves. */
class Stage implements Transport {
  readonly server = 'https://192.0.2.1';
  readonly objects = new Map<string, Stored>();
  readonly #acts: Act[];
  readonly #cut: number;
  #version = 10;
  /** The history is kept from here on. */
  #history: { readonly version: number; readonly bytes: Buffer }[] = [];
  /** All acts were played, and a watch from the last list on is silent. */
  done = false;
  opens = 0;

  constructor(acts: readonly Act[], cut: number) {
    this.#acts = [...acts];
    this.#cut = cut;
  }

  refreshCredentials(): void {}

  open({ path }: ApiRequest): Promise<ApiResponse> {
    this.opens++;
    const query = new URL(path, this.server).searchParams;
    const headers = { 'content-type': 'application/json' };
    if (query.get('watch') === null)
      return Promise.resolve({ status: 200, headers, body: this.#chunks([this.#list()]) });
    const from = query.get('resourceVersion');
    return Promise.resolve({
      status: 200,
      headers,
      body: this.#chunks(this.#watch(from === null ? undefined : Number(from))),
    });
  }

  #list(): Buffer {
    const items = [...this.objects.values()].map((each) => policyObject(each, this.#version));
    return Buffer.from(JSON.stringify({ kind: 'List', metadata: { resourceVersion: `${this.#version}` }, items }));
  }

  /** In pieces of any size. */
  async *#chunks(parts: Iterable<Buffer | 'break'> | AsyncIterable<Buffer | 'break'>): AsyncGenerator<Buffer> {
    for await (const part of parts) {
      if (part === 'break') throw new Error('read ECONNRESET');
      for (let at = 0; at < part.length; at += this.#cut) yield part.subarray(at, at + this.#cut);
    }
  }

  async *#watch(from: number | undefined): AsyncGenerator<Buffer | 'break'> {
    if (from === undefined) {
      for (const each of this.objects.values())
        yield line({ type: 'ADDED', object: policyObject(each, this.#version) });
      const annotations = { 'k8s.io/initial-events-end': 'true' };
      yield line({ type: 'BOOKMARK', object: { metadata: { resourceVersion: `${this.#version}`, annotations } } });
    }
    for (const { version, bytes } of this.#history) if (from !== undefined && version > from) yield bytes;
    for (;;) {
      await turn();
      const next = this.#acts.shift();
      if (next === undefined) {
        if (!this.done) {
          // One more list, undisturbed: nothing that was lost on the way can be known otherwise.
          this.done = true;
          yield line({ type: 'ERROR', object: { code: 410, reason: 'Expired', message: 'too old' } });
          return;
        }
        await new Promise<never>(() => {});
      } else if (next.kind === 'end') {
        if (next.how === 'expired') yield line({ type: 'ERROR', object: { code: 410, reason: 'Expired' } });
        if (next.how === 'half-line') yield Buffer.from('{"type":"MODIFIED","object":{"metadata":{"name":"a"');
        if (next.how !== 'end') yield 'break';
        return;
      } else yield this.#play(next);
    }
  }

  #play(next: Exclude<Act, { kind: 'end' }>): Buffer {
    if (next.kind === 'noise') return next.bytes;
    const { name } = next.kind === 'put' ? next.stored : next;
    const before = this.objects.get(name);
    if (next.kind === 'delete' && before === undefined) return Buffer.alloc(0);
    this.#version++;
    if (next.kind === 'put') this.objects.set(name, next.stored);
    else this.objects.delete(name);
    const type = next.kind === 'delete' ? 'DELETED' : before === undefined ? 'ADDED' : 'MODIFIED';
    const bytes = line({ type, object: policyObject(next.kind === 'put' ? next.stored : before!, this.#version) });
    this.#history.push({ version: this.#version, bytes });
    return bytes;
  }
}

function play(acts: readonly Act[], cut: number) {
  const stage = new Stage(acts, cut);
  const clock = new VirtualClock();
  const stop = new AbortController();
  let lists = 0;
  const store = new ObjectStore<Policy>({
    project: projectPolicy,
    namespaced: true,
    uidOf: (policy) => policy.uid,
    onChange: () => {},
  });
  const silent = (): void => {};
  const reflector = new Reflector({
    resource: API_KINDS.networkpolicies,
    transport: stage,
    sink: store,
    clock,
    random: () => 0.5,
    observer: {
      onEvent: silent,
      onRestart: silent,
      onListed: silent,
      onHeard: silent,
      onMalformed: silent,
      onMissedFoundByRelist: silent,
      onListenerFailed: silent,
    },
    log: { debug: silent, info: silent, warn: silent },
    onListed: () => {
      lists++;
    },
  });
  const done = reflector.run(stop.signal);
  return { stage, clock, stop, store, done, lists: () => lists };
}

function portsOf(policy: Policy | undefined): unknown {
  const [rule] = policy?.ingress ?? [];
  const [port] = rule === undefined || rule.ports === 'any' ? [] : rule.ports;
  return port?.kind === 'range' ? port.first : undefined;
}

describe('fuzz: what comes over a watch', () => {
  it('whatever it was, the next proper list leaves what the server has', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(act, { maxLength: 25 }), fc.constantFrom(1, 7, 64, 65_536), async (acts, size) => {
        // A byte at a time takes long where one line is huge.
        const cut = acts.some((each) => each.kind === 'noise' && each.bytes.length > 10_000) ? 65_536 : size;
        const { stage, clock, stop, store, done, lists } = play(acts, cut);
        let listsAtEnd: number | undefined;
        for (let turns = 0; turns < 20_000; turns++) {
          await turn();
          if (clock.sleeping > 0) await clock.passSleep();
          if (stage.done) listsAtEnd ??= lists();
          if (listsAtEnd !== undefined && lists() > listsAtEnd) break;
        }
        assert.ok(listsAtEnd !== undefined && lists() > listsAtEnd, `no list after the end, ${stage.opens} requests`);
        const found = new Map([...store.records.values()].map((policy) => [policy.name, portsOf(policy)]));
        const wanted = new Map([...stage.objects.values()].map(({ name, value }) => [name, value]));
        assert.equal(found.size, store.records.size);
        assert.deepEqual(found, wanted);
        stop.abort();
        await Promise.race([done, turn()]);
      }),
      runs(60),
    );
  });
});
