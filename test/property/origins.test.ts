/** Every compiled rule names exactly policy rules that allow what it lets through, whatever they were merged with. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { compileNode, NOTHING_SHARED } from '../support/stages.ts';
import type { CompiledRule, NodeIntent } from '../../src/compile/intent.ts';
import { acceptRules } from '../../src/compile/program.ts';
import { MOST_SHARED } from '../../src/compile/shared-peers.ts';
import { DIRECTIONS, type Direction, type Family, PROTOCOL_NUMBER } from '../../src/core/vocabulary.ts';
import { cidrContains, parseCidr } from '../../src/net/cidr.ts';
import { parseNetMember } from '../support/cidrs.ts';
import { parseAddress } from '../../src/net/ip.ts';
import { createEvaluator } from '../../src/policy/evaluate.ts';
import type { ClusterSnapshot, Flow, RuleRef } from '../../src/policy/model.ts';
import { cluster, crowdedCluster, flowsAtEdges, NODE } from './clusters.ts';
import { runs } from './runs.ts';

describe('property: the origins of compiled rules', () => {
  const crowded = crowdedCluster.map((each) => each.crowded);

  for (const [how, sharing] of Object.entries({ usual: undefined, most: MOST_SHARED, none: NOTHING_SHARED })) {
    it(`are the policy rules that allow the flow; sharing: ${how}`, () => {
      let compared = 0;
      const clusters = fc.oneof(cluster, crowded);
      const withFlows = clusters.chain((snapshot) => fc.tuple(fc.constant(snapshot), flowsAtEdges([snapshot], 60)));
      fc.assert(
        fc.property(withFlows, ([snapshot, flows]) => {
          compared += compare(snapshot, compileNode(snapshot, NODE, sharing), flows);
        }),
        runs(150),
      );
      assert.ok(compared > 20, `not much was tried: ${compared}`);
    });
  }
});

/** Returns how many flows some rule allows. */
function compare(snapshot: ClusterSnapshot, intent: NodeIntent, flows: readonly Flow[]): number {
  const evaluator = createEvaluator(snapshot);
  let compared = 0;
  for (const flow of flows) {
    const verdict = evaluator.evaluate(flow);
    for (const direction of DIRECTIONS) {
      const judged = verdict[direction];
      if (judged.kind !== 'allowed' && judged.kind !== 'denied') continue;
      const address = direction === 'egress' ? flow.source : flow.destination;
      const matching = rulesOf(intent, direction, address).filter((rule) => isMatch(intent, rule, direction, flow));
      const allowing = new Set(judged.kind === 'allowed' ? judged.by.map(refText) : []);
      const named = new Set(matching.flatMap(({ by }) => by.map(refText)));
      const what = `${direction} ${JSON.stringify(flow)}`;
      if (!isLocal(intent, address)) continue;
      for (const ref of allowing) assert.ok(named.has(ref), `${what}: ${ref} is not named`);
      for (const { by } of matching)
        assert.ok(
          by.map(refText).some((ref) => allowing.has(ref)),
          `${what}: ${by.map(refText).join()}`,
        );
      if (allowing.size > 0) compared++;
    }
  }
  return compared;
}

function refText({ policy, direction, index }: RuleRef): string {
  return `${policy.namespace}/${policy.name} ${direction} ${index}`;
}

function isLocal({ endpoints }: NodeIntent, address: string): boolean {
  return endpoints.some(({ addresses }) => addresses.includes(address));
}

function rulesOf({ endpoints, programs }: NodeIntent, direction: Direction, address: string): readonly CompiledRule[] {
  const key = endpoints.find(({ addresses }) => addresses.includes(address))?.programs[direction];
  const program = programs.find((each) => each.key === key);
  return program ? acceptRules(program) : [];
}

function isMatch(intent: NodeIntent, { ports, peers }: CompiledRule, direction: Direction, flow: Flow): boolean {
  const peer = direction === 'egress' ? flow.destination : flow.source;
  const family = peer.includes(':') ? 6 : 4;
  const clause = peers[family];
  if (clause.kind === 'none') return false;
  if (clause.kind === 'block' && !cidrContains(parseCidr(clause.cidr)!, parseAddress(peer)!)) return false;
  if (clause.kind === 'set' && !isMember(intent.addressSets.get(clause.key)!.members, peer, '', family)) return false;
  switch (ports.kind) {
    case 'any':
      return true;
    case 'ranges':
      return (
        PROTOCOL_NUMBER[ports.protocol] === flow.protocol &&
        ports.ranges.some(({ first, last }) => first <= flow.port && flow.port <= last)
      );
    case 'address-port': {
      const { members } = intent.addressPortSets.get(ports.set[family])!;
      return isMember(members, flow[ports.address], `,${flow.protocol}:${flow.port}`, family);
    }
  }
}

/** The longest prefix with that port decides. */
function isMember(members: ReadonlyMap<string, boolean>, text: string, port: string, family: Family): boolean {
  const address = parseAddress(text)!;
  let found = { length: -1, match: false };
  for (const [member, match] of members) {
    if (!member.endsWith(port) || member.includes(',') !== (port !== '')) continue;
    const cidr = parseNetMember(family, member.split(',', 1)[0]!)!;
    if (cidr.prefixLength > found.length && cidrContains(cidr, address)) found = { length: cidr.prefixLength, match };
  }
  return found.match;
}
