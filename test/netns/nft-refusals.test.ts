/** What a real kernel refuses of a table of nftables. Needs root and nft. */
import { type RunCommand, runCommand } from '../../src/host/command.ts';
import { startLineProgram } from '../../src/host/line-program.ts';
import type { NftKernel } from '../../src/dataplane/nftables/kernel/kernel.ts';
import { createNftKernel } from '../../src/dataplane/nftables/kernel/nft-kernel.ts';
import { NftSession } from '../../src/dataplane/nftables/kernel/nft-session.ts';
import type { Table } from '../../src/dataplane/nftables/table/table.ts';
import type { Command } from '../../src/dataplane/nftables/table/write-table.ts';
import { createNftNode } from '../support/nft-node.ts';
import { traceTable } from '../support/nft-tracer.ts';
import { isRefusedByNft, type Plane, refusalTests } from '../support/refusals.ts';

describe('fault: refusals, nftables on a real kernel', function () {
  this.timeout(60_000);
  const namespace = `pclnr-${process.pid}`;
  const inside = ['ip', 'netns', 'exec', namespace] as const;
  const run: RunCommand = (request) => runCommand({ ...request, argv: [...inside, ...request.argv] });
  let session: NftSession;

  before(async function () {
    if (process.getuid?.() !== 0) this.skip();
    await runCommand({ argv: ['ip', 'netns', 'add', namespace], timeoutMs: 10_000 });
    session = new NftSession(startLineProgram, inside);
  });
  beforeEach(() => run({ argv: ['nft', 'flush', 'ruleset'], timeoutMs: 10_000 }));
  after(async () => {
    session?.stop();
    if (session) await runCommand({ argv: ['ip', 'netns', 'delete', namespace], timeoutMs: 10_000 });
  });

  refusalTests((): Plane => {
    let isRefused: ReturnType<typeof isRefusedByNft>;
    let table: Table | undefined;
    const kernel = createNftKernel({ table: 'portcullis', run, session });
    /** In its place the kernel is given what it has no object for. */
    const refused = (command: Command): Command =>
      isRefused?.(command.text) ? { ...command, text: 'delete chain inet portcullis never-there' } : command;
    const refusing: NftKernel = { ...kernel, write: (commands) => kernel.write(commands.map(refused)) };
    const create = () => createNftNode('node-1', { kernel: refusing as never });
    let node = create();
    return {
      sync: async (to, { resync, mode } = {}) => {
        const { failures, partial, change } = await node.sync(to, resync, mode);
        table = await kernel.read();
        return { failures, partial, degraded: change!.degraded };
      },
      refuse: (what) => {
        isRefused = isRefusedByNft(what);
      },
      restart: () => {
        node = create();
      },
      walk: (packet) => traceTable(table!, packet).verdict,
    };
  });
});
