/** The upstream conformance suite against the reference evaluator, and against the rules of both nodes as packets meet them. */
import assert from 'node:assert/strict';
import type { Protocol } from '../../src/core/vocabulary.ts';
import { PROTOCOL_NUMBER } from '../../src/core/vocabulary.ts';
import { NodeRenderer } from '../../src/dataplane/nftables/render/render-node.ts';
import { createEvaluator } from '../../src/policy/evaluate.ts';
import type { ClusterSnapshot, Flow } from '../../src/policy/model.ts';
import { Fixture, NODES, type Step, SUITE } from '../support/cluster-suite.ts';
import { LAYOUT } from '../support/fake-cluster.ts';
import { inForce } from '../support/nft-fake.ts';
import { traceTable } from '../support/nft-tracer.ts';
import { compileNode, renderNode } from '../support/stages.ts';
import { traceValues } from '../support/tracer.ts';

function flowOf(fixture: Fixture, step: Step): Flow {
  return {
    source: fixture.address(step.from!),
    destination: fixture.address(step.to!),
    protocol: PROTOCOL_NUMBER[step.proto!.toUpperCase() as Protocol],
    port: Number(step.port),
  };
}

/** As packets go: out of the node of the one, into that of the other. */
function passesBothNodes(snapshot: ClusterSnapshot, flow: Flow): boolean {
  const family = flow.source.includes(':') ? 6 : 4;
  return NODES.every((node) => {
    const [intent, layout, packet] = [
      compileNode(snapshot, node),
      { ...LAYOUT, mode: 'enforce' },
      { family, ...flow },
    ] as const;
    const byIptables = traceValues(renderNode(intent, layout), 1, packet).verdict;
    const table = inForce(new NodeRenderer().render(intent, layout), 1, layout);
    assert.equal(traceTable(table, packet).verdict, byIptables, `${node}: nftables against iptables`);
    return byIptables === 'passed';
  });
}

describe('conformance of ClusterNetworkPolicy: evaluator and rules', () => {
  it('is asked all of it', () => {
    const runs = SUITE.tests.flatMap((test) => test.runs);
    const probes = runs.flatMap(({ steps }) => steps).filter(({ connect }) => connect !== undefined);
    assert.deepEqual([SUITE.tests.length, runs.length, probes.length], [24, 92, 301]);
  });

  for (const family of [4, 6] as const)
    for (const { name, manifest, runs } of SUITE.tests)
      it(`${name}, IPv${family}`, () => {
        const fixture = new Fixture(manifest, family);
        for (const { run, steps } of runs) {
          for (const step of steps) {
            if (step.connect === undefined) {
              fixture.change(step);
              continue;
            }
            const [snapshot, flow] = [fixture.snapshot(), flowOf(fixture, step)];
            const verdict = createEvaluator(snapshot).evaluate(flow);
            assert.equal(verdict.allowed, step.connect, `${run}: ${JSON.stringify(step)} ${JSON.stringify(verdict)}`);
            assert.equal(passesBothNodes(snapshot, flow), step.connect, `rules, ${run}: ${JSON.stringify(step)}`);
          }
        }
      });
});
