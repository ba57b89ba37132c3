/** The kernel suite on real kernels: both iptables variants, each in a network namespace of its own. Needs root and ipset. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type RunCommand, runCommand } from '../../src/host/command.ts';
import { prespawn } from '../../src/host/prespawn.ts';
import { WRITE_SETS } from '../../src/dataplane/iptables/kernel/linux-kernel.ts';
import { createOneVariantKernel } from '../support/one-variant-kernel.ts';
import { type KernelUnderTest, kernelSuite } from '../dataplane/iptables/kernel/kernel-suite.ts';

for (const backend of ['iptables-nft', 'iptables-legacy'] as const) {
  kernelSuite(`Linux, ${backend}`, async (): Promise<KernelUnderTest> => {
    const directory = await mkdtemp(join(tmpdir(), 'portcullis-kernel-'));
    const namespace = `pclkt-${process.pid}-${backend === 'iptables-nft' ? 'n' : 'l'}`;
    // The lock file is one per host: a private one keeps tests of several namespaces from waiting for each other.
    const env = { XTABLES_LOCKFILE: join(directory, 'xtables.lock') };
    const inside = ['ip', 'netns', 'exec', namespace] as const;
    const sets = prespawn([...inside, ...WRITE_SETS]);
    const run: RunCommand = (request) => {
      const argv = [...inside, ...request.argv] as const;
      return request.argv[0] === 'ipset' ? sets.run({ ...request, argv }) : runCommand({ ...request, argv, env });
    };
    await runCommand({ argv: ['ip', 'netns', 'add', namespace], timeoutMs: 10_000 });
    return {
      kernel: createOneVariantKernel({ backend, families: [4, 6], run, lockWaitSeconds: 5 }),
      run,
      close: async () => {
        sets.stop();
        await runCommand({ argv: ['ip', 'netns', 'delete', namespace], timeoutMs: 10_000 });
        await rm(directory, { recursive: true });
      },
    };
  });
}
