import assert from 'node:assert/strict';
import { startApiServer } from '../../../lab/api/api-server.ts';
import { Client, pod } from './client.ts';

describe('20,000 pods', () => {
  it('are created, watched and listed in pages in time that grows with their number only', async function () {
    this.timeout(60_000);
    const server = await startApiServer();
    const client = new Client(server);
    try {
      const create = (from: number, to: number): number => {
        const started = performance.now();
        for (let index = from; index < to; index += 1)
          server.store.create('pods', pod(`p${index}`, { labels: { app: `a${index % 50}` } }));
        return performance.now() - started;
      };
      const watch = await client.watch(`/api/v1/pods?watch=true&resourceVersion=${server.store.storage.version}`);
      // The first thousand also pays for compilation.
      create(0, 1000);
      const early = create(1000, 4000) / 3000;
      create(4000, 17_000);
      const late = create(17_000, 20_000) / 3000;
      assert.ok(late < 4 * early + 0.05, `${early.toFixed(3)} ms each at first, ${late.toFixed(3)} ms each at last`);
      await watch.atLeast(20_000, 20_000);
      let listed = 0;
      let token = '';
      do {
        const { body } = await client.get(`/api/v1/pods?limit=500&continue=${token}`);
        listed += body.items.length;
        token = body.metadata.continue ?? '';
      } while (token !== '');
      assert.equal(listed, 20_000);
    } finally {
      client.close();
      await server.close();
    }
  });
});
