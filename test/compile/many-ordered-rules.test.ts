/** Tens of thousands of rules of cluster-wide policies keep their order on their way to either data plane (N-61). */
import assert from 'node:assert/strict';
import { NodeRenderer } from '../../src/dataplane/nftables/render/render-node.ts';
import type { ClusterSnapshot } from '../../src/policy/model.ts';
import { parseClusterPolicy } from '../../src/policy/parse-cluster-policy.ts';
import { namespace, pod, snapshot } from '../support/builders.ts';
import { LAYOUT } from '../support/fake-cluster.ts';
import { inForce } from '../support/nft-fake.ts';
import { traceTable } from '../support/nft-tracer.ts';
import { compileNode, renderNode } from '../support/stages.ts';
import { traceValues } from '../support/tracer.ts';

const COUNT = 70_000;
/** The API takes no more in a direction of one object. */
const RULES_OF_ONE = 25;
const POD = '10.255.0.1';

const addressOf = (number: number): string => `10.${number >> 16}.${(number >> 8) & 255}.${number & 255}`;

/** By turns: an address is accepted, and the two that differ from it in the last bit are denied. */
function ruleOf(index: number): object {
  const cidr = index % 2 === 0 ? `${addressOf(index)}/32` : `${addressOf(index - 1)}/31`;
  return { name: `${index}`, action: index % 2 === 0 ? 'Accept' : 'Deny', to: [{ networks: [cidr] }] };
}

/** Objects in an order of their own; priorities, and names where those are equal, put their rules in order. */
function clusterOf(count: number): ClusterSnapshot {
  const policies = Array.from({ length: Math.ceil(count / RULES_OF_ONE) }, (_, at) => {
    const egress = Array.from({ length: RULES_OF_ONE }, (_each, index) => ruleOf(at * RULES_OF_ONE + index));
    const name = `p${String(at).padStart(5, '0')}`;
    const spec = { tier: 'Admin', priority: Math.floor(at / 4), subject: { namespaces: {} }, egress };
    const { policy, problems } = parseClusterPolicy({ metadata: { name }, spec });
    assert.deepEqual(problems, []);
    return policy!;
  });
  const mixed = [...policies.filter((_, at) => at % 3 === 0), ...policies.filter((_, at) => at % 3 !== 0).reverse()];
  return {
    ...snapshot({ namespaces: [namespace('x')], pods: [pod('x/a', { addresses: [POD] })] }),
    clusterPolicies: new Map(mixed.map((each) => [each.name, each])),
    labelledNodes: new Map(),
  };
}

describe('70,000 ordered rules of a tier', function () {
  this.timeout(180_000);

  it('N-61: are looked at in their order: as compiled, in rules of iptables and in a table of nftables', () => {
    const intent = compileNode(clusterOf(COUNT), 'node-1');
    const rules = intent.programs.flatMap(({ stages }) => stages.flatMap((stage) => stage.rules));
    assert.equal(rules.length, COUNT);
    assert.ok(rules.every(({ by }, at) => by.length === 1 && by[0]!.name === `${at}`));
    const ruleset = renderNode(intent, { ...LAYOUT, mode: 'enforce' });
    const table = inForce(new NodeRenderer().render(intent, { ...LAYOUT, mode: 'enforce' }), 1, {
      ...LAYOUT,
      mode: 'enforce',
    });
    for (const index of [0, 25, 50, 34_998, 35_000, 69_974, 69_998].map((each) => each - (each % 2))) {
      const [accepted, denied] = [addressOf(index), addressOf(index + 1)];
      for (const [destination, verdict] of [
        [accepted, 'passed'],
        [denied, 'dropped'],
      ] as const) {
        const packet = { family: 4, source: POD, destination, protocol: 6, port: 80 } as const;
        assert.equal(traceValues(ruleset, 1, packet).verdict, verdict, `iptables, rule ${index}`);
        assert.equal(traceTable(table, packet).verdict, verdict, `nftables, rule ${index}`);
      }
    }
  });
});
