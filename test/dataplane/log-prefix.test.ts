import assert from 'node:assert/strict';
import { readPrefix, writePrefix } from '../../src/dataplane/log-prefix.ts';
import { endpointChain } from '../../src/dataplane/chain-names.ts';

describe('prefix of logged packets', () => {
  it('reads back what is written, within the 63 characters that iptables takes', () => {
    for (const stage of ['denied', 'would-deny', 'cut', 'cut-reply'] as const) {
      for (const direction of ['ingress', 'egress', undefined] as const) {
        const chain = endpointChain(direction ?? 'egress', 'x');
        const prefix = writePrefix(stage, direction, chain);
        assert.ok(prefix.length <= 63, prefix);
        const { direction: read, chain: where } = readPrefix(prefix)!;
        assert.deepEqual([read, where], [direction, chain]);
      }
    }
  });

  it('tells what became of the packet', () => {
    const chain = endpointChain('ingress', 'x');
    const read = (stage: Parameters<typeof writePrefix>[0]) => readPrefix(writePrefix(stage, 'ingress', chain));
    const direction = 'ingress';
    assert.deepEqual(read('denied'), { verdict: 'denied', isReply: false, direction, chain });
    assert.deepEqual(read('would-deny'), { verdict: 'would-deny', isReply: false, direction, chain });
    assert.deepEqual(read('cut'), { verdict: 'live-flow-cut', isReply: false, direction, chain });
    assert.deepEqual(read('cut-reply'), { verdict: 'live-flow-cut', isReply: true, direction, chain });
    assert.equal(readPrefix(writePrefix('denied', undefined, chain))!.direction, undefined);
  });

  it('knows what is not ours', () => {
    const chain = endpointChain('ingress', 'x');
    const others = [
      '',
      'drop',
      `${chain} drop`,
      `denied ingress`,
      `denied ingress KUBE-FORWARD`,
      `denied sideways ${chain}`,
    ];
    for (const prefix of [...others, `constructor ingress ${chain}`, `denied ingress ${chain} more`])
      assert.equal(readPrefix(prefix), undefined, prefix);
  });
});
