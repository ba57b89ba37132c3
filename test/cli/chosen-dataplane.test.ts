/** The data plane in use on a node, and moves from one to the other: what is done, in which order, and what is left after a failure. */
import assert from 'node:assert/strict';
import type { NodeIntent } from '../../src/compile/intent.ts';
import type { SyncFailure, SyncOutcome, SyncRequest } from '../../src/dataplane/dataplane.ts';
import type { PodInterfaces } from '../../src/host/pod-interfaces.ts';
import type { HostDataplane } from '../../src/cli/node-dataplane.ts';

import { createChosenNode } from '../../src/cli/chosen-dataplane.ts';
import { DATAPLANES, type DataplaneName, FIRST_QUIET_MS } from '../../src/dataplane/dataplane-chooser.ts';
import { NO_INTERFACES } from '../../src/host/pod-interfaces.ts';
import { SILENT_LOGGER } from '../support/silent-logger.ts';
import { VirtualClock } from '../support/virtual-clock.ts';

const INTENT = {} as NodeIntent;
const BRIDGED: PodInterfaces = {
  pods: [{ name: 'veth1', via: 'bridge', pod: 'x/a' }],
  bridges: [{ name: 'cni0', isOnlyPods: true }],
  broadcasts: [],
};
/** Its ports are somebody's. */
const UNKNOWN: PodInterfaces = { ...BRIDGED, pods: [] };
const IDLE: PodInterfaces = { ...UNKNOWN, bridges: [{ name: 'docker0', isOnlyPods: true, isEmpty: true }] };

const request = (interfaces = NO_INTERFACES): SyncRequest => ({ mode: 'enforce', resync: false, interfaces });

function failure(message: string, reason: SyncFailure['reason'] = 'unavailable', object?: string): SyncFailure {
  return { object, tool: 'x', reason, message, policies: [] };
}

/** A host with both, of which nothing is real but what stands. */
class Host {
  readonly clock = new VirtualClock();
  readonly standing = new Set<DataplaneName>();
  /** What was done, in order. */
  readonly done: string[] = [];
  readonly problems: Partial<Record<DataplaneName, string>> = {};
  readonly failures: Partial<Record<DataplaneName, SyncFailure>> = {};
  interfaces = NO_INTERFACES;
  /** Why nftables does not see ports of bridges. */
  bridgeProblem: string | undefined = 'no family bridge';
  isSettled = true;
  /** What is left cannot be taken out. */
  isStuck = false;
  /** Nobody finds out what stands before. */
  looking: Promise<void> | undefined;
  /** How often nothing stood any more. */
  gaps = 0;

  node(asked: DataplaneName | 'auto' = 'auto') {
    return createChosenNode({
      asked,
      hosts: {
        nftables: { create: () => this.#create('nftables'), left: this.#left('nftables') },
        iptables: { create: () => this.#create('iptables'), left: this.#left('iptables') },
      },
      interfaces: {
        look: async () => {},
        known: () => this.interfaces,
        state: () => ({ unknown: [], nobodys: [], problem: undefined, isSettled: this.isSettled }),
      },
      isClosed: false,
      freeEpochs: { forget: () => this.done.push('forget epochs') },
      metrics: { backend: () => {}, dataplaneMove: (to, result) => this.done.push(`${result}: ${to}`) },
      log: SILENT_LOGGER,
      clock: this.clock,
    });
  }

  async opened(asked: DataplaneName | 'auto' = 'auto') {
    const node = this.node(asked);
    assert.ok(await node.open({ onProblem: () => {}, signal: AbortSignal.timeout(1_000) }));
    const resyncs: string[] = [];
    node.follow((reason) => resyncs.push(reason));
    const sync = (interfaces?: PodInterfaces) => node.dataplane.sync(INTENT, request(interfaces));
    return { node, resyncs, sync, inUse: () => node.inUse()?.inUse };
  }

  #left(name: DataplaneName) {
    return {
      name,
      stands: async () => {
        await this.looking;
        return this.standing.has(name);
      },
      lastReading: async () => void this.done.push(`count what is left of ${name}`),
      remove: async () => {
        this.done.push(`take out ${name}`);
        if (this.isStuck) return [failure('busy')];
        this.standing.delete(name);
        if (this.standing.size === 0) this.gaps++;
        return [];
      },
    };
  }

  #create(name: DataplaneName): HostDataplane {
    const outcome = (failures: readonly SyncFailure[]): SyncOutcome =>
      ({ failures, partial: failures[0]?.reason === 'refused', change: {} }) as unknown as SyncOutcome;
    const told = (text: string) => this.done.push(`${text} ${name}`);
    return {
      dataplane: {
        sync: async (_, { resync }) => {
          const failed = this.failures[name];
          told(resync ? 'compare' : 'sync');
          if (failed?.reason !== 'unavailable') this.standing.add(name);
          return outcome(failed ? [failed] : []);
        },
        remove: async () => {
          told('remove');
          this.standing.delete(name);
          return outcome([]);
        },
        counters: async () => [],
        trace: async () => [],
        closeToNewPods: async () => 'closed',
        prepare: () => {},
        onWork: () => {},
        denial: () => undefined,
      },
      conditions: [{ name: 'jumps-present', state: () => ({ ok: true, reason: name }) }],
      backend: () => name,
      tryOpen: async () => this.problems[name],
      ...(name === 'nftables' ? { bridgeProblem: () => this.bridgeProblem } : {}),
      follow: () => void told('follow'),
      synced: () => {},
      lastReading: async () => void told('count'),
      stop: async () => void told('stop'),
    };
  }
}

const conditionOf = (node: ReturnType<Host['node']>, name: string) =>
  node.conditions.find((condition) => condition.name === name)!.state();

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('the data plane in use', () => {
  for (const name of DATAPLANES)
    it(`is the one that --dataplane=${name} names, whatever the host is like`, async () => {
      const host = new Host();
      host.interfaces = BRIDGED;
      const { node, sync, inUse } = await host.opened(name);
      await sync(BRIDGED);
      assert.equal(inUse(), name);
      await nextTurn();
      assert.equal(conditionOf(node, 'dataplane').reason, `${name}, by --dataplane`);
      assert.equal(conditionOf(node, 'jumps-present').reason, name);
      assert.equal(host.clock.timers, 0, 'nothing is asked later');
    });

  it('of auto: nftables, and iptables where nftables cannot be used or pods are ports of a bridge that it does not see', async () => {
    const usual = await new Host().opened();
    assert.deepEqual(usual.node.inUse(), {
      inUse: 'nftables',
      backend: 'nftables',
      asked: 'auto',
      why: 'this host has all that its table needs',
    });
    const broken = new Host();
    broken.problems.nftables = 'no nft';
    assert.match(
      conditionOf((await broken.opened()).node, 'dataplane').reason,
      /^iptables, by --dataplane=auto: no nft/,
    );
    const bridged = new Host();
    bridged.interfaces = BRIDGED;
    const { node, inUse } = await bridged.opened();
    assert.equal(inUse(), 'iptables');
    assert.match(conditionOf(node, 'dataplane').reason, /pods are ports of a bridge \(cni0\).*\(no family bridge\)/);
  });

  it('of auto: nftables where it sees ports of bridges, whoever they are', async () => {
    for (const interfaces of [BRIDGED, UNKNOWN]) {
      const host = new Host();
      host.bridgeProblem = undefined;
      host.interfaces = interfaces;
      host.isSettled = false;
      const { sync, inUse } = await host.opened();
      await sync(interfaces);
      assert.equal(inUse(), 'nftables');
    }
  });

  it('of auto: where it is not known yet whose the ports of a bridge are, nothing begins with nftables', async () => {
    const host = new Host();
    host.interfaces = UNKNOWN;
    host.isSettled = false;
    const { sync, inUse, resyncs } = await host.opened();
    await sync(UNKNOWN);
    assert.equal(inUse(), 'iptables');
    host.isSettled = true;
    await host.clock.pass(2 * FIRST_QUIET_MS);
    assert.ok(resyncs.length > 0);
    await sync(UNKNOWN);
    assert.equal(inUse(), 'nftables');
    host.isSettled = false;
    await sync(UNKNOWN);
    assert.equal(inUse(), 'nftables', 'a pod that has just come is no reason to move');
    const idle = new Host();
    idle.interfaces = IDLE;
    assert.equal((await idle.opened()).inUse(), 'nftables', 'a bridge without ports is nobody');
  });

  it('fault: neither can be used: it waits, says both reasons, and goes on with the first that can', async () => {
    const host = new Host();
    host.problems.nftables = 'no nft';
    host.problems.iptables = 'no iptables';
    const node = host.node();
    const problems: string[] = [];
    const stop = new AbortController();
    const onProblem = (problem: string): void => {
      problems.push(problem);
      stop.abort();
    };
    assert.equal(await node.open({ onProblem, signal: stop.signal }), false);
    assert.deepEqual(problems, ['no nft; no iptables']);
  });

  it('fault: pods are ports of a bridge, and iptables cannot be used: nftables all the same, and it says so', async () => {
    const host = new Host();
    host.interfaces = BRIDGED;
    host.problems.iptables = 'no iptables';
    const { node, sync, inUse } = await host.opened();
    await sync(BRIDGED);
    assert.equal(inUse(), 'nftables');
    assert.match(conditionOf(node, 'dataplane').reason, /iptables should be used \(pods are ports.*no iptables/);
  });
});

describe('moves from one data plane to the other', () => {
  it('the rules of the new one stand before the others go, and what watched those ends first', async () => {
    const host = new Host();
    const { sync, inUse, node } = await host.opened();
    await sync();
    host.done.length = 0;
    await sync(BRIDGED);
    assert.deepEqual(host.done, [
      'compare iptables',
      'count nftables',
      'stop nftables',
      'take out nftables',
      'forget epochs',
      'follow iptables',
      'done: iptables',
    ]);
    assert.equal(inUse(), 'iptables');
    assert.deepEqual([...host.standing], ['iptables']);
    assert.equal(conditionOf(node, 'dataplane').ok, true);
  });

  it('where nothing stood, what watched ends all the same', async () => {
    const host = new Host();
    const { sync, inUse } = await host.opened();
    await sync(BRIDGED);
    assert.equal(inUse(), 'iptables');
    assert.ok(host.done.includes('stop nftables') && !host.done.includes('take out nftables'), host.done.join());
  });

  it('and back, once the host has been quiet', async () => {
    const host = new Host();
    const { sync, inUse, resyncs } = await host.opened();
    await sync();
    host.interfaces = BRIDGED;
    await sync(BRIDGED);
    host.interfaces = NO_INTERFACES;
    await sync();
    assert.equal(inUse(), 'iptables', 'not at once');
    await host.clock.pass(10 * FIRST_QUIET_MS);
    assert.ok(resyncs.length > 0, 'a sync is asked for');
    await sync();
    assert.equal(inUse(), 'nftables');
    assert.deepEqual([...host.standing], ['nftables']);
    assert.equal(host.gaps, 0);
    await host.clock.pass(10 * FIRST_QUIET_MS);
    assert.equal(host.clock.timers, 0, 'on nftables nothing is asked');
  });

  for (const [what, broken] of [
    ['takes nothing', failure('broken')],
    ['refuses a part', failure('refused', 'refused', 'PCL-X')],
  ] as const)
    it(`fault: the new one ${what}: nothing of it stays, and the one in use takes the change`, async () => {
      const host = new Host();
      const { sync, inUse, node } = await host.opened();
      await sync();
      host.failures.iptables = broken;
      host.done.length = 0;
      const outcome = await sync(BRIDGED);
      assert.deepEqual(outcome.failures, []);
      assert.equal(inUse(), 'nftables');
      assert.deepEqual([...host.standing], ['nftables']);
      assert.equal(host.gaps, 0);
      assert.deepEqual(host.done.slice(-2), ['refused: iptables', 'compare nftables']);
      assert.match(conditionOf(node, 'dataplane').reason, /iptables should be used .* cannot be: /);
      host.done.length = 0;
      await sync(BRIDGED);
      assert.deepEqual(host.done, ['sync nftables'], 'not at once again');
      delete host.failures.iptables;
      await host.clock.pass(60_000);
      await sync(BRIDGED);
      assert.equal(inUse(), 'iptables');
      assert.ok(!/cannot be/.test(conditionOf(node, 'dataplane').reason));
    });

  it('fault: nft takes nothing any more: iptables once that lasts, and nftables again when it answers', async () => {
    const host = new Host();
    const { sync, inUse } = await host.opened();
    await sync();
    host.failures.nftables = failure('nft -i: no answer');
    for (let second = 0; second < 9; second++) {
      await sync();
      assert.equal(inUse(), 'nftables', `after ${second} s`);
      await host.clock.pass(1_000);
    }
    await host.clock.pass(1_000);
    await sync();
    await sync();
    assert.equal(inUse(), 'iptables');
    delete host.failures.nftables;
    await host.clock.pass(120_000);
    await sync();
    assert.equal(inUse(), 'nftables');
  });

  it('no sync waits until rules of the other one are found: the next does, and a move, and the end; the node is not ready', async () => {
    const host = new Host();
    host.standing.add('iptables');
    const looking = Promise.withResolvers<void>();
    host.looking = looking.promise;
    const { node, sync } = await host.opened();
    await sync();
    assert.equal(conditionOf(node, 'dataplane').ok, false);
    assert.match(conditionOf(node, 'dataplane').reason, /are looked for/);
    host.done.length = 0;
    const next = sync(BRIDGED);
    const end = node.stop();
    await nextTurn();
    assert.equal(host.done.length, 0);
    looking.resolve();
    await Promise.all([next, end]);
    assert.deepEqual(host.done.slice(0, 2), ['count what is left of iptables', 'take out iptables']);
    assert.ok(host.done.indexOf('stop nftables') > 1, host.done.join());
    assert.ok(host.done.indexOf('compare iptables') > 0, host.done.join());
  });

  it('fault: rules of the other one cannot be looked for: the node is ready once that was tried, also while it is tried again', async () => {
    const host = new Host();
    host.looking = Promise.reject(new Error('no answer'));
    const { node, sync } = await host.opened();
    await sync();
    assert.equal(conditionOf(node, 'dataplane').ok, false);
    await nextTurn();
    assert.equal(conditionOf(node, 'dataplane').ok, true);
    host.looking = new Promise(() => {});
    host.clock.advance(1_000);
    await sync();
    await nextTurn();
    assert.equal(conditionOf(node, 'dataplane').ok, true);
  });

  it('fault: rules of the other one cannot be taken out: said, not ready, tried again, later and later', async () => {
    const host = new Host();
    host.standing.add('iptables');
    host.isStuck = true;
    const { node, sync } = await host.opened();
    for (let second = 0; second < 600; second++) {
      await sync();
      host.clock.advance(1_000);
    }
    const tries = host.done.filter((what) => what === 'take out iptables').length;
    assert.ok(tries > 8 && tries < 20, `${tries} tries`);
    assert.deepEqual(conditionOf(node, 'dataplane').ok, false);
    assert.match(conditionOf(node, 'dataplane').reason, /deny what they denied: busy/);
  });
});
