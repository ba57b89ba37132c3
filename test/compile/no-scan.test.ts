/** What a remote pod's event costs does not grow with the sets of the node: nothing goes through them. */
import assert from 'node:assert/strict';
import { loadSnapshot, NodeCompiler } from '../../src/compile/compile-node.ts';
import { compileNode, renderNode } from '../support/stages.ts';
import { JournaledMap, versionedMap } from '../../src/core/versioned-map.ts';
import type { ObservedState, Plan } from '../../src/dataplane/iptables/plan/plan.ts';
import { diff } from '../../src/dataplane/iptables/plan/diff.ts';
import { NodeRenderer } from '../../src/dataplane/iptables/render/render-node.ts';
import type { IpSet } from '../../src/dataplane/iptables/rules/rule.ts';
import { pod, policy, snapshot } from '../support/builders.ts';
import { countListings } from '../support/count-listings.ts';
import { LAYOUT } from '../support/fake-cluster.ts';

const SETS = 60;
describe('an event of a remote pod', () => {
  it('goes through no list of sets, in no stage, and changes the sets it is in', async () => {
    const endpoint = pod('x/endpoint', { labels: { app: 'subject' }, addresses: ['10.0.0.1'] });
    const others = Array.from({ length: SETS }, (_, n) =>
      pod(`x/s${n}`, { labels: { app: `s${n}` }, addresses: [`10.0.1.${n}`] }),
    );
    const policies = others.map((_, n) =>
      policy(`x/p${n}`, {
        podSelector: { matchLabels: { app: `s${n}` } },
        ingress: [{ from: [{ podSelector: { matchLabels: { peer: `p${n}` } } }], ports: [{ port: 80 }] }],
      }),
    );
    const compiler = new NodeCompiler('node-1');
    loadSnapshot(compiler, snapshot({ pods: [endpoint, ...others], policies }));
    const renderer = new NodeRenderer();
    const empty = { chains: new Map(), hooks: { FORWARD: [], INPUT: [] } };
    let observed: ObservedState = { families: { 4: empty, 6: empty }, sets: new Map() };
    const pass = (addsOnly = false): Plan => {
      const plan = diff(renderer.render(compiler.intent(), { ...LAYOUT, mode: 'enforce' }), observed, {
        remembered: true,
        addsOnly,
      });
      observed = plan.after;
      return plan;
    };
    pass();
    const labels = { peer: 'p1' };
    const put = (name: string, address: string, addsOnly = false): Plan => {
      compiler.pod(name, { ...pod(name, { nodeName: 'node-2', addresses: [address] }), labels });
      return pass(addsOnly);
    };
    put('x/first', '10.0.2.1');
    let plan: Plan | undefined;
    const listings = await countListings(SETS / 2, () => (plan = put('x/second', '10.0.2.2')));
    assert.deepEqual(
      plan!.steps.map(({ kind, lines }) => [kind, lines.length]),
      [['add-members', 1]],
    );
    assert.equal(listings, 0);
    assert.ok((await countListings(SETS / 2, () => new Map(observed.sets))) > 0, 'the count sees nothing');

    // A set that nobody wants any more stays for now, as rules ask about it that judge nothing.
    compiler.policy('x/p9', undefined);
    pass(true);
    const sets = observed.sets.size;
    assert.equal(await countListings(SETS / 2, () => (plan = put('x/third', '10.0.2.3', true))), 0);
    assert.deepEqual([plan!.summary.setsDestroyed, observed.sets.size], [0, sets]);
    assert.equal(put('x/fourth', '10.0.2.4').summary.setsDestroyed, 1);
    assert.equal(observed.sets.size, sets - 1);
  });

  it('a state that is planned from twice is the same the second time', () => {
    const from = (peer: string) => ({ from: [{ podSelector: { matchLabels: { peer } } }], ports: [{ port: 80 }] });
    const policies = ['a', 'b', 'c'].map((peer) => policy(`x/${peer}`, { podSelector: {}, ingress: [from(peer)] }));
    const intent = compileNode(snapshot({ pods: [pod('x/one', { addresses: ['10.0.0.1'] })], policies }), 'node-1');
    const ruleset = renderNode(intent, { ...LAYOUT, mode: 'enforce' });
    const sets = new JournaledMap(ruleset.sets);
    const plan = (observed: ObservedState): Plan => {
      return diff({ ...ruleset, sets: sets.snapshot() }, observed, { remembered: true });
    };
    const empty = { chains: new Map(), hooks: { FORWARD: [], INPUT: [] } };
    const written = plan({ families: { 4: empty, 6: empty }, sets: new Map() });
    const [one, two, three] = [...ruleset.sets.values()];
    const withMember = (set: IpSet): IpSet => ({ ...set, members: versionedMap([['10.0.2.1', true]]) });
    sets.set(three!.name, withMember(three!));
    const { after } = plan(written.after);
    sets.set(one!.name, withMember(one!));
    assert.equal(plan(after).after.sets.get(one!.name)!.members.size, 1);
    sets.set(one!.name, one);
    sets.set(two!.name, withMember(two!));
    const again = plan(after).after.sets;
    assert.deepEqual([again.get(one!.name)!.members.size, again.get(two!.name)!.members.size], [0, 1]);
  });
});
