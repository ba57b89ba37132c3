import assert from 'node:assert/strict';
import type { AgentStatus } from '../../src/agent/agent.ts';
import { familiesReady, featuresReady } from '../../src/telemetry/readiness.ts';
import type { ClusterWatch } from '../../src/cluster/watch-cluster.ts';
import type { Unread } from '../../src/dataplane/dataplane.ts';
import { lacksOf } from '../../src/dataplane/iptables/rules/features.ts';
import type { MissingFeatures } from '../../src/dataplane/iptables/rules/kernel-features.ts';
import { pod, snapshot } from '../support/builders.ts';

const status = (part: { unread?: readonly Unread[]; missing?: MissingFeatures }): AgentStatus =>
  ({
    nodeName: 'node-1',
    lastOutcome: { unread: [], ...part, lacks: lacksOf(part.missing ?? {}) },
  }) as unknown as AgentStatus;
const cluster = (...addresses: readonly string[]): ClusterWatch => {
  const pods = [
    pod('x/here', { nodeName: 'node-1', addresses }),
    pod('x/there', { nodeName: 'node-2', addresses: ['10.0.0.9', 'fd00::9'] }),
    pod('x/host', { nodeName: 'node-1', hostNetwork: true, addresses: ['10.0.0.8', 'fd00::8'] }),
  ];
  return { snapshot: () => snapshot({ pods }) } as unknown as ClusterWatch;
};
const six = (isKnown: boolean): Unread => ({ family: 6, tool: 'ip6tables-nft-save', isKnown, why: 'no such program' });

describe('fault: readiness while a family is not filtered', () => {
  it('IPv6 cannot be filtered: ready while no pod of this node has such an address', () => {
    const found = familiesReady(status({ unread: [six(true)] }), cluster('10.0.0.1'));
    assert.equal(found.ok, true);
    assert.match(
      found.reason,
      /IPv6 cannot be filtered on this host: no such program; no pod here has such an address/,
    );
  });
  it('IPv6 cannot be filtered and a pod of this node has it: not ready', () => {
    const found = familiesReady(status({ unread: [six(true)] }), cluster('10.0.0.1', 'fd00::1'));
    assert.equal(found.ok, false);
    assert.match(found.reason, /1 pods here have such an address and are open there/);
  });
  it('not known: not ready, whatever the pods have', () => {
    assert.equal(familiesReady(status({ unread: [six(false)] }), cluster('10.0.0.1')).ok, false);
  });
  it('all read: ready', () => assert.equal(familiesReady(status({}), cluster('fd00::1')).ok, true));
});

describe('fault: readiness while the kernel lacks a feature', () => {
  it('ready without what is convenient, with the module and what it means', () => {
    const found = featuresReady(status({ missing: { 4: ['NFLOG'], 6: ['NFLOG'] } }), undefined);
    assert.equal(found.ok, true);
    assert.match(found.reason, /NFLOG \(IPv4, IPv6; module xt_NFLOG .*\): denied packets are counted, not logged/);
    assert.match(found.reason, /linux-modules-extra/);
  });
  it('no module is named where another data plane helps', () => {
    const lacks = [{ text: "sight of a bridge's ports", neededFor: 'policies', remedy: 'use another one' }];
    const { ok, reason } = featuresReady({ lastOutcome: { lacks } } as unknown as AgentStatus, undefined);
    assert.deepEqual(
      { ok, reason },
      { ok: false, reason: "the kernel lacks sight of a bridge's ports. use another one" },
    );
  });
  it('not ready without what policies need', () => {
    const ready = (missing: MissingFeatures, watch = cluster('10.0.0.1')): boolean =>
      featuresReady(status({ missing }), watch).ok;
    assert.equal(ready({ 4: ['set'] }), false);
    assert.equal(ready({ 4: ['sctp'] }), true);
    assert.equal(ready({ 4: ['sctp', 'multiport'] }), false);
    assert.equal(ready({ 4: ['bpf'] }, cluster('10.0.0.1', 'fd00::1')), true);
    assert.equal(ready({ 6: ['bpf'] }, cluster('10.0.0.1', 'fd00::1')), false);
    assert.equal(ready({ 6: ['bpf'] }), true, 'no pod of this node needs it');
  });
});
