import assert from 'node:assert/strict';
import type { Family } from '../../../../src/core/vocabulary.ts';
import { ruleText } from '../../../../src/dataplane/iptables/rules/write-text.ts';
import { trace } from '../../../support/tracer.ts';

describe('render: the program that finds a packet to its own sender', () => {
  const dropsSame = (family: Family, source: string, destination: string): boolean => {
    const line = ruleText({ matches: [{ kind: 'same-address' }], target: { kind: 'drop' } }, { family, epoch: 1 });
    const rules = { chains: new Map(), hooks: { FORWARD: [line], INPUT: [] } };
    const state = { families: { [family]: rules }, sets: new Map() };
    return trace(state, { family, source, destination, protocol: 6, port: 80 }) === 'dropped';
  };

  it('matches equal addresses', () => {
    assert.ok(dropsSame(4, '10.0.0.1', '10.0.0.1'));
    assert.ok(dropsSame(4, '255.255.255.255', '255.255.255.255'));
    assert.ok(dropsSame(6, 'fd00:1:2:3:4:5:6:7', 'fd00:1:2:3:4:5:6:7'));
    assert.ok(dropsSame(6, '::', '::'));
  });

  it('matches no two addresses that differ in one bit', () => {
    for (let bit = 0; bit < 32; bit++) {
      const other = [24, 16, 8, 0].map((shift) => ((0x0a000001 ^ (1 << bit)) >>> shift) & 255).join('.');
      assert.ok(!dropsSame(4, '10.0.0.1', other), other);
    }
    for (let bit = 0; bit < 128; bit++) {
      const groups = [0xfd00, 1, 2, 3, 4, 5, 6, 7].map(
        (group, index) => group ^ (index === bit >> 4 ? 1 << (bit & 15) : 0),
      );
      const other = groups.map((group) => group.toString(16)).join(':');
      assert.ok(!dropsSame(6, 'fd00:1:2:3:4:5:6:7', other), other);
    }
  });
});
