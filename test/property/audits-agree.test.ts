/** Policies that are only audited: nothing that is enforced depends on them, and both data planes count what the evaluator says of them. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { Family } from '../../src/core/vocabulary.ts';
import type { NodeIntent } from '../../src/compile/intent.ts';
import { judgedBy, sharesOf } from '../../src/dataplane/iptables/counters/counted-rules.ts';
import type { Ruleset } from '../../src/dataplane/iptables/rules/ruleset.ts';
import { NodeRenderer } from '../../src/dataplane/nftables/render/render-node.ts';
import type { Rule } from '../../src/dataplane/nftables/table/rule.ts';
import type { ClusterSnapshot } from '../../src/policy/model.ts';
import { isAudited } from '../../src/policy/policy-mode.ts';
import { LAYOUT } from '../support/fake-cluster.ts';
import { inForce } from '../support/nft-fake.ts';
import { traceTable } from '../support/nft-tracer.ts';
import { compileNode, renderNode } from '../support/stages.ts';
import { type Packet, traceValues } from '../support/tracer.ts';
import {
  auditedCluster,
  cluster,
  contestedCluster,
  flowsAtEdges,
  NODE,
  severallyAudited,
  tieredAudits,
} from './clusters.ts';
import { AUDIT_COUNTS, asExpected, auditCountsHere, countText, packetOf } from './expected.ts';
import { runs } from './runs.ts';

type Mode = 'enforce' | 'audit';
/** What the rules that a packet met count for audit. */
type Counted = (packet: Packet) => { readonly counts: readonly string[]; readonly matched: readonly string[] };

const DATAPLANES: Readonly<Record<string, (intent: NodeIntent, mode: Mode) => Counted>> = {
  iptables: (intent, mode) => {
    const ruleset = renderNode(intent, { ...LAYOUT, mode });
    return (packet) => {
      const { matched } = traceValues(ruleset, 1, packet);
      return { counts: countsOf(ruleset, packet.family, matched), matched };
    };
  },
  nftables: (intent, mode) => {
    const table = inForce(new NodeRenderer().render(intent, { ...LAYOUT, mode }), 1, { ...LAYOUT, mode });
    return (packet) => {
      const { matched } = traceTable(table, packet);
      return { counts: tableCounts(matched), matched };
    };
  },
};

describe('property: policies that are only audited', () => {
  it('what is enforced is that of the cluster without them', () => {
    let audited = 0;
    fc.assert(
      fc.property(fc.oneof(cluster, contestedCluster), (snapshot) => {
        const { programs, endpoints, audits } = compileNode(snapshot, NODE);
        const without = compileNode(withoutAudited(snapshot), NODE);
        assert.deepEqual(programs, without.programs);
        const isolated = endpoints.filter((each) => Object.keys(each.programs).length > 0);
        assert.deepEqual(
          isolated.map((each) => ({ ...each, audits: {} })),
          without.endpoints,
        );
        audited += audits.length;
      }),
      runs(300),
    );
    assert.ok(audited > 50, `not much was tried: ${audited}`);
  });

  for (const [dataplane, begin] of Object.entries(DATAPLANES)) {
    for (const mode of ['enforce', 'audit'] as const) {
      it(`${dataplane}, node in mode ${mode}: what they would deny together, and each deny or newly allow, as the evaluator says`, () => {
        const seen = { 'would-deny': 0, 'would-deny-alone': 0, 'would-allow': 0, several: 0 };
        // In audit mode rules of cluster-wide policies count as well, and that is of no audited policy.
        const clusters = fc.oneof(
          cluster,
          { arbitrary: auditedCluster, weight: 3 },
          { arbitrary: severallyAudited, weight: 2 },
          ...(mode === 'enforce' ? [tieredAudits] : []),
        );
        const withFlows = clusters.chain((snapshot) => fc.tuple(fc.constant(snapshot), flowsAtEdges([snapshot], 40)));
        fc.assert(
          fc.property(withFlows, ([snapshot, flows]) => {
            const counted = begin(compileNode(snapshot, NODE), mode);
            const expected = auditCountsHere(snapshot, mode);
            for (const flow of flows) {
              const packet = packetOf(snapshot, flow);
              const { counts, matched } = counted(packet);
              const wanted = expected(flow, packet.hook === 'INPUT');
              assert.deepEqual(asExpected(counts, wanted), wanted, `${JSON.stringify(flow)}\n${matched.join('\n')}`);
              const times = (action: string): number => counts.filter((each) => each.startsWith(`${action} `)).length;
              for (const action of AUDIT_COUNTS) seen[action] += times(action);
              if (times('would-deny-alone') > 1) seen.several++;
            }
          }),
          runs(80),
        );
        const isEnough = seen['would-deny'] > 30 && seen['would-allow'] > 1 && seen.several > 1;
        assert.ok(isEnough, `not much was tried: ${JSON.stringify(seen)}`);
      });
    }
  }
});

function withoutAudited(snapshot: ClusterSnapshot): ClusterSnapshot {
  const { policies, namespaces } = snapshot;
  const enforced = [...policies].filter(([, policy]) => !isAudited(policy, namespaces.get(policy.namespace)));
  return { ...snapshot, policies: new Map(enforced) };
}

function countsOf({ families }: Ruleset, family: Family, matched: readonly string[]): readonly string[] {
  const { chains, endpointChains } = families[family];
  return matched
    .flatMap((text) => {
      const { chain: name, rule } = metRule(text);
      const chain = chains.get(name);
      if (chain?.role.kind !== 'endpoint') return [];
      const index = chain.rules.findIndex((each) => JSON.stringify(each) === rule);
      const judged = judgedBy(chain, endpointChains.get(chain.role.endpoint));
      return !judged ? [] : sharesOf(chain.rules, judged).filter((share) => share.index === index);
    })
    .flatMap(({ counted: { action, direction, of } }) => countText(action, direction, of))
    .sort();
}

function tableCounts(matched: readonly string[]): readonly string[] {
  return matched
    .flatMap((text) => {
      const { counts } = JSON.parse(metRule(text).rule) as Rule;
      if (!counts) return [];
      const { action, direction, of, also } = counts;
      return [...countText(action, direction, of), ...(also ? countText(also.action, direction, also.of) : [])];
    })
    .sort();
}

function metRule(text: string): { readonly chain: string; readonly rule: string } {
  const [, chain = '', rule = ''] = /^(\S+) (.*)$/.exec(text) ?? [];
  return { chain, rule };
}
