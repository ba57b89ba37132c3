/** A namespace whose policies take long to compile holds up no other, and its pods are judged as before meanwhile. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { loadSnapshot, NodeCompiler } from '../../src/compile/compile-node.ts';
import { compileNode } from '../support/stages.ts';
import { acceptRules } from '../../src/compile/program.ts';
import type { NodeIntent } from '../../src/compile/intent.ts';
import { runSync } from '../../src/core/sliced.ts';
import type { Policy } from '../../src/policy/model.ts';
import { clusterPair, NODE } from '../property/clusters.ts';
import { runs } from '../property/runs.ts';
import { namespace, pod, policy, snapshot } from '../support/builders.ts';

const MUCH = 10_000;
/** As it is kept by the watch: its length is known. */
const long = (one: Policy): Policy => ({ ...one, ruleBytes: MUCH + 1 });
const from = (n: number): object => ({
  from: [{ podSelector: { matchLabels: { peer: `p${n}` } } }],
  ports: [{ port: 80 + n }],
});
const evil = (count: number): Policy =>
  long(policy('evil/p', { podSelector: {}, ingress: Array.from({ length: count }, (_, n) => from(n)) }));

function started(): NodeCompiler {
  const compiler = new NodeCompiler('node-1');
  const pods = [pod('evil/a', { addresses: ['10.0.0.1'] }), pod('x/b', { addresses: ['10.0.0.2'] })];
  loadSnapshot(
    compiler,
    snapshot({ pods, policies: [evil(2), policy('x/p', { podSelector: {}, ingress: [from(1)] })] }),
  );
  compiler.intent();
  return compiler;
}

const rulesOf = ({ programs }: NodeIntent): Record<string, number> =>
  Object.fromEntries(programs.map((program) => [program.policies[0]!.namespace, acceptRules(program).length]));

const byText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
const sortedTexts = (values: readonly unknown[]): readonly string[] =>
  values.map((value) => JSON.stringify(value)).sort(byText);

/** Everything but what may depend on the way there. */
function essence(intent: NodeIntent): unknown {
  const sets = (all: NodeIntent['addressSets'] | NodeIntent['addressPortSets']): unknown =>
    [...all.values()].map(({ members, ...rest }) => JSON.stringify([rest, sortedTexts([...members])])).sort(byText);
  const { endpoints, programs, addressSets, addressPortSets, problems, waiting } = intent;
  return { endpoints, programs, problems, waiting, sets: [sets(addressSets), sets(addressPortSets)] };
}

describe('fault: slow work of one namespace delays another', () => {
  it('what another changes is in the intent before it is compiled', () => {
    const compiler = started();
    compiler.policy('evil/p', evil(5));
    compiler.policy('x/p', policy('x/p', { podSelector: {}, ingress: [] }));
    runSync(compiler.work(MUCH));
    assert.deepEqual(rulesOf(compiler.current()), { evil: 2, x: 0 });
    assert.deepEqual(compiler.current().waiting, ['evil']);
    runSync(compiler.slowWork());
    runSync(compiler.work(MUCH));
    assert.deepEqual(rulesOf(compiler.current()), { evil: 5, x: 0 });
    assert.deepEqual(compiler.current().waiting, []);
  });

  it('it waits until what was compiled is in the lists as well', () => {
    const compiler = started();
    compiler.policy('evil/p', evil(5));
    runSync(compiler.work(MUCH));
    runSync(compiler.slowWork());
    const intent = compiler.current();
    assert.deepEqual([rulesOf(intent), intent.waiting], [{ evil: 2, x: 1 }, ['evil']]);
    runSync(compiler.work(MUCH));
    assert.deepEqual([rulesOf(compiler.current()), compiler.current().waiting], [{ evil: 5, x: 1 }, []]);
  });

  it('a mode that changes while it is compiled counts for all of its policies', () => {
    const compiler = started();
    compiler.policy('evil/other', policy('evil/other', { podSelector: {}, egress: [] }));
    compiler.policy('evil/p', evil(5));
    const slow = compiler.slowWork();
    slow.next();
    const audited = { ...namespace('evil'), mode: 'audit' } as const;
    compiler.namespace('evil', audited);
    runSync(slow);
    const pods = [pod('evil/a', { addresses: ['10.0.0.1'] }), pod('x/b', { addresses: ['10.0.0.2'] })];
    const policies = [
      evil(5),
      policy('evil/other', { podSelector: {}, egress: [] }),
      policy('x/p', { podSelector: {}, ingress: [from(1)] }),
    ];
    const alone = compileNode(snapshot({ pods, policies, namespaces: [audited] }), 'node-1');
    assert.deepEqual(essence(compiler.intent()), essence(alone));
    assert.deepEqual([compiler.intent().audits.length, compiler.intent().programs.length], [3, 1]);
  });

  it('what changes while it is found out what there is to compile is compiled as well', () => {
    const pods = Array.from({ length: 250 }, (_, n) => pod(`x/p${n}`, { addresses: [`10.0.0.${n}`] }));
    const edited = (port: number): Policy => policy('x/all', { podSelector: {}, ingress: [{ ports: [{ port }] }] });
    const another = policy('x/another', { podSelector: { matchLabels: { pod: 'p1' } }, ingress: [] });
    const compiler = new NodeCompiler('node-1');
    loadSnapshot(compiler, snapshot({ pods, policies: [edited(80)] }));
    compiler.intent();
    compiler.policy('x/all', edited(81));
    const work = compiler.work(1_000_000);
    assert.equal(work.next().done, false);
    compiler.policy('x/another', another);
    runSync(work);
    const alone = compileNode(snapshot({ pods, policies: [edited(81), another] }), 'node-1');
    assert.deepEqual(essence(compiler.current()), essence(alone));
  });

  it('what is begun and out of date is not put in the place of what came later', () => {
    const compiler = started();
    compiler.policy('evil/p', evil(5));
    const slow = compiler.slowWork();
    slow.next();
    compiler.policy('evil/p', policy('evil/p', { podSelector: {}, ingress: [from(7)] }));
    runSync(compiler.work(MUCH));
    assert.deepEqual(rulesOf(compiler.current()), { evil: 1, x: 1 });
    runSync(slow);
    runSync(compiler.work(MUCH));
    assert.deepEqual(rulesOf(compiler.current()), { evil: 1, x: 1 });
  });

  it('a set that it has found stays, though the others that had it give it up meanwhile', () => {
    const shared = { from: [{ namespaceSelector: {}, podSelector: { matchLabels: { peer: 'shared' } } }] };
    const compiler = started();
    compiler.policy('x/p', policy('x/p', { podSelector: {}, ingress: [shared] }));
    compiler.intent();
    const rules = [shared, ...Array.from({ length: 4 }, (_, n) => from(n))];
    compiler.policy('evil/p', long(policy('evil/p', { podSelector: {}, ingress: rules })));
    for (let steps = 1, isDone = false; !isDone; steps++) {
      const slow = compiler.slowWork();
      for (let step = 0; step < steps && !isDone; step++) isDone = slow.next().done === true;
      compiler.policy('x/p', undefined);
      runSync(compiler.work(MUCH));
      runSync(slow);
      runSync(compiler.work(MUCH));
      const { addressSets, programs } = compiler.current();
      const keys = programs.flatMap((program) => acceptRules(program).map(({ peers }) => peers[4]));
      assert.ok(keys.every((peer) => peer.kind !== 'set' || addressSets.has(peer.key)));
      compiler.policy('x/p', policy('x/p', { podSelector: {}, ingress: [shared] }));
      runSync(compiler.work(MUCH));
      compiler.policy('evil/p', evil(1));
      runSync(compiler.work(0));
      runSync(compiler.slowWork());
      runSync(compiler.work(MUCH));
      compiler.policy('evil/p', long(policy('evil/p', { podSelector: {}, ingress: rules })));
    }
  });

  it('an address that a pod elsewhere has by now is not judged by what was', () => {
    const compiler = started();
    compiler.policy('evil/p', evil(5));
    compiler.pod('evil/a', undefined);
    compiler.pod('evil/c', pod('evil/c', { addresses: ['10.0.0.9'] }));
    compiler.pod('x/d', pod('x/d', { addresses: ['10.0.0.1'] }));
    runSync(compiler.work(MUCH));
    const { endpoints } = compiler.current();
    assert.deepEqual(
      endpoints.filter(({ addresses }) => addresses.includes('10.0.0.1')).map((endpoint) => endpoint.pod),
      ['x/d'],
    );
  });

  it('whatever is done in between, it ends where a compiler of the end alone would', () => {
    const seen = { waited: 0 };
    fc.assert(
      fc.property(
        clusterPair,
        fc.array(fc.nat({ max: 40 }), { minLength: 1, maxLength: 8 }),
        ([before, after], pauses) => {
          const compiler = new NodeCompiler(NODE);
          loadSnapshot(compiler, before);
          compiler.intent();
          let at = 0;
          const slow: Generator<void, void>[] = [];
          const breathe = (): void => {
            runSync(compiler.work(MUCH));
            seen.waited += compiler.current().waiting.length;
            if (slow.length < 2) slow.push(compiler.slowWork());
            const [one] = slow;
            for (let steps = pauses[at++ % pauses.length]!; steps > 0; steps--)
              if (one!.next().done) slow.splice(0, 1, compiler.slowWork());
          };
          for (const [key, one] of after.policies) {
            compiler.policy(key, long(one));
            breathe();
          }
          for (const key of before.policies.keys()) if (!after.policies.has(key)) compiler.policy(key, undefined);
          for (const [key, one] of after.pods) {
            compiler.pod(key, one);
            breathe();
          }
          for (const key of before.pods.keys()) if (!after.pods.has(key)) compiler.pod(key, undefined);
          for (const [key, one] of after.namespaces) compiler.namespace(key, one);
          for (const key of before.namespaces.keys())
            if (!after.namespaces.has(key)) compiler.namespace(key, undefined);
          for (const each of slow) runSync(each);
          const policies = new Map([...after.policies].map(([key, one]) => [key, long(one)]));
          assert.deepEqual(essence(compiler.intent()), essence(compileNode({ ...after, policies }, NODE)));
        },
      ),
      runs(150),
    );
    assert.ok(seen.waited > 100, JSON.stringify(seen));
  });
});
