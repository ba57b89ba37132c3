/** Whoever reads counters is told of a commit that failed as well as of one that went in. */
import assert from 'node:assert/strict';
import type { Kernel } from '../../../../src/dataplane/iptables/kernel/kernel.ts';
import type { Step } from '../../../../src/dataplane/iptables/plan/plan.ts';
import { countedKernel } from '../../../../src/dataplane/iptables/sync/counted-kernel.ts';

const step = (kind: 'rules' | 'final-rules', ...texts: readonly string[]): Step => ({
  kind,
  family: 4,
  lines: texts.map((text) => ({ text, object: /^-[AIX] (\S+)/.exec(text)?.[1] ?? '' })),
});

async function told(carried: Step, isRefused = false): Promise<readonly string[]> {
  const lines: string[] = [];
  const kernel: Kernel = {
    backend: 'iptables-nft',
    families: [4],
    readBack: () => assert.fail('nothing is read'),
    apply: async () => {
      if (isRefused) throw new Error('refused');
      lines.push('applied');
      return [];
    },
  };
  const counted = countedKernel(kernel, {
    rendered: () => {},
    beforeDeletion: async (_family, chains, isLive) => void lines.push(`deletion ${isLive} ${chains.join()}`),
    covers: (family, overlay, chain) => lines.push(`covers ${family} ${chain} by ${overlay}`),
    began: (family, chains) => lines.push(`began ${family} ${chains.join()}`),
    ended: (family, chains, isDone) => lines.push(`ended ${family} ${chains.join()} ${isDone}`),
  });
  await counted.apply(carried).catch((error: Error) => lines.push(error.message));
  return lines;
}

const WRITES = ['*mangle', ':PCL-a - [0:0]', ':PCL-b - [0:0]', '-A PCL-a -j RETURN', 'COMMIT'];
const DELETES = ['*mangle', ':PCL-a - [0:0]', '-X PCL-a', 'COMMIT'];
const COVERS = ['*mangle', ':PCL-O-a - [0:0]', '-A PCL-O-a -j RETURN', '-I PCL-FWD -g PCL-O-a', 'COMMIT'];

describe('a kernel whose rules are counted', () => {
  it('tells which chains a commit writes, and whether it went in', async () => {
    assert.deepEqual(await told(step('rules', ...WRITES)), [
      'began 4 PCL-a,PCL-b',
      'applied',
      'ended 4 PCL-a,PCL-b true',
    ]);
    const refused = await told(step('rules', ...WRITES), true);
    assert.deepEqual(refused, ['began 4 PCL-a,PCL-b', 'ended 4 PCL-a,PCL-b false', 'refused']);
  });

  it('tells which chain is put in the place of which', async () => {
    assert.deepEqual(await told(step('rules', ...COVERS)), [
      'covers 4 PCL-FWD by PCL-O-a',
      'began 4 PCL-O-a',
      'applied',
      'ended 4 PCL-O-a true',
    ]);
  });

  it('has counters read before chains go, but not while packets wait for a commit', async () => {
    assert.deepEqual(await told(step('rules', ...DELETES)), ['deletion true PCL-a', 'applied']);
    assert.deepEqual(await told(step('final-rules', ...DELETES)), ['deletion false PCL-a', 'applied']);
    const both = [...WRITES.slice(0, -1), '-X PCL-b', 'COMMIT'];
    assert.deepEqual(await told(step('rules', ...both)), [
      'began 4 PCL-a,PCL-b',
      'applied',
      'ended 4 PCL-a,PCL-b true',
    ]);
  });

  it('says nothing of sets', async () => {
    assert.deepEqual(await told({ kind: 'add-members', lines: [{ text: 'add PCL4-a 10.0.0.1', object: 'PCL4-a' }] }), [
      'applied',
    ]);
  });
});
