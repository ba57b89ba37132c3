import assert from 'node:assert/strict';
import { API_KINDS } from '../../src/cluster/kinds.ts';
import { QUESTION_MS } from '../../src/cluster/ask-version.ts';
import type { EventType, ReflectorObserver, RestartReason } from '../../src/cluster/observe.ts';
import { projectPod } from '../../src/cluster/project.ts';
import { ANSWER_MS, OVERDUE_MS } from '../../src/cluster/attempt.ts';
import { Reflector } from '../../src/cluster/reflector.ts';
import { NO_STREAMING_MS } from '../../src/cluster/retry-policy.ts';
import { ObjectStore, type StoreChange } from '../../src/cluster/store.ts';
import type { Pod } from '../../src/policy/model.ts';
import { type Exchange, ScriptedServer } from './scripted-server.ts';
import { plainConnection } from './plain-connection.ts';
import { settle, turns, until, VirtualClock } from '../support/virtual-clock.ts';
import { apiList, apiPod } from '../support/api-objects.ts';

/** What a reflector told its observer. */
class Told implements ReflectorObserver {
  readonly events: EventType[] = [];
  readonly restarts: RestartReason[] = [];
  readonly lists: string[] = [];
  malformed = 0;
  heard = 0;
  missed = 0;
  onEvent = (_kind: string, type: EventType): void => void this.events.push(type);
  onRestart = (_kind: string, reason: RestartReason): void => void this.restarts.push(reason);
  onListed = (_kind: string, _seconds: number, how: string): void => void this.lists.push(how);
  onHeard = (): void => void this.heard++;
  onMalformed = (): void => void this.malformed++;
  onMissedFoundByRelist = (_kind: string, count: number): void => {
    this.missed += count;
  };
  onListenerFailed = (): void => {};
}

class Bench {
  readonly server: ScriptedServer;
  readonly clock = new VirtualClock();
  readonly told = new Told();
  readonly warnings: string[] = [];
  readonly changes: string[] = [];
  readonly stop = new AbortController();
  readonly store: ObjectStore<Pod>;
  readonly reflector: Reflector;
  random = 0;
  refreshed = 0;
  wentBack = 0;
  /** Told to the reflector in the place of what the store holds. */
  objects: number | undefined;
  onChange: (change: StoreChange) => void = () => {};
  done: Promise<void> = Promise.resolve();

  constructor(server: ScriptedServer, savings?: readonly string[]) {
    this.server = server;
    this.store = new ObjectStore<Pod>({
      project: projectPod,
      namespaced: true,
      uidOf: (pod) => pod.uid,
      onChange: (change) => {
        this.changes.push(`${change.type} ${change.key}`);
        this.onChange(change);
      },
    });
    const connection = plainConnection(server.url);
    connection.refreshCredentials = () => void this.refreshed++;
    this.reflector = new Reflector({
      resource: API_KINDS.pods,
      transport: connection,
      sink: this.store,
      clock: this.clock,
      random: () => this.random,
      observer: this.told,
      log: {
        debug: () => {},
        info: () => {},
        warn: (fields, message) => this.warnings.push(`${JSON.stringify(fields)} ${message}`),
      },
      objects: () => this.objects ?? this.store.records.size,
      onListed: () => {},
      onWentBack: () => void this.wentBack++,
      ...(savings ? { savings } : {}),
    });
  }

  run(): this {
    this.done = this.reflector.run(this.stop.signal);
    return this;
  }

  get pods(): string {
    return [...this.store.records.keys()].sort().join(' ');
  }

  /** Takes the changes so far. */
  changed(): string[] {
    return this.changes.splice(0);
  }

  async seeChanges(count: number): Promise<string[]> {
    await until(() => this.changes.length >= count, `${count} changes, have ${this.changes.join(', ')}`);
    return this.changed();
  }

  /** Lets time pass in steps, so that questions are answered meanwhile. */
  async pass(seconds: number): Promise<void> {
    for (let second = 0; second < seconds; second++) {
      this.clock.advance(1_000);
      await turns();
    }
  }

  /** Streams `pods` up to the end bookmark at `version`. Result: the exchange, now a watch. */
  async listed(pods: readonly object[], version: string): Promise<Exchange> {
    const lists = this.told.lists.length;
    const exchange = (await this.server.next()).accept();
    assert.equal(exchange.query.get('sendInitialEvents'), 'true');
    for (const pod of pods) exchange.event('ADDED', pod);
    exchange.bookmark(version, true);
    await until(() => this.told.lists.length > lists, 'the end of the list');
    return exchange;
  }
}

describe('reflector', () => {
  let server: ScriptedServer;
  let bench: Bench;

  beforeEach(async () => {
    server = await new ScriptedServer().start();
    bench = new Bench(server).run();
  });

  afterEach(async () => {
    bench.stop.abort();
    await bench.done;
    await server.stop();
  });

  describe('listing', () => {
    it('asks for a streaming list and is listed at its end bookmark, not before', async () => {
      const exchange = (await server.next()).accept();
      assert.equal(exchange.path, '/api/v1/pods');
      assert.deepEqual(Object.fromEntries(exchange.query), {
        watch: 'true',
        allowWatchBookmarks: 'true',
        timeoutSeconds: '300',
        sendInitialEvents: 'true',
        resourceVersionMatch: 'NotOlderThan',
      });
      exchange.event('ADDED', apiPod('a', { version: '7' }));
      assert.deepEqual(await bench.seeChanges(1), ['added x/a']);
      assert.equal(bench.reflector.listed, false);
      assert.equal(bench.reflector.connected, false);
      exchange.bookmark('9', true);
      await until(() => bench.reflector.listed, 'listed');
      assert.equal(bench.reflector.connected, true);
      assert.deepEqual(bench.told.lists, ['stream']);
      exchange.event('ADDED', apiPod('b', { version: '10' }));
      assert.deepEqual(await bench.seeChanges(1), ['added x/b']);
      assert.equal(server.seen.length, 1, 'the list goes on as the watch');
    });

    it('spreads timeoutSeconds over 300..600', async () => {
      bench.random = 0.9999;
      (await server.next()).reset();
      await bench.clock.passSleep();
      assert.equal((await server.next()).query.get('timeoutSeconds'), '600');
    });

    for (const status of [400, 422])
      it(`falls back to pages of 500 when the server answers ${status}, and watches from the first page's version`, async () => {
        (await server.next()).refuse(status, 'Invalid', 'sendInitialEvents is forbidden for watch');
        const first = await server.next();
        assert.deepEqual(Object.fromEntries(first.query), { limit: '500' });
        first.answer(200, apiList([apiPod('a'), apiPod('b')], '20', 'next-page'));
        const second = await server.next();
        assert.deepEqual(Object.fromEntries(second.query), { limit: '500', continue: 'next-page' });
        assert.equal(bench.reflector.listed, false);
        second.answer(200, apiList([apiPod('c')], '21'));
        const watch = await server.next();
        assert.equal(watch.query.get('resourceVersion'), '20');
        assert.equal(watch.query.get('allowWatchBookmarks'), 'true');
        assert.equal(watch.query.has('sendInitialEvents'), false);
        assert.equal(bench.pods, 'x/a x/b x/c');
        assert.deepEqual(bench.told.lists, ['pages']);
        assert.deepEqual(bench.clock.slept, []);
        watch.accept().reset();
        await bench.clock.passSleep();
        (await server.next()).refuse(410, 'Expired', 'too old');
        await bench.clock.passSleep();
        assert.equal((await server.next()).query.get('limit'), '500', 'it does not ask for a streaming list again');
      });

    it('starts the list again when a page answers 410', async () => {
      (await server.next()).refuse(400, 'BadRequest', 'no');
      (await server.next()).answer(200, apiList([apiPod('a'), apiPod('gone')], '20', 'token'));
      (await server.next()).refuse(410, 'Expired', 'The provided continue parameter is too old');
      await bench.clock.passSleep();
      const again = await server.next();
      assert.equal(again.query.has('continue'), false);
      again.answer(200, apiList([apiPod('a')], '30'));
      await until(() => bench.reflector.listed, 'listed');
      assert.equal(bench.pods, 'x/a', 'what only the broken list named is gone');
      assert.equal((await server.next()).query.get('resourceVersion'), '30');
    });

    it('fault: treats a list cut in the middle as broken, and an empty list as a list', async () => {
      (await server.next()).refuse(400, 'BadRequest', 'no');
      const cut = (await server.next()).accept();
      cut.raw('{"kind":"PodList","metadata":{"resourceVersion":"5"},"items":[');
      cut.end();
      await bench.clock.passSleep();
      assert.equal(bench.reflector.listed, false);
      assert.deepEqual(bench.told.restarts, ['no-streaming-list', 'network']);
      (await server.next()).answer(200, { kind: 'PodList', metadata: { resourceVersion: '6' }, items: null });
      await until(() => bench.reflector.listed, 'listed');
    });

    it('fault: gives up streaming lists when the server is silent in the middle of two of them', async () => {
      for (let round = 0; round < 2; round++) {
        const exchange = (await server.next()).accept();
        exchange.event('ADDED', apiPod(`p${round}`));
        await bench.seeChanges(1);
        bench.clock.advance(ANSWER_MS);
        await bench.clock.passSleep();
      }
      assert.deepEqual(bench.told.restarts, ['silence', 'silence']);
      assert.equal((await server.next()).query.get('limit'), '500');
    });

    it('gives up on a server that takes the streaming list for a plain watch', async () => {
      const exchange = (await server.next()).accept();
      for (let round = 0; round < 7; round++) {
        bench.clock.advance(ANSWER_MS - 1_000);
        exchange.event('ADDED', apiPod(`p${round}`));
        if (round < 6) await bench.seeChanges(1);
      }
      assert.equal((await server.next()).query.get('limit'), '500');
      assert.deepEqual(bench.told.restarts, ['no-streaming-list']);
    });

    it('deletes nothing after a list of which a part was unreadable, and lists again after the watch', async () => {
      const watch = await bench.listed([apiPod('a'), apiPod('b')], '10');
      watch.event('ERROR', { code: 410, message: 'too old' });
      await bench.clock.passSleep();
      const relist = (await server.next()).accept().event('ADDED', apiPod('a'));
      relist.raw('{"type":"ADDED","object":{"metadata":{"name":"b"\n').bookmark('12', true);
      await until(() => bench.told.lists.length === 2, 'the second list');
      assert.equal(bench.pods, 'x/a x/b');
      relist.end();
      await bench.clock.passSleep();
      await bench.listed([apiPod('a')], '13');
      assert.equal(bench.pods, 'x/a');
    });
  });

  describe('resuming', () => {
    it('fault: resumes a reset watch at the version of the last event', async () => {
      const watch = await bench.listed([apiPod('a')], '10');
      watch.event('MODIFIED', apiPod('a', { version: '14', ip: '203.0.113.9' }));
      await bench.seeChanges(2);
      watch.reset();
      assert.equal(await bench.clock.passSleep(), 800);
      const again = (await server.next()).accept();
      assert.equal(again.query.get('resourceVersion'), '14');
      assert.equal(again.query.has('sendInitialEvents'), false);
      assert.deepEqual(bench.told.restarts, ['network']);
      assert.match(bench.reflector.problem ?? '', /connection closed in the middle/);
      again.bookmark('15');
      await until(() => bench.reflector.connected, 'connected');
      assert.equal(bench.reflector.problem, undefined);
    });

    it('lets bookmarks move the version', async () => {
      const watch = await bench.listed([apiPod('a')], '10');
      watch.bookmark('500');
      await until(() => bench.told.events.length === 3, 'the bookmark');
      watch.end();
      await bench.clock.passSleep();
      assert.equal((await server.next()).query.get('resourceVersion'), '500');
    });

    it('fault: watches that end at once: waits longer each time and lists, as what ends them may swallow changes', async () => {
      bench.random = 0.999;
      let watch = await bench.listed([apiPod('a')], '10');
      const waits: number[] = [];
      const asked: string[] = [];
      for (let round = 0; round < 5; round++) {
        watch.end();
        waits.push(await bench.clock.passSleep());
        watch = (await server.next()).accept();
        const isList = watch.query.has('sendInitialEvents');
        asked.push(isList ? 'list' : 'watch');
        if (isList) watch.event('ADDED', apiPod(`new-${round}`)).bookmark('11', true);
        await until(() => bench.reflector.connected, 'connected');
      }
      assert.deepEqual(asked, ['watch', 'list', 'list', 'list', 'list']);
      assert.equal(bench.pods, 'x/new-4', 'what no watch told is known');
      assert.deepEqual(
        waits.map((ms) => Math.round(ms / 100)),
        [16, 32, 64, 128, 256],
      );
      const slept = bench.clock.slept.length;
      bench.clock.advance(6_000);
      watch.end();
      await server.next();
      assert.equal(bench.clock.slept.length, slept, 'a quiet watch that a proxy closes leaves no gap');
    });

    for (const code of [500, 504])
      it(`fault: reconnects at the same version after an ERROR event ${code}, with back-off`, async () => {
        const watch = await bench.listed([apiPod('a')], '10');
        watch.event('ERROR', { kind: 'Status', code, message: 'etcdserver: leader changed' });
        assert.ok((await bench.clock.passSleep()) >= 800);
        assert.equal((await server.next()).query.get('resourceVersion'), '10');
        assert.deepEqual(bench.told.restarts, ['error-event']);
        assert.match(bench.reflector.problem ?? '', new RegExp(`${code} etcdserver: leader changed`));
        assert.equal(bench.pods, 'x/a');
      });

    it('suspects its version after five server errors in a row', async () => {
      const watch = await bench.listed([apiPod('a')], '999');
      watch.event('ERROR', { code: 504, message: 'Too large resource version' });
      for (let round = 0; round < 4; round++) {
        await bench.clock.passSleep();
        const again = await server.next();
        assert.equal(again.query.get('resourceVersion'), '999');
        again.refuse(504, 'Timeout', 'Too large resource version: 999, current: 100');
      }
      await bench.clock.passSleep();
      await bench.listed([apiPod('a')], '100');
    });

    it('fault: keeps what it knows through a long outage and retries for ever within 0.8 s and 30 s', async () => {
      const watch = await bench.listed([apiPod('a')], '10');
      bench.random = 0.999999;
      watch.reset();
      const waits: number[] = [];
      for (let round = 0; round < 25; round++) {
        waits.push(await bench.clock.passSleep());
        (await server.next()).refuse(500, 'InternalError', 'boom');
        if (round >= 3) break;
      }
      for (let round = 0; round < 21; round++) {
        waits.push(await bench.clock.passSleep());
        (await server.next()).refuse(500, 'InternalError', 'boom');
      }
      assert.ok(waits.every((ms) => ms >= 800 && ms <= 30_000));
      assert.deepEqual(
        waits.slice(0, 4).map((ms) => Math.round(ms / 100)),
        [16, 32, 64, 128],
      );
      assert.equal(waits.at(-1), 30_000);
      assert.equal(bench.pods, 'x/a');
      assert.equal(bench.warnings.length, 2, 'one line for the reset, one for all the 500s');
      bench.random = 0;
      await bench.clock.passSleep();
      const again = await bench.listed([apiPod('a')], '11');
      again.reset();
      assert.equal(await bench.clock.passSleep(), 800, 'success resets the back-off');
    });
  });

  describe('410', () => {
    const relists = async (): Promise<void> => {
      await bench.clock.passSleep();
      bench.changed();
      const pods = [
        apiPod('same'),
        apiPod('reborn', { uid: 'other' }),
        apiPod('new'),
        apiPod('moved', { ip: '203.0.113.7' }),
      ];
      await bench.listed(pods, '50');
      assert.deepEqual(bench.changed(), [
        'deleted x/reborn',
        'added x/reborn',
        'added x/new',
        'changed x/moved',
        'deleted x/vanished',
      ]);
      assert.equal(bench.told.missed, 5);
      assert.equal(bench.pods, 'x/moved x/new x/reborn x/same');
      assert.equal(bench.told.restarts.at(-1), 'gone');
    };
    const before = ['same', 'reborn', 'moved', 'vanished'].map((name) => apiPod(name));

    it('fault: as an event: lists again and reports only differences', async () => {
      const watch = await bench.listed(before, '10');
      assert.equal(bench.told.missed, 0, 'the first list finds nothing that was missed');
      watch.event('ERROR', { kind: 'Status', code: 410, reason: 'Expired', message: 'too old resource version' });
      await relists();
    });

    it('fault: as a status: lists again and reports only differences', async () => {
      const watch = await bench.listed(before, '10');
      watch.reset();
      await bench.clock.passSleep();
      (await server.next()).refuse(410, 'Expired', 'too old resource version');
      await relists();
    });

    it('fault: again and again: waits longer each time', async () => {
      bench.random = 0.999;
      const waits: number[] = [];
      for (let round = 0; round < 3; round++) {
        const watch = await bench.listed(before, '10');
        watch.event('ERROR', { code: 410 });
        waits.push(await bench.clock.passSleep());
      }
      assert.ok(waits[0]! < waits[1]! && waits[1]! < waits[2]!, `${waits.join(' ')}`);
    });
  });

  describe('events', () => {
    it('a pod deleted and made again is a deletion and an addition', async () => {
      const watch = await bench.listed([apiPod('a')], '10');
      bench.changed();
      watch.event('DELETED', apiPod('a', { version: '11' }));
      watch.event('ADDED', apiPod('a', { version: '12', uid: 'second' }));
      watch.event('MODIFIED', apiPod('a', { version: '13', uid: 'third' }));
      assert.deepEqual(await bench.seeChanges(4), ['deleted x/a', 'added x/a', 'deleted x/a', 'added x/a']);
      watch.event('DELETED', apiPod('a', { version: '14', uid: 'first' })).event('ADDED', apiPod('b'));
      assert.deepEqual(await bench.seeChanges(1), ['added x/b'], 'a late deletion of an earlier pod changes nothing');
    });

    it('an update that changes nothing we keep is dropped', async () => {
      const watch = await bench.listed([apiPod('a')], '10');
      bench.changed();
      watch.event('MODIFIED', { ...apiPod('a', { version: '11' }), extra: { conditions: [1, 2] } });
      watch.event('DELETED', apiPod('unknown', { version: '12' }));
      watch.event('ADDED', apiPod('b', { version: '13' }));
      assert.deepEqual(await bench.seeChanges(1), ['added x/b']);
    });

    it('fault: takes lines cut anywhere, also inside a character, and forgets the half line of a broken watch', async () => {
      const watch = await bench.listed([], '10');
      const bytes = Buffer.from(
        `${JSON.stringify({ type: 'ADDED', object: apiPod('a', { version: '11', labels: { k: 'grüße' } }) })}\n`,
      );
      const middle = bytes.indexOf(0xc3) + 1;
      watch.raw(bytes.subarray(0, middle));
      await settle();
      watch.raw(bytes.subarray(middle));
      await bench.seeChanges(1);
      assert.equal(bench.store.records.get('x/a')?.labels.k, 'grüße');
      watch.raw(bytes.subarray(0, middle)).end();
      await bench.clock.passSleep();
      assert.equal(bench.told.malformed, 0);
      assert.equal((await server.next()).query.get('resourceVersion'), '11');
    });

    it('fault: a malformed line is counted and logged, the watch goes on, and a second later everything is listed', async () => {
      const watch = await bench.listed([apiPod('a')], '10');
      bench.changed();
      watch
        .raw('{"type":"ADDED","object":{"metadata"\n')
        .raw('null\n')
        .raw('[]\n')
        .raw('{"type":"SURPRISE","object":{}}\n');
      watch.event('ADDED', apiPod('b', { version: '11' }));
      assert.deepEqual(await bench.seeChanges(1), ['added x/b']);
      assert.equal(bench.told.malformed, 4);
      assert.equal(watch.closed, false);
      assert.equal(bench.warnings.length, 4);
      bench.clock.advance(1_000);
      await bench.listed([apiPod('a'), apiPod('b')], '12');
      assert.equal(bench.told.missed, 0);
      assert.deepEqual(bench.told.restarts, ['unreadable']);
    });

    it('fault: lines that stay unreadable do not make lists without end: each is waited for twice as long', async () => {
      let watch = await bench.listed([apiPod('a')], '10');
      const waits: number[] = [];
      for (let round = 0; round < 8; round++) {
        const malformed = bench.told.malformed;
        watch.raw('{"type":\n');
        await until(() => bench.told.malformed > malformed, 'the line');
        let waited = 0;
        for (; !watch.closed; waited += 500) {
          bench.clock.advance(500);
          await settle();
        }
        waits.push(waited / 1000);
        watch = await bench.listed([apiPod('a')], '11');
      }
      for (const [index, expected] of [1, 2, 4, 8, 16, 32, 60, 60].entries())
        assert.ok(waits[index]! >= expected && waits[index]! <= expected + 2, waits.join(' '));
    });

    it('a malformed object is counted, logged with what is known of its name, and passed over', async () => {
      const watch = await bench.listed([apiPod('a')], '10');
      bench.changed();
      watch
        .event('ADDED', { metadata: { namespace: 'x', name: '' } })
        .event('DELETED', { metadata: { namespace: 'x' } });
      watch.event('ADDED', { metadata: { namespace: 'x', name: 'b' }, spec: 'nonsense', status: [] });
      assert.deepEqual(await bench.seeChanges(1), ['added x/b']);
      assert.equal(bench.told.malformed, 2);
      assert.match(bench.warnings[0]!, /"kind":"pods".*x\/\(no usable name\)/);
      assert.equal(bench.store.problems.length, 3, 'the name, spec and status');
    });

    it('an object that our own code fails on does not end the watch', async () => {
      const watch = await bench.listed([], '10');
      bench.onChange = ({ key }) => {
        if (key === 'x/bad') throw new Error('a bug');
      };
      watch.event('ADDED', apiPod('bad')).event('ADDED', apiPod('good'));
      await until(() => bench.pods.includes('good'), 'the next object');
      assert.equal(bench.told.malformed, 1);
      assert.deepEqual(bench.told.restarts, []);
    });
  });

  describe('silence', () => {
    it('fault: a quiet watch is a healthy one: it is asked about now and then, and neither ended nor complained of', async () => {
      const watch = await bench.listed([apiPod('a')], '10');
      const asked: number[] = [];
      const started = bench.clock.now();
      server.onQuestion = (question) => {
        asked.push((bench.clock.now() - started) / 1000);
        question.answer(200, { metadata: { resourceVersion: '10' } });
      };
      await bench.pass(299);
      await settle();
      assert.equal(watch.closed, false);
      assert.deepEqual([bench.told.restarts, bench.warnings, bench.reflector.problem], [[], [], undefined]);
      assert.deepEqual(
        asked.map((second) => Math.round(second)),
        [45, 135],
        'less and less often',
      );
      assert.equal(server.questions[0]?.query.get('resourceVersion'), '10');
      watch.event('ADDED', apiPod('b', { version: '12' }));
      await until(() => bench.pods === 'x/a x/b', 'the watch goes on');
    });

    it('asks nothing while the watch speaks', async () => {
      const watch = await bench.listed([apiPod('a')], '10');
      for (let round = 0; round < 10; round++) {
        bench.clock.advance(29_000);
        watch.bookmark(`${11 + round}`);
        await until(() => bench.told.events.length === 3 + round, 'the bookmark');
      }
      assert.equal(server.questions.length, 0);
    });

    it('fault: nobody answers the questions: the watch is opened anew', async () => {
      const watch = await bench.listed([apiPod('a')], '10');
      server.onQuestion = () => {};
      bench.clock.advance(45_000);
      await until(() => server.questions.length === 1, 'the first question');
      bench.clock.advance(QUESTION_MS);
      await until(() => server.questions[0]!.closed, 'its end');
      assert.equal(watch.closed, false, 'one may be lost');
      bench.clock.advance(1_000);
      await until(() => server.questions.length === 2, 'the second');
      bench.clock.advance(QUESTION_MS);
      await until(() => bench.told.restarts.length === 1, 'the restart');
      await until(() => watch.closed, 'the old socket to be closed');
      assert.deepEqual(bench.told.restarts, ['silence']);
      assert.match(bench.reflector.problem ?? '', /no answer to a question within 10 s; its watch is silent as well/);
    });

    it('drops a watch that the server forgets to end', async () => {
      const watch = await bench.listed([apiPod('a')], '10');
      bench.clock.advance(300_000 + OVERDUE_MS);
      await bench.clock.passSleep();
      await until(() => watch.closed, 'the old socket to be closed');
      assert.deepEqual(bench.told.restarts, ['silence']);
    });

    it('fault: drops a request that is never answered', async () => {
      const exchange = await server.next();
      bench.clock.advance(ANSWER_MS);
      await bench.clock.passSleep();
      await server.next();
      await until(() => exchange.closed, 'the old socket to be closed');
      assert.deepEqual(bench.told.restarts, ['silence']);
    });
  });

  describe('another history', () => {
    it('fault: the version went back: found at once when a watch resumes, and everything is listed', async () => {
      const watch = await bench.listed([apiPod('gone'), apiPod('stays')], '1000');
      server.onQuestion = (question) => question.tooLarge('500');
      watch.reset();
      await bench.clock.passSleep();
      const resumed = (await server.next()).accept();
      assert.equal(resumed.query.get('resourceVersion'), '1000');
      await until(() => server.questions.length === 1, 'a question');
      assert.equal(server.questions[0]!.query.get('resourceVersion'), '1000');
      await settle();
      assert.equal(resumed.closed, false, 'a replica may lag for a moment: asked twice');
      bench.clock.advance(1_000);
      await bench.clock.passSleep();
      await bench.listed([apiPod('stays'), apiPod('unknown')], '510');
      assert.equal(bench.pods, 'x/stays x/unknown');
      assert.deepEqual(bench.told.restarts, ['network', 'version-went-back']);
      assert.match(bench.warnings.at(-1)!, /went back in time \(restored from a backup\?\).*current: 500/);
      assert.equal(bench.wentBack, 1, 'the other kinds are told');
    });

    it('fault: the version went back behind a watch that stays open', async () => {
      const watch = await bench.listed([apiPod('a')], '1000');
      server.onQuestion = (question) => question.tooLarge('500');
      bench.clock.advance(45_000);
      await until(() => server.questions.length === 1, 'a question');
      await settle();
      bench.clock.advance(1_000);
      await bench.clock.passSleep();
      await bench.listed([apiPod('b')], '500');
      assert.equal(watch.closed, true);
      assert.equal(bench.pods, 'x/b');
    });

    it('a replica that lags for a moment, or a gateway that times out, makes no list', async () => {
      const watch = await bench.listed([apiPod('a')], '1000');
      const answers = [
        (question: Exchange) => question.tooLarge('999'),
        (question: Exchange) => question.answer(200, { metadata: { resourceVersion: '1001' } }),
        (question: Exchange) => question.answer(504, '<html>gateway</html>', { 'content-type': 'text/html' }),
        (question: Exchange) => question.answer(504, '<html>gateway</html>', { 'content-type': 'text/html' }),
      ];
      server.onQuestion = (question) => answers[server.questions.length - 1]?.(question);
      await bench.pass(290);
      await settle();
      assert.ok(server.questions.length >= 3, `${server.questions.length} questions`);
      assert.equal(watch.closed, false);
      assert.deepEqual(bench.told.restarts, []);
    });

    it('a server that does not know the question tells its version', async () => {
      const watch = await bench.listed([apiPod('a')], '1000');
      server.onQuestion = (question) => question.answer(200, { metadata: { resourceVersion: '999' } });
      bench.clock.advance(45_000);
      await until(() => server.questions.length === 1, 'a question');
      await settle();
      bench.clock.advance(1_000);
      await bench.clock.passSleep();
      await bench.listed([], '999');
      assert.equal(watch.closed, true);
    });

    for (const [what, say] of [
      ['bookmark', (watch: Exchange) => watch.bookmark('7')],
      ['event', (watch: Exchange) => watch.event('ADDED', apiPod('late', { version: '7' }))],
    ] as const)
      it(`fault: a ${what} with a lower version than ours is asked about, and is no place to resume at`, async () => {
        const watch = await bench.listed([apiPod('a')], '1000');
        say(watch);
        await until(() => server.questions.length === 1, 'a question');
        assert.equal(server.questions[0]!.query.get('resourceVersion'), '1000');
        watch.end();
        await bench.clock.passSleep();
        assert.equal((await server.next()).query.get('resourceVersion'), '1000');
      });

    it('fault: versions went back and passed the old one: after an early end everything is listed, if not just done', async () => {
      const watch = await bench.listed([apiPod('gone')], '1000');
      bench.clock.advance(10_000);
      watch.reset();
      await bench.clock.passSleep();
      const again = await bench.listed([apiPod('new')], '1200');
      assert.equal(bench.pods, 'x/new');
      assert.equal(bench.told.missed, 2);
      again.reset();
      await bench.clock.passSleep();
      assert.equal((await server.next()).query.get('resourceVersion'), '1200', 'just listed');
    });

    it('fault: a healthy watch is looked at now and then: a list takes the place of a watch that resumes', async () => {
      let watch = await bench.listed([apiPod('a')], '10');
      bench.objects = 4_000;
      const asked: string[] = [];
      for (let round = 0; round < 5; round++) {
        await bench.pass(300);
        watch.end();
        const next = await server.next();
        asked.push(next.query.has('sendInitialEvents') ? 'look' : 'watch');
        watch = next.accept();
        if (asked.at(-1) === 'look') watch.event('ADDED', apiPod('a')).bookmark('11', true);
        await until(() => bench.reflector.connected, 'connected');
      }
      assert.deepEqual(asked, ['watch', 'watch', 'watch', 'look', 'watch'], 'four objects a second at most');
      bench.objects = 10;
      await bench.pass(300);
      watch.end();
      await bench.listed([apiPod('a')], '12');
    });
  });

  describe('refusals', () => {
    for (const status of [503, 429])
      it(`fault: honours Retry-After of a ${status}`, async () => {
        (await server.next()).refuse(status, 'Busy', 'busy', { 'retry-after': '7' });
        assert.equal(await bench.clock.passSleep(), 7_000);
        (await server.next()).refuse(status, 'Busy', 'busy', { 'retry-after': '99999' });
        assert.equal(await bench.clock.passSleep(), 30_000, 'fault: but it does not make the agent deaf for an hour');
        await bench.listed([], '1');
      });

    it('fault: 401: reads the credentials anew and retries at once, then with back-off', async () => {
      (await server.next()).refuse(401, 'Unauthorized', 'Unauthorized');
      const second = await server.next();
      assert.deepEqual(bench.clock.slept, []);
      assert.equal(bench.refreshed, 1);
      second.refuse(401, 'Unauthorized', 'Unauthorized');
      await bench.clock.passSleep();
      assert.equal(bench.refreshed, 2);
      await bench.listed([], '1');
      assert.deepEqual(bench.told.restarts, ['unauthorized', 'unauthorized']);
    });

    it('fault: 403: says which rule is missing and keeps trying', async () => {
      const said = 'pods is forbidden: User "system:serviceaccount:x:agent" cannot watch resource "pods"';
      for (let round = 0; round < 5; round++) {
        (await server.next()).refuse(403, 'Forbidden', said);
        await bench.clock.passSleep();
      }
      const problem = bench.reflector.problem ?? '';
      assert.match(problem, /^not allowed to watch pods \(API group ""\)/);
      assert.match(problem, /\{apiGroups: \[""\], resources: \["pods"\], verbs: \["list", "watch"\]\}/);
      assert.ok(problem.includes(said));
      assert.equal(bench.warnings.length, 1);
      assert.deepEqual(new Set(bench.told.restarts), new Set(['forbidden']));
      await bench.listed([], '1');
      assert.equal(bench.reflector.problem, undefined);
    });

    it("fault: a 403 right after the server's start does not tell anybody to repair the ClusterRole", async () => {
      bench.random = 0.999;
      for (let round = 0; round < 2; round++) {
        (await server.next()).refuse(403, 'Forbidden', 'no role yet');
        assert.ok((await bench.clock.passSleep()) <= 2_000, 'asked again soon');
        assert.doesNotMatch(bench.reflector.problem ?? '', /ClusterRole/);
      }
      await bench.listed([], '1');
      assert.deepEqual(bench.warnings, []);
    });

    it('fault: streaming lists are tried again ten minutes after they were refused', async () => {
      (await server.next()).refuse(422, 'Invalid', 'sendInitialEvents is forbidden for watch');
      (await server.next()).answer(200, apiList([apiPod('a')], '20'));
      (await server.next()).event('ERROR', { code: 410 });
      await bench.clock.passSleep();
      (await server.next()).answer(200, apiList([apiPod('a')], '21'));
      const watch = (await server.next()).accept();
      await until(() => bench.reflector.connected, 'connected');
      await bench.pass(NO_STREAMING_MS / 1_000 / 2);
      watch.end();
      const second = await server.next();
      assert.equal(second.query.get('limit'), '500', 'a look in pages');
      second.answer(200, apiList([apiPod('a')], '22'));
      const last = (await server.next()).accept();
      await bench.pass(NO_STREAMING_MS / 1_000 / 2);
      last.end();
      await bench.listed([apiPod('a')], '23');
    });

    it('fault: a page of HTML is called by its name', async () => {
      (await server.next()).answer(200, '<html>Please log in</html>', { 'content-type': 'text/html' });
      await bench.clock.passSleep();
      assert.match(bench.reflector.problem ?? '', /text\/html instead of JSON/);
      const endless = (await server.next()).accept('text/html').raw('<html>');
      await bench.clock.passSleep();
      await until(() => endless.closed, 'the socket to be closed');
      (await server.next()).answer(200, `${'not a watch\n'.repeat(60)}`);
      await bench.clock.passSleep();
      assert.deepEqual(bench.told.restarts, ['wrong-content', 'wrong-content', 'wrong-content']);
      await bench.listed([], '1');
    });

    it('a text from the server reaches the log in one bounded line', async () => {
      (await server.next()).refuse(500, 'InternalError', `line one\nline two\u001b[31m ${'x'.repeat(5_000)}`);
      await bench.clock.passSleep();
      const problem = bench.reflector.problem ?? '';
      assert.ok(problem.length < 400);
      assert.doesNotMatch(problem, /\p{Cc}/u);
    });
  });

  describe('fault: field selectors that save work', () => {
    const SAVINGS = ['a=1,b=2', 'a=1'];
    let saving: Bench;
    beforeEach(async () => {
      bench.stop.abort();
      await server.next();
      saving = new Bench(server, SAVINGS).run();
    });
    afterEach(async () => {
      saving.stop.abort();
      await saving.done;
    });

    it('go with lists, watches and questions, and what leaves the selection is deleted', async () => {
      const watch = await saving.listed([apiPod('a')], '10');
      assert.equal(watch.query.get('fieldSelector'), SAVINGS[0]);
      watch.event('DELETED', apiPod('a', { version: '12' }));
      await until(() => saving.pods === '', 'the deletion');
      watch.reset();
      await saving.clock.passSleep();
      assert.equal((await server.next()).accept().query.get('fieldSelector'), SAVINGS[0]);
      await until(() => server.questions.length === 1, 'a question');
      assert.equal(server.questions[0]!.query.get('fieldSelector'), SAVINGS[0]);
    });

    it('give way when the server does not know them, and are tried again after an hour, with a list', async () => {
      (await server.next()).refuse(400, 'BadRequest', 'field label not supported: b');
      const second = await server.next();
      assert.equal(second.query.get('fieldSelector'), SAVINGS[1]);
      assert.ok(second.query.has('sendInitialEvents'), 'streaming lists are not blamed');
      second.refuse(400, 'BadRequest', 'field label not supported: a');
      let watch = await saving.listed([apiPod('a')], '10');
      assert.equal(watch.query.has('fieldSelector'), false);
      for (const [round, expected] of [undefined, SAVINGS[0]].entries()) {
        if (round === 1) saving.clock.advance(3_600_000);
        else watch.event('ERROR', { code: 410 });
        await saving.clock.passSleep();
        watch = await saving.listed([apiPod('a')], '11');
        assert.equal(watch.query.get('fieldSelector') ?? undefined, expected);
      }
      assert.deepEqual(
        saving.warnings.filter((line) => line.includes('field label')),
        [],
      );
    });

    it('a resumed watch that is refused (an older server behind the same address) leads to a list', async () => {
      const watch = await saving.listed([apiPod('a')], '10');
      watch.reset();
      await saving.clock.passSleep();
      (await server.next()).refuse(400, 'BadRequest', 'field label not supported: b');
      const list = await saving.listed([apiPod('a'), apiPod('b')], '12');
      assert.equal(list.query.get('fieldSelector'), SAVINGS[1]);
    });
  });

  describe('stopping', () => {
    it('during a list: nothing is opened or reported afterwards', async () => {
      const exchange = (await server.next()).accept().event('ADDED', apiPod('a'));
      await bench.seeChanges(1);
      bench.stop.abort();
      await bench.done;
      exchange.event('ADDED', apiPod('b')).bookmark('9', true);
      await settle();
      assert.deepEqual(bench.changed(), []);
      assert.equal(bench.reflector.listed, false);
      assert.equal(server.seen.length, 1);
      assert.deepEqual(bench.told.restarts, []);
      await until(() => exchange.closed, 'the socket to be closed');
    });

    it('during a back-off and between request and answer', async () => {
      (await server.next()).reset();
      await until(() => bench.clock.sleeping === 1, 'the back-off');
      bench.stop.abort();
      await bench.done;
      assert.equal(server.seen.length, 1);
      const second = new Bench(server).run();
      await server.next();
      second.stop.abort();
      await second.done;
      assert.equal(second.clock.timers, 0, 'no timer is left');
    });

    it('from inside a listener', async () => {
      bench.onChange = () => bench.stop.abort();
      (await server.next()).accept().event('ADDED', apiPod('a')).event('ADDED', apiPod('b')).bookmark('9', true);
      await bench.done;
      assert.deepEqual(bench.changed(), ['added x/a']);
      assert.equal(bench.reflector.listed, false);
    });
  });
});
