/** What the kernel refuses: what stays in force meanwhile, and for whom, the same whichever data plane enforces. */
import assert from 'node:assert/strict';
import type { Degraded, SyncFailure } from '../../src/dataplane/dataplane.ts';
import type { ClusterSnapshot, Pod, Policy } from '../../src/policy/model.ts';
import { parseClusterPolicy } from '../../src/policy/parse-cluster-policy.ts';
import { pod, policy, snapshot } from './builders.ts';
import type { Packet } from './tracer.ts';

/** Sets of blocks, or an element with this address. */
export type Refused = 'blocks' | { readonly address: string } | undefined;

export interface Plane {
  sync(to: ClusterSnapshot, how?: { readonly resync?: boolean; readonly mode?: 'enforce' | 'audit' }): Promise<Outcome>;
  /** What the kernel takes, and what it does not. */
  refuse(what: Refused): void;
  /** Another agent, which knows nothing. */
  restart(): void;
  walk(packet: Packet): 'passed' | 'dropped';
}

export interface Outcome {
  readonly failures: readonly SyncFailure[];
  readonly partial: boolean;
  readonly degraded: readonly Degraded[];
}

/** Of commands of nft. */
export function isRefusedByNft(what: Refused): ((text: string) => boolean) | undefined {
  if (what === undefined) return undefined;
  if (what === 'blocks') return (text) => /^add set .* flags interval/.test(text);
  return (text) => text.startsWith('add element ') && text.split(/[ ,]+/).includes(what.address);
}

const [A, B] = [pod('x/a', { addresses: ['10.0.0.1'] }), pod('x/b', { addresses: ['10.0.0.2'] })];
const remote = (name: string, address: string): Pod => pod(name, { addresses: [address], nodeName: 'node-2' });
const C = remote('y/c', '10.0.1.3');

const ingress = (name: string, of: string, ...rules: readonly object[]): Policy =>
  policy(name, { podSelector: { matchLabels: { pod: of } }, ingress: rules });
/** Any pod on port 82. */
const BEFORE = ingress('x/of-b', 'b', { from: [{ namespaceSelector: {} }], ports: [{ port: 82 }] });
/** Needs a set of blocks. */
const BLOCK = ingress(
  'x/of-b',
  'b',
  { from: [{ ipBlock: { cidr: '203.0.113.0/24', except: ['203.0.113.64/26'] } }], ports: [{ port: 80 }] },
  { from: [{ namespaceSelector: {} }], ports: [{ port: 81 }] },
);
const DENY_A = ingress('x/of-a', 'a');
const cluster = (policies: readonly Policy[], ...others: readonly Pod[]): ClusterSnapshot =>
  snapshot({ policies, pods: [A, B, C, ...others] });

/** `create`: a node with an empty kernel. */
export function refusalTests(create: () => Plane): void {
  const reaches = (plane: Plane, from: string, to: Pod, port: number): boolean =>
    plane.walk({ family: 4, source: from, destination: to.addresses[0]!, protocol: 6, port }) === 'passed';
  const fromC = (plane: Plane, to: Pod, port: number): boolean => reaches(plane, '10.0.1.3', to, port);

  it('pods that have no rules yet are closed, all else goes in, and it is told whose policies and whose addresses', async () => {
    const plane = create();
    plane.refuse('blocks');
    const { failures, partial, degraded } = await plane.sync(cluster([BLOCK, DENY_A]));
    assert.ok(partial);
    assert.deepEqual([...new Set(failures.flatMap(({ policies }) => policies))], ['x/of-b']);
    assert.deepEqual(
      degraded.map(({ address, actual }) => [address, actual]),
      [['10.0.0.2', 'PCL-I-closed']],
    );
    assert.deepEqual([fromC(plane, B, 81), fromC(plane, A, 80)], [false, false]);
    plane.refuse(undefined);
    const taken = await plane.sync(cluster([BLOCK, DENY_A]), { resync: true });
    assert.deepEqual([taken.failures, taken.degraded, fromC(plane, B, 81)], [[], [], true]);
  });

  it('rules of before stay where there are some, also for the next agent, until what was refused is taken', async () => {
    const plane = create();
    await plane.sync(cluster([BEFORE]));
    plane.refuse('blocks');
    const check = ({ failures, degraded }: Outcome): void => {
      assert.deepEqual([...new Set(failures.flatMap(({ policies }) => policies))], ['x/of-b']);
      assert.deepEqual(
        degraded.map(({ address, desired, actual }) => [address, actual === desired, actual === 'PCL-I-closed']),
        [['10.0.0.2', false, false]],
      );
      assert.deepEqual([fromC(plane, B, 82), fromC(plane, B, 81)], [true, false]);
      assert.equal(fromC(plane, A, 80), false, 'the other change went in');
    };
    const desired = cluster([BLOCK, DENY_A]);
    check(await plane.sync(desired));
    check(await plane.sync(cluster([BLOCK, DENY_A], remote('y/d', '10.0.1.4'))));
    check(await plane.sync(desired, { resync: true }));
    plane.restart();
    check(await plane.sync(desired, { resync: true }));
    plane.refuse(undefined);
    const { failures, degraded } = await plane.sync(desired, { resync: true });
    assert.deepEqual([failures, degraded], [[], []]);
    assert.deepEqual([fromC(plane, B, 82), fromC(plane, B, 81)], [false, true]);
  });

  it('rules that stay let nobody in who got an address that they name', async () => {
    const plane = create();
    const names = { matchExpressions: [{ key: 'pod', operator: 'In', values: ['c', 'd'] }] };
    const named = ingress('x/of-b', 'b', { from: [{ podSelector: names, namespaceSelector: {} }] });
    await plane.sync(cluster([named], remote('y/d', '10.0.1.4')));
    plane.refuse('blocks');
    await plane.sync(cluster([BLOCK], remote('y/d', '10.0.1.4')));
    assert.ok(reaches(plane, '10.0.1.4', B, 90));
    await plane.sync(cluster([BLOCK]));
    assert.equal(reaches(plane, '10.0.1.4', B, 90), false);
    await plane.sync(cluster([BLOCK], remote('y/e', '10.0.1.4')));
    assert.equal(reaches(plane, '10.0.1.4', B, 90), false);
    assert.ok(fromC(plane, B, 90));
  });

  it('a set that cannot get a member stays without it, and loses those that are gone', async () => {
    const plane = create();
    const any = ingress('x/of-b', 'b', { from: [{ namespaceSelector: {} }] });
    await plane.sync(cluster([any], remote('y/d', '10.0.1.4')));
    plane.refuse({ address: '10.0.1.5' });
    const { failures, partial } = await plane.sync(cluster([any, DENY_A], remote('y/e', '10.0.1.5')));
    assert.ok(partial && failures.length > 0);
    assert.deepEqual(
      ['10.0.1.3', '10.0.1.4', '10.0.1.5'].map((from) => reaches(plane, from, B, 80)),
      [true, false, false],
    );
    assert.equal(fromC(plane, A, 80), false, 'the other change went in');
    plane.refuse(undefined);
    const taken = await plane.sync(cluster([any, DENY_A], remote('y/e', '10.0.1.5')), { resync: true });
    assert.deepEqual([taken.failures, reaches(plane, '10.0.1.5', B, 80)], [[], true]);
  });

  it('rules of tiers stay as a whole, also for the next agent', async () => {
    const plane = create();
    const rule = (action: string, number: number) => ({
      action,
      from: [{ namespaces: {} }],
      protocols: [{ tcp: { destinationPort: { number } } }],
    });
    const spec = { tier: 'Admin', priority: 1, subject: { namespaces: {} } };
    const tiers = { ...spec, ingress: [rule('Deny', 83), rule('Pass', 82), rule('Accept', 84)] };
    const { policy: admin } = parseClusterPolicy({ metadata: { name: 'admin' }, spec: tiers });
    const under = (policies: readonly Policy[]): ClusterSnapshot => ({
      ...cluster(policies),
      clusterPolicies: new Map([['admin', admin!]]),
    });
    await plane.sync(under([BEFORE]));
    const verdicts = (): readonly boolean[] => [81, 82, 83, 84].map((port) => fromC(plane, B, port));
    assert.deepEqual(verdicts(), [false, true, false, true]);
    plane.refuse('blocks');
    await plane.sync(under([BLOCK]));
    assert.deepEqual(verdicts(), [false, true, false, true]);
    plane.restart();
    const next = await plane.sync(under([BLOCK]), { resync: true });
    assert.deepEqual([...new Set(next.failures.flatMap(({ policies }) => policies))], ['/admin', 'x/of-b']);
    assert.deepEqual([next.degraded.length, ...verdicts()], [1, false, true, false, true]);
    plane.refuse(undefined);
    await plane.sync(under([BLOCK]), { resync: true });
    assert.deepEqual(verdicts(), [true, false, false, true]);
  });

  it('rules of a mode that was left do not stay', async () => {
    const plane = create();
    await plane.sync(cluster([BEFORE]), { mode: 'audit' });
    assert.ok(fromC(plane, B, 99));
    plane.refuse('blocks');
    const { degraded } = await plane.sync(cluster([BLOCK]), { mode: 'enforce' });
    assert.deepEqual(
      degraded.map(({ actual }) => actual),
      ['PCL-I-closed'],
    );
    assert.deepEqual([fromC(plane, B, 99), fromC(plane, B, 82)], [false, false]);
    plane.refuse(undefined);
    await plane.sync(cluster([BEFORE]), { resync: true });
    plane.refuse('blocks');
    await plane.sync(cluster([BLOCK]), { mode: 'audit' });
    assert.ok(fromC(plane, B, 99));
  });
}
