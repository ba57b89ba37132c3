/** The scenario tables at their second depth: each node's rules, applied to a kernel in memory step by step, and packets walked through them. */
import assert from 'node:assert/strict';
import type { Family } from '../../src/core/vocabulary.ts';
import type { ClusterSnapshot } from '../../src/policy/model.ts';
import { FAMILIES, hasOpenFamily } from '../support/address-plan.ts';
import {
  type ClusterState,
  type Probe,
  addressesOf,
  applyChange,
  initialState,
  legsOf,
} from '../support/cluster-state.ts';
import { type Place, type Walkable, createFakeNode, enforce, travel } from '../support/fake-cluster.ts';
import { createNftNode } from '../support/nft-node.ts';
import { parseTruthTable, printTruthTable } from '../support/truth-table.ts';
import { SUITES } from './index.ts';
import type { Expectation, Scenario } from './scenario.ts';

interface Count {
  cells: number;
  denied: number;
}

interface TracedNode extends Walkable {
  /** A pass; how many steps it took, and what others had changed. Throws if anything failed. */
  bring(
    snapshot: ClusterSnapshot,
    readBack?: boolean,
  ): Promise<{ readonly steps: number; readonly drift: readonly unknown[] }>;
}

const DATA_PLANES: Readonly<Record<string, (name: string) => TracedNode>> = {
  iptables: (name) => {
    const node = createFakeNode(name);
    const bring: TracedNode['bring'] = async (snapshot, readBack) => {
      const { plan, drift } = await enforce(node, snapshot, readBack);
      return { steps: plan!.steps.length, drift };
    };
    return { ...node, bring };
  },
  nftables: createNftNode,
};

for (const [dataplane, createNode] of Object.entries(DATA_PLANES))
  for (const { name, scenarios } of SUITES) {
    describe(`scenarios, traced, ${dataplane}: ${name}`, () => {
      const count: Count = { cells: 0, denied: 0 };
      for (const scenario of scenarios) {
        const variants: readonly (readonly Family[])[] = hasOpenFamily(scenario.steps) ? [[4], [6]] : [FAMILIES];
        for (const families of variants) {
          const suffix = families.length > 1 ? '' : ` (IPv${families[0]})`;
          it(`${scenario.id} ${scenario.title}${suffix}`, () => runScenario(scenario, families, count, createNode));
        }
      }
      after(() => {
        console.log(`      ${scenarios.length} scenarios, ${count.cells} cells, ${count.denied} of them denied`);
      });
    });
  }

async function runScenario(
  scenario: Scenario,
  families: readonly Family[],
  count: Count,
  createNode: (name: string) => TracedNode,
): Promise<void> {
  const nodes = new Map(scenario.topology.nodes.map((name) => [name, createNode(name)]));
  let state = initialState(scenario.topology, families[0] ?? 4);
  await enforceEverywhere(nodes, state);
  for (const [index, step] of scenario.steps.entries()) {
    state = step.changes.reduce(applyChange, state);
    await enforceEverywhere(nodes, state);
    const title = `step ${index + 1}${step.name ? ` (${step.name})` : ''}`;
    for (const expectation of step.expect) checkTable(nodes, state, expectation, families, title, count);
  }
  for (const node of nodes.values()) {
    const { steps, drift } = await node.bring(state.snapshot, true);
    assert.deepEqual(drift, []);
    assert.equal(steps, 0, 'a pass over an unchanged cluster plans nothing');
  }
}

async function enforceEverywhere(nodes: ReadonlyMap<string, TracedNode>, state: ClusterState): Promise<void> {
  for (const node of nodes.values()) await node.bring(state.snapshot);
}

function checkTable(
  nodes: ReadonlyMap<string, TracedNode>,
  state: ClusterState,
  expectation: Expectation,
  families: readonly Family[],
  title: string,
  count: Count,
): void {
  const table = parseTruthTable(expectation.table);
  const { protocol, port, via } = expectation;
  for (const family of expectation.families ?? FAMILIES) {
    if (!families.includes(family)) continue;
    const seen = new Map(
      table.cells.map((cell) => [
        cell,
        probe(nodes, state, { from: cell.from, to: cell.to, protocol, port, via, family }),
      ]),
    );
    const asked = table.cells.filter((cell) => seen.get(cell) !== undefined);
    const wrong = asked.filter((cell) => seen.get(cell)?.reaches !== cell.reaches);
    count.cells += asked.length;
    count.denied += asked.filter(({ reaches }) => !reaches).length;
    if (wrong.length === 0) continue;
    const print = printTruthTable(table, (cell) => seen.get(cell)?.reaches ?? cell.reaches);
    const why = wrong.map((cell) => `${cell.from} -> ${cell.to}:\n${seen.get(cell)?.why}`).join('\n');
    assert.fail(`${title}, ${protocol} ${port}, IPv${family}\n${print}\n${why}`);
  }
}

/** Undefined if an end has no address of the family. */
function probe(
  nodes: ReadonlyMap<string, TracedNode>,
  state: ClusterState,
  asked: Probe,
): { readonly reaches: boolean; readonly why: string } | undefined {
  const legs = legsOf(state, asked);
  if (legs === undefined) return undefined;
  const walked = legs.map(({ flow, sides }) =>
    travel(nodes, flow, placeOf(state, flow.source), placeOf(state, flow.destination), sides),
  );
  return {
    reaches: walked.every(({ reaches }) => reaches),
    why: walked.map(({ why }) => why).join('\nthen '),
  };
}

/** Who really has an address on the network, whatever the objects say. */
function placeOf(state: ClusterState, address: string): Place {
  const has = (endpoint: string): boolean => Object.values(addressesOf(state, endpoint) ?? {}).includes(address);
  const host = state.topology.nodes.find(has);
  if (host !== undefined) return { node: host, isHost: true };
  for (const [key, { spec }] of state.pods) if (has(key)) return { node: spec.node, isHost: spec.hostNetwork };
  return { isHost: false };
}
